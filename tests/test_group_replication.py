"""Past one machine: the same code on MySQL Group Replication, three members on loopback ports."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import mysql.connector
import pytest
from conftest import ThrowAwayServer, wait_until
from test_faults import INNODB_TRX_PAUSE
from test_streams import GENERATORS

from made_users import write_csv
from mysql_server import PrivateServer, Program, free_port

MEMBERS = 3
STATES = "SELECT member_port, member_state, member_role FROM performance_schema."
STATES += "replication_group_members"


class Group:
    """A single-primary group of private servers."""

    def __init__(self, folder) -> None:
        addresses = [f"127.0.0.1:{free_port()}" for _ in range(MEMBERS)]
        name = str(uuid.uuid4())
        self.members = []
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
            ]
            self.members.append(server)

    def start(self) -> None:
        with ThreadPoolExecutor(MEMBERS) as pool:
            list(pool.map(lambda member: member.start(*member.options), self.members))
        for member in self.members:
            first = member is self.members[0]
            with member.connect() as connection:
                connection.cmd_query(f"SET GLOBAL group_replication_bootstrap_group = {int(first)}")
                connection.cmd_query("START GROUP_REPLICATION USER = 'root', PASSWORD = ''")
                connection.cmd_query("SET GLOBAL group_replication_bootstrap_group = 0")
        self.wait_for(MEMBERS)

    def wait_for(self, online: int) -> None:
        """Wait until so many members are there and agree on a primary."""
        end = time.monotonic() + 120
        while True:
            states = self.states()
            if [state for _, state, _ in states] == ["ONLINE"] * online:
                roles = [role for _, _, role in states]
                if roles.count("PRIMARY") == 1:
                    return
            assert time.monotonic() < end, states
            time.sleep(0.2)

    def states(self) -> list[tuple]:
        """Return what the last member that runs says of all."""
        member = [member for member in self.members if member.running()][-1]
        with member.connect() as connection, connection.cursor() as cursor:
            cursor.execute(STATES)
            return cursor.fetchall()

    def by_role(self, role: str) -> PrivateServer:
        port = next(port for port, state, its in self.states() if (state, its) == ("ONLINE", role))
        return next(member for member in self.members if member.port == port)

    def stop(self) -> None:
        for member in self.members:
            member.kill()


@pytest.fixture(scope="module")
def group(private_server, tmp_path_factory):
    if Program.on_path().family != "mysql":
        pytest.skip("needs MySQL's mysqld on PATH: MariaDB has no Group Replication")
    group = Group(tmp_path_factory.mktemp("group"))
    try:
        group.start()
        yield group
    finally:
        group.stop()


@pytest.fixture
def at(monkeypatch):
    """A function that leads seed.py to a server: nothing else changes."""

    def at(server: PrivateServer) -> PrivateServer:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        return server

    return at


def count(server: PrivateServer) -> tuple[int, int]:
    with server.connect(database="ALX_prodev") as connection:
        return connection.info_query("SELECT COUNT(*), COUNT(DISTINCT user_id) FROM user_data")


def wait_until_applied(group: Group, source: PrivateServer) -> None:
    """Wait until every member has what the source has committed."""
    with source.connect() as connection:
        (committed,) = connection.info_query("SELECT @@GLOBAL.gtid_executed")
    for member in group.members:
        if member.running():
            with member.connect() as connection, connection.cursor() as cursor:
                cursor.execute("SELECT WAIT_FOR_EXECUTED_GTID_SET(%s, 60)", (committed,))
                assert cursor.fetchone() == (0,)


def test_seed_read_and_fail_over(group, at, run, project, tmp_path):
    import seed

    file = tmp_path / "users.csv"
    with open(file, "w", encoding="utf-8", newline="") as text:
        write_csv(text, 200_000)

    # Seed through the primary, read from a secondary.
    primary = at(group.by_role("PRIMARY"))
    assert run("seed.py", file).stdout.endswith("\n200000 users inserted, 0 already there\n")
    wait_until_applied(group, primary)
    secondary = at(group.by_role("SECONDARY"))
    assert count(secondary) == (200_000, 200_000)
    assert sum(1 for _ in GENERATORS["stream_users"]()) == 200_000
    assert sum(len(page) for page in GENERATORS["lazy_pagination"]()) == 200_000
    rows = GENERATORS["stream_users"]()
    next(rows)
    rows.close()

    # A secondary is read-only: one clear line.
    done = run("seed.py", file)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert "read-only" in done.stderr
    assert (
        "That server takes no writes: set MYSQL_HOST and MYSQL_PORT to one that does."
        in done.stderr
    )
    assert f"at 127.0.0.1:{secondary.port}" in done.stderr

    # The primary dies while a stream from it and an import into it are running.
    at(primary)
    with seed.connect_to_prodev() as connection:
        connection.cmd_query("DELETE FROM user_data WHERE user_id >= '8'")
        (left,) = connection.info_query("SELECT COUNT(*) FROM user_data")
    wait_until_applied(group, primary)
    rows = GENERATORS["stream_users"]()
    next(rows)
    process = subprocess.Popen(
        [sys.executable, "seed.py", str(file)],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )
    with primary.connect() as connection:
        progress = "SELECT COALESCE(MAX(trx_rows_modified), 0) FROM information_schema.innodb_trx"
        wait_until(lambda: connection.info_query(progress)[0] >= 3000, process, INNODB_TRX_PAUSE)
    primary.kill()
    with pytest.raises(mysql.connector.Error):
        sum(1 for _ in rows)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.count("\n") == 1, errors
    assert "The connection was lost before the end: run it again." in errors

    # The new primary has nothing of that import, and completes it.
    group.wait_for(MEMBERS - 1)
    new_primary = at(group.by_role("PRIMARY"))
    assert new_primary is not primary
    assert count(new_primary) == (left, left)
    assert run("seed.py", file).stdout.endswith(
        f"\n{200_000 - left} users inserted, {left} already there\n"
    )
    assert count(new_primary) == (200_000, 200_000)
    assert sum(1 for _ in GENERATORS["stream_users"]()) == 200_000
