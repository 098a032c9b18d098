"""tests/mysql_server.py as a command, on a copy of the project so that a user's server is safe."""

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import mysql.connector
import pytest

import helpers
import mysql_server
from helpers import FAMILY, imported, ran, refused, wait_until
from mysql_server import PROJECT, PrivateServer, ServerError, free_port

# What leads nowhere else; development mode tells of what is left behind.
SETTINGS = {**{f"MYSQL_{name}": "" for name in ("HOST", "USER", "PASSWORD")}, "PYTHONDEVMODE": "1"}


class Command(PrivateServer):
    """mysql_server.py in a project of its own, on a port of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / ".mysql", free_port())
        (folder / "tests").mkdir(parents=True)
        shutil.copy(PROJECT / "seed.py", folder)
        self.script = shutil.copy(PROJECT / "tests/mysql_server.py", folder / "tests")
        self.settings = {**SETTINGS, "MYSQL_PORT": str(self.port)}

    def __call__(self, action: str, before: str = "", **variables: str) -> helpers.Done:
        command = f'{before} "$1" tests/mysql_server.py {action}'
        options = {"cwd": self.folder.parent, "env": {**self.settings, **variables}}
        return helpers.shell(command, sys.executable, **options)

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


@pytest.fixture
def no_data(server, tmp_path):
    """The command before its first start."""
    command = Command(tmp_path / "mes g\udce9n\u00e9rateurs d'essai")  # a letter of it in Latin-1
    yield command
    command.stop(signal.SIGKILL)


@pytest.fixture
def command(no_data):
    """The command with data that is there already, as they take seconds to make."""
    for kind in ("open", "private"):
        data = Path(helpers.temporary.name, FAMILY)
        shutil.copytree(data, no_data.folder / f"{FAMILY}-{kind}")
    return no_data


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGTERM])
def test_a_start_that_is_interrupted_leaves_nothing_and_can_be_repeated(no_data, start, number):
    process = start(no_data.script, "start", **no_data.settings)
    wait_until(no_data.processes, process)
    done = helpers.ended(process, number, number)
    assert done.status in (128 + number, -number)  # as it was ready for it, or not yet
    assert (done.output, done.errors, no_data.processes()) == ("", "", [])
    if number == signal.SIGINT:  # a start takes seconds: once is enough
        assert no_data("start").errors == ""


def test_a_first_start_says_that_the_server_is_empty_and_a_second_that_it_is_ready(no_data):
    ready = f" is ready at 127.0.0.1:{no_data.port}\n"
    first, second = no_data("start"), no_data("start")
    assert (first.status, first.errors) == (second.status, second.errors) == (0, "")
    assert first.output.endswith(f"{ready}It is empty: run python3 seed.py\n")
    assert second.output.endswith(ready)


def test_a_start_with_another_port_than_the_server_that_runs(command):
    assert command("start").status == 0
    line = refused(command("start", MYSQL_PORT=str(free_port())))
    assert line.endswith(f"MYSQL_PORT={command.port}, or stop the server first")


def test_nobody_else_reads_its_files_or_reaches_it_from_elsewhere(command):
    command.folder.chmod(0o755)
    assert command("start").status == 0
    assert command.folder.stat().st_mode & 0o777 == 0o700
    with socket.create_server(("127.0.0.2", command.port)):
        pass  # no address but 127.0.0.1 is taken


def test_it_makes_no_socket(command):
    """A folder on a Windows drive could not hold one."""
    assert command("start").status == 0
    assert [path for path in command.folder.rglob("*") if path.is_socket()] == []


def test_its_data_stays_when_it_is_stopped_or_killed(command, settings):
    assert command("start").status == 0
    settings(PORT=command.port, PASSWORD="")
    assert imported(ran("seed.py")) == (1000, 0)
    command.stop(signal.SIGKILL)
    assert command("start").errors == ""
    assert imported(ran("seed.py")) == (0, 1000)
    assert command("stop") == (0, "Stopped; its data stays in .mysql/\n", "")
    assert "Shutdown complete" in "".join(command.log.read_text(errors="replace").splitlines()[-2:])
    assert command("start").output.endswith(f":{command.port}\n")  # and not that it is empty
    assert imported(ran("seed.py")) == (0, 1000)


def test_another_process_with_the_servers_number_is_not_stopped(command):
    sleep = [sys.executable, "-c", "import time; time.sleep(60)", "--port=1", "--other"]
    with subprocess.Popen(sleep) as other:
        command.pid_file.write_text(str(other.pid))
        assert command("stop") == (0, "Not running\n", "")
        assert other.poll() is None
        other.kill()


FILES = [  # attacks on the files of the one who started the server, which it could read and write
    "SELECT LENGTH(LOAD_FILE(%(file)s))",
    "LOAD DATA INFILE %(file)s INTO TABLE attack (text)",
    "SELECT 1 INTO OUTFILE %(made)s",
    "SELECT 1 INTO DUMPFILE %(made)s",
]
ATTACKS = [
    *FILES,
    "CREATE TABLE made (a INT) DATA DIRECTORY = %(folder)s",
    "CREATE TABLE made_too (a INT) ENGINE = MyISAM DATA DIRECTORY = %(folder)s",
    "SET GLOBAL general_log_file = %(made)s",
    "SET GLOBAL max_connections = 1",
    "SET GLOBAL event_scheduler = ON",
    "INSTALL PLUGIN made SONAME 'made.so'",
    "CREATE FUNCTION made RETURNS INTEGER SONAME 'made.so'",
    "CREATE USER mallory@localhost",
    "CREATE DATABASE ALXxprodev",
    "CREATE TABLE test.made (a INT)",  # MariaDB makes this database for everybody, if not told
    "SELECT * FROM mysql.user",
    "SHUTDOWN",
]


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder that anybody can write, beside a file that anybody can read."""
    folder = tmp_path / "anybodys"
    folder.mkdir()
    folder.chmod(0o777)
    (tmp_path / "private").write_text("secret\n")
    (tmp_path / "private").chmod(0o644)  # LOAD_FILE() reads no others
    return folder


