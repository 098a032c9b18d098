"""The server and the project that the tests run on; never a server or an ALX_prodev of the user's.

With mysqld or mariadbd on PATH: a private server for the session, and the project as it stands.
Without: the server that the MYSQL_* variables name, and a copy of the project in which the database
has a name of its own; what needs to stop a server is then skipped.
"""

from __future__ import annotations

import csv
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from itertools import islice
from pathlib import Path

import mysql.connector
import pytest

from made_users import made_users, write_csv
from mysql_server import INSTALL, PROJECT, PrivateServer, ServerError, free_port, server_program

MANY = 300_000  # users: far more than a socket buffers
FILES = ["seed.py", "user_data.csv", *(path.name for path in PROJECT.glob("[0-9]-*.py"))]


def wait_until(condition, process: subprocess.Popen | None = None, pause: float = 0.02) -> None:
    """Wait until a condition is met: for a minute at most, and only while the process runs."""
    end = time.monotonic() + 60
    while not condition():
        assert process is None or process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(pause)


class ThrowAwayServer(PrivateServer):
    """A private server that starts on a copy of an empty one's data, and ends by being killed."""

    templates: Path  # the folder for the empty ones
    # Of MariaDB's and MySQL's log, which takes 100 MB else.
    sizes = ("--loose-innodb-log-file-size=16M", "--loose-innodb-redo-log-capacity=32M")

    def __init__(self, folder: Path, port: int, user: str = "root", password: str = "p") -> None:
        super().__init__(folder, port, user, password)

    def _initialise(self, program: str, family: str, data: Path) -> None:
        template = self.templates / family
        if not template.exists():
            super()._initialise(program, family, template)
            (template / "auto.cnf").unlink(missing_ok=True)  # the identity of a MySQL server
        shutil.copytree(template, data)

    def kill(self) -> None:
        """End the server as a power cut would."""
        self.stop(signal.SIGKILL)

    def __exit__(self, *_: object) -> None:
        self.kill()


class Session:
    """What one test session runs on: a folder with the scripts, and perhaps a server of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = ThrowAwayServer.templates = folder
        self.server = None
        try:
            server_program()
        except ServerError as error:
            self._use_the_named_server(error)
        else:
            self.project = PROJECT
            self.server = ThrowAwayServer(folder / "server", free_port(), password="it's \\ own")
            self.server.start()
            # No option file of the user's leads elsewhere.
            os.environ.update(self.server.environment(), HOME=str(folder))
        sys.path.insert(0, str(self.project))

    def _use_the_named_server(self, reason: ServerError) -> None:
        self.project = self.folder / "project"
        self.project.mkdir()
        for name in FILES:
            shutil.copy(PROJECT / name, self.project)
        script = self.project / "seed.py"
        text = script.read_text(encoding="utf-8")
        own_name = f'DATABASE = "ALX_prodev_test_{os.getpid()}"'
        assert 'DATABASE = "ALX_prodev"' in text
        script.write_text(text.replace('DATABASE = "ALX_prodev"', own_name), encoding="utf-8")
        sys.path.insert(0, str(self.project))
        import seed

        try:
            with seed.connect_db() as connection:
                seed.create_database(connection)
        except (mysql.connector.Error, ValueError) as error:
            raise ServerError(
                f"{reason}; and the MYSQL_* server, in a database {seed.DATABASE}: {error}"
            ) from error

    def close(self) -> None:
        if self.server:
            self.server.kill()
        else:
            import seed

            with seed.connect_db() as connection:
                connection.cmd_query(f"DROP DATABASE IF EXISTS {seed.DATABASE}")


# It hides what is not flushed, and is set on many machines, but not on most users'.
os.environ.pop("PYTHONUNBUFFERED", None)

session = None
temporary = tempfile.TemporaryDirectory(prefix="generators-")
# Where the suite runs in the background, its shell has Ctrl-C ignored, and so would all it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_sessionstart() -> None:
    global session
    try:
        session = Session(Path(temporary.name))
    except ServerError as error:
        temporary.cleanup()
        pytest.exit(f"no server to test on: {error}", 3)  # 1 is a failed test


def pytest_sessionfinish() -> None:
    if session:
        session.close()
    temporary.cleanup()


@pytest.fixture
def project() -> Path:
    """The folder that holds the scripts under test."""
    return session.project


@pytest.fixture(scope="session")
def private_server() -> PrivateServer:
    """The session's own server, for tests that look into it; what stops one starts its own."""
    if session.server is None:
        pytest.skip(f"needs a server of its own: {INSTALL}")
    return session.server


@pytest.fixture
def own_server(tmp_path, private_server, at):
    """A server for one test to stop or kill; the MYSQL_* variables lead to it."""
    with ThrowAwayServer(tmp_path / "server", free_port()) as server:
        yield at(server)


@pytest.fixture(scope="session")
def large(private_server, tmp_path_factory):
    """A server for server_with(), and files of 10,000 and of MANY users."""
    folder = tmp_path_factory.mktemp("large")
    files = {}
    for rows in (10_000, MANY):
        files[rows] = folder / f"{rows}.csv"
        with open(files[rows], "w", encoding="utf-8", newline="") as file:
            write_csv(file, rows)
    with ThrowAwayServer(folder / "server", free_port()) as server:
        server.files = files
        server.rows = 0
        yield server


