#!/usr/bin/env python3
"""Set up the database ALX_prodev and import users from a CSV file.

This module owns what the numbered scripts share: the connection to MySQL, the schema, the import,
and how a stream is opened and closed. Where the server is and who logs in comes from MYSQL_HOST,
MYSQL_PORT, MYSQL_USER and MYSQL_PASSWORD, then from the [client] group of ~/.my.cnf, then from the
defaults: localhost, 3306, root and no password.
"""

import argparse
import csv
import os
import random
import re
import reprlib
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from functools import partial
from itertools import chain, islice
from operator import itemgetter
from pathlib import Path
from typing import Any, TextIO, cast

import mysql.connector
from mysql.connector.abstracts import MySQLConnectionAbstract as Connection

if mysql.connector.HAVE_CEXT:
    from mysql.connector.cursor_cext import CMySQLCursorRaw as DriverCursor
else:  # no C extension for this machine: all works, only slower
    from mysql.connector.cursor import MySQLCursorRaw as DriverCursor  # type: ignore[assignment]


class InputError(ValueError):
    """Settings, a file or a table that cannot be used; the text says where, why and what to do."""


# Settings and connections

DATABASE = "ALX_prodev"


def connect_db() -> Connection:
    """Return a new connection to the MySQL server, with no database chosen; the caller closes it.

    It commits each statement by itself. Costs a TCP connection, TLS and a login. Raises what
    connection_settings() does, and mysql.connector.Error if the server cannot be reached, refuses
    the login or does not answer in 10 seconds (or connect-timeout of ~/.my.cnf).
    """
    return connect(**connection_settings())


def connect_to_prodev() -> Connection:
    """Return a new connection to the database ALX_prodev, as connect_db() does.

    Raises mysql.connector.Error also if there is no such database.
    """
    return connect(**connection_settings(), database=DATABASE)


SSL_MODES = ["DISABLED", "PREFERRED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY"]
LONGEST_PAUSE = 24 * 60 * 60  # seconds; for a reader who has vanished the server waits as long
# Whatever the server's own settings are: no value is cut to fit, no result ends at a limit as if it
# were whole (this number means all rows), and a pause of more than a minute loses no connection.
SESSION = f"""
SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION',
    sql_select_limit = 18446744073709551615,
    net_write_timeout = {LONGEST_PAUSE}, wait_timeout = {LONGEST_PAUSE},
    completion_type = NO_CHAIN, sql_quote_show_create = ON
"""


def connect(ssl_mode: str, **settings: Any) -> Connection:
    """Return a new connection; ssl_mode is that of MySQL's clients, the rest is the driver's."""
    security = SSL_MODES.index(ssl_mode.upper())
    connection: Connection = mysql.connector.connect(  # type: ignore[assignment]
        ssl_disabled=security == 0,
        ssl_verify_cert=security >= 3,
        ssl_verify_identity=security >= 4,
        autocommit=True,
        init_command=SESSION,
        allow_local_infile=False,  # no server may ask this client for a file
        **settings,
    )
    # The driver asks for TLS, but takes a connection without it, even with a certificate to verify.
    if security >= 2 and "unix_socket" not in settings:
        [(_, cipher)] = query(connection, "SHOW STATUS LIKE 'Ssl_cipher'")
        if not cipher:
            connection.close()
            raise InputError(f"the server has no TLS, but ~/.my.cnf says ssl-mode={ssl_mode}")
    return connection


def query(connection: Connection, statement: str, values: Any = ()) -> list[Any]:
    """Return all rows of a query, in which each %s stands for one of the values."""
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return list(cursor.fetchall())


