#!/usr/bin/env python3
"""Measure the generators against the traditional ways, on a private server, and print Markdown.

    python3 tests/benchmark.py [ROWS]

Time is the median of several rounds that take turns; memory is the most that the work adds to its
process, sampled by memory_profiler in a process of its own. Progress goes to stderr.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import importlib
import multiprocessing
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import mysql.connector
from memory_profiler import memory_usage

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import seed  # noqa: E402
from made_users import made_users, write_csv  # noqa: E402
from mysql_server import PrivateServer, free_port  # noqa: E402

stream = importlib.import_module("0-stream_users")
batches = importlib.import_module("1-batch_processing")
pages = importlib.import_module("2-lazy_paginate")
ages = importlib.import_module("4-stream_ages")

ROUNDS = 3
BATCH_SIZE = 1000
PAGE_SIZE = 100
SAMPLE_PAGES = 20  # of those by OFFSET, evenly spaced
SAMPLE_ROWS = 20_000  # of those inserted one by one
IMPORT_ROWS = 100_000  # for the time of an import against its batch size
IN_MEMORY_ROWS = 200_000  # imported in order: a server's memory holds them by default
BATCH_SIZES = [1, 10, 100, 1000, 10_000]
DEPTHS = [0, 0.25, 0.5, 0.9]  # shares of the users before a page
PAGE_ROUNDS = 7  # the first of them may find nothing in the server's memory
NO_INDEXES = "COMMENT ''"
INDEXES = "ADD INDEX idx_age (age), ADD INDEX idx_email (email)"
CHART_SHARES = [0.2, 0.4, 0.6, 0.8, 1.0]  # of the users, for memory against users
FOLDER = "MEASURED_FOLDER"  # the environment variable that tells the processes where the files are


def csv_file(rows: int) -> Path:
    """Return the path of the file with so many users."""
    return Path(os.environ[FOLDER], f"{rows}.csv")


def in_order(rows: int) -> Path:
    """Return the path of a file of so many users in order of user_id."""
    file = Path(os.environ[FOLDER], "in_order.csv")
    if not file.exists():
        with open(file, "w", encoding="utf-8", newline="") as text:
            text.write("user_id,name,email,age\n")
            csv.writer(text, lineterminator="\n").writerows(sorted(islice(made_users(), rows)))
    return file


def fetch_all(query: str, **kind: Any) -> list:
    """Return a whole result at once, as the usual version of this exercise does."""
    with seed.connect_to_prodev() as connection:
        cursor = connection.cursor(**kind)
        cursor.execute(query)
        return cursor.fetchall()


@contextmanager
def dictionary_cursor() -> Iterator[Any]:
    """Give the driver's own unbuffered dictionary cursor, all users before it."""
    with seed.connect_to_prodev() as connection:
        cursor = connection.cursor(dictionary=True)
        cursor.execute(seed.SELECT_USERS)
        yield cursor


def load_fetchall(rows: int) -> None:
    users = fetch_all(seed.SELECT_USERS, dictionary=True)
    assert sum(1 for _ in users) == rows


def load_generator(rows: int) -> None:
    assert sum(1 for _ in stream.stream_users()) == rows


def load_fetchone(rows: int) -> None:
    with dictionary_cursor() as cursor:
        users = 0
        while cursor.fetchone() is not None:
            users += 1
    assert users == rows


def batches_fetchmany(rows: int) -> None:
    with dictionary_cursor() as cursor:
        users = 0
        while batch := cursor.fetchmany(BATCH_SIZE):
            users += len(batch)
    assert users == rows


def batches_generator(rows: int, batch_size: int = BATCH_SIZE) -> None:
    assert sum(len(batch) for batch in batches.stream_users_in_batches(batch_size)) == rows


def filter_fetchall(rows: int) -> None:
    users = fetch_all(seed.SELECT_USERS, dictionary=True)
    over_25 = [user for user in users if user["age"] > 25]
    assert 0 < len(over_25) < rows


