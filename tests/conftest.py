"""Fixtures: a server of the mysqld or mariadbd on PATH, tables, settings, files, scripts."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import helpers
from helpers import FAMILY, ThrowAwayServer, seed, temporary
from mysql_server import PROJECT, free_port, server_program


def version() -> str:
    """Return what the server's program says of itself."""
    command = [server_program()[0], "--version"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def pytest_report_header() -> str:
    return f"server: {version()}"


def pytest_sessionstart() -> None:
    """See that the server is the one that .ci/run says it tests on."""
    if os.environ.get("EXPECTED_SERVER", "") not in version():
        pytest.exit(f"expected {os.environ['EXPECTED_SERVER']}, not {version()}", returncode=1)


collect_ignore = [] if FAMILY == "mariadb" else ["test_shards.py"]  # of MariaDB alone
os.environ["COLUMNS"] = "100"  # by which argparse folds what -h prints
os.environ.pop("PYTHONUNBUFFERED", None)  # it hides what is not flushed
# No option file of the user's leads elsewhere. A TLS login takes MySQL 25 to 40 ms: what is about
# TLS or accounts, and long streams, have a HOME of their own.
os.environ["HOME"] = temporary.name
Path(temporary.name, ".my.cnf").write_text("[client]\nssl-mode=DISABLED\n")
# Where the suite runs in the background, its shell has Ctrl-C ignored, and so would all it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
for number in (signal.SIGTERM, signal.SIGHUP):  # no server is left by a terminal that is closed
    if signal.getsignal(number) is signal.SIG_DFL:
        signal.signal(number, signal.default_int_handler)


@pytest.fixture(autouse=True)
def time_limit(request):
    """End a test that hangs, or reads a stream without an end, before it takes all memory."""

    def give_up(*_: object) -> None:
        pytest.fail("it took more than a minute")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(240 if request.node.get_closest_marker("cluster") else 60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="session")
def server():
    """The session's server, which the variables name: never one of the user's."""
    with ThrowAwayServer(Path(temporary.name, "server"), free_port(), "it's \\ own") as server:
        os.environ.update(server.environment())
        yield server


@pytest.fixture
def no_database(server) -> None:
    """A server without the database."""
    server.rows("DROP DATABASE IF EXISTS ALX_prodev")


@pytest.fixture
def empty(no_database):
    """A connection to the database, which has an empty table; it commits each statement."""
    with seed.connect_db() as connection:
        connection.autocommit = True
        seed.create_database(connection)
        connection.database = seed.DATABASE
        connection.cmd_query(seed.CREATE_TABLE)
        yield connection


@pytest.fixture
def seeded(empty):
    """A connection to the database, which has the 1,000 users of user_data.csv."""
    seed.insert_data(empty, seed.CSV_FILE)
    return empty


@pytest.fixture
def default_tls(tmp_path, monkeypatch) -> None:
    """A HOME without an option file."""
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def wide(empty, server, default_tls):
    """The server, with WIDE users in the database; a test may kill it, but changes none of them."""
    server.rows("CREATE DATABASE IF NOT EXISTS kept")
    if server.rows("SHOW TABLES FROM kept"):
        server.rows("DROP TABLE ALX_prodev.user_data")
        server.rows("RENAME TABLE kept.user_data TO ALX_prodev.user_data")
    else:  # the first time, and after a test that has lost them
        helpers.insert_wide_users(server)
    empty.close()
    yield server
    if not server.running():
        server.start()
    server.kill_connections()  # what a test that failed has left holds the table
    server.rows("RENAME TABLE ALX_prodev.user_data TO kept.user_data")


@pytest.fixture
def settings(monkeypatch):
    """A function that sets MYSQL_* variables, or leads them to a server, which it returns."""

    def settings(server: ThrowAwayServer | None = None, **variables: object):
        for name, value in (server.environment() if server else variables).items():
            monkeypatch.setenv(name if server else f"MYSQL_{name}", str(value))
        return server

    return settings


@pytest.fixture
def with_global(server):
    """A function that sets a global variable of the server for the time of the test."""
    before = []

    def with_global(name: str, value: int | str) -> None:
        before.append((name, server.rows(f"SELECT @@GLOBAL.{name}")[0][0]))
        server.rows(f"SET GLOBAL {name} = {value!r}")

    yield with_global
    for name, value in reversed(before):
        server.rows(f"SET GLOBAL {name} = {value!r}")


@pytest.fixture
def account(server, settings, default_tls):
    """A function that makes an account with the given rights, which the variables name."""
    accounts = []

    def account(name: str, *rights: str) -> None:
        accounts.append(f"{name}@localhost")
        server.rows(f"CREATE USER {accounts[-1]} IDENTIFIED BY 'p'")
        for right in rights:
            server.rows(f"GRANT {right} TO {accounts[-1]}")
        settings(USER=name, PASSWORD="p")

    yield account
    for name in accounts:
        server.rows(f"DROP USER {name}")


@pytest.fixture
def option_file(tmp_path, monkeypatch):
    """A function that writes the [client] group of ~/.my.cnf, and returns its path."""
    monkeypatch.setenv("HOME", str(tmp_path))

    def option_file(*options: str) -> Path:
        file = tmp_path / ".my.cnf"
        file.write_text("\n".join(["[client]", *options]), encoding="utf-8")
        file.chmod(0o600)  # whatever the umask is
        return file

    return option_file


@pytest.fixture
def csv_file(tmp_path):
    """A function that writes a CSV file, a text or the first users, and returns its path."""

    def csv_file(content: str | bytes | int, name: str = "users.csv", order=None) -> Path:
        if isinstance(content, int):
            content = helpers.csv_text(helpers.first_users(content, order))
        file = tmp_path / name
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    return csv_file


@pytest.fixture
def start():
    """A function that starts a script; it is ended with the test."""
    processes = []

    def start(script: str, *arguments: object, stdout=subprocess.DEVNULL, **variables: str):
        command = [sys.executable, script, *map(str, arguments)]
        options = {"cwd": PROJECT, "env": {**os.environ, **variables}}
        options |= {"stdout": stdout, "stderr": subprocess.PIPE}
        # What is cut may be cut within a character.
        processes.append(subprocess.Popen(command, encoding="utf-8", errors="replace", **options))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()
