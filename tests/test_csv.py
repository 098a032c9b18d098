"""CSV files that are wrong: each has one outcome, and a bad one inserts nothing."""

from __future__ import annotations

import csv
import io
import random
import re
import subprocess
import sys
import uuid
from itertools import islice

import pytest

import seed
from made_users import made_users, write_csv

ID = "00234e50-34eb-4ce2-94ec-26e3fa749796"
GOOD = f"{ID},Ann,ann@example.com,30"
AGE = "is not a whole number from 0 to 999"
NO_HEADER = "the first line must name the columns (user_id, name, email, age)"


def read(file) -> list[tuple]:
    """Return all users of a CSV file."""
    with seed.open_csv(file) as lines:
        return list(seed.read_users(lines))


def reason(folder, content: str | bytes) -> str:
    """Return why read_users() refuses a file, without the file's name."""
    file = folder / "users.csv"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(ValueError, match=re.escape(str(file))) as error:
        read(file)
    return str(error.value).replace(f"{file}:", "")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("name,email", "the header lacks age: it is 'name,email'"),
        ("name", "the header lacks email, age: it is 'name'"),
        ("user_id;name;email", "the header lacks age: it is 'user_id,name,email'"),
        ("name|email|age", f"{NO_HEADER}: it is 'name|email|age'"),
        (GOOD, f"{NO_HEADER}: it is '{GOOD[:40].lower()}...'"),
        ("name,email,age,phone", "unknown column 'phone'"),
        ("name,email,age,a,b,c,d", "unknown column 'a', 'b', 'c'"),
        ("name,email,age,,x", "column 4 has no name: 'name,email,age,,x'"),
        (" ,name,email,age", "column 1 has no name: ',name,email,age'"),
        ("name,email,age,Name", "the header names a column twice: 'name,email,age,name'"),
        ("name," * 1500, "column 1501 has no name: 'name,name,name,name,name,name,name,name,...'"),
    ],
)
def test_headers(tmp_path, header, expected):
    assert reason(tmp_path, f"{header}\n{GOOD}\n") == f"1: {expected}"


HEX = ID.replace("-", "")
# All but the first are what uuid.UUID() takes, some of them as another id.
NO_UUIDS = [
    *(f"{ID}0", ID.replace("-", "_"), f"0x{HEX[2:]}", f"{HEX[:8]} {HEX[9:]}", f"{HEX[:-1]}٣"),
    *(f"{ID}}}", f"{{{ID}", f"{HEX[:4]}-{HEX[4:]}", f"--{HEX}", f"urn:{ID}", f"urn:uuid:urn:{HEX}"),
]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (f"{ID},Ann,ann@example.com", "3 fields instead of 4"),
        (f"{GOOD},more", "5 fields instead of 4"),
        ("x,Ann,ann@example.com,30", "user_id 'x' is not a UUID"),
        (",Ann,ann@example.com,30", "user_id '' is not a UUID"),
        *(
            (f"{user_id},Ann,ann@example.com,30", f"user_id {user_id[:40]!r}"[:-1])
            for user_id in NO_UUIDS
        ),
        (f"{ID},,ann@example.com,30", "name '' is empty"),
        (f"{ID},  ,ann@example.com,30", "name '' is empty"),
        (f'{ID},"  ",ann@example.com,30', "name '' is empty"),
        (f"{ID},Ann,,30", "email '' is empty"),
        (f"{ID},{'n' * 256},ann@example.com,30", f"name '{'n' * 40}...' has 256 characters, more"),
        (f"{ID},Ann,{'e' * 250}@a.org,30", f"email '{'e' * 40}...' has 256 characters, more than"),
        *(
            (f"{ID},Ann,{email},30", f"email '{email}' does not have something on both sides of")
            for email in ("ann", "@", "ann@", "@example.com", "a@b@c")
        ),
        *(
            (f"{ID},Ann,{email},30", "email '@b' does not have something on both sides of")
            for email in (" @b", "@b ", '" @b"')
        ),
        *(
            (f"{ID},Ann,ann@example.com,{age}", f"age '{age}' {AGE}")
            for age in ("old", "", "-1", "1000", "30.0", "3e1", "+3", "3 0", "٣٠", "1_0", "NULL")
        ),
        (f"{ID},Ann,ann@example.com,{'9' * 5000}", f"age '{'9' * 40}...' {AGE}"),
    ],
)
def test_rows(tmp_path, row, expected):
    text = f"user_id,name,email,age\n{GOOD}\n{row}\n{GOOD}\n"
    assert reason(tmp_path, text).startswith(f"3: {expected}")


