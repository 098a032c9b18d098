"""Tables that were there before, and servers that bend values: whole, or refused."""

from __future__ import annotations

import csv
import re

import mysql.connector
import pytest
from test_streams import lazy_pagination, stream_users

USER_ID = "user_id VARCHAR(36) PRIMARY KEY"
NAME = "name VARCHAR(255) NOT NULL"
EMAIL = "email VARCHAR(255) NOT NULL"
AGE = "age DECIMAL(3,0) NOT NULL"
KEY = "there is no unique key on user_id alone"


@pytest.fixture
def table(connection):
    """A function that makes another user_data, and tells whether the server has such a type."""

    def table(*columns: str, options: str = "CHARSET=utf8mb4") -> bool:
        connection.cmd_query("DROP TABLE IF EXISTS user_data")
        try:
            connection.cmd_query(f"CREATE TABLE user_data ({', '.join(columns)}) {options}")
        except mysql.connector.Error:
            assert "user_id UUID PRIMARY KEY" in columns  # which MySQL and MariaDB 10.5 do not know
            return False
        return True

    yield table
    connection.cmd_query("DROP TABLE IF EXISTS user_data")


def described(query) -> str:
    """Return how the table is made."""
    return re.sub(r"AUTO_INCREMENT=\d+ ", "", query("SHOW CREATE TABLE user_data")[0][1])


def prepare(server, mode: str, *columns: str) -> None:
    """Give a server a mode for all sessions, and a user_data with its first two columns as told."""
    with server.connect() as connection:
        connection.cmd_query(f"SET GLOBAL sql_mode = '{mode}'")
        connection.cmd_query("CREATE DATABASE ALX_prodev")
        definition = ", ".join([*columns, EMAIL, AGE])
        connection.cmd_query(f"CREATE TABLE ALX_prodev.user_data ({definition}) CHARSET=utf8mb4")


UNFIT = [
    ([USER_ID, NAME, EMAIL, AGE], "ENGINE=MyISAM CHARSET=utf8mb4", "ENGINE is MyISAM, not InnoDB"),
    (["user_id VARCHAR(36) NOT NULL", NAME, EMAIL, AGE], "", KEY),
    (["user_id VARCHAR(36) NOT NULL", NAME, EMAIL, AGE, "KEY (user_id)"], "", KEY),
    (["user_id VARCHAR(36) NOT NULL", NAME, EMAIL, AGE, "PRIMARY KEY (user_id, name(9))"], "", KEY),
    (["user_id VARCHAR(36) NOT NULL", NAME, EMAIL, AGE, "UNIQUE (user_id(35))"], "", KEY),
    (
        [USER_ID, NAME, f"{EMAIL} UNIQUE", AGE],
        "",
        "there is a unique key on email",
    ),
    ([USER_ID, NAME, EMAIL, AGE, "UNIQUE (name(9), age)"], "", "unique key on name(9),age"),
    ([USER_ID, NAME, EMAIL], "", "age is missing, not DECIMAL(3,0) NOT NULL"),
    ([USER_ID, NAME, EMAIL, AGE, "phone VARCHAR(9) NOT NULL"], "", "phone needs a value"),
    (["user_id INT PRIMARY KEY", NAME, EMAIL, AGE], "", "user_id is int"),
    (["user_id BINARY(16) PRIMARY KEY", NAME, EMAIL, AGE], "", "user_id is binary(16) NOT NULL, "),
    (["user_id VARCHAR(35) PRIMARY KEY", NAME, EMAIL, AGE], "", "user_id is varchar(35) utf8mb4 "),
    (["user_id CHAR(32) PRIMARY KEY", NAME, EMAIL, AGE], "", "user_id is char(32) utf8mb4 NOT"),
    (["user_id VARCHAR(36) UNIQUE", NAME, EMAIL, AGE], "", "user_id is varchar(36) utf8mb4 NULL"),
    ([USER_ID, "name VARCHAR(255)", EMAIL, AGE], "", "name is varchar(255) utf8mb4 NULL"),
    ([USER_ID, NAME, "email VARCHAR(255)", AGE], "", "email is varchar(255) utf8mb4 NULL"),
    ([USER_ID, NAME, EMAIL, "age DECIMAL(3,0)"], "", "age is decimal(3,0) NULL"),
    (
        [USER_ID, NAME, EMAIL, "age DECIMAL(10,2) NOT NULL"],
        "",
        "age is decimal(10,2) NOT NULL, not ",
    ),
    ([USER_ID, NAME, EMAIL, "age DECIMAL(2,0) NOT NULL"], "", "age is decimal(2,0) NOT NULL, not "),
    ([USER_ID, NAME, EMAIL, "age TINYINT UNSIGNED NOT NULL"], "", "age is tinyint"),
    ([USER_ID, NAME, EMAIL, "age FLOAT NOT NULL"], "", "age is float NOT NULL, not DECIMAL(3,0)"),
    ([USER_ID, NAME, EMAIL, "age VARCHAR(3) NOT NULL"], "", "age is varchar(3) utf8mb4 NOT NULL"),
    ([USER_ID, "name VARBINARY(255) NOT NULL", EMAIL, AGE], "", "name is varbinary(255) NOT NULL"),
    (
        [USER_ID, "name VARCHAR(255) CHARACTER SET latin1 NOT NULL", EMAIL, AGE],
        "",
        "name is varchar(255) latin1 NOT NULL, not text in utf8mb4, NOT NULL",
    ),
    (
        [USER_ID, NAME, "email VARCHAR(255) CHARACTER SET utf8mb3 NOT NULL", AGE],
        "",
        "NOT NULL, not text in utf8mb4, NOT NULL",
    ),
]


