"""Tables that were there before: users arrive whole, or the table is refused in one line."""

import csv
import re

import mysql.connector
import pytest

import seed
from helpers import COUNT, FAMILY, INSERT, SCRIPTS, csv_text, imported, query, ran, refused, stream
from made_users import FIRST_USERS


def alter(connection, change: str) -> None:
    """Make the table another one; skip the test where a server has no such thing."""
    if change.startswith(("BEFORE", "AFTER")):
        change = f"CREATE TRIGGER t {change} ON user_data FOR EACH ROW SET @fired = 1"
    else:
        change = f"ALTER TABLE user_data {change}"
    try:
        connection.cmd_query(change)
    except mysql.connector.Error:
        if any(word in change for word in ("UUID", "VERSIONING", "LOWER")):
            pytest.skip(f"{FAMILY} has no {change}")
        raise
    if "RENAME users" in change:
        connection.cmd_query("CREATE VIEW user_data AS SELECT * FROM users")


def described() -> str:
    """Return how the table is made."""
    return re.sub(r"AUTO_INCREMENT=\d+ ", "", query("SHOW CREATE TABLE user_data")[0][1])


# What would silently lose, change or double users: refused before anything is sent.
ENGINE, NO_KEY = "the type BASE TABLE MyISAM", "no unique key on user_id"
REFUSED = {  # or what a strict server refuses, with the number of its error
    "ENGINE=MyISAM, COMMENT='was\n) ENGINE=InnoDB'": ENGINE,
    "ADD SYSTEM VERSIONING": "the type SYSTEM VERSIONED InnoDB",
    "RENAME users": f"the type VIEW, {NO_KEY}",
    "DROP PRIMARY KEY": NO_KEY,  # another index on it is left
    "DROP PRIMARY KEY, ADD PRIMARY KEY (user_id, name(9))": "the unique key PRIMARY on name 9",
    "DROP PRIMARY KEY, ADD UNIQUE k (user_id(35))": "the unique key k on user_id 35",
    "ADD UNIQUE KEY `a``b` (name(9), user_id)": "the unique key a`b on name 9",
    "ADD UNIQUE KEY f ((LOWER(email)))": "the unique key f on",
    "MODIFY email VARCHAR(99) UNIQUE COMMENT 'as auto_increment'": "the unique key email on email",
    "ENGINE=MyISAM, ADD UNIQUE (age)": f"{ENGINE}, the unique key age on age",
    # At its last number, ON DUPLICATE KEY UPDATE would take new users for existing ones.
    "DROP PRIMARY KEY, ADD UNIQUE k (user_id), ADD id TINYINT AUTO_INCREMENT PRIMARY KEY": (
        "the unique key PRIMARY on id"
    ),
    **{
        f"MODIFY age {kind}": f"the column age {kind.lower()}"
        for kind in ("DECIMAL(10,2)", "FLOAT(7,2)", "YEAR", "ENUM('67')", "BIT(64)", "DATE")
    },
    "CHANGE user_id User_ID BINARY(40)": "the column User_ID binary(40)",
    "MODIFY name ENUM('x')": "the column name enum('x')",
    "BEFORE INSERT": "the trigger t",
    "AFTER UPDATE": "the trigger t",
    "DROP age": 1054,
    "ADD phone VARCHAR(9) NOT NULL": 1364,
    "MODIFY user_id VARCHAR(35)": 1406,
    "MODIFY name VARCHAR(10) NOT NULL": 1406,
    "MODIFY age DECIMAL(2,0) NOT NULL": 1264,
    "MODIFY name VARCHAR(255) CHARACTER SET latin1 NOT NULL": 1366,
}


@pytest.mark.parametrize("change", REFUSED)
def test_a_table_that_would_lose_users_is_refused_and_not_changed(empty, with_global, change):
    with_global("sql_mode", "NO_BACKSLASH_ESCAPES")  # the server itself is not strict
    alter(empty, change)
    before, done, reason = described(), ran("seed.py"), REFUSED[change]
    if isinstance(reason, int):
        hint = "Did seed.py make user_data? If not, rename it."
        end = f"; an import is whole or nothing (error {reason}). {hint}"
        assert refused(done).endswith(end)
    else:
        line = f"user_data in {seed.DATABASE} has {reason}: rename it and run again"
        assert refused(done).replace("year(4)", "year") == line
        assert "created" not in done.output
    assert (described(), query(COUNT)) == (before, [(0, 0)])


def test_an_account_that_is_not_shown_all_keys(empty, account):
    alter(empty, "ADD x INT NOT NULL DEFAULT 5 UNIQUE")
    columns = f"({', '.join(seed.COLUMNS)})"
    rights = ", ".join(f"{right} {columns}" for right in ("SELECT", "INSERT", "UPDATE"))
    account("ann", f"{rights} ON ALX_prodev.user_data")
    assert "denied" in refused(ran("seed.py"))
    assert empty.info_query("SELECT COUNT(*) FROM user_data") == (0,)


