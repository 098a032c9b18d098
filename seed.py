#!/usr/bin/env python3
"""Set up the database ALX_prodev and import users from a CSV file.

The numbered scripts share what is in this module: the connection to MySQL, the schema, the import,
and the opening and closing of streams. The server and the account come from MYSQL_HOST, MYSQL_PORT,
MYSQL_USER and MYSQL_PASSWORD, then from the [client] group of ~/.my.cnf, then from the defaults:
localhost, 3306, root and no password.
"""

# To learn from this file, read from here down to the line that says what you may skip.

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
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
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
# Each connection sends this, so the server's own settings do not matter. (ProxySQL silently drops a
# SET that contains SQL comments. So these are Python comments.)
SESSION = (
    "SET SESSION unique_checks = 1, "  # never insert a user twice
    "sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', "  # refuse values that do not fit
    "sql_select_limit = 9223372036854775807, "  # return all rows (Vitess takes no larger number)
    "sql_big_selects = 1, "  # and refuse no query because it reads many
    "max_sort_length = 4096, "  # sort ids by all of their characters
    "net_write_timeout = 86400, "  # let a reader pause for a day within a result,
    "wait_timeout = 86400"  # and after it (the connection of a dead one stays open for as long)
)


def connect_db(database: str | None = None) -> Connection:
    """Return a new connection to the MySQL server; it uses the given database, or none.

    The caller closes it. Changes need a commit() (PEP 249). Costs a TCP connection, TLS and a
    login. Raises InputError or OSError for settings that cannot be used, and mysql.connector.Error
    if the server cannot be reached, refuses the login, or does not answer within CONNECT_TIMEOUT
    seconds. If it stops in the middle of its greeting, the C extension waits without a limit.
    """
    settings = connection_settings()  # host, port, user, password, TLS: see below
    ssl_mode = settings.pop("ssl_mode")
    try:
        connection: Connection = mysql.connector.connect(  # type: ignore[assignment]
            **settings,
            database=database,
            collation="utf8mb4_general_ci",  # with the driver's default, ProxySQL may use utf8mb3
            init_command=SESSION,
            connect_timeout=CONNECT_TIMEOUT,
            allow_local_infile=False,  # no server may ask this client for a file
        )
    except RuntimeError as error:  # the C extension's, for words that are not UTF-8 (in French)
        refused = "the server refused the login, in words that the driver cannot read"
        raise InputError(f"{refused}: check the user and the password") from error
    check_tls(connection, ssl_mode)
    return connection


def connect_to_prodev() -> Connection:
    """Return a new connection to ALX_prodev; costs as much and raises the same as connect_db()."""
    return connect_db(DATABASE)


def query(connection: Connection, statement: str, values: Any = ()) -> list[Any]:
    """Return all rows of a query, in which each %s stands for one of the values, and commit.

    (A transaction that stays open would lock the table against changes, and see only old rows.)
    """
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        rows = list(cursor.fetchall())
        cursor.execute("COMMIT")
        return rows


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


def create_database(connection: Connection) -> None:
    """Create the database ALX_prodev if it does not exist.

    In a cluster, even a CREATE that changes nothing rolls back the imports of others. So it looks
    first. Commits, and costs at most two queries. Raises mysql.connector.Error, for example if the
    account may not create it.
    """
    schemata = "SELECT schema_name FROM information_schema.schemata WHERE schema_name = %s"
    if not query(connection, schemata, [DATABASE]):
        connection.cmd_query(f"CREATE DATABASE IF NOT EXISTS {DATABASE} CHARACTER SET utf8mb4")


def create_table(connection: Connection) -> None:
    """Create the table user_data if it does not exist, and say so on stdout.

    Needs a connection to ALX_prodev. Looks first, commits, and costs at most six queries. Raises
    mysql.connector.Error, and InputError for an existing table with one of the table_faults().
    """
    if not query(connection, r"SHOW TABLES LIKE 'user\_data'"):
        connection.cmd_query(CREATE_TABLE)
    if faults := ", ".join(table_faults(connection)):
        raise InputError(f"table user_data in {DATABASE} has {faults}: {RENAME} and run again")
    print("Table user_data created successfully")


# A row's way into the table: lines of a CSV file -> rows -> users -> batches -> INSERT

UserRow = tuple[str, str, str, str]  # a value for each of COLUMNS


