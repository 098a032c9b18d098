#!/usr/bin/env python3
"""Set up the database ALX_prodev and import users from a CSV file.

This module owns what the numbered scripts share: the connection to MySQL, the schema, the import,
and how a stream is opened and closed. Where the server is and who logs in comes from MYSQL_HOST,
MYSQL_PORT, MYSQL_USER and MYSQL_PASSWORD, then from the [client] group of ~/.my.cnf, then from the
defaults: localhost, 3306, root and no password.

To learn from it, read from the top down to the line that says what you may skip.
"""

import argparse
import csv
import os
import random
import re
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, TextIO

import mysql.connector
from mysql.connector.abstracts import MySQLConnectionAbstract as Connection

if mysql.connector.HAVE_CEXT:
    from mysql.connector.cursor_cext import CMySQLCursorRaw as DriverCursor
else:  # no C extension for this machine: everything works, only slower
    from mysql.connector.cursor import MySQLCursorRaw as DriverCursor  # type: ignore[assignment]


class InputError(ValueError):
    """Settings, a file or a table that cannot be used; the text says where and why."""


# Connecting

DATABASE = "ALX_prodev"
# Whatever the server's own settings are: no value is cut to fit, a COMMIT begins nothing new, no
# result ends early at a limit (that number means all rows), ids are sorted by all of their
# characters, and a reader may pause for a day (the server also waits that long for a dead one).
SESSION = """
SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', completion_type = NO_CHAIN,
    sql_select_limit = 18446744073709551615, max_sort_length = 4096,
    net_write_timeout = 86400, wait_timeout = 86400
"""


def connect_db(database: str | None = None) -> Connection:
    """Return a new connection to the MySQL server, with that database or none chosen.

    The caller closes it. Changes on it need a commit(), as PEP 249 says. Costs a TCP connection,
    TLS and a login. Raises InputError or OSError for settings that cannot be used, and
    mysql.connector.Error if the server cannot be reached, refuses the login or does not answer
    within CONNECT_TIMEOUT.
    """
    settings = connection_settings()
    # An index in SSL_MODES: 0 is no TLS, 2 and up require it, 3 and 4 verify the certificate.
    security = SSL_MODES.index(settings.pop("ssl_mode").upper())
    connection: Connection = mysql.connector.connect(  # type: ignore[assignment]
        **settings,
        database=database,
        init_command=SESSION,
        allow_local_infile=False,  # no server may ask this client for a file
        ssl_disabled=security == 0,
        ssl_verify_cert=security >= 3,
        ssl_verify_identity=security >= 4,
    )
    if security >= 2:
        check_tls(connection)
    return connection


def connect_to_prodev() -> Connection:
    """Return a new connection to ALX_prodev; costs and raises what connect_db() does."""
    return connect_db(DATABASE)


def query(connection: Connection, statement: str, values: Any = ()) -> list[Any]:
    """Return all rows of a query, in which each %s stands for one of the values."""
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return list(cursor.fetchall())


# Schema

CREATE_TABLE = """
CREATE TABLE IF NOT EXISTS user_data (
    user_id VARCHAR(36) PRIMARY KEY,
    name VARCHAR(255) NOT NULL,
    email VARCHAR(255) NOT NULL,
    age DECIMAL(3,0) NOT NULL,
    INDEX idx_user_id (user_id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4
"""
COLUMNS = ("user_id", "name", "email", "age")
THIS_TABLE = "table_schema = DATABASE() AND table_name = 'user_data'"
# Queries, each row of which is a reason why an existing table would silently lose, change or double
# users, by an age that is rounded, say. (The server itself refuses a column that is missing or too
# short, as SESSION is strict.) NULL <=> 0 is false, where NULL = 0 would be NULL.
TABLE_FAULTS = [
    f"""SELECT CONCAT_WS(' ', 'the type', table_type, engine)
    FROM information_schema.tables LEFT JOIN information_schema.engines USING (engine)
    WHERE {THIS_TABLE} AND NOT (table_type = 'BASE TABLE' AND transactions = 'YES')""",
    f"""SELECT CONCAT_WS(' ', 'the column', column_name, column_type)
    FROM information_schema.columns WHERE {THIS_TABLE} AND column_name IN {COLUMNS}
    AND NOT (data_type REGEXP 'char|text|uuid' OR column_name = 'age'
        AND (numeric_scale <=> 0 OR column_type IN ('float', 'double')))""",
    # With another unique key, a new user may look like an existing one.
    f"""SELECT CONCAT_WS(' ', 'the unique key', index_name, 'on', column_name, sub_part)
    FROM information_schema.statistics WHERE {THIS_TABLE} AND NOT non_unique
    AND NOT (column_name <=> 'user_id' AND sub_part IS NULL)""",
    f"""SELECT 'no unique key on user_id' FROM DUAL WHERE 'user_id' NOT IN (
    SELECT column_name FROM information_schema.statistics WHERE {THIS_TABLE} AND NOT non_unique)""",
    """SELECT CONCAT_WS(' ', 'the trigger', trigger_name) FROM information_schema.triggers
    WHERE event_object_schema = DATABASE() AND event_object_table = 'user_data'
    AND event_manipulation <> 'DELETE'""",
]


