"""The page is true: its blocks run as they stand, and what it shows is what they print.

The page is README.md, with SUPPORT.md and CONTRIBUTING.md, which GitHub knows by name, and
SOLUTIONS.md.

In place of the package installation stand stubs, unless NIGHTLY is set: then a new environment is
made. .ci/run runs the quick start and the suite, which cannot run itself, as they stand.
"""

import json
import os
import re
import shlex
import shutil
import signal
import sys
from pathlib import Path

import benchmark
import pytest

import helpers
from helpers import EVERYTHING, query, ran, refused, shell
from mysql_server import PROJECT, PrivateServer, ServerError, check_port_is_free, free_port

NAMES = ("README.md", ".github/SUPPORT.md", ".github/CONTRIBUTING.md", "tests/SOLUTIONS.md")
PAGES = {name: (PROJECT / name).read_text(encoding="utf-8") for name in NAMES}
README, SUPPORT, *_ = PAGES.values()
BLOCKS = re.findall(r"^```(.*)\n((?:.*\n)*?)^```$", "".join(PAGES.values()), re.MULTILINE)
THE_SUITE = "python3 -m pytest\n"
STUBS = {
    "apt-get": "",
    "sudo": 'exec "$@"',
    "pip": "",
    "python3": f"""
if [ "$1 $2" = "-m venv" ]; then mkdir -p "$3/bin"; : > "$3/bin/activate"
else exec {shlex.quote(sys.executable)} "$@"; fi""",
}
NIGHTLY = "NIGHTLY" in os.environ


def is_python(info: str) -> bool:
    """Return whether a block is a program: maybe one "that-fails", or prints "with-figures"."""
    return info.startswith("python") and " from " not in info


def is_run(info: str, text: str) -> bool:
    """Return whether a block is a program or a command; the suite cannot run itself."""
    return is_python(info) or (info == "bash" and text != THE_SUITE)


def name_of(place: int) -> str:
    """Return a block's first line, by which a test is known."""
    return f"{place}: {BLOCKS[place][1].splitlines()[0][:40]}"


@pytest.fixture(scope="module")
def done(server, tmp_path_factory) -> dict[int, helpers.Done]:
    """How each block ended, by its place: run from the top in a fresh copy of the project."""
    home = tmp_path_factory.mktemp("home")
    folder = home / "project"
    ignored = (".git", ".venv", ".mysql", ".*_cache", "__pycache__", "users.db")
    shutil.copytree(PROJECT, folder, ignore=shutil.ignore_patterns(*ignored))
    for name in ["apt-get", "sudo"] if NIGHTLY else STUBS:
        Path(home, name).write_text(f"#!/bin/bash\n{STUBS[name]}\n")
        Path(home, name).chmod(0o755)
    path = [home, *([folder / ".venv/bin"] if NIGHTLY else []), os.environ["PATH"]]
    own = {"HOME": str(home), "PATH": ":".join(map(str, path)), "PIP_QUIET": "3"}
    own["PYTHONUNBUFFERED"] = "1"  # what Python itself complains of stands in its place
    own |= {name: "" for name in os.environ if name.startswith("MYSQL_")}
    quick_start = PrivateServer(folder / ".mysql", free_port())
    if not NIGHTLY:  # data takes seconds to make
        data = quick_start.folder / f"{helpers.FAMILY}-open"
        shutil.copytree(Path(helpers.temporary.name, helpers.FAMILY), data)
    done = {}
    try:
        for place, (info, text) in enumerate(BLOCKS):
            # Of a server of one's own; the account of the quick start may make no other.
            port = server.port if "MYSQL_USER=ann" in text else quick_start.port
            if info == "sql" and text.startswith("CREATE USER"):
                server.rows("DROP DATABASE IF EXISTS ALX_prodev")
                for statement in text.split(";\n")[:-1]:
                    server.rows(statement)
            elif is_run(info, text):
                command = 'exec 2>&1; python3 -c "$1"' if is_python(info) else f"exec 2>&1\n{text}"
                own["MYSQL_PORT"] = str(port)
                options = "set -e -o pipefail"
                done[place] = shell(f"{options}; {command}", text, cwd=folder, env=own)
    finally:
        quick_start.stop(signal.SIGKILL)
        server.rows("DROP USER IF EXISTS ann@localhost")
    return done


TO_RUN = [place for place, block in enumerate(BLOCKS) if is_run(*block)]