def connection_settings() -> dict[str, Any]:
    """Return the arguments for connect(), of MYSQL_* variables, then ~/.my.cnf, then the defaults.

    Raises InputError for a value that makes no sense, OSError for a file that cannot be read.
    """
    settings: dict[str, Any] = {"host": "localhost", "port": 3306, "user": "root", "password": ""}
    variables = {name: os.environ.get(f"MYSQL_{name.upper()}") for name in settings}
    settings["connect_timeout"] = 10  # seconds: without one, a silent server hangs for ever
    settings |= read_option_file(os.path.expanduser("~/.my.cnf"))
    settings |= {name: value for name, value in variables.items() if value}
    socket = settings.pop("socket", None)
    if socket and not variables["host"] and not variables["port"]:
        settings["unix_socket"] = socket  # not if another server is named
    for name, most in (("port", 65535), ("connect_timeout", LONGEST_PAUSE)):
        value = str(settings[name])
        if not value.isdecimal() or not 1 <= int(value[:9]) <= most:
            raise InputError(f"{name} {value!r} (MYSQL_PORT, ~/.my.cnf) is not from 1 to {most}")
        settings[name] = int(value)
    settings.setdefault("ssl_mode", "VERIFY_CA" if "ssl_ca" in settings else "PREFERRED")
    if settings["ssl_mode"].upper() not in SSL_MODES:
        raise InputError(f"~/.my.cnf: ssl-mode is none of {', '.join(SSL_MODES)}")
    if ("ssl_cert" in settings) != ("ssl_key" in settings):
        raise InputError("~/.my.cnf: ssl-cert and ssl-key go together")
    return settings


# What is taken from the option file; a value in quotes may hold a #, which else begins a comment.
OPTION = re.compile(
    r"(host|port|user|password|socket|connect[-_]timeout|ssl[-_](?:mode|ca|cert|key))\s*=\s*"
    r"""(?:"((?:\\.|[^"\\])*)"|'((?:\\.|[^'\\])*)'|([^#]*?))\s*(?:#.*)?"""
)
ESCAPES = dict(zip("ntrbs'\"\\", "\n\t\r\b '\"\\"))  # what stands for what behind a \


def read_option_file(path: str) -> dict[str, str]:
    """Return the options in the [client] group of an option file that only its owner may write."""
    group, options = "", dict[str, str]()
    if not os.path.isfile(path) or (os.name == "posix" and os.stat(path).st_mode & 0o002):
        return options
    with open(path, encoding="utf-8-sig", errors="surrogateescape") as lines:
        for line in map(str.strip, lines):
            if line.startswith("["):
                group = line[1:].partition("]")[0].strip().lower()
            elif group == "client" and (option := OPTION.fullmatch(line)):
                name, value = option[1].replace("-", "_"), option[option.lastindex or 1]
                options[name] = re.sub(
                    r"\\(.)", lambda found: ESCAPES.get(found[1], found[0]), value
                )
    return options


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


def create_database(connection: Connection) -> None:
    """Create the database ALX_prodev if it does not exist.

    Looks first: in a cluster even a CREATE that creates nothing rolls back the imports of others.
    One query on the connection, or two. Raises mysql.connector.Error if the user may not.
    """
    schemata = "SELECT schema_name FROM information_schema.schemata WHERE schema_name = %s"
    if not query(connection, schemata, [DATABASE]):
        connection.cmd_query(f"CREATE DATABASE IF NOT EXISTS {DATABASE} CHARACTER SET utf8mb4")


def create_table(connection: Connection) -> None:
    """Create the table user_data if it does not exist, and say so on stdout.

    Four queries at most on the connection, which has the database chosen. Raises InputError for a
    table in which users would be lost, changed or doubled in silence (what else does not fit, the
    server refuses), and mysql.connector.Error.
    """
    if not query(connection, r"SHOW TABLES LIKE 'user\_data'"):
        connection.cmd_query(CREATE_TABLE)
    shape = query(connection, "SHOW CREATE TABLE user_data")[0][1].lower()
    shape = re.sub(r"'(?:[^']|'')*'", "''", shape)  # a comment may say anything
    keys = re.findall(r"\n  (?:primary|unique) key (?:`(?:[^`]|``)+` )?\((.+)\)", shape)
    # A number that the server gives is no other user's; an age that is given is no age.
    automatic = re.findall(r"(`(?!age`)\w+`).* auto_increment", shape)
    numbers, texts = r"\w*int\b|decimal\(\d+,0\)|float |double |", r"(?:var)?char\(|\w*text\b"
    columns = rf"\n  (?:`age` (?!{numbers}{texts})|`(?:user_id|name|email)` (?!{texts}|uuid))"
    triggers = "SHOW TRIGGERS WHERE `Table` = 'user_data' AND Event <> 'DELETE'"
    faults = {
        "another engine than InnoDB": not re.match(r"(?s)create table .*\n\) engine=innodb", shape),
        "system versioning": "with system versioning" in shape,
        "no unique key on user_id alone": "`user_id`" not in keys,
        "another unique key": not {*keys} <= {"`user_id`", *automatic},
        "a column of another kind": re.search(columns, shape),
        "a trigger": query(connection, triggers),
    }
    if found := ", ".join(fault for fault, there in faults.items() if there):
        raise InputError(f"user_data in {DATABASE} has {found}: rename it, and run seed.py again")
    print("Table user_data created successfully")


