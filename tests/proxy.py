"""A network and a router on loopback, for tests: a TCP proxy that can go silent."""

from __future__ import annotations

import itertools
import socket
import threading
from contextlib import suppress
from typing import Callable

import mysql.connector
import pytest

# For tests that connect through a proxy from the process that it runs in.
in_one_process = pytest.mark.skipif(
    mysql.connector.__version_info__[:2] < (9, 1),
    reason="needs a driver that lets other threads run while it logs in: 9.1",
)


class Proxy:
    """Lead each connection to the next of some servers, as a router does, until silent() is called.

    From then on nothing more goes through, not even an end, as where a network cable is cut.
    change is called with all that servers send and returns what the client gets.
    """

    def __init__(
        self, *servers: tuple[str, int], change: Callable[[bytes], bytes] = lambda data: data
    ) -> None:
        self._servers = itertools.cycle(servers)
        self._change = change
        self._talking = threading.Event()
        self._talking.set()
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(next(self._servers))
                self._sockets += [client, server]
                for ends in ((client, server, lambda data: data), (server, client, self._change)):
                    threading.Thread(target=self._forward, args=ends, daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket, change: Callable) -> None:
        with suppress(OSError):
            while True:
                data = source.recv(65536)
                self._talking.wait()
                if not data:
                    break
                target.sendall(change(data))
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def silent(self) -> None:
        """Let nothing more through."""
        self._talking.clear()

    def cut_replies(self) -> None:
        """Let nothing more through from the servers, and end the way to the clients."""
        for client in self._sockets[::2]:
            with suppress(OSError):
                client.shutdown(socket.SHUT_WR)

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        """Break all connections."""
        self._listener.close()
        for end in self._sockets:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads from it
            end.close()  # only this ends a server's send where nobody has read what came before
        self._talking.set()
