"""Where the server is and how it is reached: the MYSQL_* variables, ~/.my.cnf, TLS, rights."""

from __future__ import annotations

import os
import re
import shutil
import ssl
import subprocess

import mysql.connector
import pytest

import seed
from helpers import EVERYTHING, FAMILY, SCRIPTS, ThrowAwayServer, refused, run
from mysql_server import ServerError, free_port

NAMES = ("host", "port", "user", "password")
DEFAULTS = {"host": "localhost", "port": 3306, "user": "root", "password": ""}
DEFAULTS |= {"connect_timeout": 10, "ssl_mode": "PREFERRED"}


@pytest.fixture
def no_variables(monkeypatch):
    for name in NAMES:
        monkeypatch.setenv(f"MYSQL_{name.upper()}", "")  # as if not set


def test_the_defaults(option_file, no_variables, tmp_path, monkeypatch):
    assert seed.connection_settings() == DEFAULTS
    # What is no file, as a pipe that would be waited for, or a file that others may write.
    os.mkfifo(tmp_path / ".my.cnf")
    assert seed.connection_settings() == DEFAULTS
    (tmp_path / ".my.cnf").unlink()
    option_file("user=mallory").chmod(0o666)
    assert seed.connection_settings() == DEFAULTS
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # as it is for an unknown user
    assert seed.connection_settings() == DEFAULTS


def test_the_environment_comes_before_the_option_file(option_file, no_variables, monkeypatch):
    option_file(
        *("host=elsewhere", "port=3399", "user=ann", "password='12%3#4'", "socket=/other.sock"),
        *("ssl-ca=/ca.pem", "connect_timeout = 3", "compress", "database=x", "[mysql]", "user=ben"),
    )
    from_file = {"host": "elsewhere", "port": 3399, "user": "ann", "password": "12%3#4"}
    from_file |= {"connect_timeout": 3, "ssl_mode": "VERIFY_CA", "ssl_ca": "/ca.pem"}
    assert seed.connection_settings() == {**from_file, "unix_socket": "/other.sock"}
    monkeypatch.setenv("MYSQL_USER", "cem")
    monkeypatch.setenv("MYSQL_PASSWORD", "'quoted'")
    changed = {**from_file, "user": "cem", "password": "'quoted'"}
    assert seed.connection_settings() == {**changed, "unix_socket": "/other.sock"}
    # The socket is that of another server than the one named.
    monkeypatch.setenv("MYSQL_HOST", "127.0.0.2")
    assert seed.connection_settings() == {**changed, "host": "127.0.0.2"}
    monkeypatch.setenv("MYSQL_HOST", "")
    monkeypatch.setenv("MYSQL_PORT", "3307")
    assert seed.connection_settings() == {**changed, "port": 3307}


VALUES = [
    "ann",
    "a # b",
    "'a # b' # c",
    '"a\'b"',
    "'it\\'s'",
    "a\\\\b\\tc",
    "'a\\sb'",
    "",
    "''",
    "a=b;c",
    "ä",
]


