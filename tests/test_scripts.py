"""The collection as its users run it: what is printed, pipes, sessions; and every error's line."""

import re
import socket
from concurrent.futures import ThreadPoolExecutor

import mysql.connector
import pytest

import seed
from helpers import EVERYTHING, FAMILY, SCRIPTS, batches, pages, query, ran, refused, shell
from made_users import FIRST_USERS


def test_each_script_prints_what_sql_says(seeded):
    rows = query("SELECT user_id, name, email, age FROM user_data ORDER BY user_id")
    assert rows[:6] == FIRST_USERS
    users = [dict(zip(seed.COLUMNS, (*row[:3], int(row[3])))) for row in rows]
    over_25 = [user for user in users if user["age"] > 25]
    [(average,)] = query("SELECT AVG(age) FROM user_data")
    for script, arguments, lines in [
        ("0-stream_users.py", [], users[:6]),
        *(("0-stream_users.py", [count], users[:count]) for count in (1, 100, 101, 2**63 - 1)),
        *(("1-batch_processing.py", size, over_25) for size in ([], [1], [999], [2**63 - 1])),
        *(("2-lazy_paginate.py", size, users) for size in ([], [7], [999], [1000], [2**63 - 1])),
        ("4-stream_ages.py", [], [f"Average age of users: {average:.2f}"]),
    ]:
        output = "".join(f"{line}\n" for line in lines)
        assert ran(script, *arguments) == (0, output, ""), (script, arguments)
    for lists in (pages.lazy_pagination(300), batches.stream_users_in_batches(300)):
        assert [len(each) for each in lists] == [300, 300, 300, 100]
    assert pages.paginate_users(10, 995) == users[995:]
    assert pages.paginate_users(2**63 - 1, 995) == users[995:]
    assert pages.paginate_users(10, 2**63 - 1) == []


DRIVERS = {  # programs such as courses hand out with this exercise, and what they print last
    "set up": """
seed = __import__("seed")
connection = seed.connect_db()
if connection:
    seed.create_database(connection)
    connection.close()
    connection = seed.connect_to_prodev()
    if connection:
        seed.create_table(connection)
        seed.insert_data(connection, "user_data.csv")
        cursor = connection.cursor()
        cursor.execute("SHOW DATABASES LIKE 'ALX_prodev'")
        if cursor.fetchone():
            cursor.execute("SELECT user_id FROM user_data ORDER BY user_id LIMIT 1")
            print(cursor.fetchall())
            cursor.close()
""",
    "stream": """
from itertools import islice
stream_users = __import__("0-stream_users")
for user in islice(stream_users(), 6):
    print(user)
""",
    "batches": """
import sys
processing = __import__("1-batch_processing")
try:
    processing.batch_processing(50)
except BrokenPipeError:
    sys.stderr.close()
""",
    "pages": """
import sys
lazy_paginator = __import__("2-lazy_paginate").lazy_pagination
try:
    for page in lazy_paginator(100):
        for user in page:
            print(user)
except BrokenPipeError:
    sys.stderr.close()
""",
}


def test_a_program_that_sets_up(no_database):
    done = shell('python -c "$1"', DRIVERS["set up"])
    created = "Table user_data created successfully\n"
    assert done == (0, f"{created}[('{FIRST_USERS[0][0]}',)]\n", "")


@pytest.mark.parametrize(("name", "script"), [*zip(list(DRIVERS)[1:], SCRIPTS)])
def test_a_program_prints_what_the_script_prints(seeded, name, script):
    expected = ran(script)
    assert shell('python -c "$1"', DRIVERS[name]) == expected
    first_line = expected.output.splitlines(keepends=True)[0]
    done = shell('python -c "$1" | head -n 1', DRIVERS[name])
    assert done == (0, first_line, "")


@pytest.mark.parametrize("script", EVERYTHING)
def test_a_command_in_any_folder(seeded, tmp_path, script):
    done = shell('python "$1"', seed.CSV_FILE.parent / script, cwd=tmp_path)
    assert (done.status, done.errors) == (0, "")
    assert done == ran(script)


@pytest.mark.parametrize("script", SCRIPTS[:3])
def test_a_reader_that_goes_away(seeded, script):
    done = shell(f"python {script} 1000 | head -n 1; exit ${{PIPESTATUS[0]}}")
    assert (done.status, done.output.count("\n"), done.errors) == (0, 1, "")


def test_memory_profiler(seeded):
    # memory_profiler itself calls what Python 3.14 warns of.
    ignored = "-W ignore::DeprecationWarning:__main__"
    done = shell(f"python {ignored} -m memory_profiler 4-stream_ages.py")
    assert (done.status, done.errors) == (0, "")
    assert re.search(r"MiB .* 1000 +total \+= age", done.output)


CLOSED = [">&-", "2>&-", ">&- 2>&-"]


@pytest.mark.parametrize("closed", CLOSED)
def test_outputs_that_are_closed(seeded, closed):
    with ThreadPoolExecutor() as pool:
        ends = list(pool.map(lambda script: shell(f"python {script} {closed}"), EVERYTHING))
    assert [(done.status, done.errors) for done in ends] == [(0, "")] * len(EVERYTHING)


@pytest.mark.parametrize("closed", CLOSED)
def test_an_error_where_outputs_are_closed(closed):
    done = shell(f"python 4-stream_ages.py {closed}", env={"MYSQL_PORT": "1"})
    assert (done.status, done.output) == (1, "")


