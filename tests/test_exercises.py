"""check_exercise.py: right solutions pass, and each wrong one fails with a line that says why."""

import contextlib
import re

import check_exercise
import pytest
from test_readme import PAGES

from helpers import shell, wait_until
from mysql_server import PROJECT, command_of

EXERCISES = ["every", "younger_than", "batched", "csv", "pages", "histogram", "counted"]
SOLUTIONS = re.findall(r"^```python\n((?:.*\n)*?)^```$", PAGES["tests/SOLUTIONS.md"], re.MULTILINE)


@pytest.fixture(autouse=True)
def fewer_items(monkeypatch):
    """100,000 items would take half a second each time."""
    monkeypatch.setattr(check_exercise, "MOST", 10_000)


def command(file, *options: str):
    return shell('python tests/check_exercise.py "$@"', file, *options)


def check(file, exercise: str) -> dict[str, str]:
    """Return each promise with what failed, checked in this process."""
    reports = []
    check_exercise.check(file, exercise, reports.append)
    assert [promise for promise, _ in reports[::2]] == [promise for promise, _ in reports[1::2]]
    return dict(reports)


@pytest.fixture
def folder(tmp_path):
    for name, text in zip(EXERCISES, SOLUTIONS):
        (tmp_path / f"my_{name}.py").write_text(text, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("name", EXERCISES)
def test_a_solution_passes(seeded, folder, name):
    found = check(folder / f"my_{name}.py", name)
    assert [failure for failure in found.values() if failure] == []
    assert len(found) >= 4


def test_a_solution_may_end_by_itself(folder):
    file = folder / "my_every.py"
    file.write_text(f"{file.read_text(encoding='utf-8')}\nraise SystemExit\n", encoding="utf-8")
    assert [failure for failure in check(file, "every").values() if failure] == []


def test_a_folder_is_a_table(seeded, folder):
    loud = "import os\nprint('Python')\nos.system('echo a program')\n"
    (folder / "my_every.py").write_text(f"{loud}def every(n, items): return []\n")
    (folder / "notes.py").write_text("import antigravity_\n")
    (folder / "data.py").mkdir()
    done = command("--all", folder)
    assert (done.status, done.errors) == (1, "")
    table = [line.split(None, 2) for line in done.output.splitlines()]
    files = sorted(f"my_{name}.py" for name in EXERCISES)
    assert [file for file, *_ in table] == [*files, "notes.py"]
    wrong = {file: said for file, _, said in table if said != "ok"}
    assert {*wrong} == {"my_every.py", "notes.py"}, done.output
    assert "gives the right values; is a generator" in wrong["my_every.py"]
    assert wrong["notes.py"] == "no known exercise"


def test_an_exercise_of_ones_own_is_added_as_the_page_says(monkeypatch, tmp_path):
    block = re.search("(?s)```py\n(.*?)```", PAGES[".github/CONTRIBUTING.md"])[1]
    own = eval(f"{{{block}}}", vars(check_exercise))
    monkeypatch.setattr(check_exercise, "EXERCISES", own)
    file = tmp_path / "mine.py"
    pairs = "def pairs(items):\n    items = iter(items)\n    before = next(items, None)\n"
    file.write_text(
        f"{pairs}    for item in items:\n        yield before, item\n        before = item\n"
    )
    assert check_exercise.exercise_of(file) == "pairs"
    found = check(file, "pairs")
    assert [failure for failure in found.values() if failure] == []
    assert len(found) > 8


# What a learner may write: the exercise and what it is; what fails, and what is told; the file.
WRONG = r"""

## every: a list
# is a generator, which reads nothing before: expected a generator, came a list
def every(n, items):
    return list(items)[n - 1 :: n]

## every: return in the loop
# gives the right values: from ['a', 0, None, 'b', 'b', 7] and 2: [0, 'b', 7], came [0]
def every(n, items):
    for number, item in enumerate(items, 1):
        if number % n == 0:
            yield item
            return

## every: print in place of yield
# gives the right values: expected a generator, came None: does the function have no yield?
def every(n, items):
    for number, item in enumerate(items, 1):
        if number % n == 0:
            print(item)

## every: a list, once it is asked
# needs the same memory: expected less than 64 KiB for 10,000 items, came
def every(n, items):
    yield from list(items)[n - 1 :: n]

## every: one item too many
# reads no more than: expected for the first value, items read: 2, came 3
def every(n, items):
    items = iter(items)
    here, number, end = next(items, items), 1, items
    while here is not end:
        following = next(items, end)
        if number % n == 0:
            yield here
        here, number = following, number + 1

## every: a list, made where errors are swallowed
# works on an endless: came more than 10,000 reads
def every(n, items):
    try:
        items = list(items)
    except Exception:
        items = []
    yield from items[n - 1 :: n]

## every: work before the first next()
# is a generator, which reads nothing before: expected items read: 0, came 10
def every(n, items):
    chosen = [item for number, item in enumerate(items, 1) if number % n == 0]
    return iter(chosen)

## every: StopIteration let out
# gives the right values: RuntimeError: generator raised StopIteration
def every(n, items):
    items = iter(items)
    while True:
        for _ in range(n):
            item = next(items)
        yield item

## every: an iterator that does not stay at its end
# asks for nothing after: expected requests to its source: 6, came 7
class every:
    def __init__(self, n, items):
        self.n, self.items = n, iter(items)
    def __iter__(self):
        return self
    def __next__(self):
        for _ in range(self.n):
            item = next(self.items)
        return item

## every: no item that is false
# gives the right values: and 2: [0, 'b', 7], came ['b', 7]
def every(n, items):
    for number, item in enumerate(items, 1):
        if number % n == 0 and item:
            yield item

## every: an end after a hundred
# needs the same memory: expected from 10,000 items, values: 5000, came 50
def every(n, items):
    for number, item in enumerate(items, 1):
        if number > 100:
            return
        if number % n == 0:
            yield item

## every: what is kept in a global
# closes its source: expected the source to be ['closed'], came []
kept = []
def every(n, items):
    for number, item in enumerate(items, 1):
        kept.append(items)
        if number % n == 0:
            yield item

## every: an except that swallows
# lets an error: expected the source's ConnectionError, came [0, 'b'], as
def every(n, items):
    try:
        for number, item in enumerate(items, 1):
            if number % n == 0:
                yield item
    except Exception as error:
        print(error)

## every: another argument
# gives the right values: TypeError: every() takes
def every(items): yield 1

## every: another name
# defines every(): expected a function every, came none
def each(n, items): yield 1

## batched: the last short batch lost
# gives the right values: and 2: [['a', 0], [None, 'b'], ['b', 7], ['a']], came [['a', 0], [None,
def batched(n, items):
    batch = []
    for item in items:
        batch.append(item)
        if len(batch) == n:
            yield batch
            batch = []

## batched: no thought of no items
# gives the right values: RuntimeError: generator raised StopIteration
def batched(n, items):
    items = iter(items)
    batch = [next(items)]
    for item in items:
        if len(batch) == n:
            yield batch
            batch = []
        batch.append(item)
    yield batch

## batched: an empty batch at the end
# gives the right values: ['b', 7]], came [['a', 0], [None, 'b'], ['b', 7], []]
def batched(n, items):
    batch = []
    for item in items:
        batch.append(item)
        if len(batch) == n:
            yield batch
            batch = []
    yield batch

## batched: one list for all batches
# gives the right values: and 2: [['a', 0], [None, 'b'], ['b', 7]], came [[], [], []]
def batched(n, items):
    batch = []
    for item in items:
        batch.append(item)
        if len(batch) == n:
            yield batch
            batch.clear()
    if batch:
        yield batch

## counted: a print after the loop
# prints the number when its loop is left: expected the number [1], came []
def counted(items):
    count = 0
    if 1:
        for item in items:
            count += 1
            yield item
    print(count)

## counted: a print for each item
# prints the number at the end: expected the number [5], came [1, 2, 3, 4, 5]
def counted(items):
    count = 0
    try:
        for item in items:
            count += 1
            yield item
            print(count)
    finally:
        pass

## younger_than: fetchall underneath
# needs the same memory: expected less than 64 KiB for 10,000 items, came
def younger_than(users, age):
    users = [*users]
    yield from (user for user in users if user['age'] < age)

## younger_than: up to the age
# gives the right values: expected from [
def younger_than(users, age):
    for user in users:
        if user['age'] <= age:
            yield user

## younger_than: no JSON
# prints what: ['{"name": "Ronnie Bechtelar", "age": 22}',
stream_users = __import__('0-stream_users').stream_users
for user in stream_users():
    if user['age'] < 30:
        print(f"user_id: {user['user_id']}")

## pages: a stream in a variable
# leaves no connection: (a generator in a variable keeps its own): 0, came 1
stream_users = __import__('0-stream_users').stream_users
users = stream_users()
print(next(users))

## pages: the first page twice
# prints what: came ['Dan Altenwerth Jr.', 'Glenda Wisozk', 'Dan Altenwerth Jr.', 'Glenda
lazy = __import__('2-lazy_paginate').lazy_pagination
for _ in range(2):
    print([user['name'] for user in next(lazy(2))])

## csv: no module csv
# prints what: ['José 王', ' Jr.', '100']
stream_users = __import__('0-stream_users').stream_users
print('name,age')
for user in stream_users():
    if user['age'] >= 100:
        print(f"{user['name']},{user['age']}")

## histogram: rounded up
# prints what: expected for the 1,000 users: [
ages = sorted(__import__('4-stream_ages').stream_user_ages())
for decade in sorted({age // 10 for age in ages}):
    print('#' * -(-len([a for a in ages if a // 10 == decade]) // 5))

## every: another exit
# runs to its end: SystemExit: 3
raise SystemExit(3)

## every: no Python
# runs to its end: SyntaxError:
def every(n, items:

## every: a question
# runs to its end: OSError
n = input()

## every: output without an end
# runs to its end: came more than 10,000 characters
while True:
    print('every')
"""
CASES = dict(re.findall(r"(?ms)^## (.*?)\n(.*?\n)(?=\n## |\Z)", WRONG))


@pytest.mark.parametrize("name", CASES)
def test_a_wrong_solution_is_told_why(request, tmp_path, name):
    exercise, text = name.split(":")[0], CASES[name]
    promise, told = text.splitlines()[0].removeprefix("# ").split(": ", 1)
    if check_exercise.EXERCISES[exercise].output:
        request.getfixturevalue("seeded")
    file = tmp_path / "mine.py"
    file.write_text(text, encoding="utf-8")
    found = check(file, exercise)
    [failure] = [found[each] for each in found if each.startswith(promise)]
    assert told in failure


def test_each_property_is_a_line(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def every(n, items):\n    return 1 / 0\n")
    done = command(file)
    assert (done.status, done.errors) == (1, "")
    head, first, second, third = done.output.split("\n", 3)
    assert head == "mine.py as the exercise every:"
    assert (first, second) == ("ok    runs to its end", "ok    defines every()")
    why = 'expected no error, came ZeroDivisionError (README, "What a generator is")'
    # The traceback begins in the learner's file.
    assert third.startswith(
        f'FAIL  gives the right values: {why}\n  File "{file}", line 2, in every'
    )
    assert "check_exercise.py" not in done.output
    assert done.output.count("File") == 1
    assert "FAIL  works on an endless source: as above\n" in done.output


ENDS = {  # a file: in which promise it ends, and what is told
    "while True: pass": "runs to its end: expected an end, came none within 1 seconds: does a",
    "import os; os._exit(0)": "runs to its end: expected an end, came the end of its process",
    "import os\ndef every(n, items): os._exit(0)": (
        "gives the right values: expected an end, came the end of its process"
    ),
}


@pytest.mark.parametrize("text", ENDS)
def test_a_file_that_never_ends_or_ends_the_process(tmp_path, text):
    file = tmp_path / "mine.py"
    file.write_text(text)
    checked = f"list(check_exercise.checked(check_exercise.Path('{file}'), 'every'))"
    code = f"import check_exercise; check_exercise.SECONDS = 1; print(*{checked}[-1], sep=': ')"
    done = shell(f'python -c "{code}"', env={"PYTHONPATH": "tests"})
    assert done.output.startswith(ENDS[text]), done


def test_a_file_that_ends_between_two_promises_is_not_ok(tmp_path):
    """As a thread of the file may do."""
    code = """
import check_exercise, os, pathlib
def check(file, name, report):
    report(("gives the right values", None))
    report(("gives the right values", ""))
    os._exit(0)
check_exercise.check = check
if __name__ == "__main__":
    for line in check_exercise.checked(pathlib.Path("mine.py"), "every"):
        print(*line, sep=": ")
"""
    (tmp_path / "ends.py").write_text(code)
    done = shell("python ends.py", cwd=tmp_path, env={"PYTHONPATH": str(PROJECT / "tests")})
    told = "is checked to its end: expected an end, came the end of its process"
    assert done == (0, f"gives the right values: \n{told}\n", "")


def test_a_connection_of_another_program_is_not_the_learners(
    seeded, server, folder, start, monkeypatch
):
    run = check_exercise.run

    def run_beside_another(*arguments):
        before = len(server.connections())
        process = start("-c", "import seed, time; other = seed.connect_db(); time.sleep(60)")
        wait_until(lambda: len(server.connections()) > before, process)
        run(*arguments)

    monkeypatch.setattr(check_exercise, "run", run_beside_another)
    found = check(folder / "my_pages.py", "pages")
    assert [failure for failure in found.values() if failure] == []


def test_what_a_file_has_started_is_ended_with_it(tmp_path):
    file = tmp_path / "every.py"
    pid = tmp_path / "pid"
    start = "import subprocess, threading, time\nprocess = subprocess.Popen(['sleep', '300'])\n"
    wait = "threading.Thread(target=time.sleep, args=(300,)).start()\n"
    file.write_text(f"{start}open({str(pid)!r}, 'w').write(str(process.pid))\n{wait}")
    assert command(file).status == 1  # and not after 300 seconds
    number = int(pid.read_text())

    def has_ended() -> bool:
        with contextlib.suppress(FileNotFoundError):
            return "sleep" not in command_of(number)
        return True

    wait_until(has_ended)


def test_a_file_that_takes_all_memory(tmp_path):
    file = tmp_path / "every.py"
    file.write_text("text = 'x' * 3 * 2**30\n")
    assert "came MemoryError" in command(file).output


def test_a_file_that_is_no_known_exercise(tmp_path):
    (tmp_path / "mine.py").write_text("def pages(size): yield 1\n")  # no exercise asks for it
    done = command(tmp_path / "mine.py")
    assert done.status == 2
    assert "which exercise is" in done.errors