def create_database(connection: Connection) -> None:
    """Create the database ALX_prodev if it does not exist.

    Looks first: in a cluster even a CREATE that has nothing to do rolls back other imports. Costs
    one query, or two. Raises mysql.connector.Error if the user may not create it.
    """
    schemata = "SELECT schema_name FROM information_schema.schemata WHERE schema_name = %s"
    if not query(connection, schemata, [DATABASE]):
        connection.cmd_query(f"CREATE DATABASE IF NOT EXISTS {DATABASE} CHARACTER SET utf8mb4")


def create_table(connection: Connection) -> None:
    """Create the table user_data if it does not exist, and say so on stdout.

    Eight queries at most, on a connection to ALX_prodev. Raises InputError for an existing table
    with one of TABLE_FAULTS, and mysql.connector.Error.
    """
    if not query(connection, r"SHOW TABLES LIKE 'user\_data'"):
        connection.cmd_query(CREATE_TABLE)
    # Without the right to read all columns, other keys are hidden.
    query(connection, "SELECT * FROM user_data LIMIT 0")
    faults = [fault for statement in TABLE_FAULTS for (fault,) in query(connection, statement)]
    if faults:
        raise InputError(
            f"user_data in {DATABASE} has {', '.join(faults)}: rename it and run again"
        )
    print("Table user_data created successfully")


# A row's way into the table: lines of a CSV file -> rows -> users -> batches -> INSERT

UserRow = tuple[str, str, str, str]  # a value for each of COLUMNS
LINE_LIMIT = 10_000  # characters; the longest line of a good user has some 1,100
UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def read_lines(file: TextIO) -> Iterator[str]:
    """Yield the lines of a text file; raise InputError for one that is too long or not UTF-8."""
    for number, line in enumerate(iter(partial(file.readline, LINE_LIMIT), ""), 1):
        if len(line) == LINE_LIMIT:
            raise InputError(f"{file.name}:{number}: a line of {LINE_LIMIT:,} characters or more")
        if "\ufffd" in line or "\0" in line:  # open() puts U+FFFD in place of invalid bytes
            raise InputError(f"{file.name}:{number}: not UTF-8 text: save it in that encoding")
        yield line


def read_rows(file: TextIO) -> Iterator[tuple[int, list[str]]]:
    """Yield the non-blank rows of a CSV file, each with the number of its first line.

    The separator is what the first line has most of: comma, semicolon or tab; values are stripped.
    Raises InputError for unbalanced quotes, and what read_lines() does.
    """
    lines = read_lines(file)
    first_line = next(lines, "")
    separator = max(",;\t", key=first_line.count)
    parse = partial(csv.reader, delimiter=separator, skipinitialspace=True, strict=True)
    rows = parse(chain([first_line], lines))
    line = 1
    try:
        for row in rows:
            if len(row) == 1 and separator in row[0]:  # a line that was quoted as a whole
                row = next(parse(row))
            values = [value.strip() for value in row]
            if any(values):
                yield line, values
            line = rows.line_num + 1  # a quoted value may hold line breaks
    except csv.Error as error:
        raise InputError(f"{file.name}:{line}: {error}: check the quotes") from None


