#!/usr/bin/env python3
"""Make up users, the same ones at every run; user_data.csv is the first 1,000 of them.

python3 tests/made_users.py 1000 > user_data.csv
"""

import csv
import random
import sys
import uuid
from collections.abc import Iterator
from itertools import islice

# The six that the course prints: in order of user_id they come first.
# fmt: off
FIRST_USERS = [
    ("00234e50-34eb-4ce2-94ec-26e3fa749796", "Dan Altenwerth Jr.", "Molly59@gmail.com", 67),
    ("006bfede-724d-4cdd-a2a6-59700f40d0da", "Glenda Wisozk", "Miriam21@gmail.com", 119),
    ("006e1f7f-90c2-45ad-8c1d-1275d594cc88", "Daniel Fahey IV", "Delia.Lesch11@hotmail.com", 49),
    ("00af05c9-0a86-419e-8c2d-5fb7e899ae1c", "Ronnie Bechtelar", "Sandra19@yahoo.com", 22),
    ("00cc08cc-62f4-4da1-b8e4-f5d9ef5dbbd4", "Alma Bechtelar", "Shelly_Balistreri22@hotmail.com",
     102),
    ("01187f09-72be-4924-8a2d-150645dcadad", "Jonathon Jones", "Jody.Quigley-Ziemann33@yahoo.com",
     116),
]
GIVEN = ["Amara", "Zoë", "Łukasz", "José", "Siobhán", "Nguyệt", "李娜", "Ольга", "Søren", "Aoife"]
FAMILY = ["O'Brien", "Müller", "D'Angelo", "García", "Åkesson", "Okafor", "王", "Smith-Jones"]
SUFFIXES = ["", "", "", "", ", Jr.", ", PhD"]
DOMAINS = ["example.com", "example.net", "example.org"]  # reserved by RFC 2606: nobody's mail
# fmt: on


def made_users() -> Iterator[tuple[str, str, str, int]]:
    """Yield users without end as tuples (user_id, name, email, age), in random order of user_id."""
    yield from FIRST_USERS
    rng = random.Random(0)
    number = 0
    while True:
        user_id = str(uuid.UUID(int=rng.getrandbits(128), version=4))
        name = f"{rng.choice(GIVEN)} {rng.choice(FAMILY)}{rng.choice(SUFFIXES)}"
        age = rng.randint(18, 100)
        if user_id > FIRST_USERS[-1][0]:
            number += 1
            yield user_id, name, f"user{number}@{rng.choice(DOMAINS)}", age


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8", newline="")
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["user_id", "name", "email", "age"])
    writer.writerows(islice(made_users(), int(sys.argv[1])))
