"""What needs no server: mocks as exercises write them, imports, sizes, what the project holds."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import subprocess
import sys
from pathlib import Path
from unittest.mock import MagicMock, patch

import pytest

import seed
from helpers import EVERYTHING, SCRIPTS, csv_text, first_users, run, shell
from made_users import FIRST_USERS
from mysql_server import PROJECT

USERS = [
    {"user_id": "1", "name": "Ann", "email": "ann@example.com", "age": 30},
    {"user_id": "2", "name": "Ben", "email": "ben@example.com", "age": 25},
    {"user_id": "3", "name": "Cem", "email": "cem@example.com", "age": 26},
]
stream, batches, pages, ages = map(importlib.import_module, [name[:-3] for name in SCRIPTS])

# A MagicMock in place of seed.connect_to_prodev()


@pytest.fixture
def connect():
    with patch("seed.connect_to_prodev") as connect:
        yield connect


@pytest.fixture
def cursor(connect) -> MagicMock:
    return connect.return_value.cursor.return_value


def test_streams_read_a_mock(cursor, capsys):
    cursor.fetchone.side_effect = [*USERS, None]
    assert list(stream.stream_users()) == USERS
    cursor.fetchone.side_effect = [(30,), (25,), (26,), None]
    assert list(ages.stream_user_ages()) == [30, 25, 26]
    cursor.fetchone.side_effect = [(30,), (25,), (26,), None]
    assert ages.calculate_average_age() == 27
    assert capsys.readouterr().out == ""


def test_streams_of_a_mock_of_an_empty_table(cursor):
    cursor.fetchone.return_value = None
    assert (list(stream.stream_users()), ages.calculate_average_age()) == ([], 0)


def test_batches_read_a_mock(cursor, capsys):
    cursor.fetchmany.side_effect = [USERS[:2], USERS[2:], []] * 2
    assert list(batches.stream_users_in_batches(2)) == [USERS[:2], USERS[2:]]
    cursor.fetchmany.assert_called_with(2)
    assert batches.batch_processing(2) is None
    assert capsys.readouterr().out == f"{USERS[0]}\n{USERS[2]}\n"


def test_pages_read_a_mock_when_they_are_asked_for(cursor):
    cursor.fetchall.side_effect = [USERS[:2], USERS[2:], [], USERS[:2]]
    users = pages.lazy_pagination(2)
    assert cursor.fetchall.call_count == 0
    assert next(users) == USERS[:2]
    assert cursor.fetchall.call_count == 1
    assert list(users) == [USERS[2:]]
    assert pages.paginate_users(2, 0) == USERS[:2]


GENERATORS = [stream.stream_users, lambda: batches.stream_users_in_batches(2)]
GENERATORS += [lambda: pages.lazy_pagination(2), ages.stream_user_ages]


@pytest.mark.parametrize("generator", GENERATORS)
def test_the_one_connection_of_a_mock_is_closed_when_the_generator_is(connect, cursor, generator):
    cursor.fetchone.return_value = (30,)
    cursor.fetchmany.return_value = cursor.fetchall.return_value = USERS
    rows = generator()
    next(rows)
    connect.return_value.close.assert_not_called()
    rows.close()
    connect.return_value.close.assert_called_once_with()
    connect.assert_called_once_with()


# Imports

FUNCTIONS = {
    "0-stream_users": ["stream_users"],
    "1-batch_processing": ["stream_users_in_batches", "batch_processing"],
    "2-lazy_paginate": ["paginate_users", "lazy_pagination", "lazy_paginate"],
    "4-stream_ages": ["stream_user_ages", "calculate_average_age"],
}


def from_file(name: str, registered_as: str = ""):
    """Load a script from its file; enter it into sys.modules only under registered_as."""
    file = Path(seed.__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(registered_as or "exercise", file)
    module = importlib.util.module_from_spec(spec)
    with patch.dict(sys.modules, {registered_as: module} if registered_as else {}):
        spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_way_to_import_gives_the_functions(name):
    ways = [importlib.import_module(name), __import__(name), from_file(name), from_file(name, "x")]
    assert all(callable(getattr(way, function)) for way in ways for function in FUNCTIONS[name])


def test_the_module_itself_can_be_called(cursor):
    cursor.fetchone.side_effect = [*USERS, None] * 2
    assert list(__import__("0-stream_users")()) == USERS
    assert list(from_file("0-stream_users", "registered")()) == USERS
    assert pages.lazy_paginate is pages.lazy_pagination


def test_the_called_module_reads_no_more_than_is_asked_for(cursor):
    cursor.fetchone.side_effect = USERS
    next(__import__("0-stream_users")())
    assert cursor.fetchone.call_count == 1


def test_another_module_of_the_same_name_is_left_alone():
    stranger = type(sys)("exercise")
    with patch.dict(sys.modules, {"exercise": stranger}):
        from_file("0-stream_users")
    assert type(stranger) is type(sys)


# Sizes

SIZED = [
    (batches.stream_users_in_batches, "batch_size"),
    (batches.batch_processing, "batch_size"),
    (pages.lazy_pagination, "page_size"),
    (lambda size: pages.paginate_users(size, 0), "page_size"),
    (lambda size: pages.paginate_users(1, size), "offset"),
]


@pytest.mark.parametrize(("function", "name"), SIZED)
@pytest.mark.parametrize("value", [-1, 0, 2**63, True, 2.0, "5", None, "1; DROP TABLE user_data"])
def test_wrong_sizes_raise_before_any_query(connect, function, name, value):
    if (name, value) == ("offset", 0):
        return
    with pytest.raises(ValueError if type(value) is int else TypeError, match=name):
        list(function(value))
    connect.assert_not_called()


@pytest.mark.parametrize("script", SCRIPTS[:3])
def test_wrong_sizes_on_the_command_line_are_usage_errors(connect, script):
    for value in ("0", "-1", "x", "1.5", "", str(2**63), "1; DROP TABLE user_data"):
        done = run(script, "--", value)
        assert (done.status, done.output) == (2, "")
        usage, error, *rest = done.errors.splitlines()
        assert usage.startswith(f"usage: {script} [-h]")
        assert error.startswith(f"{script}: error: ")
        assert rest == []
    connect.assert_not_called()


def test_help_says_what_is_done_without_arguments():
    arguments = [("[CSV_FILE]", "user_data.csv"), ("[COUNT]", "(6)"), ("[BATCH_SIZE]", "(50)")]
    arguments += [("[PAGE_SIZE]", "(100)"), ("", "")]
    for script, (name, default) in zip(EVERYTHING, arguments):
        done = run(script, "-h")
        assert (done.status, done.errors) == (0, "")
        assert done.output.startswith(f"usage: {script} [-h] {name}".rstrip() + "\n")
        assert default in done.output


# The project


def test_nothing_else_stands_at_the_top_level():
    top = {"README.md", "seed.py", "user_data.csv", "requirements.txt", "docker-compose.yml"}
    files = shell("git ls-files || ls", cwd=PROJECT).stdout.split()
    names = {file.split("/")[0] for file in files}
    assert {name for name in names if name[0] != "."} == {*top, *SCRIPTS, "tests"}


def test_user_data_is_what_the_code_makes():
    text = (PROJECT / "user_data.csv").read_text(encoding="utf-8")
    assert text == csv_text(first_users(1000))
    made_up = text.split("\n", 1 + len(FIRST_USERS))[-1]
    assert len(re.findall(r"@example\.(com|net|org),\d+\n", made_up)) == 994
    assert not made_up.isascii()
    assert all(special in made_up for special in ("O'Brien", ', Jr."'))


def test_the_requirements_are_three():
    lines = (PROJECT / "requirements.txt").read_text().splitlines()
    names = [re.match(r"[\w-]+", line)[0] for line in lines if not line.startswith("#")]
    assert names == ["mysql-connector-python", "pytest", "memory-profiler"]


def test_docstrings_tell_arguments_and_errors():
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
        assert re.search(r"[Rr]aises\b", text), function


def test_the_average_costs_nothing_extra_when_memory_is_not_asked_for():
    assert inspect.isfunction(ages.calculate_average_age)
    assert ages.calculate_average_age.__module__ == "4-stream_ages"


def entry_point(**variables: str) -> str:
    """Run the shell line of docker-compose.yml with a stand-in for the image's own entry point."""
    text = (PROJECT / "docker-compose.yml").read_text()
    line = re.search(r"entrypoint: \[bash, -c, '(.*)', bash\]", text)[1].replace("$$", "$")
    stand_in = 'docker-entrypoint.sh() { echo "$@ user=$MYSQL_USER password=$MYSQL_PASSWORD"; }; '
    command = ["bash", "-c", stand_in + line.replace("exec ", ""), "bash", "mysqld"]
    return subprocess.run(command, env=variables, capture_output=True, text=True).stdout


def test_the_entry_point_leaves_root_to_the_image():
    assert entry_point(MYSQL_USER="root", MYSQL_PASSWORD="p") == "mysqld user= password=\n"
    assert entry_point(MYSQL_USER="ann", MYSQL_PASSWORD="p") == "mysqld user=ann password=p\n"