ZERO_BYTE = "a zero byte, as in UTF-16 and in files that are no text: save it as CSV UTF-8"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "1: the file is empty"),
        (b"\xef\xbb\xbf\n\n", "1: the file is empty"),
        (b"\x7fELF\x02\x00\x00\n\x00", f"1: {ZERO_BYTE}"),
        (
            "name,email,age\nZoë,z@example.com,30\n".encode("latin-1"),
            "2: byte 0xeb is not UTF-8: save it as CSV UTF-8",
        ),
        *(
            ("name,email,age\nZoe,z@example.com,30\n".encode(encoding), f"1: {ZERO_BYTE}")
            for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32")
        ),
        (b'name,email,age\nAnn,"ann@example.com,30\n', "2: unexpected end of data: check the quo"),
        (b'name,email,age\nAnn,"a@b"c,30\n', "2: ',' expected after '\"': check the quotes"),
        (b'name,email,age\n"' + b"x\n" * 70_000, "2: field larger than field limit (131072): che"),
        (b"name,email,age\nAnn," + b"x" * 9_997, "2: a line of more than 10,000 characters: save"),
        (b"name,email,age\r" + b"Ann,a@b,30\r" + b"Ben,a@b,x\r", f"3: age 'x' {AGE}"),
    ],
)
def test_files_that_are_no_csv_text(tmp_path, content, expected):
    assert reason(tmp_path, content).startswith(expected)


def test_line_numbers_are_those_of_an_editor(tmp_path):
    text = 'name,email,age\n\n"Ann\nof\r\nLine",a@b,1\n\nBen,a@b,old\n"C\n",a@b,x\n'
    assert reason(tmp_path, text) == (f"7: age 'old' {AGE}; 8: age 'x' {AGE}; 2 bad rows in all")


def test_the_first_ten_bad_rows_and_the_number_of_all(tmp_path):
    text = "name,email,age\n" + "Ann,a@b,30\nAnn,a@b,old\n" * 25
    reasons = reason(tmp_path, text).split("; ")
    assert reasons[:-1] == [f"{line}: age 'old' {AGE}" for line in range(3, 23, 2)]
    assert reasons[-1] == "25 bad rows in all"


def test_bad_rows_before_the_file_ends_badly_are_told_too(tmp_path):
    text = 'name,email,age\nAnn,a@b,old\nAnn,"a@b,30\n'
    assert reason(tmp_path, text) == (
        f"2: age 'old' {AGE}; 3: unexpected end of data: check the quotes; 2 bad rows in all"
    )


def test_nothing_is_yielded_after_a_bad_row(tmp_path):
    file = tmp_path / "users.csv"
    file.write_text("name,email,age\nAnn,a@b,1\nAnn,a@b,old\nAnn,a@b,2\n")
    with seed.open_csv(file) as lines:
        users = seed.read_users(lines)
        assert next(users)[1:] == ("Ann", "a@b", 1)
        with pytest.raises(ValueError, match=":3: age 'old'"):
            next(users)


def test_ids_are_stored_in_canonical_form(tmp_path):
    file = tmp_path / "users.csv"
    forms = [ID, ID.upper(), ID.replace("-", ""), f"{{{ID}}}", f"urn:uuid:{ID}", f"URN:UUID:{HEX}"]
    file.write_text("user_id,name,email,age\n" + "".join(f"{form},A,a@b,0007\n" for form in forms))
    assert read(file) == [(ID, "A", "a@b", 7)] * 6


