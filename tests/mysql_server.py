#!/usr/bin/env python3
"""Run the installed MySQL or MariaDB program as a private server.

    python3 tests/mysql_server.py start    start it with the port, user and password of seed.py
    python3 tests/mysql_server.py stop     stop it; its data stays in .mysql/

It listens on the loopback address only, and only its owner can read its files. Anyone with an
account on this machine can connect to that address. Without a MYSQL_PASSWORD, therefore, the
server's only account has rights on the database ALX_prodev and nothing else.

It is tested on Linux. It is written for macOS too, where nobody has tried it yet.
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
if sys.platform == "darwin":
    INSTALL = "brew install mariadb"
# Debian puts servers there, but not on an ordinary user's PATH.
FOLDERS = ["/usr/sbin", "/usr/local/sbin"]
PROC = Path("/proc")  # macOS has none
APPARMOR = Path("/etc/apparmor.d/usr.sbin.mysqld")  # of Ubuntu's mysql-server
interrupted: list[int] = []  # signal numbers; raising could lose a program that was just started


class ServerError(seed.InputError):
    """A server that could not be started or stopped; the text says what to do."""


def found(program: str) -> str | None:
    """Return the path of a program on PATH, else in FOLDERS, or None."""
    return shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", ""), *FOLDERS]))


def server_program() -> tuple[str, str]:
    """Return the path of mysqld, else of mariadbd, and its family: "mysql" or "mariadb"."""
    path = found("mysqld") or found("mariadbd")
    if path is None:
        raise ServerError(f"neither mysqld nor mariadbd is installed: {INSTALL}")
    version = subprocess.run([path, "--version"], capture_output=True, check=False).stdout
    return path, "mariadb" if b"MariaDB" in version else "mysql"


def command_of(pid: int) -> str:
    """Return the command line of a process, "" if it is dead."""
    if PROC.exists():
        return (PROC / f"{pid}/cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
    ps = ["ps", "-ww", "-o", "command=", "-p", str(pid)]
    return subprocess.run(ps, capture_output=True, encoding="utf-8", errors="replace").stdout + " "


class PrivateServer:
    """One server process on a data folder of its own.

    Arguments: the folder (created if missing), the TCP port, and the account. With a password, the
    account has all rights; without one, only those on ALX_prodev. As a context manager, it starts
    and stops itself.
    """

    seconds = 60  # time limit for a start, and for a stop
    sizes: tuple[str, ...] = ()  # options for its files
    process: subprocess.Popen | None = None

    def __init__(self, folder: Path, port: int, password: str = "", user: str = "root") -> None:
        self.folder = folder.resolve()
        self.host, self.port, self.user, self.password = "127.0.0.1", port, user, password
        self.log = self.folder / "error.log"
        self.pid_file = self.folder / "mysqld.pid"

    def start(self, *options: str) -> None:
        """Start the server, and return when it answers.

        On failure, raise ServerError and leave no process behind.
        """
        program, family = server_program()
        try:
            for folder in (self.folder, self.folder / "tmp"):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                folder.chmod(0o700)
            # Every program started here inherits the lock: no other start can use the folder.
            with open(self.folder / "lock", "a+") as self.lock:
                self._take_lock()
                self._start(program, family, options)
        except OSError as error:
            where = f"{error.filename or self.folder}: {error.strerror}"
            cure = f"check that {self.folder} is yours and the disk is not full"
            raise ServerError(f"{where}: {cure}; to start over, delete it") from error

    def _take_lock(self) -> None:
        """Lock the folder; a server that was just killed may hold the lock for up to a second."""
        for _ in range(20):
            with suppress(BlockingIOError):
                fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.lock.truncate(0)
                self.lock.write(socket.gethostname())
                return self.lock.flush()
            time.sleep(0.05)
        self.lock.seek(0)
        owner = self.lock.read()
        if owner not in ("", socket.gethostname()):  # such as a container that shares the folder
            raise ServerError(
                f"{self.folder} is in use by a server on the host {owner}: stop it there"
            )
        used = "by another start or by a server whose mysqld.pid is gone"
        end = f"to end that server: pkill -f {shlex.quote(f'{self.folder}/')}"
        raise ServerError(f"{self.folder} is in use, {used}; {end}")

    def _start(self, program: str, family: str, options: tuple[str, ...]) -> None:
        check_port_is_free(self.port, self.host)
        self.deadline = time.monotonic() + self.seconds
        self.log.touch()
        self.log_before = self.log.stat().st_size
        accounts = self.folder / "accounts.sql"
        try:
            # Neither family can read the other's files. And data written while no password was
            # needed must not be used by an account that has all rights: somebody may have put a
            # routine there.
            data = self.folder / f"{family}-{'private' if self.password else 'open'}"
            self.is_new = not data.exists()
            if self.is_new:
                self._initialise(program, family, data)
            accounts.touch(mode=0o600)
            accounts.write_text(self._account_statements(family))
            self._run(program, data, f"--init-file={accounts}", *options)
        except BaseException:
            if self.process:
                # (For a group of zombies, macOS says that killing it is not permitted.)
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
            raise
        finally:
            accounts.unlink(missing_ok=True)  # it holds the password

    def _launch(self, program: str, data: Path, *options: str) -> None:
        """Start a program on the data, in a process group of its own."""
        command = [program, "--no-defaults", f"--datadir={data}", *self.sizes, *options]
        if os.geteuid() == 0:  # else it refuses (--user without "loose" changes owners)
            command.append("--loose-user=root")
        # Each server has its own TMPDIR: in a shared one, a starting MariaDB deletes the others'
        # temporary tables. Not by an option: mariadb-install-db would split a path at its spaces.
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
        # It has another name until it is complete, so that an interrupted start can be repeated.
        unfinished = data.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        options = ["--initialize-insecure", f"--secure-file-priv={self.folder / 'tmp'}"]
        if family == "mariadb":
            program = found("mariadb-install-db") or ""
            options = ["--skip-test-db", "--auth-root-authentication-method=normal"]
            if not program:
                raise ServerError(f"mariadb-install-db is not installed: {INSTALL}")
        self._launch(program, unfinished, *options)
        self._wait_until(lambda: self.process.poll() == 0)
        unfinished.chmod(0o700)
        unfinished.rename(data)

    def _run(self, program: str, data: Path, *options: str) -> None:
        self.pid_file.unlink(missing_ok=True)
        own = [f"--port={self.port}", f"--bind-address={self.host}", f"--pid-file={self.pid_file}"]
        # No socket: a folder on a Windows drive (WSL, a dev container) cannot hold one. With
        # symbolic links, a MariaDB user could create a table in any folder.
        own += [f"--log-error={self.log}", "--socket=", "--skip-symbolic-links"]
        own += [f"--secure-file-priv={self.folder / 'tmp'}", "--skip-log-bin", "--loose-mysqlx=0"]
        own += ["--event-scheduler=OFF"]
        self._launch(program, data, *own, *options)
        # The pid file appears when the server listens. A client that connects earlier may connect
        # to itself, if the system gives it the same port.
        self._wait_until(self.running)
        try:
            self.log_in(max(1, int(self.deadline - time.monotonic())))
        except mysql.connector.Error as error:
            raise ServerError(f"{self.user!r} cannot log in: {error}; {self._said()}") from error

    def _wait_until(self, done) -> None:
        while True:
            # Before done(), which sees it, too, if the program ends in between.
            status = self.process.poll()
            if done():
                return
            if interrupted:
                sys.exit(128 + interrupted[0])
            if status is not None:
                raise ServerError(f"the server ended with exit status {status}: {self._said()}")
            if time.monotonic() > self.deadline:
                limit = f"within {self.seconds} seconds"
                raise ServerError(f"the server did not start {limit}: {self._said()}")
            time.sleep(0.05)

    def _account_statements(self, family: str) -> str:
        def quoted(text: str) -> str:
            return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"

        # The server sees every loopback client as 'localhost'. An init file must have one statement
        # per line.
        account = f"{quoted(self.user)}@localhost"
        rights = "*.* TO {} WITH GRANT OPTION" if self.password else r"`ALX\_prodev`.* TO {}"
        table = "global_priv" if family == "mariadb" else "user"
        system = "'mariadb.sys', 'mysql.sys', 'mysql.session', 'mysql.infoschema'"
        statements = [
            "SET sql_log_bin = 0",  # a member of a replication group must not log its own
            f"DROP USER IF EXISTS root@localhost, {account}",
            # Accounts of earlier starts, and the roots without a password that MariaDB makes, one
            # for each name of the host
            f"DELETE FROM mysql.{table} WHERE User NOT IN ({system})",
            "FLUSH PRIVILEGES",
            f"CREATE USER {account} IDENTIFIED BY {quoted(self.password)}",
            f"GRANT ALL ON {rights.format(account)}",
        ]
        return "".join(f"{statement};\n" for statement in statements)

    def _said(self) -> str:
        """Return the first error in the log since start() was called, else the log's last line."""
        lines = self.log.read_bytes()[self.log_before :].decode(errors="replace").splitlines()
        last = lines[-1] if lines else "the log is empty"
        said = next((line for line in lines if "ERROR" in line), last)[:300]
        # No kernel of ours has AppArmor: its words are those of any file that cannot be written.
        if APPARMOR.exists() and re.search("(?i)permission denied|errno:? 13", "".join(lines)):
            own = "use the installed server as your own (README: CREATE USER, GRANT), or MariaDB"
            return f"{said}. Perhaps {APPARMOR} lets mysqld write nothing in this folder: {own}"
        return f"{said} (see {self.log}; to start over, delete {self.folder})"

    def connect(self, **settings):
        """Return a new connection to the server, as its own account unless told otherwise."""
        own = {name: getattr(self, name) for name in SETTINGS}
        return mysql.connector.connect(**{**own, "autocommit": True, **settings})

    def log_in(self, seconds: int = 10) -> str:
        """Log in with the server's account within the time, and return the server's version."""
        with self.connect(connection_timeout=seconds) as connection:
            return connection.info_query("SELECT VERSION()")[0]

    def environment(self) -> dict[str, str]:
        """Return the MYSQL_* variables with which seed.py uses this server."""
        return {f"MYSQL_{name.upper()}": str(getattr(self, name)) for name in SETTINGS}

    def running(self) -> tuple[int, int] | None:
        """Return the process id and port of the server that uses this folder, or None."""
        try:
            pid = int(self.pid_file.read_text())
            command = command_of(pid)
        except PermissionError as error:
            name, owner = self.folder.name, self.folder.owner()
            cure = f"run this command as {owner}; or, as {owner}, delete {name} to start over"
            raise ServerError(f"{name} belongs to {owner}: {cure}") from error
        except (OSError, ValueError):
            return None
        # By now, another process may have this id. Of the path, only what is ASCII is compared: ps
        # may show other letters in another way.
        path = ".*".join(map(re.escape, re.findall(r"[!-~]+", f"--pid-file={self.pid_file}")))
        port = re.search(r" --port=(\d+) ", command)
        return (pid, int(port[1])) if port and re.search(f" {path} ", command) else None

    def stop(self, how: int = signal.SIGTERM) -> None:
        """Stop the server, and return when it has stopped. SIGKILL acts like a power cut."""
        if running := self.running():
            with suppress(ProcessLookupError):  # it has just ended by itself
                os.kill(running[0], how)
        elif self.process:  # it has no pid file yet, or no longer
            self.process.send_signal(how)
        end = time.monotonic() + self.seconds
        while self.running():
            if time.monotonic() > end:
                limit = f"within {self.seconds} seconds"
                raise ServerError(f"the server did not stop {limit}: see {self.log}")
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
    """Start or stop the user's server."""
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
        here = "this command starts a server on this machine only"
        raise ServerError(f"MYSQL_HOST is {host}, but {here}: unset MYSQL_HOST")
    server = PrivateServer(PROJECT / ".mysql", port, password, user)
    running = server.running()
    if action == "stop":
        server.stop()
        print("Stopped; its data stays in .mysql/" if running else "Not running")
        return
    if not running:
        server.start()
        server.process.returncode = 0  # it outlives this process, and Popen would warn about it
    elif running[1] != port:
        raise ServerError(
            f"the server is running on port {running[1]}, not {port}: "
            f"export MYSQL_PORT={running[1]}, or stop the server first"
        )
    if server.folder.stat().st_mode & 0o077:
        print("Note: this file system keeps no permissions, so others can read .mysql/")
    print(f"Server {server.log_in()} is ready at {server.host}:{port}")
    if not running and server.is_new:
        print("It is empty: run python3 seed.py")


if __name__ == "__main__":
    seed.run(main)
