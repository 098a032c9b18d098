"""Where the server is and how it is reached: the MYSQL_* variables, ~/.my.cnf, TLS, rights."""

import os
import re
import shutil

import mysql.connector
import pytest

import seed
from helpers import (
    EVERYTHING,
    SCRIPTS,
    counting,
    imported,
    query,
    ran,
    refused,
    shell,
)

DEFAULTS = {"host": "localhost", "port": 3306, "user": "root", "password": ""}
DEFAULTS |= {"ssl_mode": "PREFERRED"}


@pytest.fixture
def no_variables(settings):
    settings(HOST="", PORT="", USER="", PASSWORD="")  # as if not set


def test_the_defaults(option_file, no_variables):
    assert seed.connection_settings() == DEFAULTS


def test_what_is_no_option_file_is_passed_over(option_file, no_variables, tmp_path, monkeypatch):
    os.mkfifo(tmp_path / ".my.cnf")  # a pipe would be waited for
    assert seed.connection_settings() == DEFAULTS
    (tmp_path / ".my.cnf").unlink()
    file = option_file("user=mallory")
    file.chmod(0o666)  # anybody may have written it
    assert seed.connection_settings() == DEFAULTS
    file.chmod(0o664)
    assert seed.connection_settings()["user"] == "mallory"
    file.chmod(0o666)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # as it is for an unknown user
    assert seed.connection_settings() == DEFAULTS


def test_the_environment_comes_before_the_option_file(option_file, no_variables, settings):
    option_file(
        *("host=elsewhere", "port=3399", "user=ann", "password='12%3#4'"),
        *("connect_timeout = 3", "compress", "user", "[mysql]", "user=ben"),
    )
    expected = {**DEFAULTS, "host": "elsewhere", "port": 3399, "user": "ann", "password": "12%3#4"}
    assert seed.connection_settings() == expected
    settings(USER="cem", PASSWORD="'quoted'")
    expected |= {"user": "cem", "password": "'quoted'"}
    assert seed.connection_settings() == expected
    settings(HOST="127.0.0.2", PORT=3307)
    assert seed.connection_settings() == {**expected, "host": "127.0.0.2", "port": 3307}


@pytest.mark.parametrize("host", ["", "host=localhost"])
def test_a_socket_is_this_machines(option_file, no_variables, settings, host):
    option_file("socket=/a.sock", host, "port=3399")
    expected = {**DEFAULTS, "port": 3399}
    assert seed.connection_settings() == {**expected, "unix_socket": "/a.sock"}
    settings(USER="ann")
    assert seed.connection_settings() == {**expected, "user": "ann", "unix_socket": "/a.sock"}
    # It is that of another server than the one named.
    settings(HOST="localhost", USER="")
    assert seed.connection_settings() == expected
    settings(HOST="", PORT=3307)
    assert seed.connection_settings() == {**DEFAULTS, "port": 3307}


def test_a_socket_beside_another_host_is_not_used(option_file, no_variables):
    option_file("socket=/a.sock", "host=db.example.com")
    assert seed.connection_settings() == {**DEFAULTS, "host": "db.example.com"}


@pytest.mark.parametrize("mode", ["DISABLED", "PREFERRED", "REQUIRED", "VERIFY_IDENTITY", None])
def test_what_ssl_mode_tells_the_driver(option_file, no_variables, tmp_path, mode):
    (tmp_path / "ca.pem").touch()
    option_file(f"ssl-ca={tmp_path}/ca.pem", f"ssl-mode={mode.lower()}" if mode else "")
    found = seed.connection_settings()
    assert found["ssl_mode"] == mode or (mode is None and found["ssl_mode"] == "VERIFY_CA")
    assert found.get("ssl_disabled", False) == (mode == "DISABLED")
    assert found.get("ssl_verify_cert", False) == (mode in ("VERIFY_IDENTITY", None))
    assert found.get("ssl_verify_identity", False) == (mode == "VERIFY_IDENTITY")


VALUES = ["ann", "a # b", "'a # b' # c", '"a\'b"', "a\\\\b", "", "''", "a=b;c", "ä", "a-b"]
VALUES += [
    "'a\\'#b' # c",
    r"a\sb",
    r"a\\sb",
    r"a\"b",
    r"a\'b",
    r"'a\xb'",
    r"a\\\\'b",
    "it's#1",
    "it's # 1' # 2",
    "'a",
    "a'",
    "'a'b'",
    "'a\\\\' # b",
    'a"b#c"d#e',
    "'a\"#b'#c",
]