def read_rows(file: TextIO) -> Iterator[tuple[int, list[str]]]:
    """Yield the non-blank rows of a CSV file, each with the number of its first line.

    The separator is a comma, a semicolon or a tab: the one that occurs most often in the first
    non-blank line. Values are stripped. Raises InputError for wrong quotes, and what read_lines()
    does.
    """
    lines = read_lines(file)  # checks each one: see below
    top: list[str] = []  # blank lines, and the first one that is not
    for line in lines:
        top.append(line)
        if line.strip():
            break
    separator = max(",;\t", key="".join(top).strip().count)
    rows = csv.reader(chain(top, lines), delimiter=separator, skipinitialspace=True, strict=True)
    number = 1
    try:
        for row in rows:
            if len(row) == 1 and separator in row[0]:  # the whole line is in quotes: parse inside
                row = next(csv.reader(row, rows.dialect))
            values = [value.strip() for value in row]
            if any(values):
                yield number, values
            number = rows.line_num + 1  # not number + 1: a quoted value may hold line breaks
    except csv.Error as error:
        raise InputError(f"{file.name}:{number}: bad quotes: {error}") from None


def read_users(file: TextIO) -> Iterator[UserRow]:
    """Yield each user of a CSV file as a tuple of text (user_id, name, email, age).

    The header names the columns in any order and case. After the first bad row, it yields no more
    users. It then looks for more bad rows, up to ten, and raises InputError with a list of them.
    """
    rows = read_rows(file)
    line, header = next(rows, (1, []))
    columns = [name.lower() for name in header]
    if sorted(columns) not in (sorted(COLUMNS), sorted(COLUMNS[1:])):
        wrong = f"must name the columns name, email, age and optionally user_id; it is {header}"
        raise InputError(f"{file.name}:{line}: the first line {wrong[:160]}")
    bad: dict[str, list[str]] = {}  # reason -> the numbers of the bad lines
    for line, row in rows:
        try:
            if len(row) != len(columns):
                raise InputError(f"{len(row)} fields, not the {len(columns)} of {','.join(header)}")
            user = make_user(**dict(zip(columns, row)))
        except InputError as error:
            bad.setdefault(str(error), []).append(str(line))
            if sum(map(len, bad.values())) == 10:
                break
        else:
            if not bad:  # after a bad row, only look for other bad rows
                yield user
    if bad:
        told = "; ".join(f"{', '.join(lines)}: {reason}" for reason, lines in bad.items())
        raise InputError(f"{file.name}:{told}; {NOTHING}")


CSV_FILE = Path(__file__).resolve().parent / "user_data.csv"
BATCH_SIZE = 1000  # rows in one INSERT: as fast as more, and at most some 2 MB of SQL
# An existing user is left unchanged: the name is set to itself. (INSERT IGNORE would also let bad
# values pass. Vitess refuses to set user_id, because user_id decides the shard.)
INSERT_USERS = """
INSERT INTO user_data (user_id, name, email, age) VALUES {}
ON DUPLICATE KEY UPDATE name = user_data.name
"""
ATTEMPTS = 10
NOTHING = "nothing was inserted"
Counts = tuple[int, int]  # users inserted, users who existed
Progress = Callable[[int], None]


def read_batches(users: Iterator[UserRow]) -> Generator[list[UserRow], None, None]:
    """Yield lists of BATCH_SIZE users; while the caller has one, a thread reads the next.

    So Python reads and checks the file while the server works. An error in the reading is raised
    when the caller asks for that batch.
    """
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(list, islice(users, BATCH_SIZE))
        while batch := coming.result():
            coming = thread.submit(list, islice(users, BATCH_SIZE))
            yield batch