@pytest.mark.parametrize("place", TO_RUN, ids=map(name_of, TO_RUN))
def test_a_block_runs_as_it_stands(done, place):
    info, _ = BLOCKS[place]
    assert (done[place].status, place) == (int("that-fails" in info), place), done[place].output


def test_every_block_is_of_a_known_kind():
    shown = {"", "text", "sql", "json", "ini", "mermaid", "bash", "py"}  # py: see test_exercises
    kinds = {info for info, text in BLOCKS if not is_run(info, text) and " " not in info}
    assert kinds <= shown
    assert [text for info, text in BLOCKS if info == "bash" and "-m pytest" in text] == [THE_SUITE]


def anchors(name: str) -> set[str]:
    """Return what the headings of a page are known by in links."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"(?s)```.*?```", "", PAGES[name]), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name):
    broken = []
    for file, anchor in re.findall(r"\]\((?!https:)([\w./-]*)#?([\w-]*)\)", PAGES[name]):
        target = (PROJECT / name).parent / file if file else PROJECT / name
        known = str(target.resolve().relative_to(PROJECT))
        if not target.exists() or (anchor and anchor not in anchors(known)):
            broken.append(f"{file}#{anchor}")
    assert broken == []


def test_the_page_links_each_program():
    assert {*EVERYTHING} <= {*re.findall(r"\]\(([\w./-]+)\)", README)}


def test_excerpts_stand_in_their_files():
    excerpts = [(info.split()[-1], text) for info, text in BLOCKS if " from " in info]
    assert {"seed.py"} < {file for file, _ in excerpts} < {*EVERYTHING}
    for file, text in excerpts:
        code = (PROJECT / file).read_text(encoding="utf-8")
        assert f"\n{text}\n" in re.sub(r'(?s)\n    """.*?"""(?=\n)', "", code)


def normal(text: str) -> str:
    """Return what a script printed without what differs from server to server, Python to Python."""
    text = re.sub(r"(localhost|127\.0\.0\.1):\d+", "SERVER", text)
    text = re.sub(r"Exception ignored .*", "Exception ignored", text)  # in 3.14 more words, address
    return re.sub(r"Server .+ (at|is)", r"Server VERSION \1", text)


OUTPUTS = [place for place, (info, _) in enumerate(BLOCKS) if info == "text"]


@pytest.mark.parametrize("place", OUTPUTS, ids=map(name_of, OUTPUTS))
def test_what_the_page_shows_is_printed_by_the_block_before(done, place):
    shown, output = normal(BLOCKS[place][1]), normal(done[place - 1].output)
    if "with-figures" in BLOCKS[place - 1][0]:  # right to a factor of three
        for said, true in zip(re.findall(r"\d+", shown), re.findall(r"\d+", output), strict=True):
            assert int(true) / 3 < int(said) < int(true) * 3
        shown, output = (re.sub(r"\d+", "N", text) for text in (shown, output))
    pattern = re.escape(shown).replace(r"\.\.\.", ".*")  # which stands for more
    assert re.fullmatch(pattern, output, re.DOTALL), output


def test_what_the_page_says_beside_a_line_is_printed(done):
    said = 0
    for place, (info, text) in enumerate(BLOCKS):
        comment = r"^ *(?:print\(.*\)|break)  # (?:prints: )?(.*)$"
        comments = re.findall(comment, text, re.MULTILINE) if info == "python" else []
        if comments:
            assert ", ".join(done[place].output.splitlines()) == ", ".join(comments)
            said += 1
    assert said > 5


def test_the_table_of_the_page_is_the_real_one(empty):
    [text] = [text for info, text in BLOCKS if info == "sql" and text.startswith("CREATE TABLE")]
    created = query("SHOW CREATE TABLE user_data")[0][1]
    empty.cmd_query("DROP TABLE user_data")
    empty.cmd_query(text)
    assert query("SHOW CREATE TABLE user_data")[0][1] == created


TABLE = README[README.index("| task | way | ") :].split("\n</details>")[0].splitlines()[2:]


def test_the_figures_of_the_page_are_of_what_the_benchmark_compares():
    rows = [row.strip("| ").split(" | ")[:2] for row in TABLE]
    assert rows == [[task, way] for task, way, *_ in benchmark.COMPARISONS]


def test_the_picture_has_the_figures_of_the_table():
    whole, ours = re.search(r"\| ([\d.]+)→([\d.]+) \|$", TABLE[0]).groups()
    for line in benchmark.picture(float(whole), float(ours), 1_000_000):
        assert f"    {line}\n" in README


@pytest.mark.skipif(not NIGHTLY, reason="takes a minute: .ci/nightly does it")
def test_the_benchmark(server):
    code = "import benchmark; benchmark.ROUNDS = 1; benchmark.main()"
    done = shell(f"python -c '{code}' 2000", env={"PYTHONPATH": str(PROJECT / "tests")})
    assert done.status == 0, done.errors
    _, table, _, picture, chart = done.output.strip().split("\n\n")
    assert len(table.splitlines()) == 2 + len(benchmark.COMPARISONS)
    assert len(picture.splitlines()) == 3
    assert chart.split("    x-axis")[0] in README  # the rest are figures


def quoted(page: str) -> set[str]:
    """Return the messages in a page's table of errors."""
    rows = page[page.index("| what is printed | ") :].split("\n\n")[0].splitlines()[2:]
    return {text for row in rows for text in re.findall("`(.*?)`", row.split(" | ")[0])}


