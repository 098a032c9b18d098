"""Tables that were there before: users arrive whole, or the table is refused in one line."""

import re

import mysql.connector
import pytest

import helpers
import seed
from helpers import COUNT, FAMILY, SCRIPTS, counts, csv_text, pages, query, refused, run, stream
from made_users import FIRST_USERS


def alter(connection, change: str) -> None:
    """Make the table another one; skip the test where MySQL has no such thing."""
    try:
        connection.cmd_query(f"ALTER TABLE user_data {change}")
    except mysql.connector.Error:
        if "UUID" in change or "VERSIONING" in change:
            pytest.skip(f"MySQL has no {change}")
        raise


def described() -> str:
    """Return how the table is made."""
    return re.sub(r"AUTO_INCREMENT=\d+ ", "", query("SHOW CREATE TABLE user_data")[0][1])


# What would go wrong in silence: refused before anything is sent.
ENGINE, VERSIONING = "another engine than InnoDB", "system versioning"
NO_KEY, OTHER_KEY = "no unique key on user_id alone", "another unique key"
UNFIT = {
    "ENGINE=MyISAM": ENGINE,
    "ENGINE=MyISAM, COMMENT='was\n) ENGINE=InnoDB'": ENGINE,
    "ADD SYSTEM VERSIONING": VERSIONING,
    "DROP PRIMARY KEY": NO_KEY,  # another index on it is left
    "DROP PRIMARY KEY, ADD PRIMARY KEY (user_id, name(9))": f"{NO_KEY}, {OTHER_KEY}",
    "DROP PRIMARY KEY, ADD UNIQUE (user_id(35))": f"{NO_KEY}, {OTHER_KEY}",
    "ADD UNIQUE (email)": OTHER_KEY,
    "ADD UNIQUE (name(9), age)": OTHER_KEY,
    "ADD UNIQUE KEY `a``b` (email)": OTHER_KEY,
    "MODIFY email VARCHAR(99) UNIQUE COMMENT 'as auto_increment'": OTHER_KEY,
    "MODIFY age INT AUTO_INCREMENT UNIQUE": OTHER_KEY,
    "ENGINE=MyISAM, ADD UNIQUE (age)": f"{ENGINE}, {OTHER_KEY}",
}
KINDS = ["age DECIMAL(10,2)", "age YEAR", "age ENUM('67')", "age BIT(64)", "age DATE"]
KINDS += ["user_id BINARY(40)", "name ENUM('x')"]
UNFIT |= {f"MODIFY {kind}": "a column of another kind" for kind in KINDS}


@pytest.mark.parametrize("change", UNFIT)
def test_a_table_that_would_lose_users_is_refused_and_not_changed(empty, change):
    alter(empty, change)
    before = described()
    done = run("seed.py")
    fault = f"user_data in {seed.DATABASE} has {UNFIT[change]}"
    assert refused(done) == f"{fault}: rename it, and run seed.py again"
    assert "created" not in done.output
    assert (described(), query(COUNT)) == (before, [(0, 0)])


@pytest.mark.parametrize("event", ["BEFORE INSERT", "AFTER UPDATE", "BEFORE DELETE"])
def test_a_table_with_a_trigger_is_refused(seeded, event):
    seeded.cmd_query(f"CREATE TRIGGER t {event} ON user_data FOR EACH ROW SET @fired = 1")
    if event == "BEFORE DELETE":
        assert counts(run("seed.py")) == (0, 1000)
    else:
        assert f"user_data in {seed.DATABASE} has a trigger: " in refused(run("seed.py"))


def test_a_view_is_refused(empty):
    alter(empty, "RENAME users")
    empty.cmd_query("CREATE VIEW user_data AS SELECT * FROM users")
    assert f"user_data in {seed.DATABASE} has {ENGINE}" in refused(run("seed.py"))


# What a strict server refuses, with the number of its error
REFUSED = {
    "DROP age": 1054,
    "ADD phone VARCHAR(9) NOT NULL": 1364,
    "MODIFY user_id VARCHAR(35)": 1406,
    "MODIFY name VARCHAR(10) NOT NULL": 1406,
    "MODIFY age DECIMAL(2,0) NOT NULL": 1264,
    "MODIFY name VARCHAR(255) CHARACTER SET latin1 NOT NULL": 1366,
}


