"""What a stream costs the server and this process, how it is stopped and cut; nothing is timed."""

import contextlib
import gc
import itertools
import random
import signal
import subprocess
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import mysql.connector
import pytest

import helpers
import seed
from helpers import GENERATORS, INSERT, SCRIPTS, WIDE, ages, batches, counting, pages, query, stream

COSTS = {  # of 1,000 users: how many values, from how many SELECTs
    "stream_users": (1000, 1),
    "stream_users_in_batches": (20, 1),
    "stream_user_ages": (1000, 1),
    "lazy_pagination": (20, 21),  # the last page finds that there is nothing left
}


@pytest.mark.parametrize("name", COSTS)
def test_what_a_stream_costs_the_server(seeded, server, name):
    seeded.close()
    values, selects = COSTS[name]
    with counting(server) as count:
        assert sum(1 for _ in GENERATORS[name]()) == values
    assert (count.selects, count.connections) == (selects, 1)
    assert count.rows_read <= 1_021  # by OFFSET, pages would read 50 + 100 + ... + 1,000 = 10,500
    server.wait_until_left_alone()


def test_ages_come_in_whatever_order_is_fastest(seeded, server):
    with counting(server) as count:
        assert {type(age) for age in ages.stream_user_ages()} == {int}
    assert "SELECT age FROM user_data" in count.queries


def test_a_page_by_offset_is_one_select(seeded, server):
    with counting(server) as count:
        assert len(pages.paginate_users(100, 500)) == 100
    assert (count.selects, count.connections) == (1, 1)


@pytest.mark.parametrize("how", ["closed", "forgotten"])
def test_a_stop_reads_no_more_and_leaves_nothing(wide, how):
    for name, generator in GENERATORS.items():
        with counting(wide) as count:
            rows = generator()
            cycle = [next(rows)]
            cycle.append([rows, cycle])  # so the reference count alone does not end it
            if how == "closed":
                rows.close()
            del rows, cycle
            gc.collect()
        assert (count.selects, count.connections) == (1, 1)
        if name != "stream_user_ages":  # all of these fit into a socket's buffers
            # A page is read whole, and no more than it.
            assert count.rows_read < (100 if name == "lazy_pagination" else WIDE * 0.9)
    code = "rows = __import__('0-stream_users').stream_users(); next(rows)"  # open at the exit
    assert helpers.shell(f'python -c "{code}"') == (0, "", "")
    wide.wait_until_left_alone()


@pytest.mark.parametrize("how", [{"cursor_class": seed.UserCursor}, {"dictionary": True}])
@pytest.mark.parametrize("read", [0, 1, 5, 150, 3000])
def test_a_hang_up(wide, how, read):
    """A stream is left, its cursor is used afterwards, and its connection closed once more."""
    left = contextlib.suppress(ZeroDivisionError)
    with counting(wide) as count, left, seed.open_stream(**how) as cursor:
        connection = cursor._connection
        cursor.execute(seed.SELECT_USERS)
        assert None not in [cursor.fetchone() for _ in range(read)]
        raise ZeroDivisionError
    wide.wait_until_left_alone()
    assert (count.selects, count.connections) == (1, 1)
    assert count.rows_read < WIDE * 0.9
    with pytest.raises((mysql.connector.Error, ReferenceError)):
        list(iter(cursor.fetchone, None))
    with contextlib.suppress(ReferenceError):
        connection.close()


def test_hang_ups_in_threads_with_tls_and_compressed(wide, monkeypatch):
    # (Without its C extension the driver cannot read what is compressed.)
    compress = {"compress": mysql.connector.HAVE_CEXT}
    connect, how = mysql.connector.connect, itertools.cycle([{}, compress, {"ssl_disabled": True}])
    monkeypatch.setattr("mysql.connector.connect", lambda **each: connect(**each | next(how)))

    def stop(_: int) -> None:
        rows = stream.stream_users()
        assert next(rows)
        rows.close()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(stop, range(24)))
    wide.wait_until_left_alone()


def test_two_streams_of_one_process(wide):
    left, read = stream.stream_users(), stream.stream_users()
    assert next(left) == next(read)
    left.close()
    assert sum(1 for _ in read) == WIDE - 1


@pytest.mark.parametrize("fault", ["kill_connections", "stop", "kill", "cut_replies"])
def test_a_stream_that_is_cut_raises(wide, settings, fault):
    with helpers.router(wide) as (port, cut_replies):
        settings(PORT=port)
        streams = [GENERATORS[name]() for name in GENERATORS if name != "stream_user_ages"]
        for rows in streams:
            next(rows)
        with seed.open_stream(cursor_class=seed.UserCursor) as cursor:
            cursor.execute(seed.SELECT_USERS)
            cut_replies() if fault == "cut_replies" else getattr(wide, fault)()
            for read in (cursor.fetchall, *(lambda rows=rows: list(rows) for rows in streams)):
                with pytest.raises(mysql.connector.Error):
                    read()


SERVER = {"sql_select_limit": 10, "net_write_timeout": 1, "wait_timeout": 1, "max_join_size": 10}


def test_no_limit_of_the_server_and_no_pause_cuts_a_stream(wide, with_global):
    for name, value in SERVER.items():
        with_global(name, value)
    streams = [generator() for generator in GENERATORS.values()]
    for rows in streams:
        next(rows)
    time.sleep(2)
    sizes = [1 + sum(1 for _ in rows) for rows in streams]
    assert sizes == [WIDE, WIDE / 50, WIDE, WIDE / 50]


