"""Imports: whole or not at all, tried again where that helps, and what they show meanwhile."""

import os
import re
import signal
import threading
from contextlib import suppress
from unittest.mock import call, patch

import mysql.connector
import pytest

import helpers
import seed
from helpers import COUNT, csv_text, first_users, imported, query, ran, refused, shell, wait_until


def test_seed_reports_what_it_did_on_one_connection(no_database, server):
    """Behind a router a second one may lead elsewhere; a CREATE rolls back another's import."""
    for created, users in [
        (["CREATE DATABASE", "CREATE TABLE IF"], "1000 users inserted, 0 already there"),
        ([], "0 users inserted, 1000 already there (or twice in the file)"),
    ]:
        with helpers.counting(server) as count:
            done = ran("seed.py")
        assert count.connections == 1
        statements = [" ".join(text.split()) for text in count.queries]
        assert [text[:15].strip() for text in statements if text[:6] == "CREATE"] == created
        assert sum(text.startswith("INSERT") for text in statements) == 1
        # Only where users were passed over, it looks whether they are there.
        assert sum(text.endswith("FOR UPDATE") for text in statements) == int(not created)
        first, *lines = done.output.splitlines()
        assert re.match(r"Server \d+\.\d+\.\d+.* at \S+:\d+$", first)
        made = "Table user_data created successfully"
        assert lines == [f"Database {seed.DATABASE} is ready", made, users]


def test_a_user_who_is_there_is_left_unchanged(empty, csv_file):
    one, two, three = first_users(3)
    twice = [one, two, (one[0].upper(), "Twin", "t@b", 2), one]
    assert seed.insert_data(empty, csv_file(csv_text(twice))) == (2, 2)
    changed = [(one[0], "Changed", "changed@example.com", 1), three]
    assert seed.insert_data(empty, csv_file(csv_text(changed))) == (1, 1)
    assert seed.insert_data(empty, csv_file(csv_text([]))) == (0, 0)
    assert query("SELECT * FROM user_data") == sorted([one, two, three])


OTHER_TABLES = ["COMMENT 'as before'", "DROP PRIMARY KEY"]


@pytest.mark.parametrize("change", OTHER_TABLES)
def test_what_looks_at_the_schema_ends_its_transaction(empty, change):
    """A transaction would keep others from changing the table, and the caller from seeing them."""
    empty.cmd_query(f"ALTER TABLE user_data {change}")
    empty.cmd_query("SET SESSION lock_wait_timeout = 1")
    with seed.connect_to_prodev() as connection:
        seed.create_database(connection)
        assert not connection.in_transaction
        with suppress(seed.InputError):  # of a table without its key
            seed.create_table(connection)
        assert not connection.in_transaction
        empty.cmd_query("ALTER TABLE user_data COMMENT 'changed by another connection'")
        assert seed.query(connection, "SELECT COUNT(*) FROM user_data") == [(0,)]
        empty.cmd_query("INSERT INTO user_data VALUES ('1', 'Ann', 'a@b', 1)")
        assert seed.query(connection, "SELECT COUNT(*) FROM user_data") == [(1,)]


def test_a_denied_look_at_the_schema_leaves_no_transaction(empty, account):
    account("ann", "SELECT (name) ON ALX_prodev.user_data")
    with seed.connect_to_prodev() as connection:
        with suppress(seed.InputError):  # MariaDB does not show her the key
            seed.create_table(connection)
        assert not connection.in_transaction
        with pytest.raises(mysql.connector.Error):
            seed.query(connection, "SELECT email FROM user_data")
        assert not connection.in_transaction


def test_transactions_are_the_callers(empty, with_global, csv_file):
    """commit() and rollback() do what PEP 249 says, and an import takes nothing back."""
    with_global("completion_type", "CHAIN")
    with seed.connect_to_prodev() as connection:
        seed.create_table(connection)
        seed.insert_data(connection, seed.CSV_FILE)
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM user_data")
            connection.rollback()
            assert query(COUNT) == [(1000, 1000)]
            cursor.execute("DELETE FROM user_data")
            connection.commit()
            assert query(COUNT) == [(0, 0)]
            cursor.execute(helpers.INSERT, first_users(1)[0])
        with pytest.raises(seed.InputError, match="the first line must name"):
            seed.insert_data(connection, csv_file(""))
    assert query(COUNT) == [(1, 1)]


def test_an_error_of_either_side_ends_both_and_is_the_one_that_is_raised(empty, csv_file):
    """The reader is ahead of the server: one error, no thread and no transaction left."""
    file = csv_file(csv_file(5000).read_text(encoding="utf-8") + "not a user\n")
    threads = threading.active_count()
    refusal = r":5002: 1 fields, not the 4 of user_id,name,email,age; nothing was inserted$"
    with pytest.raises(seed.InputError, match=refusal):
        seed.insert_data(empty, file)

    def lost(_):
        query(f"KILL {connection.connection_id}")
        raise ZeroDivisionError

    with seed.connect_to_prodev() as connection, pytest.raises(ZeroDivisionError):
        seed.insert_data(connection, file, lost)
    with pytest.raises(KeyboardInterrupt):
        seed.insert_data(empty, file, lambda _: signal.raise_signal(signal.SIGINT))
    assert not empty.in_transaction
    empty.cmd_query("ALTER TABLE user_data ADD CHECK (age < 0)")
    with pytest.raises(mysql.connector.Error):
        seed.insert_data(empty, file)
    assert threading.active_count() <= threads
    assert query(COUNT) == [(0, 0)]