@pytest.mark.parametrize("value", VALUES)
def test_an_option_is_read_as_mysql_reads_it(option_file, no_variables, value):
    file = option_file("[mysqld]", "user=no", "[Client] # x", "#user=no", f"\tuser = {value} ")
    settings = seed.connection_settings()
    if not shutil.which("mysql"):
        pytest.skip("needs the client mysql on PATH")
    command = ["mysql", f"--defaults-file={file}", "--print-defaults"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert f"--user={settings['user']} " in f"{printed.rstrip()} "


WRONG = {
    "port": ["abc", "0", "65536", "-1", "3306.0"],
    "connect-timeout": ["soon", "0", "86401"],
    "ssl-mode": ["on"],
    "ssl-cert": ["/x"],
}


@pytest.mark.parametrize("name", WRONG)
def test_settings_that_make_no_sense(option_file, no_variables, name):
    for value in WRONG[name]:
        option_file(f"{name}={value}")
        line = refused(run("0-stream_users.py"))
        assert "~/.my.cnf" in line
        assert re.search(name.replace("-", "[-_]"), line)


@pytest.mark.parametrize("name", ["USER", "PASSWORD"])
def test_settings_in_another_encoding_are_told_and_not_shown(any_server, monkeypatch, name):
    monkeypatch.setenv(f"MYSQL_{name}", "caf\udce9")
    line = refused(run("0-stream_users.py"))
    assert line.startswith("utf-8 lacks a character")
    assert "caf" not in line


def test_the_option_file_opens_the_connection(no_database, server, option_file, no_variables):
    option_file(f"port = {server.port} # here", 'password = "it\'s \\\\ own"', "raw=1")
    with seed.connect_db() as connection:
        assert connection.info_query("SELECT DATABASE(), 1") == (None, 1)
    socket = next(server.folder.glob("m*/mysqld.sock"))
    option_file(f"socket={socket}", "host=10.9.9.9", "port=9", 'password="it\'s \\\\ own"')
    done = run("seed.py")
    assert (done.status, done.errors) == (0, "")
    assert done.output.splitlines()[0].endswith(f" at {socket}")


def test_the_session_is_what_the_promises_need(any_server):
    names = ["sql_mode", "sql_select_limit", "net_write_timeout", "wait_timeout", "autocommit"]
    with seed.connect_db() as connection:
        session = connection.info_query(f"SELECT {', '.join(f'@@SESSION.{n}' for n in names)}")
        assert "STRICT_ALL_TABLES" in session[0]
        assert session[1:] == (2**64 - 1, 86400, 86400, 1)
    with seed.connect_db() as connection:
        assert connection.info_query("SELECT SLEEP(0.1)") == (0,)


def test_the_time_to_connect_limits_no_query(any_server, option_file):
    option_file("connect-timeout=1")
    with seed.connect_db() as connection:
        assert connection.info_query("SELECT SLEEP(1.5)") == (0,)


# Rights


@pytest.fixture
def account(server, monkeypatch):
    """A function that makes an account with the given rights, to which the variables lead."""
    accounts = []

    def account(name: str, *rights: str, options: str = "") -> None:
        accounts.append(f"{name}@localhost")
        server.rows(f"CREATE USER {accounts[-1]} IDENTIFIED BY 'p' {options}")
        for right in rights:
            server.rows(f"GRANT {right} TO {accounts[-1]}")
        monkeypatch.setenv("MYSQL_USER", name)
        monkeypatch.setenv("MYSQL_PASSWORD", "p")

    yield account
    for name in accounts:
        server.rows(f"DROP USER {name}")


def test_rights_on_the_database_are_enough(seeded, account):
    expected = [run(script).output for script in SCRIPTS]
    account("reader", "SELECT ON ALX_prodev.*")
    assert [run(script).output for script in SCRIPTS] == expected
    # Nothing is created that is there: in a cluster that would roll back the imports of others.
    account("writer", "SELECT, INSERT, UPDATE ON ALX_prodev.*")
    assert run("seed.py").output.endswith("\n0 users inserted, 1000 already there\n")
    seeded.cmd_query("DROP DATABASE ALX_prodev")
    account("owner", "ALL ON ALX_prodev.*")
    assert run("seed.py").output.endswith("\n1000 users inserted, 0 already there\n")
    account("nobody")
    for script in EVERYTHING:
        assert re.search("(?i)denied.*(error 1044|error 1142)", refused(run(script)))


def test_without_a_second_connection_a_stop_still_closes(wide, account):
    account("single", "SELECT ON ALX_prodev.*", options="WITH MAX_USER_CONNECTIONS 1")
    assert run("0-stream_users.py").output.count("\n") == 6
    assert wide.is_left_alone()


def test_seed_creates_nothing_where_names_are_kept_in_lower_case(own_server):
    own_server.stop()
    try:
        own_server.start("--lower-case-table-names=1")
    except Exception:
        pytest.skip("MySQL takes that setting only when it makes its data")
    for counts in (
        "1000 users inserted, 0 already there\n",
        "0 users inserted, 1000 already there\n",
    ):
        assert run("seed.py").output.endswith(counts)


def test_no_file_is_sent_on_a_servers_demand(seeded, server, option_file):
    option_file("allow_local_infile=1")
    server.rows("SET GLOBAL local_infile = 1")
    load = "LOAD DATA LOCAL INFILE %s INTO TABLE user_data"
    refusal = pytest.raises(mysql.connector.Error, match=r"(?i)local")
    with seed.connect_to_prodev() as connection, connection.cursor() as cursor, refusal:
        cursor.execute(load, [str(seed.CSV_FILE)])


# TLS


@pytest.fixture
def certificates(tmp_path):
    """A folder with two CAs, and a server's certificate from the first."""
    if not shutil.which("openssl"):
        pytest.skip("needs openssl")

    def openssl(command: str) -> None:
        subprocess.run(["openssl", *command.split()], cwd=tmp_path, check=True, capture_output=True)

    key = "-newkey rsa:2048 -nodes -subj /CN={0} -keyout {0}.key"
    for ca in ("ca", "other"):
        openssl(f"req -x509 -days 2 {key.format(ca)} -out {ca}.pem")
    openssl(f"req {key.format('server')} -out server.csr")
    openssl("x509 -req -in server.csr -days 2 -CA ca.pem -CAkey ca.key -CAcreateserial -out s.pem")
    return tmp_path


def test_tls_settings_of_the_option_file_are_honoured(
    server, certificates, option_file, at, monkeypatch
):
    tls = ThrowAwayServer(certificates / "server", free_port())
    try:
        files = {"ca": "ca.pem", "cert": "s.pem", "key": "server.key"}
        tls.start(
            *(f"--ssl-{name}={certificates / file}" for name, file in files.items()),
            "--require-secure-transport=ON",
        )
        at(tls)
        ca, other = (f"ssl-ca={certificates / name}.pem" for name in ("ca", "other"))
        for options in [(), (ca,), ("ssl-mode=required",), (other, "ssl-mode=REQUIRED")]:
            option_file(*options)
            assert run("seed.py").status == 0
        # The certificate is for the name "server", which MYSQL_HOST is not.
        identity = (ca, "ssl-mode=VERIFY_IDENTITY")
        for options in [(other,), ("ssl-mode=VERIFY_CA",), identity, ("ssl-mode=DISABLED",)]:
            option_file(*options)
            # Without TLS, MySQL says that it is required, MariaDB that the access is denied.
            assert re.search("error (2026|2055|1045|3159|-1)", refused(run("seed.py")))
        # An account that must show a certificate of the CA.
        tls.rows("CREATE USER ann@localhost REQUIRE X509")
        tls.rows("GRANT ALL ON ALX_prodev.* TO ann@localhost")
        pair = [f"ssl-cert={certificates / 's.pem'}", f"ssl-key={certificates / 'server.key'}"]
        monkeypatch.setenv("MYSQL_USER", "ann")
        monkeypatch.setenv("MYSQL_PASSWORD", "")
        for options, status in [([ca], 1), ([ca, *pair], 0)]:
            option_file(*options)
            assert run("4-stream_ages.py").status == status
    finally:
        tls.kill()


def test_a_server_without_tls_is_refused_where_tls_is_asked_for(
    server, tmp_path, at, option_file, monkeypatch
):
    # Without a password, as MySQL lets one in only within TLS.
    plain = ThrowAwayServer(tmp_path / "server", free_port(), password="")
    try:
        plain.start("--tls-version=" if FAMILY == "mysql" else "--skip-ssl")
    except ServerError:  # MySQL before 8.0.29
        plain.start("--skip-ssl")
    with plain:
        at(plain)
        assert run("seed.py").status == 0
        authority = f"ssl-ca={ssl.get_default_verify_paths().openssl_cafile}"
        for mode in ("REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY"):
            option_file(f"ssl-mode={mode}", authority)
            assert re.search("TLS|SSL", refused(run("4-stream_ages.py")))
        # Through a socket there is no TLS, and none is missed.
        monkeypatch.setenv("MYSQL_HOST", "")
        monkeypatch.setenv("MYSQL_PORT", "")
        option_file(f"socket={next(plain.folder.glob('m*/mysqld.sock'))}", "ssl-mode=REQUIRED")
        assert run("4-stream_ages.py").status == 0
