#!/usr/bin/env python3
"""Average the users' ages from a stream: only a sum and a count are kept."""

import argparse
import builtins
from collections.abc import Iterator

import seed


def stream_user_ages() -> Iterator[int]:
    """Yield the ages of all users, in whole years and in no particular order.

    Sends one query on one connection, which is closed when the stream ends or is left. Memory holds
    the 100 ages that are read ahead, whatever the size of the table. Raises mysql.connector.Error
    if the stream cannot start or is cut short, and seed.InputError for a row that is not a user.
    """
    with seed.open_stream(cursor_class=seed.AgeCursor) as cursor:
        cursor.execute("SELECT age FROM user_data")
        while (row := cursor.fetchone()) is not None:
            yield row[0]


def calculate_average_age() -> float:
    """Return the average age of all users in years, or 0 if there are none. It prints nothing.

    Memory holds a sum, a count and what the stream reads ahead. It costs as much as
    stream_user_ages(), and raises the same errors.
    """
    total = count = 0
    for age in stream_user_ages():
        total += age
        count += 1
    return total / count if count else 0


def main() -> None:
    """Print the average age."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    print(f"Average age of users: {calculate_average_age():.2f}")


# A learner may skip this: `python3 -m memory_profiler 4-stream_ages.py` adds a builtin `profile`.
profile = getattr(builtins, "profile", lambda function: function)
calculate_average_age = profile(calculate_average_age)

if __name__ == "__main__":
    seed.run(main)