@pytest.mark.parametrize(
    ("columns", "options", "expected"), UNFIT, ids=lambda value: str(value)[-40:]
)
def test_a_table_that_does_not_fit_is_refused_and_not_changed(
    table, run, query, columns, options, expected
):
    assert table(*columns, options=options or "CHARSET=utf8mb4")
    before = described(query)
    done = run("seed.py")
    assert done.returncode == 1
    assert "created" not in done.stdout
    assert done.stderr.startswith("seed.py: table user_data in ALX_prodev")
    assert expected in done.stderr
    assert done.stderr.endswith(": rename or drop it, and run python3 seed.py again\n")
    assert done.stderr.count("\n") == 1
    assert described(query) == before
    assert query("SELECT COUNT(*) FROM user_data") == [(0,)]


FIT = [
    [USER_ID, NAME, EMAIL, AGE],
    ["user_id CHAR(36) PRIMARY KEY", NAME, EMAIL, "age DECIMAL(10,0) NOT NULL"],
    ["user_id VARCHAR(64) NOT NULL UNIQUE", NAME, EMAIL, "age INT NOT NULL"],
    ["user_id UUID PRIMARY KEY", NAME, EMAIL, "age BIGINT NOT NULL"],
    ["user_id CHAR(36) CHARACTER SET ascii PRIMARY KEY", NAME, EMAIL, "age SMALLINT NOT NULL"],
    [AGE, "Email TEXT NOT NULL", NAME, "User_ID VARCHAR(36) COLLATE utf8mb4_bin PRIMARY KEY"],
    [
        USER_ID,
        "name TINYTEXT COLLATE utf8mb4_general_ci NOT NULL",
        EMAIL,
        "age INT(5) ZEROFILL NOT NULL",
    ],
    [
        *(
            "id INT AUTO_INCREMENT PRIMARY KEY",
            "user_id VARCHAR(36) NOT NULL UNIQUE",
            NAME,
            EMAIL,
            AGE,
        ),
        *("phone VARCHAR(20)", "made TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP"),
        *("role VARCHAR(9) NOT NULL DEFAULT ''", "next_age INT AS (age + 1) STORED", "KEY (email)"),
    ],
    [
        *("engine VARCHAR(9) NOT NULL DEFAULT 'x'", USER_ID, NAME, EMAIL, AGE),
        *("CHECK (age < 1000)", "KEY name_and_age (name(9), age)"),
    ],
]