def make_user(name: str, email: str, age: str, user_id: str | None = None) -> UserRow:
    """Return the values of a row as a user; raise InputError, with column and reason, for bad ones.

    A user_id is stored in lower case, without braces; where there is none, it is made from the
    email, the same each time (RFC 4122, version 5).
    """
    if user_id is None:
        user_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"mailto:{email.lower()}"))
    key = user_id.lower().strip("{}")
    if not UUID.fullmatch(key):
        raise InputError(f"user_id {user_id[:40]!r} is not a UUID")
    if not 1 <= len(name) <= 255:
        raise InputError(f"name {name[:40]!r} is not a text of 1 to 255 characters")
    if email.count("@") != 1 or email.strip("@") != email or len(email) > 255:
        raise InputError(f"email {email[:40]!r} is not an address with one @, up to 255 long")
    if not (age.isdecimal() and age.isascii() and len(age.lstrip("0")) <= 3):
        raise InputError(f"age {age[:40]!r} is not a whole number from 0 to 999")
    return (key, name, email, age)


def read_users(file: TextIO) -> Iterator[UserRow]:
    """Yield each user of a CSV file as a tuple of text (user_id, name, email, age).

    The header names the columns in any order and case. After the first bad row nothing more is
    yielded; InputError then lists it and those that follow, ten at most.
    """
    rows = read_rows(file)
    line, header = next(rows, (1, []))
    columns = [name.lower() for name in header]
    if sorted(columns) not in (sorted(COLUMNS), sorted(COLUMNS[1:])):
        wrong = f"needs name, email, age, optionally user_id; it is {str(header)[:100]}"
        raise InputError(f"{file.name}:{line}: the first line {wrong}")
    reasons: list[str] = []
    for line, row in rows:
        try:
            if len(row) != len(columns):
                raise InputError(f"{len(row)} fields instead of {len(columns)}")
            user = make_user(**dict(zip(columns, row)))
        except InputError as error:
            reasons.append(f"{line}: {error}")
            if len(reasons) == 10:
                break
        else:
            if not reasons:  # after a bad row, only look for more
                yield user
    if reasons:
        raise InputError(f"{file.name}:{'; '.join(reasons)}; nothing was inserted")


CSV_FILE = Path(__file__).resolve().parent / "user_data.csv"
BATCH_SIZE = 1000  # rows in one INSERT: as fast as more, and at most some 2 MB of SQL
# An existing user is left unchanged. (INSERT IGNORE would also let bad values pass.)
INSERT_USERS = """
INSERT INTO user_data (user_id, name, email, age) VALUES {}
ON DUPLICATE KEY UPDATE user_id = user_data.user_id
"""
ATTEMPTS = 10
# A deadlock, a row that has changed since (MariaDB 11.6), a conflict between primaries.
TRY_AGAIN = {1213, 1020, 3101}
Counts = tuple[int, int]  # users inserted, users who existed
Progress = Callable[[int], None]


def insert_data(
    connection: Connection, csv_file: str | Path, progress: Progress = lambda rows: None
) -> Counts:
    """Import the users of a CSV file into user_data, all of them or none.

    connection is from connect_to_prodev(); its uncommitted changes are committed first. The import
    is one transaction; if a deadlock rolls it back, it is retried, ATTEMPTS in all, except from a
    pipe, which cannot be read twice (and where an error shows only after the next batch). progress
    is called after each INSERT with the number of rows so far. Returns how many users were
    inserted, and how many existed and are unchanged. Memory holds three batches, and one's SQL.

    Raises mysql.connector.Error, OSError and what read_users() raises; then nothing was inserted.
    But if the connection is lost in the COMMIT, all may be there: run it again to be sure.
    """
    attempt = 1
    while True:
        try:
            with open(csv_file, encoding="utf-8-sig", errors="replace", newline="") as file:
                return insert_users(connection, read_users(file), progress)
        except mysql.connector.Error as error:
            again = error.errno in TRY_AGAIN or "error 149 " in str(error)  # Galera's, in a COMMIT
            if not again or attempt == ATTEMPTS or not os.path.isfile(csv_file):
                error.msg = f"{error.msg}; an import is whole or nothing"
                raise
        # Longer each time, and random, lest two collide again.
        time.sleep(random.uniform(0, 0.1 * 2**attempt))
        attempt += 1


