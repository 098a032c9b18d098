"""Unit tests as exercises write them: a MagicMock in place of seed.connect_to_prodev()."""

from __future__ import annotations

import importlib
from unittest.mock import MagicMock, patch

import pytest

USERS = [
    {"user_id": "1", "name": "Ann", "email": "ann@example.com", "age": 30},
    {"user_id": "2", "name": "Ben", "email": "ben@example.com", "age": 25},
    {"user_id": "3", "name": "Cem", "email": "cem@example.com", "age": 26},
]


@pytest.fixture
def connect():
    """The mock in place of seed.connect_to_prodev()."""
    with patch("seed.connect_to_prodev") as connect:
        yield connect


@pytest.fixture
def connection(connect) -> MagicMock:
    """The mock connection that the generators are given."""
    return connect.return_value


@pytest.fixture
def cursor(connection) -> MagicMock:
    return connection.cursor.return_value


def script(name: str):
    return importlib.import_module(name)


def test_stream_users(cursor):
    cursor.fetchone.side_effect = [*USERS, None]
    assert list(script("0-stream_users").stream_users()) == USERS


def test_stream_users_of_an_empty_table(cursor):
    cursor.fetchone.return_value = None
    assert list(script("0-stream_users").stream_users()) == []


def test_stream_users_in_batches(cursor):
    cursor.fetchmany.side_effect = [USERS[:2], USERS[2:], []]
    batches = script("1-batch_processing").stream_users_in_batches(2)
    assert list(batches) == [USERS[:2], USERS[2:]]
    cursor.fetchmany.assert_called_with(2)


def test_batch_processing_prints_the_users_over_25(cursor, capsys):
    cursor.fetchmany.side_effect = [USERS[:2], USERS[2:], []]
    assert script("1-batch_processing").batch_processing(2) is None
    assert capsys.readouterr().out == f"{USERS[0]}\n{USERS[2]}\n"


def test_paginate_users(cursor):
    cursor.fetchall.return_value = USERS[:2]
    assert script("2-lazy_paginate").paginate_users(2, 0) == USERS[:2]


def test_lazy_pagination_fetches_a_page_when_it_is_asked_for(cursor):
    cursor.fetchall.side_effect = [USERS[:2], USERS[2:], []]
    pages = script("2-lazy_paginate").lazy_pagination(2)
    assert cursor.fetchall.call_count == 0
    assert next(pages) == USERS[:2]
    assert cursor.fetchall.call_count == 1
    assert list(pages) == [USERS[2:]]


def test_stream_user_ages(cursor):
    cursor.fetchone.side_effect = [(30,), (25,), None]
    assert list(script("4-stream_ages").stream_user_ages()) == [30, 25]


def test_calculate_average_age(cursor):
    cursor.fetchone.side_effect = [(30,), (25,), (26,), None]
    assert script("4-stream_ages").calculate_average_age() == 27


def test_the_average_age_of_nobody_is_0(cursor):
    cursor.fetchone.return_value = None
    assert script("4-stream_ages").calculate_average_age() == 0


GENERATORS = [
    ("0-stream_users", "stream_users", ()),
    ("1-batch_processing", "stream_users_in_batches", (2,)),
    ("2-lazy_paginate", "lazy_pagination", (2,)),
    ("4-stream_ages", "stream_user_ages", ()),
]


@pytest.mark.parametrize(("name", "function", "arguments"), GENERATORS)
def test_the_one_connection_is_closed_when_the_generator_is(
    connect, connection, cursor, name, function, arguments
):
    cursor.fetchone.return_value = (30,)
    cursor.fetchmany.return_value = cursor.fetchall.return_value = USERS
    generator = getattr(script(name), function)(*arguments)
    next(generator)
    connection.close.assert_not_called()
    generator.close()
    connection.close.assert_called_once_with()
    connect.assert_called_once_with()
