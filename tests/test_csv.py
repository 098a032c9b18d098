"""CSV files: each is read right, or refused with its line, and then inserts nothing."""

from __future__ import annotations

import csv
import io
import os
import random
import re
import uuid
from itertools import islice

import pytest

import seed
from helpers import csv_text, refused, run, shell
from made_users import made_users

ID = "00234e50-34eb-4ce2-94ec-26e3fa749796"
HEX = ID.replace("-", "")
GOOD = f"{ID},Ann,ann@example.com,30"
AGE = "is not a whole number from 0 to 999"
EMAIL = "is not an address with one @, up to 255 long"
NAME = "is not a text of 1 to 255 characters in UTF-8"


def read(file) -> list[tuple]:
    """Return all users of a CSV file."""
    return [user for batch in seed.read_batches(file, lambda users, _: users) for user in batch]


def reason(file) -> str:
    """Return why a file is refused, without its name."""
    with pytest.raises(seed.InputError, match=re.escape(f"{file}:")) as error:
        read(file)
    return str(error.value).removeprefix(f"{file}:")


HEADERS = ["", "name,email", "name", "user_id;name;email", "name|email|age", GOOD]
HEADERS += ["name,email,age,phone", "name,email,age,,x", " ,name,email,age", "name,email,age,Name"]
HEADERS += ["name," * 1500, "\x7fELF\x02\0\0\n\0"]


@pytest.mark.parametrize("header", HEADERS)
def test_wrong_headers(csv_file, header):
    expected = "1: the first line must name name, email, age and perhaps user_id: it is ["
    assert reason(csv_file(f"{header}\n{GOOD}\n" if header else "")).startswith(expected)


# What uuid.UUID() takes, some of it as another id.
NO_UUIDS = [ID.replace("-", "_"), f"0x{HEX[2:]}", f"{HEX[:8]} {HEX[9:]}", f"{HEX[:-1]}٣", f"{ID}}}"]
NO_UUIDS += [f"{{{ID}", f"{HEX[:4]}-{HEX[4:]}", f"--{HEX}", f"urn:{ID}", f"urn:uuid:urn:{HEX}"]
ROWS = {
    f"{ID},Ann,ann@example.com": "3 fields instead of 4",
    f"{GOOD},more": "5 fields instead of 4",
    "X,Ann,a@b,30": "user_id 'x' is not a UUID",
    **{f"{key},Ann,a@b,30": "user_id '" for key in ["", "x", f"{ID}0", *NO_UUIDS]},
    **{f"{ID},{name},a@b,30": f"name '' {NAME}" for name in ("", "  ", '"  "')},
    f"{ID},{'n' * 256},a@b,30": f"name 'nnnnnnnnnnnn...nnnnnnnnnnnnn' {NAME}",
    f"{ID},Ann,{'e' * 250}@a.org,30": f"email 'eeeeeeeeeeee...eeeeeee@a.org' {EMAIL}",
    **{f"{ID},Ann,{mail},30": f"email '{mail}' {EMAIL}" for mail in ("", "x", "@", "a@", "a@b@c")},
    **{f"{ID},Ann,{mail},30": f"email '@b' {EMAIL}" for mail in (" @b", "@b ", '" @b"')},
    **{f"{ID},Ann,a@b,{age}": f"age '{age}' {AGE}" for age in ("old", "", "-1", "1000", "30.0")},
    **{f"{ID},Ann,a@b,{age}": f"age '{age}' {AGE}" for age in ("3e1", "+3", "3 0", "٣٠", "1_0")},
    f"{ID},Ann,a@b,{'9' * 5000}": f"age '999999999999...9999999999999' {AGE}",
    f"{ID},A\0n,a@b,30": r"name 'A\x00n' is not",
}


@pytest.mark.parametrize("row", ROWS)
def test_wrong_rows(csv_file, row):
    text = f"user_id,name,email,age\n{GOOD}\n{row}\n{GOOD}\n"
    assert reason(csv_file(text)).startswith(f"3: {ROWS[row]}")


