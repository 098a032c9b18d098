"""CSV files: each is read right, or refused with its line, and then inserts nothing."""

import csv
import io
import os
import random
import re
import uuid

import pytest

import seed
from helpers import csv_text, first_users, ran, refused, shell

ID = "00234e50-34eb-4ce2-94ec-26e3fa749796"
HEX = ID.replace("-", "")
GOOD = f"{ID},Ann,ann@example.com,30"
HEAD = f"user_id,name,email,age\n{GOOD}\n"
AGE = "is not a number from 0 to 999, written in digits only"
EMAIL = "is not an address with one @, without spaces and quotes, of up to 255 characters"
BREAK = "has a line break: is a quote missing before it?"
NAME = "does not have 1 to 255 characters"
LINE = "not UTF-8 text: save the file as UTF-8"
DAMAGED = "damaged text: U+FFFD marks a lost character"
FIRST_LINE = "the first line must name the columns name, email, age and optionally user_id; it is ["
LONG = "a line of 10,000 characters or more"


def read(file, users: list[tuple]) -> list[tuple]:
    """Append all users of a CSV file, opened as insert_data() does, to a list; return it."""
    with open(file, encoding="utf-8-sig", errors="surrogateescape", newline="") as lines:
        users.extend(seed.read_users(lines))
    return users


HEADERS = ["", "name,email\n", "name\n", f"user_id;name;email\n{GOOD}", "name|email|age\n", GOOD]
HEADERS += ["name,email,age,phone\n", "name,email,age,,x\n", " ,name,email,age", "name," * 1500]
HEADERS += ["name,email,age,Name"]
# (The second line is what uuid.UUID() takes, some of it as another id.)
IDS = ["", "X", f"{ID}0", ID.replace("-", "_"), HEX, f"--{HEX}", f"urn:uuid:{ID}"]
IDS += [f"0x{HEX[2:]}", f"{HEX[:8]} {HEX[9:]}", f"{ID[:-1]}٣", f"{HEX[:4]}-{HEX[4:]}"]
AGES = ["old", "", "-1", "1000", "30.0", "3e1", "+3", "3 0", "٣٠", "1_0", "9" * 5000]
WRONG = {  # text of a file: line and reason
    **dict.fromkeys(HEADERS, f"1: {FIRST_LINE}"),
    # Rows
    f"{HEAD}{ID},Ann,a@b": "3: 3 fields, not the 4 of user_id,name,email,age; nothing was inserted",
    f"{HEAD}{GOOD},more": "3: 5 fields, not the 4 of",
    **{f"{HEAD}{key},Ann,a@b,30": f"3: user_id '{key[:40]}' is not a UUID" for key in IDS},
    **{f"{HEAD}{ID},{name},a@b,30": f"3: name '' {NAME}" for name in ("", "  ", '"  "')},
    f"{HEAD}{ID},{'n' * 256},a@b,30": f"3: name '{'n' * 40}' {NAME}",
    f"{HEAD}{ID},Ann,{'e' * 250}@a.org,30": f"3: email '{'e' * 40}' {EMAIL}",
    **{
        f"{HEAD}{ID},Ann,{mail},30": f"3: email '{mail}' {EMAIL}"
        for mail in ("", "x", "@", "a@", "a b@c", 'a@b"')
    },
    **{f"{HEAD}{ID},Ann,{mail},30": "3: email '" for mail in ("a@b@c", " @b", "@b ", '" @b"')},
    **{f"{HEAD}{ID},Ann,a@b,{age}": f"3: age '{age[:40]}' {AGE}" for age in AGES},
    # What is not CSV text, and lines as an editor counts them
    f"{HEAD}{ID},A\0n,a@b,30": f"3: {LINE}",
    f"{HEAD}{ID},Ann,a@b,\x0030": f"3: {LINE}",
    "name,email,age\nZoë,z@b,30\n".encode("latin-1"): f"2: {LINE}",
    "name,email,age\nZoe,z@b,30\n".encode("utf-16"): f"1: {LINE}",
    "name,email,age\nZo\ufffd,z@b,30\n": f"2: {DAMAGED}",
    b"\x7fELF\x02\0\0\n\0": f"1: {LINE}",
    # Read in parts, this would be two users.
    f"name,email,age\n{'Ann,a@b,30':10000}Ben,b@b,40\n": f"2: {LONG}",
    b"x" * 20_000: f"1: {LONG}",
    b"name,email,age\nAnn," + b"x" * 9_997: f"2: {LONG}",
    b'name,email,age\nAnn,"a@b,30\n': "2: bad quotes: unexpected end of data",
    b'name,email,age\nAnn,"a@b"c,30\n': "2: bad quotes: ',' expected after '\"'",
    b'name,email,age\nAnn,"a@b" ,30\n': "2: bad quotes: ',' expected after '\"'",
    b'name,email,age\n"' + b"x\n" * 70_000: "2: bad quotes: field larger than field limit (131072)",
    b"name,email,age\r" + b"Ann,a@b,30\r" + b"Ben,a@b,x\r": f"3: age 'x' {AGE}",
    b"\n \n\nname,email,age\n\nBen,a@b,x\n": f"6: age 'x' {AGE}",
    b'name,email,age\n\n"Ann\nof\r\nLine",a@b,1\n\nBen,a@b,old\n"C\n",a@b,x\n': (
        f"3: name 'Ann\\nof\\r\\nLine' {BREAK}; 7: age 'old' {AGE}; 8: age 'x' {AGE}; nothing was"
    ),
    # One user too few, if the quotes were believed
    'name,email,age\n"Ann,a@b,3\nBen,b@b,4\nC,",c@b,5\n': "2: name 'Ann,a@b,3\\nBen,b@b,4\\nC,'",
    'name,email,age\nAnn,"a@b,3\nBen",4\n': f"2: email 'a@b,3\\nBen' {EMAIL}",
    'name,email,age\n"a\rb",a@b,3\n': f"2: name 'a\\rb' {BREAK}",
    # The first ten bad rows, each reason once
    "name,email,age\n" + "Ann,a@b,30\nAnn,a@b,x\n" * 25: (
        f"3, 5, 7, 9, 11, 13, 15, 17, 19, 21: age 'x' {AGE}; nothing was inserted"
    ),
    "name,email,age\n" + "Ann,a@b,x\nAnn,b,30\n" * 25: (
        f"2, 4, 6, 8, 10: age 'x' {AGE}; 3, 5, 7, 9, 11: email 'b' {EMAIL}; nothing was inserted"
    ),
    "user_id,name,email,age\n" + "Ann,a@b,30\n" * 25: (
        "2, 3, 4, 5, 6, 7, 8, 9, 10, 11: 3 fields, not the 4 of user_id,name,email,age; nothing"
    ),
}


