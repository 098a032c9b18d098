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
import signal
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from functools import partial
from itertools import chain, islice
from operator import itemgetter
from pathlib import Path
from typing import Any, Callable, Generator, Iterable, Iterator, NamedTuple, TextIO, Tuple, cast

import mysql.connector
from mysql.connector import errorcode
from mysql.connector.abstracts import MySQLConnectionAbstract

try:
    from mysql.connector.cursor_cext import CMySQLCursorRaw as DriverCursor
except ImportError:  # no C extension for this machine: all works, only slower
    from mysql.connector.cursor import (  # type: ignore[assignment]  # it does the same
        MySQLCursorRaw as DriverCursor,
    )

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
# What create_table() looks at in a table that was there before.
TABLE_FACTS = """
SELECT 'ENGINE', COALESCE(engine, table_type) FROM information_schema.tables
WHERE table_schema = DATABASE() AND table_name = 'user_data'
UNION ALL
SELECT LOWER(column_name), CONCAT_WS(' ', column_type, character_set_name,
    IF(is_nullable = 'YES', 'NULL', 'NOT NULL'), CONCAT('DEFAULT ', column_default),
    NULLIF(extra, ''))
FROM information_schema.columns
WHERE table_schema = DATABASE() AND table_name = 'user_data'
UNION ALL
SELECT 'UNIQUE KEY',
    GROUP_CONCAT(CONCAT(LOWER(column_name), COALESCE(CONCAT('(', sub_part, ')'), ''))
        ORDER BY seq_in_index)
FROM information_schema.statistics
WHERE table_schema = DATABASE() AND table_name = 'user_data' AND non_unique = 0
GROUP BY index_name
"""
# What it must find there for nothing to be lost, cut or doubled: in words, and as a pattern.
TEXT = ("text in utf8mb4, NOT NULL", r"(varchar\(\d+\)|char\(\d+\)|\w*text) utf8mb4 NOT NULL.*")
NEEDED = {
    "ENGINE": ("InnoDB", "InnoDB"),
    "user_id": (
        "VARCHAR(36) NOT NULL",
        r"(uuid|(var)?char\((3[6-9]|[4-9]\d|\d{3,})\) \w+) NOT NULL.*",
    ),
    "name": TEXT,
    "email": TEXT,
    "age": (
        "DECIMAL(3,0) NOT NULL",
        r"(decimal\(([3-9]|\d\d),0\)|(small|medium|big)?int\b).* NOT NULL.*",
    ),
}
# A user who is there already is left as they are. INSERT IGNORE would also pass over bad values.
INSERT_USERS = """
INSERT INTO user_data (user_id, name, email, age) VALUES {}
ON DUPLICATE KEY UPDATE user_id = user_data.user_id
"""
# Whatever the server's own mode is, no value is cut to fit.
IMPORT_SESSION = "SET SESSION sql_mode = 'STRICT_ALL_TABLES'"

# An import that meets another one may be rolled back by the server, and is to be tried again.
ATTEMPTS = 10
TRY_AGAIN = {
    errorcode.ER_LOCK_DEADLOCK,
    errorcode.ER_CHECKREAD,  # MariaDB 11.6 and later: a row has changed since the transaction began
    errorcode.ER_TRANSACTION_ROLLBACK_DURING_COMMIT,  # a group with several primaries
}
SELECT_USERS = "SELECT user_id, name, email, age FROM user_data"  # in the order of UserCursor
# Rows that a stream reads ahead: few enough to be small, enough to spread the cost of a call.
READ_AHEAD = 100
# How long a stream waits for a reader who pauses, in seconds: a night, but not for ever, as the
# server holds an open result for one that has vanished too.
LONGEST_PAUSE = 24 * 60 * 60
# Without these, the server gives up on a reader after 60 s within a result and 8 hours between two,
# may end every result at sql_select_limit, as if it were whole (this number means all rows), and
# fills CHAR columns up with spaces (a mode).
STREAM_SESSION = (
    f"SET SESSION net_write_timeout = {LONGEST_PAUSE}, wait_timeout = {LONGEST_PAUSE}, "
    "sql_select_limit = 18446744073709551615, sql_mode = ''"
)