TEXTS = {
    "name,email,age\nZoë,z@b,30\n".encode("latin-1"): r"2: name 'Zo\udceb' is not a text of 1 to",
    "name,email,age\nZoe,z@b,30\n".encode("utf-16"): "1: the first line must name name, email",
    b'name,email,age\nAnn,"a@b,30\n': "2: unexpected end of data: check quotes and encoding",
    b'name,email,age\nAnn,"a@b"c,30\n': "2: ',' expected after '\"': check quotes and encoding",
    b'name,email,age\n"' + b"x\n" * 70_000: "2: field larger than field limit (131072): check",
    b"name,email,age\nAnn," + b"x" * 9_997: "2: a line of 10,000 characters or more: check",
    b"x" * 20_000: "1: a line of 10,000 characters or more: check quotes and encoding",
    b"name,email,age\r" + b"Ann,a@b,30\r" + b"Ben,a@b,x\r": f"3: age 'x' {AGE}",
    b"\n \n\nname,email,age\n\nBen,a@b,x\n": f"6: age 'x' {AGE}",
    b'name,email,age\n\n"Ann\nof\r\nLine",a@b,1\n\nBen,a@b,old\n"C\n",a@b,x\n': (
        f"7: age 'old' {AGE}; 8: age 'x' {AGE}; 2 bad rows in all"
    ),
}


@pytest.mark.parametrize("content", TEXTS)
def test_what_is_no_csv_text_and_lines_as_in_an_editor(csv_file, content):
    assert reason(csv_file(content)).startswith(TEXTS[content])


def test_the_first_ten_bad_rows_and_the_number_of_all(csv_file):
    text = "name,email,age\n" + "Ann,a@b,30\nAnn,a@b,old\n" * 25
    *reasons, number = reason(csv_file(text)).split("; ")
    assert reasons == [f"{line}: age 'old' {AGE}" for line in range(3, 23, 2)]
    assert number == "25 bad rows in all"


def test_nothing_is_yielded_after_a_bad_row(csv_file):
    with open(csv_file("name,email,age\nAnn,a@b,1\nAnn,a@b,old\nAnn,a@b,2\n")) as file:
        users = seed.read_users(file)
        assert next(users)[1:] == ("Ann", "a@b", "1")
        with pytest.raises(seed.InputError, match=":3: age 'old'"):
            next(users)


def test_ids_are_stored_in_one_form(csv_file):
    forms = [ID, ID.upper(), HEX, f"{{{ID}}}", f"urn:uuid:{ID}", f"URN:UUID:{HEX}", f"{{{HEX}}}"]
    file = csv_file(csv_text((form, "A", "a@b", "0007") for form in forms))
    assert read(file) == [(ID, "A", "a@b", "0007")] * 7


def test_a_good_row_is_checked_at_one_go():
    good = [(ID, "Ann", "a@b", "30"), (ID, "n" * 255, "e" * 253 + "@b", "999")]
    bad = [
        (ID, "n" * 256, "a@b", "1"),
        (ID, "Ann", "e" * 254 + "@b", "1"),
        (ID, "A", "a@b", "1000"),
    ]
    assert [bool(seed.USER.fullmatch("\0".join(row))) for row in good + bad] == [True] * 2 + [
        False
    ] * 3


def test_an_id_made_from_an_email_does_not_depend_on_its_case(csv_file):
    rows = [("Ann", "Ann@Example.com", 1), ("Ann", "ann@example.com", 1)]
    one, other = read(csv_file(csv_text(rows, ("name", "email", "age"))))
    assert one[0] == other[0] == str(uuid.uuid5(uuid.NAMESPACE_URL, "mailto:ann@example.com"))
    assert (one[2], other[2]) == ("Ann@Example.com", "ann@example.com")


FILES = [
    f'"user_id", "name", "email","age"\n"{ID}", "Ann, Jr.", "ann@example.com","30"\n',
    f'"user_id" ,"name" , "email" ,"age" \n"{ID}" ,"Ann, Jr." , "ann@example.com" ,"30" \n',
    f'user_id,name,email,age\n {ID} ," Ann, Jr. ",\tann@example.com , 30 \n',
    f'age,Email,NAME,USER_ID\n30,ann@example.com,"Ann, Jr.",{ID}\n',
    f"user_id;name;email;age\n{ID};Ann, Jr.;ann@example.com;30\n",
    f'user_id;name;email;age\n{ID};"Ann, Jr." ;ann@example.com;30\n',
    f"user_id\tname\temail\tage\n{ID}\tAnn, Jr.\tann@example.com\t30\n",
    f"\n \nuser_id;name;email;age\n;;;\n\n{ID};Ann, Jr.;ann@example.com;30\n  ;;;\n",
    f'"user_id,name,email,age"\n"{ID},""Ann, Jr."",ann@example.com,30"\n',
    f'"""user_id"",""name"",email,age"\n"""{ID}"",""Ann, Jr."",""ann@example.com"",""30"""\n',
]


