#!/usr/bin/env python3
"""Page through users lazily: a page is fetched only when it is asked for."""

from __future__ import annotations

from typing import Any, Iterator

import seed


def paginate_users(page_size: int, offset: int) -> list[dict[str, Any]]:
    """Return page_size users from row number offset (0 is the first), in order of user_id.

    Users are dictionaries (user_id, name, email, age); the list is shorter at the end of the table
    and empty past it. One connection and one query, which reads and skips the offset rows before.
    Raises mysql.connector.Error, TypeError or ValueError for a size that makes no sense, and
    ValueError for a row that is no user.
    """
    seed.check_size("page_size", page_size)
    seed.check_size("offset", offset, least=0)
    with seed.open_stream(seed.UserCursor) as cursor:
        cursor.execute(
            seed.SELECT_USERS + " ORDER BY user_id LIMIT %s OFFSET %s", (page_size, offset)
        )
        return cursor.fetchall()


def lazy_pagination(page_size: int) -> Iterator[list[dict[str, Any]]]:
    """Yield all users as pages: lists of page_size dictionaries (user_id, name, email, age).

    Each page is one query, sent when the page is asked for, all on one connection. Memory holds
    two pages at most: the caller's and the next.
    Raises mysql.connector.Error, TypeError or ValueError for a size that makes no sense, and
    ValueError for a table where two users have one user_id, as no page could start between them.
    """
    seed.check_size("page_size", page_size)
    with seed.open_stream(seed.UserCursor) as cursor:
        last_user_id = None
        while True:
            # Start after the last user seen: an OFFSET would read every page before it again.
            # The one user more shows that the next page will not start within a user_id.
            cursor.execute(
                seed.SELECT_USERS + " WHERE %s IS NULL OR user_id > %s ORDER BY user_id LIMIT %s",
                (last_user_id, last_user_id, page_size + 1),
            )
            users = cursor.fetchall()
            page = users[:page_size]
            if not page:
                return
            last_user_id = page[-1]["user_id"]
            if users[page_size:] and users[page_size]["user_id"] == last_user_id:
                raise ValueError(f"user_data: two users have the user_id {last_user_id!r}")
            yield page


lazy_paginate = lazy_pagination  # the name that the course's own exercise imports


def main() -> None:
    """Print all users, page by page."""
    page_size = seed.size_argument(__doc__, "PAGE_SIZE", 100, "users on a page")
    for page in lazy_pagination(page_size):
        for user in page:
            print(user)


if __name__ == "__main__":
    seed.run(main)