@pytest.mark.parametrize(
    "text", WRONG, ids=[f"{line[:30]} {n}" for n, line in enumerate(WRONG.values())]
)
def test_what_is_wrong_is_told_with_its_line(csv_file, text):
    file, users = csv_file(text), []
    with pytest.raises(ValueError, match=f"^{re.escape(f'{file}:{WRONG[text]}')}") as error:
        read(file, users)
    assert type(error.value) is seed.InputError
    assert len(users) <= 1  # none after what is wrong


def test_ids_are_stored_in_one_form(csv_file):
    others = ("n" * 255, "e" * 253 + "@b", "0007")  # as long as they may be
    file = csv_file(csv_text((form, *others) for form in (ID, ID.upper(), f"{{{ID}}}")))
    assert read(file, []) == [(ID, *others)] * 3
    # Made from an email, they do not depend on its case.
    rows = [("Ann", "Ann@Example.com", 1), ("Ann", "ann@example.com", 1)]
    users = read(csv_file(csv_text(rows, ("name", "email", "age"))), [])
    key = str(uuid.uuid5(uuid.NAMESPACE_URL, "mailto:ann@example.com"))
    assert users == [(key, "Ann", "Ann@Example.com", "1"), (key, "Ann", "ann@example.com", "1")]


FILES = [
    f'"user_id", "name", "email","age"\n"{ID}", "Ann, Jr.", "ann@example.com","30"\n',
    f'user_id,name,email,age\n {ID} ," Ann, Jr. ",\tann@example.com , 30 \n',
    f'age,Email,NAME,USER_ID\n30,ann@example.com,"Ann, Jr.",{ID}\n',
    f"user_id;name;email;age\n{ID};Ann, Jr.;ann@example.com;30\n",
    f"user_id\tname\temail\tage\n{ID}\tAnn, Jr.\tann@example.com\t30\n",
    f"user_id;name;email;age\n;;;\n\n{ID};Ann, Jr.;ann@example.com;30\n  ;;;\n",
    f"\n \t\nuser_id;name;email;age\n{ID};Ann, Jr.;ann@example.com;30\n",
    f"\nuser_id\tname\temail\tage\n\n{ID}\tAnn, Jr.\tann@example.com\t30\n",
    f'"user_id,name,email,age"\n"{ID},""Ann, Jr."",ann@example.com,30"\n',
    f'"""user_id"",""name"",email,age"\n"""{ID}"",""Ann, Jr."",""ann@example.com"",""30"""\n',
]