def test_an_id_made_from_an_email_does_not_depend_on_its_case(tmp_path):
    file = tmp_path / "users.csv"
    file.write_text("name,email,age\nAnn,Ann@Example.com,1\nAnn,ann@example.com,1\n")
    one, other = read(file)
    assert one[0] == other[0] == str(uuid.uuid5(uuid.NAMESPACE_URL, "mailto:ann@example.com"))
    assert (one[2], other[2]) == ("Ann@Example.com", "ann@example.com")


ANN = [(ID, "Ann, Jr.", "ann@example.com", 30)]


@pytest.mark.parametrize(
    "text",
    [
        f'"user_id", "name", "email","age"\n"{ID}", "Ann, Jr.", "ann@example.com","30"\n',
        f'"user_id" ,"name" , "email" ,"age" \n"{ID}" ,"Ann, Jr." , "ann@example.com" ,"30" \n',
        f'user_id,name,email,age\n {ID} ," Ann, Jr. ",\tann@example.com , 30 \n',
        f'USER_ID,Name,Email,AGE\n{ID},"Ann, Jr.",ann@example.com,30\n',
        f"user_id;name;email;age\n{ID};Ann, Jr.;ann@example.com;30\n",
        f'user_id;name;email;age\n{ID};"Ann, Jr." ;ann@example.com;30\n',
        f"user_id\tname\temail\tage\n{ID}\tAnn, Jr.\tann@example.com\t30\n",
        f"\n \nuser_id;name;email;age\n;;;\n\n{ID};Ann, Jr.;ann@example.com;30\n  ;;;\n",
    ],
)
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_files_as_people_have_them(tmp_path, text, line_end):
    file = tmp_path / "users.csv"
    file.write_bytes(text.replace("\n", line_end).encode())
    assert read(file) == ANN


def test_a_space_within_quotes_stays(tmp_path):
    file = tmp_path / "users.csv"
    names = ['say "hi" , Ann', 'two\n"lines" , Ann', '5" , "pipe', "a , b", 'in\nx," , y']
    with open(file, "w", encoding="utf-8", newline="") as text:
        csv.writer(text).writerows(
            [["name", "email", "age"], *([name, "a@b", 1] for name in names)]
        )
    assert [user[1] for user in read(file)] == names


def test_an_endless_line_ends_at_once_and_takes_no_memory(run, project):
    done = run("seed.py", "/dev/zero")
    assert done.returncode == 1
    assert done.stderr == f"seed.py: /dev/zero:1: {ZERO_BYTE}\n"
    pipe = f"tr '\\0' a < /dev/zero | '{sys.executable}' seed.py /dev/stdin"
    done = subprocess.run(
        pipe, shell=True, cwd=project, stderr=subprocess.PIPE, text=True, timeout=60
    )
    assert done.stderr == (
        "seed.py: /dev/stdin:1: a line of more than 10,000 characters: save it as CSV UTF-8\n"
    )


def test_a_file_that_cannot_be_read_is_told_by_its_name(connection, run):
    assert (
        run("seed.py", "/proc/self/mem").stderr == "seed.py: /proc/self/mem: Input/output error\n"
    )


def test_missing_files_and_folders_are_one_line(connection, run, tmp_path):
    for file, expected in (
        (tmp_path / "missing.csv", "No such file or directory"),
        (tmp_path, "Is a directory"),
    ):
        done = run("seed.py", file)
        assert done.returncode == 1
        assert done.stderr == f"seed.py: {file}: {expected}\n"


def test_a_bad_row_at_the_end_inserts_nothing(connection, run, tmp_path, query):
    file = tmp_path / "users.csv"
    with open(file, "w", encoding="utf-8", newline="") as text:
        write_csv(text, 3000)
        text.write(f"{ID},Ann,ann@example.com,old\n")
    done = run("seed.py", file)
    assert (done.returncode, done.stderr) == (1, f"seed.py: {file}:3002: age 'old' {AGE}\n")
    assert query("SELECT COUNT(*) FROM user_data") == [(0,)]


