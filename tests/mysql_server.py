#!/usr/bin/env python3
"""Run the MySQL or MariaDB program on PATH as a private server (Linux).

    python3 tests/mysql_server.py start    run a server at the MYSQL_* settings of seed.py
    python3 tests/mysql_server.py stop     end it; its data stays under .mysql/

It listens on the loopback address only, and its files can be read by their owner only. Whoever has
an account on this machine reaches that address: so without a MYSQL_PASSWORD the server's one
account has all rights on the database ALX_prodev, and no others.
"""

import argparse
import fcntl
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import mysql.connector

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))
import seed  # noqa: E402

SETTINGS = ("host", "port", "user", "password")
INSTALL = "apt-get install default-mysql-server-core default-mysql-client-core"
interrupted: list[int] = []  # signals; an exception instead would miss a program just started


class ServerError(seed.InputError):
    """A server that could not be started or stopped; the text says what to do."""


def server_program() -> tuple[str, str]:
    """Return the first of mysqld and mariadbd on PATH, and "mysql" or "mariadb", its family."""
    path = shutil.which("mysqld") or shutil.which("mariadbd")
    if path is None:  # on Debian, an ordinary user's PATH lacks /usr/sbin
        raise ServerError(
            f'neither mysqld nor mariadbd is on PATH: export PATH="$PATH:/usr/sbin", or {INSTALL}'
        )
    version = subprocess.run([path, "--version"], capture_output=True, check=False).stdout
    return path, "mariadb" if b"MariaDB" in version else "mysql"