def succeeded(
    connection, attacks: list[str], folder: Path, expected: set[int]
) -> dict[str, object]:
    """Return the attacks that get something, or fail for another reason than the expected one."""
    connection.cmd_query("CREATE DATABASE ALX_prodev")
    connection.database = "ALX_prodev"
    connection.cmd_query("CREATE TABLE attack (text TEXT)")
    paths = {"file": f"{folder.parent}/private", "folder": str(folder), "made": f"{folder}/made"}
    outcomes = {}
    for statement in attacks:
        with connection.cursor() as cursor:
            try:
                cursor.execute(statement, paths)
                outcomes[statement] = cursor.fetchall() if cursor.with_rows else []
            except mysql.connector.Error as error:
                outcomes[statement] = error.errno
    nothing = (*expected, [(None,)])  # LOAD_FILE() gives NULL
    # MariaDB makes the table of "DATA DIRECTORY", but in its own data folder.
    return {
        statement: outcome
        for statement, outcome in outcomes.items()
        if outcome not in nothing and not (outcome == [] and "DIRECTORY" in statement)
    }


def test_without_a_password_anybody_gets_the_database_and_no_more(command, folder):
    assert command("start").status == 0
    denied = {1044, 1045, 1142, 1227}
    with command.connect() as mallory:
        assert mallory.info_query("SELECT @@event_scheduler") == ("OFF",)
        assert succeeded(mallory, ATTACKS, folder, denied) == {}
    assert list(folder.iterdir()) == []


ACCOUNT = {"user": "an'n", "password": "back\\slash 'n' %s"}
VARIABLES = {f"MYSQL_{name.upper()}": value for name, value in ACCOUNT.items()}


def test_the_account_with_a_password_is_the_only_one(command):
    assert command("start", **VARIABLES).status == 0
    assert not (command.folder / "accounts.sql").exists()
    with command.connect(**ACCOUNT) as connection:
        assert connection.info_query("SELECT COUNT(*) FROM mysql.user WHERE user = 'root'") == (0,)
    for user in ("", "an'n"):
        assert "1045" in refused(command("start", MYSQL_USER=user))
    command.stop(signal.SIGKILL)
    assert command("start", MYSQL_PASSWORD="p").status == 0
    with pytest.raises(mysql.connector.Error):  # one of another start
        command.connect(**ACCOUNT)


def test_with_all_rights_no_files_are_read_or_written(command, folder):
    """Nor is there what somebody may have planted while no password was needed."""
    assert command("start").status == 0
    with command.connect() as mallory:
        mallory.cmd_query("CREATE DATABASE ALX_prodev")
    command("stop")
    assert command("start", **VARIABLES).status == 0
    with command.connect(**ACCOUNT) as connection:
        [tmpdir] = connection.info_query("SELECT HEX(@@tmpdir)")  # it is in no encoding
        assert tmpdir.endswith(b"/.mysql/tmp".hex().upper())
        # They are outside of --secure-file-priv.
        assert succeeded(connection, FILES, folder, {1290}) == {}
    assert list(folder.iterdir()) == []


def test_starts_at_once(command):
    with ThreadPoolExecutor(3) as pool:
        ends = list(pool.map(command, ["start"] * 3))
    assert 0 in [end.status for end in ends]
    assert all(" is in use, by another start or " in refused(end) for end in ends if end.status)
    assert not any(end.errors for end in ends if not end.status)
    assert len(command.processes()) == 1


@pytest.mark.parametrize("name", ["error.log", "mysqld.pid", "accounts.sql", "open/ibdata1"])
def test_a_folder_with_broken_contents(command, name):
    path = command.folder / name.replace("open", f"{FAMILY}-open")
    path.unlink(missing_ok=True)
    path.mkdir()
    assert "start over" in command.refuses()


