#!/usr/bin/env python3
"""Set up the database ALX_prodev and import users from a CSV file.

This module owns what the numbered scripts share: the connection to MySQL, the schema, the import,
and how a stream of rows is opened and closed. Where the server is and who logs in comes from the
environment (MYSQL_HOST, MYSQL_PORT, MYSQL_USER, MYSQL_PASSWORD), then from the [client] group of
~/.my.cnf, then from the defaults localhost, 3306, root and no password.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import re
import sys
import time
import uuid
from contextlib import closing, contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, Callable, Iterator, NamedTuple, TextIO, Tuple

import mysql.connector
from mysql.connector import errorcode
from mysql.connector.abstracts import MySQLConnectionAbstract
from mysql.connector.optionfiles import read_option_files

try:
    from mysql.connector.cursor_cext import CMySQLCursorRaw as DriverCursor
except ImportError:  # no C extension for this machine: all works, only slower
    from mysql.connector.cursor import MySQLCursorRaw as DriverCursor

DATABASE = "ALX_prodev"
CSV_FILE = Path(__file__).resolve().parent / "user_data.csv"
# Rows in one INSERT: as fast as larger ones, and some 90 KB of SQL, far below any server's limit.
BATCH_SIZE = 1000

COLUMNS = ["user_id", "name", "email", "age"]
UserRow = Tuple[str, str, str, int]  # a value for each of COLUMNS

CREATE_TABLE = """
CREATE TABLE IF NOT EXISTS user_data (
    user_id VARCHAR(36) PRIMARY KEY,
    name VARCHAR(255) NOT NULL,
    email VARCHAR(255) NOT NULL,
    age DECIMAL(3,0) NOT NULL,
    INDEX idx_user_id (user_id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4
"""
# A user who is there already is left as they are. INSERT IGNORE would also pass over bad values.
INSERT_USER = """
INSERT INTO user_data (user_id, name, email, age) VALUES (%s, %s, %s, %s)
ON DUPLICATE KEY UPDATE user_id = user_data.user_id
"""

# An import that meets another one may be rolled back by the server, and is to be tried again.
ATTEMPTS = 10
TRY_AGAIN = {
    errorcode.ER_LOCK_DEADLOCK,
    errorcode.ER_LOCK_WAIT_TIMEOUT,
    errorcode.ER_CHECKREAD,  # MariaDB 11.6 and later: a row has changed since the transaction began
}
SELECT_USERS = "SELECT user_id, name, email, age FROM user_data"  # in the order of UserCursor
# Rows that a stream reads ahead: few enough to be small, enough to spread the cost of a call.
READ_AHEAD = 100
# The longest time-out that MySQL and MariaDB take, in seconds: a year.
LONGEST_TIMEOUT = 31536000
# A name for the server itself that no other has: server_uuid on MySQL, server_uid on MariaDB
# (in LIKE, \_ is an underscore and % any text).
SERVER_ID = r"SHOW VARIABLES LIKE 'server\_u%id'"


class ImportCount(NamedTuple):
    """How many users an import found in its file: new ones, and ones that were there already."""

    inserted: int
    already_there: int


# Settings and connections


def connection_settings() -> dict[str, Any]:
    """Return the arguments for mysql.connector.connect(): host, port, user, password and the rest.

    The MYSQL_* variables come first (an empty one counts as not set), then the [client] group of
    ~/.my.cnf, which may also hold TLS settings, then the defaults.
    Raises ValueError if the port is not a number from 1 to 65535 or the option file cannot be read.
    """
    settings: dict[str, Any] = {}
    for name in ("host", "port", "user", "password"):
        value = os.environ.get(f"MYSQL_{name.upper()}")
        if value:
            settings[name] = value
    names_server = "host" in settings or "port" in settings
    option_file = Path.home() / ".my.cnf"
    if option_file.exists():
        settings = read_option_files(
            option_files=str(option_file), option_groups="client", **settings
        )
        if not os.environ.get("MYSQL_PASSWORD"):
            # Quotes are not part of a value; the driver takes them off all the others.
            settings["password"] = re.sub(r"^(['\"])(.*)\1$", r"\2", settings.get("password", ""))
    if names_server:
        settings.pop("unix_socket", None)  # the socket of another server than the one named
    settings = {"host": "localhost", "port": 3306, "user": "root", "password": "", **settings}
    port = str(settings["port"])
    if not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise ValueError(
            f"port {port!r} is not a number from 1 to 65535: check MYSQL_PORT and ~/.my.cnf"
        )
    return {
        # A CA that is named is checked; the driver alone would only encrypt.
        "ssl_verify_cert": "ssl_ca" in settings,
        **settings,
        "port": int(port),
        "autocommit": True,
        "allow_local_infile": False,  # no server may ask this client for a file
    }


def connect_db() -> MySQLConnectionAbstract:
    """Return a new connection to the MySQL server, with no database chosen.

    The connection commits each statement by itself, so that reading leaves no transaction open.
    The caller closes it. Costs a TCP connection, TLS and a login.
    Raises mysql.connector.Error if the server cannot be reached or refuses the login, and
    ValueError for settings that make no sense.
    """
    return mysql.connector.connect(**connection_settings())


def connect_to_prodev() -> MySQLConnectionAbstract:
    """Return a new connection to the database ALX_prodev, which the caller closes.

    Costs and raises what connect_db() does, and mysql.connector.Error if there is no such database.
    """
    return mysql.connector.connect(**{**connection_settings(), "database": DATABASE})


# Schema


def create_database(connection: MySQLConnectionAbstract) -> None:
    """Create the database ALX_prodev if it does not exist, by one statement on the connection.

    Raises mysql.connector.Error if the user may not.
    """
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE IF NOT EXISTS {DATABASE} CHARACTER SET utf8mb4")


def create_table(connection: MySQLConnectionAbstract) -> None:
    """Create the table user_data if it does not exist, and say so on stdout.

    One statement on the connection, which connect_to_prodev() has opened.
    Raises mysql.connector.Error if the user may not.
    """
    with connection.cursor() as cursor:
        cursor.execute(CREATE_TABLE)
    print("Table user_data created successfully")


# CSV files: text, lines, rows, users


def open_csv(csv_file: str | os.PathLike[str]) -> TextIO:
    """Open a UTF-8 text file, with or without a byte order mark; raise OSError if it cannot be."""
    # newline="" leaves the line ends to the csv module. Bytes that are not UTF-8 are let through as
    # surrogates, which cannot be encoded again: so csv_lines() knows in which line they are.
    return open(csv_file, encoding="utf-8-sig", errors="surrogateescape", newline="")


def csv_lines(file: TextIO) -> Iterator[str]:
    """Yield the lines of a file of open_csv(); raise ValueError, with the line, for no text."""
    for number, line in enumerate(file, 1):
        if "\0" in line:
            raise ValueError(f"{file.name}:{number}: a zero byte: this is not a text file")
        try:
            line.encode()
        except UnicodeEncodeError as error:
            byte = ord(line[error.start]) - 0xDC00
            raise ValueError(
                f"{file.name}:{number}: byte 0x{byte:02x} is not UTF-8: save the file as UTF-8"
            ) from None
        yield line


def csv_rows(file: TextIO) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a CSV file that are not blank, each with the line on which it starts.

    Raises what csv_lines() raises, and ValueError for quotes that do not fit.
    """
    rows = csv.reader(csv_lines(file), strict=True)
    line = 1
    try:
        for row in rows:
            if row:
                yield line, row
            line = rows.line_num + 1  # not one more a row: a quoted field may hold line breaks
    except csv.Error as error:
        raise ValueError(f"{file.name}:{line}: {error}: check the quotes") from None


def check_header(header: list[str]) -> None:
    """Raise ValueError, with the reason, for a header that does not name the columns."""
    if len(set(header)) < len(header):
        raise ValueError(f"the header names a column twice: {', '.join(header)}")
    missing = [column for column in COLUMNS[1:] if column not in header]
    if missing:
        raise ValueError(f"the header lacks {', '.join(missing)}: it is {shown(','.join(header))}")
    unknown = [column for column in header if column not in COLUMNS]
    if unknown:
        raise ValueError(f"unknown column {', '.join(map(shown, unknown))}")


def check_user(header: list[str], row: list[str]) -> UserRow:
    """Return a CSV row as a user; raise ValueError, with field, value and reason, for a bad one."""
    if len(row) != len(header):
        raise ValueError(f"{len(row)} fields instead of {len(header)}")
    user = dict(zip(header, row))
    name, email, age = user["name"], user["email"], user["age"]
    if "user_id" in user:
        try:
            user_id = str(uuid.UUID(user["user_id"]))
        except ValueError:
            raise ValueError(f"user_id {shown(user['user_id'])} is not a UUID") from None
    else:  # made from the email: the same at every reading (RFC 4122, version 5)
        user_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"mailto:{email}"))
    for field, value in (("name", name), ("email", email)):
        if not value.strip():
            raise ValueError(f"{field} {shown(value)} is empty")
        if len(value) > 255:
            raise ValueError(f"{field} {shown(value)} has {len(value)} characters, more than 255")
    local_part, _, domain = email.partition("@")
    if not local_part.strip() or not domain.strip() or "@" in domain:
        raise ValueError(f"email {shown(email)} does not have something on both sides of one @")
    if not re.fullmatch("0*[0-9]{1,3}", age):
        raise ValueError(f"age {shown(age)} is not a whole number from 0 to 999")
    return user_id, name, email, int(age)