@pytest.mark.parametrize("value", VALUES)
def test_an_option_is_read_as_mysql_reads_it(option_file, no_variables, value):
    file = option_file("[mysqld]", "user=no", "[Client] # x", "#user=no", f"\tuser = {value} ")
    user = seed.connection_settings()["user"]
    if not shutil.which("mysql"):
        pytest.skip("needs the client mysql on PATH")
    printed = shell('mysql --defaults-file="$1" --print-defaults', file).output
    assert f"--user={user} " in f"{printed.rstrip()} "


WRONG = ["port=abc", "port=0", "port=65536", "port=-1", "port=٣٣٠٦", "port=3306.0", "ssl-mode=on"]
WRONG += ["ssl-cert=/x", "ssl-key=/x", "port=0000000010000000000", f"port={'9' * 5000}"]


@pytest.mark.parametrize("option", WRONG)
def test_settings_that_make_no_sense(option_file, no_variables, option):
    option_file(option)
    name, line = option.split("=")[0], refused(ran("0-stream_users.py"))
    assert re.search(rf"{name}.*~/.my.cnf|~/.my.cnf.*{name}", line)
    assert len(line) < 200


def test_a_value_with_a_nul_character(option_file, no_variables):
    option_file("password=sec\0ret")
    assert refused(ran("0-stream_users.py")) == "~/.my.cnf: a value holds a NUL character"


URLS = ["mysql://ann:secret@db.example.com:25060/db", "ann:secret@db.example.com", "db/secret"]
URLS += ["db.example.com:25060", "[::1]:3306", "ann@db.example.com", "ann:secret:db"]


@pytest.mark.parametrize("host", URLS)
def test_a_host_that_is_more_than_a_host_is_not_repeated(option_file, no_variables, settings, host):
    others = "port, user and password go into MYSQL_PORT, MYSQL_USER and MYSQL_PASSWORD"
    told = f"MYSQL_HOST must be the name or address of a host, no more: {others}"
    option_file(f"host={host}")
    assert refused(ran("4-stream_ages.py")) == told
    option_file()
    settings(HOST=host)
    assert refused(ran("4-stream_ages.py")) == told


def test_a_blank_host(option_file, no_variables, settings):
    settings(HOST=" ")
    assert refused(ran("4-stream_ages.py")).startswith("MYSQL_HOST must be the name or address of")


@pytest.mark.parametrize(
    "host", ["::1", "fe80::1%eth0", "::FFFF:10.0.0.1", "db.example.com", "127.0.0.1", "db_1"]
)
def test_hosts(option_file, no_variables, settings, host):
    settings(HOST=host)
    assert seed.connection_settings()["host"] == host


@pytest.mark.parametrize("mode", ["VERIFY_CA", "VERIFY_IDENTITY"])
@pytest.mark.parametrize("option", ["", "ssl-ca=/no/such.pem", "ssl-ca="])
def test_verification_without_a_ca(option_file, no_variables, mode, option):
    option_file(f"ssl-mode={mode}", option)
    line = refused(ran("4-stream_ages.py"))
    assert line.startswith(f"~/.my.cnf: ssl-mode={mode} needs an ssl-ca, a file that can be read: ")
    assert "your provider's CA file" in line


@pytest.mark.parametrize("name", ["USER", "PASSWORD"])
def test_settings_in_another_encoding_are_told_and_not_shown(server, settings, name):
    settings(**{name: "caf\udce9"})
    line = refused(ran("0-stream_users.py"))
    assert line.startswith("cannot write a character as utf-8")
    assert "caf" not in line


def test_the_option_file_opens_the_connection(server, option_file, no_variables, monkeypatch):
    password = 'password = "it\'s \\\\ own"'
    monkeypatch.setattr(seed, "CONNECT_TIMEOUT", 1)
    option_file(f"port = {server.port} # here", password, "raw=1")
    with seed.connect_db() as connection:  # the time-out limits no query
        assert connection.info_query("SELECT SLEEP(1.5), DATABASE()") == (0, None)


def test_rights_on_the_database_are_enough(seeded, account):
    expected = [ran(script) for script in SCRIPTS]
    assert [(done.status, done.errors) for done in expected] == [(0, "")] * 4
    account("reader", "SELECT ON ALX_prodev.*")
    assert [ran(script) for script in SCRIPTS] == expected
    # Nothing is created that is there: in a cluster that would roll back the imports of others.
    account("writer", "SELECT, INSERT, UPDATE ON ALX_prodev.*")
    assert imported(ran("seed.py")) == (0, 1000)
    seeded.cmd_query("DROP DATABASE ALX_prodev")
    account("owner", "ALL ON ALX_prodev.*")
    assert imported(ran("seed.py")) == (1000, 0)
    account("nobody")
    for script in EVERYTHING:
        assert re.search("(?i)denied.*(error 1044|error 1142)", refused(ran(script)))