def insert_data(
    connection: Connection, csv_file: str | Path, progress: Progress = lambda rows: None
) -> Counts:
    """Import the users of a CSV file into user_data, all of them or none.

    connection is from connect_to_prodev(); its uncommitted changes are committed first. The import
    is one transaction. If it loses a conflict with another one, it is tried up to ATTEMPTS times,
    unless the file is a pipe, which cannot be read twice. With a pipe, an error of the server is
    reported only after the next batch has been read. progress is called after each INSERT with the
    number of rows so far. Returns how many users were inserted, and how many already existed; these
    are left unchanged. Memory holds three batches, and the SQL of one.

    Raises mysql.connector.Error, OSError, what read_users() raises, and InputError for a user who
    cannot be inserted because of another unique key; then nothing was inserted. But if the COMMIT
    itself fails, all users may have been inserted (or some of them, if the table is sharded): run
    it again.
    """
    attempt = 1
    while True:
        try:
            with open(csv_file, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
                return insert_users(connection, read_users(file), progress)
        except mysql.connector.Error as error:
            if not is_conflict(error) or attempt == ATTEMPTS or not os.path.isfile(csv_file):
                raise
        # Longer each time, and a random time, so that two imports do not collide again.
        time.sleep(random.uniform(0, 0.1 * 2**attempt))
        attempt += 1


def insert_users(connection: Connection, users: Iterator[UserRow], progress: Progress) -> Counts:
    """Insert users in one transaction, BATCH_SIZE rows per INSERT; return as insert_data() does."""
    rows_read = inserted = 0
    outcome = NOTHING
    with connection.cursor() as cursor, closing(read_batches(users)) as batches:
        try:
            # Sent as SQL: the driver's commit() and rollback() raise errors of another class.
            cursor.execute("START TRANSACTION")
            for batch in batches:
                places = ", ".join(["(%s, %s, %s, %s)"] * len(batch))
                cursor.execute(INSERT_USERS.format(places), list(chain.from_iterable(batch)))
                rows_read += len(batch)
                inserted += cursor.rowcount  # an existing user counts as 0
                if cursor.rowcount < len(batch):
                    check_all_are_there(cursor, batch)
                progress(rows_read)
            outcome = (
                "the users may have been inserted (or some, if the table is sharded): run it again"
            )
            cursor.execute("COMMIT")
        except mysql.connector.Error as error:
            # After a lost conflict the server has rolled back, even if it came in the COMMIT.
            error.msg = f"{NOTHING if is_conflict(error) else outcome}. {error.msg}"
            raise
        finally:
            with suppress(mysql.connector.Error):  # a server that lost the connection rolls back
                cursor.execute("ROLLBACK")  # after a COMMIT, this changes nothing
    return inserted, rows_read - inserted


# A row's way out: SELECT -> cursor -> generator

SELECT_USERS = "SELECT user_id, name, email, age FROM user_data"
READ_AHEAD = 100  # rows: few enough to be small, enough to spread the cost of a call


@contextmanager
def open_stream(**how: Any) -> Iterator[Any]:
    """Connect to ALX_prodev and yield a cursor. Its rows stay on the server until they are fetched.

    The arguments go to connection.cursor(): cursor_class=seed.UserCursor for users, dictionary=True
    for any query of any table. The caller may pause for up to a day, and may stop after any row:
    see hang_up(). It uses one connection, which must not be shared with other code or threads.
    Raises what connect_to_prodev() does.
    """
    connection = connect_to_prodev()
    try:
        connection.autocommit = True  # no transaction stays open: each query sees its own snapshot
        if "vitess" in str(connection.server_info).lower():
            connection.cmd_query("SET workload = OLAP")  # else it gives 10,000 rows at most
        yield connection.cursor(**how)
    finally:
        hang_up(connection)


def hang_up(connection: Any) -> None:
    """Close a connection without reading what is left of its result.

    The C extension's close() begins with free_result(), which reads all of it: over 0.5 s for a
    million rows. So this connection's own free_result() is replaced by a function that does
    nothing, until close() is done. The real one runs after that, when nothing is left to read.
    Without that call, a later fetch from a cursor would crash Python.
    """
    free_result = getattr(connection, "free_result", lambda: None)  # only the C extension has it
    connection.free_result = lambda: None
    connection.close()
    free_result()


def no_result() -> Any:
    """Raise the error that the driver's cursors raise when no query has been sent."""
    raise mysql.connector.InterfaceError("No result set to fetch from")


class UserCursor(DriverCursor):
    """An unbuffered cursor for SELECT_USERS, whose rows are dictionaries with the age as an int.

    It is fast because it asks the driver for READ_AHEAD rows at a time, as bytes. The driver's own
    dictionary cursor needs more than three times as long. Fetching raises InputError for a row that
    is not a user, and mysql.connector.Error if the result is cut short or there is none.
    """

    columns: tuple[str, ...] = COLUMNS
    no_rows = iter(no_result, None)  # an iterator that raises at each fetch: there is no result

    def __init__(self, connection: Any, *timeouts: Any) -> None:
        super().__init__(connection, *timeouts)
        self._source = connection
        self._rows: Iterator[Any] = self.no_rows

    def convert(self, rows: list[tuple[bytes, ...]]) -> list[Any]:
        """Return the rows of a block as the caller gets them."""
        return [
            {"user_id": id.decode(), "name": name.decode(), "email": mail.decode(), "age": int(age)}
            for id, name, mail, age in rows
        ]

    def execute(self, *args: Any, **kwargs: Any) -> None:
        """Send a query for the columns; all rows of the previous query must have been fetched."""
        self._rows = self.no_rows
        super().execute(*args, **kwargs)
        if self.column_names != tuple(self.columns):
            raise InputError(f"the query gives {self.column_names} instead of {self.columns}")
        self._rows = self._read_rows()

    def _read_rows(self) -> Iterator[Any]:
        """Yield the rows of the result, fetched READ_AHEAD at a time."""
        end = None
        try:
            while end is None:
                rows, end = self._source.get_rows(READ_AHEAD, raw=True)
                yield from self._convert(rows)
        except Exception:
            self._rows = self.no_rows  # a later fetch raises, too: it must not look like the end
            raise

    def _convert(self, rows: list[tuple[bytes, ...]]) -> Iterable[Any]:
        """Convert the rows of a block; where one is bad, yield those before it, then raise."""
        try:
            return self.convert(rows)
        except (AttributeError, TypeError, ValueError) as error:
            if len(rows) == 1:
                raise InputError(row_fault(self.columns, rows[0], error)) from error
            return chain.from_iterable(self._convert([row]) for row in rows)

    def __next__(self) -> Any:  # the driver's takes an InterfaceError for the end
        return next(self._rows)

    def fetchone(self) -> Any:
        return next(self._rows, None)

    def fetchmany(self, size: int = 1) -> list[Any]:
        return list(islice(self._rows, size))

    def fetchall(self) -> list[Any]:
        return list(self._rows)


class AgeCursor(UserCursor):
    """Like UserCursor, for a query of the age alone; its rows are tuples of one int."""

    columns = ("age",)

    def convert(self, rows: list[tuple[bytes, ...]]) -> list[Any]:
        return [(int(age),) for (age,) in rows]


# A learner may skip the rest: settings, TLS, checks of users and tables, arguments, errors.

CONNECT_TIMEOUT = 10  # seconds: without one, a server that never answers hangs the program
SSL_MODES: dict[str, dict[str, bool]] = {  # what the driver is told; check_tls() does the rest
    "DISABLED": {"ssl_disabled": True},
    "PREFERRED": {},
    "REQUIRED": {},
    "VERIFY_CA": {"ssl_verify_cert": True},
    "VERIFY_IDENTITY": {"ssl_verify_cert": True, "ssl_verify_identity": True},
}
ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "s": " ", "'": "'", '"': '"'}
OPTIONS = "host port user password socket ssl_mode ssl_ca ssl_cert ssl_key"


