#!/usr/bin/env python3
"""Process users in batches: fetch many rows at a time, and print the users over 25."""

from collections.abc import Iterator
from typing import Any

import seed


def stream_users_in_batches(batch_size: int) -> Iterator[list[dict[str, Any]]]:
    """Yield all users as lists of batch_size dictionaries (user_id, name, email, age).

    The last list may be shorter. Sends one query on one connection, which is closed when the stream
    ends or is left. Memory holds two batches (the caller's and the next) and 100 users. Raises what
    stream_users() does, and TypeError or ValueError for a size that makes no sense.
    """
    seed.check_size("batch_size", batch_size)
    with seed.open_stream(cursor_class=seed.UserCursor) as cursor:
        cursor.execute(seed.SELECT_USERS + " ORDER BY user_id")
        while batch := cursor.fetchmany(batch_size):
            yield batch


def batch_processing(batch_size: int) -> None:
    """Print every user over 25 as a dictionary, one per line, reading batch_size users at a time.

    It returns nothing. It costs as much as stream_users_in_batches(), and raises the same errors.
    """
    for batch in stream_users_in_batches(batch_size):
        over_25 = [str(user) for user in batch if user["age"] > 25]
        if over_25:
            print("\n".join(over_25))  # one call per batch, not one per user


def main() -> None:
    """Print the users over 25."""
    batch_processing(seed.size_argument(__doc__, "BATCH_SIZE", 50, "users fetched at a time"))


if __name__ == "__main__":
    seed.run(main)
