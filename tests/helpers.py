"""What several test modules use: servers to throw away, counts, a network, scripts, files."""

import contextlib
import csv
import io
import os
import random
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple
from unittest.mock import patch

import mysql.connector

from made_users import made_users
from mysql_server import PROJECT, PrivateServer, seed, server_program

FAMILY = server_program()[1]  # mysql or mariadb
temporary = tempfile.TemporaryDirectory(prefix="generators-")
# A "python" that is this very interpreter, which may have no other name than python3.13
PROGRAMS = Path(temporary.name, "bin")
PROGRAMS.mkdir()
(PROGRAMS / "python").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
(PROGRAMS / "python").chmod(0o755)
SCRIPTS = ["0-stream_users.py", "1-batch_processing.py", "2-lazy_paginate.py", "4-stream_ages.py"]
EVERYTHING = ["seed.py", *SCRIPTS]
ALL_USERS = {script: ["1000000"] if script == SCRIPTS[0] else [] for script in SCRIPTS}
stream, batches, pages, ages = (__import__(script[:-3]) for script in SCRIPTS)
GENERATORS = {
    "stream_users": stream.stream_users,
    "stream_users_in_batches": lambda: batches.stream_users_in_batches(50),
    "stream_user_ages": ages.stream_user_ages,
    "lazy_pagination": lambda: pages.lazy_pagination(50),
}
WIDE = 20_000  # users of 1.1 KB: more than any socket buffers
INSERT = "INSERT INTO user_data VALUES (%s, %s, %s, %s)"
COUNT = "SELECT COUNT(*), COUNT(DISTINCT user_id) FROM user_data"


def wait_until(condition, process: subprocess.Popen | None = None) -> None:
    """Wait until a condition is met: for a minute at most, and only while the process runs."""
    end = time.monotonic() + 60
    while True:
        running = process is None or process.poll() is None  # before what it may do at its end
        if condition():
            return
        assert running, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.02)


class ThrowAwayServer(PrivateServer):
    """A private server on a copy of an empty one's data, that ends by a kill."""

    # Of MariaDB's and MySQL's log, which takes 100 MB else; and nothing is synced to the disk.
    sizes = ("--loose-innodb-log-file-size=16M", "--loose-innodb-redo-log-capacity=32M")
    sizes += ("--innodb-flush-log-at-trx-commit=2", "--innodb-doublewrite=OFF")
    sizes += ("--loose-innodb-flush-method=nosync", "--performance-schema=OFF")

    def _initialise(self, program: str, family: str, data: Path) -> None:
        template = Path(temporary.name, family)
        if not template.exists():
            super()._initialise(program, family, template)
            (template / "auto.cnf").unlink(missing_ok=True)  # the identity of a MySQL server
        shutil.copytree(template, data)

    def kill(self) -> None:
        """End it as a power cut would."""
        self.stop(signal.SIGKILL)

    def __enter__(self):
        return self if self.running() else super().__enter__()

    def __exit__(self, *_: object) -> None:
        self.kill()

    def rows(self, statement: str, database: str | None = None) -> list[tuple]:
        """Return what a statement gives, on a connection of its own."""
        # TLS takes MySQL 25 ms. (The first connection, start()'s own, must have it.)
        connection = self.connect(database=database, ssl_disabled=True)
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.with_rows else []

    def connections(self, doing: str = "") -> list[int]:
        """Return the numbers of other clients' connections, in whose query or state the text is."""
        others = "id <> CONNECTION_ID() AND user <> 'system user'"
        doing = f"CONCAT_WS(' ', state, info) LIKE '%{doing}%'"
        clients = f"SELECT id FROM information_schema.processlist WHERE {others} AND {doing}"
        return [number for (number,) in self.rows(clients)]

    def wait_until_left_alone(self) -> None:
        """Wait for the connections that are just closing; a minute is a failure."""
        wait_until(lambda: not self.connections())

    def kill_connections(self) -> None:
        for number in self.connections():
            with contextlib.suppress(mysql.connector.Error):  # it has just ended by itself
                self.rows(f"KILL {number}")


def insert_wide_users(server: ThrowAwayServer) -> None:
    """Insert WIDE users into an empty table."""
    many = "information_schema.collations AS a, information_schema.collations AS b"
    user = f"SELECT UUID(), REPEAT('😀', 255), 'a@b', 30 FROM {many} LIMIT {WIDE}"
    server.rows(f"INSERT INTO user_data {user}", seed.DATABASE)


