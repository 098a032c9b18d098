#!/usr/bin/env python3
"""Check a solution of one of the README's exercises, property by property.

    python3 tests/check_exercise.py my_every.py      one line for each property
    python3 tests/check_exercise.py --all FOLDER     one line for each file, for a teacher

--exercise says which one it is; else a word in the file's name (my_csv.py), else a function that
it defines. The file runs in a process of its own, but it may do all that you may do.
"""

import argparse
import contextlib
import csv
import gc
import io
import json
import multiprocessing
import os
import re
import signal
import sys
import textwrap
import time
import traceback
import tracemalloc
from collections.abc import Callable, Iterator
from importlib.util import decode_source
from itertools import count, islice
from pathlib import Path
from typing import Any, NamedTuple

PROJECT = Path(__file__).resolve().parent.parent
SECONDS = 20  # for a file
END = "is checked to its end"
MOST = 100_000  # characters that a file may print, and items that it may read for three values
Holds = Callable[[str], contextlib.AbstractContextManager[None]]  # see check()


class Exercise(NamedTuple):
    """A function that yields values from its items, or what a file prints, or both."""

    section: str  # of the README, which explains it
    call: Callable[..., Any] | None = None  # calls the function, with its items and a number n
    right: Callable[[list[Any], int], list[Any]] = lambda items, n: items  # what it should yield
    reads: int = 1  # how many items the first value needs, for n = 2
    # How items are made: some are repeated, and some count as false.
    item: Callable[[int], Any] = lambda number: ("a", 0, None, "b", "b", 7)[number % 6]
    more: Callable[[Callable[..., Any], Holds], None] | None = None  # what else holds for it
    output: Callable[[str, list[Any]], tuple[Any, Any]] | None = None  # what is to be the same


def counted_prints(counted: Callable[..., Any], holds: Holds) -> None:
    def numbers(work: Callable[[], object]) -> list[int]:
        return [int(number) for number in re.findall(r"\d+", output_of(work))]

    with holds("prints the number at the end"):
        same([5], numbers(lambda: list(counted("abcde"))), "the number")
    with holds("prints the number when its loop is left"):
        same([1], numbers(lambda: next(counted(count()))), "the number")


def json_of_the_young(text: str, users: list[Any]) -> tuple[Any, Any]:
    def as_json(line: str) -> str:
        with contextlib.suppress(ValueError):
            return json.dumps(json.loads(line))
        return line

    young = [user for user in users if user["age"] < 30]
    expected = [json.dumps({"name": user["name"], "age": user["age"]}) for user in young[:3]]
    return expected, [as_json(line) for line in text.splitlines()]


def csv_of_the_old(text: str, users: list[Any]) -> tuple[Any, Any]:
    old = [[user["name"], str(user["age"])] for user in users if user["age"] > 99]
    return [["name", "age"], *old], list(csv.reader(text.splitlines()))


def names_of_four(text: str, users: list[Any]) -> tuple[Any, Any]:
    names = [user["name"] for user in users]
    return names[:4], re.findall("|".join(map(re.escape, names)), text)


