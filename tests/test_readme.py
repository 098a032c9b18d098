"""README.md is true: its blocks run as they stand, and its table is what the benchmark prints.

Two blocks are run by .ci/run instead: the package installation, which needs root, and the whole
suite, which cannot run itself. The Docker block is marked in the page; test_project.py checks its
file.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from benchmark import COMPARISONS, HEADER, markdown

from made_users import write_csv
from mysql_server import PROJECT, PrivateServer, free_port

README = (PROJECT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(.*)\n((?:.*\n)*?)^```$", README, re.MULTILINE)


def blocks(kind: str) -> list[str]:
    return [text for info, text in BLOCKS if info == kind]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory) -> list[str]:
    """What everything in the page has printed, run from the top in a fresh copy of the project."""
    import conftest

    if conftest.session.server is None:
        pytest.skip("needs a server of its own")
    home = tmp_path_factory.mktemp("home")
    folder = home / "project"
    ignored = shutil.ignore_patterns(".git", ".venv", ".mysql", ".*_cache", "__pycache__")
    shutil.copytree(PROJECT, folder, ignore=ignored)
    # In place of the real one: .ci/run runs that.
    Path(home, "apt-get").write_text("#!/bin/sh\n")
    Path(home, "apt-get").chmod(0o755)
    path = os.pathsep.join([str(home), os.path.dirname(sys.executable), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "HOME": str(home), "PYTHONIOENCODING": "utf-8"}
    for name in ("HOST", "USER", "PASSWORD"):
        del environment[f"MYSQL_{name}"]
    environment["MYSQL_PORT"] = str(free_port())
    printed = []

    def run(*command: str, status: int = 0) -> None:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        assert done.returncode == status, done.stdout
        printed.append(done.stdout)

    with open(folder / "users.csv", "w", encoding="utf-8", newline="") as file:
        write_csv(file, 3000)
        file.write("00000000-0000-0000-0000-000000000000,Ann,ann@example.com,old\n")
    install, own_server, *others = blocks("bash")
    try:
        run("bash", "-ec", "python3 tests/mysql_server.py start")
        run(sys.executable, "0-stream_users.py", status=1)  # the error that the page shows
        run("bash", "-ec", install)
        run(sys.executable, "seed.py", "users.csv", status=1)
        for text in others:
            if text != "python3 -m pytest\n":
                run("bash", "-ec", text)
        for text in blocks("python"):
            run(sys.executable, "-c", text)
    finally:
        subprocess.run(
            [sys.executable, "tests/mysql_server.py", "stop"], cwd=folder, env=environment
        )
    server = PrivateServer(home / "own", int(environment["MYSQL_PORT"]), "ann", "secret")
    with server:
        run("bash", "-ec", f". .venv/bin/activate; {own_server}")
    return printed


def normal(text: str) -> str:
    """Return a text without what differs from server to server."""
    text = re.sub(r"(localhost|127\.0\.0\.1):\d+", "SERVER", text)
    return re.sub(r"Server \S+ ", "Server VERSION ", text)


def test_the_page_has_the_blocks_that_this_test_knows():
    kinds = {info for info, _ in BLOCKS}
    assert kinds == {"bash", "bash not-run-by-the-tests", "text", "python", "sql"}
    assert len(blocks("bash not-run-by-the-tests")) == 1


@pytest.mark.parametrize("text", blocks("text"))
def test_what_the_page_shows_is_printed(outputs, text):
    assert any(normal(text) in normal(output) for output in outputs)


def test_the_table_of_the_page_is_the_real_one(connection, query):
    [text] = blocks("sql")
    created = query("SHOW CREATE TABLE user_data")[0][1]
    connection.cmd_query("DROP TABLE user_data")
    connection.cmd_query(text.replace(";", " DEFAULT CHARSET=utf8mb4"))
    assert query("SHOW CREATE TABLE user_data")[0][1] == created


def test_the_benchmark_table_has_the_rows_and_columns_of_the_benchmark():
    header, _, *rows = re.findall(
        r"^\| .* \|$", README[README.index(markdown(HEADER)) :], re.MULTILINE
    )
    assert header == markdown(HEADER)
    rows = [row.strip("| ").split(" | ") for row in rows[: len(COMPARISONS)]]
    assert [(row[0], row[1]) for row in rows] == [(row.task, row.way) for row in COMPARISONS]
    assert {len(row) for row in rows} == {len(HEADER)}
    assert re.search(
        r"^[\d,]+ users, server \S+, mysql-connector-python .*, \d{4}-\d\d-\d\d$", README, re.M
    )