@pytest.mark.parametrize("columns", FIT, ids=lambda value: str(value)[-40:])
def test_a_table_that_fits_is_used(table, run, query, columns):
    if not table(*columns):
        pytest.skip("MySQL has no type UUID")
    before = described(query)
    for counts in ("1000 users inserted, 0 already there", "0 users inserted, 1000 already there"):
        done = run("seed.py")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.endswith(f"Table user_data created successfully\n{counts}\n")
    assert described(query) == before
    users = sorted(stream_users(), key=lambda user: user["user_id"])
    assert users[0] == {
        "user_id": "00234e50-34eb-4ce2-94ec-26e3fa749796",
        "name": "Dan Altenwerth Jr.",
        "email": "Molly59@gmail.com",
        "age": 67,
    }
    assert run("2-lazy_paginate.py").stdout.count("\n") == len(users) == 1000
    assert run("4-stream_ages.py").stdout.startswith("Average age of users: ")


NAMES = [
    "'",
    "\\",
    "\\'",
    "''",
    '"',
    "%s",
    "{}",
    "%",
    "a;b",
    "-- a",
    "/*a*/",
    "a\nb",
    "`",
    "?",
    "😀",
    "x'61'",
]


@pytest.mark.parametrize("mode", ["", "NO_BACKSLASH_ESCAPES,ANSI_QUOTES,PAD_CHAR_TO_FULL_LENGTH"])
def test_values_arrive_as_they_are(own_server, run, tmp_path, mode):
    prepare(own_server, mode, "user_id CHAR(40) PRIMARY KEY", "name CHAR(9) NOT NULL")
    file = tmp_path / "users.csv"
    with open(file, "w", encoding="utf-8", newline="") as text:
        rows = [(name, f"{number}@{name}", 1) for number, name in enumerate(NAMES)]
        csv.writer(text).writerows([("name", "email", "age"), *rows])
    assert run("seed.py", file).stderr == ""
    read = {(user["name"], user["email"], user["age"]) for user in stream_users()}
    assert read == set(rows)
    assert {len(user["user_id"]) for page in lazy_pagination(3) for user in page} == {36}


def test_a_view_is_refused(connection, run):
    connection.cmd_query("RENAME TABLE user_data TO users")
    connection.cmd_query("CREATE VIEW user_data AS SELECT * FROM users")
    try:
        done = run("seed.py")
    finally:
        connection.cmd_query("DROP VIEW user_data")
    assert "ENGINE is VIEW, not InnoDB" in done.stderr


def test_one_query_looks_at_a_table(connection, seed, capsys):
    asked = []
    execute = connection.cmd_query

    def cmd_query(statement, *args, **kwargs):
        asked.append(statement)
        return execute(statement, *args, **kwargs)

    connection.cmd_query = cmd_query
    seed.create_table(connection)
    assert len(asked) == 1


SMALL = {
    "name VARCHAR(10) NOT NULL": (1406, "Data too long for column 'name'"),
    "name VARCHAR(255) NOT NULL CHECK (name <> 'Dan Altenwerth Jr.')": (None, "user_data"),
}


@pytest.mark.parametrize("definition", SMALL)
def test_nothing_is_cut_on_a_server_that_is_not_strict(own_server, run, query, definition):
    number, expected = SMALL[definition]
    prepare(own_server, "NO_BACKSLASH_ESCAPES", USER_ID, definition)
    done = run("seed.py")
    assert done.returncode == 1
    assert expected in done.stderr
    if number:
        assert f"(error {number}, as root at 127.0.0.1:{own_server.port}). A column" in done.stderr
    assert query("SELECT COUNT(*) FROM user_data") == [(0,)]


def test_pages_of_a_table_with_an_id_twice_lose_nobody_in_silence(table, query, connection):
    table("user_id VARCHAR(36) NOT NULL", NAME, EMAIL, AGE)
    with connection.cursor() as cursor:
        rows = [(str(number // 2), "Ann", "a@b", number) for number in range(20)]
        cursor.executemany("INSERT INTO user_data VALUES (%s, %s, %s, %s)", rows)
    assert sum(len(page) for page in lazy_pagination(4)) == 20  # no page ends within an id
    with pytest.raises(ValueError, match="two users have the user_id '1'"):
        list(lazy_pagination(3))
