"""Filter of private paths: every path in a text becomes `<path>`. Used for W&B and for published directories.

A path may contain blanks, commas, brackets and apostrophes, so in free text its end is a guess; the filter rather
removes a word too much. Relative paths such as `a/b`, metrics such as `train/loss` and URLs stay.
"""

import re
from typing import Any

HIDDEN = "<path>"
URL = r"(?:file|sqlite(?:\+\w+)?|smb|nfs|afp|s?ftp|ssh|scp|rsync):/+"
USER = r"~(?!hydra\b)[A-Za-z_][\w.-]*"  # `~hydra.x` deletes a setting
ROOT = rf"(?:{URL}|//(?=\w)|/[\w.~@%(\[{{]|~[/\\]|{USER}|\.{{1,2}}[/\\]|[A-Za-z]:[/\\]|\\\\[\w?.])"
HOST = r"(?:[\w.-]+@[\w.-]+:)?"  # of scp and git
# A path starts neither inside a word (train/loss) nor after a URL's colon, a closing bracket or `+` (`+/-`).
START = r"(?<![\w./\\<>)\]}+~-])(?<!:(?=//))"
LETTER = r"(?:(?!:\s)[^\s,;'\"()\[\]{}<>])"
# Up to three more words, if a slash follows them: `/home/Your Name/data`, `/home/o'brien/data`, `/srv/[a]/b`.
WORD = r"[^\s/\\:;='\"()\[\]{}<>]+"
SEPARATOR = r"(?:[,;'()\[\]{}][ ]?|[ ][(\[{']?)"
MORE = rf"(?:{SEPARATOR}(?:{WORD}[ '()\[\]{{}}]){{0,2}}{WORD}[)\]}}]?[/\\]|[)\]}}'][/\\]){LETTER}*"

WHOLE_PATH = re.compile(rf"(?P<key>[\w.+~/@]+=)?{HOST}{ROOT}[^\n]*?(?P<rest>  (?!\S*[/\\])[^\n]*)?")
QUOTED_PATH = re.compile(rf"(?P<quote>['\"`])(?P<key>[\w.+~/@]+=)?{HOST}{ROOT}[^\n]*?(?P=quote)(?!\w)")
HOME_WITH_BLANK = re.compile(
    rf"{START}(?:[A-Za-z]:)?[/\\](?:home|Users)[/\\]+[^\s/\\]+[ ][^\s/\\:;,)\]'\"]+(?=$|[:;,)\]'\"\n])(?![)\]'][/\\])"
)
BARE_PATH = re.compile(rf"{START}{HOST}{ROOT}{LETTER}*(?:{MORE})*")
CREDENTIALS = re.compile(r"(?<=://)[^\s/?#@'\"]*(?:@[^\s/?#@'\"]*)*@")


def without_paths(value: Any) -> Any:
    """Return the same nested value with each path in its strings replaced by `<path>`, and URLs without their user."""
    if isinstance(value, dict):
        return {key: without_paths(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_paths(item) for item in value]
    return hide_paths(value) if isinstance(value, str) else value


def hide_paths(text: str) -> str:
    """Return a text with each path replaced by `<path>`, and URLs without user and password."""
    text = CREDENTIALS.sub("", text)
    if whole := WHOLE_PATH.fullmatch(text):
        return f"{whole['key'] or ''}{HIDDEN}{whole['rest'] or ''}"
    text = QUOTED_PATH.sub(lambda match: f"{match['key'] or ''}{HIDDEN}", text)
    for pattern in (HOME_WITH_BLANK, BARE_PATH):
        text = pattern.sub(HIDDEN, text)
    return text
