"""Servers that die, connections that are killed, imports at once, wrong arguments."""

from __future__ import annotations

import contextlib
import importlib
import os
import random
import re
import signal
import subprocess
import threading

import mysql.connector
import pytest
from conftest import MANY, wait_until
from proxy import Proxy, in_one_process
from test_integration import SCRIPTS
from test_streams import GENERATORS, connections_left, lazy_pagination

from made_users import made_users, write_csv
from mysql_server import free_port

INNODB_TRX_PAUSE = 0.15  # seconds: what innodb_trx shows is kept for 0.1 s after each look
ALL_USERS = {script: ["1000000"] if script == SCRIPTS[0] else [] for script in SCRIPTS}


@pytest.fixture(autouse=True)
def seed_imported(private_server):
    return importlib.import_module("seed")


# Streams


def processes(server) -> list[tuple]:
    """Return the rows of SHOW PROCESSLIST for the clients' connections, but for its own."""
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SHOW PROCESSLIST")
        others = [row for row in cursor.fetchall() if row[0] != connection.connection_id]
        return [row for row in others if row[1] not in ("system user", "event_scheduler")]


def kill_connections(server) -> None:
    """Kill every client connection of the server but the one that does it."""
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SHOW PROCESSLIST")
        for row in cursor.fetchall():
            if row[1] == server.user and row[0] != connection.connection_id:
                cursor.execute("KILL %s", (row[0],))


def shut_down(server) -> None:
    with server.connect() as connection:
        connection.cmd_query("SHUTDOWN")


FAULTS = {
    "connection killed": kill_connections,
    "server shut down": shut_down,
    "server killed": lambda server: server.kill(),
}


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_stream_that_is_cut_raises(server_with, name, fault):
    server = server_with()
    rows = GENERATORS[name]()
    next(rows)
    try:
        FAULTS[fault](server)
        rest = None
        with contextlib.suppress(mysql.connector.Error):
            rest = sum(1 for _ in rows)
        # Ages are so small that all of them may have been on their way.
        assert rest is None or (name == "stream_user_ages" and rest == MANY - 1)
    finally:
        if fault != "connection killed":
            server.stop()
            server.start()
    assert connections_left(server) == []


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("fault", ["connection killed", "server killed"])
def test_a_script_that_is_cut_ends_with_one_line(server_with, start, script, fault):
    server = server_with()
    other = server.connect(database="ALX_prodev")
    if "ages" in script:  # its rows are so small that all may be on their way at once
        other.cmd_query("LOCK TABLES user_data WRITE")
    process = start(script, *ALL_USERS[script], stdout=subprocess.PIPE)
    if "ages" in script:
        wait_until(
            lambda: any("Waiting for table" in str(row[6]) for row in processes(server)), process
        )
    else:  # stopped in the middle: it has printed what nobody reads on
        assert os.read(process.stdout.fileno(), 1)
    process.send_signal(signal.SIGSTOP)
    try:
        FAULTS[fault](server)
        process.send_signal(signal.SIGCONT)
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        other.close()
        if fault != "connection killed":
            server.stop()
            server.start()
    assert process.returncode == 1, errors
    assert errors.count("\n") == 1, errors
    assert errors.startswith(f"{script}: ")
    assert "The connection was lost before the end: run it again." in errors
    assert "Average" not in output


def test_a_page_that_is_cut_raises(server_with, seed_imported):
    server = server_with()
    with seed_imported.open_stream(seed_imported.UserCursor) as cursor:
        cursor.execute(seed_imported.SELECT_USERS)
        kill_connections(server)
        with pytest.raises(mysql.connector.Error):
            cursor.fetchall()


def test_a_hundred_abandoned_streams_leave_nothing(server_with):
    server = server_with(10_000)
    rng = random.Random(4)
    for _ in range(25):
        for generator in GENERATORS.values():
            rows = generator()
            for _ in range(rng.choice([1, 2, 99, 100, 101, rng.randint(1, 200)])):
                next(rows)
            if rng.random() < 0.5:
                rows.close()
            del rows
    assert connections_left(server) == []