def shown(value: str) -> str:
    """Return a value as an error message shows it."""
    return repr(value if len(value) <= 40 else value[:40] + "...")


def read_users(file: TextIO) -> Iterator[UserRow]:
    """Yield each user of a file of open_csv() as a tuple (user_id, name, email, age).

    One row is in memory. The header names the columns, in any order: name, email and age, and
    perhaps user_id. From the first bad row on nothing more is yielded, but the rest is checked.
    Raises at the end ValueError, with file, line, field, value and reason of the first ten bad
    rows, and how many there were in all.
    """
    rows = csv_rows(file)
    line, header = next(rows, (1, []))
    try:
        check_header(header)
    except ValueError as error:
        raise ValueError(
            f"{file.name}:{line}: {error if header else 'the file is empty'}"
        ) from None
    bad_rows = 0
    reasons = []
    try:
        for line, row in rows:
            try:
                user = check_user(header, row)
            except ValueError as error:
                bad_rows += 1
                if bad_rows <= 10:
                    reasons.append(f"{file.name}:{line}: {error}")
            else:
                if not bad_rows:
                    yield user
    except ValueError as error:  # from here on the file cannot be read
        bad_rows += 1
        reasons.append(str(error))
    if bad_rows > 1:
        reasons.append(f"{bad_rows} bad rows in all")
    if bad_rows:
        raise ValueError("; ".join(reasons))


