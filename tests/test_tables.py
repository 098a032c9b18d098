"""Tables that were there before: users arrive whole, or the table is refused in one line."""

from __future__ import annotations

import importlib
import re

import mysql.connector
import pytest

import seed
from helpers import SCRIPTS, csv_text, refused, run

stream_users = importlib.import_module("0-stream_users").stream_users
lazy_pagination = importlib.import_module("2-lazy_paginate").lazy_pagination

USER_ID = "user_id VARCHAR(36) PRIMARY KEY"
NO_KEY = "user_id VARCHAR(36) NOT NULL"
NAME = "name VARCHAR(255) NOT NULL"
EMAIL = "email VARCHAR(255) NOT NULL"
AGE = "age DECIMAL(3,0) NOT NULL"


@pytest.fixture
def table(empty):
    """A function that makes another user_data, and tells whether the server has such a table."""

    def table(*columns: str, options: str = "CHARSET=utf8mb4") -> bool:
        empty.cmd_query("DROP TABLE IF EXISTS user_data")
        try:
            empty.cmd_query(f"CREATE TABLE user_data ({', '.join(columns)}) {options}")
        except mysql.connector.Error:
            assert "UUID" in columns[0] or "VERSIONING" in options  # which MySQL does not know
            return False
        return True

    return table


def described(query) -> str:
    """Return how the table is made."""
    return re.sub(r"AUTO_INCREMENT=\d+ ", "", query("SHOW CREATE TABLE user_data")[0][1])


def test_the_database_is_in_utf8mb4(empty, query):
    charset = "SELECT default_character_set_name FROM information_schema.schemata "
    assert query(f"{charset} WHERE schema_name = DATABASE()") == [("utf8mb4",)]


# What would go wrong in silence: refused before anything is sent.
UNFIT = {
    "another engine than InnoDB": ([USER_ID, NAME, EMAIL, AGE], "ENGINE=MyISAM"),
    "system versioning": ([USER_ID, NAME, EMAIL, AGE], "WITH SYSTEM VERSIONING"),
    "no unique key on user_id alone": ([NO_KEY, NAME, EMAIL, AGE], ""),
    "no unique key on user_id alone, ": ([NO_KEY, NAME, EMAIL, AGE, "KEY (user_id)"], ""),
    "no unique key on user_id alone, another unique key": (
        [NO_KEY, NAME, EMAIL, AGE, "PRIMARY KEY (user_id, name(9))"],
        "",
    ),
    "no unique key on user_id alone, another": (
        [NO_KEY, NAME, EMAIL, AGE, "UNIQUE (user_id(35))"],
        "",
    ),
    "another unique key": ([USER_ID, NAME, f"{EMAIL} UNIQUE", AGE], ""),
    "another unique key ": ([USER_ID, NAME, EMAIL, AGE, "UNIQUE (name(9), age)"], ""),
    "another unique key,": ([USER_ID, NAME, EMAIL, AGE, "UNIQUE KEY `a``b` (email)"], ""),
    "another unique key ,": (
        [USER_ID, NAME, f"{EMAIL} UNIQUE COMMENT 'as auto_increment'", AGE],
        "",
    ),
    "another unique key, ": ([USER_ID, NAME, EMAIL, "age INT AUTO_INCREMENT UNIQUE"], ""),
    "another engine than InnoDB ": (
        [USER_ID, NAME, EMAIL, AGE],
        "ENGINE=MyISAM COMMENT='was\n) ENGINE=InnoDB'",
    ),
    **{
        f"a column of another kind{' ' * number}": (columns, "")
        for number, columns in enumerate(
            [USER_ID, NAME, EMAIL, f"age {kind}"]
            for kind in ("DECIMAL(10,2)", "YEAR", "ENUM('67')", "BIT(64)", "DATE")
        )
    },
    "a column of another kind,": (["user_id BINARY(40) PRIMARY KEY", NAME, EMAIL, AGE], ""),
    "a column of another kind ,": ([USER_ID, "name ENUM('x')", EMAIL, AGE], ""),
}
# What a strict server refuses, with the number of its error.
REFUSED = {
    1054: [[USER_ID, NAME, EMAIL]],
    1364: [[USER_ID, NAME, EMAIL, AGE, "phone VARCHAR(9) NOT NULL"]],
    1406: [
        ["user_id VARCHAR(35) PRIMARY KEY", NAME, EMAIL, AGE],
        [USER_ID, "name VARCHAR(10) NOT NULL", EMAIL, AGE],
    ],
    1264: [[USER_ID, NAME, EMAIL, "age DECIMAL(2,0) NOT NULL"]],
    1366: [
        [USER_ID, "name VARCHAR(255) CHARACTER SET latin1 NOT NULL", EMAIL, AGE],
    ],
}


