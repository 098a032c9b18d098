"""What a stream costs the server and this process, and what it leaves behind: nothing.

Everything is counted, by the server's own log and counters; nothing is timed.
"""

from __future__ import annotations

import gc
import importlib
import time
from functools import partial
from itertools import islice

import pytest
from benchmark import added_memory, in_a_process_of_its_own
from conftest import MANY

from made_users import made_users
from mysql_server import PrivateServer

stream_users = importlib.import_module("0-stream_users").stream_users
stream_users_in_batches = importlib.import_module("1-batch_processing").stream_users_in_batches
lazy_pagination = importlib.import_module("2-lazy_paginate").lazy_pagination
paginate_users = importlib.import_module("2-lazy_paginate").paginate_users
stream_user_ages = importlib.import_module("4-stream_ages").stream_user_ages

GENERATORS = {
    "stream_users": stream_users,
    "stream_users_in_batches": lambda: stream_users_in_batches(50),
    "lazy_pagination": lambda: lazy_pagination(50),
    "stream_user_ages": stream_user_ages,
}


def rows_read(server: PrivateServer) -> int:
    """Return how many rows the server has read in the order of an index since it started."""
    with server.connect() as connection:
        return int(connection.info_query("SHOW GLOBAL STATUS LIKE 'Handler_read_next'")[1])


class Counting:
    """Count what the server is asked for within the block."""

    LOG = """SELECT command_type, CONVERT(argument USING utf8mb4) FROM mysql.general_log
             WHERE thread_id <> CONNECTION_ID()"""

    def __init__(self, server: PrivateServer) -> None:
        self.server = server

    def __enter__(self) -> Counting:
        self.rows_read = -rows_read(self.server)
        with self.server.connect() as connection:
            connection.cmd_query("SET GLOBAL log_output = 'TABLE'")
            connection.cmd_query("TRUNCATE mysql.general_log")
            connection.cmd_query("SET GLOBAL general_log = 1")
        return self

    def __exit__(self, *_: object) -> None:
        with self.server.connect() as connection, connection.cursor() as cursor:
            connection.cmd_query("SET GLOBAL general_log = 0")
            cursor.execute(self.LOG)
            log = cursor.fetchall()
        self.queries = queries = [text for command, text in log if command == "Query"]
        self.connections = sum(command == "Connect" for command, _ in log)
        self.selects = sum("FROM user_data" in text for text in queries)
        self.kills = sum(text.startswith("KILL QUERY IS_USED_LOCK(") for text in queries)
        self.rows_read += rows_read(self.server)


def connections_left(server: PrivateServer) -> list[tuple]:
    """Return the other client connections, after those that are just closing have gone."""
    for _ in range(100):
        with server.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SHOW PROCESSLIST")
            others = [
                row
                for row in cursor.fetchall()
                if row[0] != connection.connection_id
                and row[1] not in ("system user", "event_scheduler")
            ]
        if not others:
            break
        time.sleep(0.05)
    return others


@pytest.mark.parametrize("name", ["stream_users", "stream_users_in_batches", "stream_user_ages"])
def test_a_whole_stream_is_one_select_on_one_connection(server_with, name):
    server = server_with(10_000)
    with Counting(server) as count:
        assert sum(1 for _ in GENERATORS[name]()) == (200 if "batches" in name else 10_000)
    assert (count.selects, count.connections, count.kills) == (1, 1, 0)
    assert connections_left(server) == []


def test_pages_are_one_select_each_on_one_connection(server_with):
    server = server_with(10_000)
    with Counting(server) as count:
        assert sum(1 for _ in lazy_pagination(100)) == 100
    # One more finds that there is nothing left.
    assert (count.selects, count.connections, count.kills) == (101, 1, 0)
    # An OFFSET would read 100 + 200 + ... + 10,000 = 505,000 rows.
    assert count.rows_read <= 10_101
    assert connections_left(server) == []