SESSION = {
    "sql_mode": "STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION",
    "unique_checks": 1,  # MySQL bug 106121: without, a nullable unique user_id lets users in twice
    "sql_select_limit": 2**63 - 1,
    "sql_big_selects": 1,
    "max_sort_length": 4096,
    "net_write_timeout": 86400,
    "wait_timeout": 86400,
}


def test_a_session_does_not_depend_on_the_servers_settings(seeded, with_global):
    for name, value in {"unique_checks": 0, "max_join_size": 1, "sql_select_limit": 10}.items():
        with_global(name, value)
    values = query(f"SELECT {', '.join(f'@@SESSION.{name}' for name in SESSION)}")
    assert dict(zip(SESSION, *values)) == SESSION


def test_what_is_sent_is_what_a_proxy_can_take(no_database, server):
    """ProxySQL follows a connection's settings only if it understands how they are made."""
    with counting(server) as count:
        for script in EVERYTHING:
            assert ran(script).status == 0
    collations = re.findall("SET NAMES '?utf8mb4'? COLLATE '?(\\w+)", "\n".join(count.queries))
    assert len(collations) == count.connections == len(EVERYTHING)
    numbers = {server.rows(f"SHOW COLLATION LIKE '{name}'")[0][2] for name in collations}
    # A larger one it knows of MySQL 8 only: with others it silently goes on in three-byte utf8.
    assert max(numbers) < 255
    assert [text for text in count.queries if text.startswith("SET SESSION")] == (
        [seed.SESSION] * len(EVERYTHING)
    )
    assert {*re.findall(r"(\w+) =", seed.SESSION)} == {*SESSION}  # which it follows, or leaves out
    assert not re.search("--|#", seed.SESSION)  # with a comment, it drops all of the statement
    # Vitess takes no subquery of ours, and no COMMIT with more words.
    odd = re.compile(r"(?i)\(\s*SELECT|\bCOMMIT\b.+")
    assert [text for text in count.queries if odd.search(text)] == []


def test_no_file_is_sent_on_a_servers_demand(seeded, with_global, option_file):
    option_file("allow_local_infile=1")
    with_global("local_infile", 1)
    load = "LOAD DATA LOCAL INFILE %s INTO TABLE user_data"
    refusal = pytest.raises(mysql.connector.Error, match=r"(?i)local")
    with seed.connect_to_prodev() as connection, connection.cursor() as cursor, refusal:
        cursor.execute(load, [str(seed.CSV_FILE)])


OTHERS = {  # what is no option for this client
    "ort=1": "part of a name",
    "socke=/x": "part of a name",
    "host port=x": "two names",
    "[clients]\nuser=no": "another group",
    "[client-x]\nuser=no": "another group",
    "[xclient]\nuser=no": "another group",
    "# [client]\n#user=no": "comments",
}


@pytest.mark.parametrize("options", OTHERS)
def test_what_is_no_option_is_passed_over(option_file, no_variables, options):
    option_file(options)
    assert seed.connection_settings() == DEFAULTS


TLS_OPTIONS = ["ssl", "ssl=1", "ssl-verify-server-cert=ON", "ssl-crl=/x", "tls-version=TLSv1.3"]
TLS_OPTIONS += ["loose-ssl-mode=REQUIRED", "ssl_mode", "ssl-ca", "ssl-passphrase=secret"]
TLS_OPTIONS += ["enable_ssl_verify_server_cert", "SSL-MODE=REQUIRED", "skip-ssl"]


@pytest.mark.parametrize("option", TLS_OPTIONS)
def test_no_tls_option_is_passed_over(option_file, no_variables, option):
    option_file(option)
    name = option.partition("=")[0].replace("_", "-")
    known = "ssl-mode, ssl-ca, ssl-cert and ssl-key can be used, each with a value"
    told = f"~/.my.cnf: {name}: of the TLS options, {known}"
    assert refused(ran("4-stream_ages.py")) == told


@pytest.mark.parametrize(
    "content", [b"\xef\xbb\xbf[client]\nuser=ann\n", b"#\xff\n[client]\nuser=ann"]
)
def test_an_option_file_with_a_byte_order_mark_or_in_another_encoding(
    option_file, no_variables, content
):
    option_file().write_bytes(content)
    assert seed.connection_settings() == {**DEFAULTS, "user": "ann"}
