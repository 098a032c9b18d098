"""Past one machine: a cluster of three servers on loopback ports, Galera or a MySQL group."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import mysql.connector
import pytest

import helpers
import seed
from helpers import ALL_USERS, SCRIPTS, WIDE, ThrowAwayServer, imported, ran, wait_until
from mysql_server import free_port

pytestmark = pytest.mark.cluster
SIZE = 3
MEMBERS = "performance_schema.replication_group_members WHERE member_state = 'ONLINE'"
UUIDS = [f"00000000-0000-0000-0000-{number:012}" for number in range(1, SIZE + 1)]


class Cluster:
    """What both kinds have in common: a node soon has what the others have committed."""

    node = ThrowAwayServer

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.addresses = [f"127.0.0.1:{free_port()}" for _ in range(SIZE)]  # for each other
        self.nodes = [self.node(folder / uuid, free_port(), "p") for uuid in UUIDS]

    def start(self) -> None:
        """Start all nodes, on new data; all of them write."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        with ThreadPoolExecutor(SIZE) as pool:
            list(pool.map(self._start, self.nodes, self.addresses))

    def close(self) -> None:
        for node in self.nodes:
            node.kill()

    def alive(self) -> list[ThrowAwayServer]:
        return [node for node in self.nodes if node.running()]

    def counts(self) -> list[tuple[int, int]]:
        """Return how many users each node has, and how many different ids, once all is applied."""
        self.wait_until_applied()
        return [row for node in self.alive() for row in node.rows(helpers.COUNT, "ALX_prodev")]


class GaleraNode(ThrowAwayServer):
    """A node that believes it was in this cluster before, so needs no program that copies data."""

    def _initialise(self, program: str, family: str, data: Path) -> None:
        super()._initialise(program, family, data)
        view = f"view_id: 3 {UUIDS[0]} 1\n" + "".join(f"member: {uuid} 0\n" for uuid in UUIDS)
        (data / "gvwstate.dat").write_text(f"my_uuid: {self.folder.name}\n#vwbeg\n{view}#vwend\n")
        (data / "grastate.dat").write_text(f"version: 2.1\nuuid: {UUIDS[0]}\nseqno: 1\n")

    def _account_statements(self, family: str) -> str:
        return "SET SESSION wsrep_on = OFF;\n" + super()._account_statements(family)

    def status(self, name: str) -> str:
        return self.rows(f"SHOW STATUS LIKE 'wsrep_{name}'")[0][1]


class Galera(Cluster):
    node = GaleraNode

    def _start(self, node: GaleraNode, address: str) -> None:
        node.start(
            *("--wsrep-on=ON", "--binlog-format=ROW", "--innodb-autoinc-lock-mode=2"),
            "--wsrep-provider=/usr/lib/galera/libgalera_smm.so",  # of the package galera-4
            f"--wsrep-node-address={address}",
            f"--wsrep-cluster-address=gcomm://{','.join(self.addresses)}",
            f"--wsrep-provider-options=gcache.size=32M;gmcast.listen_addr=tcp://{address}",
        )

    def wait_for(self, size: int) -> None:
        """Wait until the nodes that run agree that there are so many."""
        wait_until(lambda: all(node.status("cluster_size") == str(size) for node in self.alive()))
        wait_until(lambda: all(node.status("ready") == "ON" for node in self.alive()))

    def wait_until_applied(self) -> None:
        wait_until(lambda: len({node.status("last_committed") for node in self.alive()}) == 1)


class Group(Cluster):
    def _start(self, node: ThrowAwayServer, address: str) -> None:
        node.start(
            *("--log-bin=binlog", "--gtid-mode=ON", "--enforce-gtid-consistency=ON"),
            "--performance-schema=ON",  # which tells who is a member
            *(f"--server-id={node.port}", f"--report-host={node.host}"),
            *(f"--report-port={node.port}", "--plugin-load-add=group_replication.so"),
            f"--loose-group-replication-group-name={UUIDS[0]}",
            f"--loose-group-replication-local-address={address}",
            f"--loose-group-replication-group-seeds={','.join(self.addresses)}",
            "--loose-group-replication-ip-allowlist=127.0.0.1/8",
            "--loose-group-replication-start-on-boot=OFF",
            "--loose-group-replication-single-primary-mode=OFF",
        )

    def start(self) -> None:
        super().start()
        for node in self.nodes:
            node.rows(f"SET GLOBAL group_replication_bootstrap_group = {node is self.nodes[0]}")
            node.rows("START GROUP_REPLICATION USER = 'root', PASSWORD = 'p'")
        self.nodes[0].rows("SET GLOBAL group_replication_bootstrap_group = OFF")

    def wait_for(self, size: int) -> None:
        """Wait until the members that run agree that there are so many, and all write."""
        ready = f"SELECT COUNT(*), @@super_read_only FROM {MEMBERS}"
        wait_until(lambda: all(node.rows(ready) == [(size, 0)] for node in self.alive()))

    def wait_until_applied(self) -> None:
        for source in self.alive():
            [(committed,)] = source.rows("SELECT @@GLOBAL.gtid_executed")
            wait = f"SELECT WAIT_FOR_EXECUTED_GTID_SET('{committed}', 60)"
            assert all(node.rows(wait) == [(0,)] for node in self.alive())


KIND = Group if helpers.FAMILY == "mysql" else Galera


@pytest.fixture(scope="session")
def started_cluster(server):
    """A cluster that cluster() starts, with the data that the server's is a copy of."""
    with closing(KIND(Path(helpers.temporary.name, "cluster"))) as cluster:
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
