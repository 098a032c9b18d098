"""Tables that were there before: users arrive whole, or the table is refused in one line."""

import csv
import re

import mysql.connector
import pytest

import seed
from helpers import (
    COUNT,
    FAMILY,
    INSERT,
    SCRIPTS,
    csv_text,
    first_users,
    imported,
    query,
    ran,
    refused,
    stream,
)
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
ENGINE, NO_KEY = "the type BASE TABLE MyISAM", "no unique key on user_id alone"
RENAME = "rename the table (RENAME TABLE user_data TO my_users)"
REFUSED = {  # or what a strict server refuses, with the number of its error
    "ENGINE=MyISAM, COMMENT='was\n) ENGINE=InnoDB'": ENGINE,
    "ADD SYSTEM VERSIONING": "the type SYSTEM VERSIONED InnoDB",
    "RENAME users": f"the type VIEW, {NO_KEY}",
    "DROP PRIMARY KEY": NO_KEY,  # another index on it is left
    "DROP PRIMARY KEY, ADD PRIMARY KEY (user_id, name(9))": NO_KEY,
    "DROP PRIMARY KEY, ADD UNIQUE k (user_id(35))": NO_KEY,
    "DROP PRIMARY KEY, ADD UNIQUE k (name(9), user_id)": NO_KEY,
    "DROP PRIMARY KEY, ADD usér_id INT AUTO_INCREMENT PRIMARY KEY": NO_KEY,  # another column
    "ENGINE=MyISAM, DROP PRIMARY KEY": f"{ENGINE}, {NO_KEY}",
    **{
        f"MODIFY age {kind}": f"the column age {kind.lower()}"
        for kind in ("DECIMAL(10,2)", "FLOAT(7,2)", "YEAR", "ENUM('67')", "BIT(64)", "DATE")
    },
    "MODIFY name INT": "the column name int",  # 007 would be 7
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
        line = refused(done)
        assert line.startswith("nothing was inserted. ")
        hint = f"Was user_data made by seed.py? If not, {RENAME}."
        assert line.endswith(f" (error {reason}). {hint}")
    else:
        line = f"table user_data in {seed.DATABASE} has {reason}: {RENAME} and run again"
        assert refused(done).replace("year(4)", "year").replace("int(11)", "int") == line
        assert "created" not in done.output
    assert (described(), query(COUNT)) == (before, [(0, 0)])


ANN, BEN = (f"0000000{n}-0000-4000-8000-000000000000" for n in (1, 2))


def test_an_account_that_is_not_shown_all_keys(empty, account):
    alter(empty, "ADD x INT NOT NULL DEFAULT 5 UNIQUE")
    columns = f"({', '.join(seed.COLUMNS)})"
    rights = ", ".join(f"{right} {columns}" for right in ("SELECT", "INSERT", "UPDATE"))
    account("ann", f"{rights} ON ALX_prodev.user_data")
    _, second, *_ = FIRST_USERS
    user = f"{second[0]} ({second[1]}, {second[2]})"
    key = "another one has the same value in a unique key (SHOW INDEX FROM user_data)"
    line = f"user {user} was not inserted: {key}; nothing was inserted"
    assert refused(ran("seed.py")) == line
    assert empty.info_query("SELECT COUNT(*) FROM user_data") == (0,)


def test_two_users_of_one_address_where_it_is_unique(empty, csv_file):
    alter(empty, "ADD UNIQUE (email)")
    users = [(ANN, "Ann", "a@example.com", 1), (BEN, "Ben", "A@example.com", 2)]
    told = f"user {BEN} (Ben, A@example.com) was not inserted: another one has the same value"
    with pytest.raises(seed.InputError, match=re.escape(told)):  # both in one file
        seed.insert_data(empty, csv_file(csv_text(users)))
    assert query(COUNT) == [(0, 0)]
    assert seed.insert_data(empty, csv_file(csv_text(users[:1]))) == (1, 0)
    with pytest.raises(seed.InputError, match=re.escape(told)):  # one of them in the table
        seed.insert_data(empty, csv_file(csv_text(users)))
    assert query("SELECT user_id FROM user_data") == [(ANN,)]
    assert not empty.in_transaction


def test_numbers_for_new_users_that_come_to_an_end(empty):
    """The server itself says so, or passes over the 128th user: another one has the number 127."""
    number = "ADD id TINYINT AUTO_INCREMENT PRIMARY KEY"
    alter(empty, f"DROP PRIMARY KEY, ADD UNIQUE k (user_id), {number}")
    line = refused(ran("seed.py"))
    assert re.search("nothing was inserted(. .*error (167|1467)|$)", line), line
    assert query(COUNT) == [(0, 0)]


def test_a_user_whom_another_import_has_just_committed_is_found(empty, csv_file):
    """Also where the transaction has looked at the table before: it sees more than a snapshot."""
    users = first_users(10_000)
    users[8500], one_more = (
        users[0],
        users[8500],
    )  # the first file's first batch has an existing one
    seed.insert_data(empty, csv_file(csv_text(users[:8000])))  # enough for single rows to be locked
    with empty.cursor() as cursor:

        def commit_one_of_the_second_batch(rows: int) -> None:
            if rows == 1000:
                cursor.execute(INSERT, users[9500])

        file = csv_file(csv_text([*users[8000:], one_more]))
        with seed.connect_to_prodev() as connection:
            found = seed.insert_data(connection, file, commit_one_of_the_second_batch)
    assert found == (1999, 2)
    assert query(COUNT) == [(10_000, 10_000)]


FIT = [
    "MODIFY email VARCHAR(99) NOT NULL UNIQUE",
    "ADD UNIQUE KEY `a``b` (name(9), user_id)",
    "ADD UNIQUE KEY f ((LOWER(email)))",
    "DROP PRIMARY KEY, ADD UNIQUE (user_id), ADD id BIGINT AUTO_INCREMENT PRIMARY KEY",
    "ADD âge DATE",  # another column than age
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
    assert query(COUNT) == [(1000, 1000)]
    users = sorted(stream.stream_users(), key=lambda user: user["user_id"])
    assert [tuple(user.values()) for user in users[:6]] == FIRST_USERS
    assert ran("2-lazy_paginate.py").output.count("\n") == len(users) == 1000
    assert ran("4-stream_ages.py").output == "Average age of users: 59.54\n"


def test_another_table_of_a_similar_name(empty):
    alter(empty, "RENAME userXdata")
    assert imported(ran("seed.py")) == (1000, 0)
    assert query("SELECT COUNT(*) FROM userXdata") == [(0,)]


NAMES = ["'", "\\", "\\'", '"', "%s", "`", "?", "😀", "x'61'", "''", "{}", "x;y\tz"]
NAMES += ["O'Brien, Jr.", "%s %(name)s", "'; DROP TABLE user_data; --", "😀" * 255]
NAMES += ['say "hi" , Ann', '"x" , Ann', '5" , "pipe', "a , b", 'x," , y']
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


STRANGE = {  # rows that are not users, in tables that another program made: value, what is told
    "name VARCHAR(9)": (None, "name is NULL"),
    "age INT": (None, "age is NULL"),
    "age DECIMAL(10,2)": ("67", "age '67.00' is not a whole number"),
    "age VARCHAR(9)": ("old", "age 'old' is not a whole number"),
    "age VARCHAR(999)": ("x" * 500, f"age '{'x' * 99}' is not a whole number"),
    "user_id BINARY(2)": (b"\xff\xff", "user_id '\ufffd\ufffd' is not text"),
}


SELECTS = [(script, each) for script in SCRIPTS for each in STRANGE]
SELECTS = [(script, each) for script, each in SELECTS if script != SCRIPTS[3] or "age" in each]


@pytest.mark.parametrize(("script", "column"), SELECTS)
def test_a_row_that_is_not_a_user_is_one_line(empty, script, column):
    alter(empty, f"MODIFY {column}")
    name, (value, told) = column.split()[0], STRANGE[column]
    row = {"user_id": "1", "name": "Ann", "email": "a@b", "age": 67, name: value}
    with empty.cursor() as cursor:
        cursor.execute(INSERT, [*row.values()])
    done = ran(script)
    assert done.output == ""
    line = refused(done)
    first = "age" if script == "4-stream_ages.py" else "user_id"
    assert line.startswith(f"{told}, in the row {{'{first}': ")
    assert line.endswith(f"}}: change it, or {RENAME}")


class Emails(seed.UserCursor):
    columns = ("email",)

    def convert(self, rows):
        return [email.undecode() for (email,) in rows]  # a mistake


class Films(seed.UserCursor):
    columns = ["title"]

    def convert(self, rows):
        return [title.decode() for (title,) in rows]


def see_that_each_fetch_raises(cursor) -> None:
    """An end it must not look like."""
    for fetch in (cursor.fetchone, cursor.fetchmany, cursor.fetchall, cursor.__next__) * 2:
        with pytest.raises(mysql.connector.InterfaceError, match="No result set to fetch from"):
            fetch()


def test_a_cursor_without_a_query_has_no_end(seeded):
    with seed.open_stream(cursor_class=Emails) as cursor:
        see_that_each_fetch_raises(cursor)
        cursor.execute("SELECT email FROM user_data LIMIT 0")
        assert cursor.fetchall() == []
        with pytest.raises(mysql.connector.Error):
            cursor.execute("SELECT")
        see_that_each_fetch_raises(cursor)


def test_a_mistake_in_a_cursor_of_ones_own(seeded):
    with seed.open_stream(cursor_class=Emails) as cursor:
        cursor.execute("SELECT email FROM user_data")
        with pytest.raises(seed.InputError, match="undecode") as error:
            cursor.fetchone()
        assert isinstance(error.value.__cause__, AttributeError)
        see_that_each_fetch_raises(cursor)


def test_a_bad_row_of_a_table_of_ones_own(seeded):
    """Its column is named, and nobody is told to rename user_data."""
    with seed.open_stream(cursor_class=Films) as cursor:
        cursor.execute("SELECT 'Alien' AS title UNION ALL SELECT NULL")
        assert cursor.fetchone() == "Alien"  # what stands before the bad row
        with pytest.raises(seed.InputError, match=r"^title is NULL, in the row {'title': None}$"):
            cursor.fetchone()


@pytest.mark.parametrize("columns", ["user_id, email, name, age", "*, 1", "age"])
def test_columns_that_would_be_paired_by_position_are_refused(seeded, columns):
    refusal = pytest.raises(seed.InputError, match="the query gives .* instead of")
    with seed.open_stream(cursor_class=seed.UserCursor) as cursor, refusal:
        cursor.execute(f"SELECT {columns} FROM user_data")


@pytest.fixture
def elsewhere(empty, server):
    """A database with a table of the same name, in which everything is wrong."""
    server.rows("CREATE DATABASE elsewhere")
    odd = "user_id VARCHAR(36), name DATE, age DECIMAL(5,2), KEY (user_id)"
    server.rows(f"CREATE TABLE user_data ({odd}) ENGINE=MyISAM", "elsewhere")
    trigger = "CREATE TRIGGER t BEFORE INSERT ON user_data FOR EACH ROW SET @fired = 1"
    server.rows(trigger, "elsewhere")
    yield
    server.rows("DROP DATABASE elsewhere")


def test_a_table_of_another_database_does_not_count(empty, elsewhere):
    assert imported(ran("seed.py")) == (1000, 0)
    empty.database = "elsewhere"  # nor does a good one in ALX_prodev
    faults = [
        ENGINE,
        "the column name date",
        "the column age decimal(5,2)",
        NO_KEY,
        "the trigger t",
    ]
    assert sorted(seed.table_faults(empty)) == sorted(faults)


def test_the_table_takes_all_characters_whatever_the_databases_character_set(
    no_database, server, csv_file
):
    server.rows("CREATE DATABASE ALX_prodev CHARACTER SET latin1")
    assert imported(ran("seed.py", csv_file(csv_text([(ANN, "王 😀", "a@b", 1)])))) == (1, 0)
    assert [user["name"] for user in stream.stream_users()] == ["王 😀"]


def test_the_table_has_transactions_whatever_the_servers_default_engine(no_database, with_global):
    with_global("default_storage_engine", "MyISAM")
    assert imported(ran("seed.py")) == (1000, 0)
    assert "ENGINE=InnoDB" in query("SHOW CREATE TABLE user_data")[0][1]
