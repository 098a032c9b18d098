"""tests/mysql_server.py as a command, on a copy of the project so that a user's server is safe."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import mysql.connector
import pytest

from helpers import FAMILY, Done, counts, refused, run, temporary, wait_until
from mysql_server import PROJECT, PrivateServer, ServerError, free_port

# What leads nowhere else; development mode tells of what is left behind.
SETTINGS = {**{f"MYSQL_{name}": "" for name in ("HOST", "USER", "PASSWORD")}, "PYTHONDEVMODE": "1"}


class Command:
    """mysql_server.py in a project of its own, on a port of its own."""

    def __init__(self, folder: Path, start) -> None:
        (folder / "tests").mkdir(parents=True)
        shutil.copy(PROJECT / "seed.py", folder)
        self.script = shutil.copy(PROJECT / "tests/mysql_server.py", folder / "tests")
        self.folder = folder / ".mysql"
        self.port = free_port()
        self._start = start

    def begin(self, action: str, **variables: str) -> subprocess.Popen[str]:
        settings = {**SETTINGS, "MYSQL_PORT": str(self.port), **variables}
        return self._start(self.script, action, stdout=subprocess.PIPE, env=settings)

    def __call__(self, action: str, **variables: str) -> Done:
        process = self.begin(action, **variables)
        output, errors = process.communicate(timeout=90)
        return Done(process.returncode, output, errors)

    def refuses(self, **variables: str) -> str:
        """Return the one line of a start that fails and leaves nothing running."""
        line = refused(self("start", **variables))
        assert not self.processes()
        return line

    def processes(self) -> list[str]:
        """Return the numbers of the processes that were told to work on its folder."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if os.fsencode(f"={self.folder}/") in Path(process, "cmdline").read_bytes():
                    found.append(process.name)
        return found

    def connect(self, user: str = "root", password: str = "", **settings):
        settings |= {"host": "127.0.0.1", "port": self.port, "user": user, "password": password}
        return mysql.connector.connect(**settings)


@pytest.fixture
def no_data(server, tmp_path, start):
    """The command before its first start."""
    command = Command(tmp_path / "mes g\udce9n\u00e9rateurs", start)  # one letter of it in Latin-1
    yield command
    command("stop")


@pytest.fixture
def command(no_data):
    """The command with data that is there already, as they take seconds to make."""
    for kind in ("open", "private"):
        shutil.copytree(Path(temporary.name, FAMILY), no_data.folder / f"{FAMILY}-{kind}")
    return no_data


def test_start_status_stop(no_data, monkeypatch):
    no_data.folder.mkdir(mode=0o755)
    assert no_data("status") == (1, "Not running\n", "")
    for action in ("start", "start", "status"):
        status, output, errors = no_data(action)
        assert (status, errors) == (0, "")
        assert output.endswith(f" is ready at 127.0.0.1:{no_data.port}\n")
    other = f"MYSQL_PORT={no_data.port}, or stop it first"
    assert refused(no_data("start", MYSQL_PORT=str(free_port()))).endswith(other)
    # Nobody else reads its files, or reaches it from another machine.
    assert no_data.folder.stat().st_mode & 0o777 == 0o700
    with socket.create_server(("127.0.0.2", no_data.port)):
        pass  # no address but 127.0.0.1 is taken
    monkeypatch.setenv("MYSQL_PORT", str(no_data.port))
    monkeypatch.setenv("MYSQL_PASSWORD", "")
    assert counts(run("seed.py")) == (1000, 0)
    os.kill(int((no_data.folder / "mysqld.pid").read_text()), signal.SIGKILL)
    wait_until(lambda: no_data("status").status == 1)
    assert no_data("start").status == 0
    assert counts(run("seed.py")) == (0, 1000)
    for answer in ("Stopped; its data stays in .mysql/\n", "Not running\n"):
        assert no_data("stop") == (0, answer, "")


# Who gets in, and what for


def test_it_has_the_account_of_the_settings_and_no_other(command):
    account = {"user": "an'n", "password": "back\\slash 'n' %s"}
    variables = {f"MYSQL_{name.upper()}": value for name, value in account.items()}
    assert command("start", **variables).status == 0
    assert not (command.folder / "accounts.sql").exists()
    with command.connect(**account) as connection:
        assert connection.info_query("SELECT COUNT(*) FROM mysql.user WHERE user = 'root'") == (0,)
        assert connection.info_query("SELECT @@tmpdir")[0].endswith("rateurs/.mysql/tmp")
    for user in ("", "an'n"):
        assert "1045" in refused(command("status", MYSQL_USER=user))


