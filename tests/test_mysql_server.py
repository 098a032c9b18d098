"""tests/mysql_server.py as a command, on a copy of the project so that a user's server is safe."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import mysql.connector
import pytest
from conftest import ThrowAwayServer, wait_until

from mysql_server import PROJECT, PrivateServer, ServerError, free_port

ROOT = os.geteuid() == 0


class Command:
    """mysql_server.py in a project of its own, on a port of its own."""

    def __init__(self, folder: Path) -> None:
        (folder / "tests").mkdir(parents=True)
        shutil.copy(PROJECT / "seed.py", folder)
        self.script = shutil.copy(PROJECT / "tests/mysql_server.py", folder / "tests")
        self.folder = folder / ".mysql"
        self.port = free_port()

    def begin(self, action: str, *before: str, **variables: str) -> subprocess.Popen[str]:
        settings = {"MYSQL_HOST": "", "MYSQL_USER": "", "MYSQL_PASSWORD": ""}
        # Development mode tells of what is left behind.
        return subprocess.Popen(
            [*before, sys.executable, "-X", "dev", self.script, action],
            env={**os.environ, **settings, "MYSQL_PORT": str(self.port), **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, action: str, *before: str, **variables: str) -> tuple[int, str, str]:
        """Return status, output and errors."""
        process = self.begin(action, *before, **variables)
        return process.wait(timeout=90), process.stdout.read(), process.stderr.read()

    def refused(self, action: str = "start", **variables: str) -> str:
        """Return the one line of a command that fails and leaves nothing running."""
        status, output, errors = self(action, **variables)
        assert (status, output, errors.count("\n")) == (1, "", 1), errors
        assert not self.processes()
        return errors.removeprefix("mysql_server.py: ").rstrip().replace("\\udce9", "\udce9")

    def processes(self) -> list[str]:
        """Return the numbers of the processes that were told to work on its folder."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if os.fsencode(f"={self.folder}/") in Path(process, "cmdline").read_bytes():
                    found.append(process.name)
        return found

    def connect(self, **settings):
        settings = {"user": "root", "password": "", **settings}
        return mysql.connector.connect(host="127.0.0.1", port=self.port, **settings)


@pytest.fixture
def command(private_server, tmp_path, family):
    """The command with data that is there already, as they take seconds to make."""
    command = Command(tmp_path / "mes g\udce9n\u00e9rateurs")  # one letter of it in Latin-1
    command.folder.mkdir(0o700)
    shutil.copytree(ThrowAwayServer.templates / family, command.folder / family)
    yield command
    command("stop")


@pytest.fixture
def no_data(command, family):
    """The command before its first start."""
    shutil.rmtree(command.folder)
    return command


def test_start_status_stop(no_data):
    assert no_data("status") == (1, "Not running\n", "")
    for action in ("start", "start", "status"):
        status, output, errors = no_data(action)
        assert (status, errors) == (0, "")
        assert output.endswith(f" is ready at 127.0.0.1:{no_data.port}\n")
    for answer in ("Stopped; its data stays in .mysql/\n", "Not running\n"):
        assert no_data("stop") == (0, answer, "")


def test_its_data_outlives_it_even_killed(command, run):
    variables = {"MYSQL_PORT": str(command.port), "MYSQL_PASSWORD": ""}
    command("start")
    assert "1000 users inserted" in run("seed.py", **variables).stdout
    os.kill(int((command.folder / "mysqld.pid").read_text()), signal.SIGKILL)
    wait_until(lambda: command("status")[0] == 1)
    assert command("start")[0] == 0
    assert "\n0 users inserted, 1000 already there" in run("seed.py", **variables).stdout


# Who gets in, and what for


def test_it_has_the_account_of_the_settings_and_no_other(command, run):
    account = {"MYSQL_USER": "an'n", "MYSQL_PASSWORD": "back\\slash 'n' %s"}
    assert command("start", **account)[0] == 0
    assert "1000 users" in run("seed.py", MYSQL_PORT=str(command.port), **account).stdout
    assert not (command.folder / "accounts.sql").exists()
    with command.connect(user="an'n", password=account["MYSQL_PASSWORD"]) as connection:
        assert connection.info_query("SELECT COUNT(*) FROM mysql.user WHERE user = 'root'") == (0,)
        (tmpdir,) = connection.info_query("SELECT @@tmpdir")
        assert tmpdir.endswith("rateurs/.mysql/tmp")  # its own
    for user in ("", "an'n"):
        status, _, error = command("status", MYSQL_USER=user)
        assert (status, error.count("\n")) == (1, 1)
        assert "1045" in error


