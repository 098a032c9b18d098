"""What needs no server: mocks as exercises write them, imports, sizes, the project's files."""

import importlib.util
import json
import re
import sys
from unittest.mock import MagicMock, patch

import mysql.connector
import pytest

import helpers
import seed
from helpers import EVERYTHING, GENERATORS, SCRIPTS, ages, batches, pages, ran, shell, stream
from mysql_server import PROJECT

USERS = [
    {"user_id": user_id, "name": "Ann", "email": "ann@example.com", "age": age}
    for user_id, age in (("1", 30), ("2", 25), ("3", 26))
]


@pytest.fixture
def connect():
    with patch("seed.connect_to_prodev") as connect:
        yield connect


@pytest.fixture
def cursor(connect) -> MagicMock:
    return connect.return_value.cursor.return_value


def test_generators_read_a_mock(cursor, capsys):
    cursor.fetchone.side_effect = [*USERS, None, None]
    assert list(stream.stream_users()) == USERS
    assert list(stream.stream_users()) == []
    cursor.fetchone.side_effect = [(30,), (25,), None, (1,), (0,), (0,), None, None]
    assert list(ages.stream_user_ages()) == [30, 25]
    assert [ages.calculate_average_age(), ages.calculate_average_age()] == [1 / 3, 0]
    cursor.fetchall.side_effect = [USERS[:2], USERS[2:], [], USERS[:2]]
    assert list(pages.lazy_paginate(2)) == [USERS[:2], USERS[2:]]
    assert pages.paginate_users(2, 0) == USERS[:2]
    cursor.fetchmany.side_effect = [USERS[:2], USERS[2:], []] * 2
    assert list(batches.stream_users_in_batches(2)) == [USERS[:2], USERS[2:]]
    cursor.fetchmany.assert_called_with(2)
    assert capsys.readouterr().out == ""
    assert batches.batch_processing(2) is None
    assert capsys.readouterr().out == f"{USERS[0]}\n{USERS[2]}\n"


@pytest.mark.parametrize("generator", [*GENERATORS.values(), stream])
def test_only_what_is_asked_for_is_read_and_the_one_connection_closed(connect, cursor, generator):
    cursor.fetchone.return_value = (30,)
    cursor.fetchmany.return_value = cursor.fetchall.return_value = USERS
    rows = generator()
    connect.assert_not_called()
    next(rows)
    calls = (cursor.fetchone.call_count, cursor.fetchmany.call_count, cursor.fetchall.call_count)
    assert sum(calls) == 1
    connect.return_value.close.assert_not_called()
    rows.close()
    connect.return_value.close.assert_called_once_with()
    connect.assert_called_once_with()


def test_a_module_that_no_import_knows_leaves_another_of_its_name_alone():
    spec = importlib.util.spec_from_file_location("exercise", PROJECT / SCRIPTS[0])
    stranger = type(sys)("exercise")
    for others in ({}, {"exercise": stranger}):
        with patch.dict(sys.modules, others):
            spec.loader.exec_module(importlib.util.module_from_spec(spec))
    assert type(stranger) is type(sys)


SIZED = {  # function, name of its argument, least value
    "batches": (batches.stream_users_in_batches, "batch_size", 1),
    "print": (batches.batch_processing, "batch_size", 1),
    "pages": (pages.lazy_pagination, "page_size", 1),
    "page": (lambda size: pages.paginate_users(size, 0), "page_size", 1),
    "offset": (lambda size: pages.paginate_users(1, size), "offset", 0),
}


@pytest.mark.parametrize(("function", "name", "least"), SIZED.values(), ids=SIZED)
@pytest.mark.parametrize("value", [True, 2.0, "5", None, "1; DROP TABLE user_data"])
def test_a_size_that_is_no_int_raises_before_any_query(connect, function, name, least, value):
    words = f"^{name} must be an int, not {type(value).__name__}$"
    with pytest.raises(TypeError, match=words):
        list(function(value))
    connect.assert_not_called()


@pytest.mark.parametrize(("function", "name", "least"), SIZED.values(), ids=SIZED)
def test_a_size_out_of_range_raises_before_any_query(connect, function, name, least):
    for value in (least - 1, -5, 2**63):
        words = f"^{name} must be from {least} to 9223372036854775807, not {value}$"
        with pytest.raises(ValueError, match=words):
            list(function(value))
    connect.assert_not_called()