# CSV files: lines, rows, users

TEXT = r"[^\0\udc80-\udcff"  # as these stand bytes that are not UTF-8: see read_batches()
COLUMNS = {  # what a value of each column is, as a pattern and in words
    "user_id": ("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", "a UUID"),
    "name": (rf"{TEXT}]{{1,255}}", "a text of 1 to 255 characters in UTF-8"),
    "email": (rf"(?!{TEXT}]{{256}}){TEXT}@]+@{TEXT}@]+", "an address with one @, up to 255 long"),
    "age": ("0{0,9}[0-9]{1,3}", "a whole number from 0 to 999"),
}
USER = re.compile(r"\x00".join(pattern for pattern, _ in COLUMNS.values()))  # \0 and a 0 is octal
UserRow = tuple[str, str, str, str]  # a value for each of COLUMNS
ANY_UUID = re.compile(r"(?:urn:uuid:)?(\{)?(\w{8})(-?)(\w{4})\3(\w{4})\3(\w{4})\3(\w{12})(?(1)\})")
LINE_LIMIT = 10_000  # characters; the longest line of a good user has some 1,100


def csv_rows(file: TextIO) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a CSV file that are not blank, each with the line on which it starts.

    Values are separated by what the first row has most of: commas, semicolons or tabs; spaces are
    taken off. Raises InputError where quotes do not fit or a line has no end.
    """
    head = [file.readline(LINE_LIMIT)]
    while head[-1].isspace() and len(head[-1]) + len(head) < LINE_LIMIT:
        head.append(file.readline(LINE_LIMIT))
    separator = max(",;\t", key=head[-1].count)
    read = partial(csv.reader, delimiter=separator, skipinitialspace=True, strict=True)
    spaces = re.compile(rf'(?<!")" +(?=[{separator}\r\n]|$)')  # behind a closing quote

    def lines() -> Iterator[str]:
        for line in chain(head, iter(partial(file.readline, LINE_LIMIT), "")):
            if len(line) == LINE_LIMIT:
                raise csv.Error(f"a line of {LINE_LIMIT:,} characters or more")
            yield spaces.sub('"', line) if '" ' in line else line

    rows, line = read(lines()), 1
    try:
        for row in rows:
            if len(row) == 1 and separator in row[0]:  # some programs quote each line as a whole
                row = next(read(row))
            values = [value.strip() for value in row]
            if any(values):
                yield line, values
            line = rows.line_num + 1  # not one more a row: a quoted value may hold line breaks
    except csv.Error as error:
        raise InputError(f"{file.name}:{line}: {error}: check quotes and encoding") from None


def check_user(name: str, email: str, age: str, user_id: str | None = None) -> UserRow:
    """Return a row's values as a user; raise InputError, with field and reason, for bad ones."""
    if user_id is None:  # made from the email (RFC 4122, version 5): the same at every reading
        url = f"mailto:{email.lower()}".encode(errors="replace").decode()
        user_id = str(uuid.uuid5(uuid.NAMESPACE_URL, url))
    user = (user_id, name, email, age)
    if not USER.fullmatch("\0".join(user)):
        user = (ANY_UUID.sub(r"\2-\4-\5-\6-\7", user_id.lower()), name, email, age)
        for value, (column, (pattern, words)) in zip(user, COLUMNS.items()):
            if not re.fullmatch(pattern, value):
                raise InputError(f"{column} {reprlib.repr(value)} is not {words}")
    return user


