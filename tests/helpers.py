"""What several test modules use: servers to throw away, processes, counts, a network, files."""

from __future__ import annotations

import contextlib
import csv
import importlib
import io
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

from made_users import made_users
from mysql_server import PrivateServer, ServerError, server_program

SCRIPTS = ["0-stream_users.py", "1-batch_processing.py", "2-lazy_paginate.py", "4-stream_ages.py"]
EVERYTHING = ["seed.py", *SCRIPTS]
ALL_USERS = {script: ["1000000"] if script == SCRIPTS[0] else [] for script in SCRIPTS}
try:
    FAMILY = server_program()[1]
    NO_PROGRAM = ""
except ServerError as error:
    FAMILY, NO_PROGRAM = "", str(error)


def wait_until(condition, process: subprocess.Popen | None = None, pause: float = 0.02) -> None:
    """Wait until a condition is met: for a minute at most, and only while the process runs."""
    end = time.monotonic() + 60
    while not condition():
        assert process is None or process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(pause)


# Servers


class ThrowAwayServer(PrivateServer):
    """A private server with all rights, on a copy of an empty one's data, that ends by a kill."""

    templates: Path  # the folder for the empty ones
    # Of MariaDB's and MySQL's log, which takes 100 MB else.
    sizes = ("--loose-innodb-log-file-size=16M", "--loose-innodb-redo-log-capacity=32M")

    def __init__(self, folder: Path, port: int, password: str = "p") -> None:
        super().__init__(folder, port, password=password)

    def _initialise(self, program: str, family: str, data: Path) -> None:
        template = self.templates / family
        if not template.exists():
            super()._initialise(program, family, template)
            (template / "auto.cnf").unlink(missing_ok=True)  # the identity of a MySQL server
        shutil.copytree(template, data)

    def kill(self) -> None:
        """End it as a power cut would."""
        self.stop(signal.SIGKILL)

    def __enter__(self) -> ThrowAwayServer:
        return self if self.running() else super().__enter__()

    def __exit__(self, *_: object) -> None:
        self.kill()

    def rows(self, statement: str, database: str | None = None) -> list[tuple]:
        """Return what a statement gives, on a connection of its own."""
        with self.connect(database=database) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.with_rows else []

    def processes(self) -> list[tuple]:
        """Return the rows of SHOW PROCESSLIST for the clients' connections, but for its own."""
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SHOW PROCESSLIST")
            others = [row for row in cursor.fetchall() if row[0] != connection.connection_id]
            return [row for row in others if row[1] not in ("system user", "event_scheduler")]

    def runs(self, text: str) -> Callable[[], bool]:
        """Return a condition: some connection runs a query, or is in a state, with that text."""
        return lambda: any(text in f"{row[6]} {row[7]}" for row in self.processes())

    def is_left_alone(self) -> bool:
        """Wait for the connections that are just closing; tell whether all have gone."""
        end = time.monotonic() + 20
        while self.processes():
            if time.monotonic() > end:
                return False
            time.sleep(0.02)
        return True

    def kill_connections(self) -> None:
        """Kill every client connection of its account."""
        for number, user, *_ in self.processes():
            if user == self.user:
                with contextlib.suppress(Exception):
                    self.rows(f"KILL {number}")