def signs_of_decades(text: str, users: list[Any]) -> tuple[Any, Any]:
    decades = [user["age"] // 10 * 10 for user in users]
    expected = [(str(decade), decades.count(decade) // 5) for decade in sorted({*decades})]
    lines = [(re.findall(r"\d+|$", line)[0], line.count("#")) for line in text.splitlines()]
    return expected, [line for line in lines if line in expected or line[1]]


def what_two_loops_print(text: str, users: list[Any]) -> tuple[Any, Any]:
    ages = [user["age"] for user in users]
    first = [age < 30 for age in ages].index(True)
    expected = [users[first]["name"], str(first + 1), str(len(users)), str(max(ages))]
    words = " ".join(["", *re.findall(r"[^\W_]+", text), ""])
    return expected, [each for each in expected if f" {each} " in words]


EXERCISES = {  # by a word in the file's name, or by the name of the function
    "every": Exercise(
        "What a generator is",
        call=lambda every, items, n: every(n, items),
        right=lambda items, n: items[n - 1 :: n],
        reads=2,
    ),
    "younger_than": Exercise(
        "Task 1: stream users one by one",
        call=lambda younger_than, users, n: younger_than(users, n),
        right=lambda users, n: [user for user in users if user["age"] < n],
        reads=2,
        item=lambda number: {"age": (4 + 3 * number) % 7},
        output=json_of_the_young,
    ),
    "batched": Exercise(
        "Task 2: process users in batches",
        call=lambda batched, items, n: batched(n, items),
        right=lambda items, n: [items[place : place + n] for place in range(0, len(items), n)],
        reads=2,
    ),
    "csv": Exercise("Task 2: process users in batches", output=csv_of_the_old),
    "pages": Exercise("Task 3: page through users lazily", output=names_of_four),
    "histogram": Exercise("Task 4: average ages in constant memory", output=signs_of_decades),
    "counted": Exercise(
        "Patterns and good habits",
        call=lambda counted, items, n: counted(items),
        more=counted_prints,
        output=what_two_loops_print,
    ),
}


class Failed(BaseException):
    """A property does not hold. (No Exception, so that the learner's code does not catch it.)"""


def same(expected: Any, came: Any, what: str) -> None:
    if expected != came:
        expected, came = (textwrap.shorten(repr(each), 300) for each in (expected, came))
        raise Failed(f"expected {what} {expected}, came {came}")


class Output(io.TextIOWrapper):
    """What is printed: kept, and cut."""

    def write(self, text: str) -> int:
        if self.buffer.tell() + len(text) > MOST:
            raise Failed(f"expected a few lines of output, came more than {MOST:,} characters")
        return super().write(text)


def output_of(work: Callable[[], object]) -> str:
    kept = io.BytesIO()
    output = Output(kept, encoding="utf-8", write_through=True)
    with contextlib.redirect_stdout(output):
        work()
    return kept.getvalue().decode(errors="replace")


class Source:
    """An iterator that counts how often it is asked for an item."""

    def __init__(self, items: Iterator[Any]) -> None:
        self.items, self.asked = items, 0

    def __iter__(self) -> "Source":
        return self

    def __next__(self) -> Any:
        self.asked += 1
        if self.asked > MOST:
            raise Failed(f"expected that it reads a few items, came more than {MOST:,} reads")
        return next(self.items)


def check_function(exercise: Exercise, function: Callable[..., Any], holds: Holds) -> None:
    """See what holds for each function that yields values from its items."""

    def call(items: Any, n: int = 2) -> Any:
        if (result := exercise.call(function, items, n)) is None:
            raise Failed("expected a generator, came None: does the function have no yield?")
        return result

    def endless() -> Iterator[Any]:
        return map(exercise.item, count())

    def closing(ends: list[str]) -> Iterator[Any]:
        try:
            yield from islice(endless(), 5)
        finally:
            ends.append("closed")

    def failing() -> Iterator[Any]:
        yield from islice(endless(), 5)
        raise ConnectionError

    with holds("gives the right values"):
        for size, n in [(6, 2), (7, 2), (1, 2), (0, 2), (7, 3), (3, 1), (2, 5)]:
            items = list(islice(endless(), size))
            same(exercise.right(items, n), list(call(items, n)), f"from {items} and {n}:")
    with holds("is a generator, which reads nothing before its first next()"):
        source = Source(islice(endless(), 9))
        result = call(source)
        if not hasattr(result, "__next__"):
            raise Failed(f"expected a generator, came a {type(result).__name__}")
        same(0, source.asked, "items read:")
    with holds("reads no more than its values need"):
        source = Source(endless())
        next(iter(call(source)))
        same(exercise.reads, source.asked, "for the first value, items read:")
    with holds("works on an endless source"):
        values = list(islice(call(Source(endless())), 3))
        same(exercise.right(list(islice(endless(), 99)), 2)[:3], values, "the values")
    with holds("asks for nothing after its end"):
        source = Source(islice(endless(), 5))
        result = iter(call(source))
        list(result)
        asked = source.asked
        next(result, None)
        if type(result).__module__ != "builtins":  # Python's own filter() and map() do ask
            same(asked, source.asked, "requests to its source:")
    with holds("closes its source when it is closed early"):
        ends: list[str] = []
        result = iter(call(closing(ends)))
        next(result)
        getattr(result, "close", bool)()
        del result
        gc.collect()
        same(["closed"], ends, "the source to be")
    with holds("lets an error of its source through"), contextlib.suppress(ConnectionError):
        came = list(call(failing()))
        raise Failed(f"expected the source's ConnectionError, came {came}, as if it were whole")
    with holds("needs the same memory for any number of items"):
        right = len(exercise.right(list(islice(endless(), MOST)), 2))
        tracemalloc.stop()  # if the file has left it running
        tracemalloc.start()
        number = sum(1 for _ in call(islice(endless(), MOST)))
        kib = tracemalloc.get_traced_memory()[1] // 1024
        tracemalloc.stop()
        same(right, number, f"from {MOST:,} items, values:")
        if kib > 64:
            raise Failed(f"expected less than 64 KiB for {MOST:,} items, came {kib:,} KiB")
    if exercise.more:
        exercise.more(function, holds)


def told(error: BaseException, file: Path) -> str:
    """Return what failed; of a traceback, what begins in the learner's file."""
    if isinstance(error, Failed):
        return str(error)
    # A StopIteration that leaves a generator is the cause of the RuntimeError that comes.
    frames = traceback.extract_tb((error.__cause__ or error).__traceback__)
    theirs = traceback.format_list([frame for frame in frames if frame.filename == str(file)])
    lines = "".join(theirs + traceback.format_exception_only(error))
    return f"expected no error, came {type(error).__name__}\n{lines.rstrip():.3000}"


def check(file: Path, name: str, report: Callable[[tuple[str, str | None]], object]) -> None:
    """Report each promise, first with None, then with what failed ("" for nothing)."""
    failed = []

    @contextlib.contextmanager
    def holds(promise: str) -> Iterator[None]:
        report((promise, None))
        try:
            yield
            report((promise, ""))
        except BaseException as error:
            failed.append(promise)
            report((promise, told(error, file)))

    exercise, text, opened = EXERCISES[name], "", set[int]()
    variables: dict[str, Any] = {"__name__": "__main__", "__file__": str(file)}
    if exercise.output:
        with holds("finds the server"):
            try:
                import seed  # only here: the first exercises need no server, and no driver

                connection = seed.connect_to_prodev()
                [(users_there,)] = seed.query(connection, "SELECT COUNT(*) FROM user_data")
            except Exception as error:
                cure = "activate .venv, start the server and run seed.py: Quick start"
                raise Failed(
                    f"expected a server with the 1,000 users, came {error} ({cure})"
                ) from None
            same(1000, users_there, "in user_data, users (no others, and none too few):")
        if failed:
            return
    with holds("runs to its end"):
        text = output_of(lambda: run(file, variables, opened))
    if failed:
        return
    if exercise.output:
        with open(seed.CSV_FILE, encoding="utf-8", newline="") as lines:
            users = [dict(zip(seed.COLUMNS, user)) for user in sorted(seed.read_users(lines))]
        users = [{**user, "age": int(user["age"])} for user in users]
        with holds("prints what the exercise asks for"):
            same(*exercise.output(text, users), "for the 1,000 users:")
        with holds("leaves no connection open at its end"):
            ids = "SELECT id FROM information_schema.processlist"
            wait_until = time.monotonic() + 1  # the server notices within some milliseconds
            while opened and time.monotonic() < wait_until:
                gc.collect()
                opened &= {number for (number,) in seed.query(connection, ids)}
            same(0, len(opened), "connections (a generator in a variable keeps its own):")
    if exercise.call:
        with holds(f"defines {name}()"):
            if not callable(variables.get(name)):
                raise Failed(f"expected a function {name}, came none")
        if callable(variables.get(name)):
            check_function(exercise, variables[name], holds)


def run(file: Path, variables: dict[str, Any], opened: set[int]) -> None:
    """Run a file, and add the numbers of the connections that it opens."""

    def connect(*arguments: Any, **settings: Any) -> Any:
        connection = real_connect(*arguments, **settings)
        opened.add(connection.connection_id)
        return connection

    driver = sys.modules.get("mysql.connector")  # none, if the exercise needs no server
    if driver:
        real_connect, driver.connect = driver.connect, connect
    try:
        exec(compile(decode_source(file.read_bytes()), file, "exec"), variables)
    except SystemExit as end:
        if end.code:
            raise
    finally:
        if driver:
            driver.connect = real_connect


def check_in_a_process(file: Path, name: str, pipe: Any) -> None:
    for number in (1, 2):  # for what is not printed by Python
        os.dup2(os.open(os.devnull, os.O_WRONLY), number)
    with contextlib.suppress(ImportError, OSError, ValueError):  # not everywhere
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))  # bytes: before the machine swaps
    with contextlib.suppress(AttributeError):  # Windows has none
        os.setsid()  # so that what the file starts can be ended with it
    sys.argv, sys.path[:0] = [str(file)], [str(PROJECT), str(file.parent)]
    pipe.send(("starts", None))
    check(file, name, pipe.send)
    pipe.send((END, None))
    os._exit(0)  # do not wait for threads


def checked(file: Path, name: str) -> Iterator[tuple[str, str]]:
    """Yield each promise with what failed ("" for nothing), from a process of its own."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    arguments = (file.resolve(), name, theirs)
    process = context.Process(target=check_in_a_process, args=arguments, daemon=True)
    process.start()
    theirs.close()
    promise, came = "starts", f"none within {SECONDS} seconds: does a loop never end?"
    try:
        ours.recv()  # before the time counts: to start takes long on a busy machine
        end = time.monotonic() + SECONDS
        while ours.poll(max(0, end - time.monotonic())):
            promise, failure = ours.recv()
            if promise == END:
                return
            if failure is not None:
                yield promise, failure
                promise = END
    except EOFError:  # its end
        came = "the end of its process"
    finally:
        with contextlib.suppress(AttributeError, ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.join()
    yield promise, f"expected an end, came {came}"


def exercise_of(file: Path) -> str | None:
    """Return the name of the exercise that a file solves, or None."""
    text = ""
    with contextlib.suppress(OSError):  # which is told when the file is run
        text = file.read_text(encoding="utf-8", errors="replace")
    functions = [name for name, exercise in EXERCISES.items() if exercise.call]
    defined = [name for name in functions if f"\ndef {name}(" in f"\n{text}"]
    named = [name for name in EXERCISES if name in file.stem]
    return next(iter(named + defined), None)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("FILE", type=Path)
    parser.add_argument("--exercise", choices=EXERCISES)
    parser.add_argument("--all", action="store_true", help="FILE is a folder: check its files")
    arguments = parser.parse_args()
    path, failures = arguments.FILE, 0
    if not (path.is_dir() if arguments.all else path.is_file()):
        parser.error(f"{path} is not a {'folder' if arguments.all else 'file'}")
    if arguments.all:
        for file in sorted(filter(Path.is_file, path.glob("*.py"))):
            name = arguments.exercise or exercise_of(file)
            results = list(checked(file, name)) if name else []
            wrong = [promise for promise, failure in results if failure]
            failures += bool(wrong)
            said = f"FAIL: {'; '.join(wrong)}" if wrong else "ok" if name else "no known exercise"
            print(f"{file.name:24} {name or '-':12} {said}", flush=True)
        sys.exit(failures > 0)
    name = arguments.exercise or exercise_of(path)
    if not name:
        parser.error(f"which exercise is {path}? --exercise {{{','.join(EXERCISES)}}}")
    print(f"{path.name} as the exercise {name}:")
    before = ""
    for promise, failure in checked(path, name):
        failures += bool(failure)
        reason, _, lines = failure.partition("\n")
        why = f'{reason} (README, "{EXERCISES[name].section}")\n{lines}'.rstrip()
        why = "as above" if failure == before else why
        print(f"FAIL  {promise}: {why}" if failure else f"ok    {promise}", flush=True)
        before = failure or before
    sys.exit(failures > 0)


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace")  # names in a terminal of few letters
    try:
        main()
    except (BrokenPipeError, KeyboardInterrupt):
        os._exit(130)
