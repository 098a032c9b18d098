"""The server and the project that the tests run on; never a server or an ALX_prodev of the user's.

With mysqld or mariadbd on PATH: private servers, started by the first test that asks for one, and
the project as it stands. Without: the server that the MYSQL_* variables name, and a copy of the
project in which the database has a name of its own; what needs to stop a server is then skipped.
"""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from clusters import KIND, SIZE

from helpers import FAMILY, NO_PROGRAM, ThrowAwayServer, csv_text, first_users, run
from mysql_server import PROJECT, free_port

WIDE = 20_000  # users of 1.1 KB: more than any socket buffers

temporary = tempfile.TemporaryDirectory(prefix="generators-")
ThrowAwayServer.templates = Path(temporary.name)
project = PROJECT
if not FAMILY:
    project = Path(temporary.name, "project")
    shutil.copytree(PROJECT, project, ignore=shutil.ignore_patterns(".*", "__pycache__"))
    text = Path(project, "seed.py").read_text(encoding="utf-8")
    assert 'DATABASE = "ALX_prodev"' in text
    text = text.replace("ALX_prodev", f"ALX_prodev_test_{os.getpid()}")
    Path(project, "seed.py").write_text(text, encoding="utf-8")
sys.path.insert(0, str(project))
# It hides what is not flushed, and is set on many machines, but not on most users'.
os.environ.pop("PYTHONUNBUFFERED", None)
# Where the suite runs in the background, its shell has Ctrl-C ignored, and so would all it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_sessionfinish() -> None:
    temporary.cleanup()


def insert_wide_users(server: ThrowAwayServer, database: str) -> None:
    """Insert WIDE users into an empty table."""
    users = ", ".join(["(UUID(), REPEAT('😀', 255), 'a@b', 30)"] * 625)
    server.rows(f"INSERT INTO user_data VALUES {users}", database)
    while server.rows("SELECT COUNT(*) FROM user_data", database) != [(WIDE,)]:
        double = "INSERT INTO user_data SELECT UUID(), name, email, age FROM user_data"
        server.rows(double, database)


@pytest.fixture(scope="session")
def server():
    """The session's own server, to which the variables lead; what spoils one starts its own."""
    if not FAMILY:
        pytest.skip(f"needs a server of its own: {NO_PROGRAM}")
    with ThrowAwayServer(Path(temporary.name, "server"), free_port(), "it's \\ own") as server:
        # No option file of the user's leads elsewhere.
        os.environ.update(server.environment(), HOME=temporary.name)
        yield server


@pytest.fixture(scope="session")
def any_server(request):
    """The session's own server, or the one that the variables name."""
    if FAMILY:
        request.getfixturevalue("server")
        yield
        return
    seed = importlib.import_module("seed")
    try:
        seed.connect_db().close()
    except Exception as error:
        pytest.exit(f"no server to test on: {NO_PROGRAM}; and the MYSQL_* server: {error}", 3)
    yield
    with seed.connect_db() as connection:
        connection.cmd_query(f"DROP DATABASE IF EXISTS {seed.DATABASE}")


@pytest.fixture
def no_database(any_server) -> None:
    """A server without the database."""
    seed = importlib.import_module("seed")
    with seed.connect_db() as connection:
        connection.cmd_query(f"DROP DATABASE IF EXISTS {seed.DATABASE}")


@pytest.fixture
def empty(no_database):
    """A connection to the database, which has an empty table."""
    seed = importlib.import_module("seed")
    with seed.connect_db() as connection:
        seed.create_database(connection)
        connection.database = seed.DATABASE
        seed.create_table(connection)
        yield connection


@pytest.fixture
def seeded(empty):
    """A connection to the database, which has the 1,000 users of user_data.csv."""
    seed = importlib.import_module("seed")
    seed.insert_data(empty, seed.CSV_FILE)
    return empty


@pytest.fixture
def query(any_server):
    """A function that returns all rows of a query on a connection of its own."""
    seed = importlib.import_module("seed")

    def query(statement: str) -> list[tuple]:
        with seed.connect_db() as connection, connection.cursor() as cursor:
            cursor.execute(f"USE {seed.DATABASE}")
            cursor.execute(statement)
            return cursor.fetchall()

    return query


