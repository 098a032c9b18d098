"""Measure the generators against traditional ways, on a private server, and print Markdown.

    python3 tests/benchmark.py [ROWS]

Time is the median of several rounds that take turns; memory is the most that the work adds to its
process, sampled by memory_profiler in a process of its own. Progress goes to stderr.
"""

import argparse
import csv
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import mysql.connector
from memory_profiler import memory_usage

from helpers import ages, batches, csv_text, pages, seed, stream
from made_users import made_users
from mysql_server import PrivateServer, free_port

USERS = seed.SELECT_USERS
ROUNDS = 3


def fetch(query: str = USERS, method: str = "fetchall", dictionary: bool = True) -> Iterator[Any]:
    """Yield rows from the driver's own cursor."""
    with seed.connect_to_prodev() as connection:  # whose end is close() alone
        cursor = connection.cursor(dictionary=dictionary)
        cursor.execute(query)
        if method == "fetchall":
            yield from cursor.fetchall()
        else:
            yield from iter(cursor.fetchone, None)


def over_25(in_batches: bool) -> int:
    lists = batches.stream_users_in_batches(1000) if in_batches else [fetch()]
    return sum(len([user for user in users if user["age"] > 25]) for users in lists)


def average_of_list() -> float:
    return statistics.fmean(age for (age,) in fetch("SELECT age FROM user_data", dictionary=False))