def test_the_same_id_twice_is_inserted_once(connection, seed, tmp_path, query):
    file = tmp_path / "users.csv"
    other = str(uuid.UUID(int=1))
    rows = [GOOD, f"{other},Ben,b@b,1", f"{ID.upper()},Twin,t@b,2", GOOD]
    file.write_text("\n".join(["user_id,name,email,age", *rows]))
    assert seed.insert_data(connection, file) == (2, 2)
    assert query("SELECT user_id, name FROM user_data ORDER BY user_id") == [
        (other, "Ben"),
        (ID, "Ann"),
    ]
    assert seed.insert_data(connection, file) == (0, 4)


def test_only_a_duplicate_is_passed_over(connection, seed, monkeypatch, tmp_path, query):
    # What the reader would refuse, the server refuses too: nothing is cut or set to a default.
    import mysql.connector

    for user in [(ID, "n" * 256, "a@b", 1), (ID, "Ann", "a@b", 1000), (ID, "Ann", "a@b", -1000)]:
        monkeypatch.setattr(seed, "read_users", lambda _, user=user: iter([user]))
        with pytest.raises(mysql.connector.Error):
            seed.insert_data(connection, seed.CSV_FILE)
    assert query("SELECT * FROM user_data") == []


# Fuzzing: good files, mutated; the outcome is one of two, and never another.

FUZZED_FILES = 3000
FUZZED_IMPORTS = 60


def mutated(rng: random.Random, content: bytes, separator: bytes) -> bytes:
    """Return a file with one to three random changes."""
    for _ in range(rng.randint(1, 3)):
        lines = content.split(b"\n")
        at = rng.randrange(len(lines))
        fields = lines[at].split(separator)
        how = rng.randrange(7)
        if how == 0 and content:  # a byte flipped
            place = rng.randrange(len(content))
            flipped = bytes([content[place] ^ 1 << rng.randrange(8)])
            content = content[:place] + flipped + content[place + 1 :]
            continue
        if how == 1:  # fields moved
            rng.shuffle(fields)
            lines[at] = separator.join(fields)
        elif how == 2:  # a quote that has no partner
            place = rng.randint(0, len(lines[at]))
            lines[at] = lines[at][:place] + b'"' + lines[at][place:]
        elif how == 3:  # a line cut
            lines[at] = lines[at][: rng.randint(0, len(lines[at]))]
        elif how == 4:  # a field replaced
            replacements = [
                b"",
                b"old",
                b"-1",
                b"\xff",
                b"\0",
                b"'; DROP TABLE user_data; --",
                b"5",
                b" 5 ",
                b'"5" ',
            ]
            fields[rng.randrange(len(fields))] = rng.choice(replacements)
            lines[at] = separator.join(fields)
        elif how == 5:  # a line twice, or the end cut off
            lines = [*lines[: at + 1], *lines[at:]] if rng.random() < 0.5 else lines[: at + 1]
        else:  # other line ends
            lines = [line + b"\r" for line in lines]
        content = b"\n".join(lines)
    return content


def parsed(text: str, separator: str) -> list[list[str]]:
    """Return the rows of a CSV text as one regular expression finds them, AssertionError if bad."""
    value = rf' *(?:"((?:[^"]|"")*)" *|((?! *")[^{separator}\r\n]*))({separator}|\r\n|\r|\n|\Z)'
    rows: list[list[str]] = [[]]
    place = 0
    while place < len(text) or rows[-1]:
        found = re.compile(value).match(text, place)
        assert found
        quoted, plain, end = found.groups()
        rows[-1].append((plain if quoted is None else quoted.replace('""', '"')).strip())
        place = found.end()
        if end != separator:
            rows.append([])
    return rows


