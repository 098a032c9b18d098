#!/usr/bin/env python3
"""Average the users' ages from a stream: a sum and a count are all that is kept."""

import argparse
import builtins
from collections.abc import Callable, Iterator

import seed

# `python3 -m memory_profiler 4-stream_ages.py` puts a decorator of this name into builtins.
Average = Callable[[], float]
profile: Callable[[Average], Average] = getattr(builtins, "profile", lambda function: function)


def stream_user_ages() -> Iterator[int]:
    """Yield the age of every user, a whole number of years, in no particular order.

    One query on one connection, closed when the stream ends or is given up; giving it up early
    costs a second connection, which cancels the query. Memory holds the 100 ages that are read
    ahead, however many there are.
    Raises mysql.connector.Error if the stream cannot start or is cut short, and seed.InputError
    for a row that is no user.
    """
    with seed.open_stream(seed.AgeCursor) as cursor:
        cursor.execute("SELECT age FROM user_data")
        for (age,) in iter(cursor.fetchone, None):
            yield age


@profile
def calculate_average_age() -> float:
    """Return the average age of all users in years, 0 if there are none; it prints nothing.

    Memory holds a sum, a count and what the stream reads ahead. Costs and raises what
    stream_user_ages() does.
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


if __name__ == "__main__":
    seed.run(main)