def test_fifty_streams_at_once(server_with):
    server = server_with(10_000)
    counts = []

    def read(stop: bool) -> None:
        rows = GENERATORS["stream_users"]()
        counts.append(sum(1 for _ in rows) if not stop else bool(next(rows)))

    threads = [threading.Thread(target=read, args=(number % 2,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(counts) == [True] * 25 + [10_000] * 25
    assert connections_left(server) == []


# Imports


def first_users(count: int) -> list[tuple]:
    return [user for user, _ in zip(made_users(), range(count))]


def test_eight_imports_at_once_all_succeed(
    connection, private_server, shuffled_file, imports_at_once, query
):
    files = [shuffled_file(5000, order) for order in range(8)]
    counts = imports_at_once(files, [private_server] * 8)
    assert sum(inserted for inserted, _ in counts) == 5000
    assert {sum(count) for count in counts} == {5000}
    assert query("SELECT COUNT(*), COUNT(DISTINCT user_id) FROM user_data") == [(5000, 5000)]


def test_a_real_deadlock_is_tried_again(connection, seed_imported, tmp_path, query):
    """Another transaction holds the last user of a file and then waits for the first."""
    first, *_, last = in_order = sorted(first_users(1500))
    insert = "INSERT INTO user_data VALUES (%s, %s, %s, %s)"
    file = tmp_path / "in_order.csv"
    with open(file, "w", encoding="utf-8", newline="") as text:
        text.write("name,email,age,user_id\n")
        text.writelines(f"Ann,a@b,{user[3]},{user[0]}\n" for user in in_order)
    counts = []
    with seed_imported.connect_to_prodev() as other, other.cursor() as cursor:
        other.start_transaction()
        # Many rows, so that the server chooses the import as its victim.
        cursor.executemany(insert, [(f"other {number}", "Ann", "c@d", 1) for number in range(5000)])
        cursor.execute("DELETE FROM user_data WHERE user_id = %s", (last[0],))
        cursor.execute(insert, last)
        thread = threading.Thread(
            target=lambda: counts.append(seed_imported.insert_data(connection, file))
        )
        thread.start()
        # The import has inserted its first batch and waits for the last user.
        with seed_imported.connect_db() as third:
            waiting = (
                "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
            )
            wait_until(lambda: third.info_query(waiting)[0], pause=INNODB_TRX_PAUSE)
        cursor.execute(insert, first)  # a deadlock: the import gives way
        other.commit()
        thread.join()
    assert counts == [(1498, 2)]
    assert query("SELECT COUNT(*) FROM user_data WHERE email = 'a@b'") == [(1498,)]


@pytest.fixture
def fail(connection):
    """A function that makes the next INSERTs fail with an error that rolls back."""

    def fail(number: int, times: int) -> None:
        connection.cmd_query("SET @failures = 0")
        connection.cmd_query(
            "CREATE TRIGGER failure BEFORE INSERT ON user_data FOR EACH ROW "
            f"IF @failures < {times} THEN SET @failures = @failures + 1; "
            f"SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = {number}, MESSAGE_TEXT = 'rolled back'; "
            "END IF"
        )

    yield fail
    connection.cmd_query("DROP TRIGGER failure")


@pytest.fixture
def failures(connection):
    """A function that returns how many INSERTs have failed."""
    return lambda: connection.info_query("SELECT @failures")[0]


@pytest.mark.parametrize("number", [1020, 1213, 3101])
def test_what_another_transaction_undid_is_tried_again(
    connection, seed_imported, fail, failures, monkeypatch, number
):
    monkeypatch.setattr(seed_imported.time, "sleep", lambda _: None)
    fail(number, 3)
    assert seed_imported.insert_data(connection, seed_imported.CSV_FILE) == (1000, 0)
    assert failures() == 3


def test_trying_again_has_an_end(connection, seed_imported, fail, failures, monkeypatch):
    pauses, limits = [], []
    monkeypatch.setattr(seed_imported.time, "sleep", pauses.append)
    uniform = seed_imported.random.uniform
    monkeypatch.setattr(
        seed_imported.random, "uniform", lambda *ends: limits.append(ends) or uniform(*ends)
    )
    fail(1213, 1000)
    with pytest.raises(mysql.connector.Error, match="rolled back"):
        seed_imported.insert_data(connection, seed_imported.CSV_FILE)
    assert failures() == seed_imported.ATTEMPTS == len(pauses) + 1
    assert limits == [(0, 0.1 * 2**attempt) for attempt in range(1, seed_imported.ATTEMPTS)]
    assert all(0 <= pause <= most for pause, (_, most) in zip(pauses, limits))


def test_a_pipe_is_read_once(connection, seed_imported, fail, failures, tmp_path, query):
    """What is left in a pipe after a deadlock is not taken for a file of its own."""
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    fail(1213, 1)
    text = seed_imported.CSV_FILE.read_bytes()

    def write_again_and_again() -> None:
        for _ in range(100):
            with contextlib.suppress(OSError):
                pipe.write_bytes(text)

    threading.Thread(target=write_again_and_again, daemon=True).start()
    with pytest.raises(mysql.connector.Error, match="rolled back"):
        seed_imported.insert_data(connection, pipe)
    assert failures() == 1
    assert query("SELECT COUNT(*) FROM user_data") == [(0,)]


def test_a_lock_wait_is_waited_for_once_and_tells_who_to_look_for(own_server, run):
    assert run("seed.py").returncode == 0
    with own_server.connect(database="ALX_prodev") as other:
        other.cmd_query("SET GLOBAL innodb_lock_wait_timeout = 1")
        other.cmd_query("START TRANSACTION")
        other.cmd_query("UPDATE user_data SET age = 1")
        begun = "SHOW GLOBAL STATUS LIKE 'Com_begin'"
        before = int(other.info_query(begun)[1])
        done = run("seed.py")
        assert int(other.info_query(begun)[1]) - before == 1
        assert done.returncode == 1
        assert done.stderr.endswith(
            f"(error 1205, as root at 127.0.0.1:{own_server.port}). Another transaction holds "
            "those rows: run it again when that has ended "
            "(SELECT * FROM information_schema.innodb_trx shows whose it is).\n"
        )
        ids = "SELECT trx_mysql_thread_id FROM information_schema.innodb_trx"
        assert other.info_query(ids) == (other.connection_id,)


@in_one_process
@pytest.mark.parametrize("reached", [False, True])
def test_a_connection_lost_in_a_commit_is_all_or_nothing(
    own_server, seed_imported, run, query, monkeypatch, reached
):
    """The reply is lost; whether the COMMIT was, too, only the server knows."""
    assert run("seed.py", os.devnull).returncode == 1  # makes the table
    with Proxy((own_server.host, own_server.port)) as proxy:
        monkeypatch.setenv("MYSQL_PORT", str(proxy.port))

        def last_batch(rows: int, share: float) -> None:
            proxy.cut_replies()
            if not reached:
                kill_connections(own_server)

        with seed_imported.connect_to_prodev() as connection, pytest.raises(
            mysql.connector.Error
        ) as error:
            seed_imported.insert_data(connection, seed_imported.CSV_FILE, last_batch)
        assert error.value.errno in seed_imported.HINTS[seed_imported.LOST]
        monkeypatch.setenv("MYSQL_PORT", str(own_server.port))
        count = "SELECT COUNT(*) FROM user_data"
        expected = 1000 if reached else 0
        wait_until(lambda: query(count) == [(expected,)])
    assert "An import is there whole or not at all." in seed_imported.LOST
    again = f"{1000 - expected} users inserted, {expected} already there\n"
    assert run("seed.py").stdout.endswith(again)


def test_a_server_that_ends_an_import_ends_its_reading(connection, seed_imported, shuffled_file):
    """An error of either side, and a reader that is ahead of it: one error, and no thread left."""
    file = shuffled_file(5000, 0)
    with open(file, "a", encoding="utf-8") as text:
        text.write("not a user\n")
    threads = threading.active_count()
    with pytest.raises(ValueError, match=r":5002: 1 fields instead of 4$"):
        seed_imported.insert_data(connection, file)

    def stop(rows: int, share: float) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        seed_imported.insert_data(connection, file, stop)
    connection.cmd_query("ALTER TABLE user_data ADD CHECK (age < 0)")
    with pytest.raises(mysql.connector.Error):
        seed_imported.insert_data(connection, file)
    assert threading.active_count() == threads
    assert connection.info_query("SELECT COUNT(*) FROM user_data") == (0,)


@pytest.mark.parametrize("who", ["import", "server"])
def test_an_import_killed_leaves_nothing_and_completes_later(
    own_server, seed_imported, start, tmp_path, run, who
):
    file = tmp_path / "users.csv"
    with open(file, "w", encoding="utf-8", newline="") as text:
        write_csv(text, 60_000)
    assert run("seed.py", os.devnull).returncode == 1  # makes the table
    process = start("seed.py", file)
    with seed_imported.connect_db() as connection:
        progress = "SELECT COALESCE(MAX(trx_rows_modified), 0) FROM information_schema.innodb_trx"
        wait_until(lambda: connection.info_query(progress)[0] >= 5000, process, INNODB_TRX_PAUSE)
        if who == "import":
            process.kill()
    if who == "server":
        own_server.kill()
    _, errors = process.communicate(timeout=60)
    if who == "server":
        assert process.returncode == 1
        assert errors.count("\n") == 1, errors
        assert "The connection was lost before the end: run it again." in errors
        own_server.start()
    connections_left(own_server)
    with seed_imported.connect_to_prodev() as connection:
        assert connection.info_query("SELECT COUNT(*) FROM user_data") == (0,)
        assert seed_imported.insert_data(connection, file) == (60_000, 0)


# Arguments

SIZED = [
    ("1-batch_processing", "stream_users_in_batches", "batch_size", ()),
    ("1-batch_processing", "batch_processing", "batch_size", ()),
    ("2-lazy_paginate", "lazy_pagination", "page_size", ()),
    ("2-lazy_paginate", "paginate_users", "page_size", (0,)),
]
WRONG = [(0, ValueError), (-1, ValueError)]
WRONG += [(value, TypeError) for value in (True, 2.0, "5", None, "1; DROP TABLE user_data")]


def no_connection():
    raise AssertionError("the server was asked")


@pytest.mark.parametrize(("value", "error"), WRONG)
@pytest.mark.parametrize(("script", "function", "name", "others"), SIZED)
def test_wrong_sizes_raise_before_any_query(
    seed_imported, monkeypatch, script, function, name, others, value, error
):
    monkeypatch.setattr(seed_imported, "connect_to_prodev", no_connection)
    with pytest.raises(error, match=name):
        list(getattr(importlib.import_module(script), function)(value, *others))


@pytest.mark.parametrize(
    ("value", "error"), [(-1, ValueError), *(wrong for wrong in WRONG if wrong[1] is TypeError)]
)
def test_wrong_offsets_raise_before_any_query(seed_imported, monkeypatch, value, error):
    monkeypatch.setattr(seed_imported, "connect_to_prodev", no_connection)
    with pytest.raises(error, match="offset"):
        importlib.import_module("2-lazy_paginate").paginate_users(10, value)


@pytest.mark.parametrize("value", ["0", "-1", "x", "1.5", "", "1; DROP TABLE user_data"])
@pytest.mark.parametrize("script", SCRIPTS[:3])
def test_wrong_sizes_on_the_command_line_are_usage_errors(run, script, value):
    done = run(script, "--", value)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"usage: {script} [-h]")
    assert re.search(r"(is not a whole number|must be at least 1, not (0|-1))\n$", done.stderr)
    assert "Traceback" not in done.stderr


def test_no_user_id_can_change_a_statement(connection, query):
    evil = [
        "' OR '1'='1",
        "\\",
        "%s",
        "'; DROP TABLE user_data; --",
        "zz' UNION SELECT 1,2,3,4 -- ",
    ]
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO user_data VALUES (%s, 'Ann', 'a@b', 1)", [(user_id,) for user_id in evil]
        )
    seen = [user["user_id"] for page in lazy_pagination(1) for user in page]
    assert sorted(seen) == sorted(evil)
    assert query("SELECT COUNT(*) FROM user_data") == [(5,)]


def test_a_port_of_another_server_is_one_line(run):
    line = run("0-stream_users.py", MYSQL_HOST="127.0.0.1", MYSQL_PORT=str(free_port())).stderr
    assert line.count("\n") == 1