# Import


def insert_data(
    connection: MySQLConnectionAbstract,
    csv_file: str | os.PathLike[str],
    progress: Callable[[int, float], None] | None = None,
) -> ImportCount:
    """Import the users of a CSV file into user_data, all of them or none, and count them.

    The connection is one of connect_to_prodev(); what the caller left uncommitted on it is
    committed first. csv_file is a path; the file is read row by row and sent in batches of
    BATCH_SIZE rows, one INSERT each, in one transaction. Memory holds two batches at most, and the
    statement of one. A user who is there already is left unchanged. If the server rolls the
    transaction back because of another one (a deadlock), all is tried again, at most ATTEMPTS
    times. After each batch progress is called with the rows read so far and the share of the file,
    from 0 to 1 (0 for a pipe).
    Raises mysql.connector.Error from the server, OSError if the file cannot be read, and what
    read_users() raises; then nothing was inserted.
    """
    for attempt in range(1, ATTEMPTS):
        try:
            return insert_data_once(connection, csv_file, progress)
        except mysql.connector.Error as error:
            if error.errno not in TRY_AGAIN:
                raise
        # Longer each time, and not the same for two that wait for each other.
        time.sleep(random.uniform(0, 0.1 * 2**attempt))
    return insert_data_once(connection, csv_file, progress)


def insert_data_once(
    connection: MySQLConnectionAbstract,
    csv_file: str | os.PathLike[str],
    progress: Callable[[int, float], None] | None,
) -> ImportCount:
    """Try insert_data() once."""
    rows_read = inserted = 0
    with open_csv(csv_file) as file, connection.cursor() as cursor:
        users = read_users(file)
        # As statements: from connection.commit() and rollback() the driver lets an error through
        # that is no mysql.connector.Error. This one commits what was left uncommitted before.
        cursor.execute("START TRANSACTION")
        try:
            while batch := list(islice(users, BATCH_SIZE)):
                cursor.executemany(INSERT_USER, batch)
                rows_read += len(batch)
                inserted += cursor.rowcount  # a duplicate counts as 0
                if progress:
                    size = os.fstat(file.fileno()).st_size  # 0 for a pipe, which has no place
                    progress(rows_read, file.buffer.tell() / size if size else 0)
            cursor.execute("COMMIT")
        except BaseException:
            with suppress(mysql.connector.Error):  # a lost connection is rolled back by the server
                cursor.execute("ROLLBACK")
            raise
    return ImportCount(inserted, rows_read - inserted)


# Streams


