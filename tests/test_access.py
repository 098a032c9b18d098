"""Who may do what, TLS, and what a server may ask of this client."""

from __future__ import annotations

import shutil
import ssl
import subprocess

import mysql.connector
import pytest
from conftest import ThrowAwayServer
from test_integration import SCRIPTS

from mysql_server import ServerError, free_port

PASSWORD = "not to be shown"


@pytest.fixture
def account(own_server):
    """A function that makes an account with the given rights and returns its MYSQL_* variables."""

    def account(name: str, *rights: str) -> dict[str, str]:
        with own_server.connect() as connection:
            connection.cmd_query(f"CREATE USER {name}@localhost IDENTIFIED BY '{PASSWORD}'")
            for right in rights:
                connection.cmd_query(f"GRANT {right} TO {name}@localhost")
        return {"MYSQL_USER": name, "MYSQL_PASSWORD": PASSWORD}

    return account


def test_seed_works_with_rights_on_its_database_only(account, run):
    assert run("seed.py").returncode == 0
    owner = account("owner", "ALL ON ALX_prodev.*")
    done = run("seed.py", **owner)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("\n0 users inserted, 1000 already there\n")


def test_seed_creates_nothing_on_a_server_that_keeps_names_in_lower_case(
    account, family, own_server, run
):
    if family == "mysql":
        pytest.skip("MySQL takes that setting only when it makes its data")
    own_server.stop()
    own_server.start("--lower-case-table-names=1")
    assert run("seed.py").returncode == 0
    writer = account("writer", "SELECT, INSERT, UPDATE ON ALX_prodev.*")
    assert run("seed.py", **writer).stdout.endswith("0 users inserted, 1000 already there\n")


def test_the_scripts_work_with_select_alone(account, run):
    assert run("seed.py").returncode == 0
    expected = [run(script).stdout for script in SCRIPTS]
    reader = account("reader", "SELECT ON ALX_prodev.*")
    for script, output in zip(SCRIPTS, expected):
        done = run(script, **reader)
        assert (done.returncode, done.stdout, done.stderr) == (0, output, "")


def test_a_missing_right_is_one_line(account, run, own_server):
    run("seed.py")
    nobody = account("nobody")
    reader = account("reader", "SELECT ON ALX_prodev.*")
    for script, who in [
        *((script, nobody) for script in ("seed.py", *SCRIPTS)),
        ("seed.py", reader),
    ]:
        done = run(script, **who)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
        assert f"as {who['MYSQL_USER']} at 127.0.0.1:{own_server.port}" in done.stderr
        assert "That user needs a privilege on the database" in done.stderr
        assert PASSWORD not in done.stderr


def test_a_server_that_takes_no_writes_is_one_line(account, run, own_server):
    owner = account("owner", "ALL ON ALX_prodev.*")
    assert run("seed.py", **owner).returncode == 0
    with own_server.connect() as connection:
        connection.cmd_query("SET GLOBAL read_only = 1")
    done = run("seed.py", **owner)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "read-only" in done.stderr or "read_only" in done.stderr
    assert done.stderr.endswith(
        "That server takes no writes: set MYSQL_HOST and MYSQL_PORT to one that does.\n"
    )
    assert run("4-stream_ages.py", **owner).returncode == 0


def test_the_client_sends_no_file_on_a_servers_demand(own_server, monkeypatch, tmp_path, run):
    import seed

    assert run("seed.py").returncode == 0
    (tmp_path / ".my.cnf").write_text("[client]\nallow_local_infile=1\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    with seed.connect_to_prodev() as connection, connection.cursor() as cursor:
        cursor.execute("SET GLOBAL local_infile = 1")
        with pytest.raises(mysql.connector.Error, match=r"(?i)local"):
            cursor.execute("LOAD DATA LOCAL INFILE %s INTO TABLE user_data", (str(seed.CSV_FILE),))


@pytest.fixture
def certificates(tmp_path):
    """A folder with two CAs, and a server's certificate from the first."""
    if not shutil.which("openssl"):
        pytest.skip("needs openssl")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=tmp_path, check=True, capture_output=True)

    for ca in ("ca", "other-ca"):
        subject = ["-subj", f"/CN={ca}", "-keyout", f"{ca}.key", "-out", f"{ca}.pem"]
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject)
    subject = ["-subj", "/CN=server", "-keyout", "server.key", "-out", "server.csr"]
    openssl("req", "-newkey", "rsa:2048", "-nodes", *subject)
    signer = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", "server.pem"]
    openssl("x509", "-req", "-in", "server.csr", "-days", "2", *signer)
    return tmp_path


@pytest.fixture
def tls_server(certificates, private_server):
    """A server that refuses a client without TLS."""
    server = ThrowAwayServer(certificates / "server", free_port())
    server.start(
        f"--ssl-ca={certificates / 'ca.pem'}",
        f"--ssl-cert={certificates / 'server.pem'}",
        f"--ssl-key={certificates / 'server.key'}",
        "--require-secure-transport=ON",
    )
    yield server
    server.kill()


def test_tls_settings_of_the_option_file_are_honoured(tls_server, certificates, run, option_file):
    def seeded(*options: str) -> str:
        option_file(*options)
        done = run("seed.py", HOME=str(certificates), **tls_server.environment())
        assert done.returncode == bool(done.stderr)
        assert done.stderr.count("\n") <= 1, done.stderr
        return done.stderr

    ca, other_ca = (f"ssl-ca={certificates / name}" for name in ("ca.pem", "other-ca.pem"))
    assert seeded() == seeded(ca) == seeded("ssl-mode=required") == ""
    # The certificate is for the name "server", which MYSQL_HOST is not.
    for options in ((other_ca,), ("ssl-mode=VERIFY_CA",), (ca, "ssl-mode=VERIFY_IDENTITY")):
        line = seeded(*options)
        assert f"(error 2026, as root at 127.0.0.1:{tls_server.port})" in line
        assert line.endswith("Check the TLS settings in ~/.my.cnf.\n")
    assert seeded(other_ca, "ssl-mode=REQUIRED") == ""
    # MySQL says that TLS is required, MariaDB that the access is denied.
    line = seeded("ssl-mode=DISABLED")
    assert "error 1045" in line or "error 3159" in line
    if "3159" in line:
        assert line.endswith("Check the TLS settings in ~/.my.cnf.\n")


def test_a_server_without_tls_is_refused_where_tls_is_asked_for(
    own_server, run, option_file, family
):
    own_server.stop()
    try:
        own_server.start("--tls-version=" if family == "mysql" else "--skip-ssl")
    except ServerError:  # MySQL before 8.0.29
        own_server.start("--skip-ssl")
    assert run("seed.py").returncode == 0
    for mode in ("REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY"):
        option_file(f"ssl-mode={mode}", f"ssl-ca={ssl.get_default_verify_paths().openssl_cafile}")
        done = run("4-stream_ages.py")
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
        assert "(error 2026, as root at 127.0.0.1:" in done.stderr
        assert done.stderr.endswith("Check the TLS settings in ~/.my.cnf.\n")
