"""Networks that go silent, routers, servers with settings of their own, and Ctrl-C in all of it."""

from __future__ import annotations

import gc
import shutil
import signal
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import mysql.connector
import pytest
from conftest import MANY, ThrowAwayServer, wait_until
from proxy import Proxy, in_one_process
from test_faults import ALL_USERS, kill_connections, processes
from test_integration import SCRIPTS
from test_streams import GENERATORS, connections_left, stream_users

from mysql_server import PrivateServer, free_port

EVERYTHING = ["seed.py", *SCRIPTS]


def running(server: PrivateServer, text: str):
    """Return a condition: some connection runs a query, or is in a state, with that text."""

    def condition() -> bool:
        return any(text in f"{row[6]} {row[7]}" for row in processes(server))

    return condition


def interrupt(process: subprocess.Popen) -> None:
    """Press Ctrl-C twice; the process ends by it, and says nothing."""
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (-signal.SIGINT, "")


# Ctrl-C


@pytest.mark.parametrize("script", EVERYTHING)
def test_ctrl_c_while_a_server_does_not_answer(start, monkeypatch, script):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setenv("MYSQL_PORT", str(listener.getsockname()[1]))
        process = start(script)
        listener.settimeout(60)
        client, _ = listener.accept()
        with client:
            time.sleep(0.1)  # it waits for the first packet
            interrupt(process)


@pytest.mark.parametrize("script", SCRIPTS)
def test_ctrl_c_while_the_network_is_silent(server_with, start, monkeypatch, script):
    server = server_with()
    with Proxy((server.host, server.port)) as proxy, server.connect(database="ALX_prodev") as other:
        other.cmd_query("LOCK TABLES user_data WRITE")
        monkeypatch.setenv("MYSQL_PORT", str(proxy.port))
        process = start(script, *ALL_USERS[script])
        wait_until(running(server, "Waiting for table"), process)
        proxy.silent()
        other.cmd_query("UNLOCK TABLES")
        interrupt(process)
    assert connections_left(server) == []


@pytest.mark.parametrize("script", SCRIPTS[:3])
def test_ctrl_c_while_nobody_reads_the_output(server_with, start, script):
    server = server_with()
    process = start(script, *ALL_USERS[script], stdout=subprocess.PIPE)
    assert process.stdout.readline().startswith("{'user_id': ")
    interrupt(process)
    assert connections_left(server) == []


@pytest.mark.parametrize("silent", [False, True])
@pytest.mark.parametrize("where", ["lock wait", "commit"])
def test_ctrl_c_while_an_import_waits(seeded, own_server, start, run, monkeypatch, where, silent):
    assert run("seed.py").returncode == 0
    with Proxy((own_server.host, own_server.port)) as proxy, own_server.connect(
        database="ALX_prodev"
    ) as other:
        other.cmd_query("DELETE FROM user_data WHERE user_id > '8'")
        (left,) = other.info_query("SELECT COUNT(*) FROM user_data")
        if where == "commit":
            other.cmd_query("FLUSH TABLES WITH READ LOCK")
            state = "Waiting for "
        else:
            other.cmd_query("START TRANSACTION")
            other.cmd_query("UPDATE user_data SET age = 1 LIMIT 1")
            state = "INSERT INTO user_data"
        monkeypatch.setenv("MYSQL_PORT", str(proxy.port))
        # The table is there already: what waits is the import itself.
        script = "import seed; connection = seed.connect_to_prodev(); "
        script += "seed.run(lambda: seed.insert_data(connection, seed.CSV_FILE))"
        process = start("-c", script)
        wait_until(running(own_server, state), process)
        if silent:
            proxy.silent()
        interrupt(process)
        for statement in ("UNLOCK TABLES", "ROLLBACK"):
            other.cmd_query(statement)
    assert connections_left(own_server) == []
    with own_server.connect(database="ALX_prodev") as connection:
        # In a COMMIT that has been sent already, the server decides.
        assert connection.info_query("SELECT COUNT(*) FROM user_data")[0] in (
            (left, 1000) if where == "commit" else (left,)
        )


