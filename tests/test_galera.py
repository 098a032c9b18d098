"""Past one machine: the same code on a MariaDB Galera cluster, three nodes on loopback ports."""

from __future__ import annotations

import os

import pytest
from clusters import SIZE, count, dies_at_work
from conftest import wait_until
from test_integration import SCRIPTS
from test_streams import GENERATORS, Counting, connections_left

from made_users import made_users


@pytest.fixture
def empty(family, request):
    if family != "mariadb":
        pytest.skip("needs MariaDB on PATH: MySQL has no Galera")
    return request.getfixturevalue("empty_cluster")


def test_what_is_seeded_at_one_node_is_read_at_another(empty, at, run, shuffled_file):
    one, other, _ = empty.nodes
    done = run("seed.py", shuffled_file(100_000, 0))
    assert done.stdout.endswith("\n100000 users inserted, 0 already there\n"), done.stderr
    empty.wait_until_applied()
    expected = [run(script) for script in SCRIPTS]
    assert [done.returncode for done in expected] == [0] * 4
    at(other)
    assert [run(script).stdout for script in SCRIPTS] == [done.stdout for done in expected]
    for generator in GENERATORS.values():
        with Counting(other) as counting:
            rows = generator()
            next(rows)
            rows.close()
        assert counting.rows_read < 100_000 * 0.9
        assert connections_left(other) == []


def test_imports_at_several_nodes_at_once(empty, run, shuffled_file, imports_at_once):
    assert run("seed.py", os.devnull).returncode == 1  # makes the table
    empty.wait_until_applied()
    files = [shuffled_file(20_000, order) for order in range(4)]
    counts = imports_at_once(files, [*empty.nodes, empty.nodes[0]])
    assert sum(inserted for inserted, _ in counts) == 20_000
    assert {sum(each) for each in counts} == {20_000}
    empty.wait_until_applied()
    assert [count(node) for node in empty.nodes] == [(20_000, 20_000)] * 3


def test_an_import_that_another_node_undoes_is_tried_again(empty, run):
    import seed

    one, other, _ = empty.nodes
    assert run("seed.py", os.devnull).returncode == 1  # makes the table
    empty.wait_until_applied()
    batches = []

    def just_before_the_commit(rows: int, share: float) -> None:
        batches.append(rows)
        if len(batches) == 1:
            with other.connect(database=seed.DATABASE) as elsewhere, elsewhere.cursor() as cursor:
                insert = "INSERT INTO user_data VALUES (%s, %s, %s, %s)"
                cursor.execute(insert, next(made_users()))
            empty.wait_until_applied()

    with seed.connect_to_prodev() as connection:
        assert seed.insert_data(connection, seed.CSV_FILE, just_before_the_commit) == (999, 1)
    assert batches == [1000, 1000]
    empty.wait_until_applied()
    assert [count(node) for node in empty.nodes] == [(1000, 1000)] * 3


@pytest.mark.parametrize(
    ("limit", "value", "number"),
    [("wsrep_max_ws_rows", 100, 1180), ("wsrep_max_ws_size", 10_000, 1105)],
)
def test_an_import_over_the_size_of_a_transaction(empty, run, limit, value, number):
    with empty.nodes[0].connect() as connection:
        (before,) = connection.info_query(f"SELECT @@GLOBAL.{limit}")
        connection.cmd_query(f"SET GLOBAL {limit} = {value}")
        line = run("seed.py").stderr
        connection.cmd_query(f"SET GLOBAL {limit} = {before}")
    assert line.count("\n") == 1
    assert f"(error {number}, as root at 127.0.0.1:{empty.nodes[0].port})" in line
    assert "If this is about a size, import the file in parts, as the README says" in line
    assert count(empty.nodes[0]) == (0, 0)


def test_nodes_that_die(empty, at, run, start, shuffled_file):
    one, other, last = empty.nodes
    file = shuffled_file(100_000, 0)
    run("seed.py", file)
    empty.wait_until_applied()
    left = dies_at_work(empty, one, start, file)

    # Another one has nothing of that import, and completes it.
    at(other)
    empty.wait_for(SIZE - 1)
    assert count(other) == (left, left)
    assert run("seed.py", file).stdout.endswith(
        f"\n{100_000 - left} users inserted, {left} already there\n"
    )
    assert count(other) == (100_000, 100_000)

    # A second one dies: the last one is outside the cluster, as it cannot know who else lives.
    other.kill()
    at(last)
    wait_until(lambda: last.status("ready") == "OFF")
    for script in ["seed.py", *SCRIPTS]:
        done = run(script)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
        assert f"(error 1047, as root at 127.0.0.1:{last.port}). That server is" in done.stderr