def test_a_page_by_offset_is_one_select_on_one_connection(server_with):
    server = server_with(10_000)
    with Counting(server) as count:
        assert len(paginate_users(100, 500)) == 100
    assert (count.selects, count.connections, count.kills) == (1, 1, 0)


def stop_by_close(rows):
    next(rows)
    rows.close()


def stop_by_islice(rows):
    assert len(list(islice(rows, 6))) == 6


def stop_by_break(rows):
    for _ in rows:
        break


def stop_by_exception(rows):
    def consume():
        for _ in rows:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        consume()


def stop_by_garbage_collection(rows):
    # In a cycle: the reference count alone does not end it.
    cycle = [rows]
    cycle.append(cycle)
    next(rows)


@pytest.mark.parametrize("name", ["stream_users", "stream_users_in_batches", "stream_user_ages"])
@pytest.mark.parametrize(
    "stop",
    [stop_by_close, stop_by_islice, stop_by_break, stop_by_exception, stop_by_garbage_collection],
)
def test_a_stop_reads_no_more_and_leaves_nothing(server_with, name, stop):
    server = server_with()
    with Counting(server) as count:
        stop(GENERATORS[name]())
        gc.collect()
    assert (count.selects, count.connections, count.kills) == (1, 2, 1)
    assert count.rows_read < MANY * 0.9  # what fits into the socket, not what is left
    assert connections_left(server) == []


def test_pages_that_are_given_up_leave_nothing(server_with):
    server = server_with()
    with Counting(server) as count:
        stop_by_close(lazy_pagination(50))
    assert (count.selects, count.connections, count.kills) == (1, 1, 0)
    assert connections_left(server) == []


def test_a_stop_without_a_second_connection_still_closes(server_with, monkeypatch):
    server = server_with()
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE USER IF NOT EXISTS single@localhost WITH MAX_USER_CONNECTIONS 1")
        cursor.execute("GRANT SELECT ON ALX_prodev.* TO single@localhost")
    monkeypatch.setenv("MYSQL_USER", "single")
    monkeypatch.setenv("MYSQL_PASSWORD", "")
    with Counting(server) as count:
        stop_by_close(stream_users())
    assert count.kills == 0
    assert connections_left(server) == []


@pytest.fixture
def short_timeouts(server_with):
    """The server gives up on a client after a second, unless it is asked for more."""
    server = server_with()
    with server.connect() as connection:
        for name in ("net_write_timeout", "wait_timeout"):
            (old,) = connection.info_query(f"SELECT @@GLOBAL.{name}")
            connection.cmd_query(f"SET GLOBAL {name} = 1")
            setattr(server, name, old)
    yield server
    with server.connect() as connection:
        for name in ("net_write_timeout", "wait_timeout"):
            connection.cmd_query(f"SET GLOBAL {name} = {getattr(server, name)}")


def test_a_pause_does_not_end_a_stream(short_timeouts):
    rows = stream_users()
    next(rows)
    time.sleep(3)
    assert sum(1 for _ in rows) == MANY - 1