@pytest.mark.parametrize("text", FILES)
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_files_as_people_have_them(csv_file, text, line_end):
    text = text.replace("\n", line_end)
    for each in (text, f"\ufeff{text}", text.rstrip("\r\n ;")):
        assert read(csv_file(each)) == [(ID, "Ann, Jr.", "ann@example.com", "30")]


NAMES = ['say "hi" , Ann', 'two\n"lines" , Ann', '5" , "pipe', "a , b", 'in\nx," , y', 'x," , y']
NAMES += ["O'Brien, Jr.", "😀 李娜", "back\\slash", "%s %(name)s", "'; DROP TABLE user_data; --"]
NAMES += [
    "two\r\nlines",
    "n" * 255,
    "😀" * 255,
    "'",
    "\\",
    "\\'",
    "''",
    '"',
    "{}",
    "-- a",
    "`",
    "?",
]


@pytest.mark.parametrize("columns", [("name", "email", "age"), ("age", "email", "name")])
def test_names_arrive_as_they_are(csv_file, empty, query, columns):
    users = [{"name": name, "email": f"{i}@b", "age": i} for i, name in enumerate(NAMES)]
    file = csv_file(csv_text(([user[column] for column in columns] for user in users), columns))
    assert seed.insert_data(empty, file) == (len(NAMES), 0)
    assert seed.insert_data(empty, file) == (0, len(NAMES))
    rows = query("SELECT name, email, age FROM user_data ORDER BY age")
    assert [dict(zip(("name", "email", "age"), row)) for row in rows] == users


def test_endless_lines_end_at_once(empty):
    line = refused(run("seed.py", "/dev/zero"))
    assert line == "/dev/zero:1: a line of 10,000 characters or more: check quotes and encoding"
    done = shell("ulimit -v 2000000; tr '\\0' a < /dev/zero | python seed.py /dev/stdin")
    assert done.stderr.startswith("seed.py: /dev/stdin:1: a line of 10,000 characters or more")


def test_files_that_cannot_be_read(empty, tmp_path):
    for file, expected in {
        tmp_path / "missing.csv": f"{tmp_path}/missing.csv: No such file or directory",
        tmp_path: f"{tmp_path}: Is a directory",
        "in\nlines": "in lines: No such file or directory",
        "": ": No such file or directory",
        "/proc/self/mem": "input or output: Input/output error",
    }.items():
        assert refused(run("seed.py", file)).endswith(expected)


# Fuzzing: good files, mutated; the outcome is one of two, and never another.

FUZZED_FILES = 20_000 if "FUZZ" in os.environ else 1500
FUZZED_IMPORTS = FUZZED_FILES // 50


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
            replacements = [b"", b"old", b"-1", b"\xff", b"\0", b"'; DROP", b"5", b" 5 ", b'"5" ']
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
        rows = parsed(text, separator)
        # Lines that are quoted as a whole.
        rows = [
            parsed(r[0], separator)[0] if len(r) == 1 and separator in r[0] else r for r in rows
        ]
        header, *rows = [row for row in rows if any(row)]
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
            users.append((str(user_id), user["name"], user["email"], user["age"]))
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


def test_fuzzed_files_are_read_right_or_refused_with_a_line(csv_file):
    counts = [0, 0]
    for content in islice(fuzzed_files(), FUZZED_FILES):
        file, expected = csv_file(content), predicted(content)
        if expected is None:
            assert re.match(r"\d+: ", reason(file)), content
        else:
            assert read(file) == expected, content
        counts[expected is None] += 1
    assert min(counts) > FUZZED_FILES / 10


def test_fuzzed_files_are_imported_whole_or_not_at_all(empty, csv_file, query):
    for content in islice(fuzzed_files(), FUZZED_IMPORTS):
        empty.cmd_query("DELETE FROM user_data")
        expected = predicted(content)
        done = run("seed.py", csv_file(content))
        assert (done.status, done.errors.count("\n")) == ((expected is None,) * 2)
        first = {user[0]: user for user in reversed(expected or [])}
        rows = query("SELECT user_id, name, email, age FROM user_data ORDER BY user_id")
        assert rows == sorted((*user[:3], int(user[3])) for user in first.values())
        if expected is not None:
            counts = f"{len(first)} users inserted, {len(expected) - len(first)} already there\n"
            assert done.output.endswith(counts)
