"""Where the server is and how it is reached: the MYSQL_* variables, ~/.my.cnf, TLS, rights."""

import os
import re
import shutil
import ssl

import mysql.connector
import pytest

import seed
from helpers import EVERYTHING, FAMILY, SCRIPTS, ThrowAwayServer, imported, ran, refused, shell
from mysql_server import free_port

DEFAULTS = {"host": "localhost", "port": 3306, "user": "root", "password": ""}
DEFAULTS |= {"connect_timeout": 10, "ssl_mode": "PREFERRED"}


@pytest.fixture
def no_variables(settings):
    settings(HOST="", PORT="", USER="", PASSWORD="")  # as if not set


def test_the_defaults(option_file, no_variables, tmp_path, monkeypatch):
    assert seed.connection_settings() == DEFAULTS
    # What is no file, as a pipe that would be waited for, or a file that others may write.
    os.mkfifo(tmp_path / ".my.cnf")
    assert seed.connection_settings() == DEFAULTS
    (tmp_path / ".my.cnf").unlink()
    file = option_file("user=mallory")
    file.chmod(0o666)
    assert seed.connection_settings() == DEFAULTS
    file.chmod(0o664)
    assert seed.connection_settings()["user"] == "mallory"
    file.chmod(0o666)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # as it is for an unknown user
    assert seed.connection_settings() == DEFAULTS


def test_the_environment_comes_before_the_option_file(option_file, no_variables, settings):
    option_file(
        *("host=elsewhere", "port=3399", "user=ann", "password='12%3#4'", "socket=/other.sock"),
        *("ssl-ca=/ca.pem", "connect_timeout = 3", "compress", "user", "[mysql]", "user=ben"),
    )
    expected = {**DEFAULTS, "host": "elsewhere", "port": 3399, "user": "ann", "password": "12%3#4"}
    expected |= {"ssl_mode": "VERIFY_CA", "ssl_ca": "/ca.pem"}
    assert seed.connection_settings() == {**expected, "unix_socket": "/other.sock"}
    settings(USER="cem", PASSWORD="'quoted'")
    expected |= {"user": "cem", "password": "'quoted'"}
    assert seed.connection_settings() == {**expected, "unix_socket": "/other.sock"}
    # The socket is that of another server than the one named.
    settings(HOST="127.0.0.2")
    assert seed.connection_settings() == {**expected, "host": "127.0.0.2"}
    settings(HOST="", PORT=3307)
    assert seed.connection_settings() == {**expected, "port": 3307}


VALUES = ["ann", "a # b", "'a # b' # c", '"a\'b"', "a\\\\b", "", "''", "a=b;c", "ä", "a-b"]


@pytest.mark.parametrize("value", VALUES)
def test_an_option_is_read_as_mysql_reads_it(option_file, no_variables, value):
    file = option_file("[mysqld]", "user=no", "[Client] # x", "#user=no", f"\tuser = {value} ")
    user = seed.connection_settings()["user"]
    if not shutil.which("mysql"):
        pytest.skip("needs the client mysql on PATH")
    printed = shell('mysql --defaults-file="$1" --print-defaults', file).output
    assert f"--user={user} " in f"{printed.rstrip()} "


WRONG = ["port=abc", "port=0", "port=65536", "port=-1", "port=3306.0", "ssl-mode=on"]
WRONG += ["ssl-cert=/x", "port=0000000010000000000", f"port={'9' * 5000}"]


@pytest.mark.parametrize("option", WRONG)
def test_settings_that_make_no_sense(option_file, no_variables, option):
    option_file(option)
    name, line = option.split("=")[0], refused(ran("0-stream_users.py"))
    assert re.search(rf"{name}.*~/.my.cnf|~/.my.cnf.*{name}", line)
    assert len(line) < 200


@pytest.mark.parametrize("name", ["USER", "PASSWORD"])
def test_settings_in_another_encoding_are_told_and_not_shown(server, settings, name):
    settings(**{name: "caf\udce9"})
    line = refused(ran("0-stream_users.py"))
    assert line.startswith("utf-8 lacks a character")
    assert "caf" not in line