def test_what_is_told_in_one_line(command, tmp_path):
    with socket.create_server(("127.0.0.1", command.port)):
        line = command.refuses()
    assert line.startswith(f"cannot listen on 127.0.0.1:{command.port} (Address already in use): ")
    assert f"export MYSQL_PORT={command.port + 1}" in line
    command.log.write_text("[ERROR] of another start\n")
    line = command.refuses(MYSQL_USER="a" * 200, MYSQL_PASSWORD="secret-word")
    assert "cannot log in: " in line
    assert "secret-word" not in line
    assert "another start" not in line
    with open(command.folder / "lock", "w") as lock:  # as by a server whose pid file is lost
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "mysqld.pid is gone; to end that server: pkill -f " in command.refuses()
    line = command.refuses(MYSQL_HOST="db.example.com")
    told = "MYSQL_HOST is db.example.com, but this command starts a server on this machine only: "
    assert line == f"{told}unset MYSQL_HOST"
    shutil.rmtree(command.folder)
    command.folder.write_text("")
    assert "start over" in command.refuses()
    server = helpers.ThrowAwayServer(tmp_path / "server", free_port(), "p")
    with pytest.raises(ServerError, match="no-such-option"):
        server.start("--no-such-option")


def test_a_folder_that_a_server_of_another_host_uses(command):
    """A container that shares the folder: its process ids mean nothing here."""
    with open(command.folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("c0ffee")
        lock.flush()
        assert "is in use by a server on the host c0ffee: stop it there" in command.refuses()
    assert command("start").status == 0  # it has ended there


def test_programs_outside_of_path(command, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(mysql_server, "FOLDERS", [str(tmp_path)])
    with pytest.raises(ServerError, match="neither mysqld nor mariadbd is installed: apt-get "):
        mysql_server.server_program()
    (tmp_path / "mariadbd").symlink_to("/bin/true")
    (tmp_path / "mariadbd").chmod(0o755)
    assert mysql_server.server_program() == (str(tmp_path / "mariadbd"), "mysql")
    shutil.rmtree(command.folder)
    (tmp_path / "mariadbd").unlink()
    (tmp_path / "mariadbd").write_text("#!/bin/sh\necho MariaDB")
    (tmp_path / "mariadbd").chmod(0o755)
    with pytest.raises(ServerError, match="mariadb-install-db is not installed: apt-get "):
        command.start()


@pytest.fixture
def not_started(tmp_path):
    """A server in this process that a test starts, in a folder with letters that are not ASCII."""
    server = helpers.ThrowAwayServer(tmp_path / "générateurs", free_port(), "p")
    yield server
    server.kill()


def test_without_proc(not_started, monkeypatch, tmp_path):
    """As on macOS, where ps tells what a process is."""
    monkeypatch.setattr(mysql_server, "PROC", tmp_path / "proc")
    not_started.start()
    assert not_started.running() == (not_started.process.pid, not_started.port)
    not_started.kill()
    assert not_started.running() is None
    not_started.pid_file.write_text(str(os.getpid()))  # another process has the number now
    assert not_started.running() is None


def test_a_profile_that_lets_the_server_write_nothing(not_started, monkeypatch, tmp_path):
    """Ubuntu's AppArmor, which no kernel here has: a stand-in says what mysqld says there."""
    denied = "mysqld: Can't create directory '/x' (OS errno 13 - Permission denied)"
    script = f'#!/bin/sh\necho "{denied}"\n[ "$1" = --version ] || exit 1\n'
    (tmp_path / "mysqld").write_text(script)
    (tmp_path / "mysqld").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(helpers, "temporary", SimpleNamespace(name=tmp_path / "templates"))
    with pytest.raises(ServerError, match="to start over, delete"):
        not_started.start()
    monkeypatch.setattr(mysql_server, "APPARMOR", tmp_path / "mysqld")
    with pytest.raises(ServerError, match="use the installed server as your own .*, or MariaDB$"):
        not_started.start()


def test_a_file_system_without_permissions_is_told(not_started, monkeypatch, settings, capsys):
    monkeypatch.setattr("sys.argv", ["mysql_server.py", "start"])
    monkeypatch.setattr(mysql_server, "PrivateServer", lambda *_: not_started)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    settings(HOST="", PORT=not_started.port, USER="", PASSWORD="p")
    not_started.start()
    mysql_server.main()
    assert "Note" not in capsys.readouterr().out
    not_started.folder.chmod(0o777)
    mysql_server.main()
    assert "Note: this file system keeps no permissions, so others can" in capsys.readouterr().out


def test_a_server_that_dies_while_it_starts_is_not_waited_for(not_started):
    not_started.seconds = 5  # which would be told
    with pytest.raises(ServerError, match="the server ended with exit status .*no-such-option"):
        not_started.start("--no-such-option")


def test_a_start_that_takes_too_long_is_given_up(not_started):
    not_started.seconds = 0.05
    with pytest.raises(ServerError, match=r"the server did not start within 0\.05 seconds: "):
        not_started.start()
    assert not_started.process.poll() is not None  # nothing is left


def test_no_option_file_of_the_machine_is_read(command, tmp_path):
    (tmp_path / "my.cnf").write_text("[server]\nno-such-option\n[mysqld]\nno-such-option\n")
    assert command("start", MYSQL_HOME=str(tmp_path)).errors == ""


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_names_of_this_machine(command, host):
    assert command("start", MYSQL_HOST=host).errors == ""