def connection_settings() -> dict[str, Any]:
    """Return settings for the driver: from MYSQL_* variables, else ~/.my.cnf, else the defaults.

    ssl_mode is for check_tls(). Raises InputError for a value that makes no sense, OSError for a
    file that cannot be read.
    """
    settings: dict[str, Any] = {"host": "localhost", "port": "3306", "user": "root", "password": ""}
    variables = {name: os.environ.get(f"MYSQL_{name.upper()}") for name in settings}
    settings |= read_option_file(os.path.expanduser("~/.my.cnf"))
    settings |= {name: value for name, value in variables.items() if value}
    socket, host, port = settings.pop("socket", None), settings["host"], settings["port"]
    if socket and host == "localhost" and not variables["host"] and not variables["port"]:
        settings["unix_socket"] = socket  # but not if another server is named
    # The host is not repeated: it may hold a password. An IPv6 address, up to its zone, has more
    # than one colon, and no other letters than hexadecimal digits.
    is_ipv6 = host.count(":") > 1 and not host.partition("%")[0].strip("0123456789abcdefABCDEF:.")
    if any(sign in host for sign in "@/ ") or (":" in host and not is_ipv6):
        others = "port, user and password go into MYSQL_PORT, MYSQL_USER and MYSQL_PASSWORD"
        raise InputError(f"MYSQL_HOST must be the name or address of a host, no more: {others}")
    if not (port.isdecimal() and port.isascii() and len(port) <= 5 and 1 <= int(port) <= 65535):
        raise InputError(f"port {port[:40]!r} (MYSQL_PORT or ~/.my.cnf) is not from 1 to 65535")
    mode = settings.get("ssl_mode", "VERIFY_CA" if "ssl_ca" in settings else "PREFERRED").upper()
    if mode not in SSL_MODES:
        raise InputError(f"~/.my.cnf: ssl-mode is not one of {', '.join(SSL_MODES)}")
    if mode.startswith("VERIFY") and not os.access(settings.get("ssl_ca", ""), os.R_OK):
        wanted = f"~/.my.cnf: ssl-mode={mode} needs an ssl-ca, a file that can be read"
        files = "your provider's CA file, or the system's (/etc/ssl/certs/ca-certificates.crt)"
        raise InputError(f"{wanted}: {files}")
    if ("ssl_cert" in settings) != ("ssl_key" in settings):
        raise InputError("~/.my.cnf: set both ssl-cert and ssl-key, or neither")
    return settings | SSL_MODES[mode] | {"port": int(port), "ssl_mode": mode}


