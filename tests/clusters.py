"""Clusters of private servers on loopback ports: MariaDB Galera, MySQL Group Replication."""

from __future__ import annotations

import os
import subprocess
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import copytree

import mysql.connector
import pytest
from conftest import ThrowAwayServer, wait_until
from test_faults import INNODB_TRX_PAUSE
from test_streams import stream_users

from mysql_server import PrivateServer, free_port

SIZE = 3
PROVIDER = "/usr/lib/galera/libgalera_smm.so"
# How a node that joins gets the state of another one. All begin with copies of the first one's
# data, so that it is enough to hand over the position from which on it is sent the writes.
STATE_TRANSFER = """#!/bin/sh
while [ $# -gt 0 ]; do
  case $1 in --role) role=$2 ;; --address) address=$2 ;; --gtid) gtid=$2 ;; esac
  shift
done
position=${0%/*}/${address##*:}
if [ "$role" = joiner ]; then
  echo "ready $address"
  timeout 60 sh -c 'until [ -s "$0" ]; do sleep 0.05; done' "$position"
  cat "$position"
else
  echo "$gtid" > "$position.new" && mv "$position.new" "$position"
  echo "done $gtid"
fi
"""


class GaleraNode(ThrowAwayServer):
    """A node of a Galera cluster."""

    def _account_statements(self, family: str) -> str:
        return "SET SESSION wsrep_on = OFF;\n" + super()._account_statements(family)

    def status(self, name: str) -> str:
        with self.connect() as connection:
            return connection.info_query(f"SHOW STATUS LIKE 'wsrep_{name}'")[1]

    def join(self, *options: str) -> None:
        self.start(*self.options, *options)
        wait_until(lambda: self.status("ready") == "ON")
        wait_until(lambda: self.status("local_state_comment") == "Synced")


class Cluster:
    """What the two kinds have in common: a list of nodes."""

    nodes: list

    def close(self) -> None:
        for node in self.nodes:
            node.kill()


class Galera(Cluster):
    """A Galera cluster: all nodes write, and each sees what the others do a moment later."""

    def __init__(self, folder: Path) -> None:
        script = folder / "wsrep_sst_position"
        script.write_text(STATE_TRANSFER)
        script.chmod(0o755)
        os.environ["PATH"] += f":{folder}"  # where the servers look for it
        ports = [free_port() for _ in range(SIZE)]
        self.nodes = []
        for number, port in enumerate(ports):
            node = GaleraNode(folder / f"node{number}", free_port())
            ist = free_port()
            node.options = [
                *("--wsrep-on=ON", f"--wsrep-provider={PROVIDER}", "--wsrep-sst-method=position"),
                *("--binlog-format=ROW", "--innodb-autoinc-lock-mode=2"),
                f"--wsrep-cluster-address=gcomm://{','.join(f'127.0.0.1:{p}' for p in ports)}",
                f"--wsrep-node-address=127.0.0.1:{port}",
                f"--wsrep-sst-receive-address=127.0.0.1:{free_port()}",
                f"--wsrep-provider-options=base_host=127.0.0.1;base_port={port};gcache.size=32M;"
                f"gmcast.listen_addr=tcp://127.0.0.1:{port};ist.recv_addr=127.0.0.1:{ist};"
                f"ist.recv_bind=127.0.0.1:{ist}",
            ]
            self.nodes.append(node)

    def start(self) -> None:
        first, *others = self.nodes
        first.join("--wsrep-new-cluster")
        first.stop()
        for node in others:
            copytree(first.folder, node.folder)
        first.join("--wsrep-new-cluster")
        for node in others:
            node.join()

    def wait_for(self, size: int) -> None:
        """Wait until the nodes that live agree that there are so many."""
        alive = [node for node in self.nodes if node.running()]
        wait_until(lambda: {node.status("cluster_size") for node in alive} == {str(size)})
        wait_until(lambda: {node.status("ready") for node in alive} == {"ON"})

    def wait_until_applied(self) -> None:
        """Wait until each node has what the others have committed."""
        wait_until(lambda: len({node.status("last_committed") for node in self.nodes}) == 1)