def insert_users(connection: Connection, users: Iterator[UserRow], progress: Progress) -> Counts:
    """Insert users in one transaction, BATCH_SIZE rows per INSERT; return as insert_data() does."""
    rows_read = inserted = 0
    batches = iter(lambda: list(islice(users, BATCH_SIZE)), [])
    with ThreadPoolExecutor(1) as reader, connection.cursor() as cursor:
        # By SQL: the errors of the driver's commit() and rollback() aren't mysql.connector.Error.
        cursor.execute("START TRANSACTION")
        try:
            batch = next(batches, None)
            while batch:
                coming = reader.submit(next, batches, None)  # a thread reads while the server works
                places = ", ".join(["(%s, %s, %s, %s)"] * len(batch))
                cursor.execute(INSERT_USERS.format(places), list(chain.from_iterable(batch)))
                rows_read += len(batch)
                inserted += cursor.rowcount  # a duplicate counts as 0
                progress(rows_read)
                batch = coming.result()
            cursor.execute("COMMIT")
        except BaseException:
            with suppress(mysql.connector.Error):  # the server itself rolls back a lost connection
                cursor.execute("ROLLBACK")
            raise
    return inserted, rows_read - inserted


# A row's way out: SELECT -> cursor -> generator

SELECT_USERS = "SELECT user_id, name, email, age FROM user_data"
READ_AHEAD = 100  # rows: few enough to be small, enough to spread the cost of a call


@contextmanager
def open_stream(**how: Any) -> Iterator[Any]:
    """Connect to ALX_prodev and give a cursor whose rows stay on the server until fetched.

    how is what connection.cursor() takes: cursor_class=seed.UserCursor for users, dictionary=True
    for any query of any table. The block may pause for a day, and be left after any row at no cost:
    see hang_up(). Costs one connection, which no other code or thread can use meanwhile. Raises
    what connect_to_prodev() does.
    """
    connection = connect_to_prodev()
    try:
        connection.autocommit = True  # no transaction stays open: each query sees its own snapshot
        yield connection.cursor(**how)
    finally:
        hang_up(connection)


def hang_up(connection: Any) -> None:
    """Close a connection without reading what is left of its result.

    The C extension's close() begins with free_result(), which reads all of it: over 0.5 s for a
    million rows. Here it comes after the close, when there is nothing left to read. It is still
    needed: without it, fetching from a cursor afterwards crashes Python.
    """
    free_result = getattr(connection, "free_result", lambda: None)  # only the C extension has it
    connection.free_result = lambda: None
    connection.close()
    free_result()


class UserCursor(DriverCursor):
    """An unbuffered cursor for SELECT_USERS, whose rows are dictionaries with the age as an int.

    It is for speed: it asks the driver for READ_AHEAD rows at once, as bytes. The driver's own
    dictionary cursor takes over three times as long. Fetching raises InputError for a row that is
    not a user, and mysql.connector.Error if the result is cut short.
    """

    columns: tuple[str, ...] = COLUMNS

    def __init__(self, connection: Any, *timeouts: Any) -> None:
        super().__init__(connection, *timeouts)
        self._source = connection
        self._rows: Any = None  # not an iterator before a query, nor after an error

    def convert(self, rows: list[tuple[bytes, ...]]) -> list[Any]:
        """Return the rows of a block as the caller gets them."""
        return [
            {"user_id": id.decode(), "name": name.decode(), "email": mail.decode(), "age": int(age)}
            for id, name, mail, age in rows
        ]

    def execute(self, *args: Any, **kwargs: Any) -> None:
        """Send a query for the columns; every row of the last one must have been fetched."""
        self._rows = None
        super().execute(*args, **kwargs)
        if self.column_names != self.columns:
            raise InputError(f"the query gives {self.column_names} instead of {self.columns}")
        self._rows = self._read_rows()

    def _read_rows(self) -> Iterator[Any]:
        """Yield the rows of the result, fetched READ_AHEAD at a time."""
        end = None
        try:
            while end is None:
                rows, end = self._source.get_rows(READ_AHEAD, raw=True)
                try:
                    converted: Iterable[Any] = self.convert(rows)
                except (AttributeError, TypeError, ValueError):
                    converted = map(self._convert_row, rows)  # up to the row that is at fault
                yield from converted
        except Exception:
            self._rows = None  # a later fetch must not look like the end
            raise

    def _convert_row(self, row: tuple[bytes, ...]) -> Any:
        """Return a row of a block that could not be converted: the row at fault raises."""
        try:
            return self.convert([row])[0]
        except (AttributeError, TypeError, ValueError) as error:
            values = dict(zip(self.columns, row))
            raise InputError(f"user_data: {values} is not a user: {error}") from error

    def fetchone(self) -> Any:
        return next(self._rows, None)

    def fetchmany(self, size: int = 1) -> list[Any]:
        return list(islice(self._rows, size))

    def fetchall(self) -> list[Any]:
        return list(self._rows)


