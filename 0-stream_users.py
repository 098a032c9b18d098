#!/usr/bin/env python3
"""Stream users from the database one by one: the first user arrives before the last one is read."""

import sys
import types
from collections.abc import Iterator
from itertools import islice
from typing import Any

import seed


def stream_users() -> Iterator[dict[str, Any]]:
    """Yield every user as a dictionary (user_id, name, email, age), in order of user_id.

    Sends one query on one connection, which is closed when the stream ends or is left. Memory holds
    the 100 users that are read ahead, whatever the size of the table. Raises mysql.connector.Error
    if the stream cannot start or is cut short, and seed.InputError for a row that is not a user.
    """
    with seed.open_stream(cursor_class=seed.UserCursor) as cursor:
        cursor.execute(seed.SELECT_USERS + " ORDER BY user_id")
        while (user := cursor.fetchone()) is not None:
            yield user


def main() -> None:
    """Print the first COUNT users."""
    count = seed.size_argument(__doc__, "COUNT", 6, "how many users to print")
    for user in islice(stream_users(), count):
        print(user)


# A learner may skip this. It makes the module itself callable, because the course runs
# `__import__("0-stream_users")()`.


class CallableModule(types.ModuleType):
    def __call__(self) -> Iterator[dict[str, Any]]:
        return stream_users()


module = sys.modules.get(__name__)
if getattr(module, "__dict__", None) is globals():  # some loaders leave it out of sys.modules
    module.__class__ = CallableModule

if __name__ == "__main__":
    seed.run(main)