# What is taken from ~/.my.cnf: where the server is and how to reach it.
OPTIONS = ["host", "port", "user", "password", "socket", "connect_timeout"]
OPTIONS += ["ssl_mode", "ssl_ca", "ssl_cert", "ssl_key"]
SSL_MODES = ["DISABLED", "PREFERRED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY"]
# An option up to its comment (a # in quotes begins none), and what stands for what behind a \.
BEFORE_COMMENT = re.compile(r"""((?:[^#'"]|(['"])(\\.|(?!\2)[^\\])*(\2|\\?$))*).*""")
ESCAPES = dict(zip("ntrbs'\"\\", "\n\t\r\b '\"\\"))


class ImportCount(NamedTuple):
    """How many users an import found in its file: new ones, and ones that were there already."""

    inserted: int
    already_there: int


# Settings and connections


def read_option_file(path: str, including: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Yield name and value of each option in the [client] group of an option file.

    Read as MySQL's own clients read it: with comments, quotes, escapes and the files it includes.
    (The driver's read_option_files() leaves comments and escapes in the values.)
    Raises OSError if a file cannot be read, and ValueError, with file and line, if it is broken.
    Source: https://dev.mysql.com/doc/refman/8.4/en/option-files.html
    """
    if path in including:
        raise ValueError(f"{path}: this option file includes itself")
    group = None
    with open(path, encoding="utf-8", errors="surrogateescape") as lines:
        for number, line in enumerate(map(str.strip, lines), 1):
            include = re.match(r"!include(dir)?\s+(.*)", line)
            if include:
                folder, name = include.groups()
                for file in sorted(Path(name).iterdir()) if folder else [Path(name)]:
                    if not folder or file.suffix == ".cnf":
                        yield from read_option_file(str(file), (*including, path))
            elif line.startswith("["):
                group, end, _ = line[1:].partition("]")
                if not end:
                    raise ValueError(f"{path}:{number}: a [group] without its ]")
            elif line and line[0] not in "#;!":
                if group is None:
                    what = "an option, or a byte order mark,"
                    raise ValueError(f"{path}:{number}: {what} before the first [group]")
                name, _, value = BEFORE_COMMENT.sub(r"\1", line).partition("=")
                value = re.sub(r"^(['\"])(.*)\1$", r"\2", value.strip())
                if group.rstrip().lower() == "client":
                    value = re.sub(r"\\(.)", lambda match: ESCAPES.get(match[1], match[0]), value)
                    yield name.strip().replace("-", "_"), value


def connection_settings() -> dict[str, Any]:
    """Return the arguments for connect(): host, port, user, password and the rest.

    The MYSQL_* variables come first (an empty one counts as not set), then the [client] group of
    ~/.my.cnf, then the defaults.
    Raises ValueError for a value that makes no sense, and what read_option_file() raises.
    """
    settings: dict[str, Any] = {"host": "localhost", "port": 3306, "user": "root", "password": ""}
    settings["connect_timeout"] = 10  # seconds: without one, a silent server hangs for ever
    option_file = os.path.expanduser("~/.my.cnf")
    if os.path.exists(option_file):
        options = read_option_file(option_file)
        settings.update((name, value) for name, value in options if name in OPTIONS)
    variables = {name: os.environ.get(f"MYSQL_{name.upper()}") for name in OPTIONS[:4]}
    settings.update((name, value) for name, value in variables.items() if value)
    socket = settings.pop("socket", None)
    if socket and not variables["host"] and not variables["port"]:
        settings["unix_socket"] = socket  # not if another server is named
    for name, least, most in (("port", 1, 65535), ("connect_timeout", 0, LONGEST_PAUSE)):
        value = str(settings[name])
        if not value.isdecimal() or not least <= int(value) <= most:
            raise ValueError(
                f"{name} {value!r} is not a number from {least} to {most}: "
                "check MYSQL_PORT and ~/.my.cnf"
            )
        settings[name] = int(value) or None  # a time-out of 0 is none
    for name, value in settings.items():
        try:
            str(value).encode()
        except UnicodeEncodeError:  # bytes of another encoding, which the driver cannot send
            raise ValueError(
                f"{name} is not UTF-8: check MYSQL_{name.upper()} and ~/.my.cnf"
            ) from None
    settings.setdefault("ssl_mode", "VERIFY_CA" if "ssl_ca" in settings else "PREFERRED")
    if settings["ssl_mode"].upper() not in SSL_MODES:
        raise ValueError(f"~/.my.cnf: ssl-mode is none of {', '.join(SSL_MODES)}")
    return settings


def server_name(settings: dict[str, Any]) -> str:
    """Return where the server of connection_settings() is, as messages say it."""
    return settings.get("unix_socket") or f"{settings['host']}:{settings['port']}"


def connect(ssl_mode: str, **settings: Any) -> MySQLConnectionAbstract:
    """Return a new connection; ssl_mode is that of MySQL's clients, the rest is the driver's.

    Raises mysql.connector.Error, with CR_SERVER_HANDSHAKE_ERR for a server that does not answer,
    and ValueError for settings that do not fit together.
    """
    server = server_name(settings)
    security = SSL_MODES.index(ssl_mode.upper())
    try:
        driver_connection = mysql.connector.connect(
            ssl_disabled=security == 0,
            ssl_verify_cert=security >= 3,
            ssl_verify_identity=security >= 4,
            autocommit=True,
            allow_local_infile=False,  # no server may ask this client for a file
            **settings,
        )
    except AttributeError as error:
        raise ValueError(f"~/.my.cnf: {error}") from None
    except mysql.connector.Error as error:
        # The driver says "lost" of a connection that never came up, and 3024 of a time-out; without
        # its C extension it says "lost" of a wrong certificate too.
        if error.errno not in (*HINTS[LOST], errorcode.ER_QUERY_TIMEOUT):
            raise
        if "CERTIFICATE_VERIFY_FAILED" in str(error.msg):
            number, message = errorcode.CR_SSL_CONNECTION_ERROR, error.msg
        else:
            number, message = errorcode.CR_SERVER_HANDSHAKE_ERR, f"{server} does not answer"
        raise mysql.connector.OperationalError(message, number) from error
    connection = cast(MySQLConnectionAbstract, driver_connection)  # not one of a pool
    # With the C extension, even a certificate to be verified is none to be asked for.
    cipher = "SHOW STATUS LIKE 'Ssl_cipher'"
    if security >= 2 and "unix_socket" not in settings and not query(connection, cipher)[0][1]:
        connection.close()
        raise mysql.connector.InterfaceError(
            f"{server} has no TLS", errorcode.CR_SSL_CONNECTION_ERROR
        )
    return connection


def query(connection: MySQLConnectionAbstract, statement: str) -> list[Any]:
    """Return all rows of a query."""
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())


def connect_db() -> MySQLConnectionAbstract:
    """Return a new connection to the MySQL server, with no database chosen.

    The connection commits each statement by itself, so that reading leaves no transaction open.
    The caller closes it. Costs a TCP connection, TLS and a login.
    Raises mysql.connector.Error if the server cannot be reached, does not answer in 10 seconds (or
    connect-timeout of ~/.my.cnf) or refuses the login, and ValueError or OSError for settings that
    make no sense or cannot be read.
    """
    return connect(**connection_settings())


def connect_to_prodev() -> MySQLConnectionAbstract:
    """Return a new connection to the database ALX_prodev, which the caller closes.

    Costs and raises what connect_db() does, and mysql.connector.Error if there is no such database.
    """
    return connect(**connection_settings(), database=DATABASE)


# Schema


def create_database(connection: MySQLConnectionAbstract) -> None:
    """Create the database ALX_prodev if it does not exist.

    One query on the connection, and one statement more if the database is not there: in a cluster
    even a CREATE that creates nothing rolls back the imports of others.
    Raises mysql.connector.Error if the user may not.
    """
    schemata = "SELECT schema_name FROM information_schema.schemata"
    if not query(connection, f"{schemata} WHERE schema_name = '{DATABASE}'"):
        connection.cmd_query(f"CREATE DATABASE IF NOT EXISTS {DATABASE} CHARACTER SET utf8mb4")


def create_table(connection: MySQLConnectionAbstract) -> None:
    """Create the table user_data if it does not exist, and say so on stdout.

    One query on the connection, which has the database chosen, two statements more if the table is
    not there. One that is there is not changed.
    Raises mysql.connector.Error if the user may not, and ValueError for a table that is there in a
    shape in which users would be lost, cut or doubled.
    """
    facts = query(connection, TABLE_FACTS)
    if not facts:
        connection.cmd_query(CREATE_TABLE)
        facts = query(connection, TABLE_FACTS)
    check_table(facts)
    print("Table user_data created successfully")


def check_table(facts: list[tuple[str, str]]) -> None:
    """Raise ValueError, with what is different, unless the TABLE_FACTS are as NEEDED."""
    found = dict(facts)
    keys = [columns for name, columns in facts if name == "UNIQUE KEY"]
    faults = [
        f"{name} is {found.get(name, 'missing')}, not {words}"
        for name, (words, pattern) in NEEDED.items()
        if not re.fullmatch(pattern, found.get(name, ""))
    ]
    for name, definition in facts:
        if name not in (*NEEDED, "UNIQUE KEY") and definition.endswith("NOT NULL"):
            faults.append(f"{name} needs a value")
    # A user with an email, say, that another one has would be passed over as already there.
    for key in keys:
        if key != "user_id" and "auto_increment" not in found.get(key, ""):
            faults.append(f"there is a unique key on {key or 'an expression'}")
    if "user_id" not in keys:
        faults.append("there is no unique key on user_id alone")
    if faults:
        raise ValueError(
            f"table user_data in {DATABASE} does not fit: {'; '.join(faults[:3])}: "
            "rename or drop it, and run python3 seed.py again"
        )


# CSV files: text, lines, rows, users

LINE_LIMIT = 10_000  # characters; the longest line of a good user has some 1,100
CANONICAL_ID = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
USER_ID = re.compile(  # a UUID: with dashes or without, in braces, behind urn:uuid:
    r"(urn:uuid:)?(\{)?[0-9a-f]{8}(-?)[0-9a-f]{4}\3[0-9a-f]{4}\3[0-9a-f]{4}\3[0-9a-f]{12}(?(2)\})"
)
EMAIL = re.compile("[^@]+@[^@]+")
AGE = re.compile("0*[0-9]{1,3}")


def open_csv(csv_file: str | os.PathLike[str]) -> TextIO:
    """Open a UTF-8 text file, with or without a byte order mark; raise OSError if it cannot be."""
    # newline="" leaves the line ends to the csv module. Bytes that are not UTF-8 are let through as
    # surrogates, which cannot be encoded again: so csv_lines() knows in which line they are.
    return open(csv_file, encoding="utf-8-sig", errors="surrogateescape", newline="")


def csv_lines(file: TextIO) -> Iterator[str]:
    """Yield the lines of a file of open_csv(); raise ValueError, with the line, for no text."""
    for number, line in enumerate(iter(partial(file.readline, LINE_LIMIT + 1), ""), 1):
        fault = None
        if "\0" in line:
            fault = "a zero byte, as in UTF-16 and in files that are no text"
        elif len(line) > LINE_LIMIT:
            fault = f"a line of more than {LINE_LIMIT:,} characters"
        else:
            try:
                line.encode()
            except UnicodeEncodeError as error:
                fault = f"byte 0x{ord(line[error.start]) - 0xDC00:02x} is not UTF-8"
        if fault:
            raise ValueError(f"{file.name}:{number}: {fault}: save it as CSV UTF-8")
        yield line


def without_spaces_behind_quotes(lines: Iterable[str], separator: str) -> Iterator[str]:
    """Yield lines without the spaces between a closing quote and a separator: csv refuses them."""
    quoted = re.compile(rf'((?:^|{separator}) *"(?:[^"]|"")*") +(?=[{separator}\r\n]|$)')
    quotes = 0
    for line in lines:
        if '"' in line:
            if '" ' in line and quotes % 2 == 0:  # else the line begins within a quoted value
                line = quoted.sub(r"\1", line)
            quotes += line.count('"')
        yield line


def csv_rows(file: TextIO) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a CSV file that are not blank, each with the line on which it starts.

    The values are separated by what the first of them has most of: commas, semicolons or tabs.
    Spaces around a value are no part of it.
    Raises what csv_lines() raises, and ValueError for quotes that do not fit.
    """
    lines = csv_lines(file)
    blank_lines = 0
    header = next(lines, "")
    while header.isspace():
        blank_lines += 1
        header = next(lines, "")
    separator = max(",;\t", key=header.count)
    lines = without_spaces_behind_quotes(chain([header], lines), separator)
    rows = csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True)
    line = blank_lines + 1
    try:
        for row in rows:
            values = [value.strip() for value in row]
            if any(values):
                yield line, values
            # Not one more a row: a quoted value may hold line breaks.
            line = blank_lines + rows.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{file.name}:{line}: {error}: check the quotes") from None


def check_header(header: list[str]) -> None:
    """Raise ValueError, with the reason, for a header that does not name the columns."""
    found = shown(",".join(header))
    if not set(header) & set(COLUMNS):
        names = ", ".join(COLUMNS)
        raise ValueError(f"the first line must name the columns ({names}): it is {found}")
    if "" in header:
        raise ValueError(f"column {header.index('') + 1} has no name: {found}")
    if len(set(header)) < len(header):
        raise ValueError(f"the header names a column twice: {found}")
    missing = [column for column in COLUMNS[1:] if column not in header]
    if missing:
        raise ValueError(f"the header lacks {', '.join(missing)}: it is {found}")
    unknown = [column for column in header if column not in COLUMNS]
    if unknown:
        raise ValueError(f"unknown column {', '.join(map(shown, unknown[:3]))}")


def check_user(name: str, email: str, age: str, user_id: str | None = None) -> UserRow:
    """Return the values of a row as a user; raise ValueError, with field and reason, for bad ones.

    Without a user_id, it is made from the email: the same at every reading, whatever its case.
    """
    if user_id is None:  # RFC 4122, version 5
        user_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"mailto:{email.lower()}"))
    elif not CANONICAL_ID.fullmatch(user_id):
        if not USER_ID.fullmatch(user_id.lower()):
            raise ValueError(f"user_id {shown(user_id)} is not a UUID")
        user_id = str(uuid.UUID(user_id.lower()))
    for field, value in (("name", name), ("email", email)):
        if not 0 < len(value) <= 255:
            reason = f"has {len(value)} characters, more than 255" if value else "is empty"
            raise ValueError(f"{field} {shown(value)} {reason}")
    if not EMAIL.fullmatch(email):
        raise ValueError(f"email {shown(email)} does not have something on both sides of one @")
    if not AGE.fullmatch(age):
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
    header = [name.lower() for name in header]
    try:
        check_header(header)
    except ValueError as error:
        raise ValueError(
            f"{file.name}:{line}: {error if header else 'the file is empty'}"
        ) from None
    # The place of each argument of check_user().
    places = itemgetter(
        *(header.index(name) for name in [*COLUMNS[1:], "user_id"] if name in header)
    )
    bad_rows = 0
    reasons = []
    try:
        for line, row in rows:
            try:
                if len(row) != len(header):
                    raise ValueError(f"{len(row)} fields instead of {len(header)}")
                user = check_user(*places(row))
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
    committed first, and its sql_mode is strict from here on. csv_file is a path; the file is sent
    in batches of BATCH_SIZE rows, one INSERT each, in one transaction. Memory holds three batches
    at most. A user who is there already is left unchanged. If the server rolls the transaction back
    because of another one (a deadlock), all is tried again, at most ATTEMPTS times, but not from a
    pipe, which can be read only once. After each batch progress is called with the rows read so far
    and the share of the file, from 0 to 1 (0 for a pipe).
    Raises mysql.connector.Error from the server, OSError if the file cannot be read, and what
    read_users() raises; then nothing was inserted. Only where the connection is lost while the
    server commits, all may be there as well: nobody can know, and a second run completes it.
    """
    attempt = 1
    while True:
        try:
            return insert_data_once(connection, csv_file, progress)
        except mysql.connector.Error as error:
            # MySQL's groups may also say at the COMMIT that the storage engine found a deadlock.
            deadlock = error.errno == errorcode.ER_ERROR_DURING_COMMIT and " 149 " in str(error.msg)
            again = error.errno in TRY_AGAIN or deadlock
            if not again or attempt == ATTEMPTS or not os.path.isfile(csv_file):
                raise
        # Longer each time, and not the same for two that wait for each other.
        time.sleep(random.uniform(0, 0.1 * 2**attempt))
        attempt += 1


def insert_data_once(
    connection: MySQLConnectionAbstract,
    csv_file: str | os.PathLike[str],
    progress: Callable[[int, float], None] | None,
) -> ImportCount:
    """Try insert_data() once."""
    rows_read = inserted = 0
    with connection.cursor() as cursor:
        cursor.execute(IMPORT_SESSION)
        # As statements: from connection.commit() and rollback() the driver lets an error through
        # that is no mysql.connector.Error. This one commits what was left uncommitted before.
        cursor.execute("START TRANSACTION")
        try:
            with closing(insert_statements(csv_file)) as statements, closing(
                # A pipe may have no next batch for long, and an error must not wait for it.
                prefetch(statements) if os.path.isfile(csv_file) else statements
            ) as batches:
                for statement, rows, share in batches:
                    cursor.execute(statement)
                    rows_read += rows
                    inserted += cursor.rowcount  # a duplicate counts as 0
                    if progress:
                        progress(rows_read, share)
            cursor.execute("COMMIT")
        except BaseException:
            with suppress(mysql.connector.Error):  # a lost connection is rolled back by the server
                cursor.execute("ROLLBACK")
            raise
    return ImportCount(inserted, rows_read - inserted)


def insert_statements(
    csv_file: str | os.PathLike[str],
) -> Generator[tuple[str, int, float], None, None]:
    """Yield an INSERT for each BATCH_SIZE users of a CSV file, their number, and the file's share.

    The values stand in the statements, as literal() writes them. Placeholders are the rule, but the
    driver fills in each by itself, in the thread that sends: 200,000 users took 2.1 s, now 1.5 s.
    """
    try:
        with open_csv(csv_file) as file:
            users = read_users(file)
            while rows := [
                f"({literal(user_id)}, {literal(name)}, {literal(email)}, {age:d})"
                for user_id, name, email, age in islice(users, BATCH_SIZE)
            ]:
                size = os.fstat(file.fileno()).st_size  # 0 for a pipe, which has no place
                share = file.buffer.tell() / size if size else 0
                yield INSERT_USERS.format(", ".join(rows)), len(rows), share
    except OSError as error:  # one from reading does not say of what file
        raise OSError(error.errno, error.strerror, csv_file) from None


def literal(text: str) -> str:
    """Return a text as a statement holds it; nothing in it can be taken for the end of it."""
    if "'" in text or "\\" in text:
        return f"_utf8mb4 x'{text.encode().hex()}'"
    return f"'{text}'"


def prefetch(items: Iterator[Any]) -> Generator[Any, None, None]:
    """Yield the items; while the caller works on one, a thread gets the next.

    Of use where the caller waits, as for a server: the driver's C extension lets other threads run
    meanwhile. Costs the memory of one item. What getting an item raises is raised at its turn.
    """
    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(next, items, None)
        while (item := following.result()) is not None:
            following = thread.submit(next, items, None)
            yield item


# Streams


class StreamCursor(DriverCursor):
    """An unbuffered cursor: the rows wait at the server until they are fetched.

    It holds a block of READ_AHEAD rows beside those that it returns, whatever the result's size. So
    it cannot say how many rows there are (rowcount), go back, or share its connection with another
    query before the last row is fetched.
    The driver's own fetchone() makes several Python calls a row and its conversion a loop over the
    columns; here the driver is called once a block, for the bytes as they came, and a subclass
    converts them in one comprehension, about three times as fast (tests/benchmark.py).
    """

    columns: tuple[str, ...]  # of the query that a subclass is for

    def __init__(self, connection: Any, *timeouts: Any) -> None:
        super().__init__(connection, *timeouts)
        self._source = connection
        self._rows: Iterator[Any] = iter(())

    @staticmethod
    def convert(rows: list[tuple[bytes, ...]]) -> list[Any]:
        """Return the rows of a block as they are given to the caller."""
        raise NotImplementedError

    def execute(self, *args: Any, **kwargs: Any) -> None:
        """Send a query; what was left of the one before must have been fetched."""
        super().execute(*args, **kwargs)
        self._block: int | None = READ_AHEAD
        self._rows = self._fetch()

    def _fetch(self) -> Iterator[Any]:
        """Yield the rows of the result, reading it block by block."""
        while self._source.unread_result:
            rows = self._source.get_rows(self._block, raw=True)[0]
            try:
                converted = self.convert(rows)
            except (AttributeError, TypeError, ValueError):
                check_rows(self.columns, rows)
                raise
            yield from converted

    def fetchone(self) -> Any:
        """Return the next row, None at the end.

        Raises mysql.connector.Error if the result is cut short, and ValueError for a row that is
        no user.
        """
        return next(self._rows, None)

    def fetchmany(self, size: int = 1) -> list[Any]:
        """Return the next size rows, fewer only at the end; errors as for fetchone()."""
        return list(islice(self._rows, size))

    def fetchall(self) -> list[Any]:
        """Return all rows that are left; errors as for fetchone()."""
        self._block = None  # in one call: a page is read as fast as it was asked for
        return list(self._rows)


def check_rows(columns: tuple[str, ...], rows: list[tuple[bytes, ...]]) -> None:
    """Raise ValueError for the first value that the table of this module could not hold."""
    for row in rows:
        for column, value in zip(columns, row):
            try:
                int(value) if column == "age" else value.decode()
            except (AttributeError, TypeError, ValueError):
                kind = "a whole number" if column == "age" else "UTF-8 text"
                found = "NULL" if value is None else repr(bytes(value))
                raise ValueError(
                    f"user_data: {column} {found} is not {kind}: "
                    "mend that row, or rename the table and run python3 seed.py"
                ) from None


class UserCursor(StreamCursor):
    """Gives the rows of SELECT_USERS as dictionaries, the age as an int."""

    columns = ("user_id", "name", "email", "age")

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

    columns = ("age",)

    @staticmethod
    def convert(rows: list[tuple[bytes, ...]]) -> list[tuple[int]]:
        return [(int(age),) for (age,) in rows]


@contextmanager
def open_stream(cursor_class: type[StreamCursor]) -> Iterator[StreamCursor]:
    """Open a connection to ALX_prodev and give a cursor for streaming; close it after the block.

    The block may end at any row and pause for up to LONGEST_PAUSE between two. Costs one connection
    and two short statements; a stream that is stopped early costs a second connection, but does not
    read the rows that are left. Raises mysql.connector.Error.
    """
    name = str(uuid.uuid4())  # of a lock by which cancel_query() finds this connection again
    with closing(connect_to_prodev()) as connection:
        try:
            connection.cmd_query(STREAM_SESSION)
            with suppress(mysql.connector.Error):  # without it a stop is only slower
                connection.cmd_query(f"DO GET_LOCK('{name}', 0)")
            yield cast(StreamCursor, connection.cursor(cursor_class=cursor_class))
        finally:
            if connection.unread_result is True:  # in a unit test's mock it is truthy, not True
                cancel_query(name)


def cancel_query(lock: str) -> None:
    """End the query of the connection that holds a user lock, from a second connection.

    connection.close() first reads what is left of a result, seconds for millions of rows; after
    this there is next to nothing left. The second connection may lead to another server (a router)
    where the first one's number is a stranger's; so the number is asked for where it is killed: a
    server on which nobody holds the lock says NULL, which is no connection.
    Where this fails (a missing right, no free connection, changed settings) close() is only slower,
    and the exception that ended the stream is the one to be seen.
    """
    with suppress(Exception), closing(connect_to_prodev()) as second:
        second.cmd_query(f"KILL QUERY IS_USED_LOCK('{lock}')")


# What the scripts share: errors, arguments, progress

LOST = "The connection was lost before the end: run it again. "
LOST += "An import is there whole or not at all."
# What to do about the errors that a user can mend, by their numbers: 2000 to 2999 are the driver's,
# above 1900 and 4000 MariaDB's and MySQL's own (mysql.connector.errorcode has most names).
HINTS = {
    "Is a server running there? The README says how to start one.": (2002, 2003),
    "Is that a MySQL server, and is it well?": (2012,),
    "Check MYSQL_HOST.": (2005,),
    "Check MYSQL_USER and MYSQL_PASSWORD.": (1045, 1698),
    "Check the TLS settings in ~/.my.cnf.": (2026, 2061, 3159),
    "The driver cannot log in to that kind of account: ask the server's owner.": (2059,),
    "That user needs a privilege on the database: ask the server's owner.": (1044, 1130, 1142),
    "Run python3 seed.py first.": (1049, 1146),
    "That server takes no writes: set MYSQL_HOST and MYSQL_PORT to one that does.": (
        *(1015, 1036, 1290, 1792, 3989),
    ),
    "Try again later, or ask the server's owner for more connections.": (1040, 1203, 1226),
    "Ask the server's owner for more time (max_execution_time, max_statement_time).": (1969, 3024),
    "Ask the server's owner for a max_allowed_packet of 1M or more.": (1153,),
    "A column of user_data cannot hold that value: rename the table, and run it again.": (
        *(1264, 1366, 1406),
    ),
    "Another transaction was in the way: run it again.": (1020, 1213, 3101),
    "If this is about a size, import the file in parts, as the README says; else run it again.": (
        *(1105, 1180, 1197),
    ),
    "The group has lost its majority, or the import is larger than its "
    "group_replication_transaction_size_limit: import the file in parts, as the README says.": (
        3100,
    ),
    "That server is outside its cluster: try another one (MYSQL_HOST, MYSQL_PORT), or later.": (
        1047,
    ),
    "Another transaction holds those rows: run it again when that has ended "
    "(SELECT * FROM information_schema.innodb_trx shows whose it is).": (1205,),
    LOST: (1053, 1158, 1159, 1317, 1927, 2006, 2013, 2055, 4031),
}


def run(main: Callable[[], None]) -> None:
    """Run a script's main(); turn an error that is not a bug into one line on stderr and status 1.

    A reader of the output that goes away (`| head`) ends the script quietly with status 0. Ctrl-C
    ends it at once.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed, as by `>&-`
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # By the signal, as it ends other commands: KeyboardInterrupt would wait for the C extension
        # to come back from the network. The server rolls an import back.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        try:
            main()
        finally:
            sys.stdout.flush()  # what was read before an error is printed before its line
        return
    except BrokenPipeError:
        message = None
    except mysql.connector.Error as error:
        hint = next((hint for hint, numbers in HINTS.items() if error.errno in numbers), "")
        message = f"{error.msg} (error {error.errno}{whereabouts()}). {hint}"
    except OSError as error:
        name = "output" if error.filename is None else error.filename or "''"
        message = f"{name}: {error.strerror}"
    except UnicodeEncodeError as error:
        character = ascii(error.object[error.start])
        message = f"the output is in {error.encoding}, which has no {character}: "
        message += "export PYTHONIOENCODING=utf-8"
    except ValueError as error:
        message = str(error)
    # Where stdout cannot be written, Python would try once more at exit, and complain.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(message and f"{Path(sys.argv[0]).name}: {' '.join(message.split())}")


def whereabouts() -> str:
    """Return who logs in and where, as an error message says it."""
    with suppress(OSError, ValueError):  # the option file may have changed
        settings = connection_settings()
        return f", as {settings['user']} at {server_name(settings)}"
    return ""


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
    chosen: int = parser.parse_args().size
    return chosen


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
        ((version,),) = query(connection, "SELECT VERSION()")
        print(f"Server {version} at {server_name(connection_settings())}")
        print(f"Database {DATABASE} is present")
        # Not by another connection: behind a router, that one may lead to another server.
        connection.database = DATABASE
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
