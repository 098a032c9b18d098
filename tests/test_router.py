"""Past one machine: the same code through a router, HAProxy in TCP mode, before a cluster."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import mysql.connector
import pytest
from clusters import SIZE
from conftest import WIDE
from test_clusters import assert_lost, held_import
from test_streams import GENERATORS, stop_by_close, stream_users

from helpers import SCRIPTS, run, wait_until

HAPROXY = shutil.which("haproxy", path="/usr/sbin:/usr/bin")
pytestmark = pytest.mark.cluster
CONFIGURATION = """
listen servers
    mode tcp
    bind fd@{number}
    timeout connect 2s
    timeout client {seconds}s
    timeout server {seconds}s
    balance roundrobin
    default-server check inter 200ms fall 1
    server one {0.host}:{0.port}
    server two {1.host}:{1.port}
    server three {2.host}:{2.port}
"""


@pytest.fixture
def router(wide_cluster, request, tmp_path, monkeypatch):
    """The cluster, with WIDE users, behind a router; a parameter is its time-out in seconds."""
    if HAPROXY is None:
        pytest.skip("needs HAProxy: apt-get install haproxy")
    file = tmp_path / "haproxy.cfg"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number, seconds = listener.fileno(), getattr(request, "param", 60)
        file.write_text(CONFIGURATION.format(*wide_cluster.nodes, number=number, seconds=seconds))
        process = subprocess.Popen([HAPROXY, "-db", "-q", "-f", file], pass_fds=[number])
        monkeypatch.setenv("MYSQL_PORT", str(listener.getsockname()[1]))
        yield wide_cluster
    process.kill()
    process.wait()


def test_seed_and_all_scripts(router):
    for _ in range(SIZE + 1):  # at whichever node
        assert run("seed.py").status == 0
        assert router.counts() == [(WIDE + 1000, WIDE + 1000)] * SIZE
    for script in SCRIPTS:
        [done] = {run(script) for _ in range(SIZE + 1)}
        assert (done.status, done.errors, done.output != "") == (0, "", True)


def test_a_stop_early_cancels_nobodys_query(router):
    with ThreadPoolExecutor(5 * SIZE) as pool:
        results = [pool.submit(node.rows, "SELECT SLEEP(60)") for node in router.nodes * 5]
        for node in router.nodes:
            wait_until(lambda node=node: str(node.processes()).count("SLEEP") == 5)
        for generator in GENERATORS.values():
            stop_by_close(generator())
        assert not any(result.done() for result in results)
        for node in router.nodes:
            node.kill_connections()
    assert all(node.is_left_alone() for node in router.nodes)


@pytest.mark.parametrize("router", [5], indirect=True)
def test_a_pause_over_the_routers_time_out_raises(router):
    rows = stream_users()
    next(rows)
    time.sleep(6.5)
    with pytest.raises(mysql.connector.Error, match="(?i)lost"):
        sum(1 for _ in rows)


def test_a_server_that_dies_behind_the_router(router, start, csv_file):
    file = csv_file(3000)
    streams = [stream_users() for _ in router.nodes]
    assert all(map(next, streams))  # each is led to a node of its own
    with held_import(start, file, router.nodes) as (process, node):
        node.kill()
        assert_lost(process)
    counts = []
    for rows in streams:
        with contextlib.suppress(mysql.connector.Error):
            counts.append(1 + sum(1 for _ in rows))
    assert counts == [WIDE] * (SIZE - 1)
    # Once the others agree that it is dead, they have nothing of that import, and complete it.
    router.wait_for(SIZE - 1)
    assert run("seed.py", file).output.endswith("\n3000 users inserted, 0 already there\n")