def test_a_table_that_would_lose_users_is_refused_and_not_changed(table, query, csv_file):
    for expected, (columns, options) in UNFIT.items():
        if not table(*columns, options=options or "CHARSET=utf8mb4"):
            continue
        before = described(query)
        done = run("seed.py")
        assert "created" not in done.output
        line = refused(done)
        assert line.startswith(f"user_data in ALX_prodev has {expected.strip(' ,')}"), line
        assert line.endswith(": rename it, and run seed.py again")
        assert (described(query), query("SELECT COUNT(*) FROM user_data")) == (before, [(0,)])


@pytest.mark.parametrize("event", ["BEFORE INSERT", "AFTER UPDATE", "BEFORE DELETE"])
def test_a_table_with_a_trigger_is_refused(seeded, event):
    seeded.cmd_query(f"CREATE TRIGGER t {event} ON user_data FOR EACH ROW SET @fired = 1")
    done = run("seed.py")
    if event == "BEFORE DELETE":
        assert done.output.endswith("\n0 users inserted, 1000 already there\n")
    else:
        assert "user_data in ALX_prodev has a trigger: " in refused(done)


def test_a_view_is_refused(empty):
    empty.cmd_query("RENAME TABLE user_data TO users")
    empty.cmd_query("CREATE VIEW user_data AS SELECT * FROM users")
    assert "user_data in ALX_prodev has another engine than InnoDB" in refused(run("seed.py"))


def test_what_a_strict_server_refuses_inserts_nothing(own_server):
    # On a server that is not strict itself.
    own_server.rows("SET GLOBAL sql_mode = 'NO_BACKSLASH_ESCAPES'")
    own_server.rows("CREATE DATABASE ALX_prodev")
    for number, tables in REFUSED.items():
        for columns in tables:
            columns = [*columns, *[each for each in (NAME, EMAIL, AGE) if len(columns) == 2]]
            own_server.rows("DROP TABLE IF EXISTS user_data", "ALX_prodev")
            definition = ", ".join(dict.fromkeys(columns))
            own_server.rows(f"CREATE TABLE user_data ({definition}) CHARSET=utf8mb4", "ALX_prodev")
            line = refused(run("seed.py"))
            assert re.search(r"\(error (\d+)\)", line)[1] in {
                str(number),
                "1264",
                "1265",
                "1366",
            }, line
            assert line.endswith("Has seed.py made the table user_data? Else rename it.")
            assert own_server.rows("SELECT COUNT(*) FROM user_data", "ALX_prodev") == [(0,)]


FIT = [
    ["user_id CHAR(36) PRIMARY KEY", NAME, EMAIL, "age DECIMAL(10,0) NOT NULL"],
    ["user_id VARCHAR(100) NOT NULL UNIQUE", NAME, EMAIL, "age INT NOT NULL"],
    ["user_id VARCHAR(36) UNIQUE", "name TEXT", "email TEXT", "age VARCHAR(3)"],
    ["user_id UUID PRIMARY KEY", NAME, EMAIL, "age BIGINT NOT NULL"],
    ["user_id CHAR(36) CHARACTER SET ascii PRIMARY KEY", NAME, EMAIL, "age FLOAT NOT NULL"],
    [AGE, "Email TEXT NOT NULL", NAME, "User_ID VARCHAR(36) COLLATE utf8mb4_bin PRIMARY KEY"],
    [USER_ID, "name TINYTEXT NOT NULL", EMAIL, "age INT(5) ZEROFILL NOT NULL"],
    [
        *("id INT AUTO_INCREMENT PRIMARY KEY", "user_id VARCHAR(36) NOT NULL UNIQUE", NAME, EMAIL),
        *(AGE, "phone VARCHAR(20)", "made TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP"),
        *("role VARCHAR(9) NOT NULL DEFAULT ''", "next_age INT AS (age + 1) STORED", "KEY (email)"),
    ],
    [USER_ID, NAME, EMAIL, AGE, "CHECK (age < 1000)", "KEY name_and_age (name(9), age)"],
]