def predicted(content: bytes) -> list[tuple] | None:
    """Return the users of a file as a plain reading finds them, None if it is to be refused."""
    try:
        text = content.decode("utf-8-sig")
        assert "\0" not in text
        first_line = next(line for line in re.split(r"[\r\n]", text) if line.strip())
        separator = max(",;\t", key=first_line.count)
        header, *rows = [row for row in parsed(text, separator) if any(row)]
        header = [name.lower() for name in header]
        assert len(set(header)) == len(header)
        assert {"name", "email", "age"} <= set(header) <= {"user_id", "name", "email", "age"}
        users = []
        for row in rows:
            assert len(row) == len(header)
            user = dict(zip(header, row))
            user_id = uuid.uuid5(uuid.NAMESPACE_URL, f"mailto:{user['email'].lower()}")
            if "user_id" in user:
                user_id = uuid.UUID(user["user_id"])
                assert user["user_id"].lower() in (str(user_id), user_id.hex)
            assert all(0 < len(user[field]) <= 255 for field in ("name", "email"))
            local_part, domain = user["email"].split("@")
            assert local_part
            assert domain
            assert re.match("[0-9]+$", user["age"])
            assert int(user["age"]) <= 999
            users.append((str(user_id), user["name"], user["email"], int(user["age"])))
    except (AssertionError, StopIteration, ValueError):
        return None
    return users


def fuzzed_files():
    """Yield the same mutated files at every run."""
    rng = random.Random(7)
    users = list(islice(made_users(), 200))
    while True:
        columns = rng.choice([[0, 1, 2, 3], [1, 2, 3], [3, 0, 2, 1]])
        separator = rng.choice(",,;\t")
        change = rng.choice([str, str.upper, str.title])
        names = [change(("user_id", "name", "email", "age")[column]) for column in columns]
        chosen = rng.sample(users, rng.randint(1, 12))
        rows = [names, *([str(user[column]) for column in columns] for user in chosen)]
        if rng.random() < 0.3:  # quoted and padded
            for row in rows:
                for place, value in enumerate(row):
                    space, behind = " " * rng.randrange(2), " " * rng.randrange(2)
                    quoted = value.replace('"', '""')
                    row[place] = f'{space}"{quoted}"{behind}'
            text = "".join(separator.join(row) + "\n" for row in rows)
        else:
            file = io.StringIO()
            csv.writer(file, delimiter=separator, lineterminator="\n").writerows(rows)
            text = file.getvalue()
        yield mutated(rng, text.encode(), separator.encode())


def test_fuzzed_files_are_read_right_or_refused_with_a_line(tmp_path):
    file = tmp_path / "users.csv"
    accepted = refused = 0
    for content in islice(fuzzed_files(), FUZZED_FILES):
        file.write_bytes(content)
        expected = predicted(content)
        if expected is None:
            with pytest.raises(ValueError, match=rf"^{re.escape(str(file))}:\d+: "):
                read(file)
            refused += 1
        else:
            assert read(file) == expected, content
            accepted += 1
    assert accepted > FUZZED_FILES / 10
    assert refused > FUZZED_FILES / 10


def test_fuzzed_files_are_imported_whole_or_not_at_all(connection, seed, run, tmp_path, query):
    file = tmp_path / "users.csv"
    for number, content in enumerate(islice(fuzzed_files(), FUZZED_IMPORTS)):
        connection.cmd_query("DELETE FROM user_data")
        file.write_bytes(content)
        expected = predicted(content)
        first = {}
        for user in expected or ():
            first.setdefault(user[0], user)
        if number % 10 == 0:  # some as a user does it
            done = run("seed.py", file)
            assert done.returncode == (expected is None)
            assert "Traceback" not in done.stderr
            assert done.stderr.count("\n") == done.returncode
        elif expected is None:
            with pytest.raises(ValueError, match=r"users\.csv:\d+: "):
                seed.insert_data(connection, file)
        else:
            count = seed.insert_data(connection, file)
            assert count == (len(first), len(expected) - len(first))
        rows = query("SELECT user_id, name, email, age FROM user_data ORDER BY user_id")
        assert [(*row[:3], int(row[3])) for row in rows] == sorted(first.values())