ATTACKS = [  # on the files, the programs and the settings of the one who started the server
    "SELECT LENGTH(LOAD_FILE('{file}'))",
    "LOAD DATA INFILE '{file}' INTO TABLE attack (text)",
    "SELECT 1 INTO OUTFILE '{folder}/made'",
    "SELECT 1 INTO DUMPFILE '{folder}/made'",
    "CREATE TABLE made (a INT) DATA DIRECTORY = '{folder}'",
    "CREATE TABLE made_too (a INT) ENGINE = MyISAM DATA DIRECTORY = '{folder}'",
    "SET GLOBAL general_log_file = '{folder}/made'",
    "SET GLOBAL slow_query_log = 1",
    "SET GLOBAL max_connections = 1",
    "INSTALL PLUGIN made SONAME 'ha_example.so'",
    "CREATE FUNCTION made RETURNS INTEGER SONAME 'made.so'",
    "CREATE USER mallory@localhost",
    "CREATE DATABASE mallory",
    "SELECT * FROM mysql.user",
    "SHUTDOWN",
]


def test_whoever_else_is_on_the_machine_gets_nothing_of_its_owners(command, run, tmp_path):
    assert command("start")[0] == 0
    assert "1000 users" in run("seed.py", MYSQL_PORT=str(command.port), MYSQL_PASSWORD="").stdout
    private, folder = tmp_path / "private", tmp_path / "anybodys"
    private.write_text("secret\n")
    private.chmod(0o644)  # a server reads no files of others where it may read anybody's
    folder.mkdir()
    folder.chmod(0o777)
    with command.connect(database="ALX_prodev") as mallory:
        mallory.cmd_query("CREATE TABLE attack (text TEXT)")
        for attack in ATTACKS:
            with mallory.cursor() as cursor, suppress(mysql.connector.Error):
                cursor.execute(attack.format(file=private, folder=folder))
                result = cursor.fetchall() if cursor.with_rows else []
                assert result == [(None,)] or "CREATE TABLE" in attack, attack
        assert list(folder.iterdir()) == []


@pytest.mark.skipif(not ROOT, reason="needs root, to be another user")
def test_nobody_else_reads_its_folder():
    with tempfile.TemporaryDirectory() as folder:  # not tmp_path, of which nobody sees anything
        Path(folder).chmod(0o755)
        command = Command(Path(folder, "project"))
        assert command("start")[0] == 0
        assert stat.S_IMODE(command.folder.stat().st_mode) == 0o700
        with open(f"/proc/{command.processes()[0]}/net/tcp") as table:
            listening = [line.split()[1] for line in table if line.split()[3] == "0A"]
        assert f"0100007F:{command.port:04X}" in listening
        assert f"00000000:{command.port:04X}" not in listening
        os.seteuid(65534)
        try:
            server = PrivateServer(command.folder, command.port)
            with pytest.raises(PermissionError):
                list(command.folder.iterdir())
            with pytest.raises(PermissionError):
                server.running()
            with pytest.raises(ServerError, match="run this as the owner of "):
                PrivateServer(command.folder, free_port()).start()
        finally:
            os.seteuid(0)
        command("stop")


# Starts that cannot be


def test_a_port_that_is_taken(command):
    with socket.create_server(("127.0.0.1", command.port)):
        line = command.refused()
    assert line.startswith(f"cannot listen on 127.0.0.1:{command.port} (Address already in use): ")
    assert f"export MYSQL_PORT={command.port + 1}" in line


@pytest.mark.skipif(not ROOT or not shutil.which("ip"), reason="needs root, and iproute2")
def test_a_port_from_which_a_client_may_come(command):
    ports = "/proc/sys/net/ipv4/ip_local_port_range"
    shell = f'ip link set lo up && echo 35098 35099 > {ports} && exec "$@"'
    namespace = ["unshare", "--net", "bash", "-c", shell, "-"]
    for port in ("35098", "35099"):
        status, output, errors = command("start", *namespace, MYSQL_PORT=port)
        assert (status, errors) == (0, ""), errors
        assert output.endswith(f" is ready at 127.0.0.1:{port}\n")
        assert command("stop")[0] == 0


