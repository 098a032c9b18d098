"""tests/mysql_server.py as a command, on a copy of the project so that a user's server is safe."""

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
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
        assert not self.left()
        return line

    def left(self) -> list[str]:
        """Return its processes that outlive a second.

        On a busy machine, what a killed program has started ends some milliseconds after it.
        """
        end = time.monotonic() + 1
        while (left := self.processes()) and time.monotonic() < end:
            time.sleep(0.02)
        return left

    def processes(self) -> list[str]:
        """Return the numbers of the processes that were told to work on its folder."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if os.fsencode(f"={self.folder}/") in Path(process, "cmdline").read_bytes():
                    found.append(process.name)
        return found


ODD = "mes g\udce9n\u00e9rateurs d'essai"  # a folder's name; a letter of it is in Latin-1


def give_data(command: Command, *kinds: str) -> None:
    """Give a command the data of an empty server, which take seconds to make."""
    for kind in kinds:
        data = Path(helpers.temporary.name, FAMILY)
        shutil.copytree(data, command.folder / f"{FAMILY}-{kind}")


@pytest.fixture
def command(server, tmp_path):
    """The command with data that is there already, and no server that runs."""
    command = Command(tmp_path / ODD)
    give_data(command, "open", "private")
    yield command
    command.stop(signal.SIGKILL)


@pytest.fixture(scope="module")
def first(server, tmp_path_factory):
    """What the first commands in a new project gave; its server runs on.

    Others may enter the project's folder .mysql, and a broken option file is that of the machine.
    """
    folder = tmp_path_factory.mktemp("first")
    (folder / "my.cnf").write_text("[server]\nno-such-option\n[mysqld]\nno-such-option\n")
    command = Command(folder / ODD)
    command.folder.mkdir(mode=0o755)
    command.settings["MYSQL_HOME"] = str(folder)
    script = [sys.executable, command.script, "start"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(script, env={**os.environ, **command.settings}, **pipes) as process:
        # (Where there is no /proc, as on macOS, no process could be waited for.)
        wait_until(lambda: any(command.folder.glob("*.unfinished")), process)
        interrupted = helpers.ended(process, signal.SIGINT, signal.SIGINT)
    left = command.left()
    yield SimpleNamespace(
        command=command,
        interrupted=interrupted,
        left=left,
        start=command("start"),
    )
    command.stop(signal.SIGKILL)


@pytest.fixture
def running(first):
    """The command, whose server runs, open to anybody; a test may stop it."""
    if not first.command.running():
        assert first.command("start").errors == ""
    return first.command


def test_a_start_that_is_interrupted_leaves_nothing(first):
    # As it was ready for the signal, or not yet
    assert first.interrupted.status in (128 + signal.SIGINT, -signal.SIGINT)
    assert (first.interrupted.output, first.interrupted.errors, first.left) == ("", "", [])


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_start_that_is_ended_leaves_nothing(command, start, number):
    process = start(command.script, "start", **command.settings)
    wait_until(command.processes, process)
    done = helpers.ended(process, number, number)
    assert done.status in (128 + number, -number)
    assert (done.output, done.errors, command.left()) == ("", "", [])


def test_a_first_start_says_that_the_server_is_empty(first):
    assert (first.start.status, first.start.errors) == (0, "")
    ready = f" is ready at 127.0.0.1:{first.command.port}\n"
    assert first.start.output.endswith(f"{ready}It is empty: run python3 seed.py\n")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_names_of_this_machine(running, host):
    assert running("start", MYSQL_HOST=host).errors == ""


def test_a_start_with_another_port_than_the_server_that_runs(running):
    line = refused(running("start", MYSQL_PORT=str(free_port())))
    assert line.endswith(f"MYSQL_PORT={running.port}, or stop the server first")


def test_nobody_else_reads_its_files(running):
    assert running.folder.stat().st_mode & 0o777 == 0o700


def test_nobody_reaches_it_from_elsewhere(running):
    with socket.create_server(("127.0.0.2", running.port)):
        pass  # no address but 127.0.0.1 is taken


def test_it_makes_no_socket(running):
    """A folder on a Windows drive could not hold one."""
    assert [path for path in running.folder.rglob("*") if path.is_socket()] == []


def test_its_data_stays_when_it_is_stopped_or_killed(running, settings):
    settings(PORT=running.port, PASSWORD="")
    assert imported(ran("seed.py")) == (1000, 0)
    running.stop(signal.SIGKILL)
    assert running("start").errors == ""
    assert imported(ran("seed.py")) == (0, 1000)
    assert running("stop") == (0, "Stopped; its data stays in .mysql/\n", "")
    assert "Shutdown complete" in "".join(running.log.read_text(errors="replace").splitlines()[-2:])
    assert running("start").output.endswith(f":{running.port}\n")  # and not that it is empty
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
    connection.cmd_query("CREATE DATABASE IF NOT EXISTS ALX_prodev")
    connection.database = "ALX_prodev"
    connection.cmd_query("CREATE TABLE IF NOT EXISTS attack (text TEXT)")
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


def test_without_a_password_anybody_gets_the_database_and_no_more(running, folder):
    denied = {1044, 1045, 1142, 1227}
    with running.connect() as mallory:
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
    assert command("start", **VARIABLES).status == 0
    with command.connect(**ACCOUNT) as connection:
        [tmpdir] = connection.info_query("SELECT HEX(@@tmpdir)")  # it is in no encoding
        assert tmpdir.endswith(b"/.mysql/tmp".hex().upper())
        # They are outside of --secure-file-priv.
        assert succeeded(connection, FILES, folder, {1290}) == {}
    assert list(folder.iterdir()) == []


def test_with_all_rights_nothing_is_used_that_was_planted_without_a_password(running):
    give_data(running, "private")
    with running.connect() as mallory:
        mallory.cmd_query("CREATE DATABASE IF NOT EXISTS ALX_prodev")
    running.stop(signal.SIGKILL)
    assert running("start", **VARIABLES).status == 0
    with running.connect(**ACCOUNT) as connection:
        assert connection.info_query("SHOW DATABASES LIKE 'ALX_prodev'") is None
    running.stop(signal.SIGKILL)


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


def test_a_port_that_is_taken(command):
    with socket.create_server(("127.0.0.1", command.port)):
        line = command.refuses()
    assert line.startswith(f"cannot listen on 127.0.0.1:{command.port} (Address already in use): ")
    assert f"export MYSQL_PORT={command.port + 1}" in line


def test_an_account_that_cannot_log_in(command):
    command.log.write_text("[ERROR] of another start\n")
    line = command.refuses(MYSQL_USER="a" * 200, MYSQL_PASSWORD="secret-word")
    assert "cannot log in: " in line
    assert "secret-word" not in line
    assert "another start" not in line


def test_a_host_that_is_not_this_machine(command):
    line = command.refuses(MYSQL_HOST="db.example.com")
    told = "MYSQL_HOST is db.example.com, but this command starts a server on this machine only: "
    assert line == f"{told}unset MYSQL_HOST"


def test_programs_outside_of_path(command, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(mysql_server, "FOLDERS", [str(tmp_path)])
    with pytest.raises(ServerError, match="neither mysqld nor mariadbd is installed: apt-get "):
        mysql_server.server_program()
    (tmp_path / "mariadbd").symlink_to("/bin/true")
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


LOCKED = {  # what the lock's holder has written into it: what is told
    "": "mysqld.pid is gone; to end that server: pkill -f ",
    "c0ffee": "is in use by a server on the host c0ffee: stop it there",  # a container
}


@pytest.mark.parametrize("host", LOCKED)
def test_a_folder_that_another_server_uses(not_started, monkeypatch, host):
    monkeypatch.setattr("mysql_server.time.sleep", lambda _: None)  # between its attempts
    not_started.folder.mkdir()
    with open(not_started.folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(host)
        lock.flush()
        with pytest.raises(ServerError, match=LOCKED[host]):
            not_started.start()


@pytest.mark.skipif(not shutil.which("ps"), reason="needs ps")
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
    # An option that ends both families at once; one that they do not know is noticed late.
    with pytest.raises(ServerError, match="the server ended with exit status .*Unknown suffix"):
        not_started.start("--lower-case-table-names=9x")


def test_a_program_that_ends_well_just_after_a_look_at_it_has_ended_well(not_started):
    not_started.process = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    not_started.deadline = time.monotonic() + 5
    not_started._said = lambda: "nothing"

    def done() -> bool:
        done = not_started.process.poll() == 0
        not_started.process.communicate()  # it ends now
        return done

    not_started._wait_until(done)


def test_a_start_that_takes_too_long_is_given_up(not_started):
    not_started.seconds = 0.05
    with pytest.raises(ServerError, match=r"the server did not start within 0\.05 seconds: "):
        not_started.start()
    assert not_started.process.poll() is not None  # nothing is left
