#!/usr/bin/env python3
"""Page through users lazily: a page is fetched only when it is asked for."""

from collections.abc import Iterator
from typing import Any

import seed


def paginate_users(page_size: int, offset: int) -> list[dict[str, Any]]:
    """Return up to page_size users as dictionaries, in order of user_id; offset: how many to skip.

    Sends one query; the server reads and skips the earlier rows. Raises what stream_users() does,
    and TypeError or ValueError for a size that makes no sense.
    """
    seed.check_size("page_size", page_size)
    seed.check_size("offset", offset, least=0)
    with seed.open_stream(cursor_class=seed.UserCursor) as cursor:
        by_offset = f"{seed.SELECT_USERS} ORDER BY user_id LIMIT %s OFFSET %s"
        cursor.execute(by_offset, (page_size, offset))
        return list(cursor.fetchall())


def lazy_pagination(page_size: int, after: str | None = None) -> Iterator[list[dict[str, Any]]]:
    """Yield all users, or those after the given user_id, in lists of page_size.

    Each user_id must be unique, as in the table that seed.py makes: of users with the same one, all
    but those of one page are lost. Sends one query for each page, when the page is asked for, all
    on one connection. Memory holds two pages and 100 users. Raises what paginate_users() does.
    """
    seed.check_size("page_size", page_size)
    if not isinstance(after, str | None):
        raise TypeError(f"after must be a user_id, not {type(after).__name__}")
    with seed.open_stream(cursor_class=seed.UserCursor) as cursor:
        # After the last user seen (NULL: none yet). OFFSET would read all earlier pages again.
        by_key = f"{seed.SELECT_USERS} WHERE %s IS NULL OR user_id > %s ORDER BY user_id LIMIT %s"
        while True:
            cursor.execute(by_key, (after, after, page_size))
            if not (page := cursor.fetchall()):
                return
            after = page[-1]["user_id"]  # before the yield: the caller may change the page
            yield page


lazy_paginate = lazy_pagination  # the name that the course's own exercise imports


def main() -> None:
    """Print all users, page by page."""
    page_size = seed.size_argument(__doc__, "PAGE_SIZE", 100, "users on a page")
    for page in lazy_pagination(page_size):
        print(*page, sep="\n")


if __name__ == "__main__":
    seed.run(main)
