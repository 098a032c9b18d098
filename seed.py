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
import sys
import uuid
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Callable, Iterator, NamedTuple, Tuple

import mysql.connector
from mysql.connector import errorcode
from mysql.connector.abstracts import MySQLConnectionAbstract, MySQLCursorAbstract
from mysql.connector.optionfiles import read_option_files

DATABASE = "ALX_prodev"
CSV_FILE = Path(__file__).resolve().parent / "user_data.csv"
# Rows in one INSERT: as fast as larger ones, and some 150 KB of SQL, far below any server's limit.
BATCH_SIZE = 1000

UserRow = Tuple[str, str, str, int]  # user_id, name, email, age

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


# The age as an int: as the DECIMAL that it is stored as, it would arrive as a decimal.Decimal.
SELECT_USERS = "SELECT user_id, name, email, CAST(age AS SIGNED) AS age FROM user_data"


class ImportCount(NamedTuple):
    """How many users an import found in its file: new ones, and ones that were there already."""

    inserted: int
    already_there: int


def connection_settings() -> dict[str, Any]:
    """Return the arguments for mysql.connector.connect(): host, port, user, password and the rest.

    The MYSQL_* variables come first (an empty one counts as not set), then the [client] group of
    ~/.my.cnf, which may also hold TLS settings, then the defaults.
    Raises ValueError if a port is not a number or the option file cannot be read.
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
    if names_server:
        settings.pop("unix_socket", None)  # the socket of another server than the one named
    settings = {"host": "localhost", "port": 3306, "user": "root", "password": "", **settings}
    if not str(settings["port"]).isdecimal():
        raise ValueError(f"MYSQL_PORT {settings['port']!r} is not a port number")
    return {**settings, "port": int(settings["port"]), "autocommit": True}


def connect_db() -> MySQLConnectionAbstract:
    """Return a new connection to the MySQL server, with no database chosen.

    The connection commits each statement by itself, so that reading leaves no transaction open.
    Raises mysql.connector.Error if the server cannot be reached or refuses the login, and
    ValueError for settings that make no sense.
    """
    return mysql.connector.connect(**connection_settings())


def connect_to_prodev() -> MySQLConnectionAbstract:
    """Return a new connection to the database ALX_prodev; see connect_db()."""
    return mysql.connector.connect(**{**connection_settings(), "database": DATABASE})


def create_database(connection: MySQLConnectionAbstract) -> None:
    """Create the database ALX_prodev if it does not exist.

    Raises mysql.connector.Error if the user may not.
    """
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE IF NOT EXISTS {DATABASE} CHARACTER SET utf8mb4")


def create_table(connection: MySQLConnectionAbstract) -> None:
    """Create the table user_data if it does not exist, and say so on stdout.

    Raises mysql.connector.Error if the user may not.
    """
    with connection.cursor() as cursor:
        cursor.execute(CREATE_TABLE)
    print("Table user_data created successfully")


def read_users(csv_file: str | os.PathLike[str]) -> Iterator[UserRow]:
    """Yield each user of a CSV file as a tuple (user_id, name, email, age), one row in memory.

    The header names the columns, in any order: name, email and age, and perhaps user_id. A user
    without an id gets one made from the email, the same at every reading (RFC 4122, version 5).
    Raises OSError if the file cannot be read and ValueError, with file and line, for a bad row.
    """
    # utf-8-sig passes over a byte order mark; newline="" leaves line ends to the csv module.
    with open(csv_file, encoding="utf-8-sig", newline="") as lines:
        rows = csv.DictReader(lines, strict=True)
        missing = {"name", "email", "age"}.difference(rows.fieldnames or ())
        if missing:
            raise ValueError(f"{csv_file}:1: the header lacks {', '.join(sorted(missing))}")
        for row in rows:
            user_id = row.get("user_id") or str(
                uuid.uuid5(uuid.NAMESPACE_URL, f"mailto:{row['email']}")
            )
            try:
                yield user_id, row["name"], row["email"], int(row["age"])
            except (TypeError, ValueError):
                raise ValueError(
                    f"{csv_file}:{rows.line_num}: age {row['age']!r} is not a whole number"
                ) from None


def insert_data(
    connection: MySQLConnectionAbstract, csv_file: str | os.PathLike[str]
) -> ImportCount:
    """Import the users of a CSV file into user_data, all of them or none, and count them.

    A user who is there already is left unchanged. The file is read row by row and sent in batches
    of BATCH_SIZE rows, one INSERT each, in one transaction; one batch is held in memory.
    What the caller left uncommitted on the connection is committed first.
    Raises mysql.connector.Error from the server, and what read_users() raises; then the
    transaction is rolled back.
    """
    connection.commit()
    connection.start_transaction()
    rows_read = inserted = 0
    try:
        with connection.cursor() as cursor:
            users = read_users(csv_file)
            for batch in iter(lambda: list(islice(users, BATCH_SIZE)), []):
                cursor.executemany(INSERT_USER, batch)
                rows_read += len(batch)
                inserted += cursor.rowcount  # a duplicate counts as 0
        connection.commit()
    except BaseException:
        connection.rollback()
        raise
    return ImportCount(inserted, rows_read - inserted)


@contextmanager
def open_stream(dictionary: bool = True) -> Iterator[MySQLCursorAbstract]:
    """Open a connection to ALX_prodev for one streamed query, and close it at the end of the block.

    Gives an unbuffered cursor: the rows wait at the server until they are fetched, as dictionaries
    or, with dictionary=False, as tuples. Raises mysql.connector.Error.
    """
    connection = connect_to_prodev()
    try:
        yield connection.cursor(dictionary=dictionary)
    finally:
        connection.close()


# What to do about the errors that a user can mend, by the server's error number.
HINTS = {
    errorcode.CR_CONNECTION_ERROR: "Is a server running there? The README says how to start one.",
    errorcode.CR_CONN_HOST_ERROR: "Is a server running there? The README says how to start one.",
    errorcode.CR_UNKNOWN_HOST: "Check MYSQL_HOST.",
    errorcode.ER_ACCESS_DENIED_ERROR: "Check MYSQL_USER and MYSQL_PASSWORD.",
    errorcode.ER_BAD_DB_ERROR: "Run python3 seed.py first.",
    errorcode.ER_NO_SUCH_TABLE: "Run python3 seed.py first.",
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
    except (OSError, ValueError) as error:
        message = str(error)
    # Where stdout cannot be written, Python would try once more at exit, and complain.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(message and f"{Path(sys.argv[0]).name}: {' '.join(message.split())}")


def size_argument(description: str, name: str, default: int, help: str) -> int:
    """Return a script's one optional argument, a whole number, from the command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "size", metavar=name, nargs="?", type=int, default=default, help=f"{help} ({default})"
    )
    return parser.parse_args().size


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
        count = insert_data(connection, csv_file)
    print(f"{count.inserted} users inserted, {count.already_there} already there")


if __name__ == "__main__":
    run(main)
