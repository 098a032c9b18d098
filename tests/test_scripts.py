"""The collection as its users run it: what is printed, pipes, sessions; and every error's line."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import threading
from statistics import mean

import mysql.connector
import pytest

import seed
from helpers import (
    ALL_USERS,
    EVERYTHING,
    FAMILY,
    SCRIPTS,
    Proxy,
    refused,
    run,
    shell,
    wait_until,
)
from made_users import FIRST_USERS
from mysql_server import free_port


def lines(users: list[dict]) -> str:
    return "".join(f"{user}\n" for user in users)


@pytest.fixture
def users(seeded, query) -> list[dict]:
    """What plain SQL says is in the table."""
    rows = query("SELECT user_id, name, email, age FROM user_data ORDER BY user_id")
    return [dict(zip(seed.COLUMNS, (*row[:3], int(row[3])))) for row in rows]


# What is printed


def test_each_script_prints_what_sql_says(users, query):
    first = [dict(zip(seed.COLUMNS, user)) for user in FIRST_USERS]
    over_25 = [user for user in users if user["age"] > 25]
    [(average,)] = query("SELECT AVG(age) FROM user_data")
    assert f"{average:.2f}" == f"{mean(user['age'] for user in users):.2f}"
    assert first == users[:6]
    for script, arguments, output in [
        ("0-stream_users.py", [], lines(first)),
        *(("0-stream_users.py", [count], lines(users[:count])) for count in (1, 100, 101, 5000)),
        *(("1-batch_processing.py", size, lines(over_25)) for size in ([], [1], [999], [5000])),
        *(("2-lazy_paginate.py", size, lines(users)) for size in ([], [7], [999], [1000], [5000])),
        ("4-stream_ages.py", [], f"Average age of users: {average:.2f}\n"),
    ]:
        assert run(script, *arguments) == (0, output, ""), (script, arguments)
    pages, batches = map(__import__, ("2-lazy_paginate", "1-batch_processing"))
    for lists in (pages.lazy_pagination(300), batches.stream_users_in_batches(300)):
        assert [len(each) for each in lists] == [300, 300, 300, 100]
    assert pages.paginate_users(10, 995) == users[995:]
    assert pages.paginate_users(10, 1000) == []


def test_an_empty_table(empty):
    outputs = [run(script).output for script in SCRIPTS]
    assert outputs == ["", "", "", "Average age of users: 0.00\n"]


# As processes


def test_as_commands(seeded, tmp_path):
    """From any folder, with memory_profiler and cProfile, to a reader that goes away."""
    folder = seed.CSV_FILE.parent
    for script in EVERYTHING:
        done = shell(f"python '{folder}/{script}'", cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines()[1:] == run(script).output.splitlines()[1:]
    for script in SCRIPTS[:3]:
        done = shell(f"python {script} 1000 | head -n 1; exit ${{PIPESTATUS[0]}}")
        assert (done.returncode, done.stdout.count("\n"), done.stderr) == (0, 1, "")
    # memory_profiler itself calls what Python 3.14 warns of.
    ignored = "-W ignore::DeprecationWarning:__main__"
    done = shell(f"python {ignored} -m memory_profiler 4-stream_ages.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"MiB .* 1000 +total \+= age", done.stdout)
    done = shell("python -m cProfile -s cumulative 1-batch_processing.py")
    assert re.search(r"1-batch_processing\.py:\d+\(batch_processing\)", done.stdout)


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_closed_output_is_no_error(seeded, closed):
    done = shell(f"for script in {' '.join(EVERYTHING)}; do python $script {closed} || exit; done")
    assert (done.returncode, done.stderr) == (0, "")
    done = shell(f"python 4-stream_ages.py {closed}", env={"MYSQL_PORT": "1"})
    assert (done.returncode, done.stdout) == (1, "")


def test_outputs_that_cannot_be_written(seeded):
    done = shell("python 0-stream_users.py > /dev/full")
    assert done.stderr == "0-stream_users.py: input or output: No space left on device\n"
    done = shell("python 0-stream_users.py 1000", env={"PYTHONIOENCODING": "latin-1"})
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("0-stream_users.py: latin-1 lacks a character: set PYTHONIO")
    # What was read before an error is printed before its line.
    seeded.cmd_query("ALTER TABLE user_data MODIFY age INT NULL")
    seeded.cmd_query("UPDATE user_data SET age = NULL ORDER BY user_id DESC LIMIT 1")
    done = shell("python 0-stream_users.py 1000 2>&1")
    *printed, error = done.stdout.splitlines()
    assert len(printed) == 900
    assert error.startswith("0-stream_users.py: user_data has a row that is no user: int() arg")


SESSION = """
import signal, sys
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
print("goes on", file=sys.stdout)
"""


def test_a_session_goes_on_as_it_was(seeded):
    """IDLE (whose stdout is no file), python3 -i, a thread: its output, its Ctrl-C, its errors."""
    port = str(free_port())
    for before in ("", f"import os; os.environ['MYSQL_PORT'] = '{port}'"):
        script = f"{before}\nimport seed, io, sys, threading\nages = __import__('4-stream_ages')\n"
        as_in_idle = "real, sys.stdout = sys.stdout, io.StringIO()\ntry: seed.run(ages.main)\n"
        as_in_idle += f"except SystemExit: pass\nsys.stdout = real\n{SESSION}"
        thread = "each = threading.Thread(target=seed.run, args=(ages.main,)); each.start(); "
        for code in (as_in_idle, f"{thread}each.join()\n{SESSION}"):
            done = shell("python -", input=script + code)
            assert done.returncode == 0, done.stderr
            assert done.stdout.endswith("goes on\n")
            assert done.stderr.count("\n") == bool(before), done.stderr
        done = shell(
            f"MYSQL_PORT={port if before else '$MYSQL_PORT'} python -i 4-stream_ages.py",
            input=SESSION,
        )
        assert "goes on" in done.stdout
        assert ("Can't connect" in done.stderr) == bool(before)


def test_ctrl_c_in_a_session_is_left_to_it(any_server):
    script = "import signal, seed\nseed.run(lambda: print(signal.getsignal(signal.SIGINT)))\n"
    assert shell("python -", input=script).stdout == "0\n"  # SIG_DFL
    for command in (
        "python -i -",
        "PYTHONSTARTUP= python -c 'import sys; sys.ps1 = 1; exec(input())'",
    ):
        done = shell(command, input=script.replace("\n", "; "))
        assert "default_int_handler" in done.stdout


def test_run_gives_back_the_signal_and_hides_no_bug(seeded):
    done = shell("python -", input=f"import seed\nseed.run(lambda: None)\n{SESSION}")
    assert (done.returncode, done.stdout) == (0, "goes on\n"), done.stderr
    done = shell("python -", input="import seed\nseed.run(lambda: int('x'))")
    assert done.stderr.startswith("Traceback")
    assert done.stderr.endswith("ValueError: invalid literal for int() with base 10: 'x'\n")
    # As in `nohup python3 ... &`.
    ignored = "import os, signal, seed; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    ignored += "seed.run(lambda: os.kill(os.getpid(), signal.SIGINT))"
    assert shell("python -", input=ignored).returncode == 0
    done = shell("python -", input=ignored.split("\n")[1].join(["import os, signal, seed\n", ""]))
    assert done.returncode == -signal.SIGINT


# Errors: what is done to the server or the settings, the scripts that meet it, what is said


@pytest.mark.parametrize("script", EVERYTHING)
def test_errors_that_every_script_may_meet(no_database, monkeypatch, script):
    if script != "seed.py":
        assert refused(run(script)).endswith("(error 1049). Run python3 seed.py first.")
        with seed.connect_db() as connection:
            seed.create_database(connection)
        assert refused(run(script)).endswith("(error 1146). Run python3 seed.py first.")
    monkeypatch.setenv("MYSQL_PASSWORD", "secret-word")
    line = refused(run(script))
    assert line.endswith("(error 1045). Check MYSQL_USER and MYSQL_PASSWORD.")
    assert "secret-word" not in line
    monkeypatch.setenv("MYSQL_HOST", "127.0.0.1")
    monkeypatch.setenv("MYSQL_PORT", str(free_port()))
    line = refused(run(script))
    assert line.endswith(
        "(error 2003). Is a server running there? The README says how to start one."
    )


def arranged(server, *statements: str, script: str = "seed.py") -> str:
    """Return the line of a script after some statements, for a table that is there."""
    for statement in statements:
        server.rows(statement, "ALX_prodev")
    return refused(run(script, *ALL_USERS.get(script, [])))


def test_errors_that_a_server_makes(own_server, csv_file, monkeypatch, option_file):
    assert run("seed.py").status == 0
    read_only = "transaction_read_only" if FAMILY == "mysql" else "tx_read_only"
    line = arranged(own_server, "DELETE FROM user_data", f"SET GLOBAL {read_only} = 1")
    assert "(error 1792)" in line
    own_server.rows(f"SET GLOBAL {read_only} = 0")
    line = arranged(own_server, "SET GLOBAL max_allowed_packet = 16384")
    assert line.endswith("Ask the server's owner for a max_allowed_packet of 4M or more.")
    own_server.rows("SET GLOBAL innodb_lock_wait_timeout = 1")
    own_server.rows("SET GLOBAL max_allowed_packet = 4194304")
    assert run("seed.py").status == 0
    with own_server.connect(database="ALX_prodev") as other:
        other.cmd_query("START TRANSACTION")
        other.cmd_query("UPDATE user_data SET age = 1")
        begun = "SHOW GLOBAL STATUS LIKE 'Com_begin'"
        before = int(own_server.rows(begun)[0][1])
        assert "(error 1205)" in arranged(own_server)  # and waited for once
        assert int(own_server.rows(begun)[0][1]) == before + 1
    own_server.rows("CREATE USER ann@localhost IDENTIFIED BY 'p' WITH MAX_QUERIES_PER_HOUR 1")
    own_server.rows("GRANT ALL ON ALX_prodev.* TO ann@localhost")
    monkeypatch.setenv("MYSQL_USER", "ann")
    assert re.search("has exceeded the 'max_qu.*1226", arranged(own_server))
    monkeypatch.setenv("MYSQL_USER", "root")
    own_server.rows("SET GLOBAL max_connections = 10")
    others = []
    with contextlib.suppress(mysql.connector.Error):
        while len(others) < 30:
            others.append(own_server.connect())
    assert "Too many connections (error 1040)" in refused(run("4-stream_ages.py"))


def greeting_server(data: bytes | None) -> int:
    """Return the port of a server that says that to its first client, and then nothing."""
    listener = socket.create_server(("127.0.0.1", 0))

    def greet() -> None:
        with listener, listener.accept()[0] as client:
            client.sendall(data)
            client.recv(1)

    if data is not None:
        threading.Thread(target=greet, daemon=True).start()
    greeting_server.listeners = [*getattr(greeting_server, "listeners", []), listener]
    return listener.getsockname()[1]


NOT_LET_IN = b"\xffj\x04Host '127.0.0.1' is not allowed to connect to this server"
GREETINGS = {
    None: r"\(error (2013|2003|3024)\)",
    b"": r"\(error (2013|2003|3024|2055)\)",
    b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n": r"\(error (2012|2013|2003|3024|2055|2026|-1)\)",
    len(NOT_LET_IN).to_bytes(3, "little") + b"\0" + NOT_LET_IN: (
        r"\(error 1130\)\. The server has no account for this machine's address: see the README\."
    ),
}


@pytest.mark.parametrize("greeting", GREETINGS, ids=lambda each: str(each)[:9])
def test_a_server_that_does_not_answer_is_given_up(option_file, monkeypatch, greeting):
    option_file("connect-timeout=1")
    monkeypatch.setenv("MYSQL_HOST", "127.0.0.1")
    monkeypatch.setenv("MYSQL_PORT", str(greeting_server(greeting)))
    assert re.search(GREETINGS[greeting], refused(run("4-stream_ages.py")))


def test_a_host_and_a_socket_that_are_not_there(option_file, monkeypatch):
    for name in ("HOST", "PORT"):
        monkeypatch.setenv(f"MYSQL_{name}", "")
    option_file("socket=/nowhere/mysqld.sock")
    line = refused(run("4-stream_ages.py"))
    assert re.search(r"/nowhere/mysqld.sock.*\(error 200[23]\)\. Is a server running there\?", line)
    monkeypatch.setenv("MYSQL_HOST", "no-such-host.invalid")
    assert re.search(r"\(error 200[35]\)\. Is a server running", refused(run("4-stream_ages.py")))


def test_accounts_of_other_kinds(own_server, option_file, monkeypatch):
    if FAMILY == "mysql":
        own_server.rows("INSTALL PLUGIN auth_socket SONAME 'auth_socket.so'")
        own_server.rows("CREATE USER ben@localhost IDENTIFIED WITH auth_socket")
    else:
        own_server.rows("CREATE USER ben@localhost IDENTIFIED VIA unix_socket")
    monkeypatch.setenv("MYSQL_USER", "ben")
    assert refused(run("4-stream_ages.py")).endswith("Check MYSQL_USER and MYSQL_PASSWORD.")
    if FAMILY == "mysql":  # which lets in by its own way only within TLS
        own_server.rows("CREATE USER ann@localhost IDENTIFIED BY 'p'")
        monkeypatch.setenv("MYSQL_USER", "ann")
        option_file("ssl-mode=disabled")
        assert "secure connection" in refused(run("4-stream_ages.py"))


@pytest.mark.parametrize("how", ["lost", "ended"])
def test_a_connection_that_is_lost_and_a_query_that_somebody_ends(seeded, server, start, how):
    with Proxy((server.host, server.port)) as proxy, seed.connect_to_prodev() as other:
        other.cmd_query("LOCK TABLES user_data WRITE")
        process = start("2-lazy_paginate.py", env={"MYSQL_PORT": str(proxy.port)})
        wait_until(server.runs("Waiting for table"), process)
        if how == "lost":
            proxy.cut_replies()
        else:
            [number] = [row[0] for row in server.processes() if "Waiting for table" in str(row)]
            server.rows(f"KILL QUERY {number}")
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors.count("\n")) == (1, 1)
    assert errors.endswith("Run it again: an import is whole or nothing.\n")
