"""Vitess, the engine of hosted MySQL: vtcombo is all of it in one process, on a MySQL server.

.ci/install-vitess builds vtcombo. Each test runs on a whole keyspace and on one of two shards.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import mysql.connector
import pytest

import helpers
import seed
from helpers import ALL_USERS, SCRIPTS, csv_text, first_users, imported, ran, refused
from mysql_server import PROJECT, free_port

VTCOMBO = shutil.which("vtcombo")
if not VTCOMBO or helpers.FAMILY != "mysql":
    pytest.skip("needs vtcombo (.ci/install-vitess) and MySQL", allow_module_level=True)
PAGE = (PROJECT / ".github/SUPPORT.md").read_text(encoding="utf-8")
[VSCHEMA] = re.findall(r"```json\n(\{.*?\n)```", PAGE, re.DOTALL)
OPTIONS = ["mysql-auth-server-impl=none", "dbddl-plugin=vttest", "service-map=grpc-vtgateservice"]
OPTIONS += ["mysql-server-bind-address=127.0.0.1", "db-charset=utf8mb4"]
ROLES = ("app", "allprivs", "appdebug", "dba", "repl", "filtered")
OPTIONS += [f"db-{role}-user=vt" for role in ROLES]


class Vitess:
    """A keyspace ALX_prodev of some shards, each a database of one MySQL server."""

    def __init__(self, folder: Path, shards: list[str]) -> None:
        self.databases = [f"vt_ALX_prodev_{shard}" for shard in shards]
        self.port, self.folder, self.socket = free_port(), folder, folder / "mysql.sock"
        folder.chmod(0o777)  # vtcombo refuses to be root: it is nobody, and writes here
        schema = folder / "schema" / seed.DATABASE
        schema.mkdir(parents=True)
        if len(shards) > 1:
            (schema / "vschema.json").write_text(VSCHEMA)
        names = " ".join(f'shards {{ name: "{shard}" }}' for shard in shards)
        self.topology = f'keyspaces {{ name: "{seed.DATABASE}" {names} }}'
        self.mysql = helpers.ThrowAwayServer(folder / "mysql", free_port(), "p")

    def __enter__(self):
        self.mysql.start(f"--socket={self.socket}", "--secure-file-priv=")
        self.mysql.rows("CREATE USER vt@localhost")
        self.mysql.rows("GRANT ALL ON *.* TO vt@localhost WITH GRANT OPTION")
        for database in self.databases:
            self.mysql.rows(f"CREATE DATABASE `{database}` CHARACTER SET utf8mb4")
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.mysql.kill()

    def start(self) -> None:
        ports = {"mysql-server-port": self.port, "port": free_port(), "grpc-port": free_port()}
        places = {"proto-topo": self.topology, "schema-dir": self.folder / "schema"}
        options = {**ports, **places, "db-socket": self.socket}.items()
        command = [VTCOMBO, *(f"--{each}" for each in OPTIONS)]
        command += [f"--{name}={value}" for name, value in options]
        if os.geteuid() == 0:
            command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *command]
        root = str(Path(VTCOMBO).parents[1] / "source")
        environment = {**os.environ, "VTROOT": root, "VTDATAROOT": str(self.folder)}
        with open(self.folder / "log", "wb") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        helpers.wait_until(self.answers)

    def environment(self) -> dict[str, str]:
        """Return the MYSQL_* variables that lead seed.py to it."""
        values = {"HOST": "127.0.0.1", "PORT": self.port, "USER": "root", "PASSWORD": ""}
        return {f"MYSQL_{name}": str(value) for name, value in values.items()}

    def answers(self) -> bool:
        assert self.process.poll() is None, (self.folder / "log").read_text()[-2000:]
        try:
            mysql.connector.connect(port=self.port, user="root", database="ALX_prodev").close()
        except mysql.connector.Error:
            return False
        return True

    def on_shards(self, statement: str) -> list[list[tuple]]:
        """Return what a statement gives on each shard."""
        return [self.mysql.rows(statement, database) for database in self.databases]

    def sizes(self) -> list[int]:
        return [count for [(count, _)] in self.on_shards(helpers.COUNT)]


@pytest.fixture(scope="module", params=[["0"], ["-80", "80-"]], ids=["whole", "two shards"])
def started(request, server) -> Iterator[Vitess]:
    folder = tempfile.TemporaryDirectory(prefix="generators-vitess-")  # that nobody can enter
    with folder as name, Vitess(Path(name), request.param) as vitess:
        yield vitess


@pytest.fixture
def vitess(started, settings) -> Vitess:
    """Vitess with an empty table, to which the variables lead."""
    if started.process.poll() is not None:  # a test has killed it
        started.start()
    settings(started)
    assert ran("seed.py", os.devnull).status == 1  # makes the table
    started.on_shards("DELETE FROM user_data")
    return started


def test_all_programs(empty, vitess, server, settings):
    assert imported(ran("seed.py")) == (1000, 0)
    assert imported(ran("seed.py")) == (0, 1000)
    assert sum(vitess.sizes()) == 1000
    assert min(vitess.sizes()) > 400
    printed = [ran(script, *ALL_USERS[script]) for script in SCRIPTS]
    settings(server)
    seed.insert_data(empty, seed.CSV_FILE)
    assert printed == [ran(script, *ALL_USERS[script]) for script in SCRIPTS]


def test_more_users_than_vitess_returns_at_once(vitess, csv_file):
    """That is 10,000, but for a stream."""
    users = sorted(first_users(30_000))
    assert imported(ran("seed.py", csv_file(30_000))) == (30_000, 0)
    ids = [user[0] for user in users]
    assert [user["user_id"] for user in helpers.stream.stream_users()] == ids
    lists = list(helpers.pages.lazy_pagination(15_000))
    assert [user["user_id"] for page in lists for user in page] == ids
    lists = list(helpers.batches.stream_users_in_batches(7000))
    assert [len(batch) for batch in lists] == [7000] * 4 + [2000]
    assert sum(helpers.ages.stream_user_ages()) == sum(user[3] for user in users)
    with seed.open_stream(dictionary=True) as cursor:
        cursor.execute("SELECT email FROM user_data WHERE age > %s", [0])
        assert sorted(row["email"] for row in cursor) == sorted(user[2] for user in users)


def test_a_stop_leaves_no_query_on_the_shards(vitess, csv_file):
    assert imported(ran("seed.py", csv_file(30_000))) == (30_000, 0)
    for generator in helpers.GENERATORS.values():
        rows = generator()
        next(rows)
        rows.close()
    helpers.wait_until(lambda: not vitess.mysql.connections("FROM user_data"))


def test_a_bad_row_at_the_end_leaves_nothing(vitess, csv_file):
    file = csv_file(csv_text([*first_users(3000), ("x", "Ann", "a@b", 1)]))
    assert "3002: user_id 'x' is not a UUID" in refused(ran("seed.py", file))
    assert sum(vitess.sizes()) == 0


def test_eight_imports_at_once(vitess, csv_file):
    files = [csv_file(3000, f"{order}.csv", order) for order in range(8)]
    counts = helpers.imports_at_once(files, [vitess] * 8)
    assert sum(inserted for inserted, _ in counts) == sum(vitess.sizes()) == 3000
    assert {sum(count) for count in counts} == {3000}


def test_other_keys(vitess, csv_file):
    vitess.on_shards("ALTER TABLE user_data ADD UNIQUE (email)")
    assert imported(ran("seed.py")) == (1000, 0)
    if len(vitess.databases) == 1:  # over shards, such a key is unique on each alone
        _, user = first_users(2)
        file = csv_file(csv_text([("0" + user[0][1:-1] + "f", *user[1:])]))
        assert "another one has the same value in a unique key" in refused(ran("seed.py", file))
    vitess.on_shards("ALTER TABLE user_data DROP KEY email, DROP PRIMARY KEY")
    assert "has no unique key on user_id alone: rename" in refused(ran("seed.py"))
    vitess.on_shards("ALTER TABLE user_data ADD PRIMARY KEY (user_id)")


def test_vtgate_killed_between_two_pages(vitess):
    assert imported(ran("seed.py")) == (1000, 0)
    pages = helpers.pages.lazy_pagination(100)
    next(pages)
    vitess.process.kill()
    vitess.process.wait()
    with pytest.raises(mysql.connector.Error):
        next(pages)