class AgeCursor(UserCursor):
    """The same for a query of the age alone: it gives tuples of one int."""

    columns = ("age",)

    def convert(self, rows: list[tuple[bytes, ...]]) -> list[Any]:
        return [(int(age),) for (age,) in rows]


# A learner may skip the rest: settings, TLS, arguments, and how a script ends.

CONNECT_TIMEOUT = 10  # seconds: without one, a server that never answers hangs the program
SSL_MODES = ["DISABLED", "PREFERRED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY"]
OPTIONS = "host, port, user, password, socket, ssl_mode, ssl_ca, ssl_cert, ssl_key"


def connection_settings() -> dict[str, Any]:
    """Return what connect_db() needs, from MYSQL_* variables, ~/.my.cnf, then the defaults.

    Raises InputError for a value that makes no sense, OSError for a file that cannot be read.
    """
    settings: dict[str, Any] = {"host": "localhost", "port": "3306", "user": "root", "password": ""}
    variables = {name: os.environ.get(f"MYSQL_{name.upper()}") for name in settings}
    settings |= read_option_file(os.path.expanduser("~/.my.cnf"))
    settings |= {name: value for name, value in variables.items() if value}
    socket, port = settings.pop("socket", None), settings["port"]
    if socket and not variables["host"] and not variables["port"]:
        settings["unix_socket"] = socket  # not if another server is named
    if not (port.isdecimal() and port.isascii() and len(port) <= 5 and 1 <= int(port) <= 65535):
        raise InputError(f"port {port[:40]!r} (MYSQL_PORT, ~/.my.cnf) is not from 1 to 65535")
    settings |= {"port": int(port), "connect_timeout": CONNECT_TIMEOUT}
    settings.setdefault("ssl_mode", "VERIFY_CA" if "ssl_ca" in settings else "PREFERRED")
    if settings["ssl_mode"].upper() not in SSL_MODES:
        raise InputError(f"~/.my.cnf: ssl-mode is not one of {', '.join(SSL_MODES)}")
    if ("ssl_cert" in settings) != ("ssl_key" in settings):
        raise InputError("~/.my.cnf: ssl-cert and ssl-key go together")
    return settings


def read_option_file(path: str) -> dict[str, str]:
    """Return OPTIONS in the [client] group of an option file that others cannot write.

    Not with the driver's option_files: it ignores ssl-mode and keeps the quotes of a password.
    """
    group, options = "", dict[str, str]()
    if not os.path.isfile(path) or (os.name == "posix" and os.stat(path).st_mode & 0o002):
        return options
    with open(path, encoding="utf-8-sig", errors="surrogateescape") as lines:
        for line in map(str.strip, lines):
            name, equals, value = map(str.strip, line.partition("="))
            name = name.replace("-", "_")
            if line.startswith("["):
                group = line[1:].partition("]")[0].strip().lower()
            elif group == "client" and equals and name in OPTIONS.split(", "):
                if value.startswith(("'", '"')):
                    value = value[1:].partition(value[0])[0]
                else:  # a # begins a comment
                    value = value.partition("#")[0].rstrip()
                options[name] = value.replace(r"\\", "\\")
    return options


def check_tls(connection: Connection) -> None:
    """Close the connection and raise InputError if it is neither encrypted nor a socket.

    The driver asks for TLS, but goes on without it, even where it has a certificate to verify.
    """
    [(_, cipher)] = query(connection, "SHOW STATUS LIKE 'Ssl_cipher'")
    if not cipher and not connection.unix_socket:
        connection.close()
        raise InputError("the server has no TLS, but ssl-mode or ssl-ca in ~/.my.cnf asks for it")


def check_size(name: str, value: int, least: int = 1) -> None:
    """Raise TypeError unless the value is an int itself (not bool), ValueError if out of range."""
    if type(value) is not int:
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if not least <= value <= sys.maxsize:  # the largest that islice() and the server take
        raise ValueError(f"{name} must be from {least} to {sys.maxsize}, not {value}")