def read_option_file(path: str) -> dict[str, str]:
    """Return the OPTIONS that the [client] group of an option file sets.

    A missing or world-writable file counts as empty. (The driver's option_files is no help: it
    ignores ssl-mode and keeps the quotes of a password.) Raises InputError for a TLS option that
    would be ignored, and what option_value() does.
    """
    group = ""
    options: dict[str, str] = {}
    if not os.path.isfile(path) or (os.name == "posix" and os.stat(path).st_mode & 0o002):
        return options
    with open(path, encoding="utf-8-sig", errors="surrogateescape") as lines:
        for line in map(str.strip, lines):
            name, equals, value = map(str.strip, line.partition("="))
            name = name.replace("-", "_")
            if line.startswith("["):
                group = line[1:].partition("]")[0].strip().lower()
            elif group == "client" and equals and name in OPTIONS.split():
                options[name] = option_value(value)
            elif group == "client" and ("ssl" in name.lower() or "tls" in name.lower()):
                known = "ssl-mode, ssl-ca, ssl-cert and ssl-key can be used, each with a value"
                raise InputError(
                    f"~/.my.cnf: {name.replace('_', '-')}: of the TLS options, {known}"
                )
    return options


def option_value(text: str) -> str:
    """Return a value of an option file without a comment and the quotes around it, as MySQL does.

    Raises InputError for a NUL character.
    """
    quote, escaped = "", False
    for place, sign in enumerate(text):
        if sign in ("'", '"') and not escaped:
            quote = "" if sign == quote else quote or sign
        if sign == "#" and not quote:
            text = text[:place].rstrip()
            break
        escaped = sign == "\\" and quote != "" and not escaped
    if "\0" in text:
        raise InputError("~/.my.cnf: a value holds a NUL character")
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1]
    parts = text.split(r"\\")  # each of which stands for one backslash
    for sign, meaning in ESCAPES.items():
        parts = [part.replace(f"\\{sign}", meaning) for part in parts]
    return "\\".join(parts)


def check_tls(connection: Any, mode: str) -> None:
    """If the mode requires TLS and the connection has none, close it and raise InputError.

    A Unix socket counts as secure. The driver asks for TLS, but goes on without it, even where it
    has a CA to verify with. The check is made at this end of the connection: the server's
    `Ssl_cipher` describes its own end, which may be behind a proxy.
    """
    # _cmysql is a private name of the driver, because no public one tells. (is_secure is True for a
    # socket. Without the C extension it is also True for TLS.)
    extension = getattr(connection, "_cmysql", None)
    encrypted = connection.is_secure or (extension and extension.get_ssl_cipher())
    if mode not in ("DISABLED", "PREFERRED") and not encrypted:
        connection.close()
        raise InputError("the server has no TLS, but ssl-mode or ssl-ca in ~/.my.cnf requires it")


LINE_LIMIT = 10_000  # characters; the longest line of a good user has some 1,100