class Group(Cluster):
    """A group of MySQL servers, of which one, the primary, writes, or all."""

    def __init__(self, folder: Path, all_primaries: bool = False) -> None:
        addresses = [f"127.0.0.1:{free_port()}" for _ in range(SIZE)]
        name = str(uuid.uuid4())
        self.primaries = SIZE if all_primaries else 1
        self.nodes = []
        for number, address in enumerate(addresses, 1):
            server = ThrowAwayServer(folder / f"member{number}", free_port())
            server.options = [
                *("--log-bin=binlog", f"--server-id={number}", "--gtid-mode=ON"),
                *("--enforce-gtid-consistency=ON", "--plugin-load-add=group_replication.so"),
                *("--report-host=127.0.0.1", f"--report-port={server.port}"),
                f"--loose-group-replication-group-name={name}",
                f"--loose-group-replication-local-address={address}",
                f"--loose-group-replication-group-seeds={','.join(addresses)}",
                "--loose-group-replication-ip-allowlist=127.0.0.1/8",
                "--loose-group-replication-start-on-boot=OFF",
                f"--loose-group-replication-single-primary-mode={int(not all_primaries)}",
            ]
            self.nodes.append(server)

    def start(self) -> None:
        with ThreadPoolExecutor(SIZE) as pool:
            list(pool.map(lambda node: node.start(*node.options), self.nodes))
        for node in self.nodes:
            first = node is self.nodes[0]
            with node.connect() as connection:
                connection.cmd_query(f"SET GLOBAL group_replication_bootstrap_group = {int(first)}")
                connection.cmd_query("START GROUP_REPLICATION USER = 'root', PASSWORD = 'p'")
                connection.cmd_query("SET GLOBAL group_replication_bootstrap_group = 0")
        self.wait_for(SIZE)

    def wait_for(self, online: int) -> None:
        """Wait until so many members are there and agree on the primaries."""
        primaries = min(self.primaries, online)
        expected = ["PRIMARY"] * primaries + ["SECONDARY"] * (online - primaries)

        def roles(node: PrivateServer) -> list[str]:
            return sorted(role for _, state, role in self._members(node) if state == "ONLINE")

        alive = [node for node in self.nodes if node.running()]
        wait_until(lambda: all(roles(node) == expected for node in alive))
        with self.by_role("PRIMARY").connect() as connection:
            wait_until(lambda: connection.info_query("SELECT @@super_read_only") == (0,))

    def _members(self, node: PrivateServer) -> list[tuple]:
        """Return what a member says of all: port, state and role."""
        with node.connect() as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT member_port, member_state, member_role "
                "FROM performance_schema.replication_group_members"
            )
            return cursor.fetchall()

    def by_role(self, role: str) -> PrivateServer:
        members = self._members(next(node for node in self.nodes if node.running()))
        port = next(port for port, state, its in members if (state, its) == ("ONLINE", role))
        return next(node for node in self.nodes if node.port == port)

    def wait_until_applied(self) -> None:
        """Wait until each member has what the others have committed."""
        nodes = [node for node in self.nodes if node.running()]
        for source in nodes:
            with source.connect() as connection:
                (committed,) = connection.info_query("SELECT @@GLOBAL.gtid_executed")
            for node in nodes:
                with node.connect() as connection, connection.cursor() as cursor:
                    cursor.execute("SELECT WAIT_FOR_EXECUTED_GTID_SET(%s, 60)", (committed,))
                    assert cursor.fetchone() == (0,)


def count(server: PrivateServer) -> tuple[int, int]:
    """Return how many users a server has, and how many different ids."""
    with server.connect(database="ALX_prodev") as connection:
        return connection.info_query("SELECT COUNT(*), COUNT(DISTINCT user_id) FROM user_data")


def assert_both_are_lost(rows, process: subprocess.Popen) -> None:
    """See that a stream raises, and that an import ends with one line that says what to do."""
    with pytest.raises(mysql.connector.Error):
        sum(1 for _ in rows)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors.count("\n")) == (1, 1), errors
    assert "The connection was lost before the end: run it again." in errors


def dies_at_work(cluster: Cluster, node: PrivateServer, start, file) -> int:
    """Kill the node that the variables lead to in a stream and an import; return what was there."""
    with node.connect(database="ALX_prodev") as connection:
        connection.cmd_query("DELETE FROM user_data WHERE user_id >= '8'")
        (left,) = connection.info_query("SELECT COUNT(*) FROM user_data")
    cluster.wait_until_applied()
    rows = stream_users()
    next(rows)
    process = start("seed.py", file)
    with node.connect() as connection:
        progress = "SELECT COALESCE(MAX(trx_rows_modified), 0) FROM information_schema.innodb_trx"
        wait_until(lambda: connection.info_query(progress)[0] >= 3000, process, INNODB_TRX_PAUSE)
    node.kill()
    assert_both_are_lost(rows, process)
    return left