@pytest.mark.parametrize("text", FILES)
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_files_as_people_have_them(csv_file, text, line_end):
    text = text.replace("\n", line_end)
    for each in (text, f"\ufeff{text}", text.rstrip("\r\n ;")):
        assert read(csv_file(each), []) == [(ID, "Ann, Jr.", "ann@example.com", "30")]


def test_endless_lines_end_at_once(empty):
    done = shell("ulimit -v 2000000; tr '\\0' a < /dev/zero | python seed.py /dev/stdin")
    assert done.errors.startswith(f"seed.py: /dev/stdin:1: {LONG}")


def test_files_that_cannot_be_read(empty, csv_file):
    assert refused(ran("seed.py", "missing.csv")).endswith("file or directory: 'missing.csv'")
    assert refused(ran("seed.py", "/proc/self/mem")).endswith("Input/output error")
    latin = csv_file("name,email,age\nZoë,z@b,30\n".encode("latin-1"))
    assert refused(ran("seed.py", latin)).endswith(f":2: {LINE}")


PIECES = [b"", b'"', b",", b"\n", b"\r", b" ", b"@", b"x", b"\0", b"\xff", b"-1", b'"5" ', b'""']


def test_a_spoilt_file_is_read_right_or_refused_with_a_line(csv_file):
    """One or two places are changed; what is not refused reads as Python's csv reads it."""
    rng, files, refusals = random.Random(7), 20_000 if "FUZZ" in os.environ else 1500, []
    for _ in range(files):
        delimiter, quoting = rng.choice(",;\t"), rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
        content = csv_text(first_users(8), delimiter=delimiter, quoting=quoting).encode()
        for _ in range(rng.randint(1, 2)):
            start = rng.randrange(len(content))
            content = content[:start] + rng.choice(PIECES) + content[start + rng.randint(0, 1) :]
        file = csv_file(content)
        try:
            users = read(file, [])
        except seed.InputError as error:
            refusals.append(str(error).removeprefix(f"{file}:"))
        else:
            text = io.StringIO(content.decode(), newline="")
            rows = csv.reader(text, delimiter=delimiter, skipinitialspace=True)
            rows = [[value.strip() for value in row] for row in rows]
            assert [[*user] for user in users] == [row for row in rows if any(row)][1:]
    assert 0.1 < len(refusals) / files < 0.9
    assert [each for each in refusals if not re.match(r"\d+(, \d+)*: ", each)] == []


def test_a_header_is_told_with_its_line_and_cut(csv_file):
    names = ["name", "email", *(f"column_{number}" for number in range(99))]
    with pytest.raises(seed.InputError) as error:
        read(csv_file(f"\n\n{','.join(names)}\n"), [])
    line = str(error.value)
    assert f"users.csv:3: {FIRST_LINE}'name', 'email', 'column_0'" in line
    assert len(line) < len(str(csv_file(""))) + 200