ARGUMENTS = ["[CSV_FILE]", "[COUNT]", "[BATCH_SIZE]", "[PAGE_SIZE]", ""]


@pytest.mark.parametrize(("script", "argument"), [*zip(EVERYTHING, ARGUMENTS)])
def test_help_names_the_argument_and_says_what_the_script_does(connect, script, argument):
    done = ran(script, "-h")
    assert (done.status, done.errors) == (0, "")
    assert done.output.splitlines()[0] == f"usage: {script} [-h] {argument}".rstrip()
    assert __import__(script[:-3]).__doc__.splitlines()[0] in " ".join(done.output.split())
    connect.assert_not_called()


@pytest.mark.parametrize(("script", "argument"), [*zip(SCRIPTS[:3], ARGUMENTS[1:])])
@pytest.mark.parametrize("value", ["0", "-1", "x", "1.5", "", str(2**63)])
def test_a_wrong_size_on_the_command_line(connect, script, argument, value):
    done = ran(script, "--", value)
    assert (done.status, done.output) == (2, "")
    usage, error = done.errors.splitlines()
    assert usage == f"usage: {script} [-h] {argument}"
    name = argument[1:-1]
    assert re.search(f"argument {name}: invalid|{name} must be from 1 to", error)
    connect.assert_not_called()


def test_a_servers_long_text_is_cut_for_the_user_alone():
    """Vitess appends the whole statement; what to do stands after it."""
    error = mysql.connector.Error(f"Too long{' and more' * 70}", errno=1406)
    line = seed.explain(error)
    assert line.startswith("Too long and more and more")
    assert " (error 1406). Was user_data made by seed.py?" in line
    assert len(line) < 460
    assert len(error.msg) > 600


def test_user_data_is_what_the_code_makes():
    text = (PROJECT / "user_data.csv").read_text(encoding="utf-8")
    assert text == helpers.csv_text(helpers.first_users(1000))


@pytest.fixture
def compose() -> dict:
    """The compose file, read as YAML."""
    yaml = pytest.importorskip("yaml", reason="needs PyYAML, which .ci/run installs")
    return yaml.safe_load((PROJECT / "docker-compose.yml").read_text(encoding="utf-8"))


def test_the_compose_file(compose):
    service = compose["services"]["mysql"]
    shell, option, start = service.pop("command")
    assert (shell, option) == ("bash", "-c")
    assert start.endswith("; exec docker-entrypoint.sh mysqld")  # exec: SIGTERM reaches the server
    health = service["healthcheck"].pop("test")
    assert "--skip-column-names" in health  # else the heading of SHOW GRANTS counts as a right
    assert compose == {
        "name": "python-generators",
        "services": {"mysql": service},
        "volumes": {"mysql-data": None},
    }
    assert service == {
        "image": "mysql:8.4",
        "environment": {
            "MYSQL_USER": "${MYSQL_USER:-root}",
            "MYSQL_PASSWORD": "${MYSQL_PASSWORD:-}",
            "MYSQL_ROOT_PASSWORD": "${MYSQL_PASSWORD:-}",
            "MYSQL_ALLOW_EMPTY_PASSWORD": "yes",
            "MYSQL_DATABASE": "ALX_prodev",
        },
        "ports": ["127.0.0.1:${MYSQL_PORT:-3306}:3306"],
        "volumes": ["mysql-data:/var/lib/mysql"],
        "healthcheck": {"start_period": "30s", "interval": "2s", "timeout": "5s", "retries": 5},
    }


STAND_INS = """
exec() { "$@"; }
docker-entrypoint.sh() { echo "$MYSQL_USER,$MYSQL_PASSWORD $*"; }
mysql() { echo "$MYSQL_PWD $*" >&2; [ -z "$RIGHT" ] || echo "GRANT $RIGHT"; }
"""