def size_argument(description: str, name: str, default: int, help: str) -> int:
    """Return a script's one optional argument, a whole number above 0, from the command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(name, nargs="?", type=int, default=default, help=f"{help} ({default})")
    size: int = getattr(parser.parse_args(), name)
    try:
        check_size(name, size)
    except ValueError as error:
        parser.error(str(error))
    return size


# Hints for errors whose own text gives none, by number (mysql.connector.errorcode).
HINTS = {
    "2002 2003 2005": "Is a server running there? The README says how to start one.",
    "1045 1698": "Check MYSQL_USER and MYSQL_PASSWORD, or ~/.my.cnf.",
    "2026 2061 3159": "Check the TLS settings in ~/.my.cnf.",
    "1049 1146": "Run python3 seed.py first.",
    "1054 1264 1265 1292 1364 1366 1406": "Did seed.py make user_data? If not, rename it.",
}


def explain(error: Exception) -> str:
    """Return the one line that tells a user about an error."""
    text = str(error)
    if isinstance(error, UnicodeEncodeError):  # whose own text may show part of a password
        text = (
            f"{error.encoding} lacks a character: use UTF-8 in settings, and PYTHONIOENCODING=utf-8"
        )
    if isinstance(error, mysql.connector.Error):
        # Without the C extension, a certificate that fails is a lost connection.
        number = "2026" if "CERTIFICATE" in text else str(error.errno)
        hints = [hint for numbers, hint in HINTS.items() if number in numbers.split()]
        text = f"{error.msg} (error {error.errno}). {''.join(hints)}"
    return " ".join(text.split())


def run(main: Callable[[], None]) -> None:
    """Run a script's main(); turn an error that is not a bug into one line on stderr and status 1.

    If the output's reader goes away (`| head`), it ends quietly; Ctrl-C ends it at once, by signal:
    KeyboardInterrupt would wait for the C extension. In a thread or a session that goes on (IDLE,
    python3 -i, IPython), Ctrl-C works as before.
    """
    goes_on = sys.stdout is not sys.__stdout__ or sys.flags.interactive or hasattr(sys, "ps1")
    in_thread = threading.current_thread() is not threading.main_thread()
    ctrl_c = signal.getsignal(signal.SIGINT)
    by_signal = not goes_on and not in_thread and ctrl_c is signal.default_int_handler
    if by_signal:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    message = ""
    try:
        main()
        print(end="", flush=True)
    except BrokenPipeError:
        pass
    except (InputError, OSError, UnicodeError, mysql.connector.Error) as error:
        message = f"{Path(sys.argv[0]).name}: {explain(error)}"
    finally:
        if by_signal:
            signal.signal(signal.SIGINT, ctrl_c)
    try:
        print(end="", flush=True)  # rows read before an error come before its line
    except OSError:  # Python would try once more at exit, and complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if message and sys.stderr:  # None if closed, as by `2>&-`
        print(message, file=sys.stderr)
    if message:
        sys.exit(1)


def show_progress(rows: int) -> None:
    """Show on a terminal how far an import is; the next output overwrites it."""
    if sys.stderr and sys.stderr.isatty():
        print(f"{rows:,} rows read", end="\r", file=sys.stderr)


def main() -> None:
    """Set up the database and import a CSV file; report what was done."""
    parser = argparse.ArgumentParser(description=__doc__)
    help = "the users to import (user_data.csv beside this script)"
    parser.add_argument("CSV_FILE", nargs="?", default=CSV_FILE, help=help)
    csv_file = parser.parse_args().CSV_FILE
    with connect_db() as connection:
        create_database(connection)
        [(version,)] = query(connection, "SELECT VERSION()")
        address = f"{connection.server_host}:{connection.server_port}"
        print(f"Server {version} at {connection.unix_socket or address}")
        print(f"Database {DATABASE} is ready")
        # Not a new connection: behind a router, it may reach another server.
        connection.database = DATABASE
        create_table(connection)
        inserted, existing = insert_data(connection, csv_file, show_progress)
    repeated = " (or twice in the file)" if existing else ""
    print(f"{inserted} users inserted, {existing} already there{repeated}")


if __name__ == "__main__":
    run(main)