def read_users(file: TextIO) -> Iterator[UserRow]:
    """Yield each user of a CSV file as a tuple of text (user_id, name, email, age).

    The header names them in any order and case. From the first bad row on nothing more is yielded,
    but the rest is checked: InputError tells at the end what is wrong, and where, in the first ten.
    """
    rows = csv_rows(file)
    line, header = next(rows, (1, [""]))
    columns = [name.lower() for name in header]
    if {"user_id", *columns} != {*COLUMNS} or len({*columns}) < len(columns):
        wrong = f"must name name, email, age and perhaps user_id: it is {reprlib.repr(header)}"
        raise InputError(f"{file.name}:{line}: the first line {wrong}")
    arguments = [name for name in ("name", "email", "age", "user_id") if name in columns]
    places = itemgetter(*map(columns.index, arguments))
    bad_rows, reasons = 0, []
    for line, row in rows:
        try:
            if len(row) != len(columns):
                raise InputError(f"{len(row)} fields instead of {len(columns)}")
            user = check_user(*places(row))
        except InputError as error:
            bad_rows += 1
            if bad_rows <= 10:
                reasons.append(f"{line}: {error}")
        else:
            if not bad_rows:
                yield user
    if bad_rows:
        total = f"; {bad_rows} bad rows in all" if bad_rows > 1 else ""
        raise InputError(f"{file.name}:{'; '.join(reasons)}{total}")


# Import

CSV_FILE = Path(__file__).resolve().parent / "user_data.csv"
BATCH_SIZE = 1000  # rows in one INSERT: as fast as more, and at most some 2 MB of SQL
# A user who is there already is left as they are. INSERT IGNORE would also pass over bad values.
INSERT_USERS = """
INSERT INTO user_data (user_id, name, email, age) VALUES {}
ON DUPLICATE KEY UPDATE user_id = user_data.user_id
"""
ATTEMPTS = 10
# A deadlock, a row that has changed since (MariaDB 11.6), a group of several primaries (or 1180).
TRY_AGAIN = {1213, 1020, 3101}
StrPath = str | os.PathLike[str]
Stage = Callable[[Iterator[UserRow], TextIO], Iterator[UserRow]]


def insert_data(
    connection: Connection, csv_file: StrPath, stage: Stage = lambda users, _: users
) -> tuple[int, int]:
    """Import the users of a CSV file into user_data, all of them or none.

    Returns how many were new, and how many were there already and are left unchanged. The
    connection is one of connect_to_prodev(); what was left uncommitted on it is committed first.
    csv_file is a path. The users pass through the stage, a generator function, and are sent in one
    transaction, BATCH_SIZE rows an INSERT; what another one rolls back is tried again, ATTEMPTS in
    all, but not from a pipe. Memory holds three batches, and the SQL of one. Raises
    mysql.connector.Error, OSError and what read_users() raises; then nothing was inserted. Only if
    the connection is lost in the COMMIT, all may be there as well: a second run completes it.
    """
    attempt = 1
    while True:
        try:
            return import_once(connection, csv_file, stage)
        except mysql.connector.Error as error:
            again = error.errno in TRY_AGAIN or (error.errno == 1180 and " 149 " in str(error.msg))
            if not again or attempt == ATTEMPTS or not os.path.isfile(csv_file):
                raise
        # Longer each time, and not the same for two that wait for each other.
        time.sleep(random.uniform(0, 0.1 * 2**attempt))
        attempt += 1


def import_once(connection: Connection, csv_file: StrPath, stage: Stage) -> tuple[int, int]:
    """Try insert_data() once."""
    rows_read = inserted = 0
    batches = read_batches(csv_file, stage)
    # A pipe may have no next batch for long, and an error must not wait for it.
    ahead = prefetch(batches) if os.path.isfile(csv_file) else batches
    with connection.cursor() as cursor:
        # Not by the driver's commit() and rollback(), whose errors are no mysql.connector.Error.
        cursor.execute("START TRANSACTION")
        try:
            with closing(batches), closing(ahead):
                for batch in ahead:
                    places = ", ".join(["(%s, %s, %s, %s)"] * len(batch))
                    cursor.execute(INSERT_USERS.format(places), [*chain.from_iterable(batch)])
                    rows_read += len(batch)
                    inserted += cursor.rowcount  # a duplicate counts as 0
            cursor.execute("COMMIT")
        except BaseException:
            with suppress(mysql.connector.Error):  # a lost connection is rolled back by the server
                cursor.execute("ROLLBACK")
            raise
    return inserted, rows_read - inserted