@pytest.mark.parametrize(("user", "account"), [("root", ","), ("ann", "ann,p")])
def test_the_image_is_not_told_to_make_root(compose, user, account):
    start = compose["services"]["mysql"]["command"][2].replace("$$", "$")
    variables = {"MYSQL_USER": user, "MYSQL_PASSWORD": "p"}
    assert shell(f"{STAND_INS}{start}", env=variables).output == f"{account} mysqld\n"


@pytest.mark.parametrize(("right", "status"), [("ALL", 0), ("USAGE", 1), ("", 1)])
def test_the_server_is_healthy_when_the_account_has_rights(compose, right, status):
    health = compose["services"]["mysql"]["healthcheck"]["test"].replace("$$", "$")
    variables = {"MYSQL_USER": "ann", "MYSQL_ROOT_PASSWORD": "r s", "RIGHT": right}
    done = shell(f"{STAND_INS}{health}", env=variables)
    assert done.errors.startswith("r s --host=127.0.0.1 --user=ann ")  # by TCP
    assert (done.output, done.status) == ("", status)


def test_the_dev_container_does_what_the_quick_start_does():
    container = json.loads((PROJECT / ".devcontainer/devcontainer.json").read_text())
    assert container["image"] == "python:3.13"
    page = (PROJECT / "README.md").read_text(encoding="utf-8").split("```bash")[1].split("```")[0]
    # In the container Python needs no environment of its own.
    page = " ".join(page.split()).replace("root apt-get", "apt-get").replace(" python3-venv", "")
    packages = re.search("apt-get install -y (.*?) &&", page)[1]
    install = f"$sudo apt-get update && $sudo apt-get install -y {packages}"
    requirements = "pip install -r requirements.txt"
    assert container["onCreateCommand"] == (f"sudo=$(command -v sudo); {install} && {requirements}")
    complete = "{ echo 'The container was not set up to its end: rebuild it'; exit 1; }"
    start = "python3 tests/mysql_server.py start && python3 seed.py"
    assert container["postStartCommand"] == (
        f"python3 -c 'import mysql.connector' || {complete}; {start}"
    )
    assert requirements in page
    assert page.endswith(start)


def test_a_connection_is_given_up_after_ten_seconds():
    with patch("mysql.connector.connect") as connect:
        seed.connect_db()
    assert connect.call_args.kwargs["connect_timeout"] == 10


HINTS = {
    1044: "GRANT ALL ON ALX_prodev.* to this account",
    1153: "Raise max_allowed_packet on the server",
    1290: "If this server is read-only (a replica), use the address of the writer",
    1836: "use the address of the writer",
    2005: "Is a server running there?",
    2061: "Check the TLS settings",
    1292: "RENAME TABLE user_data TO my_users",
    1064: "",
}


@pytest.mark.parametrize("number", HINTS)
def test_an_error_whose_own_text_says_nothing_of_a_cure_has_a_hint(number):
    line = seed.explain(mysql.connector.Error("It failed", errno=number))
    said, hint = line.split(f" (error {number}).")
    assert said == "It failed"
    assert HINTS[number] in hint
    assert bool(HINTS[number]) == bool(hint)


def test_an_error_is_one_line():
    assert seed.explain(OSError("one\n two\r\n\tthree")) == "one two three"


@pytest.mark.parametrize(
    ("script", "default"),
    [("0-stream_users.py", 6), ("1-batch_processing.py", 50), ("2-lazy_paginate.py", 100)],
)
def test_the_default_of_the_one_argument(connect, cursor, script, default):
    cursor.fetchone.side_effect = [*USERS * 5, None]
    cursor.fetchmany.return_value = cursor.fetchall.return_value = []
    assert f"({default})" in ran(script, "-h").output
    done = ran(script)
    assert done.errors == ""
    if script == "0-stream_users.py":
        assert done.output.count("\n") == default
    elif script == "1-batch_processing.py":
        cursor.fetchmany.assert_called_once_with(default)
    else:
        assert cursor.execute.call_args.args[1] == (None, None, default)


@pytest.mark.parametrize("size", [0, "5"])
@pytest.mark.parametrize("function", [batches.stream_users_in_batches, pages.lazy_pagination])
def test_a_generator_refuses_a_wrong_size_at_its_first_next(connect, function, size):
    generator = function(size)  # which runs nothing yet
    with pytest.raises((TypeError, ValueError)):
        next(generator)
