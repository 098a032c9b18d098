"""Past one machine: the same code through a router, HAProxy in TCP mode, in front of a cluster."""

from __future__ import annotations

import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import mysql.connector
import pytest
from clusters import SIZE, assert_both_are_lost
from conftest import wait_until
from test_integration import SCRIPTS
from test_network import running
from test_streams import GENERATORS, connections_left, stream_users

from mysql_server import free_port

TIMEOUT = 5  # seconds in which nothing goes through a connection
CONFIGURATION = """
defaults
    mode tcp
    balance roundrobin
    timeout connect 2s
    option redispatch
    timeout client {timeout}s
    timeout server {timeout}s
    default-server check inter 200ms fall 1 on-marked-down shutdown-sessions
listen servers
    bind 127.0.0.1:{port}
"""


@pytest.fixture
def router(private_server, request, tmp_path, monkeypatch):
    """The cluster behind a router that leads each connection to the next node, as the variables."""
    haproxy = shutil.which("haproxy", path="/usr/sbin:/usr/bin")
    if haproxy is None:
        pytest.skip("needs HAProxy: apt-get install haproxy")
    empty_cluster = request.getfixturevalue("empty_cluster")
    port = free_port()
    text = CONFIGURATION.format(port=port, timeout=TIMEOUT)
    for number, node in enumerate(empty_cluster.nodes):
        text += f"    server node{number} 127.0.0.1:{node.port}\n"
    file = tmp_path / "haproxy.cfg"
    file.write_text(text)
    process = subprocess.Popen([haproxy, "-db", "-q", "-f", str(file)])
    monkeypatch.setenv("MYSQL_PORT", str(port))

    def leads() -> bool:
        try:
            empty_cluster.nodes[0].connect(port=port).close()
        except mysql.connector.Error:
            return False
        return True

    try:
        wait_until(leads)
        yield empty_cluster
    finally:
        process.kill()
        process.wait()


def test_seed_and_all_scripts(router, run):
    for _ in range(4):  # from whichever node
        done = run("seed.py")
        assert (done.returncode, done.stderr) == (0, "")
        router.wait_until_applied()
    for script in SCRIPTS:
        outputs = {run(script).stdout for _ in range(4)}
        assert len(outputs) == 1
        assert outputs != {""}


def test_a_stop_early_cancels_nobodys_query_but_its_own(router, run, shuffled_file):
    assert run("seed.py", shuffled_file(100_000, 0)).returncode == 0
    router.wait_until_applied()
    connections = [node.connect() for node in router.nodes for _ in range(5)]
    with ThreadPoolExecutor(len(connections)) as pool:
        results = [pool.submit(each.info_query, "SELECT SLEEP(8)") for each in connections]
        for node in router.nodes:
            wait_until(running(node, "SELECT SLEEP(8)"))
        for generator in GENERATORS.values():
            rows = generator()
            next(rows)
            rows.close()
        assert not any(result.done() for result in results)
        assert [result.result() for result in results] == [(0,)] * len(results)
    for connection in connections:
        connection.close()
    assert [connections_left(node) for node in router.nodes] == [[]] * 3


def test_a_pause_over_the_routers_time_out_raises(router, run, shuffled_file):
    assert run("seed.py", shuffled_file(200_000, 0)).returncode == 0
    router.wait_until_applied()
    rows = stream_users()
    next(rows)
    time.sleep(TIMEOUT + 1.5)
    with pytest.raises(mysql.connector.Error, match="(?i)lost"):
        sum(1 for _ in rows)


def test_a_server_that_dies_behind_the_router(router, run, start, shuffled_file):
    assert run("seed.py", shuffled_file(200_000, 0)).returncode == 0
    router.wait_until_applied()
    file = shuffled_file(250_000, 1)
    process = start("seed.py", file)
    importing = []  # the node that the import has been led to

    def begun() -> bool:
        importing[:] = [node for node in router.nodes if running(node, "INSERT INTO user_da")()]
        return len(importing) == 1

    wait_until(begun, process)
    [node] = importing
    rows = stream_users()
    next(rows)
    while not running(node, "FROM user_data")():  # until a stream is led there as well
        assert process.poll() is None
        rows.close()
        rows = stream_users()
        next(rows)
    node.kill()
    assert_both_are_lost(rows, process)
    # Once the others agree that it is dead, they have nothing of that import, and complete it.
    router.wait_for(SIZE - 1)
    again = run("seed.py", file)
    assert again.stdout.endswith("\n50000 users inserted, 200000 already there\n"), again.stderr
