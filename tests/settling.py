"""What is printed, without what differs from machine to machine and from run to run."""

import re
from typing import Final

from stagerun.testing.golden import timeless


_DIFFERENT: Final = [
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z| [+-]\d{4})?", "MOMENT"),
    (r"process \d+ on \S+", "process N on HOST"),
    (r"on \S+, answered", "on HOST, answered"),
    (r"by process \d+ \(", "by process N ("),
    (r"(?<=\(alice, )[^)]+", "N"),  # how long a run ahead has been there
    (r"\b\d\S*( \d\S*)? left", "N left"),
    (r"\b\d[\d,.]*/(?:s|min)\b", "N/s"),
    (r"[━╸─]+", "━"),
    (r"\b\d+ms\b", "0.0s"),
    (r"[▁▂▃▄▅▆▇█]+", "▁"),
    (r"\d+% (?=slower|faster)", "N% "),
    (r"token=[\w-]+", "token=…"),
    (r'\b(time|hostname)="[^"]*"', r'\1=""'),  # of JUnit
    (r":\d+:stagerun_\d+", ":TIME:ID"),  # of GitLab
    (r" \(ms\)' value='\d+'", " (ms)' value='N'"),  # of TeamCity
    (r"\d+\.\d{3,}|\b\d\S*e-\d+", "0.0"),  # of JSON
    (r'"(pid|host)": "?\w+"?', r'"\1": ""'),
    # Of doctor: versions, and what is said of that of SQLite.
    (r"(Python|stagerun) \d+\.\d+\.\d+", r"\1 V"),
    (r"\d+\.\d+\.\d+ on Python V, \w+", "V on Python V, SYSTEM"),
    (r"^(?:ok|note) +SQLite .*", "ok SQLite V"),
    (r'"\w+",(\s+"what": "SQLite",\s+"text":) ".*"', r'"ok",\1 "V"'),
    (r"journal\.db, [\d,]+ bytes", "journal.db, N bytes"),
    # Python 3.11 and 3.13 mark the place in a line differently.
    (r"^(?:│ )? +[~^]+$\n", ""),
    (r"(?:\\n|&#10;) +[~^]+(?=\\n|&#10;)", ""),  # of JSON and XML
    (r" +", " "),
]


def settled(text: str) -> str:
    """Return `text` without what differs from machine to machine: durations, moments, processes, blanks."""
    text = timeless(text)
    for pattern, instead in _DIFFERENT:
        text = re.sub(pattern, instead, text, flags=re.MULTILINE)
    return text
