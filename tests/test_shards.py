"""A table larger than one machine: MariaDB's Spider, with the users on two other servers."""

import re
from contextlib import closing
from pathlib import Path

import mysql.connector
import pytest

import helpers
import seed
from helpers import ALL_USERS, EVERYTHING, SCRIPTS, csv_text, first_users, imported, ran, refused
from mysql_server import PROJECT, free_port

pytestmark = pytest.mark.cluster


class Shards:
    """A MariaDB server whose table lies on two others, by Spider as SUPPORT.md sets it up."""

    def __init__(self, folder: Path) -> None:
        nodes = [helpers.ThrowAwayServer(folder / str(n), free_port(), "p") for n in range(3)]
        self.head, *self.shards = nodes
        self.shards[1].host = "127.0.0.2"  # of two servers at one address Spider mixes up the XIDs
        page = (PROJECT / ".github/SUPPORT.md").read_text(encoding="utf-8")
        statements = re.search(r"(?s)```sql\n(CREATE SERVER one.*?)\n```", page)[1]
        for number, shard in enumerate(self.shards, 1):
            given = f"HOST '{shard.host}', PORT {shard.port}, USER 'root', PASSWORD 'p'"
            told = f"HOST '192.0.2.{number}', PORT 3306, USER 'ann', PASSWORD 'secret'"
            assert told in statements
            statements = statements.replace(told, given)
        self.statements = statements.split(";\n")
        options = re.search("(?s)Set these options on the Spider server: (.*?)\\. ", page)[1]
        self.options = [f"--{option}" for option in re.findall("`(.*?)`", options)]

    def start(self) -> None:
        for node in (*self.shards, self.head):
            node.start(*(self.options if node is self.head else ()))
            node.rows("CREATE DATABASE ALX_prodev CHARACTER SET utf8mb4")
        for shard in self.shards:
            shard.rows(seed.CREATE_TABLE, "ALX_prodev")
        for statement in self.statements:
            self.head.rows(statement, "ALX_prodev")

    def close(self) -> None:
        for node in (self.head, *self.shards):
            node.kill()

    def sizes(self) -> list[int]:
        """Return how many users each shard has."""
        return [shard.rows(helpers.COUNT, "ALX_prodev")[0][0] for shard in self.shards]


@pytest.fixture(scope="module")
def started_shards(server):
    with closing(Shards(Path(helpers.temporary.name, "shards"))) as shards:
        shards.start()
        yield shards


@pytest.fixture
def shards(started_shards, settings):
    """A head and two shards without users; the variables lead to the head."""
    for shard in started_shards.shards:
        if not shard.running():  # a test has killed it
            shard.start()
        shard.rows("TRUNCATE TABLE ALX_prodev.user_data")
    settings(started_shards.head)
    return started_shards


def test_all_programs_on_two_shards(empty, shards, server, settings, csv_file):
    bad = csv_file(csv_text([*first_users(3000), ("x", "Ann", "a@b", 1)]))
    assert "3002: user_id 'x' is not a UUID" in refused(ran("seed.py", bad))
    assert shards.sizes() == [0, 0]
    assert imported(ran("seed.py")) == (1000, 0)
    assert imported(ran("seed.py", csv_file(3000))) == (2000, 1000)
    assert sum(shards.sizes()) == 3000
    assert min(shards.sizes()) > 1000
    printed = [ran(script, *ALL_USERS[script]) for script in SCRIPTS]
    settings(server)
    seed.insert_data(empty, csv_file(3000))
    assert printed == [ran(script, *ALL_USERS[script]) for script in SCRIPTS]


@pytest.mark.parametrize("shard", [0, 1])
def test_a_shard_that_dies_in_an_import(shards, csv_file, shard):
    file, one = csv_file(5000), shards.shards[shard]
    with seed.connect_to_prodev() as connection, pytest.raises(mysql.connector.Error):
        seed.insert_data(connection, file, lambda rows: rows == 3000 and one.kill())
    for script in EVERYTHING:
        assert "Unable to connect to foreign data source: " in refused(ran(script))
    one.start()
    assert shards.sizes() == [0, 0]
    assert imported(ran("seed.py", file)) == (5000, 0)
    assert sum(shards.sizes()) == 5000
