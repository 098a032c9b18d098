"""A table larger than one machine: MariaDB's Spider, with the users on two other servers."""

from contextlib import closing
from pathlib import Path

import mysql.connector
import pytest
from clusters import Shards

import helpers
import seed
from helpers import ALL_USERS, EVERYTHING, SCRIPTS, counts, csv_text, first_users, refused, run

pytestmark = pytest.mark.cluster
SIZE = 20_000
WIDE = [(user[0], "😀" * 255, *user[2:]) for user in first_users(SIZE)]  # more than sockets buffer


@pytest.fixture(scope="module")
def started_shards(server):
    if not Shards.plugin.exists():
        pytest.skip("needs Spider: apt-get install mariadb-plugin-spider")
    with closing(Shards(Path(helpers.temporary.name, "shards"))) as shards:
        shards.start()
        yield shards


@pytest.fixture
def shards(started_shards, settings):
    """A head and two shards without users; the variables lead to the head."""
    for shard in started_shards.shards:
        if not shard.running():
            shard.start()
        shard.rows("TRUNCATE TABLE ALX_prodev.user_data")
    settings(started_shards.head)
    return started_shards


def test_all_programs_on_two_shards(shards, csv_file):
    bad = csv_file(csv_text([*first_users(3000), ("x", "Ann", "a@b", 1)]))
    assert "3002: user_id 'x' is not a UUID" in refused(run("seed.py", bad))
    assert shards.counts() == [0, 0]
    assert counts(run("seed.py")) == (1000, 0)
    assert counts(run("seed.py", csv_file(3000))) == (2000, 1000)
    assert sum(shards.counts()) == 3000
    assert min(shards.counts()) > 1000
    users = [dict(zip(seed.COLUMNS, user)) for user in sorted(first_users(3000))]
    printed = {script: run(script, *ALL_USERS[script]).output for script in SCRIPTS}
    assert printed[SCRIPTS[0]] == printed[SCRIPTS[2]] == "".join(f"{user}\n" for user in users)
    over_25 = [user for user in users if user["age"] > 25]
    assert printed[SCRIPTS[1]] == "".join(f"{user}\n" for user in over_25)
    average = sum(user["age"] for user in users) / 3000
    assert printed[SCRIPTS[3]] == f"Average age of users: {average:.2f}\n"


@pytest.mark.parametrize("shard", [0, 1])
def test_a_shard_that_dies_in_an_import(shards, csv_file, shard):
    file, one = csv_file(5000), shards.shards[shard]
    with seed.connect_to_prodev() as connection, pytest.raises(mysql.connector.Error):
        seed.insert_data(connection, file, lambda rows: rows == 3000 and one.kill())
    for script in EVERYTHING:
        assert "Unable to connect to foreign data source: " in refused(run(script))
    one.start()
    assert shards.counts() == [0, 0]
    assert counts(run("seed.py", file)) == (5000, 0)
    assert sum(shards.counts()) == 5000


def test_a_stream_that_is_left_and_one_whose_shard_dies(shards, csv_file):
    assert counts(run("seed.py", csv_file(csv_text(WIDE)))) == (SIZE, 0)
    rows = helpers.stream.stream_users()
    assert next(rows)
    rows.close()
    for node in (shards.head, *shards.shards):
        helpers.wait_until(lambda node=node: not node.runs("user_data")())
    rows = helpers.stream.stream_users()
    assert next(rows)
    shards.shards[1].kill()
    with pytest.raises(mysql.connector.Error):
        list(rows)
