#!/usr/bin/env python3
"""Show that the suite notices: make one mutant after the other, and see a test fail for each.

    python3 tests/mutants.py [WORD]     all of them, or those with WORD in their line

A mutant is a copy of the project with one edit. Two run at a time, each in a pytest of its own.
Ends with status 1 if one survives. Takes about two minutes.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
# The edited file, the file of the test, words of the test's name, what is replaced ==> by what.
MUTANTS = r"""
0-stream_users.py     streams      users_come_in_order  + " ORDER BY user_id" ==>
0-stream_users.py     imports      another_module       is globals() ==> is not None
1-batch_processing.py streams      users_come_in_order  + " ORDER BY user_id" ==>
1-batch_processing.py unit         batch_processing     > 25 ==> >= 25
2-lazy_paginate.py    streams      users_come_in_order  ORDER BY user_id LIMIT %s OFF ==> LIMIT %s OFF
2-lazy_paginate.py    streams      users_come_in_order  > %s ORDER BY user_id ==> > %s
2-lazy_paginate.py    streams      neither_skip         user_id > %s ==> user_id < %s
2-lazy_paginate.py    streams      empty_id             last_user_id = None ==> last_user_id = ""
2-lazy_paginate.py    tables       an_id_twice          page_size + 1 ==> page_size
4-stream_ages.py      unit         age_of_nobody        if count else 0 ==>
seed.py settings      before_the_option_file   and not variables["port"] ==>
seed.py settings      before_the_option_file   items() if value) ==> items() if value.strip("'"))
seed.py settings      before_the_option_file   "VERIFY_CA" if ==> "REQUIRED" if
seed.py settings      port_out_of_range        1, 65535 ==> 0, 65536
seed.py settings      broken_option_file       if path in including ==> if not path
seed.py settings      read_as_mysql            ESCAPES.get(match[1], match[0]) ==> match[0]
seed.py settings      read_as_mysql            sorted(Path(name).iterdir()) ==> []
seed.py access        tls_settings             ssl_verify_cert=security >= 3 ==> ssl_verify_cert=False
seed.py access        tls_settings             identity=security >= 4 ==> identity=False
seed.py access        without_tls              if security >= 2 ==> if security >= 9
seed.py access        sends_no_file            allow_local_infile=False ==> allow_local_infile=True
seed.py streams       no_transaction_open      autocommit=True ==> autocommit=False
seed.py settings      the_defaults             ["connect_timeout"] = 10 ==> ["connect_timeout"] = 0
seed.py tables        does_not_fit             if "user_id" not in keys: ==> if False:
seed.py tables        does_not_fit             and definition.endswith("NOT NULL") ==> and not keys
seed.py tables        does_not_fit             if key != "user_id" and ==> if not key and
seed.py tables        looks_at_a_table         if not facts: ==> if True:
seed.py tables        is_not_strict            'STRICT_ALL_TABLES' ==> ''
seed.py tables        arrive_as_they_are       if "'" in text or "\\" in text: ==> if "'" in text:
seed.py seed          text_of_every_kind       errors="surrogateescape", newline="") ==> errors="surrogateescape")
seed.py seed          text_of_every_kind       <= 255 ==> <= 254
seed.py csv           canonical_form           0*[0-9]{1,3} ==> [0-9]{1,3}
seed.py csv           depend_on_its_case       email.lower() ==> email
seed.py csv           no_csv_text              if "\0" in line: ==> if False:
seed.py csv           no_csv_text              len(line) > LINE_LIMIT ==> len(line) > 2 * LINE_LIMIT
seed.py csv           no_csv_text              skipinitialspace=True, strict=True ==> skipinitialspace=True
seed.py csv           people_have_them         max(",;\t", ==> max(",\t",
seed.py csv           people_have_them         name.lower() for ==> name for
seed.py csv           space_within_quotes      and quotes % 2 == 0: ==> :
seed.py csv           after_a_bad_row          if not bad_rows: ==> if bad_rows < 9:
seed.py csv           first_ten_bad_rows       if bad_rows <= 10: ==> if bad_rows <= 11:
seed.py csv           duplicate_is_passed      INSERT INTO user_data ( ==> INSERT IGNORE user_data (
seed.py seed          a_bad_row_inserts        cursor.execute("START TRANSACTION") ==> pass
seed.py seed          what_the_caller_did      cursor.execute("START TRANSACTION") ==> pass
seed.py seed          first_error_is           with suppress(mysql.connector.Error):  # a l ==> if True:  # a l
seed.py faults        undid_is_tried           errorcode.ER_CHECKREAD, ==>
seed.py faults        undid_is_tried           errorcode.ER_TRANSACTION_ROLLBACK_DURING_COMMIT, ==>
seed.py faults        has_an_end               uniform(0, ==> uniform(0.1,
seed.py faults        has_an_end               time.sleep(random ==> abs(random
seed.py faults        pipe_is_read_once        or not os.path.isfile(csv_file) ==>
seed.py faults        lock_wait_is             ER_CHECKREAD, ==> ER_CHECKREAD, 1205,
seed.py faults        ends_its_reading         while (item := following.result()) is not None: ==> for item in items:
seed.py streams       a_stop_reads_no_more     connection.unread_result is True: ==> False:
seed.py streams       a_stop_reads_no_more     KILL QUERY ==> KILL
seed.py streams       a_stop_reads_no_more     IS_USED_LOCK('{lock}') ==> IS_USED_LOCK('x')
seed.py streams       without_a_second         with suppress(Exception), closing(connect ==> with closing(connect
seed.py network       cuts_a_stream            "sql_select_limit = 18446744073709551615, ==> "
seed.py network       pause_has_a_limit        LONGEST_PAUSE = 24 ==> LONGEST_PAUSE = 23
seed.py streams       pause_does_not_end       net_write_timeout = {LONGEST_PAUSE}, ==>
seed.py faults        page_that_is_cut         return list(self._rows) ==> with suppress(mysql.connector.Error): return list(self._rows)
seed.py faults        wrong_sizes_raise        isinstance(value, bool) or not ==> not
seed.py network       is_no_user               check_rows(self.columns, rows) ==> pass
seed.py integration   before_its_line          sys.stdout.flush() ==> pass
seed.py integration   full_disk                os.dup2( ==> max(
seed.py integration   goes_away                except BrokenPipeError: ==> except ZeroDivisionError:
seed.py network       while_the_network        signal.signal(signal.SIGINT, signal.SIG_DFL) ==> pass
seed.py network       stays_ignored            signal.getsignal(signal.SIGINT) is ==> signal.SIGINT or
seed.py settings      too_many_connections     (1040, 1203, 1226) ==> (1203,)
seed.py settings      small_packets            (1153,) ==> ()
seed.py settings      take_no_writes           1792, ==>
seed.py settings      other_kinds              (1045, 1698) ==> (1045,)
seed.py settings      not_let_in               1130, ==>
seed.py settings      are_not_there            (2005,) ==> ()
seed.py settings      that_is_lost             2006, 2013, 2055, 4031 ==> 2055
"""


def result(mutant: str) -> str:
    """Return what became of a mutant; one that was noticed has the first word 'noticed'."""
    file, suite, test, edit = mutant.split(None, 3)
    old, new = (part.strip() for part in (edit + " ").split(" ==> "))
    with tempfile.TemporaryDirectory() as folder:
        ignored = shutil.ignore_patterns(".*", "__pycache__")
        copy = shutil.copytree(PROJECT, Path(folder, "copy"), ignore=ignored)
        shutil.copy(PROJECT / ".pytest.ini", copy)
        text = (copy / file).read_text(encoding="utf-8")
        if text.count(old) != 1:
            return f"stale, as that stands there {text.count(old)} times"
        (copy / file).write_text(text.replace(old, new), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-qx", f"tests/test_{suite}.py", "-k", test]
        command += ["-o", "faulthandler_timeout=60", "-o", "faulthandler_exit_on_timeout=true"]
        done = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    if done.returncode == 1 and " failed" in done.stdout:
        return "noticed"
    # All else is no answer: a test that is not there or hangs, a server that does not start.
    return "SURVIVED" if done.returncode == 0 else f"no answer: {done.stdout}"


def main() -> None:
    """Print a line for each mutant."""
    word = sys.argv[1] if sys.argv[1:] else ""
    mutants = [line for line in MUTANTS.strip().splitlines() if word in line]
    bad = 0
    with ThreadPoolExecutor(2) as pool:
        for mutant, what in zip(mutants, pool.map(result, mutants)):
            print(f"{what}: {' '.join(mutant.split())}", flush=True)
            bad += what != "noticed"
    print(f"{len(mutants) - bad} passed, {bad} failed")
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