FIT = [
    "MODIFY user_id CHAR(36), MODIFY age DECIMAL(10,0)",
    "DROP PRIMARY KEY, MODIFY user_id VARCHAR(100) UNIQUE, MODIFY age INT",
    "MODIFY name TEXT, MODIFY email TEXT, MODIFY age VARCHAR(3)",
    "MODIFY user_id UUID, MODIFY age BIGINT",
    "MODIFY user_id CHAR(36) CHARACTER SET ascii, MODIFY age FLOAT",
    "CHANGE user_id User_ID VARCHAR(36) COLLATE utf8mb4_bin AFTER age, CHANGE email Email TEXT",
    "MODIFY name TINYTEXT, MODIFY age INT(5) ZEROFILL",
    "ADD phone VARCHAR(20), ADD made TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP",
    "ADD role VARCHAR(9) NOT NULL DEFAULT '', ADD next_age INT AS (age + 1) STORED",
    "ADD CHECK (age < 1000), ADD KEY name_and_age (name(9), age), ADD KEY (email)",
    "BEFORE DELETE",
]


@pytest.mark.parametrize("change", FIT)
def test_a_table_that_fits_is_used(empty, change):
    alter(empty, change)
    before = described()
    assert imported(ran("seed.py")) == (1000, 0)
    assert imported(ran("seed.py")) == (0, 1000)
    assert described() == before
    users = sorted(stream.stream_users(), key=lambda user: user["user_id"])
    assert [tuple(user.values()) for user in users[:6]] == FIRST_USERS
    assert ran("2-lazy_paginate.py").output.count("\n") == len(users) == 1000
    assert ran("4-stream_ages.py").output == "Average age of users: 59.54\n"


def test_another_table_of_a_similar_name(empty):
    alter(empty, "RENAME userXdata")
    assert imported(ran("seed.py")) == (1000, 0)
    assert query("SELECT COUNT(*) FROM userXdata") == [(0,)]


NAMES = ["'", "\\", "\\'", '"', "%s", "a\nb", "`", "?", "😀", "x'61'", "''", "{}", "x;y\tz"]
NAMES += ["O'Brien, Jr.", "%s %(name)s", "'; DROP TABLE user_data; --", "a\r\nb", "😀" * 255]
NAMES += ['say "hi" , Ann', 'two\n"lines" , Ann', '5" , "pipe', "a , b", 'in\nx," , y', 'x," , y']
MODES = ["", "NO_BACKSLASH_ESCAPES,ANSI_QUOTES,PAD_CHAR_TO_FULL_LENGTH"]
MODES += ["ORACLE", "EMPTY_STRING_IS_NULL"] if FAMILY == "mariadb" else []


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_names_arrive_as_they_are(empty, with_global, csv_file, mode, delimiter, quoting):
    users = [(age, f"{age}@b", name) for age, name in enumerate(NAMES)]
    text = csv_text(users, ("age", "email", "name"), delimiter=delimiter, quoting=quoting)
    file = csv_file(f"\ufeff{text}")
    with_global("sql_mode", mode)
    if "PAD" in mode:
        alter(empty, "MODIFY user_id CHAR(40), MODIFY name CHAR(255) NOT NULL")
    else:  # the table that seed.py has made is its own the second time
        empty.cmd_query("DROP TABLE user_data")
    assert imported(ran("seed.py", file)) == (len(NAMES), 0)
    assert imported(ran("seed.py", file)) == (0, len(NAMES))
    read = sorted((user["age"], user["email"], user["name"]) for user in stream.stream_users())
    assert read == users
    assert {len(user["user_id"]) for user in stream.stream_users()} == {36}


STRANGE = {  # rows that are not users, in tables that another program made
    "name VARCHAR(9)": None,
    "age INT": None,
    "age DECIMAL(10,2)": "67",
    "age VARCHAR(9)": "old",
    "user_id BINARY(2)": b"\xff\xff",
}


@pytest.mark.parametrize("column", STRANGE)
def test_a_row_that_is_not_a_user_is_one_line(empty, column):
    alter(empty, f"MODIFY {column}")
    name, value = column.split()[0], STRANGE[column]
    row = {"user_id": "1", "name": "Ann", "email": "a@b", "age": 67, name: value}
    with empty.cursor() as cursor:
        cursor.execute(INSERT, [*row.values()])
    for script in SCRIPTS if name == "age" else SCRIPTS[:3]:
        done = ran(script)
        assert done.output == ""
        line = refused(done)
        assert line.startswith(f"user_data: {{'{'age' if script == SCRIPTS[3] else 'user_id'}': ")
        assert f"'{name}': {'None' if value is None else ''}" in line
        assert "} is not a user: " in line


def test_a_cursor_of_ones_own(seeded):
    class Emails(seed.UserCursor):
        columns = ("email",)

        def convert(self, rows):
            return [email.undecode() for (email,) in rows]  # a mistake

    with seed.open_stream(cursor_class=Emails) as cursor:
        with pytest.raises(TypeError):  # no query yet
            cursor.fetchone()
        cursor.execute("SELECT email FROM user_data LIMIT 0")
        assert cursor.fetchall() == []
        with pytest.raises(mysql.connector.Error):
            cursor.execute("SELECT")
        with pytest.raises(TypeError):  # nor one that succeeded
            cursor.fetchone()
        cursor.execute("SELECT email FROM user_data")
        with pytest.raises(seed.InputError, match="undecode") as error:
            cursor.fetchone()
        assert isinstance(error.value.__cause__, AttributeError)
        for fetch in (cursor.fetchone, cursor.fetchmany, cursor.fetchall):
            with pytest.raises(TypeError):  # that was not the end
                fetch()
    # What would be paired by position is refused.
    for columns in ("user_id, email, name, age", "*, 1", "age"):
        refusal = pytest.raises(seed.InputError, match="the query gives .* instead of")
        with seed.open_stream(cursor_class=seed.UserCursor) as cursor, refusal:
            cursor.execute(f"SELECT {columns} FROM user_data")
