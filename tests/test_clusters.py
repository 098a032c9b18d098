"""Past one machine: a cluster of three servers, Galera or a MySQL group, and a router before it."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import mysql.connector
import pytest
from clusters import KIND, SIZE

import helpers
import seed
from helpers import ALL_USERS, INSERT, SCRIPTS, WIDE, first_users, imported, ran, refused, stream

pytestmark = pytest.mark.cluster
HAPROXY = shutil.which("haproxy", path="/usr/sbin:/usr/bin")
CONFIGURATION = """
listen servers
    mode tcp
    bind fd@{number}
    timeout connect 2s
    timeout client 60s
    timeout server 60s
    balance roundrobin
    default-server check inter 200ms fall 1
    server one {0.host}:{0.port}
    server two {1.host}:{1.port}
    server three {2.host}:{2.port}
"""


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


@pytest.fixture
def wide_cluster(cluster):
    """The same with WIDE users."""
    helpers.insert_wide_users(cluster.nodes[0])
    cluster.wait_until_applied()
    return cluster


@pytest.fixture
def router(wide_cluster, settings, tmp_path):
    """The cluster, with WIDE users, behind a router."""
    if HAPROXY is None:
        pytest.skip("needs HAProxy: apt-get install haproxy")
    file = tmp_path / "haproxy.cfg"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.fileno()
        file.write_text(CONFIGURATION.format(*wide_cluster.nodes, number=number))
        process = subprocess.Popen([HAPROXY, "-db", "-q", "-f", file], pass_fds=[number])
        settings(PORT=listener.getsockname()[1])
        yield wide_cluster
    process.kill()
    process.wait()


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


@contextmanager
def held_import(
    start, file, nodes: list
) -> Iterator[tuple[subprocess.Popen, helpers.ThrowAwayServer]]:
    """Start an import that waits for a user of its third batch; give it, and the node it is at.

    Another transaction has inserted that user at each node, and is at work until after the block.
    """
    with ExitStack() as stack:
        for node in nodes:
            other = stack.enter_context(node.connect(database=seed.DATABASE, autocommit=False))
            stack.enter_context(other.cursor()).execute(INSERT, first_users(2501)[-1])

        def importing() -> list[helpers.ThrowAwayServer]:
            return [node for node in nodes if node.rows(helpers.WAITING)]

        process = start("seed.py", file)
        helpers.wait_until(importing, process, helpers.INNODB_TRX_PAUSE)
        yield process, importing()[0]


def test_a_node_that_dies_and_one_that_refuses(wide_cluster, settings, start, csv_file):
    cluster, node = wide_cluster, wide_cluster.nodes[0]
    file = csv_file(3000)
    assert ran("seed.py").status == 0  # the first 1,000 of them
    cluster.one_writer()
    rows = stream.stream_users()
    next(rows)
    with held_import(start, file, [node]) as (process, _):
        node.kill()
        with pytest.raises(mysql.connector.Error):
            sum(1 for _ in rows)
        helpers.assert_import_lost(process)

    # Another one has nothing of that import, and completes it.
    cluster.wait_for(SIZE - 1)
    settings(cluster.writers()[0])
    assert cluster.counts() == [(WIDE + 1000, WIDE + 1000)] * (SIZE - 1)
    assert imported(ran("seed.py", file)) == (2000, 1000)
    assert cluster.counts() == [(WIDE + 3000, WIDE + 3000)] * (SIZE - 1)
    read = {script: ran(script, *ALL_USERS[script]) for script in SCRIPTS}
    assert read[SCRIPTS[0]].output.count("\n") == WIDE + 3000

    settings(cluster.refusing())
    for script in cluster.refusers:
        line = refused(ran(script)).replace("; an import is whole or nothing", "")
        assert line.endswith(cluster.refusal)
    for script in {*SCRIPTS} - {*cluster.refusers}:
        assert ran(script, *ALL_USERS[script]) == read[script]


# Behind a router, HAProxy in TCP mode


def test_all_scripts_behind_a_router(router):
    for _ in range(SIZE + 1):  # at whichever node
        assert ran("seed.py").status == 0
        assert router.counts() == [(WIDE + 1000, WIDE + 1000)] * SIZE
    for script in SCRIPTS:
        [done] = {ran(script) for _ in range(SIZE + 1)}
        assert (done.status, done.errors, done.output != "") == (0, "", True)


def test_a_server_that_dies_behind_the_router(router, start, csv_file):
    file = csv_file(3000)
    streams = [stream.stream_users() for _ in router.nodes]
    assert all(map(next, streams))  # each is led to a node of its own
    with held_import(start, file, router.nodes) as (process, node):
        node.kill()
        helpers.assert_import_lost(process)
    found = []
    for rows in streams:
        with suppress(mysql.connector.Error):
            found.append(1 + sum(1 for _ in rows))
    assert found == [WIDE] * (SIZE - 1)
    # Once the others agree that it is dead, they have nothing of that import, and complete it.
    router.wait_for(SIZE - 1)
    assert imported(ran("seed.py", file)) == (3000, 0)
