"""README.md is true: what it shows is what is printed.

Its blocks run as they stand, its errors are made, and its figures have the form that the benchmark
gives them. Two blocks are run by .ci/run instead: the package installation, which needs root, and
the whole suite, which cannot run itself. The Docker block is marked in the page; test_project.py
checks its file.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from benchmark import BATCH_SIZES, COMPARISONS, DEPTHS
from test_integration import SCRIPTS
from test_project import TOP_LEVEL

from mysql_server import PROJECT, PrivateServer, ServerError, check_port_is_free, free_port

README = (PROJECT / "README.md").read_text(encoding="utf-8")
SOLUTIONS = (PROJECT / "tests/SOLUTIONS.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(.*)\n((?:.*\n)*?)^```$", README + SOLUTIONS, re.MULTILINE)
THE_SUITE = "python3 -m pytest\n"


@pytest.fixture(scope="module")
def printed(private_server, tmp_path_factory) -> dict[int, str]:
    """What each block printed, by its place: run from the top in a fresh copy of the project."""
    home = tmp_path_factory.mktemp("home")
    folder = home / "project"
    ignored = shutil.ignore_patterns(".git", ".venv", ".mysql", ".*_cache", "__pycache__")
    shutil.copytree(PROJECT, folder, ignore=ignored)
    # In place of the real one: .ci/run runs that.
    Path(home, "apt-get").write_text("#!/bin/sh\n")
    Path(home, "apt-get").chmod(0o755)
    path = [str(home), os.path.dirname(sys.executable), os.environ["PATH"]]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("MYSQL_")},
        "HOME": str(home),
        "PYTHONIOENCODING": "utf-8",
        "MYSQL_PORT": str(free_port()),
    }
    server = PrivateServer(folder / ".mysql", int(environment["MYSQL_PORT"]))

    def run(shell: str) -> str:
        at = {"MYSQL_PORT": str(private_server.port)} if "MYSQL_USER=ann" in shell else {}
        # What does not make the virtual environment itself is run in it.
        activated = [] if "-m venv" in shell else [str(folder / ".venv/bin")]
        done = subprocess.run(
            ["bash", "-ec", shell],
            cwd=folder,
            env={**environment, **at, "PATH": os.pathsep.join([*activated, *path])},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    printed = {}
    try:
        for place, (info, text) in enumerate(BLOCKS):
            if info == "bash" and text != THE_SUITE:
                printed[place] = run(text)
            elif info == "python":
                printed[place] = run(f"python3 -c {shlex.quote(text)}")
            elif info == "sql" and not text.startswith("CREATE TABLE"):
                # Of a server of one's own: the quick start's account may make no other.
                with private_server.connect() as connection:
                    for statement in text.split(";\n")[:-1]:
                        connection.cmd_query(statement)
    finally:
        server.stop()
    with private_server.connect() as connection:
        connection.cmd_query("DROP USER ann@localhost")
    return printed


def test_the_page_has_the_blocks_that_this_test_knows():
    kinds = [info for info, _ in BLOCKS]
    known = {"", "bash", "bash not-run-by-the-tests", "python", "sql", "text", "mermaid"}
    assert {info for info in kinds if not info.startswith("python from ")} == known
    assert kinds.count("bash not-run-by-the-tests") == 1
    assert [text for _, text in BLOCKS].count(THE_SUITE) == 1


def test_the_tree_of_the_page_is_the_real_one():
    [tree] = [text for info, text in BLOCKS if info == ""]
    assert {*re.findall("── (.+?)/? ", tree), "README.md"} == TOP_LEVEL


def test_links_lead_somewhere():
    headings = re.findall(r"^#+ (.*)$", README, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}
    assert {*re.findall(r"\]\(#(.+?)\)", README)} <= anchors
    files = re.findall(r"\]\(([\w./-]+)\)", README)
    assert all((PROJECT / file).exists() for file in files)
    assert len(files) > 1


def without_docstrings(file: str) -> str:
    """Return the text of a Python file without the docstrings of its functions."""
    lines = (PROJECT / file).read_text(encoding="utf-8").splitlines(keepends=True)
    for node in ast.walk(ast.parse("".join(lines))):
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node):
            docstring = node.body[0]
            lines[docstring.lineno - 1 : docstring.end_lineno] = [""] * (
                docstring.end_lineno - docstring.lineno + 1
            )
    return "".join(lines)


def test_excerpts_stand_in_their_files():
    excerpts = [(info.split()[-1], text) for info, text in BLOCKS if " from " in info]
    assert [file for file, _ in excerpts] == SCRIPTS
    for file, text in excerpts:
        assert f"\n{text}\n" in without_docstrings(file)


def normal(text: str) -> str:
    """Return what a script printed without what differs from server to server."""
    text = re.sub(r"(localhost|127\.0\.0\.1):\d+", "SERVER", text)
    return re.sub(r"Server .+ (at|is)", r"Server VERSION \1", text)


@pytest.mark.parametrize("place", [at for at, (info, _) in enumerate(BLOCKS) if info == "text"])
def test_what_the_page_shows_is_printed_by_the_block_before(printed, place):
    head, _, tail = normal(BLOCKS[place][1]).rpartition("...\n")  # which stands for more
    output = normal(printed[place - 1])
    assert output.startswith(head)
    assert output.endswith(tail)


def test_the_table_of_the_page_is_the_real_one(connection, query):
    [text] = [text for info, text in BLOCKS if info == "sql" and text.startswith("CREATE TABLE")]
    created = query("SHOW CREATE TABLE user_data")[0][1]
    connection.cmd_query("DROP TABLE user_data")
    connection.cmd_query(text.replace(";", " DEFAULT CHARSET=utf8mb4"))
    assert query("SHOW CREATE TABLE user_data")[0][1] == created


def form(text: str) -> str:
    """Return Markdown without its figures."""
    text = re.sub(r"server [^,]+,", "server VERSION,", text)
    return re.sub(r"[-+\d.,]*\d%?", "N", text)


def test_the_figures_of_the_page_have_the_form_that_the_benchmark_prints(private_server, run):
    # Its form takes no three rounds.
    one_round = "import benchmark; benchmark.ROUNDS = benchmark.PAGE_ROUNDS = 1; benchmark.main()"
    done = run("-c", one_round, 2000, PYTHONPATH=str(PROJECT / "tests"))
    assert done.returncode == 0, done.stderr
    for part in done.stdout.strip().split("\n\n"):
        assert form(f"\n\n{part}\n\n") in form(README)
    # The figures that form() took are compared where they are labels.
    for row in COMPARISONS:
        assert f"\n| {row.task} | {row.way} | " in README
    assert re.search(r"^[\d,]+ users, server .*, \d{4}-\d\d-\d\d$", README, re.MULTILINE)
    for first_cell in [*BATCH_SIZES, *(int(1_000_000 * share) for share in DEPTHS)]:
        assert re.search(rf"^\| {first_cell:,} \| \d", README, re.MULTILINE)


def test_the_errors_of_the_page_are_what_is_printed(no_database, private_server, run):
    def each(scripts: list[str], *options: str, **variables: str) -> list[str]:
        """Return the last line that each of the scripts prints when it fails."""
        done = [run(*options, script, **variables) for script in scripts]
        assert {script.returncode for script in done} == {1}
        return [script.stderr.splitlines()[-1] for script in done]

    everything = ["seed.py", *SCRIPTS]
    no_server = {"MYSQL_HOST": "127.0.0.1", "MYSQL_PORT": str(free_port())}
    with private_server.connect() as connection:
        connection.cmd_query("CREATE USER ann@localhost IDENTIFIED BY 'secret'")
        no_privilege = each(everything, MYSQL_USER="ann", MYSQL_PASSWORD="secret")
        connection.cmd_query("DROP USER ann@localhost")
    with pytest.raises(ServerError) as port_taken:
        check_port_is_free(private_server.port)
    table = README[README.index("| what is wrong |") :].split("\n\n")[0].splitlines()[2:]
    rows = dict(row.strip("| ").split(" | ")[:2] for row in table)
    shows_the_extension = re.search('python3 -c "(.*?)"', rows["no C extension"])[1]
    hide_the_extension = "import sys; sys.modules['_mysql_connector'] = None"
    made = {
        "the driver is not installed": each(everything, "-S"),  # no site-packages
        "no server": each(everything, **no_server),
        "wrong user or password": each(everything, MYSQL_PASSWORD="wrong"),
        "no privilege": no_privilege,
        "the port is taken": [str(port_taken.value)],
        "no C extension": [run("-c", f"{hide_the_extension}; {shows_the_extension}").stdout],
    }
    assert list(rows) == list(made)
    for mistake, lines in made.items():
        for shown in re.search("`(.*?)`", rows[mistake])[1].split("..."):
            assert all(normal(shown.strip()) in normal(line) for line in lines), mistake