@pytest.mark.parametrize("change", REFUSED)
def test_what_a_strict_server_refuses_inserts_nothing(empty, with_global, change):
    with_global("sql_mode", "NO_BACKSLASH_ESCAPES")  # the server itself is not strict
    alter(empty, change)
    line = refused(run("seed.py"))
    hint = "Has seed.py made the table user_data? Else rename it."
    assert line.endswith(f"(error {REFUSED[change]}). {hint}")
    assert query(COUNT) == [(0, 0)]


FIT = [
    "MODIFY user_id CHAR(36), MODIFY age DECIMAL(10,0)",
    "DROP PRIMARY KEY, MODIFY user_id VARCHAR(100) UNIQUE, MODIFY age INT",
    "MODIFY name TEXT, MODIFY email TEXT, MODIFY age VARCHAR(3)",
    "MODIFY user_id UUID, MODIFY age BIGINT",
    "MODIFY user_id CHAR(36) CHARACTER SET ascii, MODIFY age FLOAT",
    "CHANGE user_id User_ID VARCHAR(36) COLLATE utf8mb4_bin AFTER age, CHANGE email Email TEXT",
    "MODIFY name TINYTEXT, MODIFY age INT(5) ZEROFILL",
    "DROP PRIMARY KEY, ADD UNIQUE (user_id), ADD id INT AUTO_INCREMENT PRIMARY KEY FIRST",
    "ADD phone VARCHAR(20), ADD made TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP",
    "ADD role VARCHAR(9) NOT NULL DEFAULT '', ADD next_age INT AS (age + 1) STORED",
    "ADD CHECK (age < 1000), ADD KEY name_and_age (name(9), age), ADD KEY (email)",
]


@pytest.mark.parametrize("change", FIT)
def test_a_table_that_fits_is_used(empty, change):
    alter(empty, change)
    before = described()
    assert counts(run("seed.py")) == (1000, 0)
    assert counts(run("seed.py")) == (0, 1000)
    assert described() == before
    users = sorted(stream.stream_users(), key=lambda user: user["user_id"])
    assert [tuple(user.values()) for user in users[:6]] == FIRST_USERS
    assert run("2-lazy_paginate.py").output.count("\n") == len(users) == 1000
    assert run("4-stream_ages.py").output == "Average age of users: 59.54\n"


MODES = ["", "NO_BACKSLASH_ESCAPES,ANSI_QUOTES,PAD_CHAR_TO_FULL_LENGTH"]
MODES += ["ORACLE", "EMPTY_STRING_IS_NULL"]  # MariaDB's


@pytest.mark.parametrize("mode", MODES)
def test_values_arrive_as_they_are_whatever_the_servers_mode(empty, with_global, csv_file, mode):
    names = ["'", "\\", "\\'", '"', "%s", "a\nb", "`", "?", "😀", "x'61'"]
    rows = [(name, f"{number}@{name}", 1) for number, name in enumerate(names)]
    try:
        with_global("sql_mode", mode)
    except mysql.connector.Error:
        assert (FAMILY, mode in MODES[2:]) == ("mysql", True)
        pytest.skip(f"MySQL has no mode {mode}")
    if "PAD" in mode:
        alter(empty, "MODIFY user_id CHAR(40), MODIFY name CHAR(9) NOT NULL")
    else:  # the table that seed.py has made is its own the second time
        empty.cmd_query("DROP TABLE user_data")
    file = csv_file(csv_text(rows, ("name", "email", "age")))
    assert counts(run("seed.py", file)) == (10, 0)
    assert counts(run("seed.py", file)) == (0, 10)
    read = {(user["name"], user["email"], user["age"]) for user in stream.stream_users()}
    assert read == set(rows)
    assert {len(user["user_id"]) for page in pages.lazy_pagination(3) for user in page} == {36}


# Rows that are no users, in tables that another program made
STRANGE = {
    "name VARCHAR(9)": None,
    "age INT": None,
    "age DECIMAL(10,2)": "67",
    "age VARCHAR(9)": "old",
    "user_id BINARY(2)": b"\xff\xff",
}


@pytest.mark.parametrize("column", STRANGE)
def test_a_row_that_is_no_user_is_one_line(empty, column):
    alter(empty, f"MODIFY {column}")
    name, value = column.split()[0], STRANGE[column]
    row = {"user_id": "1", "name": "Ann", "email": "a@b", "age": 67, name: value}
    with empty.cursor() as cursor:
        cursor.execute(helpers.INSERT, [*row.values()])
    for script in SCRIPTS if name == "age" else SCRIPTS[:3]:
        done = run(script)
        assert done.output == ""
        assert refused(done).startswith("user_data has a row that is no user: ")
