"""Past one machine: a cluster of three servers, Galera or a MySQL group."""

import os
from contextlib import closing
from pathlib import Path

import mysql.connector
import pytest
from clusters import KIND, SIZE

import helpers
import seed
from helpers import ALL_USERS, SCRIPTS, WIDE, imported, ran, refused

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="session")
def started_cluster(server):
    """A cluster that cluster() starts."""
    cluster = KIND(Path(helpers.temporary.name, "cluster"))
    if lacks := cluster.lacks(server):
        pytest.skip(lacks)
    with closing(cluster):
        yield cluster


@pytest.fixture
def cluster(started_cluster, settings):
    """A cluster whose nodes all write, with an empty table; the variables lead to the first one."""
    if len(started_cluster.alive()) < SIZE:  # at first, and after a test that killed one
        started_cluster.start()
        started_cluster.wait_for(SIZE)
    settings(started_cluster.nodes[0]).rows("DROP DATABASE IF EXISTS ALX_prodev")
    assert ran("seed.py", os.devnull).status == 1  # makes the table
    started_cluster.wait_until_applied()
    return started_cluster


def test_what_is_seeded_at_one_node_is_read_at_another(cluster, settings, csv_file):
    one, other, _ = cluster.nodes
    one.rows("DROP DATABASE ALX_prodev")
    assert imported(ran("seed.py", csv_file(20_000))) == (20_000, 0)
    assert cluster.counts() == [(20_000, 20_000)] * SIZE
    expected = [ran(script, *ALL_USERS[script]) for script in SCRIPTS]
    assert [(done.status, done.errors) for done in expected] == [(0, "")] * len(SCRIPTS)
    settings(other)
    assert [ran(script, *ALL_USERS[script]) for script in SCRIPTS] == expected


def test_imports_at_several_nodes_at_once(cluster, csv_file):
    files = [csv_file(20_000, f"{order}.csv", order) for order in range(SIZE + 1)]
    found = helpers.imports_at_once(files, [*cluster.nodes, cluster.nodes[0]])
    assert sum(inserted for inserted, _ in found) == 20_000
    assert {sum(each) for each in found} == {20_000}
    assert cluster.counts() == [(20_000, 20_000)] * SIZE


@pytest.mark.parametrize(("limit", "value", "number"), KIND.limits)
def test_an_import_over_the_size_of_a_transaction(cluster, with_global, limit, value, number):
    with_global(limit, value, cluster.nodes[0])
    assert refused(ran("seed.py")).endswith(f"(error {number}).")
    assert cluster.counts() == [(0, 0)] * SIZE


def test_a_node_that_dies(cluster, settings, csv_file):
    node, other, _ = cluster.nodes
    file = csv_file(3000)
    helpers.insert_wide_users(node)
    assert imported(ran("seed.py")) == (1000, 0)  # the first 1,000 of them
    users = helpers.stream.stream_users()
    next(users)
    with seed.connect_to_prodev() as connection, pytest.raises(mysql.connector.Error):
        seed.insert_data(connection, file, lambda rows: rows == 2000 and node.kill())
    with pytest.raises(mysql.connector.Error):
        sum(1 for _ in users)
    # Another one has nothing of that import, and completes it.
    cluster.wait_for(SIZE - 1)
    assert cluster.counts() == [(WIDE + 1000, WIDE + 1000)] * (SIZE - 1)
    settings(other)
    assert imported(ran("seed.py", file)) == (2000, 1000)
    assert cluster.counts() == [(WIDE + 3000, WIDE + 3000)] * (SIZE - 1)
    assert ran(SCRIPTS[0], *ALL_USERS[SCRIPTS[0]]).output.count("\n") == WIDE + 3000