def filter_generator(rows: int) -> None:
    over_25 = 0
    for batch in batches.stream_users_in_batches(BATCH_SIZE):
        over_25 += len([user for user in batch if user["age"] > 25])
    assert 0 < over_25 < rows


def average_fetchall(rows: int) -> None:
    all_ages = fetch_all("SELECT age FROM user_data")
    assert 18 < sum(age for (age,) in all_ages) / len(all_ages) < 100


def average_generator(rows: int) -> None:
    assert 18 < ages.calculate_average_age() < 100


def pages_fetchall(rows: int) -> None:
    users = fetch_all(seed.SELECT_USERS + " ORDER BY user_id", dictionary=True)
    assert sum(len(users[at : at + PAGE_SIZE]) for at in range(0, rows, PAGE_SIZE)) == rows


def pages_offset(rows: int) -> float:
    """Measure a sample of pages; return the factor from them to all pages."""
    offsets = range(0, rows, max(PAGE_SIZE, rows // SAMPLE_PAGES))
    for offset in offsets:
        fetch_all(f"{seed.SELECT_USERS} LIMIT {PAGE_SIZE} OFFSET {offset}", dictionary=True)
    return rows / PAGE_SIZE / len(offsets)


def pages_generator(rows: int) -> None:
    assert sum(len(page) for page in pages.lazy_pagination(PAGE_SIZE)) == rows


def stop_fetchall(rows: int) -> None:
    assert len(fetch_all(seed.SELECT_USERS, dictionary=True)[:6]) == 6


def stop_close(rows: int) -> None:
    with dictionary_cursor() as cursor:  # which closes the connection, and nothing else
        assert all(cursor.fetchone() for _ in range(6))


def stop_generator(rows: int) -> None:
    assert len(list(islice(stream.stream_users(), 6))) == 6


def empty_table(**settings: Any) -> mysql.connector.MySQLConnection:
    """Return a connection to the database, whose table is new."""
    settings = {**seed.connection_settings(), "database": seed.DATABASE, **settings}
    del settings["ssl_mode"]  # which is not the driver's
    connection = mysql.connector.connect(**settings, autocommit=True)
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS user_data")
        cursor.execute(seed.CREATE_TABLE)
    return connection


def seed_row_by_row(rows: int) -> float:
    """Insert a sample, one statement and one commit a row; return the factor to all rows."""
    connection = empty_table()
    with open(csv_file(rows), encoding="utf-8", newline="") as file:
        users = list(islice(csv.reader(file), 1, 1 + SAMPLE_ROWS))
    with connection, connection.cursor() as cursor:
        for user in users:
            cursor.execute("INSERT INTO user_data VALUES (%s, %s, %s, %s)", user)
    return rows / len(users)


def load_data(file: Path, rows: int) -> None:
    with empty_table(allow_local_infile=True) as connection, connection.cursor() as cursor:
        cursor.execute("SET GLOBAL local_infile = 1")
        cursor.execute(
            "LOAD DATA LOCAL INFILE %s INTO TABLE user_data CHARACTER SET utf8mb4 "
            "FIELDS TERMINATED BY ',' OPTIONALLY ENCLOSED BY '\"' "
            "LINES TERMINATED BY '\\n' IGNORE 1 LINES",
            (str(file),),
        )
        assert cursor.rowcount == rows


def import_csv(file: Path, rows: int) -> None:
    with empty_table() as connection:
        assert seed.insert_data(connection, file) == (rows, 0)


def seed_load_data(rows: int) -> None:
    load_data(csv_file(rows), rows)


def seed_generator(rows: int, batch_size: int = BATCH_SIZE) -> None:
    seed.BATCH_SIZE = batch_size
    import_csv(csv_file(rows), rows)


def in_order_load_data(rows: int) -> None:
    rows = min(rows, IN_MEMORY_ROWS)
    load_data(in_order(rows), rows)


def in_order_generator(rows: int) -> None:
    rows = min(rows, IN_MEMORY_ROWS)
    import_csv(in_order(rows), rows)


Work = Callable[[int], Any]


class Comparison(NamedTuple):
    """A row of the table: what is done, the traditional way by name, and both as functions."""

    task: str
    way: str
    traditional: Work
    generator: Work


COMPARISONS = [
    Comparison("load users", "`fetchall()`", load_fetchall, load_generator),
    Comparison("load users", "the driver's `fetchone()`", load_fetchone, load_generator),
    Comparison(
        "batches of 1,000", "the driver's `fetchmany()`", batches_fetchmany, batches_generator
    ),
    Comparison("filter users over 25", "`fetchall()`", filter_fetchall, filter_generator),
    Comparison("average age", "`fetchall()`", average_fetchall, average_generator),
    Comparison("pages of 100", "`fetchall()`, cut", pages_fetchall, pages_generator),
    Comparison("pages of 100", "`OFFSET`", pages_offset, pages_generator),
    Comparison("stop after 6 users", "`fetchall()`", stop_fetchall, stop_generator),
    Comparison("stop after 6 users", "`close()` alone", stop_close, stop_generator),
    # Last, as they leave another table behind.
    Comparison("seed", "one `INSERT` a row", seed_row_by_row, seed_generator),
    Comparison("seed", "`LOAD DATA LOCAL INFILE`", seed_load_data, seed_generator),
    Comparison(
        "seed in memory",
        "`LOAD DATA LOCAL INFILE`",
        in_order_load_data,
        in_order_generator,
    ),
]

HEADER = ["task", "traditional way", "its time → the generator's", "its memory → the generator's"]


def measure_time(work: Work, rows: int) -> tuple[float, bool]:
    """Return the seconds that the work takes, and whether they are extrapolated from a sample."""
    start = time.perf_counter()
    factor = work(rows)
    seconds = time.perf_counter() - start
    return seconds * (factor or 1), factor is not None


def added_memory(work: Work, rows: int) -> float:
    """Return the most memory in MiB that the work adds to this process, sampled every 10 ms."""
    seed.connect_to_prodev().close()  # what the driver loads for its first connection is no part
    before = memory_usage(-1, max_usage=True)
    return memory_usage((work, (rows,)), interval=0.01, max_usage=True) - before


def in_a_process_of_its_own(function: Callable, *arguments: Any) -> Any:
    """Return what the function returns in a new Python process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def say(text: str) -> None:
    """Show progress."""
    print(f"{datetime.datetime.now():%H:%M:%S} {text}", file=sys.stderr, flush=True)


def table_row(comparison: Comparison, rows: int) -> list[str]:
    """Measure one comparison and return its cells."""
    ways = (comparison.traditional, comparison.generator)
    times: list[list[float]] = [[], []]
    mark = ""
    for round_ in range(1, ROUNDS + 1):
        for work, taken in zip(ways, times):
            seconds, extrapolated = measure_time(work, rows)
            taken.append(seconds)
            if extrapolated:
                mark = "\\*"  # only a traditional way can take that long
            say(f"{comparison.task}: {work.__name__} {round_}/{ROUNDS}: {seconds:.3f} s")
    slow, fast = map(statistics.median, times)
    large, small = (in_a_process_of_its_own(added_memory, work, rows) for work in ways)
    say(f"{comparison.task}: memory {large:.2f} and {small:.2f} MiB")
    return [
        comparison.task,
        comparison.way,
        f"{slow:,.2f}{mark} → {fast:,.2f} s ({fast / slow - 1:+.1%})",
        f"{large:,.1f} → {small:,.2f} MiB",
    ]


def by_batch_size(work: Callable[[int, int], None], rows: int) -> list[list[str]]:
    """Measure the work with each batch size; return time and memory for each."""
    times: dict[int, list[float]] = {size: [] for size in BATCH_SIZES}
    for _ in range(ROUNDS):
        for size, taken in times.items():
            taken.append(measure_time(partial(work, batch_size=size), rows)[0])
    cells = []
    for size, taken in times.items():
        memory = in_a_process_of_its_own(added_memory, partial(work, batch_size=size), rows)
        cells.append([f"{statistics.median(taken):.2f} s", f"{memory:,.2f} MiB"])
        say(f"{work.__name__} of {size:,}: {', '.join(cells[-1])}")
    return cells


def by_depth(rows: int) -> list[list[str]]:
    """Measure one page at several depths, by OFFSET and by key; return the rows of a table."""
    table = []
    for depth in (int(rows * share) for share in DEPTHS):
        last_user_id = pages.paginate_users(1, depth - 1)[0]["user_id"] if depth else None
        by_key = (
            "WHERE %s IS NULL OR user_id > %s ORDER BY user_id LIMIT %s",
            (last_user_id, last_user_id, PAGE_SIZE),
        )
        by_offset = ("ORDER BY user_id LIMIT %s OFFSET %s", (PAGE_SIZE, depth))
        times, results = [], []
        with seed.open_stream(seed.UserCursor) as cursor:
            # Not in turns: an OFFSET fills the server's memory with the rows that it skips.
            for clause, values in (by_key, by_offset):
                taken = []
                for _ in range(PAGE_ROUNDS):
                    start = time.perf_counter()
                    cursor.execute(f"{seed.SELECT_USERS} {clause}", values)
                    results.append(cursor.fetchall())
                    taken.append(time.perf_counter() - start)
                times.append(f"{statistics.median(taken) * 1000:,.1f} ms")
        assert all(result == results[0] for result in results)
        table.append([f"{depth:,}", *times])
        say(f"a page after {depth:,} users: {table[-1]}")
    return table


def over_25(rows: int) -> None:
    with seed.open_stream(seed.UserCursor) as cursor:
        cursor.execute(f"{seed.SELECT_USERS} WHERE age > 25")
        assert 0 < sum(1 for _ in iter(cursor.fetchone, None)) < rows


def one_email(rows: int) -> None:
    assert fetch_all(f"{seed.SELECT_USERS} WHERE email = '{next(made_users())[2]}'")


def import_with(indexes: str, rows: int) -> None:
    with empty_table() as connection:
        connection.cmd_query(f"ALTER TABLE user_data {indexes}")
        seed.insert_data(connection, csv_file(rows))


def by_index(rows: int) -> list[list[str]]:
    """Measure queries without and with two indexes; return the rows of a table."""
    works = {"`stream_user_ages()`": average_generator, "`... WHERE age > 25`": over_25}
    works["`... WHERE email = ...`"] = one_email
    times: dict[str, list[str]] = {name: [] for name in works}
    for change in (NO_INDEXES, INDEXES):
        with seed.connect_to_prodev() as connection:
            connection.cmd_query(f"ALTER TABLE user_data {change}")
        for name, work in works.items():
            taken = [measure_time(work, rows)[0] for _ in range(ROUNDS)]
            times[name].append(f"{statistics.median(taken):,.3f} s")
    with seed.connect_to_prodev() as connection:
        connection.cmd_query("ALTER TABLE user_data DROP INDEX idx_age, DROP INDEX idx_email")
    say(f"with indexes: {times}")
    return [[name, *cells] for name, cells in times.items()]


def import_by_index(rows: int) -> list[str]:
    """Measure an import without and with the two indexes; return the row of a table."""
    times: dict[str, list[float]] = {NO_INDEXES: [], INDEXES: []}
    for _ in range(ROUNDS):
        for indexes, taken in times.items():
            taken.append(measure_time(partial(import_with, indexes), rows)[0])
    return [f"import of {rows:,}", *(f"{statistics.median(t):,.3f} s" for t in times.values())]


def first_rows_fetchall(rows: int) -> None:
    assert len(fetch_all(f"{seed.SELECT_USERS} LIMIT {rows}", dictionary=True)) == rows


def first_rows_generator(rows: int) -> None:
    assert sum(1 for _ in islice(stream.stream_users(), rows)) == rows


def memory_chart(rows: int) -> str:
    """Measure peak memory against users; return a Mermaid chart."""
    counts = [int(rows * share) for share in CHART_SHARES]
    lines = [
        [in_a_process_of_its_own(added_memory, work, count) for count in counts]
        for work in (first_rows_fetchall, first_rows_generator)
    ]
    say(f"memory against users: {lines}")
    return "\n".join(
        [
            "```mermaid",
            # Bars and a line differ without colours too; the default ones can hardly be seen.
            '%%{init: {"themeVariables": {"xyChart": {"plotColorPalette": "#d62728, #1f77b4"}}}}%%',
            "xychart-beta",
            '    title "Memory added by reading users"',
            "    x-axis users [{}]".format(", ".join(f'"{count:,}"' for count in counts)),
            f"    y-axis MiB 0 --> {max(lines[0]) * 1.1:.0f}",
            *(
                "    {} [{}]".format(kind, ", ".join(f"{mib:.1f}" for mib in line))
                for kind, line in zip(("bar", "line"), lines)
            ),
            "```",
        ]
    )


def markdown_table(header: list[str], rows: list[list[str]], text_columns: int = 0) -> str:
    """Return a table; its columns after the text columns are figures, set to the right."""
    line = ["---"] * text_columns + ["---:"] * (len(header) - text_columns)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [header, line, *rows])


def main() -> None:
    """Make the users, start the server, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", metavar="ROWS", nargs="?", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    import_rows = min(rows, IMPORT_ROWS)
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(HOME=folder, **{FOLDER: folder})
        for count in {rows, import_rows}:
            say(f"making {count:,} users")
            with open(csv_file(count), "w", encoding="utf-8", newline="") as file:
                write_csv(file, count)
        with PrivateServer(Path(folder, "server"), free_port(), password="p") as server:
            os.environ.update(server.environment())
            with seed.connect_db() as connection:
                seed.create_database(connection)
                (version,) = connection.info_query("SELECT VERSION()")
            in_order(min(rows, IN_MEMORY_ROWS))
            say(f"seeding {version}")
            seed_generator(rows)
            chart = memory_chart(rows)
            pages_table = by_depth(rows)
            index_table = by_index(rows)
            reading = by_batch_size(batches_generator, rows)
            table = [table_row(comparison, rows) for comparison in COMPARISONS]
            importing = by_batch_size(seed_generator, import_rows)
            seed.BATCH_SIZE = BATCH_SIZE
            index_table.append(import_by_index(import_rows))
    batch_header = [
        *("batch size", f"{rows:,} users read in", "memory"),
        *(f"{import_rows:,} users imported in", "memory"),
    ]
    batch_table = [[f"{size:,}", *a, *b] for size, a, b in zip(BATCH_SIZES, reading, importing)]
    extension = "with its C extension" if mysql.connector.HAVE_CEXT else "without C extension"
    about = (
        f"{rows:,} users, server {version}, mysql-connector-python {mysql.connector.__version__} "
        f"{extension}, Python {platform.python_version()}, {os.cpu_count()} cores, "
        f"{datetime.date.today()}"
    )
    parts = [
        about,
        markdown_table(HEADER, table, text_columns=2),
        "\\* extrapolated from a sample",
        chart,
        markdown_table(batch_header, batch_table),
        markdown_table(["users before the page", "`user_id > ...`", "`OFFSET`"], pages_table),
        markdown_table(
            [f"{rows:,} users", "without", "`idx_age`, `idx_email`"], index_table, text_columns=1
        ),
    ]
    print("\n\n".join(parts))


if __name__ == "__main__":
    main()