def test_a_pause_does_not_end_the_pages(short_timeouts):
    pages = lazy_pagination(MANY // 2)
    next(pages)
    time.sleep(3)
    assert sum(len(page) for page in pages) == MANY // 2


def test_pages_hold_no_transaction_open(server_with, query):
    server_with(10_000)
    pages = lazy_pagination(100)
    next(pages)
    assert query("SELECT * FROM information_schema.innodb_trx") == []


def test_pages_neither_skip_nor_repeat_while_others_come_and_go(connection, seed, query):
    everyone = sorted(islice(made_users(), 400))
    there_all_along, others = everyone[::2], everyone[1::2]
    insert = "INSERT INTO user_data VALUES (%s, %s, %s, %s)"
    with connection.cursor() as cursor:
        cursor.executemany(insert, there_all_along + others[::2])
        seen = []
        coming, going = others[1::2], others[::2]
        for page in lazy_pagination(10):
            seen += [user["user_id"] for user in page]
            # Before and after the place that the pages have reached.
            for at in (0, -1):
                if coming:
                    cursor.execute(insert, coming.pop(at))
                if going:
                    cursor.execute("DELETE FROM user_data WHERE user_id = %s", (going.pop(at)[0],))
    assert seen == sorted(set(seen))
    assert {user[0] for user in there_all_along} <= set(seen)


def test_a_user_with_an_empty_id_is_on_a_page(connection, query):
    connection.cmd_query("INSERT INTO user_data VALUES ('', 'Ann', 'ann@example.com', 30)")
    assert [user["name"] for page in lazy_pagination(10) for user in page] == ["Ann"]


def test_users_come_in_order_without_an_index_to_give_it(connection):
    connection.cmd_query("DROP TABLE user_data")
    connection.cmd_query(
        "CREATE TABLE user_data (user_id CHAR(1), name CHAR(1), email CHAR(1), age INT)"
    )
    for user_id in "dcba":
        connection.cmd_query(f"INSERT INTO user_data VALUES ('{user_id}', '', '', 1)")
    batches, pages = list(stream_users_in_batches(3)), list(lazy_pagination(3))
    assert [user["user_id"] for user in stream_users()] == list("abcd")
    assert [user["user_id"] for batch in batches for user in batch] == list("abcd")
    assert [user["user_id"] for page in pages for user in page] == list("abcd")
    assert [user["user_id"] for user in paginate_users(2, 1)] == list("bc")


@pytest.mark.parametrize("size", [1, 7, 50, 100, 101, 250, 999, 1000, 1001])
def test_ways_to_fetch_can_be_mixed(seeded, seed, size):
    with seed.open_stream(seed.UserCursor) as cursor:
        cursor.execute(seed.SELECT_USERS + " ORDER BY user_id")
        expected = cursor.fetchall()
        assert len(expected) == 1000
        assert cursor.fetchall() == cursor.fetchmany(5) == []
        assert cursor.fetchone() is None
        cursor.execute(seed.SELECT_USERS + " ORDER BY user_id")
        rows = [cursor.fetchone(), *cursor.fetchmany(size)]
        if size < 999:
            assert len(rows) == 1 + size
            rows.append(cursor.fetchone())
        rows += cursor.fetchmany(size)
        rows += cursor.fetchall()
        assert rows == expected


def test_the_pure_python_driver_gives_the_same(seeded, run):
    arguments = {"0-stream_users.py": ["5000"], "1-batch_processing.py": ["1"]}
    for script in ("0-stream_users.py", "1-batch_processing.py", "2-lazy_paginate.py"):
        expected = run(script, *arguments.get(script, []))
        without_extension = (
            "import sys, runpy; sys.modules['_mysql_connector'] = None; "
            f"sys.argv = ['{script}', *{arguments.get(script, [])}]; sys.path.insert(0, '.'); "
            f"runpy.run_path('{script}', run_name='__main__'); "
            "import mysql.connector; assert not mysql.connector.HAVE_CEXT"
        )
        done = run("-c", without_extension)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == expected.stdout


def drain(rows: int, name: str) -> None:
    for _ in GENERATORS[name]():
        pass


@pytest.mark.parametrize("name", GENERATORS)
def test_memory_does_not_grow_with_the_table(server_with, name):
    added = {}
    for rows in (10_000, MANY):
        server_with(rows)
        added[rows] = in_a_process_of_its_own(added_memory, partial(drain, name=name), rows)
    assert added[MANY] < added[10_000] + 1, added


def import_file(rows: int, file: str) -> None:
    import seed

    with seed.connect_to_prodev() as connection:
        connection.cmd_query("DELETE FROM user_data")
        assert seed.insert_data(connection, file) == (rows, 0)


def test_memory_does_not_grow_with_the_file(server_with):
    added = {}
    for rows in (10_000, MANY):
        server = server_with(10_000)
        server.rows = 0  # what it has will have changed
        work = partial(import_file, file=str(server.files[rows]))
        added[rows] = in_a_process_of_its_own(added_memory, work, rows)
    assert added[MANY] < added[10_000] + 1, added
