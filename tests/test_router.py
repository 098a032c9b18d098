"""Past one machine: the same code through a router, HAProxy in TCP mode, before a cluster."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess

import mysql.connector
import pytest
from clusters import SIZE
from test_clusters import assert_lost, held_import

from helpers import SCRIPTS, WIDE, counts, run, stream

HAPROXY = shutil.which("haproxy", path="/usr/sbin:/usr/bin")
pytestmark = pytest.mark.cluster
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


@pytest.fixture
def router(wide_cluster, tmp_path, monkeypatch):
    """The cluster, with WIDE users, behind a router."""
    if HAPROXY is None:
        pytest.skip("needs HAProxy: apt-get install haproxy")
    file = tmp_path / "haproxy.cfg"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.fileno()
        file.write_text(CONFIGURATION.format(*wide_cluster.nodes, number=number))
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


def test_a_server_that_dies_behind_the_router(router, start, csv_file):
    file = csv_file(3000)
    streams = [stream.stream_users() for _ in router.nodes]
    assert all(map(next, streams))  # each is led to a node of its own
    with held_import(start, file, router.nodes) as (process, node):
        node.kill()
        assert_lost(process)
    found = []
    for rows in streams:
        with contextlib.suppress(mysql.connector.Error):
            found.append(1 + sum(1 for _ in rows))
    assert found == [WIDE] * (SIZE - 1)
    # Once the others agree that it is dead, they have nothing of that import, and complete it.
    router.wait_for(SIZE - 1)
    assert counts(run("seed.py", file)) == (3000, 0)