def read_batches(csv_file: StrPath, stage: Stage) -> Generator[list[UserRow], None, None]:
    """Yield the users of a CSV file, passed through the stage, as lists of BATCH_SIZE."""
    # Bytes that are not UTF-8 come as surrogates, which no value may hold: so they have a line.
    with open(csv_file, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        users = iter(stage(read_users(file), file))
        while batch := list(islice(users, BATCH_SIZE)):
            yield batch


def prefetch(items: Iterator[Any]) -> Generator[Any, None, None]:
    """Yield the items; while the caller works on one, or waits, a thread gets the next."""
    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(next, items, None)
        while (item := following.result()) is not None:
            following = thread.submit(next, items, None)
            yield item


# Streams

SELECT_USERS = "SELECT user_id, name, email, age FROM user_data"  # in the order of UserCursor
READ_AHEAD = 100  # rows: few enough to be small, enough to spread the cost of a call


class UserCursor(DriverCursor):
    """An unbuffered cursor for SELECT_USERS: rows wait at the server until they are fetched.

    It gives dictionaries, the age as an int. No other query can share its connection before the
    last row. The driver is asked once a block, for bytes: its own fetchone() takes three times as
    long. To fetch raises mysql.connector.Error if the result is cut short, and InputError.
    """

    def __init__(self, connection: Any, *timeouts: Any) -> None:
        super().__init__(connection, *timeouts)
        self._source = connection
        self._rows: Iterator[Any] = iter(())

    @staticmethod
    def convert(rows: list[tuple[bytes, ...]]) -> list[Any]:
        """Return the rows of a block as they are given to the caller."""
        return [
            {
                "user_id": key.decode(),
                "name": name.decode(),
                "email": mail.decode(),
                "age": int(age),
            }
            for key, name, mail, age in rows
        ]

    def execute(self, *args: Any, **kwargs: Any) -> None:
        """Send a query; what was left of the one before must have been fetched."""
        super().execute(*args, **kwargs)
        self._rows = self._fetch()

    def _fetch(self) -> Iterator[Any]:
        """Yield the rows of the result, reading it block by block."""
        while self._source.unread_result:
            rows, _ = self._source.get_rows(READ_AHEAD, raw=True)
            try:
                converted = self.convert(rows)
            except (AttributeError, TypeError, ValueError) as error:  # NULL, no number, not UTF-8
                raise InputError(f"user_data has a row that is no user: {error}: mend it") from None
            yield from converted

    def fetchone(self) -> Any:
        """Return the next row, None at the end."""
        return next(self._rows, None)

    def fetchmany(self, size: int = 1) -> list[Any]:
        """Return the next size rows, fewer only at the end."""
        return list(islice(self._rows, size))

    def fetchall(self) -> list[Any]:
        """Return all rows that are left."""
        return list(self._rows)


class AgeCursor(UserCursor):
    """The same for a query of the age alone: it gives tuples of one int."""

    @staticmethod
    def convert(rows: list[tuple[bytes, ...]]) -> list[Any]:
        return [(int(age),) for (age,) in rows]


@contextmanager
def open_stream(cursor_class: type[UserCursor]) -> Iterator[UserCursor]:
    """Open a connection to ALX_prodev and give a cursor for streaming; close it after the block.

    The block may end at any row and pause for up to LONGEST_PAUSE. Costs one connection and a short
    query, where it stops early a second connection. Raises what connect_to_prodev() does.
    """
    lock = str(uuid.uuid4())  # a name, by which this connection is found again
    with closing(connect_to_prodev()) as connection:
        try:
            with suppress(mysql.connector.Error):  # without it a stop is only slower
                query(connection, "SELECT GET_LOCK(%s, 0)", [lock])
            yield cast(UserCursor, connection.cursor(cursor_class=cursor_class))
        finally:
            # close() would first read what is left of a result, seconds for millions of rows. (In
            # a unit test's mock unread_result is truthy, not True.)
            if connection.unread_result is True:
                cancel_query(lock)


def cancel_query(lock: str) -> None:
    """End the query of the connection that holds a user lock, from a second connection.

    A router may lead that to another server, where the first one's number is a stranger's: so it is
    asked for where it is killed. Where this fails close() is only slower, and the exception that
    ended the stream is the one to be seen.
    """
    with suppress(Exception), closing(connect_to_prodev()) as second, second.cursor() as cursor:
        cursor.execute("KILL QUERY IS_USED_LOCK(%s)", [lock])


# What the scripts share: arguments, progress, errors


def check_size(name: str, value: int, least: int = 1) -> None:
    """Raise TypeError unless the value is an int itself (no bool), ValueError if out of range."""
    if type(value) is not int:
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if not least <= value <= sys.maxsize:  # the largest that islice() and the server take
        raise ValueError(f"{name} must be from {least} to {sys.maxsize}, not {value}")


def size_argument(description: str, name: str, default: int, help: str) -> int:
    """Return a script's one optional argument, a whole number above 0, from the command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "size", metavar=name, nargs="?", type=int, default=default, help=f"{help} ({default})"
    )
    size: int = parser.parse_args().size
    try:
        check_size(name, size)
    except ValueError as error:
        parser.error(str(error))
    return size


def show_progress(users: Iterator[UserRow], file: TextIO) -> Iterator[UserRow]:
    """Pass users on; show on the terminal how many there were, and how much of the file that is."""
    size = os.fstat(file.fileno()).st_size  # 0 for a pipe, which has no end to be seen
    try:
        for number, user in enumerate(users, 1):
            yield user
            if number % BATCH_SIZE == 0:
                share = f", {file.buffer.tell() / size:.0%} of the file" if size else ""
                print(f"\r{number:,} rows read{share}", end="", file=sys.stderr, flush=True)
    finally:
        print(f"\r{'':45}\r", end="", file=sys.stderr, flush=True)


# What to do about errors whose own words do not say it, by number (mysql.connector.errorcode).
HINTS = {
    "2002 2003 2005": "Is a server running there? The README says how to start one.",
    "1045 1698": "Check MYSQL_USER and MYSQL_PASSWORD.",
    "1130": "The server has no account for this machine's address: see the README.",
    "2026 2061 3159": "Check the TLS settings in ~/.my.cnf.",
    "1049 1146": "Run python3 seed.py first.",
    "1054 1264 1265 1292 1364 1366 1406": "Has seed.py made the table user_data? Else rename it.",
    "1153": "Ask the server's owner for a max_allowed_packet of 4M or more.",
    "1053 1158 1159 1317 1927 2006 2013 2055 4031": "Run it again: an import is whole or nothing.",
}


def run(main: Callable[[], None]) -> None:
    """Run a script's main(); turn an error that is not a bug into one line on stderr and status 1.

    A reader of the output that goes away (`| head`) ends it quietly, Ctrl-C at once, by the signal:
    KeyboardInterrupt would wait for the C extension. In a thread or a session that goes on (IDLE,
    python3 -i, IPython), Ctrl-C stays what it was.
    """
    alone = sys.stdout is sys.__stdout__ and not (sys.flags.interactive or hasattr(sys, "ps1"))
    alone = alone and threading.current_thread() is threading.main_thread()
    if by_signal := alone and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    message = ""
    try:
        main()
        print(end="", flush=True)
    except BrokenPipeError:
        pass
    except mysql.connector.Error as error:
        hints = [hint for numbers, hint in HINTS.items() if str(error.errno) in numbers.split()]
        message = f"{error.msg} (error {error.errno}). {''.join(hints)}"
    except OSError as error:
        message = f"{error.filename or 'input or output'}: {error.strerror}"
    except UnicodeEncodeError as error:
        message = (
            f"{error.encoding} lacks a character: set PYTHONIOENCODING=utf-8 (settings: use UTF-8)"
        )
    except InputError as error:
        message = str(error)
    finally:
        if by_signal:
            signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        print(end="", flush=True)  # what was read before an error stands before its line
    except OSError:  # Python would try once more at exit, and complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if message and sys.stderr:  # closed, as by `2>&-`, it is None
        print(f"{Path(sys.argv[0]).name}: {' '.join(message.split())}", file=sys.stderr)
    if message:
        sys.exit(1)


def main() -> None:
    """Set up the database and import a CSV file; report what was done."""
    parser = argparse.ArgumentParser(description=__doc__)
    help = "the users to import (user_data.csv beside this script)"
    parser.add_argument("csv_file", metavar="CSV_FILE", nargs="?", default=CSV_FILE, help=help)
    csv_file = parser.parse_args().csv_file
    with connect_db() as connection:
        create_database(connection)
        [(version,)] = query(connection, "SELECT VERSION()")
        address = f"{connection.server_host}:{connection.server_port}"
        print(f"Server {version} at {connection.unix_socket or address}")
        print(f"Database {DATABASE} is present")
        # Not by another connection: behind a router, that one may lead to another server.
        connection.database = DATABASE
        create_table(connection)
        stages = [show_progress] if sys.stderr and sys.stderr.isatty() else []
        inserted, already_there = insert_data(connection, csv_file, *stages)
    print(f"{inserted} users inserted, {already_there} already there")


if __name__ == "__main__":
    run(main)
