"""Past one machine: the same code on a cluster of three servers, Galera or a MySQL group."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import mysql.connector
import pytest
from clusters import KIND, SIZE

import seed
from helpers import (
    ALL_USERS,
    GENERATORS,
    INNODB_TRX_PAUSE,
    INSERT,
    SCRIPTS,
    STREAMS,
    WAITING,
    WIDE,
    Done,
    ThrowAwayServer,
    counting,
    counts,
    first_users,
    imports_at_once,
    refused,
    run,
    stream,
    wait_until,
)

pytestmark = pytest.mark.cluster


def test_what_is_seeded_at_one_node_is_read_at_another(cluster, at, csv_file):
    one, other, _ = cluster.nodes
    one.rows("DROP DATABASE ALX_prodev")
    assert counts(run("seed.py", csv_file(20_000))) == (20_000, 0)
    assert cluster.counts() == [(20_000, 20_000)] * SIZE
    expected = [run(script, *ALL_USERS[script]) for script in SCRIPTS]
    assert [(done.status, done.errors) for done in expected] == [(0, "")] * len(SCRIPTS)
    at(other)
    assert [run(script, *ALL_USERS[script]) for script in SCRIPTS] == expected


def test_a_stop_early_at_any_node_reads_no_more_and_leaves_nothing(wide_cluster, at):
    for node in map(at, wide_cluster.nodes):
        for name, generator in GENERATORS.items():
            rows = generator()
            with counting(node) as count:
                next(rows)
                rows.close()
            assert (count.selects, count.kills) == (1, int(name in STREAMS))
            if name != "stream_user_ages":  # all of these fit into a socket's buffers
                assert count.rows_read < WIDE * 0.9
        assert node.is_left_alone()


def test_imports_at_several_nodes_at_once(cluster, csv_file):
    files = [csv_file(20_000, f"{order}.csv", order) for order in range(SIZE + 1)]
    found = imports_at_once(files, [*cluster.nodes, cluster.nodes[0]])
    assert sum(inserted for inserted, _ in found) == 20_000
    assert {sum(each) for each in found} == {20_000}
    assert cluster.counts() == [(20_000, 20_000)] * SIZE


@pytest.mark.parametrize(("count", "number"), KIND.conflicts)
def test_an_import_that_another_node_undoes_is_tried_again(cluster, monkeypatch, count, number):
    """Another one has just committed a user of the same file, as the last of so many."""
    errors = []
    import_once = seed.import_once

    def noting_errors(*arguments):
        try:
            return import_once(*arguments)
        except mysql.connector.Error as error:
            errors.append(error.errno)
            raise

    def insert_others(users, _):
        yield from users
        if not errors:
            others = [*first_users(999 + count)[1000:], (first_users(1)[0][0], "Ann", "a@b", 1)]
            with other.cursor() as cursor:
                cursor.executemany(INSERT, others)
            if count == 1:
                cluster.wait_until_applied()

    monkeypatch.setattr(seed, "import_once", noting_errors)
    monkeypatch.setattr(seed, "prefetch", iter)  # so what ends the stage is next to the COMMIT
    with seed.connect_to_prodev() as connection, cluster.nodes[1].connect() as other:
        other.database = seed.DATABASE
        assert seed.insert_data(connection, seed.CSV_FILE, insert_others) == (999, 1)
    assert errors[0] == number
    assert cluster.counts() == [(999 + count, 999 + count)] * SIZE


@pytest.mark.parametrize(("limit", "value", "number"), KIND.limits)
def test_an_import_over_the_size_of_a_transaction(cluster, limit, value, number):
    node = cluster.nodes[0]
    [(before,)] = node.rows(f"SELECT @@GLOBAL.{limit}")
    node.rows(f"SET GLOBAL {limit} = {value}")
    done = run("seed.py")
    node.rows(f"SET GLOBAL {limit} = {before}")
    assert refused(done).endswith(f"(error {number}).")
    assert cluster.counts() == [(0, 0)] * SIZE


@contextmanager
def held_import(start, file, nodes: list) -> Iterator[tuple[subprocess.Popen, ThrowAwayServer]]:
    """Start an import that waits for a user of its third batch; give it, and the node it is at.

    Another transaction has inserted that user at each node, and is at work until after the block.
    """
    with ExitStack() as stack:
        for node in nodes:
            other = stack.enter_context(node.connect(database=seed.DATABASE, autocommit=False))
            stack.enter_context(other.cursor()).execute(INSERT, first_users(2501)[-1])

        def importing() -> list[ThrowAwayServer]:
            return [node for node in nodes if node.rows(WAITING)]

        process = start("seed.py", file)
        wait_until(importing, process, INNODB_TRX_PAUSE)
        yield process, importing()[0]


def assert_lost(process: subprocess.Popen) -> None:
    """See that an import ends with one line that says what to do."""
    _, errors = process.communicate(timeout=60)
    line = refused(Done(process.returncode, "", errors))
    assert line.endswith("Run it again: an import is whole or nothing.")


def test_a_node_that_dies_and_one_that_refuses(wide_cluster, at, start, csv_file):
    cluster, node = wide_cluster, wide_cluster.nodes[0]
    file = csv_file(3000)
    assert run("seed.py").status == 0  # the first 1,000 of them
    cluster.one_writer()
    rows = stream.stream_users()
    next(rows)
    with held_import(start, file, [node]) as (process, _):
        node.kill()
        with pytest.raises(mysql.connector.Error):
            sum(1 for _ in rows)
        assert_lost(process)

    # Another one has nothing of that import, and completes it.
    cluster.wait_for(SIZE - 1)
    at(cluster.writers()[0])
    assert cluster.counts() == [(WIDE + 1000, WIDE + 1000)] * (SIZE - 1)
    assert counts(run("seed.py", file)) == (2000, 1000)
    assert cluster.counts() == [(WIDE + 3000, WIDE + 3000)] * (SIZE - 1)
    read = {script: run(script, *ALL_USERS[script]) for script in SCRIPTS}
    assert read[SCRIPTS[0]].output.count("\n") == WIDE + 3000

    at(cluster.refusing())
    for script in cluster.refused:
        assert refused(run(script)).endswith(cluster.refusal)
    for script in {*SCRIPTS} - {*cluster.refused}:
        assert run(script, *ALL_USERS[script]) == read[script]