def test_the_messages_of_the_programs_are_in_the_tables_of_errors(
    no_database, server, account, settings, csv_file, done
):
    with pytest.raises(ServerError) as port_taken:
        check_port_is_free(server.port)
    made = [str(port_taken.value), shell("python -S seed.py").errors.splitlines()[-1]]
    made += [each.output for each in done.values() if "Unread result" in each.output]
    made += [refused(ran("4-stream_ages.py"))]  # before seed.py
    long_value = b'name,email,age\n"' + b"x\n" * 70_000
    for content in (b"\xff", b'name,email,age\n"Ann', b"x" * 20_000, long_value):
        made.append(refused(ran("seed.py", csv_file(content))))
    account("ann")
    made.append(refused(ran("seed.py")))
    settings(USER="root")
    made.append(refused(ran("seed.py")))
    settings(PORT=1)
    made.append(refused(ran("seed.py")))
    settings(HOST="mysql://ann@host")
    made.append(refused(ran("seed.py")))
    texts = normal("\n".join(made))
    found = {text for text in quoted(README) | quoted(SUPPORT) if normal(text) in texts}
    assert quoted(README) - found == {"error: externally-managed-environment"}
    assert found - quoted(README) >= {
        "MYSQL_HOST must be the name or address of a host, no more",
        "not UTF-8 text: save the file as UTF-8",
        "bad quotes: unexpected end of data",
        "a line of 10,000 characters or more",
        "field larger than field limit (131072)",
    }
    lines = [normal(line) for line in made]
    assert [line for line in lines if not any(normal(text) in line for text in found)] == []


def test_how_to_see_whether_the_driver_has_its_c_extension():
    command = re.search('`False` from\\s`python3 -c "(.*?)"`', SUPPORT)[1]
    hide_it = "import sys; sys.modules['_mysql_connector'] = None"
    assert shell(f'python -c "{hide_it}; {command}"').output == "False\n"


QUERIES = {"1": 1, "1 per 1,000 users": 1, "1 per page, and 1 more": 11}


def test_the_calls_of_the_tasks_table_cost_what_it_says(seeded, server):
    table = README[README.index("| call | gives ·") :].split("\n\n")[0].splitlines()[2:]
    calls = {"connection": seeded, "csv_file": helpers.seed.CSV_FILE}
    for module in (helpers.stream, helpers.batches, helpers.pages, helpers.ages, helpers.seed):
        calls |= vars(module)
    found, said = {}, {}
    for row in table:
        call, cost = row.strip("| ").split(" | ")
        with helpers.counting(server) as count:
            result = eval(call.strip("`"), calls)
            if hasattr(result, "__next__"):
                sum(1 for _ in result)
        inserts = sum(text.lstrip().startswith("INSERT") for text in count.queries)
        found[call] = inserts or count.selects
        said[call] = QUERIES[cost.split(" · ")[1]]
    assert found == said
    assert len(found) == 8


def test_what_the_plain_way_does_wrong(seeded):
    """The table of its faults, but for what a large table, a pause or 152 connections show."""
    plain = seeded.cursor(dictionary=True)
    plain.execute("SELECT age FROM user_data")
    age = plain.fetchone()["age"]
    for use in (lambda: seeded.cursor().execute("SELECT 1"), plain.close, seeded.commit):
        with pytest.raises(Exception, match="Unread result found"):
            use()
    with pytest.raises(TypeError, match="Object of type Decimal is not JSON serializable"):
        json.dumps(age)
    plain.fetchall()
    assert query("SELECT @@max_connections") == [(151,)]  # and one for whoever has all rights