def read_lines(file: TextIO) -> Iterator[str]:
    """Yield the lines of a text file; raise InputError for one that is too long or not good text.

    The file is opened with errors="surrogateescape": bytes that are not UTF-8 come as surrogates.
    """
    number = 0
    while line := file.readline(LINE_LIMIT):
        number += 1
        if len(line) == LINE_LIMIT:
            raise InputError(f"{file.name}:{number}: a line of {LINE_LIMIT:,} characters or more")
        if "\ufffd" in line:
            raise InputError(f"{file.name}:{number}: damaged text: U+FFFD marks a lost character")
        if "\0" in line or line.encode(errors="ignore").decode() != line:  # without surrogates
            raise InputError(f"{file.name}:{number}: not UTF-8 text: save the file as UTF-8")
        yield line


UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def make_user(name: str, email: str, age: str, user_id: str | None = None) -> UserRow:
    """Return the values of a row as a user. The age stays text: the server converts it.

    A user_id is stored in lower case, without braces; without one, it is computed from the email,
    always with the same result (RFC 4122, version 5). For a bad value, raises InputError with the
    column and the reason.
    """
    if user_id is None:
        user_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"mailto:{email.lower()}"))
    key = user_id.lower().strip("{}")
    if not UUID.fullmatch(key):
        raise InputError(f"user_id {user_id[:40]!r} is not a UUID")
    if not 1 <= len(name) <= 255:
        raise InputError(f"name {name[:40]!r} does not have 1 to 255 characters")
    if "\n" in name or "\r" in name:
        raise InputError(f"name {name[:40]!r} has a line break: is a quote missing before it?")
    one_word = email.count("@") == 1 and email.strip("@") == email and email.split() == [email]
    if not one_word or '"' in email or len(email) > 255:
        wanted = "an address with one @, without spaces and quotes, of up to 255 characters"
        raise InputError(f"email {email[:40]!r} is not {wanted}")
    if not (age.isdecimal() and age.isascii() and len(age.lstrip("0")) <= 3):
        raise InputError(f"age {age[:40]!r} is not a number from 0 to 999, written in digits only")
    return (key, name, email, age)


RENAME = "rename the table (RENAME TABLE user_data TO my_users)"


def table_faults(connection: Connection) -> Iterator[str]:
    """Yield the reasons why an existing user_data would silently lose, change or double users.

    The server itself refuses everything else, because SESSION makes it strict. Names are compared
    in Python, because MariaDB treats a column usér_id as user_id.
    """

    def facts(columns: str, view: str) -> list[Any]:
        table = "table_schema = DATABASE() AND table_name = 'user_data'"
        return query(connection, f"SELECT {columns} FROM information_schema.{view} WHERE {table}")

    engines = "tables LEFT JOIN information_schema.engines USING (engine)"
    for kind, transactions in facts("CONCAT_WS(' ', table_type, engine), transactions", engines):
        if not kind.startswith("BASE TABLE") or transactions != "YES":
            yield f"the type {kind}"
    types = "column_name, data_type, column_type, numeric_scale"
    for name, kind, full_type, scale in facts(types, "columns"):
        is_text = any(word in kind for word in ("char", "text", "uuid"))
        is_whole = name.lower() == "age" and (scale == 0 or full_type in ("float", "double"))
        if name.lower() in COLUMNS and not is_text and not is_whole:
            yield f"the column {name} {full_type}"
    keys: dict[str, list[Any]] = {}
    of_keys = "index_name, column_name, sub_part, non_unique"
    for key, name, prefix, non_unique in facts(of_keys, "statistics"):
        if not int(non_unique):  # on TiDB, '0' or '1'
            keys.setdefault(key, []).append((str(name).lower(), prefix))
    if [("user_id", None)] not in keys.values():
        yield "no unique key on user_id alone"
    for trigger, event, *_ in query(connection, r"SHOW TRIGGERS LIKE 'user\_data'"):
        if event != "DELETE":
            yield f"the trigger {trigger}"


def check_all_are_there(cursor: Any, batch: list[UserRow]) -> None:
    """Raise InputError if a user is missing, after an INSERT that skipped some of its rows.

    Most skipped rows are existing users. But another unique key (for example of the email) may also
    keep a new user out.
    """
    ids = [user_id for user_id, *_ in batch]
    places = ", ".join(["%s"] * len(ids))
    # FOR UPDATE also sees users that others have committed since this transaction began.
    cursor.execute(f"SELECT user_id FROM user_data WHERE user_id IN ({places}) FOR UPDATE", ids)
    there = {user_id.strip().lower() for (user_id,) in cursor.fetchall()}
    for user_id, name, email, _ in batch:
        if user_id not in there:
            user = f"user {user_id} ({name[:40]}, {email[:40]})"
            key = "another one has the same value in a unique key (SHOW INDEX FROM user_data)"
            raise InputError(f"{user} was not inserted: {key}; {NOTHING}")


