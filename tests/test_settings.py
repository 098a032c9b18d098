"""Where the server is, by the MYSQL_* variables and ~/.my.cnf; what to do about its errors."""

from __future__ import annotations

import random
import re
import shutil
import socket
import subprocess
import sys
import threading
from contextlib import suppress

import mysql.connector
import pytest
from proxy import Proxy

import seed

NAMES = ("host", "port", "user", "password")


@pytest.fixture
def no_variables(monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(f"MYSQL_{name.upper()}", raising=False)


def test_the_defaults(option_file, monkeypatch):
    for name in NAMES:
        monkeypatch.setenv(f"MYSQL_{name.upper()}", "")
    assert seed.connection_settings() == {
        "host": "localhost",
        "port": 3306,
        "user": "root",
        "password": "",
        "connect_timeout": 10,
        "ssl_mode": "PREFERRED",
    }


def test_the_environment_comes_before_the_option_file(option_file, no_variables, monkeypatch):
    option_file(
        *("host=elsewhere", "port=3399", "user=ann", "password='12%3#4'", "socket=/run/other.sock"),
        *("ssl-ca=/ca.pem", "[mysql]", "user=ben"),
    )
    from_file = {
        "host": "elsewhere",
        "port": 3399,
        "user": "ann",
        "password": "12%3#4",
        "connect_timeout": 10,
        "ssl_mode": "VERIFY_CA",
        "ssl_ca": "/ca.pem",
    }
    assert seed.connection_settings() == {**from_file, "unix_socket": "/run/other.sock"}
    monkeypatch.setenv("MYSQL_USER", "cem")
    monkeypatch.setenv("MYSQL_PASSWORD", "'quoted'")
    changed = {**from_file, "user": "cem", "password": "'quoted'"}
    assert seed.connection_settings() == {**changed, "unix_socket": "/run/other.sock"}
    # The socket is that of another server than the one named.
    monkeypatch.setenv("MYSQL_HOST", "127.0.0.2")
    assert seed.connection_settings() == {**changed, "host": "127.0.0.2"}
    monkeypatch.delenv("MYSQL_HOST")
    monkeypatch.setenv("MYSQL_PORT", "3307")
    assert seed.connection_settings() == {**changed, "port": 3307}


def test_the_option_file_opens_the_connection(option_file, no_variables, private_server, family):
    option_file(
        *("host=127.0.0.1  # here", f"port = {private_server.port}", "user='root'"),
        *('password = "it\'s \\\\ own"', "compress", "database=x", "raw=1", "pool_name=x"),
    )
    with seed.connect_db() as connection:
        assert type(connection).__name__ in ("CMySQLConnection", "MySQLConnection")
        assert connection.info_query("SELECT DATABASE(), 1") == (None, 1)
    option_file(f"socket={private_server.folder / family / 'mysqld.sock'}")
    with pytest.raises(mysql.connector.Error, match="Access denied for user 'root'@'localhost'"):
        seed.connect_db()


def test_seed_names_the_socket_that_it_used(
    no_database, option_file, no_variables, private_server, family, run
):
    socket = private_server.folder / family / "mysqld.sock"
    option_file(
        f"socket={socket}", "host=10.9.9.9", "port=9", "user=root", 'password = "it\'s \\\\ own"'
    )
    done = run("seed.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0].endswith(f" at {socket}")


PIECES = [*"abc#;='\"\\nts ", "\\\\", "\\s", '"', "'", " # ", "=", "\t"]


@pytest.mark.skipif(not shutil.which("mysql"), reason="needs the client mysql on PATH")
def test_the_option_file_is_read_as_mysql_reads_it(tmp_path):
    rng = random.Random(9)
    included, file = tmp_path / "included.cnf", tmp_path / "my.cnf"
    lines = [f"user={''.join(rng.choices(PIECES, k=rng.randint(0, 9)))}" for _ in range(500)]
    included.write_text("[client]\nuser=included\n[mysqld]\nuser=no\n")
    lines[100:100] = [f"!include {included}", f"!includedir {tmp_path / 'more'}", "[mysqld]"]
    lines[200:200] = ["[Client ] # x", " ; no", "#no", "connect-timeout = 5", "user", "\tuser=a  "]
    (tmp_path / "more").mkdir()
    shutil.copy(included, tmp_path / "more" / "2.cnf")
    (tmp_path / "more" / "1.cnf").write_text("[client]\nuser=first\n")
    (tmp_path / "more" / "3.txt").write_text("[client]\nuser=no\n")
    file.write_text("\n".join(["[client]", *lines]))
    command = ["mysql", f"--defaults-file={file}", "--print-defaults"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    options = [f"--{name}={value}" for name, value in seed.read_option_file(str(file))]
    assert len(options) > 400
    joined = "".join(f"{option} " for option in options).replace("_timeout=", "-timeout=")
    # The client prints an option without a value as one without the = too.
    printed = printed.split(":\n", 1)[1].rstrip("\n")
    assert joined.replace("--user= ", "--user ") == printed.replace("--user= ", "--user ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("user=ann\n", ":1: an option, or a byte order mark, before the first [group]"),
        ("\ufeff[client]\n", ":1: an option, or a byte order mark, before the first [group]"),
        ("[client]\nuser=a\n[client\n", ":3: a [group] without its ]"),
        ("[client]\n!include FILE\n", ": this option file includes itself"),
        ("[client]\n!include FILE2\n", "2: No such file or directory"),
        ("[client]\n!includedir FILE2\n", "2: No such file or directory"),
        ("[client]\nssl-cert=/x\n", ": ssl_key and ssl_cert need to be both specified, or neither"),
        ("[client]\nssl-mode=on\n", ": ssl-mode is none of DISABLED, PREFERRED, REQUIRED, VERIFY_"),
    ],
)
def test_a_broken_option_file_is_one_line(run, tmp_path, option_file, text, expected):
    option_file()
    file = tmp_path / ".my.cnf"
    file.write_text(text.replace("FILE", str(file)), encoding="utf-8")
    done = run("0-stream_users.py")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
    line = done.stderr.replace("~/.my.cnf", str(file))
    assert line.startswith(f"0-stream_users.py: {file}{expected.replace('FILE', str(file))}")


@pytest.mark.parametrize("port", ["abc", "0", "65536", "-1", "3306.0"])
def test_a_port_out_of_range_or_no_number(option_file, monkeypatch, port):
    error = f"port '{port}' is not a number from 1 to 65535: check MYSQL_PORT and ~/.my.cnf"
    monkeypatch.setenv("MYSQL_PORT", port)
    with pytest.raises(ValueError, match=re.escape(error)):
        seed.connect_db()
    option_file(f"port={port}")
    monkeypatch.delenv("MYSQL_PORT")
    with pytest.raises(ValueError, match="from 1 to 65535"):
        seed.connect_db()
    option_file("connect-timeout=soon")
    with pytest.raises(ValueError, match="connect_timeout 'soon' is not a number from 0 to"):
        seed.connect_db()


@pytest.mark.parametrize("name", NAMES[2:])
def test_settings_in_another_encoding_are_told_and_not_shown(run, name):
    done = run("0-stream_users.py", **{f"MYSQL_{name.upper()}": "caf\udce9"})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"0-stream_users.py: {name} is not UTF-8: check MYSQL_{name.upper()} and ~/.my.cnf\n"
    )


def test_without_a_home_there_is_no_option_file(monkeypatch):
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # as it is for an unknown user
    seed.connection_settings()


# Hints. Those for a server that is not there, an access that is denied, a bad table and a lost
# connection are tested where these are made: test_integration.py, test_access.py, test_faults.py.


def hint(done: subprocess.CompletedProcess, number: int | str) -> str:
    """Return the hint of a script that failed with that error of the server or the driver."""
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    return re.search(rf"\(error {number}, as \S+ at \S+\)\. (.*)\n$", done.stderr)[1]


@pytest.fixture
def ask(own_server, run):
    """A function that runs statements on the server, each if the server knows it."""
    assert run("seed.py").returncode == 0

    def ask(*statements: str) -> None:
        with own_server.connect() as connection:
            for statement in statements:
                connection.cmd_query(statement)

    ask("CREATE USER ann@localhost IDENTIFIED BY 'p'", "GRANT ALL ON ALX_prodev.* TO ann@localhost")
    return ask


ANN = {"MYSQL_USER": "ann", "MYSQL_PASSWORD": "p"}


def test_a_server_with_too_many_connections(ask, own_server, run, family):
    ask("ALTER USER ann@localhost WITH MAX_USER_CONNECTIONS 1")
    expected = "Try again later, or ask the server's owner for more connections."
    with own_server.connect(user="ann", password="p"):
        assert hint(run("4-stream_ages.py", **ANN), 1226) == expected
    if family == "mysql":
        ask("ALTER USER ann@localhost WITH MAX_USER_CONNECTIONS 0")
        ask("SET GLOBAL max_user_connections = 1")
        with own_server.connect(user="ann", password="p"):
            assert hint(run("4-stream_ages.py", **ANN), 1203) == expected
        ask("SET GLOBAL max_user_connections = 0")
    ask("SET GLOBAL max_connections = 10")
    others = []
    with suppress(mysql.connector.Error):
        while len(others) < 20:
            others.append(own_server.connect())
    assert hint(run("4-stream_ages.py", **ANN), 1040) == expected
    for connection in others:
        connection.close()


def test_a_server_that_takes_small_packets_only(ask, run):
    ask("SET GLOBAL max_allowed_packet = 16384")
    expected = "Ask the server's owner for a max_allowed_packet of 1M or more."
    assert hint(run("seed.py"), 1153) == expected


def test_servers_that_take_no_writes(ask, own_server, run, family):
    expected = "That server takes no writes: set MYSQL_HOST and MYSQL_PORT to one that does."
    name = "transaction_read_only" if family == "mysql" else "tx_read_only"
    ask("DELETE FROM ALX_prodev.user_data")
    ask(f"SET GLOBAL {name} = 1")
    assert hint(run("seed.py"), 1792) == expected
    ask(f"SET GLOBAL {name} = 0")
    if family == "mysql":
        ask("ALTER SCHEMA ALX_prodev READ ONLY = 1")
        assert hint(run("seed.py"), 3989) == expected
        ask("ALTER SCHEMA ALX_prodev READ ONLY = 0")
    own_server.stop()
    own_server.start("--innodb-read-only")
    assert hint(run("seed.py"), 1015 if family == "mysql" else 1036) == expected


def test_accounts_of_other_kinds(ask, own_server, run, option_file, family):
    if family == "mysql":
        ask("INSTALL PLUGIN auth_socket SONAME 'auth_socket.so'")
        ask("CREATE USER ben@localhost IDENTIFIED WITH auth_socket")
    else:
        ask("CREATE USER ben@localhost IDENTIFIED VIA unix_socket")
    expected = "Check MYSQL_USER and MYSQL_PASSWORD."
    assert hint(run("4-stream_ages.py", MYSQL_USER="ben"), 1698) == expected

    # A MariaDB server whose plug-in has another name; MySQL names its own within TLS.
    def renamed(data: bytes) -> bytes:
        return data.replace(b"mysql_native_password", b"no_such_login_plug_in")

    option_file("ssl-mode=disabled")  # logins without TLS
    if (
        family == "mariadb" and mysql.connector.HAVE_CEXT
    ):  # else the driver says -1, and why in words
        with Proxy((own_server.host, own_server.port), change=renamed) as proxy:
            done = run("4-stream_ages.py", MYSQL_PORT=str(proxy.port), **ANN)
        expected = "The driver cannot log in to that kind of account: ask the server's owner."
        assert hint(done, 2059) == expected
    if family == "mysql":
        expected = "Check the TLS settings in ~/.my.cnf."
        assert hint(run("4-stream_ages.py", **ANN), 2061) == expected


def test_a_machine_that_is_not_let_in(run):
    # What a server says at once to a machine for which it has no account.
    text = b"\xffj\x04Host '127.0.0.1' is not allowed to connect to this server"
    packet = len(text).to_bytes(3, "little") + b"\0" + text
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        threading.Thread(target=lambda: listener.accept()[0].sendall(packet), daemon=True).start()
        done = run("4-stream_ages.py", MYSQL_HOST="127.0.0.1", MYSQL_PORT=port)
    assert (
        hint(done, 1130) == "That user needs a privilege on the database: ask the server's owner."
    )


def test_a_host_and_a_socket_that_are_not_there(run, option_file, no_variables):
    expected = "Is a server running there? The README says how to start one."
    option_file("socket=/nowhere/mysqld.sock")
    done = run("4-stream_ages.py")
    assert hint(done, 2002) == expected
    assert "as root at /nowhere/mysqld.sock)" in done.stderr
    if mysql.connector.HAVE_CEXT:
        done = run("4-stream_ages.py", MYSQL_HOST="no-such-host.invalid")
        assert hint(done, 2005) == "Check MYSQL_HOST."


def test_a_connection_that_is_lost(ask, own_server, run, family):
    ask("SET GLOBAL wait_timeout = 1")
    slow = "(echo name,email,age; sleep 3; echo Ann,ann@example.com,30) | "
    slow += f"exec '{sys.executable}' seed.py /dev/stdin"
    done = run("-c", f"import os; os.execvp('sh', ['sh', '-c', {slow!r}])")
    on_mariadb = r"(?:2006|2013)" if mysql.connector.HAVE_CEXT else 2055
    assert hint(done, 4031 if family == "mysql" else on_mariadb) == seed.LOST