@pytest.fixture(scope="session")
def kept(server):
    """The server with a table of WIDE users in another database."""
    server.rows("CREATE DATABASE kept")
    server.rows(importlib.import_module("seed").CREATE_TABLE, "kept")
    insert_wide_users(server, "kept")
    return server


@pytest.fixture
def wide(kept, no_database):
    """The server, with WIDE users in the database; a test may kill it, but changes none of them."""
    kept.rows("CREATE DATABASE ALX_prodev")
    kept.rows("RENAME TABLE kept.user_data TO ALX_prodev.user_data")
    yield kept
    if not kept.running():
        kept.start()
    kept.rows("RENAME TABLE ALX_prodev.user_data TO kept.user_data")


@pytest.fixture
def own_server(server, at, tmp_path):
    """A server for one test to stop, kill or spoil; the MYSQL_* variables lead to it."""
    with ThrowAwayServer(tmp_path / "server", free_port()) as server:
        yield at(server)


@pytest.fixture(scope="session")
def started_cluster(server):
    """A cluster that cluster() starts."""
    cluster = KIND(Path(temporary.name, "cluster"))
    if lacks := cluster.lacks(server):
        pytest.skip(lacks)
    with closing(cluster):
        yield cluster


@pytest.fixture
def cluster(started_cluster, at):
    """A cluster whose nodes all write, with an empty table; the variables lead to the first one."""
    if len(started_cluster.alive()) < SIZE:  # at first, and after a test that killed one
        started_cluster.start()
        started_cluster.wait_for(SIZE)
    at(started_cluster.nodes[0]).rows("DROP DATABASE IF EXISTS ALX_prodev")
    assert run("seed.py", os.devnull).status == 1  # makes the table
    started_cluster.wait_until_applied()
    return started_cluster


@pytest.fixture
def wide_cluster(cluster):
    """The same with WIDE users."""
    insert_wide_users(cluster.nodes[0], "ALX_prodev")
    cluster.wait_until_applied()
    return cluster


@pytest.fixture
def at(monkeypatch):
    """A function that leads seed.py to a server: nothing else changes."""

    def at(server: ThrowAwayServer) -> ThrowAwayServer:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        return server

    return at


@pytest.fixture
def option_file(tmp_path, monkeypatch):
    """A function that writes the [client] group of ~/.my.cnf, and returns its path."""
    monkeypatch.setenv("HOME", str(tmp_path))

    def option_file(*options: str) -> Path:
        file = tmp_path / ".my.cnf"
        file.write_text("\n".join(["[client]", *options]), encoding="utf-8")
        return file

    return option_file


@pytest.fixture
def csv_file(tmp_path):
    """A function that writes a CSV file, a text or the first users, and returns its path."""

    def csv_file(content: str | bytes | int, name: str = "users.csv", order=None) -> Path:
        if isinstance(content, int):
            content = csv_text(first_users(content, order))
        file = tmp_path / name
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    return csv_file


@pytest.fixture
def start():
    """A function that starts a script, whose output nobody reads; it is ended with the test."""
    processes = []

    def start(script: str, *arguments: object, **options) -> subprocess.Popen:
        processes.append(
            subprocess.Popen(
                [sys.executable, script, *map(str, arguments)],
                cwd=project,
                env={**os.environ, **options.pop("env", {})},
                stderr=subprocess.PIPE,
                encoding="utf-8",
                errors="replace",  # what is cut may be cut within a character
                **{"stdout": subprocess.DEVNULL, **options},
            )
        )
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def imports_at_once(start):
    """A function that imports files at servers, all at once, and returns what each counted."""

    def imports_at_once(files: list, servers: list) -> list[tuple[int, int]]:
        processes = [
            start("seed.py", file, stdout=subprocess.PIPE, env=server.environment())
            for file, server in zip(files, servers)
        ]
        counts = []
        for process in processes:
            output, errors = process.communicate(timeout=300)
            assert (process.returncode, errors) == (0, "")
            inserted, _, _, already_there, *_ = output.splitlines()[-1].split()
            counts.append((int(inserted), int(already_there)))
        return counts

    return imports_at_once