@pytest.mark.parametrize("data", ["command", "no_data"])
def test_two_starts_at_once(request, data):
    command = request.getfixturevalue(data)
    starts = [command.begin("start") for _ in range(3)]
    ends = [(start.communicate(timeout=90)[1], start.returncode) for start in starts]
    assert ("", 0) in ends
    for errors, status in ends:
        assert (errors.count("\n"), " is at work on " in errors) == (status, bool(status)), errors
    assert command("status")[0] == 0
    assert len(command.processes()) == 1
    assert command("stop")[0] == 0
    assert not command.processes()


@pytest.mark.parametrize(
    ("data", "number"), [("no_data", signal.SIGINT), ("command", signal.SIGTERM)]
)
def test_a_start_that_is_interrupted_leaves_nothing_and_can_be_repeated(request, data, number):
    command = request.getfixturevalue(data)
    for pause in (0, 0.3):
        start = command.begin("start")
        wait_until(command.processes, start)
        time.sleep(pause)
        start.send_signal(number)
        _, errors = start.communicate(timeout=60)
        assert (start.returncode, errors) in ((128 + number, ""), (0, ""))  # or it was up
        assert not command.processes() or start.returncode == 0
        command("stop")
    assert command("start")[0] == 0


def spoil(folder: Path, family: str, how: str) -> None:
    if how == "a file":
        shutil.rmtree(folder)
        folder.write_text("")
    elif how == "no data":
        shutil.rmtree(folder / family)
        (folder / family).mkdir()
    elif how == "other data":
        for file in ("ibdata1", "mysql.ibd"):
            (folder / family / file).write_text("spoilt")
    elif how == "data is a file":
        shutil.rmtree(folder / family)
        (folder / family).write_text("")
    else:
        (folder / how).mkdir()


@pytest.mark.parametrize(
    "how",
    [
        "a file",
        "no data",
        "other data",
        "data is a file",
        "error.log",
        "mysqld.pid",
        "accounts.sql",
    ],
)
def test_a_folder_with_broken_contents(command, family, how):
    spoil(command.folder, family, how)
    assert "to begin anew" in command.refused()
    shutil.rmtree(command.folder) if command.folder.is_dir() else command.folder.unlink()


@pytest.mark.skipif(not ROOT, reason="needs root, to mount a small disk")
@pytest.mark.parametrize("size", ["1k", "9m", "60m"])
def test_a_full_disk(no_data, size):
    no_data.folder.mkdir(0o700)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(no_data.folder)]
    subprocess.run(list(map(os.fsencode, mount)), check=True)
    try:
        start = time.monotonic()
        line = no_data.refused()
        assert time.monotonic() - start < 70
        assert "delete" in line
    finally:
        subprocess.run(["umount", os.fsencode(no_data.folder)], check=True)


def test_a_name_that_no_server_takes(command):
    start = time.monotonic()
    line = command.refused(MYSQL_USER="a" * 200)
    assert time.monotonic() - start < 20
    assert "MySQL takes names of up to 32 characters" in line


def test_a_second_port_for_a_server_that_runs(command):
    command("start")
    other = str(free_port())
    assert command("start", MYSQL_PORT=other)[2] == (
        f"mysql_server.py: the server runs at port {command.port}, not {other}: "
        f"export MYSQL_PORT={command.port}, or stop it first\n"
    )


def test_no_program_on_path_and_another_machine(command, tmp_path):
    line = command.refused(PATH=str(tmp_path))
    assert "not on PATH: export PATH=" in line or "on PATH: apt-get install default-m" in line
    line = command.refused(MYSQL_HOST="db.example.com")
    assert line == "MYSQL_HOST is db.example.com, but this is for this machine: unset MYSQL_HOST"


def test_a_server_that_dies_at_start_shows_its_log(private_server, tmp_path):
    server = PrivateServer(tmp_path / "server", free_port())
    with pytest.raises(ServerError, match=r"^exit status \d+: .*no-such-option"):
        server.start("--no-such-option")
