"""Human dates: read back by `strptime`, the same for a seed, the course's file and its contradictions."""

import datetime
import os
import re
from collections import Counter

import numpy as np
import pytest

from jaxnn.data import BadFile, MissingData, human_dates, load_dates, parse_date
from jaxnn.data.dates import COURSE_FORMATS, FORMATS
from tests import course

# The parts as Python's own reader names them.
STRPTIME = {"d": "%d", "dd": "%d", "m": "%m", "mm": "%m", "yy": "%y", "yyyy": "%Y", "month": "%B", "mon": "%b",
            "weekday": "%A", "wd": "%a"}


@pytest.mark.parametrize("template", [f for f in FORMATS if "ordinal" not in f])
def test_each_format_is_read_back(template):
    """By Python's strptime, the weekday too, and by our reader."""
    pairs = human_dates(200, 3, formats=[template])
    for text, date in zip(*pairs):
        read = datetime.datetime.strptime(text, template.format(**STRPTIME))
        if read.year >= 2070:  # its two digits are of 1969 to 2068
            read = read.replace(year=read.year - 100)
        assert read.date().isoformat() == date
        assert parse_date(text, formats=[template]) == date
        if "d}" in template and "weekday" in template:
            assert datetime.date.fromisoformat(date).strftime("%A").lower() in text


def test_ordinals():
    pairs = human_dates(2000, 0, formats=["{ordinal} of {month} {yyyy}"])
    suffix = {int(re.match(r"\d+", text)[0]): re.match(r"\d+(..)", text)[1] for text in pairs.texts}
    assert {d for d, s in suffix.items() if s == "st"} == {1, 21, 31}
    assert {d for d, s in suffix.items() if s == "nd"} == {2, 22}
    assert {d for d, s in suffix.items() if s == "rd"} == {3, 23}
    assert [parse_date(text) for text in pairs.texts] == list(pairs.dates)


def test_a_seed_is_a_set():
    a, b, other = human_dates(300, 5), human_dates(300, 5), human_dates(300, 6)
    assert a == b != other
    assert len(set(a.texts)) > 290 and min(a.dates) >= "1970-01-01" and max(a.dates) <= "2020-12-31"
    years = Counter(date[:4] for date in human_dates(5100, 0).dates)
    assert len(years) == 51 and min(years.values()) > 50
    assert human_dates(1, 0, first="2000-02-29", last="2000-02-29").dates == ("2000-02-29",)
    only = human_dates(50, 0, formats={"{d} {month} {yyyy}": 0, "{yyyy} {month} {d}": 2}).texts
    assert all(text[:4].isdigit() for text in only)


def test_the_alphabet_of_the_course():
    """The course's 35 characters are enough for its formats."""
    texts = human_dates(5000, 0, formats=COURSE_FORMATS).texts
    assert set("".join(texts)) == set(" ./0123456789abcdefghijlmnoprstuvwy")


def test_texts_that_are_no_date():
    for text in ("", "30 february 2001", "sunday may 20 2013", "31/12/99 ", "1.1.1", "0 may 2000", "32 may 2000"):
        assert parse_date(text) is None
    assert parse_date(" 12/31/99 ") == "1999-12-31" and parse_date("3 May 1979") == "1979-05-03"
    assert parse_date("1.2.1950") == "1950-02-01" and parse_date("5 mar 49", first_year=1950) == "2049-03-05"


HAS_FILE = os.path.exists(os.path.join(os.environ.get("JAXNN_DATA", ""), "c5", "dates_10000.tsv"))


@pytest.mark.skipif(not HAS_FILE, reason="c5/dates_10000.tsv is not in the data directory")
def test_the_courses_file():
    every, kept = load_dates(contradictory=True), load_dates()
    assert len(every.texts) == 10_000 and len(kept.texts) == 9_967
    left = Counter(zip(*every)) - Counter(zip(*kept))
    for text, date in left:  # all of the last days of a year, and one year off
        assert date[5:7] == "12" and int(date[8:]) >= 26
        assert int(parse_date(text, formats=(*COURSE_FORMATS, "{dd} {mm} {yy}"))[:4]) == int(date[:4]) + 1
    shares = {template: np.mean([parse_date(t, formats=[template]) is not None for t in every.texts[:2000]])
              for template in COURSE_FORMATS}
    assert abs(shares["{weekday} {month} {d} {yyyy}"] - 0.417) < 0.05


@pytest.mark.skipif(bool(course.missing()) or not HAS_FILE, reason=course.missing() or "the course's file is missing")
def test_the_first_ten():
    want = course.load()["c5w3.dates_dataset"]["expected"]
    assert [list(pair) for pair in zip(*load_dates())][:10] == [list(pair) for pair in want]


@pytest.mark.parametrize(("content", "words"), [
    (b"", "got an empty file"), (b"\xff\tx\n", "expects text in UTF-8"),
    (b"9 may 1998\t1998-05-09\n9 may 1998 1998-05-09\n", "in line 2; got '9 may 1998 1998-05-09'"),
    (b"9 may 1998\t1998-02-30\n", "in line 1"), (b"\t1998-05-09\n", "in line 1"), (b"x\t19980509\n", "in line 1"),
    (b"a\t1998-05-09\n\nb\t1998-05-09", "in line 2; got ''")])
def test_damaged_files(content, words, tmp_path):
    (tmp_path / "c5").mkdir()
    (tmp_path / "c5" / "dates_10000.tsv").write_bytes(content)
    with pytest.raises(BadFile, match=re.escape(words)):
        load_dates(tmp_path)


def test_one_line_and_no_file(tmp_path):
    with pytest.raises(MissingData, match="human_dates"):
        load_dates(tmp_path)
    (tmp_path / "dates_10000.tsv").write_text("9 may 1998\t1998-05-09")
    assert load_dates(tmp_path) == (("9 may 1998",), ("1998-05-09",))
    (tmp_path / "dates_10000.tsv").write_text("31 dec 1972\t1971-12-31")
    assert load_dates(tmp_path) == ((), ())


@pytest.mark.parametrize(("call", "words"), [
    (lambda: human_dates(0, 0), "human_dates expects n, a positive integer; got 0"),
    (lambda: human_dates(1, -1), "seed, an integer >= 0; got -1"),
    (lambda: human_dates(1, 0, formats=["{d} {month}"]), "formats with a day, a month and a year"),
    (lambda: human_dates(1, 0, formats=["{d} {dd} {m} {yy}"]), "formats with a day, a month and a year"),
    (lambda: human_dates(1, 0, formats=["{d} {m} {year}"]), "formats with a day, a month and a year"),
    (lambda: human_dates(1, 0, formats=[]), "at least one format; got none"),
    (lambda: human_dates(1, 0, formats={FORMATS[0]: 0}), "shares >= 0 of the formats, not all of them 0"),
    (lambda: human_dates(1, 0, first="2000-01-02", last="2000-01-01"), "first not after last"),
    (lambda: human_dates(1, 0, first="2000-02-30"), "first, a date such as 1970-01-31; got '2000-02-30'"),
    (lambda: human_dates(1, 0, first="1900-01-01"), "less than 100 years for '{dd}.{mm}.{yy}'"),
    (lambda: parse_date(3), "parse_date expects a text; got int"),
])
def test_refusals(call, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        call()
