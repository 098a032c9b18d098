"""Servers that die, connections that are killed, imports at once, wrong arguments."""

from __future__ import annotations

import importlib
import os
import random
import re
import signal
import subprocess
import sys
import threading

import mysql.connector
import pytest
from conftest import wait_until
from test_streams import GENERATORS, connections_left, lazy_pagination

from made_users import made_users, write_csv
from mysql_server import free_port

INNODB_TRX_PAUSE = 0.15  # seconds: what innodb_trx shows is kept for 0.1 s after each look
SCRIPTS = {
    "0-stream_users.py": ["1000000"],
    "1-batch_processing.py": [],
    "2-lazy_paginate.py": [],
    "4-stream_ages.py": [],
}


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
        with pytest.raises(mysql.connector.Error):
            sum(1 for _ in rows)
    finally:
        if fault != "connection killed":
            server.stop()
            server.start()
    assert connections_left(server) == []


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("fault", ["connection killed", "server killed"])
def test_a_script_that_is_cut_ends_with_one_line(server_with, project, script, fault):
    server = server_with()
    process = subprocess.Popen(
        [sys.executable, script, *SCRIPTS[script]],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    # Stopped in the middle: while its query runs, or once it has printed what nobody reads on.
    if "ages" in script:
        wait_until(
            lambda: any("FROM user_data" in str(row[7]) for row in processes(server)), process
        )
    else:
        assert os.read(process.stdout.fileno(), 1)
    process.send_signal(signal.SIGSTOP)
    try:
        FAULTS[fault](server)
        process.send_signal(signal.SIGCONT)
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        if fault != "connection killed":
            server.stop()
            server.start()
    assert process.returncode == 1, errors
    assert errors.count("\n") == 1, errors
    assert errors.startswith(f"{script}: ")
    assert "The connection was lost before the end: run it again." in errors
    assert "Average" not in output


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


@pytest.fixture
def import_file(tmp_path):
    """A function that writes a file of users, in an order of its own, and returns its path."""

    def import_file(count: int, order: int) -> str:
        rows = [",".join(map(str, (u[0], f"name {u[3]}", u[2], u[3]))) for u in first_users(count)]
        random.Random(order).shuffle(rows)
        file = tmp_path / f"{order}.csv"
        file.write_text("\n".join(["user_id,name,email,age", *rows]), encoding="utf-8")
        return str(file)

    return import_file


def first_users(count: int) -> list[tuple]:
    return [user for user, _ in zip(made_users(), range(count))]


def test_eight_imports_at_once_all_succeed(connection, seed_imported, import_file, query, project):
    files = [import_file(5000, order) for order in range(8)]
    processes = [
        subprocess.Popen(
            [sys.executable, "seed.py", file],
            cwd=project,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for file in files
    ]
    reports = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0] * 8, reports
    counts = [report[0].splitlines()[-1].split() for report in reports]
    assert sum(int(count[0]) for count in counts) == 5000
    assert {int(count[0]) + int(count[3]) for count in counts} == {5000}
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


def test_trying_again_has_an_end(connection, seed_imported, monkeypatch):
    tries = []

    def insert_data_once(*_):
        tries.append(1)
        raise mysql.connector.errors.InternalError("Deadlock found", errno=1213)

    monkeypatch.setattr(seed_imported, "insert_data_once", insert_data_once)
    monkeypatch.setattr(seed_imported.time, "sleep", lambda _: None)
    with pytest.raises(mysql.connector.Error, match="Deadlock"):
        seed_imported.insert_data(connection, seed_imported.CSV_FILE)
    assert len(tries) == seed_imported.ATTEMPTS


@pytest.mark.parametrize("who", ["import", "server"])
def test_an_import_killed_leaves_nothing_and_completes_later(
    own_server, seed_imported, project, tmp_path, run, who
):
    file = tmp_path / "users.csv"
    with open(file, "w", encoding="utf-8", newline="") as text:
        write_csv(text, 60_000)
    assert run("seed.py", os.devnull).returncode == 1  # makes the table
    process = subprocess.Popen(
        [sys.executable, "seed.py", str(file)],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
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
@pytest.mark.parametrize("script", list(SCRIPTS)[:3])
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