@pytest.mark.parametrize("change", ["COMMENT ''", "ADD UNIQUE (email)"])
def test_eight_imports_at_once_all_succeed(empty, server, csv_file, change):
    empty.cmd_query(f"ALTER TABLE user_data {change}")
    files = [csv_file(3000, f"{order}.csv", order) for order in range(8)]
    found = helpers.imports_at_once(files, [server] * 8)
    assert sum(inserted for inserted, _ in found) == 3000
    assert {sum(count) for count in found} == {3000}
    assert query(COUNT) == [(3000, 3000)]


def fail(connection, number: int, times: int, words: str = "a failure") -> None:
    """Make the next INSERTs of the connection fail, each with an error of that number."""
    connection.cmd_query("DROP TRIGGER IF EXISTS failure")
    connection.cmd_query("SET @failures = 0")
    signal = f"SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = {number}, MESSAGE_TEXT = '{words}'"
    connection.cmd_query(
        "CREATE TRIGGER failure BEFORE INSERT ON user_data FOR EACH ROW "
        f"IF @failures < {times} THEN SET @failures = @failures + 1; {signal}; END IF"
    )


FAILURES = [(number, "a failure", 10) for number in (1020, 1213, 3101, 3024)]
FAILURES += [(1180, "Got error 149 - Lock deadlock", 10)]
FAILURES += [(1105, "pessimistic lock retry limit reached", 10)]
FAILURES += [(number, "a failure", 1) for number in (1180, 1205, 1644)]


@pytest.mark.parametrize(("number", "words", "attempts"), FAILURES)
def test_what_another_transaction_undid_is_tried_again(empty, number, words, attempts):
    fail(empty, number, 1000, words)
    with patch("time.sleep") as sleep, patch("random.uniform") as uniform:
        with pytest.raises(mysql.connector.Error) as error:
            seed.insert_data(empty, seed.CSV_FILE)
        assert error.value.msg == f"nothing was inserted. {words}"
        assert empty.info_query("SELECT @failures") == (attempts,)
        limits = [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2][: attempts - 1]
        assert uniform.call_args_list == [call(0, pytest.approx(limit)) for limit in limits]
        assert sleep.call_args_list == [call(uniform.return_value)] * len(limits)
        if attempts > 1:
            fail(empty, number, 3, words)
            assert seed.insert_data(empty, seed.CSV_FILE) == (1000, 0)


def test_a_pipe_is_read_once(empty, tmp_path):
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    content = seed.CSV_FILE.read_bytes()
    thread = threading.Thread(target=pipe.write_bytes, args=[content], daemon=True)
    thread.start()
    fail(empty, 1213, 1)
    with pytest.raises(mysql.connector.Error, match="a failure"):
        seed.insert_data(empty, pipe)
    thread.join()
    assert empty.info_query("SELECT @failures") == (1,)
    assert query(COUNT) == [(0, 0)]


def test_a_connection_lost_in_a_commit(empty, server, settings):
    """Its reply is lost: the error tells nothing of what the server has done."""
    with helpers.router(server) as (port, cut_replies):
        settings(PORT=port)
        said = pytest.raises(mysql.connector.Error)
        with seed.connect_to_prodev() as connection, said as error:
            seed.insert_data(connection, seed.CSV_FILE, lambda _: cut_replies())
        kept = "the users may have been inserted (or some, if the table is sharded): run it again. "
        assert error.value.msg.startswith(kept)
        settings(server)
        wait_until(lambda: query(COUNT) == [(1000, 1000)])
    assert imported(ran("seed.py")) == (0, 1000)


@pytest.mark.parametrize("how", [signal.SIGINT, "server killed"])
def test_an_import_cut_leaves_nothing_and_completes_later(empty, server, start, csv_file, how):
    file = csv_file(40_000)
    process = start("seed.py", file)
    with server.connect(database="ALX_prodev") as other:
        other.cmd_query("SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED")
        wait_until(lambda: other.info_query("SELECT COUNT(*) FROM user_data")[0] > 3000, process)
    if how == signal.SIGINT:
        assert helpers.ended(process, how) == (-how, "", "")
    else:
        server.kill()
        line = refused(helpers.ended(process))
        assert line.startswith("nothing was inserted. ")
        server.start()
    wait_until(lambda: server.connections() in ([], [empty.connection_id]))
    assert query(COUNT) == [(0, 0)]
    assert imported(ran("seed.py", file)) == (40_000, 0)


def test_an_import_on_a_terminal_shows_how_far_it_is(no_database, csv_file):
    file = csv_file(csv_file(2500).read_text(encoding="utf-8") + "not a user\n")
    command = 'python seed.py "$FILE" > /dev/null'
    done = shell("script -qec \"$1\" /dev/null | tr '\\r' '|'", command, env={"FILE": str(file)})
    fault = "1 fields, not the 4 of user_id,name,email,age; nothing was inserted"
    error = f"seed.py: {file}:2502: {fault}"
    # After a return alone, what comes next is written over it.
    assert done.output == f"1,000 rows read|2,000 rows read|{error}|\n"


def test_an_existing_user_keeps_the_id_as_it_is_written(empty, csv_file):
    """Other programs may have stored it in capitals; the server takes both for the same."""
    users = first_users(1000)
    with empty.cursor() as cursor:
        cursor.executemany(helpers.INSERT, [(key.upper(), *rest) for key, *rest in users])
    assert seed.insert_data(empty, csv_file(1000)) == (0, 1000)
    ids = [user_id for (user_id,) in query("SELECT user_id FROM user_data")]
    assert sorted(ids) == sorted(user[0].upper() for user in users)