@pytest.fixture
def server_with(large, at, capsys):
    """A function that sees to it that the table has so many users, and returns the server.

    A test that changes them sets the server's rows to 0.
    """
    import seed

    at(large)

    def server_with(rows: int = MANY) -> PrivateServer:
        if large.rows == rows:
            return large
        with seed.connect_db() as connection:
            seed.create_database(connection)
        with seed.connect_to_prodev() as connection:
            if large.rows:
                connection.cmd_query(f"RENAME TABLE user_data TO kept_{large.rows}")
            connection.cmd_query("DROP TABLE IF EXISTS user_data")
            if seed.query(connection, f"SHOW TABLES LIKE 'kept_{rows}'"):
                connection.cmd_query(f"RENAME TABLE kept_{rows} TO user_data")
            else:
                seed.create_table(connection)
                seed.insert_data(connection, large.files[rows])
        large.rows = rows
        return large

    return server_with


@pytest.fixture
def seed(no_database):
    """The module seed, with no database yet."""
    import seed

    return seed


@pytest.fixture
def no_database() -> None:
    import seed

    with seed.connect_db() as connection, connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE IF EXISTS {seed.DATABASE}")


@pytest.fixture
def connection(seed):
    """A connection to the database, which has an empty table."""
    with seed.connect_db() as connection:
        seed.create_database(connection)
    with seed.connect_to_prodev() as connection:
        seed.create_table(connection)
        yield connection


@pytest.fixture
def seeded(connection, seed):
    """A connection to the database, which has the 1,000 users of user_data.csv."""
    seed.insert_data(connection, seed.CSV_FILE)
    return connection


@pytest.fixture
def query():
    """A function that returns all rows of a query on a connection of its own."""
    import seed

    def query(statement: str, params: tuple = ()) -> list[tuple]:
        with seed.connect_db() as connection, connection.cursor() as cursor:
            cursor.execute(f"USE {seed.DATABASE}")
            cursor.execute(statement, params)
            return cursor.fetchall()

    return query


@pytest.fixture
def run(project):
    """A function that runs a Python command line and returns what it printed, as text."""

    def run(
        *arguments: object, cwd: Path = project, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        # UTF-8 whatever the locale of the machine that runs the tests.
        environment = {**os.environ, "PYTHONIOENCODING": "utf-8", **variables}
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=cwd,
            env=environment,
            capture_output=True,
            encoding="utf-8",
            timeout=300,
        )

    return run


@pytest.fixture
def start(project):
    """A function that starts a script, whose output nobody reads; it is ended with the test."""
    processes = []

    def start(
        script: str, *arguments: object, stdout: int = subprocess.DEVNULL, **variables: str
    ) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, script, *map(str, arguments)],
            cwd=project,
            env={**os.environ, **variables},
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def imports_at_once(start):
    """A function that imports files at servers, all at once, and returns what each counted.

    It is given a file for each server, and returns pairs: inserted, and already there.
    """

    def imports_at_once(files: list, servers: list[PrivateServer]) -> list[tuple[int, int]]:
        processes = [
            start("seed.py", file, stdout=subprocess.PIPE, **server.environment())
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


@pytest.fixture
def shuffled_file(tmp_path):
    """A function that writes a file of users, in an order of its own, and returns its path."""

    def shuffled_file(count: int, order: int) -> str:
        users = list(islice(made_users(), count))
        random.Random(order).shuffle(users)
        file = tmp_path / f"{order}.csv"
        with open(file, "w", encoding="utf-8", newline="") as text:
            csv.writer(text).writerows([["user_id", "name", "email", "age"], *users])
        return str(file)

    return shuffled_file


@pytest.fixture(scope="session")
def family(private_server) -> str:
    """The family that the servers of the tests are of, "mariadb" or "mysql"."""
    return server_program()[1]


@pytest.fixture(scope="module")
def cluster(family, tmp_path_factory):
    """A cluster whose nodes all write: Galera, or a group with several primaries."""
    import clusters

    folder = tmp_path_factory.mktemp("cluster")
    if family == "mysql":
        cluster = clusters.Group(folder, all_primaries=True)
    elif Path(clusters.PROVIDER).exists():
        cluster = clusters.Galera(folder)
    else:
        pytest.skip("needs Galera: apt-get install galera-4")
    with closing(cluster):
        cluster.start()
        yield cluster


@pytest.fixture
def empty_cluster(cluster, at):
    """The cluster without the database; the variables lead to a node."""
    import seed

    with at(cluster.nodes[0]).connect() as connection:
        connection.cmd_query(f"DROP DATABASE IF EXISTS {seed.DATABASE}")
    cluster.wait_until_applied()
    return cluster


@pytest.fixture
def at(monkeypatch):
    """A function that leads seed.py to a server: nothing else changes."""

    def at(server: PrivateServer) -> PrivateServer:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        return server

    return at


@pytest.fixture
def option_file(tmp_path, monkeypatch):
    """A function that writes the [client] group of ~/.my.cnf."""
    monkeypatch.setenv("HOME", str(tmp_path))

    def option_file(*options: str) -> None:
        (tmp_path / ".my.cnf").write_text("\n".join(["[client]", *options]), encoding="utf-8")

    return option_file
