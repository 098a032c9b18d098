#!/usr/bin/env python3
"""Run the MySQL or MariaDB program on PATH as a private server (Linux).

    python3 tests/mysql_server.py start     run a server at the MYSQL_* settings of seed.py
    python3 tests/mysql_server.py status    tell whether it runs
    python3 tests/mysql_server.py stop      end it; its data stays under .mysql/

It listens on the loopback address only, keeps its data in a folder that only its owner can read,
reads no option file of the system, and is ready when `start` returns. The tests use the same class
for servers that they can stop and kill.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import mysql.connector

PROJECT = Path(__file__).resolve().parent.parent
INSTALL = "apt-get install default-mysql-server-core default-mysql-client-core"
# A server that root starts must be told that this is meant. (From a plain --user mariadb-install-db
# would change owners, also of files that are not the server's, and fail where there is a space.)
AS_ROOT = ["--loose-user=root"] if os.geteuid() == 0 else []


class ServerError(Exception):
    """A server that could not be started; the text says what to do."""


class Program(NamedTuple):
    """A server program: its path and the family that it belongs to."""

    path: str
    family: str  # "mariadb" or "mysql": they are initialised differently

    @classmethod
    def on_path(cls) -> Program:
        """Return the first of mysqld and mariadbd on PATH; raise ServerError if neither is."""
        path = shutil.which("mysqld") or shutil.which("mariadbd")
        if path is None:
            # An ordinary user's PATH on Debian lacks the folder that the package installs to.
            if shutil.which("mariadbd", path="/usr/sbin"):
                raise ServerError('mariadbd is not on PATH: export PATH="$PATH:/usr/sbin"')
            raise ServerError(f"neither mysqld nor mariadbd is on PATH: {INSTALL}")
        version = subprocess.run([path, "--version"], capture_output=True, check=True).stdout
        return cls(path, "mariadb" if b"MariaDB" in version else "mysql")


class PrivateServer:
    """One server process on a data folder of its own.

    Arguments: the folder (made if missing), the TCP port, and the account that is given all
    rights; further server options go to start(). As a context manager it starts and stops itself.
    """

    sizes: tuple[str, ...] = ()  # options for its files

    def __init__(self, folder: Path, port: int, user: str = "root", password: str = "") -> None:
        self.folder = folder.resolve()
        self.host = "127.0.0.1"
        self.port = port
        self.user = user
        self.password = password
        self.log = self.folder / "error.log"
        self.pid_file = self.folder / "mysqld.pid"

    def start(self, *options: str) -> None:
        """Start the server and return when it answers; raise ServerError if it does not."""
        program = Program.on_path()
        check_port_is_free(self.port, self.host)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.log.touch()
        self._log_before = self.log.stat().st_size
        # Neither family can read the other's files, so each has a folder of its own.
        data = self.folder / program.family
        if not data.exists():
            self._initialise(program, data)
        # Left by a server that was killed; MySQL believes it as long as that process is not reaped.
        (data / "mysqld.sock.lock").unlink(missing_ok=True)
        accounts = self.folder / "accounts.sql"
        accounts.touch(mode=0o600)
        accounts.write_text(self._account_statements())
        command = [program.path, "--no-defaults", f"--datadir={data}", *AS_ROOT, *self.sizes]
        command += [f"--port={self.port}", f"--bind-address={self.host}"]
        # A relative socket stands in the data folder: no path is too long for it.
        command += ["--socket=mysqld.sock", f"--init-file={accounts}", f"--log-error={self.log}"]
        command += [f"--pid-file={self.pid_file}", "--skip-log-bin"]
        if program.family == "mysql":
            command += ["--mysqlx=0", "--secure-file-priv=NULL"]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [*command, *options],
                env=self._with_own_tmpdir(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            self._wait_until_it_answers()
        finally:
            accounts.unlink()  # it holds the password

    def _with_own_tmpdir(self) -> dict[str, str]:
        # In one that they share, a MariaDB that starts deletes the others' temporary tables. Not as
        # an option, which mariadb-install-db would take for two where there is a space in it.
        tmpdir = self.folder / "tmp"
        tmpdir.mkdir(exist_ok=True)
        return {**os.environ, "TMPDIR": str(tmpdir)}

    def _initialise(self, program: Program, data: Path) -> None:
        # Under another name until it is whole, so that an interrupted start can be repeated.
        unfinished = data.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        if program.family == "mariadb":
            command = ["mariadb-install-db", "--no-defaults", "--skip-test-db"]
            command += ["--auth-root-authentication-method=normal"]
            if shutil.which(command[0]) is None:
                raise ServerError(f"mariadb-install-db is not on PATH: {INSTALL}")
        else:
            command = [program.path, "--no-defaults", "--initialize-insecure"]
            command += ["--secure-file-priv=NULL"]
        command += [f"--datadir={unfinished}", *AS_ROOT, *self.sizes]
        environment = self._with_own_tmpdir()
        with open(self.log, "ab") as log:
            status = subprocess.run(command, env=environment, stdout=log, stderr=log).returncode
        if status:
            raise ServerError(
                f"{command[0]} failed (exit status {status}).\n{self._what_it_said()}"
            )
        unfinished.chmod(0o700)
        unfinished.rename(data)

    def _account_statements(self) -> str:
        def quoted(text: str) -> str:
            return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"

        # The server knows every loopback client as 'localhost'; MariaDB's other roots would come
        # before it. One statement a line, as an init file must be.
        lines = ["SET sql_log_bin = 0;"]  # a member of a group may have no transactions of its own
        lines += ["DROP USER IF EXISTS 'root'@'127.0.0.1', 'root'@'::1';"]
        for user in sorted({"root", self.user}):
            account = f"{quoted(user)}@'localhost'"
            lines += [
                f"CREATE USER IF NOT EXISTS {account};",
                f"ALTER USER {account} IDENTIFIED BY {quoted(self.password)};",
                f"GRANT ALL ON *.* TO {account} WITH GRANT OPTION;",
            ]
        return "\n".join(lines) + "\n"

    def _wait_until_it_answers(self, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while True:
            if self.process.poll() is not None:
                raise ServerError(
                    f"the server ended at start (exit status {self.process.returncode}).\n"
                    + self._what_it_said()
                )
            try:
                self.connect().close()
                return
            except mysql.connector.Error as error:
                if time.monotonic() > end:
                    self.stop()
                    raise ServerError(
                        f"the server did not answer within {seconds:.0f} seconds: {error}\n"
                        + self._what_it_said()
                    ) from error
            time.sleep(0.05)

    def _what_it_said(self, most: int = 8) -> str:
        """Return the errors in the log since start() was called, its end where it has none."""
        lines = self.log.read_bytes()[self._log_before :].decode(errors="replace").splitlines()
        errors = [line for line in lines if "ERROR" in line]  # MariaDB says much about bug reports
        return f"From {self.log}:\n" + "\n".join(errors[:most] or lines[-most:])

    def connect(self, **settings):
        """Return a new connection to the server, as its own account unless told otherwise."""
        own = {"host": self.host, "port": self.port, "user": self.user, "password": self.password}
        return mysql.connector.connect(autocommit=True, **{**own, **settings})

    def environment(self) -> dict[str, str]:
        """Return the MYSQL_* variables that lead seed.py to this server."""
        return {
            "MYSQL_HOST": self.host,
            "MYSQL_PORT": str(self.port),
            "MYSQL_USER": self.user,
            "MYSQL_PASSWORD": self.password,
        }

    def running(self) -> tuple[int, int] | None:
        """Return process id and port of the server that runs on this folder, None if none does.

        Raises PermissionError if the folder is another user's.
        """
        try:
            pid = int(self.pid_file.read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return None
        # Another process may have the number by now; a dead one has an empty command line.
        port = re.search(rb"\0--port=(\d+)\0", command)
        ours = os.fsencode(f"={self.pid_file}\0") in command
        return (pid, int(port[1])) if port and ours else None

    def stop(self) -> None:
        """Shut the server down as its owner would, and return when it has ended."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the server as a power cut would."""
        self._end(signal.SIGKILL)

    def _end(self, how: int) -> None:
        running = self.running()
        if running:
            os.kill(running[0], how)
        end = time.monotonic() + 60
        while self.running():
            if time.monotonic() > end:
                raise ServerError(f"the server has not ended within a minute: see {self.log}")
            time.sleep(0.02)
        if hasattr(self, "process"):
            self.process.wait()

    def __enter__(self) -> PrivateServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def free_port() -> int:
    """Return a TCP port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def check_port_is_free(port: int, host: str = "127.0.0.1") -> None:
    """Raise ServerError if something listens on the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ServerError(
                f"cannot listen on {host}:{port} ({error.strerror}): stop what listens there, "
                f"or choose another port: export MYSQL_PORT={port + 1 if port < 65535 else 3307}"
            ) from error