def is_conflict(error: mysql.connector.Error) -> bool:
    """Return whether a transaction was rolled back in favour of another: a new try may succeed."""
    # A deadlock, a row that has changed meanwhile (MariaDB 11.6), a conflict between primaries, and
    # a time limit, which ends a deadlock across Vitess's shards
    numbers, words = (1213, 1020, 3101, 3024), ("error 149 ", "pessimistic lock retry limit")
    return error.errno in numbers or any(each in str(error) for each in words)  # Galera's, TiDB's


def row_fault(columns: tuple[str, ...], row: tuple[bytes, ...], error: Exception) -> str:
    """Return the message for a row that cannot be converted, with the column and what to do."""
    values = [value if value is None else value.decode(errors="replace")[:99] for value in row]
    reason = str(error)
    for name, value in zip(columns, values):
        if value is None:
            reason = f"{name} is NULL"
        elif "\ufffd" in value or (name == "age" and not value.isdecimal()):
            reason = f"{name} {value!r} is not {'a whole number' if name == 'age' else 'text'}"
    cure = f": change it, or {RENAME}" if set(columns) <= {*COLUMNS} else ""
    return f"{reason}, in the row {dict(zip(columns, values))}{cure}"


def check_size(name: str, value: int, least: int = 1) -> None:
    """Raise TypeError unless the value is an int (not a bool), ValueError if out of range."""
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
    (2002, 2003, 2005): "Is a server running there? The README says how to start one.",
    (1045, 1698): "Check MYSQL_USER and MYSQL_PASSWORD, or ~/.my.cnf (also ssl-mode=DISABLED).",
    (1044,): f"GRANT ALL ON {DATABASE}.* to this account, or set DATABASE in seed.py to its own.",
    (1049, 1146): "Run python3 seed.py first.",
    (1054, 1264, 1265, 1292, 1364, 1366, 1406): f"Was user_data made by seed.py? If not, {RENAME}.",
    (1153,): "Raise max_allowed_packet on the server, or lower BATCH_SIZE in seed.py.",
    (1290, 1836): "If this server is read-only (a replica), use the address of the writer.",
    (2026, 2061, 3159): "Check the TLS settings in ~/.my.cnf.",
}


def explain(error: Exception) -> str:
    """Return an error's message for the user, on one line."""
    text = str(error)
    if isinstance(error, UnicodeEncodeError):  # whose own text may show part of a password
        text = f"cannot write a character as {error.encoding}: set PYTHONIOENCODING=utf-8, "
        text += "and use UTF-8 in settings"
    if isinstance(error, mysql.connector.Error):
        # Without the C extension, a bad certificate is reported as a lost connection.
        number = 2026 if "CERTIFICATE" in text else error.errno
        hints = [hint for numbers, hint in HINTS.items() if number in numbers]
        # 300 characters: Vitess appends the whole statement.
        text = f"{str(error.msg):.300} (error {error.errno}). {''.join(hints)}"
    return " ".join(text.split())


def run(main: Callable[[], None]) -> None:
    """Run a script's main(); print an expected error as one line on stderr, with exit status 1.

    It ends quietly if the reader of its output stops (`| head`). Ctrl-C ends it at once, by the
    signal itself: a KeyboardInterrupt would have to wait for the C extension. In a thread or a
    session that goes on (IDLE, python3 -i, IPython), Ctrl-C works as before.
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
    except OSError:  # else Python would try once more at exit, and complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if message:
        if sys.stderr:  # None if closed, as by `2>&-`
            print(message, file=sys.stderr)
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
        # The same connection: behind a router, a new one may reach another server.
        connection.database = DATABASE
        create_table(connection)
        inserted, existing = insert_data(connection, csv_file, show_progress)
    repeated = " (or twice in the file)" if existing else ""
    print(f"{inserted} users inserted, {existing} already there{repeated}")


if __name__ == "__main__":
    run(main)