@pytest.mark.parametrize("columns", FIT, ids=lambda columns: columns[0])
def test_a_table_that_fits_is_used(table, query, columns):
    if not table(*columns):
        pytest.skip("MySQL has no type UUID")
    before = described(query)
    for counts in ("1000 users inserted, 0 already there", "0 users inserted, 1000 already there"):
        done = run("seed.py")
        assert (done.status, done.errors) == (0, "")
        assert done.output.endswith(f"Table user_data created successfully\n{counts}\n")
    assert described(query) == before
    users = sorted(stream_users(), key=lambda user: user["user_id"])
    first = ("00234e50-34eb-4ce2-94ec-26e3fa749796", "Dan Altenwerth Jr.", "Molly59@gmail.com", 67)
    assert tuple(users[0].values()) == first
    assert run("2-lazy_paginate.py").output.count("\n") == len(users) == 1000
    assert run("4-stream_ages.py").output == "Average age of users: 59.54\n"


MODES = ["", "NO_BACKSLASH_ESCAPES,ANSI_QUOTES,PAD_CHAR_TO_FULL_LENGTH"]
MODES += ["ORACLE", "EMPTY_STRING_IS_NULL"]  # MariaDB's


def test_values_arrive_as_they_are_whatever_the_servers_mode(own_server, csv_file):
    names = ["'", "\\", "\\'", '"', "%s", "a\nb", "`", "?", "😀", "x'61'"]
    rows = [(name, f"{number}@{name}", 1) for number, name in enumerate(names)]
    file = csv_file(csv_text(rows, ("name", "email", "age")))
    own_server.rows("CREATE DATABASE ALX_prodev")
    for mode in MODES:
        try:
            own_server.rows(f"SET GLOBAL sql_mode = '{mode}'")
        except mysql.connector.Error:
            assert mode in MODES[2:]
            continue
        own_server.rows("DROP TABLE IF EXISTS user_data", "ALX_prodev")
        if "PAD" in mode:
            columns = ["user_id CHAR(40) PRIMARY KEY", "name CHAR(9) NOT NULL", EMAIL, AGE]
            own_server.rows(
                f"CREATE TABLE user_data ({', '.join(columns)}) CHARSET=utf8mb4", "ALX_prodev"
            )
        for _ in range(2):  # the table that it has made is its own the second time
            assert run("seed.py", file).errors == ""
        read = {(user["name"], user["email"], user["age"]) for user in stream_users()}
        assert read == set(rows)
        assert {len(user["user_id"]) for page in lazy_pagination(3) for user in page} == {36}


# Rows that are no users, in tables that another program made
STRANGE = {
    "age INT": ("name", None),
    "age INT NULL": ("age", None),
    "age DECIMAL(10,2)": ("age", "67"),
    "age VARCHAR(9)": ("age", "old"),
    "age INT, user_id BINARY(2)": ("user_id", b"\xff\xff"),
}


@pytest.mark.parametrize("definition", STRANGE)
def test_a_row_that_is_no_user_is_one_line(empty, definition):
    column, value = STRANGE[definition]
    row = {"user_id": "1", "name": "Ann", "email": "a@b", "age": 67, column: value}
    columns = [f"{name} VARCHAR(36)" for name in row if f"{name} " not in definition]
    with empty.cursor() as cursor:
        cursor.execute("DROP TABLE user_data")
        cursor.execute(f"CREATE TABLE user_data ({', '.join([*columns, definition])})")
        names = ", ".join(row)
        cursor.execute(f"INSERT INTO user_data ({names}) VALUES (%s, %s, %s, %s)", [*row.values()])
    for script in SCRIPTS if column == "age" else SCRIPTS[:3]:
        done = run(script)
        assert done.output == ""
        assert refused(done).startswith("user_data has a row that is no user: ")


def test_only_a_duplicate_is_passed_over(empty, monkeypatch, query):
    # What the reader would refuse, the server refuses too: nothing is cut or set to a default.
    for values in [("n" * 256, "a@b", "1"), ("Ann", "a@b", "1000"), ("Ann", "a@b", "x")]:
        monkeypatch.setattr(seed, "read_users", lambda _, user=("id", *values): iter([user]))
        with pytest.raises(mysql.connector.Error):
            seed.insert_data(empty, seed.CSV_FILE)
    assert query("SELECT * FROM user_data") == []