def main() -> None:
    """Start, stop or show the user's server."""
    sys.path.insert(0, str(PROJECT))
    import seed

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=["start", "status", "stop"])
    action = parser.parse_args().action
    folder = PROJECT / ".mysql"
    try:
        settings = seed.connection_settings()
        if settings["host"] not in ("localhost", "127.0.0.1"):
            raise ServerError(
                f"MYSQL_HOST is {settings['host']}, but this runs a server on this machine only: "
                "unset MYSQL_HOST"
            )
        server = PrivateServer(folder, settings["port"], settings["user"], settings["password"])
        running = server.running()
        if action == "stop" and running:
            server.stop()
            print("Stopped; its data stays in .mysql/")
        elif action == "start" and not running:
            server.start()
            server.process.returncode = 0  # it goes on without this process: Popen would complain
        elif not running:
            print("Not running")
            sys.exit(action == "status")
        elif running[1] != server.port:
            raise ServerError(
                f"the server runs at port {running[1]}, not {server.port}: "
                f"export MYSQL_PORT={running[1]}, or stop it first"
            )
        if action != "stop":
            with server.connect() as connection, connection.cursor() as cursor:
                cursor.execute("SELECT VERSION()")
                print(f"Server {cursor.fetchone()[0]} is ready at 127.0.0.1:{server.port}")
    except mysql.connector.Error as error:
        account = ": set the MYSQL_USER and MYSQL_PASSWORD of its start, or stop and start it"
        sys.exit(f"mysql_server.py: {error}{account if error.errno == 1045 else ''}")
    except PermissionError as error:
        owner = f"run this as the owner of {folder if folder.exists() else PROJECT}"
        sys.exit(f"mysql_server.py: {error.filename}: {error.strerror}: {owner}")
    except (ServerError, OSError, ValueError) as error:
        sys.exit(f"mysql_server.py: {error}")


if __name__ == "__main__":
    main()