def test_the_option_file_opens_the_connection(server, option_file, no_variables, monkeypatch):
    password = 'password = "it\'s \\\\ own"'
    monkeypatch.setattr(seed, "CONNECT_TIMEOUT", 1)
    option_file(f"port = {server.port} # here", password, "raw=1")
    with seed.connect_db() as connection:  # the time-out limits no query
        assert connection.info_query("SELECT SLEEP(1.5), DATABASE()") == (0, None)
    monkeypatch.chdir(next(server.folder.glob("m*/mysqld.sock")).parent)  # no path is too long
    option_file("socket=mysqld.sock", "host=10.9.9.9", "port=9", password)
    assert ran("seed.py").output.splitlines()[0].endswith(" at mysqld.sock")


def test_rights_on_the_database_are_enough(seeded, account):
    expected = [ran(script) for script in SCRIPTS]
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


def test_no_file_is_sent_on_a_servers_demand(seeded, with_global, option_file):
    option_file("allow_local_infile=1")
    with_global("local_infile", 1)
    load = "LOAD DATA LOCAL INFILE %s INTO TABLE user_data"
    refusal = pytest.raises(mysql.connector.Error, match=r"(?i)local")
    with seed.connect_to_prodev() as connection, connection.cursor() as cursor, refusal:
        cursor.execute(load, [str(seed.CSV_FILE)])


MAKE_CERTIFICATES = """
for ca in ca other; do
    openssl req -x509 -subj /CN=$ca -nodes -keyout $ca.key -out $ca.pem \\
        -addext keyUsage=critical,keyCertSign
done
openssl req -new -subj /CN=server -nodes -keyout key.pem -out request
echo authorityKeyIdentifier=keyid > extensions  # Python 3.13 verifies strictly
openssl x509 -req -in request -CA ca.pem -CAkey ca.key -CAcreateserial \\
    -extfile extensions -out cert.pem
"""


def test_tls_settings_of_the_option_file_are_honoured(server, tmp_path, option_file, settings):
    if not shutil.which("openssl"):
        pytest.skip("needs openssl")
    assert shell(f"set -e; {MAKE_CERTIFICATES}", cwd=tmp_path).status == 0
    ca, cert, key = (f"ssl-{name}={tmp_path}/{name}.pem" for name in ("ca", "cert", "key"))
    other = f"ssl-ca={tmp_path}/other.pem"
    tls = ThrowAwayServer(tmp_path / "server", free_port(), "p")
    tls.start(f"--{ca}", f"--{cert}", f"--{key}", "--require-secure-transport=ON")
    with tls:
        settings(tls)
        for options in [(), (ca,), ("ssl-mode=required",), (other, "ssl-mode=REQUIRED")]:
            option_file(*options)
            assert ran("seed.py").status == 0
        # The certificate is for the name "server", which MYSQL_HOST is not.
        identity = (ca, "ssl-mode=VERIFY_IDENTITY")
        for options in [(other,), ("ssl-mode=VERIFY_CA",), identity, ("ssl-mode=DISABLED",)]:
            option_file(*options)
            # Without TLS, MySQL says that it is required, MariaDB that the access is denied.
            line = refused(ran("seed.py"))
            assert re.search("error (2026|2055|1045|3159|-1)", line)
            assert line.endswith(".my.cnf.")  # the TLS settings, or who logs in
        # An account that must show a certificate of the CA.
        with tls.connect() as owner:
            owner.cmd_query("CREATE USER ann@localhost REQUIRE X509")
            owner.cmd_query("GRANT ALL ON ALX_prodev.* TO ann@localhost")
        settings(USER="ann", PASSWORD="")
        for options, status in [([ca], 1), ([ca, cert, key], 0)]:
            option_file(*options)
            assert ran("4-stream_ages.py").status == status


def test_a_server_without_tls(server, tmp_path, settings, option_file, monkeypatch):
    # Without a password, as MySQL lets one in only over TLS.
    plain = ThrowAwayServer(tmp_path / "server", free_port())
    plain.start("--tls-version=" if FAMILY == "mysql" else "--skip-ssl")
    with plain:
        settings(plain)
        assert ran("seed.py").status == 0
        authority = f"ssl-ca={ssl.get_default_verify_paths().openssl_cafile}"
        for mode in ("REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY"):
            option_file(f"ssl-mode={mode}", authority)
            assert re.search("TLS|SSL", refused(ran("4-stream_ages.py")))
        # Through a socket there is no TLS, and none is missed.
        settings(HOST="", PORT="")
        monkeypatch.chdir(next(plain.folder.glob("m*/mysqld.sock")).parent)
        option_file("socket=mysqld.sock", "ssl-mode=REQUIRED")
        assert ran("4-stream_ages.py").status == 0
