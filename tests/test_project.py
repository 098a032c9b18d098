"""What the project holds and promises beside its code."""

from __future__ import annotations

import importlib
import inspect
import io
import os
import re
import shutil
import subprocess
import sys

import pytest
from test_imports import FUNCTIONS

from made_users import FIRST_USERS, write_csv
from mysql_server import PROJECT, free_port

TOP_LEVEL = {
    *("README.md", "seed.py", "user_data.csv", "0-stream_users.py", "1-batch_processing.py"),
    *("2-lazy_paginate.py", "4-stream_ages.py", "tests", "requirements.txt", "docker-compose.yml"),
}


def test_nothing_else_stands_at_the_top_level():
    names = {path.name for path in PROJECT.iterdir()}
    assert {name for name in names if name[0] != "." and name != "__pycache__"} == TOP_LEVEL


def test_user_data_is_what_the_code_makes():
    made = io.StringIO()
    write_csv(made, 1000)
    assert (PROJECT / "user_data.csv").read_text(encoding="utf-8") == made.getvalue()


def test_user_data_is_as_described():
    text = (PROJECT / "user_data.csv").read_text(encoding="utf-8")
    made_up = text.split("\n", 1 + len(FIRST_USERS))[-1]
    assert len(re.findall(r"@example\.(com|net|org),\d+\n", made_up)) == 994
    assert "O'Brien" in made_up
    assert ', Jr."' in made_up
    assert not made_up.isascii()


def test_the_requirements_are_three():
    lines = (PROJECT / "requirements.txt").read_text().splitlines()
    names = [re.match(r"[\w-]+", line)[0] for line in lines if not line.startswith("#")]
    assert names == ["mysql-connector-python", "pytest", "memory-profiler"]


def test_the_driver_has_its_c_extension():
    import mysql.connector

    assert mysql.connector.HAVE_CEXT


def test_docstrings_tell_arguments_and_errors():
    import seed

    functions = [seed.connect_db, seed.create_database, seed.connect_to_prodev]
    functions += [seed.create_table, seed.insert_data]
    for script, names in FUNCTIONS.items():
        functions += [getattr(importlib.import_module(script), name) for name in names]
    for function in functions:
        signature, text = inspect.signature(function), inspect.getdoc(function)
        assert signature.return_annotation is not signature.empty, function
        for name, parameter in signature.parameters.items():
            assert parameter.annotation is not parameter.empty, (function, name)
            assert re.search(rf"\b{name}\b", text), (function, name)
        assert re.search("[Rr]aises ", text), function


@pytest.mark.skipif(not shutil.which("docker-compose"), reason="needs docker-compose")
@pytest.mark.parametrize("port", ["", "3307"])
def test_docker_compose_config(port):
    # Debian's docker-compose brings its own Python modules: no virtual environment of ours.
    environment = {**os.environ, "MYSQL_PORT": port, "MYSQL_USER": "", "MYSQL_PASSWORD": ""}
    done = subprocess.run(
        ["docker-compose", "config"], cwd=PROJECT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "mysql:8.4" in done.stdout
    assert re.search(rf"127\.0\.0\.1:{port or 3306}:3306", done.stdout)


def entrypoint(**variables: str) -> str:
    """Run the shell line of docker-compose.yml with a stand-in for the image's own entry point."""
    text = (PROJECT / "docker-compose.yml").read_text()
    line = re.search(r"entrypoint: \[bash, -c, '(.*)', bash\]", text)[1].replace("$$", "$")
    stand_in = 'docker-entrypoint.sh() { echo "$@ user=$MYSQL_USER password=$MYSQL_PASSWORD"; }; '
    line = stand_in + line.replace("exec ", "")
    return subprocess.run(
        ["bash", "-c", line, "bash", "mysqld"], env=variables, capture_output=True, text=True
    ).stdout


def test_the_entry_point_leaves_root_to_the_image():
    assert entrypoint(MYSQL_USER="root", MYSQL_PASSWORD="p") == "mysqld user= password=\n"
    assert entrypoint(MYSQL_USER="ann", MYSQL_PASSWORD="p") == "mysqld user=ann password=p\n"


def suite(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the suite where no server program is on PATH."""
    path = [folder for folder in os.get_exec_path() if not shutil.which("mysqld", path=folder)]
    path = [folder for folder in path if not shutil.which("mariadbd", path=folder)]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rs", *arguments],
        cwd=PROJECT,
        env={**os.environ, "PATH": os.pathsep.join(path), **variables},
        capture_output=True,
        text=True,
    )


def test_without_a_program_the_suite_uses_the_named_server(private_server, seeded, query):
    done = suite("tests/test_integration.py", "tests/test_mysql_server.py", "-k", "prints or start")
    assert done.returncode == 0, done.stdout
    assert re.search(
        r"SKIPPED .* needs a server of its own: apt-get install default-mysql-s", done.stdout
    )
    assert re.search(r"\n3 passed, \d+ skipped", done.stdout)
    # It has left the table of this server as it was, and nothing else.
    assert query("SELECT COUNT(*) FROM user_data") == [(1000,)]
    assert query("SHOW DATABASES LIKE 'ALX_prodev_test%'") == []


def test_without_a_server_to_test_on_the_suite_ends_with_one_line(private_server, tmp_path):
    with private_server.connect() as connection:
        connection.cmd_query("CREATE USER ann@localhost")
        connection.cmd_query("GRANT ALL ON ALX_prodev.* TO ann@localhost")
        for variables, expected in (
            ({"MYSQL_PORT": str(free_port())}, "Can't connect to MySQL server on '127.0.0.1:"),
            ({"MYSQL_USER": "ann", "MYSQL_PASSWORD": ""}, "Access denied for user 'ann'@'localho"),
        ):
            done = suite("tests/test_unit.py", TMPDIR=str(tmp_path), **variables)
            assert (done.returncode, list(tmp_path.iterdir())) == (3, [])
            [line] = done.stdout.splitlines()
            assert "no server to test on: " in line
            assert "on PATH: " in line
            assert ", in a database ALX_prodev_test_" in line
            assert expected in line
        connection.cmd_query("DROP USER ann@localhost")