class StreamCursor(DriverCursor):
    """An unbuffered cursor: the rows wait at the server until they are fetched.

    It holds a block of at most READ_AHEAD rows beside those that it returns. The driver's own
    fetchone() makes several Python calls a row and its conversion a loop over the columns;
    here the driver is called once a block for the bytes as they came (get_rows(raw=True)), and a
    subclass converts them in one comprehension, about three times as fast (tests/benchmark.py).
    """

    def __init__(self, connection: MySQLConnectionAbstract, *timeouts: Any) -> None:
        super().__init__(connection, *timeouts)
        self._source = connection
        self._ahead: Iterator[Any] = iter(())

    @staticmethod
    def convert(rows: list[tuple[bytes, ...]]) -> list[Any]:
        """Return the rows of a block as they are given to the caller."""
        raise NotImplementedError

    def execute(self, *args: Any, **kwargs: Any) -> None:
        """Send a query; what was left of the one before must have been fetched."""
        self._ahead = iter(())
        super().execute(*args, **kwargs)

    def _read(self, count: int | None) -> list[Any]:
        """Return the next count rows, all that are left for None, fewer only at the end."""
        if not self._source.unread_result:
            return []
        return self.convert(self._source.get_rows(count, raw=True)[0])

    def fetchone(self) -> Any:
        """Return the next row, None at the end; raise mysql.connector.Error if it is cut short."""
        for row in self._ahead:  # the first that is left, if any
            return row
        self._ahead = iter(self._read(READ_AHEAD))
        return next(self._ahead, None)

    def fetchmany(self, size: int = 1) -> list[Any]:
        """Return the next size rows, fewer only at the end; errors as for fetchone()."""
        rows = list(islice(self._ahead, size))
        while len(rows) < size and (block := self._read(READ_AHEAD)):
            self._ahead = iter(block)
            rows += islice(self._ahead, size - len(rows))
        return rows

    def fetchall(self) -> list[Any]:
        """Return all rows that are left; errors as for fetchone()."""
        return [*self._ahead, *self._read(None)]


class UserCursor(StreamCursor):
    """Gives the rows of SELECT_USERS as dictionaries, the age as an int."""

    @staticmethod
    def convert(rows: list[tuple[bytes, ...]]) -> list[dict[str, Any]]:
        return [
            {
                "user_id": user_id.decode(),
                "name": name.decode(),
                "email": email.decode(),
                "age": int(age),
            }
            for user_id, name, email, age in rows
        ]


class AgeCursor(StreamCursor):
    """Gives the rows of a query for the age alone as tuples of one int."""

    @staticmethod
    def convert(rows: list[tuple[bytes, ...]]) -> list[tuple[int]]:
        return [(int(age),) for (age,) in rows]


@contextmanager
def open_stream(cursor_class: type[StreamCursor]) -> Iterator[StreamCursor]:
    """Open a connection to ALX_prodev and give a cursor for streaming; close it after the block.

    The block may end at any row and take any time between two. Costs one connection and two short
    statements; a stream that is stopped early costs a second connection, but does not read the
    rows that are left. Raises mysql.connector.Error.
    """
    connection = connect_to_prodev()
    try:
        # The server would give up on a reader that pauses for longer than these (60 s, 8 hours).
        connection.cmd_query(
            f"SET SESSION net_write_timeout = {LONGEST_TIMEOUT}, wait_timeout = {LONGEST_TIMEOUT}"
        )
        server = connection.info_query(SERVER_ID)
        yield connection.cursor(cursor_class=cursor_class)
    finally:
        if connection.unread_result is True:  # in a unit test's mock it is truthy, not True
            cancel_query(connection, server)
        connection.close()


def cancel_query(connection: MySQLConnectionAbstract, server: Any) -> None:
    """End the query of a connection, by KILL QUERY on a second connection, if that is possible.

    connection.close() first reads what is left of a result, seconds for millions of rows; after
    this there is next to nothing left. Where cancelling fails (a missing right, no free connection,
    a proxy that leads to another server, where the number is a stranger's) close() is only slow.
    """
    try:
        with closing(connect_to_prodev()) as second, second.cursor() as cursor:
            if server and server == second.info_query(SERVER_ID):
                cursor.execute("KILL QUERY %s", (connection.connection_id,))
    except mysql.connector.Error:
        pass  # close() does without


# What the scripts share: errors, arguments, progress