ATTACKS = [  # on the files, the programs and the settings of the one who started the server
    "SELECT LENGTH(LOAD_FILE('{file}'))",
    "LOAD DATA INFILE '{file}' INTO TABLE attack (text)",
    "SELECT 1 INTO OUTFILE '{folder}/made'",
    "SELECT 1 INTO DUMPFILE '{folder}/made'",
    "CREATE TABLE made (a INT) DATA DIRECTORY = '{folder}'",
    "CREATE TABLE made_too (a INT) ENGINE = MyISAM DATA DIRECTORY = '{folder}'",
    "SET GLOBAL general_log_file = '{folder}/made'",
    "SET GLOBAL max_connections = 1",
    "INSTALL PLUGIN made SONAME 'ha_example.so'",
    "CREATE FUNCTION made RETURNS INTEGER SONAME 'made.so'",
    "CREATE USER mallory@localhost",
    "CREATE DATABASE ALXxprodev",
    "SELECT * FROM mysql.user",
    "SHUTDOWN",
]


def test_whoever_else_is_on_the_machine_gets_nothing_of_its_owners(command, tmp_path, monkeypatch):
    assert command("start").status == 0
    monkeypatch.setenv("MYSQL_PORT", str(command.port))
    monkeypatch.setenv("MYSQL_PASSWORD", "")
    assert counts(run("seed.py")) == (1000, 0)
    private, folder = tmp_path / "private", tmp_path / "anybodys"
    private.write_text("secret\n")
    private.chmod(0o644)  # a server reads no files of others where it may read anybody's
    folder.mkdir()
    folder.chmod(0o777)
    with command.connect(database="ALX_prodev") as mallory:
        mallory.cmd_query("CREATE TABLE attack (text TEXT)")
        assert mallory.info_query("SELECT @@event_scheduler")[0] == "OFF"
        for attack in ATTACKS:
            with mallory.cursor() as cursor, suppress(mysql.connector.Error):
                cursor.execute(attack.format(file=private, folder=folder))
                result = cursor.fetchall() if cursor.with_rows else []
                assert result == [(None,)] or "CREATE TABLE" in attack, attack
        assert list(folder.iterdir()) == []
    # What she has planted there does not run where the account has all rights.
    command("stop")
    assert command("start", MYSQL_PASSWORD="p").status == 0
    with command.connect(password="p") as connection:
        assert connection.info_query("SELECT COUNT(*) FROM mysql.user WHERE user = 'root'") == (1,)
        databases = "SELECT COUNT(*) FROM information_schema.schemata"
        assert connection.info_query(f"{databases} WHERE schema_name = 'ALX_prodev'") == (0,)


# Starts that cannot be


@pytest.mark.parametrize("data", ["command", "no_data"])
def test_starts_at_once(request, data):
    command = request.getfixturevalue(data)
    starts = [command.begin("start") for _ in range(3)]
    ends = [(start.communicate(timeout=90)[1], start.returncode) for start in starts]
    assert ("", 0) in ends
    for errors, status in ends:
        assert (errors.count("\n"), " is at work on " in errors) == (status, bool(status)), errors
    assert len(command.processes()) == 1
    assert command("stop").status == 0
    assert not command.processes()


@pytest.mark.parametrize("data", ["command", "no_data"])
def test_a_start_that_is_interrupted_leaves_nothing_and_can_be_repeated(request, data):
    command = request.getfixturevalue(data)
    for number, pause in ((signal.SIGINT, 0), (signal.SIGTERM, 0.2)):
        start = command.begin("start")
        wait_until(command.processes, start, pause=0)
        time.sleep(pause)
        for _ in range(2):
            start.send_signal(number)
        _, errors = start.communicate(timeout=60)
        assert (start.returncode, errors) in ((128 + number, ""), (0, ""))  # or it was up
        assert start.returncode == 0 or not command.processes()
        command("stop")
    assert command("start").status == 0


@pytest.mark.parametrize(
    "name", ["error.log", "mysqld.pid", "accounts.sql", "lock", "open/ibdata1"]
)
def test_a_folder_with_broken_contents(command, name):
    path = command.folder / name.replace("open", f"{FAMILY}-open")
    path.unlink(missing_ok=True)
    path.mkdir()
    assert "begin anew" in command.refuses()


def test_what_is_told_in_one_line(command, tmp_path):
    with socket.create_server(("127.0.0.1", command.port)):
        line = command.refuses()
    assert line.startswith(f"cannot listen on 127.0.0.1:{command.port} (Address already in use): ")
    assert f"export MYSQL_PORT={command.port + 1}" in line
    assert "cannot log in (is the name over 32 char" in command.refuses(MYSQL_USER="a" * 200)
    assert "PATH: " in command.refuses(PATH=str(tmp_path))
    line = command.refuses(MYSQL_HOST="db.example.com")
    assert line == "MYSQL_HOST is db.example.com, but this is for this machine: unset MYSQL_HOST"
    shutil.rmtree(command.folder)
    command.folder.write_text("")
    assert "begin anew" in command.refuses()
    server = PrivateServer(tmp_path / "server", free_port())
    with pytest.raises(ServerError, match=r"^exit status \d+: .*no-such-option"):
        server.start("--no-such-option")
