"""The collection as its users run it: each script as a process, on a real server."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import subprocess
import sys
from statistics import mean

import pytest

from made_users import FIRST_USERS, write_csv
from mysql_server import free_port

SCRIPTS = ["0-stream_users.py", "1-batch_processing.py", "2-lazy_paginate.py", "4-stream_ages.py"]


def as_dictionary(row) -> dict:
    user_id, name, email, age = row
    return {"user_id": user_id, "name": name, "email": email, "age": int(age)}


@pytest.fixture
def users(seeded, query) -> list[dict]:
    """What plain SQL says is in the table."""
    rows = query("SELECT user_id, name, email, age FROM user_data ORDER BY user_id")
    return [as_dictionary(row) for row in rows]


def lines(users: list[dict]) -> str:
    return "".join(f"{user}\n" for user in users)


def test_seed_reports_what_it_did(no_database, run):
    import seed

    for count in ("1000 users inserted, 0 already there", "0 users inserted, 1000 already there"):
        done = run("seed.py")
        assert (done.returncode, done.stderr) == (0, "")
        server, database, table, users = done.stdout.splitlines()
        assert re.match(r"Server \d+\.\d+\.\d+.* at \S+:\d+$", server)
        assert database == f"Database {seed.DATABASE} is present"
        assert table == "Table user_data created successfully"
        assert users == count


def test_seed_finds_its_csv_file_from_any_folder(no_database, run, project, tmp_path):
    assert "1000 users inserted" in run(project / "seed.py", cwd=tmp_path).stdout


def test_seed_takes_another_csv_file(connection, run, tmp_path, query):
    file = tmp_path / "mine.csv"
    file.write_text("name,email,age\nAnn,ann@example.com,30\n")
    assert run("seed.py", file).stdout.endswith("1 users inserted, 0 already there\n")
    assert query("SELECT name, email FROM user_data") == [("Ann", "ann@example.com")]


def on_a_terminal(project, *arguments: str) -> tuple[str, str]:
    """Run seed.py with stderr on a terminal; return what it wrote to stdout and to the terminal."""
    terminal, stderr = pty.openpty()
    done = subprocess.run(
        [sys.executable, "seed.py", *arguments],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )
    os.close(stderr)
    shown = b""
    with contextlib.suppress(OSError), open(terminal, "rb", buffering=0) as screen:
        while part := screen.read(10_000):
            shown += part
    return done.stdout, shown.decode()


def test_an_import_on_a_terminal_shows_how_far_it_is(no_database, project, tmp_path):
    file = tmp_path / "users.csv"
    with open(file, "w", encoding="utf-8", newline="") as text:
        write_csv(text, 3500)
    stdout, shown = on_a_terminal(project, str(file))
    assert stdout.endswith("\n3500 users inserted, 0 already there\n")
    first, *_, last, erased, end = shown.split("\r")
    assert re.match(r"1,000 rows read, (2[5-9]|3\d)% of the file *$", first)
    assert last.rstrip() == "3,500 rows read, 100% of the file"
    assert (erased, end) == (" " * len(last), "")


def test_an_import_tried_again_covers_what_was_shown(capsys):
    import seed

    seed.show_progress(1_000_000, 0.99)
    seed.show_progress(1_000, 0)
    before, after, _ = capsys.readouterr().err.split("\r")
    assert len(after) >= len(before)
    assert after.rstrip() == "1,000 rows read"


def test_a_pipe_on_a_terminal_shows_rows_alone(no_database, project, tmp_path):
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    with open(tmp_path / "users.csv", "w", encoding="utf-8", newline="") as text:
        write_csv(text, 1500)
    writer = subprocess.Popen(["sh", "-c", f"cat {tmp_path}/users.csv > {pipe}"])
    try:
        stdout, shown = on_a_terminal(project, str(pipe))
    finally:
        writer.kill()  # it waits for a reader for ever
        writer.wait()
    assert stdout.endswith("\n1500 users inserted, 0 already there\n")
    assert [part.rstrip() for part in shown.split("\r")] == [
        *("1,000 rows read", "1,500 rows read", "", "")
    ]


def test_an_error_on_a_terminal_is_all_that_is_left(no_database, project, tmp_path):
    file = tmp_path / "users.csv"
    with open(file, "w", encoding="utf-8", newline="") as text:
        write_csv(text, 1500)
        text.write("x\n")
    _, shown = on_a_terminal(project, str(file))
    *_, progress, erased, error, end = shown.split("\r")
    assert progress.rstrip().endswith("% of the file")
    assert erased == " " * len(progress)
    assert error == f"seed.py: {file}:1502: 1 fields instead of 4"
    assert end == "\n"
    _, shown = on_a_terminal(project, "missing.csv")
    assert shown.strip() == "seed.py: missing.csv: No such file or directory"


def test_stream_users_prints_the_first_users_of_the_course(users, run):
    done = run("0-stream_users.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == lines([as_dictionary(user) for user in FIRST_USERS]) == lines(users[:6])
    assert run("0-stream_users.py", 2).stdout == lines(users[:2])
    assert run("0-stream_users.py", 5000).stdout == lines(users)


def test_batch_processing_prints_the_users_over_25(users, run):
    over_25 = [user for user in users if user["age"] > 25]
    assert 0 < len(over_25) < 1000
    for arguments in [(), (1,), (999,), (5000,)]:
        done = run("1-batch_processing.py", *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == lines(over_25)


def test_lazy_paginate_prints_every_user_once(users, run):
    for arguments in [(), (1,), (999,), (1000,), (5000,)]:
        done = run("2-lazy_paginate.py", *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == lines(users)


def test_pages_have_the_size_asked_for(users):
    module = __import__("2-lazy_paginate")
    assert [len(page) for page in module.lazy_pagination(300)] == [300, 300, 300, 100]
    assert module.paginate_users(10, 0) == users[:10]
    assert module.paginate_users(10, 995) == users[995:]
    assert module.paginate_users(10, 1000) == []


def test_batches_have_the_size_asked_for(users):
    module = __import__("1-batch_processing")
    assert [len(batch) for batch in module.stream_users_in_batches(300)] == [300, 300, 300, 100]


def test_the_average_is_what_sql_says(users, run, query):
    done = run("4-stream_ages.py")
    assert (done.returncode, done.stderr) == (0, "")
    [(average,)] = query("SELECT AVG(age) FROM user_data")
    assert done.stdout == f"Average age of users: {average:.2f}\n"
    assert f"{average:.2f}" == f"{mean(user['age'] for user in users):.2f}"


def test_an_empty_table(connection, run):
    assert [run(script).stdout for script in SCRIPTS] == [
        "",
        "",
        "",
        "Average age of users: 0.00\n",
    ]


@pytest.mark.parametrize("script", ["seed.py", *SCRIPTS])
def test_help(run, script):
    done = run(script, "-h")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: {script} [-h]")


def one_line(done: subprocess.CompletedProcess) -> str:
    """Return the one line on stderr of a script that failed as it should."""
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


@pytest.mark.parametrize("script", ["seed.py", *SCRIPTS])
def test_no_server_is_one_line(run, script):
    port = str(free_port())
    line = one_line(run(script, MYSQL_HOST="127.0.0.1", MYSQL_PORT=port))
    assert line.startswith(f"{script}: ")
    assert f"127.0.0.1:{port}" in line
    assert "Is a server running there?" in line


@pytest.mark.parametrize("script", ["seed.py", *SCRIPTS])
def test_access_denied_is_one_line_without_the_password(run, script):
    line = one_line(run(script, MYSQL_USER="nobody", MYSQL_PASSWORD="secret-word"))
    assert "Access denied for user 'nobody'@" in line
    assert "Check MYSQL_USER and MYSQL_PASSWORD" in line
    assert "secret-word" not in line


@pytest.mark.parametrize("script", SCRIPTS)
def test_no_database_says_to_run_seed(no_database, run, script):
    assert one_line(run(script)).endswith("Run python3 seed.py first.\n")


@pytest.mark.parametrize("script", SCRIPTS)
def test_no_table_says_to_run_seed(connection, query, run, script):
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE user_data")
    assert one_line(run(script)).endswith("Run python3 seed.py first.\n")


def test_a_bad_csv_file_is_one_line(connection, run, tmp_path):
    file = tmp_path / "bad.csv"
    file.write_text("name,email,age\nAnn,ann@example.com,old\n")
    done = run("seed.py", file)
    assert done.returncode == 1
    assert done.stderr == f"seed.py: {file}:2: age 'old' is not a whole number from 0 to 999\n"
    assert "missing.csv" in run("seed.py", "missing.csv").stderr


@pytest.mark.parametrize("script", SCRIPTS[:3])
def test_a_reader_that_goes_away_ends_it_quietly(seeded, project, script):
    command = f"'{sys.executable}' {script} 1000 | head -n 1"
    done = subprocess.run(
        ["bash", "-c", f"{command}; exit ${{PIPESTATUS[0]}}"],
        cwd=project,
        capture_output=True,
    )
    assert done.stdout.count(b"\n") == 1
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("closed", [">&-", "2>&-"])
def test_a_closed_output_is_no_error(connection, project, query, closed):
    for script in ["seed.py", *SCRIPTS]:
        command = f"'{sys.executable}' {script} {closed}"
        done = subprocess.run(["bash", "-c", command], cwd=project, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
    assert query("SELECT COUNT(*) FROM user_data") == [(1000,)]


def test_a_full_disk_is_one_line(seeded, project):
    command = f"'{sys.executable}' 0-stream_users.py > /dev/full"
    done = subprocess.run(["bash", "-c", command], cwd=project, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr == "0-stream_users.py: output: No space left on device\n"


def test_what_was_read_before_an_error_is_printed_before_its_line(connection, seed, project):
    seed.insert_data(connection, seed.CSV_FILE)
    connection.cmd_query("ALTER TABLE user_data MODIFY age INT NULL")
    connection.cmd_query("UPDATE user_data SET age = NULL ORDER BY user_id DESC LIMIT 1")
    done = subprocess.run(
        [sys.executable, "0-stream_users.py", "1000"],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    *users, error = done.stdout.splitlines()
    assert len(users) == 900
    assert error.startswith("0-stream_users.py: user_data: age NULL is not a whole number: ")


def test_output_that_cannot_hold_a_name_says_what_to_do(connection, seed, run):
    seed.insert_data(connection, seed.CSV_FILE)
    done = run("0-stream_users.py", 1000, PYTHONIOENCODING="latin-1")
    assert done.returncode == 1
    assert done.stderr == (
        "0-stream_users.py: the output is in latin-1, which has no '\\u0141': "
        "export PYTHONIOENCODING=utf-8\n"
    )


def test_memory_profiler_reports_line_by_line(users, run):
    # memory_profiler itself calls what Python 3.14 warns of.
    ignored = "ignore::DeprecationWarning:__main__"
    done = run("-W", ignored, "-m", "memory_profiler", "4-stream_ages.py")
    assert (done.returncode, done.stderr) == (0, "")
    average = f"{mean(user['age'] for user in users):.2f}"
    assert f"Average age of users: {average}\n" in done.stdout
    assert re.search(r"MiB .* 1000 +total \+= age", done.stdout)


def test_the_average_costs_nothing_extra_when_memory_is_not_asked_for():
    module = __import__("4-stream_ages")
    assert type(module.calculate_average_age) is type(lambda: 0)
    assert module.calculate_average_age.__module__ == "4-stream_ages"


def test_cprofile_runs_a_script(users, run):
    done = run("-m", "cProfile", "1-batch_processing.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(lines([user for user in users if user["age"] > 25]))
    assert re.search(r"1-batch_processing\.py:\d+\(batch_processing\)", done.stdout)