class Counting:
    """Count what a server is asked for within the block."""

    LOG = """SELECT command_type, CONVERT(argument USING utf8mb4) FROM mysql.general_log
             WHERE thread_id <> CONNECTION_ID()"""

    def __init__(self, server: ThrowAwayServer) -> None:
        self.connection = server.connect()

    def _ask(self, statement: str) -> list[tuple]:
        with self.connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.with_rows else []

    def _rows_read(self) -> int:
        # In the order of an index, and in a scan of the table.
        status = self._ask("SHOW GLOBAL STATUS LIKE 'Handler_read_%next'")
        return sum(int(value) for _, value in status)

    def __enter__(self) -> Counting:
        for statement in ("SET GLOBAL log_output = 'TABLE'", "TRUNCATE mysql.general_log"):
            self._ask(statement)
        self._ask("SET GLOBAL general_log = 1")
        # To ask reads rows, too: as many each time.
        first, second = self._rows_read(), self._rows_read()
        self.rows_read = first - 2 * second
        return self

    def __exit__(self, *_: object) -> None:
        self.rows_read += self._rows_read()
        self._ask("SET GLOBAL general_log = 0")
        log = self._ask(self.LOG)
        self.connection.close()
        self.queries = [text for command, text in log if command == "Query"]
        self.connections = sum(command == "Connect" for command, _ in log)
        self.selects = sum("FROM user_data" in text for text in self.queries)
        self.kills = sum(text.startswith("KILL QUERY IS_USED_LOCK(") for text in self.queries)


class Proxy:
    """Lead each connection to the next of some servers, as a router does, until silent() is called.

    From then on nothing more goes through, not even an end, as where a network cable is cut.
    """

    def __init__(self, *servers: tuple[str, int]) -> None:
        self._servers = itertools.cycle(servers)
        self._talking = threading.Event()
        self._talking.set()
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(next(self._servers))
                self._sockets += [client, server]
                for ends in ((client, server), (server, client)):
                    threading.Thread(target=self._forward, args=ends, daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._talking.wait()
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def silent(self) -> None:
        """Let nothing more through."""
        self._talking.clear()

    def cut_replies(self) -> None:
        """Let nothing more through from the servers, and end the way to the clients."""
        for client in self._sockets[::2]:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_WR)

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        """Break all connections."""
        self._listener.close()
        for end in self._sockets:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads from it
            end.close()  # only this ends a server's send where nobody has read what came before
        self._talking.set()


# Scripts


def project() -> Path:
    """Return the folder of the scripts under test."""
    return Path(importlib.import_module("seed").__file__).parent


class Done(NamedTuple):
    """How a script ended."""

    status: int
    output: str
    errors: str


def run(script: str, *arguments: object) -> Done:
    """Run a script's main() as the script does, in this process."""
    main = importlib.import_module(script.removesuffix(".py")).main
    output, errors, status = io.StringIO(), io.StringIO(), 0
    with (
        patch("sys.argv", [script, *map(str, arguments)]),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
    ):
        try:
            importlib.import_module("seed").run(main)
        except SystemExit as end:
            status = end.code
    return Done(status, output.getvalue(), errors.getvalue())


def refused(done: Done) -> str:
    """Return the one line of a script that failed as it should, without its name."""
    assert (done.status, done.errors.count("\n")) == (1, 1), done
    return done.errors.split(": ", 1)[1].rstrip("\n")


def shell(command: str, **options) -> subprocess.CompletedProcess[str]:
    """Run a shell command in the project's folder, where python is that of the tests."""
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONIOENCODING": "utf-8"}
    environment.update(options.pop("env", {}))
    options = {"cwd": project(), "env": environment, "capture_output": True, **options}
    return subprocess.run(["bash", "-c", command], encoding="utf-8", timeout=300, **options)


# Files


def csv_text(rows: Iterable[Iterable], columns=("user_id", "name", "email", "age")) -> str:
    """Return a CSV text of some rows."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    return text.getvalue()


def first_users(count: int, order: int | None = None) -> list[tuple]:
    """Return made-up users in the order in which they are made, or one of its shuffles."""
    users = list(islice(made_users(), count))
    if order is not None:
        random.Random(order).shuffle(users)
    return users


def before_commit(connection, action: Callable[[], None]) -> None:
    """See to it that an action is done before each COMMIT of the connection's cursors."""
    make = connection.cursor

    def cursor(*args, **kwargs):
        made = make(*args, **kwargs)
        execute = made.execute

        def hooked(statement, *values):
            if statement == "COMMIT":
                action()
            return execute(statement, *values)

        made.execute = hooked
        return made

    connection.cursor = cursor