@contextlib.contextmanager
def counting(server: ThrowAwayServer) -> Iterator[SimpleNamespace]:
    """Count what a server is asked for within the block: there to be seen after it."""
    count = SimpleNamespace()
    with server.connect() as own:

        def rows_read() -> int:
            """Return how many rows were ever read in the order of an index, or in a scan."""
            status = seed.query(own, "SHOW GLOBAL STATUS LIKE 'Handler_read_%next'")
            return sum(int(value) for _, value in status)

        own.cmd_query("SET GLOBAL log_output = 'TABLE'")
        own.cmd_query("TRUNCATE mysql.general_log")
        own.cmd_query("SET GLOBAL general_log = 1")
        # To ask reads rows, too, as many each time: the difference of the first two questions.
        first, second = rows_read(), rows_read()
        of_a_question = second - first
        try:
            yield count
        finally:
            own.cmd_query("SET GLOBAL general_log = 0")
        count.rows_read = rows_read() - second - of_a_question
        log = "SELECT command_type, CONVERT(argument USING utf8mb4) FROM mysql.general_log"
        log = seed.query(own, f"{log} WHERE thread_id <> CONNECTION_ID()")
    count.queries = [text for command, text in log if command == "Query"]
    count.connections = sum(command == "Connect" for command, _ in log)
    count.selects = sum("FROM user_data" in text for text in count.queries)


@contextlib.contextmanager
def router(server: ThrowAwayServer) -> Iterator[tuple[int, Callable[[], None]]]:
    """Lead each connection to a port on to a server; give that port, and what cuts the replies."""
    clients, servers = [], []

    def forward(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                clients.append(listener.accept()[0])
                servers.append(socket.create_connection((server.host, server.port)))
                for ends in (clients[-1], servers[-1]), (servers[-1], clients[-1]):
                    threading.Thread(target=forward, args=ends, daemon=True).start()

    def cut_replies() -> None:  # to the clients, the server has ended
        for client in clients:
            client.shutdown(socket.SHUT_WR)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1], cut_replies
    for end in clients + servers:
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads from it
        end.close()  # only this ends a server's send where nobody has read what came before


class Done(NamedTuple):
    """How a script ended."""

    status: int
    output: str
    errors: str


def ran(script: str, *arguments: object) -> Done:
    """Run a script's main() as the script does, in this process."""
    main = __import__(script.removesuffix(".py")).main
    output, errors, status = io.StringIO(), io.StringIO(), 0
    with (
        patch("sys.argv", [script, *map(str, arguments)]),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
    ):
        try:
            seed.run(main)
        except SystemExit as end:
            status = end.code
    return Done(status, output.getvalue(), errors.getvalue())


def ended(process: subprocess.Popen, *signals: int) -> Done:
    """Send signals to a script that start() has started, and wait for its end: a minute at most."""
    for number in signals:
        process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    return Done(process.returncode, output or "", errors)


def refused(done: Done) -> str:
    """Return the one line of a script that failed as it should, without its name."""
    assert (done.status, done.errors.count("\n")) == (1, 1), done
    return done.errors.split(": ", 1)[1].rstrip("\n")


def imported(done: Done) -> tuple[int, int]:
    """Return how many users an import has inserted, and how many were there already."""
    assert (done.status, done.errors) == (0, ""), done
    inserted, _, _, already_there, *_ = done.output.splitlines()[-1].split()
    return int(inserted), int(already_there)


def shell(command: str, *arguments: object, **options) -> Done:
    """Run a shell command ($1: the first argument) in the project's folder, python as here."""
    path = os.pathsep.join([str(PROGRAMS), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONIOENCODING": "utf-8"}
    environment |= options.pop("env", {})
    options = {"cwd": PROJECT, "env": environment, "capture_output": True, **options}
    command = ["bash", "-c", command, "bash", *map(str, arguments)]
    done = subprocess.run(command, encoding="utf-8", timeout=300, **options)
    return Done(done.returncode, done.stdout, done.stderr)


def imports_at_once(files: list[Path], servers: list[ThrowAwayServer]) -> list[tuple[int, int]]:
    """Import files at servers, all at once; return the counts of each."""

    def import_one(file: Path, server: ThrowAwayServer) -> tuple[int, int]:
        return imported(shell('python seed.py "$1"', file, env=server.environment()))

    with ThreadPoolExecutor(len(files)) as pool:
        return list(pool.map(import_one, files, servers))


def query(statement: str) -> list[tuple]:
    """Return all rows of a query on a connection of its own."""
    with contextlib.closing(seed.connect_to_prodev()) as connection:
        return seed.query(connection, statement)


def csv_text(rows: Iterable[Iterable], columns=seed.COLUMNS, **how) -> str:
    """Return a CSV text of some rows."""
    text = io.StringIO()
    csv.writer(text, **{"lineterminator": "\n", **how}).writerows([columns, *rows])
    return text.getvalue()


made, more = [], made_users()  # to make them takes longer than to import them


def first_users(count: int, order: int | None = None) -> list[tuple]:
    """Return made-up users in the order in which they are made, or one of its shuffles."""
    made.extend(islice(more, max(0, count - len(made))))
    users = made[:count]
    if order is not None:
        random.Random(order).shuffle(users)
    return users
