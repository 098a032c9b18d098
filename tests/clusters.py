"""Clusters of three servers on loopback ports: Galera, MySQL's Group Replication, and shards."""

import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from helpers import COUNT, FAMILY, ThrowAwayServer, seed, wait_until
from mysql_server import PROJECT, free_port

SIZE = 3
ONLINE = "SELECT SUM(member_state = 'ONLINE') FROM performance_schema.replication_group_members"
WRITES = "SELECT NOT @@super_read_only"
UUIDS = [f"00000000-0000-0000-0000-{number:012}" for number in range(1, SIZE + 1)]


class Cluster:
    """What both kinds have in common: a node soon has what the others have committed."""

    limits: list[tuple[str, int, int]]  # of a transaction: variable, value, number of the error
    node = ThrowAwayServer

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.addresses = [f"127.0.0.1:{free_port()}" for _ in range(SIZE)]  # for each other
        self.nodes = [self.node(folder / uuid, free_port()) for uuid in UUIDS]

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
        return [row for node in self.alive() for row in node.rows(COUNT, "ALX_prodev")]


class GaleraNode(ThrowAwayServer):
    """A node that believes at its first start to have been in a cluster with the others before.

    So none has to get the data of another one, by programs that may not be installed.
    """

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
    limits = [("wsrep_max_ws_rows", 100, 1180), ("wsrep_max_ws_size", 10_000, 1105)]
    node = GaleraNode
    provider = Path("/usr/lib/galera/libgalera_smm.so")

    def lacks(self, server: ThrowAwayServer) -> str:
        return "" if self.provider.exists() else "needs Galera: apt-get install galera-4"

    def _start(self, node: GaleraNode, address: str) -> None:
        node.start(
            *("--wsrep-on=ON", "--binlog-format=ROW", "--innodb-autoinc-lock-mode=2"),
            *(f"--wsrep-provider={self.provider}", f"--wsrep-node-address={address}"),
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
    limits = [("group_replication_transaction_size_limit", 20_000, 3100)]
    limits += [("max_binlog_cache_size", 4096, 1197)]

    def lacks(self, server: ThrowAwayServer) -> str:
        plugin = Path(server.rows("SELECT @@plugin_dir")[0][0], "group_replication.so")
        return "" if plugin.exists() else f"needs MySQL's Group Replication, {plugin}"

    def _start(self, node: ThrowAwayServer, address: str) -> None:
        node.start(
            *("--log-bin=binlog", "--gtid-mode=ON", "--enforce-gtid-consistency=ON"),
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
        wait_until(lambda: all(node.rows(ONLINE) == [(size,)] for node in self.alive()))
        wait_until(lambda: all(node.rows(WRITES) == [(1,)] for node in self.alive()))

    def wait_until_applied(self) -> None:
        for source in self.alive():
            [(committed,)] = source.rows("SELECT @@GLOBAL.gtid_executed")
            wait = f"SELECT WAIT_FOR_EXECUTED_GTID_SET('{committed}', 60)"
            assert all(node.rows(wait) == [(0,)] for node in self.alive())


KIND = Group if FAMILY == "mysql" else Galera


class Shards:
    """A MariaDB server whose table lies on two others, by Spider and the README's statements."""

    plugin = Path("/usr/lib/mysql/plugin/ha_spider.so")

    def __init__(self, folder: Path) -> None:
        names = ("head", "one", "two")
        self.head, *self.shards = [ThrowAwayServer(folder / name, free_port()) for name in names]
        self.shards[1].host = "127.0.0.2"  # of two servers at one address Spider mixes up the XIDs
        page = (PROJECT / "README.md").read_text(encoding="utf-8")
        statements = re.search(r"(?s)```sql\n(CREATE SERVER one.*?)\n```", page)[1]
        for number, shard in enumerate(self.shards, 1):
            given = f"HOST '{shard.host}', PORT {shard.port}, USER 'root', PASSWORD 'p'"
            told = f"HOST '192.0.2.{number}', PORT 3306, USER 'ann', PASSWORD 'secret'"
            assert told in statements
            statements = statements.replace(told, given)
        self.statements = statements.split(";\n")

    def start(self) -> None:
        xa = "--spider-internal-xa=ON"  # two phases: the shards commit all or none
        spider = ("--plugin-load-add=ha_spider.so", "--plugin-maturity=beta", xa)
        for node in (*self.shards, self.head):
            node.start(*(spider if node is self.head else ()))
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
        return [shard.rows(COUNT, "ALX_prodev")[0][0] for shard in self.shards]