def sample_pages() -> Iterator[list]:
    rows = int(os.environ["MEASURED_ROWS"])
    for offset in range(0, rows, max(200, rows // 20)):  # 20 pages; of few, every second
        yield list(fetch(f"{USERS} LIMIT 100 OFFSET {offset}"))


def page_after_90_percent(by_offset: bool) -> int:
    if by_offset:
        return len(pages.paginate_users(100, int(os.environ["MEASURED_ROWS"]) * 9 // 10))
    return len(next(pages.lazy_pagination(100, "e666")))  # ids are spread evenly


def import_file(row_by_row: bool = False) -> int:
    """Import all users into an empty copy of the table that is read, in a database of its own."""
    path = Path.home() / "all.csv"  # HOME is the folder of main(), in other processes too
    server = PrivateServer(Path.home(), int(os.environ["MYSQL_PORT"]), "p")
    with server.connect(database="imports") as connection:
        connection.cmd_query("DROP TABLE IF EXISTS user_data")
        connection.cmd_query(f"CREATE TABLE user_data LIKE {seed.DATABASE}.user_data")
        if not row_by_row:
            return seed.insert_data(connection, path)[0]
        # Of a sample, one statement and one commit a row
        sample = min(20_000, int(os.environ["MEASURED_ROWS"]) // 2)
        with path.open(encoding="utf-8", newline="") as lines, connection.cursor() as cursor:
            for user in islice(csv.reader(lines), 1, 1 + sample):
                cursor.execute("INSERT INTO user_data VALUES (%s, %s, %s, %s)", user)
        return sample


def result_of(work: Callable, most: int | None = None) -> Any:
    """Return what a work returns; of an iterator, how many values it gives, up to most."""
    found = work()
    return sum(1 for _ in islice(found, most)) if isinstance(found, Iterator) else found


fetch_one = partial(fetch, USERS, "fetchone")
by_page = partial(pages.lazy_pagination, 100)
six = [partial(result_of, way, 6) for way in (fetch_one, stream.stream_users)]
deep = [partial(page_after_90_percent, by_offset) for by_offset in (True, False)]
# Task, name of the traditional way, it, ours: no lambda, as they go to other processes.
COMPARISONS = [
    ("load users", "`fetchall()`", fetch, stream.stream_users),
    ("load users", "the driver's `fetchone()`", fetch_one, stream.stream_users),
    ("filter users over 25", "`fetchall()`", partial(over_25, False), partial(over_25, True)),
    ("average age", "`fetchall()`", average_of_list, ages.calculate_average_age),
    ("pages of 100", "`OFFSET`", sample_pages, by_page),
    ("the page after 90 %", "`OFFSET`", *deep),
    ("stop after 6 users", "`close()` alone", *six),
    ("seed", "one `INSERT` per row", partial(import_file, True), import_file),
]


def measure_time(what: str, *works: Callable) -> Iterator[tuple]:
    """Return what the works found, and their median seconds in rounds that take turns."""
    runs: list[list[tuple[Any, float]]] = [[] for _ in works]
    for _ in range(ROUNDS):
        for work, own_runs in zip(works, runs, strict=True):
            start = time.perf_counter()
            own_runs.append((result_of(work), time.perf_counter() - start))
        print(what, [f"{own_runs[-1][1]:.3f} s" for own_runs in runs], file=sys.stderr)
    return zip(*map(statistics.median_low, runs), strict=True)


def added_memory(work: Callable, *arguments: Any) -> float:
    """Return the most memory in MiB that the work adds to this process, sampled every 10 ms."""
    seed.connect_to_prodev().close()  # what the driver loads for its first connection is no part
    before = memory_usage(-1, max_usage=True)
    work = (result_of, [partial(work, *arguments)])
    return memory_usage(work, interval=0.01, max_usage=True) - before


def in_a_process_of_its_own(function: Callable, *arguments: Any) -> Any:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def compare_ways() -> None:
    print("| task | way | its seconds→ours | MiB |\n| --- | --- | ---: | ---: |")
    for task, way, *works in COMPARISONS:
        (done, whole), (slow, fast) = measure_time(f"{task}, {way}", *works)
        large, small = (in_a_process_of_its_own(added_memory, work) for work in works)
        slow, mark = (slow * whole / done, r"\*") if done < whole else (slow, "")
        times, memory = f"{slow:,.3f}{mark}→{fast:,.3f}", f"{large:,.1f}→{small:,.2f}"
        print(f"| {task} | {way} | {times} | {memory} |", flush=True)
    print("\n\\* extrapolated from a sample\n")


def picture(whole: float, ours: float, rows: int) -> list[str]:
    """Return the lines of the page's picture that have figures."""
    return [
        f"accDescr: The list holds all {rows:,} users, {whole:.0f} MiB, before the loop starts. "
        f"The generator holds 100 users, {ours:.1f} MiB.",
        f'table ==>|"all of them, before<br>the loop starts"| list["<b>list</b><br>{rows:,} users'
        f'<br><b>{whole:.0f} MiB</b>"]',
        'table -->|"100, when the loop<br>needs them"| gen["<b>generator</b><br>100 users'
        f'<br><b>{ours:.1f} MiB</b>"]',
    ]


def draw_memory(rows: int) -> None:
    counts = [rows * fifths // 5 for fifths in range(1, 6)]
    bars = [in_a_process_of_its_own(added_memory, fetch, f"{USERS} LIMIT {n}") for n in counts]
    streams = [partial(result_of, stream.stream_users, n) for n in counts]
    line = [in_a_process_of_its_own(added_memory, each) for each in streams]
    print("\n".join(picture(bars[-1], line[-1], rows)))
    print(f"""
```mermaid
xychart-beta
    title "MiB needed to read users: a list grows, a stream stays at 0.1"
    x-axis users [{", ".join(f'"{n:,}"' for n in counts)}]
    y-axis MiB 0 --> {max(bars) * 1.1:.0f}
    line {[round(mib, 1) for mib in bars]}
    line {[round(mib, 1) for mib in line]}
```""")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", metavar="ROWS", nargs="?", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    if rows < 1000:  # the deepest page would not be full
        parser.error(f"ROWS must be 1,000 or more, not {rows}")
    with tempfile.TemporaryDirectory() as folder:
        users = csv_text(islice(made_users(), rows))
        Path(folder, "all.csv").write_text(users, encoding="utf-8")
        with PrivateServer(Path(folder, "server"), free_port(), "p") as server:
            os.environ.update(server.environment(), HOME=folder, MEASURED_ROWS=str(rows))
            command = [sys.executable, seed.__file__, "all.csv"]
            subprocess.run(command, cwd=folder, stdout=sys.stderr, check=True)
            with server.connect() as connection:
                connection.cmd_query("CREATE DATABASE imports")
            extension = "with its" if mysql.connector.HAVE_CEXT else "without"
            driver = f"mysql-connector-python {mysql.connector.__version__} {extension} C extension"
            python = f"Python {sys.version.split()[0]}, {os.cpu_count()} cores"
            today = time.strftime("%F")
            print(f"{rows:,} users, server {server.log_in()}, {driver}, {python}, {today}\n")
            compare_ways()
            draw_memory(rows)


if __name__ == "__main__":
    main()
