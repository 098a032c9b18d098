"""Imports: whole or not at all, tried again where that helps, and what they show meanwhile."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
import threading

import mysql.connector
import pytest

import seed
from helpers import (
    Counting,
    Proxy,
    before_commit,
    csv_text,
    first_users,
    project,
    refused,
    run,
    wait_until,
)

INNODB_TRX_PAUSE = 0.15  # seconds: what innodb_trx shows is kept for 0.1 s after each look
COUNT = "SELECT COUNT(*) FROM user_data"


def test_only_create_table_prints(no_database, capsys):
    with seed.connect_db() as connection:
        for _ in range(2):
            seed.create_database(connection)
    with seed.connect_to_prodev() as connection:
        assert capsys.readouterr().out == ""
        for _ in range(2):
            seed.create_table(connection)
        assert capsys.readouterr().out == "Table user_data created successfully\n" * 2
        assert seed.insert_data(connection, seed.CSV_FILE) == (1000, 0)
        assert seed.insert_data(connection, str(seed.CSV_FILE)) == (0, 1000)
    assert capsys.readouterr().out == ""


def test_seeding_is_one_connection_and_creates_only_what_is_not_there(no_database, server):
    """Behind a router a second connection may lead elsewhere; a CREATE rolls back an import."""
    for created in (["CREATE DATABASE", "CREATE TABLE IF"], []):
        with Counting(server) as count:
            assert run("seed.py").status == 0
        assert count.connections == 1
        statements = [" ".join(text.split()) for text in count.queries]
        assert [text[:15].strip() for text in statements if text[:6] == "CREATE"] == created
        assert sum(text.startswith("INSERT") for text in statements) == 1


def test_a_user_who_is_there_is_left_unchanged(empty, csv_file, query):
    one, two, three = first_users(3)
    twice = [one, two, (one[0].upper(), "Twin", "t@b", 2), one]
    assert seed.insert_data(empty, csv_file(csv_text(twice))) == (2, 2)
    changed = [(one[0], "Changed", "changed@example.com", 1), three]
    assert seed.insert_data(empty, csv_file(csv_text(changed))) == (1, 1)
    assert query("SELECT * FROM user_data") == sorted([one, two, three])


def test_an_import_does_not_take_back_what_the_caller_did(own_server, csv_file):
    own_server.rows("SET GLOBAL completion_type = CHAIN")
    own_server.rows("SET GLOBAL sql_quote_show_create = 0")
    assert run("seed.py").status == run("seed.py").status == 0
    with seed.connect_to_prodev() as connection:
        seed.insert_data(connection, seed.CSV_FILE)
        connection.cmd_query("DELETE FROM user_data")
        connection.autocommit = False
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO user_data VALUES (%s, %s, %s, %s)", first_users(1)[0])
        with pytest.raises(seed.InputError, match="the first line must name"):
            seed.insert_data(connection, csv_file(""))
    assert own_server.rows(COUNT, "ALX_prodev") == [(1,)]


def test_the_first_error_is_the_one_that_is_raised(empty, monkeypatch):
    def read_users(_):
        with seed.connect_db() as other:
            other.cmd_query(f"KILL {empty.connection_id}")
        raise seed.InputError("a bad row")
        yield

    monkeypatch.setattr(seed, "read_users", read_users)
    with pytest.raises(seed.InputError, match="a bad row"):
        seed.insert_data(empty, seed.CSV_FILE)


def test_an_error_of_either_side_ends_both(empty, csv_file, query):
    """The reader is ahead of the server: one error, and no thread left."""
    file = csv_file(csv_file(5000).read_text(encoding="utf-8") + "not a user\n")
    threads = threading.active_count()
    with pytest.raises(seed.InputError, match=r":5002: 1 fields instead of 4$"):
        seed.insert_data(empty, file)

    def stage(users, _):
        yield from (user for number, user in enumerate(users) if number < 4500 or 1 / 0)

    with pytest.raises(ZeroDivisionError):
        seed.insert_data(empty, file, stage)
    empty.cmd_query("ALTER TABLE user_data ADD CHECK (age < 0)")
    with pytest.raises(mysql.connector.Error):
        seed.insert_data(empty, file)
    assert threading.active_count() == threads
    assert query(COUNT) == [(0,)]


# Imports at once


def test_eight_imports_at_once_all_succeed(empty, server, csv_file, imports_at_once, query):
    files = [csv_file(3000, f"{order}.csv", order) for order in range(8)]
    counts = imports_at_once(files, [server] * 8)
    assert sum(inserted for inserted, _ in counts) == 3000
    assert {sum(count) for count in counts} == {3000}
    assert query("SELECT COUNT(*), COUNT(DISTINCT user_id) FROM user_data") == [(3000, 3000)]


def test_a_real_deadlock_is_tried_again(empty, server, csv_file, query):
    """Another transaction holds the last user of a file and then waits for the first."""
    first, *_, last = in_order = sorted(first_users(1500))
    insert = "INSERT INTO user_data VALUES (%s, %s, %s, %s)"
    file = csv_file(csv_text((user[0], "Ann", "a@b", user[3]) for user in in_order))
    counts = []
    with seed.connect_to_prodev() as other, other.cursor() as cursor:
        other.start_transaction()
        # Many rows, so that the server chooses the import as its victim.
        cursor.executemany(insert, [(f"other {number}", "Ann", "c@d", 1) for number in range(5000)])
        cursor.execute(insert, last)
        thread = threading.Thread(target=lambda: counts.append(seed.insert_data(empty, file)))
        thread.start()
        # The import has inserted its first batch and waits for the last user.
        waiting = "SELECT 1 FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
        wait_until(lambda: server.rows(waiting), pause=INNODB_TRX_PAUSE)
        cursor.execute(insert, first)  # a deadlock: the import gives way
        other.commit()
        thread.join()
    assert counts == [(1498, 2)]
    assert query(f"{COUNT} WHERE email = 'a@b'") == [(1498,)]


@pytest.fixture
def fail(empty, monkeypatch):
    """A function that makes the next INSERTs fail, each with an error of that number."""
    monkeypatch.setattr(seed.time, "sleep", lambda _: None)

    def fail(number: int, times: int) -> None:
        empty.cmd_query("SET @failures = 0")
        signal = f"SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = {number}, MESSAGE_TEXT = 'error 149 '"
        empty.cmd_query(
            "CREATE TRIGGER failure BEFORE INSERT ON user_data FOR EACH ROW "
            f"IF @failures < {times} THEN SET @failures = @failures + 1; {signal}; END IF"
        )

    return fail


@pytest.mark.parametrize("number", [1020, 1180, 1213, 3101])
def test_what_another_transaction_undid_is_tried_again(empty, fail, number):
    fail(number, 3)
    assert seed.insert_data(empty, seed.CSV_FILE) == (1000, 0)
    assert empty.info_query("SELECT @failures") == (3,)


def test_trying_again_has_an_end(empty, fail, monkeypatch):
    limits = []
    monkeypatch.setattr(seed.random, "uniform", lambda *ends: limits.append(ends) or ends[1])
    fail(1213, 1000)
    with pytest.raises(mysql.connector.Error, match="error 149"):
        seed.insert_data(empty, seed.CSV_FILE)
    assert empty.info_query("SELECT @failures") == (seed.ATTEMPTS,)
    assert limits == [(0, 0.1 * 2**attempt) for attempt in range(1, seed.ATTEMPTS)]


def test_an_error_that_is_no_conflict_is_not_tried_again(empty, fail):
    fail(1644, 1000)
    with pytest.raises(mysql.connector.Error, match="error 149"):
        seed.insert_data(empty, seed.CSV_FILE)
    assert empty.info_query("SELECT @failures") == (1,)


def test_a_pipe_is_read_once_and_not_ahead(empty, fail, tmp_path, query):
    """What is left in a pipe after a deadlock is not taken for a file of its own."""
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    text = seed.CSV_FILE.read_bytes()

    def write_again_and_again() -> None:
        for _ in range(100):
            with contextlib.suppress(OSError):
                pipe.write_bytes(text)

    threading.Thread(target=write_again_and_again, daemon=True).start()
    fail(1213, 1)
    with pytest.raises(mysql.connector.Error, match="error 149"):
        seed.insert_data(empty, pipe)
    assert empty.info_query("SELECT @failures") == (1,)
    assert query(COUNT) == [(0,)]


def test_an_error_does_not_wait_for_the_rest_of_a_pipe(empty, tmp_path, csv_file):
    """The writer sends more than a batch, and then nothing, until the reader has gone."""
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    text = csv_file(1100).read_bytes()
    gone = threading.Event()

    def write() -> None:
        with contextlib.suppress(OSError), open(pipe, "wb", buffering=0) as file:
            file.write(text)
            assert gone.wait(60)

    thread = threading.Thread(target=write)
    thread.start()
    empty.cmd_query("ALTER TABLE user_data ADD CHECK (age < 0)")
    with pytest.raises(mysql.connector.Error):
        seed.insert_data(empty, pipe)
    assert thread.is_alive()
    gone.set()
    thread.join()


# Lost connections


@pytest.mark.parametrize("reached", [False, True])
def test_a_connection_lost_in_a_commit_is_all_or_nothing(own_server, monkeypatch, reached):
    """The reply is lost; whether the COMMIT was, too, only the server knows."""
    assert run("seed.py", os.devnull).status == 1  # makes the table
    with Proxy((own_server.host, own_server.port)) as proxy:
        monkeypatch.setenv("MYSQL_PORT", str(proxy.port))

        def cut() -> None:
            proxy.cut_replies()
            if not reached:
                own_server.kill_connections()

        with seed.connect_to_prodev() as connection:
            before_commit(connection, cut)
            with pytest.raises(mysql.connector.Error):
                seed.insert_data(connection, seed.CSV_FILE)
        expected = 1000 if reached else 0
        wait_until(lambda: own_server.rows(COUNT, "ALX_prodev") == [(expected,)])
    monkeypatch.setenv("MYSQL_PORT", str(own_server.port))
    again = f"{1000 - expected} users inserted, {expected} already there\n"
    assert run("seed.py").output.endswith(again)


@pytest.mark.parametrize("who", ["import", "server"])
def test_an_import_killed_leaves_nothing_and_completes_later(own_server, start, csv_file, who):
    file = csv_file(40_000)
    assert run("seed.py", os.devnull).status == 1  # makes the table
    process = start("seed.py", file)
    progress = "SELECT COALESCE(MAX(trx_rows_modified), 0) FROM information_schema.innodb_trx"
    wait_until(lambda: own_server.rows(progress)[0][0] >= 3000, process, INNODB_TRX_PAUSE)
    if who == "import":
        process.kill()
    else:
        own_server.kill()
    _, errors = process.communicate(timeout=60)
    if who == "server":
        assert (process.returncode, errors.count("\n")) == (1, 1), errors
        assert "Run it again: an import is whole or nothing." in errors
        own_server.start()
    assert own_server.is_left_alone()
    assert own_server.rows(COUNT, "ALX_prodev") == [(0,)]
    assert run("seed.py", file).output.endswith("40000 users inserted, 0 already there\n")


@pytest.mark.parametrize("silent", [False, True])
@pytest.mark.parametrize("where", ["lock wait", "commit"])
def test_ctrl_c_while_an_import_waits(seeded, server, start, monkeypatch, where, silent):
    seeded.cmd_query("DELETE FROM user_data WHERE user_id > '8'")
    (left,) = seeded.info_query(COUNT)
    with Proxy((server.host, server.port)) as proxy, seed.connect_to_prodev() as other:
        if where == "commit":
            other.cmd_query("FLUSH TABLES WITH READ LOCK")
            state = "Waiting for "
        else:
            other.cmd_query("START TRANSACTION")
            other.cmd_query("UPDATE user_data SET age = 1 LIMIT 1")
            state = "INSERT INTO user_data"
        monkeypatch.setenv("MYSQL_PORT", str(proxy.port))
        script = "import seed; connection = seed.connect_to_prodev(); "
        script += "seed.run(lambda: seed.insert_data(connection, seed.CSV_FILE))"
        process = start("-c", script)
        wait_until(server.runs(state), process)
        if silent:
            proxy.silent()
        for _ in range(2):
            process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
        assert (process.returncode, errors) == (-signal.SIGINT, "")
        for statement in ("UNLOCK TABLES", "ROLLBACK"):
            other.cmd_query(statement)
    seeded.close()
    assert server.is_left_alone()
    # In a COMMIT that has been sent already, the server decides.
    counts = [left, 1000] if where == "commit" else [left]
    assert server.rows(COUNT, "ALX_prodev")[0][0] in counts


# What is shown on a terminal


def on_a_terminal(file: object) -> tuple[str, str]:
    """Run seed.py with stderr on a terminal; return what it wrote to stdout and to the terminal."""
    terminal, stderr = pty.openpty()
    command = [sys.executable, "seed.py", str(file)]
    done = subprocess.run(command, cwd=project(), stdout=subprocess.PIPE, stderr=stderr)
    os.close(stderr)
    shown = b""
    with contextlib.suppress(OSError), open(terminal, "rb", buffering=0) as screen:
        while part := screen.read(10_000):
            shown += part
    return done.stdout.decode(), shown.decode()


def test_an_import_on_a_terminal_shows_how_far_it_is(no_database, csv_file, tmp_path):
    output, shown = on_a_terminal(csv_file(3500))
    assert output.endswith("\n3500 users inserted, 0 already there\n")
    first, second, third, erased, end = shown.strip("\r").split("\r") + [""]
    assert re.match(r"1,000 rows read, \d\d% of the file$", first)
    assert re.match(r"3,000 rows read, \d\d+% of the file$", third)
    assert (erased.strip(), end) == ("", "")
    assert len(erased) > len(third)
    # A pipe has no end to be seen; an error is all that is left.
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    text = csv_file(1500).read_bytes() + b"x\n"
    threading.Thread(target=lambda: pipe.write_bytes(text), daemon=True).start()
    _, shown = on_a_terminal(pipe)
    rows, erased, error, end = shown.strip("\r").split("\r")
    assert (rows, erased.strip(), end) == ("1,000 rows read", "", "\n")
    assert error == f"seed.py: {pipe}:1502: 1 fields instead of 4"


def test_seed_reports_what_it_did(no_database):
    for counts in ("1000 users inserted, 0 already there", "0 users inserted, 1000 already there"):
        done = run("seed.py")
        assert (done.status, done.errors) == (0, "")
        server, database, table, users = done.output.splitlines()
        assert re.match(r"Server \d+\.\d+\.\d+.* at \S+:\d+$", server)
        assert database == f"Database {seed.DATABASE} is present"
        assert (table, users) == ("Table user_data created successfully", counts)
    assert "missing.csv: No such file or directory" in refused(run("seed.py", "missing.csv"))