def test_ctrl_c_during_an_import_never_crashes(server_with, start):
    server = server_with(10_000)
    for number in range(10):
        with server.connect(database="ALX_prodev") as connection:
            connection.cmd_query("DELETE FROM user_data")
        server.rows = 0
        process = start("seed.py", str(server.files[MANY]))
        wait_until(running(server, "INSERT INTO user_data"), process)
        time.sleep(0.03 * number)
        interrupt(process)
        assert connections_left(server) == []
        with server.connect(database="ALX_prodev") as connection:
            assert connection.info_query("SELECT COUNT(*) FROM user_data") == (0,)


def test_ctrl_c_that_is_ignored_stays_ignored(seeded, start):
    # As in `nohup python3 ... &`.
    script = "import os, signal, seed; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    process = start("-c", script + "seed.run(lambda: os.kill(os.getpid(), signal.SIGINT))")
    assert process.wait(timeout=60) == 0


# Connections that do not come up


@pytest.mark.parametrize("script", EVERYTHING)
@pytest.mark.parametrize("greeting", [None, b"", b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"])
def test_a_server_that_does_not_answer_is_one_line(run, option_file, script, greeting):
    option_file("connect-timeout=1")

    def greet() -> None:
        client, _ = listener.accept()
        with client:
            client.sendall(greeting)
            client.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        if greeting is not None:
            threading.Thread(target=greet, daemon=True).start()
        done = run(script, MYSQL_HOST="127.0.0.1", MYSQL_PORT=str(port), MYSQL_USER="ann")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"{script}: 127.0.0.1:{port} does not answer (error 2012, as ann at 127.0.0.1:{port}). "
        "Is that a MySQL server, and is it well?\n"
    )


def test_the_time_to_connect_limits_no_query(seeded, seed, option_file):
    assert seed.connection_settings()["connect_timeout"] == 10
    option_file("connect-timeout=1")
    with seed.connect_db() as connection:
        assert connection.info_query("SELECT SLEEP(2)") == (0,)


# Streams


@pytest.fixture
def with_global(server_with):
    """A function that sets a global variable of the server for the time of the test."""
    server = server_with(10_000)
    before = []

    def with_global(name: str, value: object) -> PrivateServer:
        with server.connect() as connection:
            before.append((name, connection.info_query(f"SELECT @@GLOBAL.{name}")[0]))
            connection.cmd_query(f"SET GLOBAL {name} = {value}")
        return server

    yield with_global
    for name, value in reversed(before):
        with server.connect() as connection:
            connection.cmd_query(f"SET GLOBAL {name} = {value}")


@pytest.mark.parametrize("name", GENERATORS)
def test_no_limit_of_the_server_cuts_a_stream(with_global, name):
    with_global("sql_select_limit", 10)
    expected = 200 if "batches" in name or "pagination" in name else 10_000
    assert sum(1 for _ in GENERATORS[name]()) == expected


def test_a_time_limit_of_the_server_raises(server_with, with_global, run, family):
    server_with()
    limits = {"mysql": ("max_execution_time", 50), "mariadb": ("max_statement_time", 0.05)}
    name, value = limits[family]
    with_global(name, value)
    server_with()
    rows = stream_users()
    next(rows)
    time.sleep(0.2)
    with pytest.raises(mysql.connector.Error):
        sum(1 for _ in rows)
    done = run("2-lazy_paginate.py", MANY)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert "for more time (max_execution_time, max_statement_time)." in done.stderr


def test_a_pause_has_a_limit(seeded, seed):
    for name in ("net_write_timeout", "wait_timeout"):
        with seed.open_stream(seed.AgeCursor) as cursor:
            cursor.execute(f"SELECT @@SESSION.{name}")
            assert cursor.fetchone() == (24 * 60 * 60,)


@pytest.fixture
def two_servers(tmp_path, private_server):
    """Two servers that give the same name to themselves."""
    one = ThrowAwayServer(tmp_path / "one", free_port())
    two = ThrowAwayServer(tmp_path / "two", one.port)  # MariaDB's server_uid is from MAC and port
    two.host = "127.0.0.2"
    one.start()
    one.stop()
    shutil.copytree(one.folder, two.folder)  # MySQL's server_uuid is in the data folder
    with one, two:
        yield one, two


@in_one_process
def test_no_strangers_query_is_cancelled_behind_a_router(two_servers, run, at, monkeypatch):
    one, two = two_servers
    names = set()
    for server in two_servers:
        assert run("seed.py", **server.environment()).returncode == 0
        with server.connect() as connection:
            names.add(connection.info_query(r"SHOW VARIABLES LIKE 'server\_u%id'"))
    assert len(names) == 1
    with Proxy((one.host, one.port), (two.host, two.port)) as router:
        at(one)
        monkeypatch.setenv("MYSQL_PORT", str(router.port))
        rows = stream_users()
        next(rows)
        number = processes(one)[0][0]
        stranger = two.connect()
        for _ in range(number - stranger.connection_id):
            stranger = two.connect()
        assert stranger.connection_id == number
        with ThreadPoolExecutor(1) as pool:
            result = pool.submit(stranger.info_query, "SELECT SLEEP(2)")
            wait_until(running(two, "SELECT SLEEP(2)"))
            rows.close()
            assert result.result() == (0,)  # 1, or an error, where it was cancelled


@pytest.mark.parametrize("how", ["close", "throw", "collect"])
@pytest.mark.parametrize("what", ["settings", "connection"])
def test_a_stream_ends_with_the_consumers_exception(server_with, monkeypatch, capsys, how, what):
    server = server_with()
    rows = stream_users()
    next(rows)
    if what == "settings":
        monkeypatch.setenv("MYSQL_PORT", "abc")
    else:
        kill_connections(server)
    if how == "throw":
        with pytest.raises(ZeroDivisionError) as error:
            rows.throw(ZeroDivisionError())
        assert error.value.__context__ is None
    elif how == "close":
        rows.close()
    del rows
    gc.collect()
    assert capsys.readouterr().err == ""
    assert connections_left(server) == []


def test_a_stream_left_open_at_exit_says_nothing(server_with, run):
    server = server_with()
    script = "import importlib; rows = importlib.import_module('0-stream_users').stream_users(); "
    done = run("-c", script + "next(rows)")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert connections_left(server) == []


def test_an_interrupt_while_a_stream_is_closed_closes_it(server_with, monkeypatch):
    import seed

    server = server_with()

    def cancel_query(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(seed, "cancel_query", cancel_query)
    rows = stream_users()
    next(rows)
    with pytest.raises(KeyboardInterrupt):
        rows.close()
    assert connections_left(server) == []


# Tables that another version of this exercise made

OTHER_TABLES = {
    "age INT": ("name", None, "NULL is not UTF-8 text"),
    "age INT NULL ": ("age", None, "NULL is not a whole number"),
    "age DECIMAL(10,2)": ("age", "67", "b'67.00' is not a whole number"),
    "age VARCHAR(9)": ("age", "old", "b'old' is not a whole number"),
    "age INT, user_id BINARY(2)": ("user_id", b"\xff\xff", r"b'\xff\xff' is not UTF-8 text"),
}


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("table", OTHER_TABLES)
def test_a_row_that_is_no_user_is_one_line(connection, run, table, script):
    column, value, expected = OTHER_TABLES[table]
    row = {"user_id": "1", "name": "Ann", "email": "a@b", "age": 67, column: value}
    columns = [f"{name} VARCHAR(36)" for name in row if f"{name} " not in table]
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE user_data")
        cursor.execute(f"CREATE TABLE user_data ({', '.join([*columns, table])})")
        names = ", ".join(row)
        cursor.execute(f"INSERT INTO user_data ({names}) VALUES (%s, %s, %s, %s)", [*row.values()])
    done = run(script)
    if script == "4-stream_ages.py" and column != "age":
        assert (done.returncode, done.stderr) == (0, "")
        return
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"{script}: user_data: {column} {expected}: "
        "mend that row, or rename the table and run python3 seed.py\n"
    )