START = "Is a server running there? The README says how to start one."
LOGIN = "Check MYSQL_USER and MYSQL_PASSWORD."
PRIVILEGE = "That user needs a privilege on the database: ask the server's owner."
SEED = "Run python3 seed.py first."
TLS = "Check the TLS settings in ~/.my.cnf."
NO_WRITES = "That server takes no writes: set MYSQL_HOST and MYSQL_PORT to one that does."
LOST = "The connection was lost before the end: run it again."
# What to do about the errors that a user can mend, by the driver's and the server's error numbers.
HINTS = {
    errorcode.CR_CONNECTION_ERROR: START,
    errorcode.CR_CONN_HOST_ERROR: START,
    errorcode.CR_UNKNOWN_HOST: "Check MYSQL_HOST.",
    errorcode.CR_SSL_CONNECTION_ERROR: TLS,
    errorcode.ER_SECURE_TRANSPORT_REQUIRED: TLS,
    errorcode.ER_ACCESS_DENIED_ERROR: LOGIN,
    errorcode.ER_ACCESS_DENIED_NO_PASSWORD_ERROR: LOGIN,
    errorcode.ER_DBACCESS_DENIED_ERROR: PRIVILEGE,
    errorcode.ER_TABLEACCESS_DENIED_ERROR: PRIVILEGE,
    errorcode.ER_BAD_DB_ERROR: SEED,
    errorcode.ER_NO_SUCH_TABLE: SEED,
    errorcode.ER_OPTION_PREVENTS_STATEMENT: NO_WRITES,  # read_only, super_read_only
    errorcode.CR_SERVER_GONE_ERROR: LOST,
    errorcode.CR_SERVER_LOST: LOST,
    errorcode.CR_SERVER_LOST_EXTENDED: LOST,
    errorcode.ER_SERVER_SHUTDOWN: LOST,
    errorcode.ER_QUERY_INTERRUPTED: LOST,
    1927: LOST,  # MariaDB: the connection was killed
}


def run(main: Callable[[], None]) -> None:
    """Run a script's main(); turn an error that is not a bug into one line on stderr and status 1.

    A reader of the output that goes away (`| head`) ends the script quietly with status 0.
    """
    try:
        try:
            main()
        finally:
            sys.stdout.flush()  # what was read before an error is printed before its line
        return
    except BrokenPipeError:
        message = None
    except KeyboardInterrupt:
        message = "interrupted"
    except mysql.connector.Error as error:
        settings = connection_settings()
        message = (
            f"{error.msg} (error {error.errno}, as {settings['user']} "
            f"at {settings['host']}:{settings['port']}). {HINTS.get(error.errno, '')}"
        )
    except OSError as error:
        message = f"{error.filename or 'output'}: {error.strerror}"
    except ValueError as error:
        message = str(error)
    # Where stdout cannot be written, Python would try once more at exit, and complain.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(message and f"{Path(sys.argv[0]).name}: {' '.join(message.split())}")


def check_size(name: str, value: int, least: int = 1) -> None:
    """Raise TypeError unless the value is an int (a bool is not), ValueError if it is too small."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, not {value}")


def size_argument(description: str, name: str, default: int, help: str) -> int:
    """Return a script's one optional argument, a whole number above 0, from the command line."""

    def size(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if value < 1:
            raise argparse.ArgumentTypeError(f"must be at least 1, not {value}")
        return value

    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "size", metavar=name, nargs="?", type=size, default=default, help=f"{help} ({default})"
    )
    return parser.parse_args().size


def write_over(line: str) -> None:
    """Write a line of the terminal that stderr is so that the next text comes over it."""
    # Padded, to cover a longer one: an import that is tried again starts at 0.
    print(f"{line:45}", end="\r", file=sys.stderr, flush=True)


def show_progress(rows: int, share: float) -> None:
    """Show on the terminal how far an import is."""
    write_over(f"{rows:,} rows read" + (f", {share:.0%} of the file" if share else ""))


def main() -> None:
    """Set up the database and import a CSV file; report what was done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "csv_file",
        metavar="CSV_FILE",
        nargs="?",
        default=CSV_FILE,
        help="the users to import (user_data.csv beside this script)",
    )
    csv_file = parser.parse_args().csv_file
    with connect_db() as connection:
        create_database(connection)
        with connection.cursor() as cursor:
            cursor.execute("SELECT VERSION()")
            (version,) = cursor.fetchone()
        print(f"Server {version} at {connection.server_host}:{connection.server_port}")
        print(f"Database {DATABASE} is present")
    with connect_to_prodev() as connection:
        create_table(connection)
        on_a_terminal = sys.stderr.isatty()
        try:
            count = insert_data(connection, csv_file, show_progress if on_a_terminal else None)
        finally:
            if on_a_terminal:
                write_over("")
    print(f"{count.inserted} users inserted, {count.already_there} already there")


if __name__ == "__main__":
    run(main)
