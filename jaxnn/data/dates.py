"""Dates as people write them, and as ISO 8601 has them: the pairs that translation with attention learns from.

    "saturday april 28 1990"  1990-04-28        "9/10/70"  1970-09-10        "10.11.19"  2019-11-10

Days are before months but between slashes, where months are first. All is in lower case, without commas, as in the
course. Nothing is downloaded, and no package of locales is needed.
"""

import datetime
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxnn.checks import expect, is_integer
from jaxnn.data.directory import find
from jaxnn.data.lines import read_text_lines
from jaxnn.file_errors import BadFile

__all__ = ["COURSE_FORMATS", "FORMATS", "DatePairs", "human_dates", "load_dates", "parse_date"]

MONTHS = ("january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
          "december")
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

# The formats of the course's file, with their shares in 10,000.
COURSE_FORMATS = {
    "{weekday} {month} {d} {yyyy}": 4170, "{dd} {mon} {yyyy}": 880, "{d} {mon} {yyyy}": 880, "{month} {d} {yyyy}": 1190,
    "{mon} {d} {yyyy}": 530, "{d} {month} {yyyy}": 1100, "{dd}.{mm}.{yy}": 420, "{d} {mm} {yy}": 370,
    "{m}/{d}/{yy}": 440}
# And more of them, each with one share.
FORMATS = (*COURSE_FORMATS, "{mm}/{dd}/{yyyy}", "{dd}.{mm}.{yyyy}", "{d}.{m}.{yyyy}", "{yyyy}/{mm}/{dd}",
           "{ordinal} of {month} {yyyy}", "{ordinal} {month} {yyyy}", "{month} {ordinal} {yyyy}",
           "{wd} {d} {mon} {yyyy}", "{weekday} {d} {month} {yyyy}", "{wd} {mon} {dd} {yyyy}",
           "{weekday} the {ordinal} of {month} {yyyy}",
           "{d} {mon} {yy}", "{dd}-{mon}-{yyyy}", "{yyyy} {month} {d}")
PARTS = {"d": r"[1-9]|[12]\d|3[01]", "dd": r"0[1-9]|[12]\d|3[01]", "m": r"[1-9]|1[0-2]", "mm": r"0[1-9]|1[0-2]",
         "yy": r"\d\d", "yyyy": r"\d{4}", "month": "|".join(MONTHS), "mon": "|".join(m[:3] for m in MONTHS),
         "weekday": "|".join(WEEKDAYS), "wd": "|".join(w[:3] for w in WEEKDAYS), "ordinal": r"\d{1,2}(?:st|nd|rd|th)"}


class DatePairs(NamedTuple):
    """texts[i], as a person writes a date, and dates[i], the same in ISO 8601."""

    texts: tuple[str, ...]
    dates: tuple[str, ...]


def human_dates(n: int, seed: int, *, formats: Any = FORMATS, first: str = "1970-01-01",
                last: str = "2020-12-31") -> DatePairs:
    """n dates between the first and the last, each in a format of its own; the same for the same seed.

    Args:
      n: how many pairs; the same date, and the same pair, may come twice.
      seed: an integer >= 0.
      formats: templates such as "{d} {month} {yyyy}", of equal share, or a dictionary of their shares, such as
        COURSE_FORMATS. Of {d dd m mm yy yyyy month mon weekday wd ordinal} a template needs day, month and year.
      first, last: in ISO 8601, less than 100 years apart where a format has two digits for the year.
    Raises:
      InputError: an argument is not as above.

    >>> human_dates(2, 0, formats=["{weekday} {month} {d} {yyyy}"])
    DatePairs(texts=('monday may 20 2013', 'thursday june 27 2002'), dates=('2013-05-20', '2002-06-27'))
    """
    who = "human_dates"
    expect(is_integer(n, 1), who, "n, a positive integer", repr(n))
    expect(is_integer(seed, 0), who, "seed, an integer >= 0", repr(seed))
    start, stop = (_date(who, name, text) for name, text in (("first", first), ("last", last)))
    expect(start <= stop, who, "first not after last", f"{first} and {last}")
    shares = formats if isinstance(formats, dict) else dict.fromkeys(formats, 1)
    expect(bool(shares), who, "at least one format", "none")
    for template in shares:
        _expect_template(who, template)
        expect("{yy}" not in template or stop.year - start.year < 100, who,
               f"less than 100 years for {template!r}", f"{first} to {last}")
    rng = np.random.default_rng(seed)
    days = rng.integers((stop - start).days + 1, size=n)
    weights = np.array(list(shares.values()), float)
    expect(bool(np.all(np.isfinite(weights)) and np.all(weights >= 0) and weights.sum() > 0), who,
           "shares >= 0 of the formats, not all of them 0", str(list(shares.values())))
    chosen = rng.choice(len(shares), size=n, p=weights / weights.sum())
    templates = list(shares)
    dates = [start + datetime.timedelta(int(day)) for day in days]
    return DatePairs(tuple(_written(date, templates[k]) for date, k in zip(dates, chosen, strict=True)),
                     tuple(date.isoformat() for date in dates))


