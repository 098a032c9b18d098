"""seed.py: settings, schema and CSV import, on a real server."""

from __future__ import annotations

import uuid
from itertools import islice

import mysql.connector
import pytest
from test_streams import Counting

from made_users import made_users

USERS = list(islice(made_users(), 3))


def write(path, text: str, **options):
    with open(path, "w", encoding="utf-8", newline="", **options) as file:
        file.write(text)
    return path


def csv_text(columns=("user_id", "name", "email", "age"), users=USERS, end="\n") -> str:
    places = [("user_id", "name", "email", "age").index(column) for column in columns]
    rows = [columns, *([user[place] for place in places] for user in users)]
    return "".join(",".join(f'"{field}"' for field in row) + end for row in rows)


@pytest.fixture
def table(query):
    """A function that returns the users in the table, in order of user_id."""
    statement = "SELECT user_id, name, email, age FROM user_data ORDER BY user_id"
    return lambda: [(*row[:3], int(row[3])) for row in query(statement)]


def test_the_schema_is_the_contract(connection, seed, query, capsys):
    columns = query(
        "SELECT column_name, column_type, is_nullable, character_set_name "
        "FROM information_schema.columns WHERE table_schema = DATABASE() "
        "AND table_name = 'user_data' ORDER BY ordinal_position"
    )
    assert columns == [
        ("user_id", "varchar(36)", "NO", "utf8mb4"),
        ("name", "varchar(255)", "NO", "utf8mb4"),
        ("email", "varchar(255)", "NO", "utf8mb4"),
        ("age", "decimal(3,0)", "NO", None),
    ]
    indexes = query(
        "SELECT index_name, column_name, non_unique FROM information_schema.statistics "
        "WHERE table_schema = DATABASE() AND table_name = 'user_data' ORDER BY index_name"
    )
    assert indexes == [("idx_user_id", "user_id", 1), ("PRIMARY", "user_id", 0)]
    charset = query(
        "SELECT default_character_set_name FROM information_schema.schemata "
        "WHERE schema_name = DATABASE()"
    )
    assert charset == [("utf8mb4",)]


def test_only_create_table_prints(seed, capsys):
    with seed.connect_db() as connection:
        seed.create_database(connection)
        seed.create_database(connection)
    with seed.connect_to_prodev() as connection:
        assert capsys.readouterr().out == ""
        seed.create_table(connection)
        seed.create_table(connection)
        assert capsys.readouterr().out == "Table user_data created successfully\n" * 2
        seed.insert_data(connection, seed.CSV_FILE)
    assert capsys.readouterr().out == ""


def test_seeding_is_one_connection_and_creates_only_what_is_not_there(
    no_database, private_server, run
):
    """Behind a router a second connection may lead elsewhere; a CREATE rolls back an import."""
    for created in (["CREATE DATABASE", "CREATE TABLE IF"], []):
        with Counting(private_server) as count:
            assert run("seed.py").returncode == 0
        assert count.connections == 1
        statements = [" ".join(text.split()) for text in count.queries]
        assert [text[:15].strip() for text in statements if "CREATE" in text] == created


def test_a_second_import_adds_nothing(connection, seed, query, table):
    assert seed.insert_data(connection, seed.CSV_FILE) == (1000, 0)
    assert seed.insert_data(connection, str(seed.CSV_FILE)) == (0, 1000)
    assert table() == sorted(islice(made_users(), 1000))


def test_a_user_who_is_there_is_left_unchanged(connection, seed, tmp_path, table):
    seed.insert_data(connection, write(tmp_path / "users.csv", csv_text()))
    changed = [
        (USERS[0][0], "Changed", "changed@example.com", 1),
        next(islice(made_users(), 9, 10)),
    ]
    file = write(tmp_path / "changed.csv", csv_text(users=changed))
    assert seed.insert_data(connection, file) == (1, 1)
    assert table() == sorted([*USERS, changed[1]])


@pytest.mark.parametrize(
    "text",
    [
        csv_text(),
        csv_text(("age", "email", "user_id", "name")),
        "\ufeff" + csv_text(),
        csv_text(end="\r\n"),
        csv_text().rstrip("\n"),
        "\ufeff" + csv_text(("name", "user_id", "age", "email"), end="\r\n"),
    ],
    ids=["plain", "other order", "BOM", "CRLF", "no last line end", "all at once"],
)
def test_csv_dialects(connection, seed, tmp_path, table, text):
    assert seed.insert_data(connection, write(tmp_path / "users.csv", text)) == (3, 0)
    assert table() == USERS


def test_without_ids_a_second_run_finds_the_same_users(connection, seed, tmp_path, table):
    file = write(tmp_path / "users.csv", csv_text(("name", "email", "age")))
    assert seed.insert_data(connection, file) == (3, 0)
    assert seed.insert_data(connection, file) == (0, 3)
    assert {user[1:] for user in table()} == {user[1:] for user in USERS}
    assert all(uuid.UUID(user[0]).version == 5 for user in table())


def test_text_of_every_kind_comes_back_unchanged(connection, seed, tmp_path, table):
    names = ["O'Brien, Jr.", "😀 李娜", "back\\slash", "%s %(name)s", "; DROP TABLE user_data; --"]
    names += ["two\r\nlines", "two\nlines", "n" * 255]
    users = [(str(uuid.UUID(int=n)), name, "a@example.com", n) for n, name in enumerate(names)]
    seed.insert_data(connection, write(tmp_path / "users.csv", csv_text(users=users)))
    assert table() == users


def test_a_file_with_a_bad_row_inserts_nothing(connection, seed, tmp_path, table):
    users = [*islice(made_users(), 3000), (USERS[0][0], "Ann", "ann@example.com", "old")]
    file = write(tmp_path / "users.csv", csv_text(users=users))
    with pytest.raises(ValueError, match=r"users\.csv:3002: age 'old'"):
        seed.insert_data(connection, file)
    connection.commit()  # nothing is left pending either
    assert table() == []


def test_the_first_error_is_the_one_that_is_raised(connection, seed, monkeypatch):
    def read_users(_):
        with seed.connect_db() as other:
            other.cmd_query(f"KILL {connection.connection_id}")
        raise ValueError("a bad row")
        yield

    monkeypatch.setattr(seed, "read_users", read_users)
    with pytest.raises(ValueError, match="a bad row"):
        seed.insert_data(connection, seed.CSV_FILE)


def test_an_import_does_not_take_back_what_the_caller_did(connection, seed, tmp_path, table):
    connection.autocommit = False
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO user_data VALUES (%s, %s, %s, %s)", USERS[0])
    with pytest.raises(ValueError, match="the file is empty"):
        seed.insert_data(connection, write(tmp_path / "empty.csv", ""))
    connection.commit()
    assert table() == USERS[:1]


def test_the_reader_holds_one_row(seed, tmp_path):
    file = write(tmp_path / "users.csv", csv_text() + '"","Bad","row","at the end"\n')
    with seed.open_csv(file) as lines:
        users = seed.read_users(lines)
        assert [next(users) for _ in USERS] == USERS


def test_functions_raise_the_errors_of_the_server(seed):
    with pytest.raises(mysql.connector.Error, match="Unknown database"):
        seed.connect_to_prodev()
