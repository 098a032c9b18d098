"""Past one machine: the same code on MySQL Group Replication, three members on loopback ports."""

from __future__ import annotations

import os
from contextlib import closing
from itertools import islice

import mysql.connector
import pytest
from clusters import SIZE, Group, count, dies_at_work
from test_streams import GENERATORS

from made_users import made_users, write_csv


@pytest.fixture
def group(family, tmp_path):
    if family != "mysql":
        pytest.skip("needs MySQL's mysqld on PATH: MariaDB has no Group Replication")
    with closing(Group(tmp_path)) as group:
        group.start()
        yield group


def test_seed_read_and_fail_over(group, at, run, start, tmp_path):

    file = tmp_path / "users.csv"
    with open(file, "w", encoding="utf-8", newline="") as text:
        write_csv(text, 100_000)

    # Seed through the primary, read from a secondary.
    primary = at(group.by_role("PRIMARY"))
    assert run("seed.py", file).stdout.endswith("\n100000 users inserted, 0 already there\n")
    group.wait_until_applied()
    secondary = at(group.by_role("SECONDARY"))
    assert count(secondary) == (100_000, 100_000)
    assert sum(1 for _ in GENERATORS["stream_users"]()) == 100_000
    assert sum(len(page) for page in GENERATORS["lazy_pagination"]()) == 100_000
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
    left = dies_at_work(group, at(primary), start, file)

    # The new primary has nothing of that import, and completes it.
    group.wait_for(SIZE - 1)
    new_primary = at(group.by_role("PRIMARY"))
    assert new_primary is not primary
    assert count(new_primary) == (left, left)
    assert run("seed.py", file).stdout.endswith(
        f"\n{100_000 - left} users inserted, {left} already there\n"
    )
    assert count(new_primary) == (100_000, 100_000)
    assert sum(1 for _ in GENERATORS["stream_users"]()) == 100_000


@pytest.fixture
def empty(family, request):
    if family != "mysql":
        pytest.skip("needs MySQL's mysqld on PATH: MariaDB has no Group Replication")
    return request.getfixturevalue("empty_cluster")


def test_imports_at_several_primaries_at_once(empty, run, shuffled_file, imports_at_once):
    assert run("seed.py", os.devnull).returncode == 1  # makes the table
    empty.wait_until_applied()
    counts = imports_at_once([shuffled_file(20_000, order) for order in range(3)], empty.nodes)
    assert sum(inserted for inserted, _ in counts) == 20_000
    assert {sum(each) for each in counts} == {20_000}
    empty.wait_until_applied()
    assert [count(node) for node in empty.nodes] == [(20_000, 20_000)] * 3


@pytest.mark.parametrize(("others", "number"), [(0, 1180), (20_000, 3101)])
def test_an_import_that_the_group_rolls_back_is_tried_again(
    empty, run, monkeypatch, others, number
):
    """Another primary has just committed a user of the same file.

    Here that is applied when the import commits, or the group refuses the import before, as it
    still has others to apply.
    """
    import seed

    one, other, _ = empty.nodes
    assert run("seed.py", os.devnull).returncode == 1  # makes the table
    empty.wait_until_applied()
    *rest, user = islice(made_users(), 1000, 1001 + others)
    user = (next(made_users())[0], *user[1:])
    errors = []
    insert_data_once = seed.insert_data_once

    def noting_errors(*arguments):
        try:
            return insert_data_once(*arguments)
        except mysql.connector.Error as error:
            errors.append(error.errno)
            raise

    monkeypatch.setattr(seed, "insert_data_once", noting_errors)
    with seed.connect_to_prodev() as connection, other.connect(database=seed.DATABASE) as elsewhere:

        def just_before_the_commit(rows: int, share: float) -> None:
            if not errors:
                insert = "INSERT INTO user_data VALUES (%s, %s, %s, %s)"
                elsewhere.start_transaction()
                with elsewhere.cursor() as cursor:
                    cursor.executemany(insert, [*rest, user])
                elsewhere.commit()
                if not others:
                    empty.wait_until_applied()

        assert seed.insert_data(connection, seed.CSV_FILE, just_before_the_commit) == (999, 1)
    assert errors[0] == number
    empty.wait_until_applied()
    assert [count(node) for node in empty.nodes] == [(1000 + others,) * 2] * 3


@pytest.mark.parametrize(
    ("limit", "value", "number", "hint"),
    [
        ("group_replication_transaction_size_limit", 20_000, 3100, "in parts, as the README says."),
        ("max_binlog_cache_size", 4096, 1197, "in parts, as the README says; else run it again."),
    ],
)
def test_an_import_over_the_size_of_a_transaction(empty, run, limit, value, number, hint):
    with empty.nodes[0].connect() as connection:
        (before,) = connection.info_query(f"SELECT @@GLOBAL.{limit}")
        connection.cmd_query(f"SET GLOBAL {limit} = {value}")
        line = run("seed.py").stderr
        connection.cmd_query(f"SET GLOBAL {limit} = {before}")
    assert line.count("\n") == 1
    assert f"(error {number}, as root at 127.0.0.1:{empty.nodes[0].port})" in line
    assert line.endswith(f"import the file {hint}\n")
    assert count(empty.nodes[0]) == (0, 0)
