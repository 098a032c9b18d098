#!/usr/bin/env python3
"""Page through users lazily: a page is fetched only when it is asked for."""

from collections.abc import Iterator
from typing import Any

import seed


def paginate_users(page_size: int, offset: int) -> list[dict[str, Any]]:
    """Return page_size users from row number offset (0 is the first), in order of user_id.

    Users are dictionaries (user_id, name, email, age), none past the end. One connection and one
    query, which reads and skips the offset rows before. Raises mysql.connector.Error, TypeError or
    ValueError for a size that makes no sense, and seed.InputError for a row that is no user.
    """
    seed.check_size("page_size", page_size)
    seed.check_size("offset", offset, least=0)
    with seed.open_stream(seed.UserCursor) as cursor:
        by_offset = f"{seed.SELECT_USERS} ORDER BY user_id LIMIT %s OFFSET %s"
        cursor.execute(by_offset, (page_size, offset))
        return cursor.fetchall()


def lazy_pagination(page_size: int, after: str | None = None) -> Iterator[list[dict[str, Any]]]:
    """Yield all users, or those behind the user_id after, in lists of page_size; ids are unique.

    A query a page, sent when it is asked for, on one connection. Memory holds two pages at most and
    100 users. Raises what paginate_users() does.
    """
    seed.check_size("page_size", page_size)
    with seed.open_stream(seed.UserCursor) as cursor:
        # Behind the last user seen: an OFFSET would read every page before it again.
        by_key = f"{seed.SELECT_USERS} WHERE %s IS NULL OR user_id > %s ORDER BY user_id LIMIT %s"
        while True:
            cursor.execute(by_key, (after, after, page_size))
            page = cursor.fetchall()
            if not page:
                return
            yield page
            after = page[-1]["user_id"]


lazy_paginate = lazy_pagination  # the name that the course's own exercise imports


def main() -> None:
    """Print all users, page by page."""
    page_size = seed.size_argument(__doc__, "PAGE_SIZE", 100, "users on a page")
    for page in lazy_pagination(page_size):
        print(*page, sep="\n")


if __name__ == "__main__":
    seed.run(main)