def test_pages_neither_skip_nor_repeat_while_others_come_and_go(empty):
    everyone = sorted(helpers.first_users(400))
    there_all_along, others = everyone[::2], everyone[1::2]
    with empty.cursor() as cursor:
        cursor.executemany(INSERT, there_all_along + others[::2])
        seen = []
        coming, going = others[1::2], others[::2]
        for page in pages.lazy_pagination(10):
            seen += [user["user_id"] for user in page]
            assert query("SELECT * FROM information_schema.innodb_trx") == []
            # Before and after the place that the pages have reached.
            for at in (0, -1) if coming else ():
                cursor.execute(INSERT, coming.pop(at))
                cursor.execute("DELETE FROM user_data WHERE user_id = %s", (going.pop(at)[0],))
    assert seen == sorted(set(seen))
    assert {user[0] for user in there_all_along} <= set(seen)


def test_what_the_caller_does_to_a_page_changes_nothing_about_the_next(seeded):
    users = list(stream.stream_users())
    for change in (list.reverse, list.clear, lambda page: page[-1].update(user_id="***")):
        names = []
        for page in pages.lazy_pagination(60):
            names += [user["name"] for user in page]
            change(page)
        assert names == [user["name"] for user in users]


def test_pages_go_on_after_a_user(seeded):
    ids = [user["user_id"] for user in stream.stream_users()]
    lists = list(pages.lazy_pagination(70, after=ids[499]))
    assert [len(page) for page in lists] == [70] * 7 + [10]
    assert [user["user_id"] for page in lists for user in page] == ids[500:]
    assert list(pages.lazy_pagination(7, after="g")) == []
    for after in (500, True, b"x"):
        with pytest.raises(TypeError, match="after must be a user_id, not"):
            next(pages.lazy_pagination(100, after))


def test_users_come_in_order_without_an_index_to_give_it(empty, with_global):
    """Ids are sorted by all of their characters, whatever these are."""
    with_global("max_sort_length", 64)
    change = "DROP PRIMARY KEY, DROP KEY idx_user_id, MODIFY user_id VARCHAR(99)"
    empty.cmd_query(f"ALTER TABLE user_data {change}")
    long = [f"{'x' * 90}{number:03}" for number in range(300)]
    odd = ["", "' OR '1'='1", "\\", "%s", "'; DROP TABLE user_data; --", "z' UNION SELECT 1,2,3,4"]
    with empty.cursor() as cursor:
        keys = random.Random(1).sample(long + odd, len(long + odd))
        cursor.executemany(INSERT, [(key, "Ann", "a@b", 1) for key in keys])
    for users in (
        list(stream.stream_users()),
        sum(batches.stream_users_in_batches(70), []),
        sum(pages.lazy_pagination(1), []),
        pages.paginate_users(100, 0) + pages.paginate_users(1000, 100),
    ):
        ids = [user["user_id"] for user in users]
        assert [each for each in ids if each[:1] == "x"] == long
        assert sorted(ids) == sorted(long + odd)


@pytest.mark.parametrize("size", [1, 7, 100, 101, 250, 1000, 1001])
def test_ways_to_fetch_can_be_mixed(seeded, size):
    with seed.open_stream(cursor_class=seed.UserCursor) as cursor:
        cursor.execute(seed.SELECT_USERS + " ORDER BY user_id")
        expected = cursor.fetchall()
        assert (len(expected), cursor.fetchall(), cursor.fetchmany(5)) == (1000, [], [])
        assert cursor.fetchone() is None
        cursor.execute(seed.SELECT_USERS + " ORDER BY user_id")
        users = [cursor.fetchone(), *cursor.fetchmany(size), *cursor.fetchmany()]
        assert len(users) == min(2 + size, 1000)
        users += cursor.fetchmany(3) + cursor.fetchall()
        assert [user for user in users if user] == expected


def peak(work, *arguments) -> float:
    """Return the most that the work adds to the memory that Python has given out, in MiB."""
    tracemalloc.start()
    seed.connect_to_prodev().close()
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    work(*arguments)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return (most - before) / 2**20


def test_memory_does_not_grow_with_the_table(wide):
    for name, generator in GENERATORS.items():
        assert peak(sum, (0 for _ in generator())) < 1, name
    assert peak(ages.calculate_average_age) < 0.1
    assert peak(list, ages.stream_user_ages()) > 0.15  # what a list takes is seen


def test_memory_does_not_grow_with_the_file(empty, csv_file):
    assert peak(seed.insert_data, empty, csv_file(20_000)) < 4  # in a list, they take 8


@pytest.mark.parametrize("script", SCRIPTS)
def test_ctrl_c_while_the_server_is_silent_or_nobody_reads(wide, start, script):
    def press_ctrl_c() -> None:  # twice
        done = helpers.ended(process, signal.SIGINT, signal.SIGINT)
        assert (done.status, done.errors) == (-signal.SIGINT, "")

    with wide.connect(database="ALX_prodev") as other:
        other.cmd_query("LOCK TABLES user_data WRITE")
        process = start(script)
        helpers.wait_until(lambda: wide.connections("Waiting for table"), process)
        press_ctrl_c()
    if script != SCRIPTS[3]:  # which prints but one line
        process = start(script, *helpers.ALL_USERS[script], stdout=subprocess.PIPE)
        assert process.stdout.read(1) == "{"
        press_ctrl_c()
    wide.wait_until_left_alone()