def parse_date(text: str, *, formats: Any = FORMATS, first_year: int = 1970) -> str | None:
    """The date in ISO 8601, by the formats; None where none fits, there is no such day, or the weekday is another.

    Args:
      formats: templates as for `human_dates`; the first that fits.
      first_year: two digits stand for a year from this one on, in the hundred that it begins.

    >>> parse_date("9/10/70"), parse_date("10.11.19"), parse_date("30 feb 2001")
    ('1970-09-10', '2019-11-10', None)
    """
    expect(isinstance(text, str), "parse_date", "a text", type(text).__name__)
    for template in formats:
        _expect_template("parse_date", template)
        found = re.fullmatch(_pattern(template), text.strip().lower())
        if found and (date := _read(found.groupdict(), first_year)) is not None:
            return date.isoformat()
    return None


def load_dates(directory: str | Path | None = None, *, contradictory: bool = False) -> DatePairs:
    """The course's 10,000 pairs, read from c5/dates_10000.tsv: 9,967 of them.

    Args:
      directory: the data directory, as in `data_directory`.
      contradictory: also those whose date is not what the text says: the course's generator wrote the year of the
        week for that of the day, and so 33 dates around New Year are a year off.
    Raises:
      MissingData: the file is not there.
      BadFile: the file is empty or not UTF-8, or a line is no text and date with a tabulator between.
    Source: Deep Learning Specialization, course 5, week 3.
    """
    path = find("c5/dates_10000.tsv", directory, how_to_get="write one by the load_dataset of the assignment 'Neural "
                "machine translation' (Deep Learning Specialization, course 5, week 3): text, tabulator, date",
                instead="jaxnn.data.human_dates(10_000, seed=0)")
    pairs = []
    for number, line in enumerate(read_text_lines(path), 1):
        text, tabulator, date = line.partition("\t")
        is_date = bool(re.fullmatch(r"\d{4}-\d\d-\d\d", date)) and _is_day(date)
        if not (text and tabulator and is_date):
            raise BadFile(f"{path} expects a text, a tabulator and a date in ISO 8601 in line {number}; got "
                          f"{line[:60]!r}; write the file again")
        pairs.append((text, date))
    kept = [(text, date) for text, date in pairs if contradictory or agrees(text, date)]
    return DatePairs(*(tuple(column) for column in zip(*kept, strict=True))) if kept else DatePairs((), ())


def agrees(text: str, date: str) -> bool:
    """Whether the text is not another date by the course's formats."""
    found = parse_date(text, formats=(*COURSE_FORMATS, "{dd} {mm} {yy}"))
    return found is None or found == date


def _written(date: datetime.date, template: str) -> str:
    month, weekday = MONTHS[date.month - 1], WEEKDAYS[date.weekday()]
    return template.format(
        d=date.day, dd=f"{date.day:02d}", m=date.month, mm=f"{date.month:02d}", yy=f"{date.year % 100:02d}",
        yyyy=f"{date.year:04d}", month=month, mon=month[:3], weekday=weekday, wd=weekday[:3],
        ordinal=f"{date.day}{_suffix(date.day)}")


def _suffix(day: int) -> str:
    """Of an ordinal: 1st 2nd 3rd 4th, but 11th 12th 13th."""
    return "th" if day in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")


def _pattern(template: str) -> str:
    parts = re.split(r"\{(\w+)\}", template)
    return "".join(re.escape(part) if i % 2 == 0 else f"(?P<{part}>{PARTS[part]})" for i, part in enumerate(parts))


def _read(found: dict[str, str], first_year: int) -> datetime.date | None:
    day = next(int(re.sub(r"\D", "", found[name])) for name in ("d", "dd", "ordinal") if name in found)
    names = [month[:3] for month in MONTHS]
    month = next(int(found[name]) if name in ("m", "mm") else names.index(found[name][:3]) + 1
                 for name in ("m", "mm", "month", "mon") if name in found)
    year = int(found["yyyy"]) if "yyyy" in found else first_year + (int(found["yy"]) - first_year) % 100
    try:
        date = datetime.date(year, month, day)
    except ValueError:
        return None
    said = found.get("weekday") or found.get("wd")
    return date if said is None or WEEKDAYS[date.weekday()].startswith(said) else None


def _expect_template(who: str, template: Any) -> None:
    parts = re.findall(r"\{([^{}]*)\}", template) if isinstance(template, str) else []
    is_whole = set(parts) <= set(PARTS) and len(set(parts)) == len(parts) and all(
        sum(part in one for part in parts) == 1 for one in (("d", "dd", "ordinal"), ("m", "mm", "month", "mon"),
                                                            ("yy", "yyyy")))
    expect(is_whole, who, f"formats with a day, a month and a year of {{{' '.join(PARTS)}}}", repr(template))


def _date(who: str, name: str, text: Any) -> datetime.date:
    expect(isinstance(text, str) and _is_day(text), who, f"{name}, a date such as 1970-01-31", repr(text))
    return datetime.date.fromisoformat(text)


def _is_day(text: str) -> bool:
    try:
        datetime.date.fromisoformat(text)
    except ValueError:
        return False
    return True
