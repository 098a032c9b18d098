"""TLS: what ~/.my.cnf asks for is kept, also where somebody stands between us and the server."""

import contextlib
import re
import shutil
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import seed
from helpers import FAMILY, ThrowAwayServer, ran, refused, shell
from mysql_server import free_port

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


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with a CA, another CA, and a certificate of the first for the name "server"."""
    if not shutil.which("openssl"):
        pytest.skip("needs openssl")
    folder = tmp_path_factory.mktemp("certificates")
    assert shell(f"set -e; {MAKE_CERTIFICATES}", cwd=folder).status == 0
    return folder


@pytest.fixture(scope="module")
def encrypted(folder, server) -> Iterator[ThrowAwayServer]:
    """A server with that certificate, and accounts without a password: any, and one for X509."""
    encrypted = ThrowAwayServer(folder / "encrypted", free_port(), "p")
    encrypted.start(*(f"--ssl-{name}={folder / name}.pem" for name in ("ca", "cert", "key")))
    with encrypted:
        for name, needs in (("ann", ""), ("ben", "REQUIRE X509"), ("cem", "REQUIRE SSL")):
            encrypted.rows(f"CREATE USER {name}@localhost {needs}")
            encrypted.rows(f"GRANT ALL ON ALX_prodev.* TO {name}@localhost")
        yield encrypted


@pytest.fixture(scope="module")
def plain(folder) -> Iterator[ThrowAwayServer]:
    """A server without TLS. It has no password, as MySQL lets one in only over TLS."""
    plain = ThrowAwayServer(folder / "plain", free_port())
    plain.start("--tls-version=" if FAMILY == "mysql" else "--skip-ssl", "--socket=mysqld.sock")
    with plain:
        yield plain


@pytest.fixture
def option_file(option_file, folder):
    """A function that writes ~/.my.cnf, in which ca.pem stands for the file of that name."""

    def write(*options: str) -> None:
        option_file(*(re.sub(r"=(?=\w+\.pem)", f"={folder}/", option) for option in options))

    return write


SSL = 0x08  # CLIENT_SSL, in the second byte of the capabilities


class Proxy:
    """One between client and server who speaks TLS on one side alone, and leads each packet on.

    Arguments: the server, and the certificate's folder. With it, TLS ends here, as at the edge of a
    hosted database. Without it, TLS begins here: the client is told that the server has none.
    """

    def __init__(self, server: ThrowAwayServer, certificate: Path | None = None) -> None:
        self.server, self.certificate = server, certificate
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client = self.listener.accept()[0]
                threading.Thread(target=self.lead, args=[client], daemon=True).start()

    def lead(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError, IndexError):
            server = socket.create_connection((self.server.host, self.server.port))
            number, greeting = self.receive(server)
            place = greeting.index(0) + 15  # after version, connection number and salt
            greeting[place] = greeting[place] | SSL if self.certificate else greeting[place] & ~SSL
            self.send(client, number, greeting)
            number, answer = self.receive(client)
            if self.certificate and answer[1] & SSL:  # the client begins TLS: the server does not
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(self.certificate / "cert.pem", self.certificate / "key.pem")
                client = context.wrap_socket(client, server_side=True)
                number, answer = self.receive(client)
                answer[1] &= ~SSL
                shift = -1
            elif self.certificate:
                shift = 0
            else:
                answer[1] |= SSL
                self.send(server, number, answer[:32])
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                server = context.wrap_socket(server)
                shift = 1
            self.send(server, number + shift, answer)
            while True:  # the login, in which packets are numbered
                number, reply = self.receive(server)
                self.send(client, number - shift, reply)
                if reply[0] in (0x00, 0xFF):  # let in, or not
                    break
                if reply != b"\x01\x03":  # no answer is waited for
                    number, answer = self.receive(client)
                    self.send(server, number + shift, answer)
            back = threading.Thread(target=self.pump, args=[server, client], daemon=True)
            back.start()
            self.pump(client, server)

    @staticmethod
    def receive(end: socket.socket) -> tuple[int, bytearray]:
        """Return a packet's number and contents."""
        header = end.recv(4, 0 if isinstance(end, ssl.SSLSocket) else socket.MSG_WAITALL)
        content = bytearray()
        while len(content) < int.from_bytes(header[:3], "little"):
            content += end.recv(int.from_bytes(header[:3], "little") - len(content))
        return header[3], content

    @staticmethod
    def send(end: socket.socket, number: int, content: bytearray) -> None:
        end.sendall(len(content).to_bytes(3, "little") + bytes([number]) + content)

    @staticmethod
    def pump(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


@pytest.fixture
def proxy(settings):
    """A function that starts a proxy, to which the variables lead, as who has no password."""
    proxies = []

    def proxy(server: ThrowAwayServer, certificate: Path | None = None) -> None:
        proxies.append(Proxy(server, certificate))
        user = "ann" if server.password else server.user
        settings(HOST="127.0.0.1", PORT=proxies[-1].port, USER=user, PASSWORD="")

    yield proxy
    for each in proxies:
        each.listener.close()


NO_TLS = "the server has no TLS, but ssl-mode or ssl-ca in ~/.my.cnf requires it"
IDENTITY = ("ssl-ca=ca.pem", "ssl-mode=VERIFY_IDENTITY")  # the name is not MYSQL_HOST
FITS = [(), ("ssl-ca=ca.pem",), ("ssl-mode=required",), ("ssl-ca=other.pem", "ssl-mode=REQUIRED")]
FAILS = [("ssl-ca=other.pem",), IDENTITY]
TLS_FAILED = r"\(error (2026|2055|-1)\)\. Check the TLS settings in ~/.my.cnf\.$"


@pytest.mark.parametrize("options", FITS)
def test_a_server_whose_tls_is_what_is_asked_for(encrypted, settings, option_file, options):
    settings(encrypted)
    option_file(*options)
    assert ran("seed.py").errors == ""


@pytest.mark.parametrize("options", FAILS)
def test_a_certificate_of_another_ca_or_name(encrypted, settings, option_file, options):
    settings(encrypted)
    option_file(*options)
    assert re.search(TLS_FAILED, refused(ran("seed.py")))


def test_an_account_that_must_show_a_certificate(encrypted, settings, option_file):
    settings(encrypted)
    assert ran("seed.py").status == 0
    settings(USER="ben", PASSWORD="")
    option_file("ssl-ca=ca.pem")
    assert "denied" in refused(ran("4-stream_ages.py"))
    option_file("ssl-ca=ca.pem", "ssl-cert=cert.pem", "ssl-key=key.pem")
    assert ran("4-stream_ages.py").errors == ""


def test_an_account_that_needs_tls_where_it_is_switched_off(encrypted, settings, option_file):
    settings(encrypted)
    settings(USER="cem", PASSWORD="")
    option_file("ssl-mode=DISABLED")
    line = refused(ran("seed.py"))
    assert line.endswith(
        "Check MYSQL_USER and MYSQL_PASSWORD, or ~/.my.cnf (also ssl-mode=DISABLED)."
    )


@pytest.mark.parametrize("options", [*FITS[1:], *FAILS])
def test_a_server_without_tls(plain, settings, option_file, options):
    settings(plain)
    option_file()
    assert ran("seed.py").errors == ""
    option_file(*options)
    assert re.search("TLS|SSL", refused(ran("4-stream_ages.py")))


def test_a_socket_needs_no_tls(plain, settings, option_file, monkeypatch):
    settings(plain)
    assert ran("seed.py").status == 0
    settings(HOST="", PORT="")
    monkeypatch.chdir(next(plain.folder.glob("m*/mysqld.sock")).parent)
    option_file("socket=mysqld.sock", "ssl-mode=REQUIRED", "port=9")
    assert ran("4-stream_ages.py").errors == ""
    assert ran("seed.py").output.splitlines()[0].endswith(" at mysqld.sock")


@pytest.mark.parametrize("options", [*FITS[1:], *FAILS])
def test_somebody_who_hides_the_servers_tls_gets_nothing(encrypted, proxy, option_file, options):
    """The server's own end is encrypted, and its Ssl_cipher says so."""
    proxy(encrypted)
    option_file()
    assert ran("seed.py").errors == ""  # nobody has asked for TLS
    option_file(*options)
    assert re.search("TLS|SSL", refused(ran("4-stream_ages.py")))


@pytest.mark.parametrize("options", FITS)
def test_tls_that_ends_before_the_server_is_tls(plain, folder, proxy, option_file, options):
    """As at hosted databases: this end is encrypted, with a certificate that fits."""
    proxy(plain, folder)
    option_file(*options)
    assert ran("seed.py").errors == ""


@pytest.mark.parametrize("options", FAILS)
def test_tls_that_ends_at_somebody_else(plain, folder, proxy, option_file, options):
    proxy(plain, folder)
    option_file(*options)
    assert re.search(TLS_FAILED, refused(ran("seed.py")))


def test_a_connection_that_is_refused_for_want_of_tls_is_closed(plain, settings, option_file):
    settings(plain)
    option_file("ssl-mode=REQUIRED")
    with pytest.raises(seed.InputError, match="TLS") as error:
        seed.connect_db()
    plain.wait_until_left_alone()  # while the traceback still holds the connection
    assert error.value.__traceback__