class PrivateServer:
    """One server process on a data folder of its own.

    Arguments: the folder (made if missing), the TCP port, and its account: with a password it has
    all rights, without one those on ALX_prodev. As a context manager it starts and stops itself.
    """

    seconds = 60  # in which it must have started, or ended
    sizes: tuple[str, ...] = ()  # options for its files
    process: subprocess.Popen | None = None

    def __init__(self, folder: Path, port: int, password: str = "", user: str = "root") -> None:
        self.folder = folder.resolve()
        self.host, self.port, self.user, self.password = "127.0.0.1", port, user, password
        self.log = self.folder / "error.log"
        self.pid_file = self.folder / "mysqld.pid"

    def start(self, *options: str) -> None:
        """Start the server, and return when it answers; else ServerError, and nothing is left."""
        program, family = server_program()
        try:
            for folder in (self.folder, self.folder / "tmp"):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                folder.chmod(0o700)
            # All that is started inherits the lock, so that nothing else works on the folder.
            with open(self.folder / "lock", "w") as self.lock:
                self._take_lock()
                self._start(program, family, options)
        except OSError as error:
            where = f"{error.filename or self.folder}: {error.strerror}"
            mend = f"is {self.folder} yours, and is there room? To begin anew, delete it"
            raise ServerError(f"{where}: {mend}") from error

    def _take_lock(self) -> None:
        """Lock the folder; for a second a server that was killed may still have the lock."""
        for _ in range(20):
            with suppress(BlockingIOError):
                return fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            time.sleep(0.05)
        lost = f"a server whose mysqld.pid is lost: pkill -f {shlex.quote(f'{self.folder}/')}"
        raise ServerError(f"another start is at work on {self.folder}, or {lost}")

    def _start(self, program: str, family: str, options: tuple[str, ...]) -> None:
        check_port_is_free(self.port, self.host)
        self.deadline = time.monotonic() + self.seconds
        self.log.touch()
        self.log_before = self.log.stat().st_size
        accounts = self.folder / "accounts.sql"
        try:
            # Neither family can read the other's files. And what anybody may have planted where no
            # password was asked for must not run where the account has all rights.
            data = self.folder / f"{family}-{'private' if self.password else 'open'}"
            self.is_new = not data.exists()
            if self.is_new:
                self._initialise(program, family, data)
            accounts.touch(mode=0o600)
            accounts.write_text(self._account_statements(family))
            self._run(program, data, f"--init-file={accounts}", *options)
        except BaseException:
            if self.process:
                with suppress(ProcessLookupError):
                    os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
            raise
        finally:
            accounts.unlink(missing_ok=True)  # it holds the password

    def _launch(self, program: str, data: Path, *options: str) -> None:
        """Start a program on the data, in a process group of its own."""
        command = [program, "--no-defaults", f"--datadir={data}", *self.sizes, *options]
        if os.geteuid() == 0:  # root must say that it is meant (the plain --user changes owners)
            command.append("--loose-user=root")
        # In a tmpdir that they share, a MariaDB that starts deletes the others' temporary tables.
        # As an option, mariadb-install-db takes a path with a space for two.
        environment = {**os.environ, "TMPDIR": str(self.folder / "tmp")}
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=[self.lock.fileno()],
            )

    def _initialise(self, program: str, family: str, data: Path) -> None:
        # Under another name until it is whole, so that an interrupted start can be repeated.
        unfinished = data.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        options = ["--initialize-insecure", f"--secure-file-priv={self.folder / 'tmp'}"]
        if family == "mariadb":
            program = "mariadb-install-db"
            options = ["--skip-test-db", "--auth-root-authentication-method=normal"]
            if shutil.which(program) is None:
                raise ServerError(f"{program} is not on PATH: {INSTALL}")
        self._launch(program, unfinished, *options)
        self._wait_until(lambda: self.process.poll() == 0)
        unfinished.chmod(0o700)
        unfinished.rename(data)

    def _run(self, program: str, data: Path, *options: str) -> None:
        self.pid_file.unlink(missing_ok=True)
        # Left by a server that was killed; MySQL believes it as long as that process is not reaped.
        (data / "mysqld.sock.lock").unlink(missing_ok=True)
        own = [f"--port={self.port}", f"--bind-address={self.host}", f"--pid-file={self.pid_file}"]
        # A relative socket stands in the data folder: no path is too long for it. Where symbolic
        # links are allowed, MariaDB makes a table in any folder that whoever creates it names.
        own += [f"--log-error={self.log}", "--socket=mysqld.sock", "--skip-symbolic-links"]
        own += [f"--secure-file-priv={self.folder / 'tmp'}", "--skip-log-bin", "--loose-mysqlx=0"]
        own += ["--event-scheduler=OFF"]
        self._launch(program, data, *own, *options)
        # Its pid file is there once it listens: who connects before that may meet itself, where the
        # system lets it come from the same port.
        self._wait_until(self.running)
        try:
            self.log_in(max(1, int(self.deadline - time.monotonic())))
        except mysql.connector.Error as error:
            raise ServerError(f"{self.user!r} cannot log in: {error}; {self._said()}") from error

    def _wait_until(self, done) -> None:
        while not done():
            if interrupted:
                sys.exit(128 + interrupted[0])
            if self.process.poll() is not None:
                raise ServerError(f"exit status {self.process.returncode}: {self._said()}")
            if time.monotonic() > self.deadline:
                raise ServerError(f"not up in {self.seconds} seconds: {self._said()}")
            time.sleep(0.05)

    def _account_statements(self, family: str) -> str:
        def quoted(text: str) -> str:
            return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"

        # The server knows every loopback client as 'localhost'. One statement a line, as an init
        # file must be.
        account = f"{quoted(self.user)}@localhost"
        rights = "*.* TO {} WITH GRANT OPTION" if self.password else r"`ALX\_prodev`.* TO {}"
        table = "global_priv" if family == "mariadb" else "user"
        system = "'mariadb.sys', 'mysql.sys', 'mysql.session', 'mysql.infoschema'"
        statements = [
            "SET sql_log_bin = 0",  # a member of a group may have none of its own
            f"DROP USER IF EXISTS root@localhost, {account}",
            # Those of other starts, and MariaDB's roots without a password, one a name of the host
            f"DELETE FROM mysql.{table} WHERE User NOT IN ({system})",
            "FLUSH PRIVILEGES",
            f"CREATE USER {account} IDENTIFIED BY {quoted(self.password)}",
            f"GRANT ALL ON {rights.format(account)}",
        ]
        return "".join(f"{statement};\n" for statement in statements)

    def _said(self) -> str:
        """Return the first error in the log since start() was called, its last line without one."""
        lines = self.log.read_bytes()[self.log_before :].decode(errors="replace").splitlines()
        last = lines[-1] if lines else "nothing was said"
        said = next((line for line in lines if "ERROR" in line), last)
        return f"{said[:300]} (the rest is in {self.log}; to begin anew, delete {self.folder})"

    def connect(self, **settings):
        """Return a new connection to the server, as its own account unless told otherwise."""
        own = {name: getattr(self, name) for name in SETTINGS}
        return mysql.connector.connect(**{**own, "autocommit": True, **settings})

    def log_in(self, seconds: int = 10) -> str:
        """Return the version of the server, as its account learns it within the time."""
        with self.connect(connection_timeout=seconds) as connection:
            return connection.info_query("SELECT VERSION()")[0]

    def environment(self) -> dict[str, str]:
        """Return the MYSQL_* variables that lead seed.py to this server."""
        return {f"MYSQL_{name.upper()}": str(getattr(self, name)) for name in SETTINGS}

    def running(self) -> tuple[int, int] | None:
        """Return process id and port of the server that runs on this folder, None if none does."""
        try:
            pid = int(self.pid_file.read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except PermissionError as error:
            name, owner = self.folder.name, self.folder.owner()
            mend = f"do this as {owner}, or delete {name} as {owner}, and begin anew"
            raise ServerError(f"{name} belongs to {owner}: {mend}") from error
        except (OSError, ValueError):
            return None
        # Another process may have the number by now; a dead one has an empty command line.
        port = re.search(rb"\0--port=(\d+)\0", command)
        ours = os.fsencode(f"={self.pid_file}\0") in command
        return (pid, int(port[1])) if port and ours else None

    def stop(self, how: int = signal.SIGTERM) -> None:
        """End the server, and return when it has ended; SIGKILL is as a power cut would."""
        if running := self.running():
            os.kill(running[0], how)
        elif self.process:  # of which there is no file, or no longer
            self.process.send_signal(how)
        end = time.monotonic() + self.seconds
        while self.running():
            if time.monotonic() > end:
                raise ServerError(f"not ended in {self.seconds} seconds: see {self.log}")
            time.sleep(0.02)
        if self.process:
            self.process.wait()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def free_port() -> int:
    """Return a TCP port that nothing listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def check_port_is_free(port: int, host: str = "127.0.0.1") -> None:
    """Raise ServerError if something listens on the port."""
    try:
        socket.create_server((host, port)).close()
    except OSError as error:
        raise ServerError(
            f"cannot listen on {host}:{port} ({os.strerror(error.errno)}): stop what listens "
            f"there, or choose another port: export MYSQL_PORT={port + 1 if port < 65535 else 3307}"
        ) from error


def main() -> None:
    """Start, stop or show the user's server."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=["start", "stop"])
    action = parser.parse_args().action
    if action == "start":
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda number, _: interrupted.append(number))
    host, port, user, password = map(seed.connection_settings().get, SETTINGS)
    if host not in ("localhost", "127.0.0.1"):
        raise ServerError(f"MYSQL_HOST is {host}, but this is for this machine: unset MYSQL_HOST")
    server = PrivateServer(PROJECT / ".mysql", port, password, user)
    running = server.running()
    if action == "stop":
        server.stop()
        print("Stopped; its data stays in .mysql/" if running else "Not running")
        return
    if not running:
        server.start()
        server.process.returncode = 0  # it goes on without this process: Popen would complain
    elif running[1] != port:
        raise ServerError(
            f"the server runs at port {running[1]}, not {port}: "
            f"export MYSQL_PORT={running[1]}, or stop it first"
        )
    print(f"Server {server.log_in()} is ready at {server.host}:{port}")
    if not running and server.is_new:
        print("It is empty: run python3 seed.py")


if __name__ == "__main__":
    seed.run(main)