def test_a_disk_that_is_full(seeded):
    done = shell("python 0-stream_users.py > /dev/full")
    assert refused(done) == "[Errno 28] No space left on device"


def test_an_output_that_cannot_take_all_letters(seeded):
    done = shell("python 0-stream_users.py 1000", env={"PYTHONIOENCODING": "latin-1"})
    told = "cannot write a character as latin-1: set PYTHONIOENCODING=utf-8"
    assert refused(done).startswith(told)


def test_what_was_read_before_an_error_is_printed_before_its_line(seeded):
    seeded.cmd_query("ALTER TABLE user_data MODIFY age INT NULL")
    seeded.cmd_query("UPDATE user_data SET age = NULL ORDER BY user_id DESC LIMIT 1")
    *printed, error = shell("python 0-stream_users.py 1000 2>&1").output.splitlines()
    assert len(printed) == 999
    assert error.startswith("0-stream_users.py: age is NULL, in the row {'user_id': 'f")


SETUP = """
import io, signal, sys, threading, seed
def show():
    handler = signal.getsignal(signal.SIGINT)
    print(getattr(handler, "name", "Python's"), file=sys.__stdout__, flush=True)

def fail():
    show()
    raise seed.InputError("an error")

def run():
    seed.run(show)
    try: seed.run(fail)
    except SystemExit: pass

"""
SESSIONS = [  # how Python is started, what is run, who has Ctrl-C within seed.run()
    ("python -", "run()", "SIG_DFL"),
    ('python -i -c "$(cat)"', "run()", "Python's"),
    ("python -", "sys.ps1 = 'IPython has one'; run()", "Python's"),
    ("python -", "sys.stdout = io.StringIO(); run()", "Python's"),  # IDLE
    ("python -", "t = threading.Thread(target=run); t.start(); t.join()", "Python's"),
    ("trap '' INT; python -", "run()", "SIG_IGN"),  # as in `nohup python3 ... &`
]


@pytest.mark.parametrize(("python", "code", "owner"), SESSIONS)
def test_ctrl_c_ends_a_script_at_once_and_stays_with_a_session(python, code, owner):
    done = shell(python, input=f"{SETUP}{code}\nshow()\n")
    after = "SIG_IGN" if owner == "SIG_IGN" else "Python's"
    assert (done.status, done.output.splitlines()) == (0, [owner, owner, after])
    assert ": an error\n" in done.errors


def test_a_session_goes_on_after_an_error_and_a_bug_is_not_hidden(server):
    done = shell("python -i 4-stream_ages.py", input="print('goes on')", env={"MYSQL_PORT": "1"})
    assert done.output == "goes on\n"
    assert "4-stream_ages.py: Can't connect" in done.errors
    done = shell("python -", input="import seed\nseed.run(lambda: int('x'))")
    assert done.errors.startswith("Traceback")
    assert done.errors.endswith("ValueError: invalid literal for int() with base 10: 'x'\n")


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_that_is_run_before_seed(no_database, server, script):
    assert refused(ran(script)).endswith("(error 1049). Run python3 seed.py first.")
    server.rows("CREATE DATABASE ALX_prodev")
    assert refused(ran(script)).endswith("(error 1146). Run python3 seed.py first.")


def test_servers_that_are_not_there(option_file, settings):
    hint = r"Is a server running there\? The README says how to start one\."
    settings(HOST="", PORT="")
    option_file("socket=/nowhere/mysqld.sock")
    line = refused(ran("4-stream_ages.py"))
    assert re.search(rf"/nowhere/mysqld.sock.*\(error 200[23]\)\. {hint}$", line)
    settings(HOST="no-such-host.invalid")
    assert re.search(rf"\(error 200[35]\)\. {hint}$", refused(ran("4-stream_ages.py")))


def test_a_server_that_does_not_answer_is_given_up(settings):
    code = "import seed; seed.CONNECT_TIMEOUT = 1; seed.run(__import__('4-stream_ages').main)"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings(HOST="127.0.0.1", PORT=silent.getsockname()[1])
        # In a process of its own, which can be ended: no signal reaches Python in the C extension.
        line = refused(shell(f'timeout 30 python -c "{code}"'))
    assert re.search(r"\(error (2013|2003|3024|2055)\)", line)


@pytest.mark.skipif(FAMILY != "mariadb", reason="a plugin of MariaDB")
def test_an_account_that_logs_in_another_way(server, account):
    account("ben")
    server.rows("ALTER USER ben@localhost IDENTIFIED VIA unix_socket")
    hint = "(error 1698). Check MYSQL_USER and MYSQL_PASSWORD, or ~/.my.cnf"
    assert hint in refused(ran("4-stream_ages.py"))


@pytest.mark.skipif(FAMILY != "mariadb", reason="MySQL brings no other languages here")
def test_a_login_that_is_refused_in_french(server, settings, with_global):
    """Before the login the server uses no UTF-8, and the C extension raises a RuntimeError."""
    with_global("lc_messages", "fr_FR")
    settings(PASSWORD="wrong")
    assert re.search("(?i)user and (the |MYSQL_)password", refused(ran("4-stream_ages.py")))


@pytest.mark.skipif(FAMILY != "mysql", reason="MariaDB lets in without TLS")
def test_an_account_that_is_let_in_only_over_tls(account, option_file):
    account("ann")
    option_file("ssl-mode=disabled")
    # Without its C extension the driver asks all the same.
    words = "Check the TLS settings" if mysql.connector.HAVE_CEXT else "Access denied"
    assert words in refused(ran("4-stream_ages.py"))
