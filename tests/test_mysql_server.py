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
from pathlib import Path

import pytest
from conftest import wait_until

import mysql_server
from mysql_server import PROJECT, PrivateServer, ServerError, free_port


@pytest.fixture
def command(private_server, tmp_path):
    """A function that runs mysql_server.py in a project of its own, on a port of its own."""
    folder = tmp_path / "mes g\udce9n\u00e9rateurs"  # one letter of it in Latin-1
    (folder / "tests").mkdir(parents=True)
    shutil.copy(PROJECT / "seed.py", folder)
    script = shutil.copy(PROJECT / "tests/mysql_server.py", folder / "tests")
    port = str(free_port())

    def command(action: str, **variables: str) -> subprocess.CompletedProcess[str]:
        settings = {f"MYSQL_{name}": "" for name in ("HOST", "USER", "PASSWORD")}
        return subprocess.run(
            # Development mode tells of what is left behind.
            [sys.executable, "-X", "dev", script, action],
            env={**os.environ, **settings, "MYSQL_PORT": port, **variables},
            capture_output=True,
            text=True,
            timeout=120,
        )

    command.port = port
    command.folder = folder / ".mysql"
    yield command
    command("stop")


def process_id(folder: Path) -> int:
    return int((folder / "mysqld.pid").read_text())


def test_start_status_stop(command):
    done = command("status")
    assert (done.returncode, done.stdout, done.stderr) == (1, "Not running\n", "")
    for action in ("start", "start", "status"):
        done = command(action)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.endswith(f" is ready at 127.0.0.1:{command.port}\n")
    with socket.create_connection(("127.0.0.1", int(command.port)), timeout=5):
        pass
    for answer in ("Stopped; its data stays in .mysql/\n", "Not running\n"):
        done = command("stop")
        assert (done.returncode, done.stdout, done.stderr) == (0, answer, "")


def test_its_data_outlives_it(command, run):
    variables = {"MYSQL_PORT": command.port, "MYSQL_PASSWORD": ""}
    command("start")
    assert "users inserted" in run("seed.py", **variables).stdout
    command("stop")
    command("start")
    assert "\n0 users inserted, 1000 already there" in run("seed.py", **variables).stdout


def test_it_has_the_account_of_the_settings(command, run):
    account = {"MYSQL_USER": "an'n", "MYSQL_PASSWORD": "back\\slash 'n' %s"}
    assert command("start", **account).returncode == 0
    assert "1000 users" in run("seed.py", MYSQL_PORT=command.port, **account).stdout
    # The root without a password that the server is made with is not left open.
    denied = run("seed.py", MYSQL_PORT=command.port, MYSQL_USER="root", MYSQL_PASSWORD="")
    assert "Access denied" in denied.stderr
    assert not (command.folder / "accounts.sql").exists()


def test_its_data_is_its_owners_and_it_listens_on_loopback(command):
    command("start")
    for folder in (command.folder, *command.folder.glob("m*/")):
        if folder.is_dir():
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    with open(f"/proc/{process_id(command.folder)}/net/tcp") as table:
        listening = [line.split()[1] for line in table if line.split()[3] == "0A"]
    assert f"0100007F:{int(command.port):04X}" in listening
    assert f"00000000:{int(command.port):04X}" not in listening


def test_it_shares_no_temporary_files(private_server):
    with private_server.connect() as connection:
        assert connection.info_query("SELECT @@tmpdir") == (str(private_server.folder / "tmp"),)


def test_a_killed_server_is_not_running_and_starts_again(command):
    command("start")
    os.kill(process_id(command.folder), signal.SIGKILL)
    wait_until(lambda: command("status").returncode != 0)
    assert command("start").returncode == 0


def error_lines(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr.splitlines()


def test_a_port_that_is_taken(command):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        [line] = error_lines(command("start", MYSQL_PORT=str(port)))
    assert line.startswith(f"mysql_server.py: cannot listen on 127.0.0.1:{port} (Address already")
    assert f"export MYSQL_PORT={port + 1}" in line


def test_a_second_port_for_a_server_that_runs(command):
    command("start")
    other = str(free_port())
    assert error_lines(command("start", MYSQL_PORT=other)) == [
        f"mysql_server.py: the server runs at port {command.port}, not {other}: "
        f"export MYSQL_PORT={command.port}, or stop it first"
    ]


def test_another_account_than_the_running_servers(command):
    command("start", MYSQL_USER="ann", MYSQL_PASSWORD="p")
    for action in ("start", "status"):
        [line] = error_lines(command(action, MYSQL_USER="ann"))
        assert "1045" in line
        assert line.endswith(
            ": set the MYSQL_USER and MYSQL_PASSWORD of its start, or stop and start it"
        )
    assert command("stop").returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another user")
def test_another_users_folder(seed, monkeypatch):
    def as_nobody(action: str) -> str:
        monkeypatch.setattr(sys, "argv", ["mysql_server.py", action])
        os.seteuid(65534)
        try:
            with pytest.raises(SystemExit) as error:
                mysql_server.main()
        finally:
            os.seteuid(0)
        return error.value.code

    monkeypatch.setenv("MYSQL_PORT", str(free_port()))
    with tempfile.TemporaryDirectory() as folder:  # not tmp_path, of which nobody sees anything
        Path(folder).chmod(0o755)
        monkeypatch.setattr(mysql_server, "PROJECT", Path(folder))
        denied = f"mysql_server.py: {folder}/.mysql%s: Permission denied: run this as the owner of "
        assert as_nobody("start") == denied % "" + folder
        (Path(folder) / ".mysql").mkdir(0o700)
        for action in ("start", "status", "stop"):
            assert as_nobody(action) == denied % "/mysqld.pid" + f"{folder}/.mysql"


def test_no_program_on_path(command, tmp_path):
    [line] = error_lines(command("start", PATH=str(tmp_path)))
    assert line.startswith("mysql_server.py: ")
    assert (
        "not on PATH: export PATH=" in line
        or "on PATH: apt-get install default-mysql-server" in line
    )


def test_another_machine(command):
    [line] = error_lines(command("start", MYSQL_HOST="db.example.com"))
    assert line.startswith(
        "mysql_server.py: MYSQL_HOST is db.example.com, but this runs a server on"
    )


def test_a_server_that_dies_at_start_shows_its_log(private_server, tmp_path):
    server = PrivateServer(tmp_path / "server", free_port())
    with pytest.raises(ServerError) as error:
        server.start("--no-such-option")
    first, second, *log = str(error.value).splitlines()
    assert first.startswith("the server ended at start (exit status ")
    assert second == f"From {server.log}:"
    assert "no-such-option" in log[0]
    assert all("ERROR" in line for line in log)


def test_an_interrupted_first_start_is_repeated(private_server, tmp_path):
    for family in ("mariadb", "mysql"):
        (tmp_path / "server" / f"{family}.unfinished" / "half").mkdir(parents=True)
    with PrivateServer(tmp_path / "server", free_port()) as server:
        server.connect().close()
