"""Texts in the visitor's language: English in the source, other languages from catalogues.

    template `_("Jobs")`, code `_("Job {id} is queued again", id=7)` --> locale/<language>/*.json --> text

A catalogue is a JSON object, English -> translation, one file per group of pages; all files of a folder are one
catalogue. `Text` is for sentences made where no request is near: it is its English self, and translates when shown.
What the node wrote into the registry (events, reasons) stays English.
"""

from __future__ import annotations

import functools
import json
from contextvars import ContextVar
from pathlib import Path
from typing import Any

LOCALE = Path(__file__).with_name("locale")
LANGUAGES = {"en": "English", "zh": "中文"}
HTML_LANGUAGE = {"en": "en", "zh": "zh-Hans"}
DEFAULT = "en"

LANGUAGE: ContextVar[str] = ContextVar("language", default=DEFAULT)


class Text(str):
    """A sentence in English that knows how to be said in other languages.

    Parameters
    ----------
    source
        The English sentence with `{names}`, as it stands in the catalogues.
    values
        What the names stand for.
    """

    source: str
    values: dict[str, Any]

    def __new__(cls, source: str, **values: Any) -> Text:
        made = str.__new__(cls, source.format(**values) if values else source)
        made.source = source
        made.values = values
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return str, (str(self),)


def N_(source: str) -> str:
    """Marks a string for the catalogues that is translated elsewhere, by `_(variable)`."""
    return source


def translate(source: str, /, **values: Any) -> str:
    """The text in the visitor's language; one that no catalogue knows stays as it is."""
    key = source
    if isinstance(source, Text):
        key, values = source.source, {**source.values, **values}
    known = catalogue(LANGUAGE.get()).get(key, key)
    return known.format(**values) if values else known


_ = translate


@functools.cache
def catalogue(language: str) -> dict[str, str]:
    """English -> translation; empty for English itself.

    Raises
    ------
    ValueError
        If two files of the language give one string different translations.
    """
    found: dict[str, str] = {}
    for path in sorted((LOCALE / language).glob("*.json")):
        for source, text in json.loads(path.read_text(encoding="utf-8")).items():
            if found.setdefault(source, text) != text:
                raise ValueError(f"{path}: '{source}' is translated otherwise in another file of this folder")
    return found


def choose(wanted: str, accept_language: str, configured: str = "auto") -> str:
    """The language for a request: the visitor's choice, else the configured one, else what the browser asks for."""
    if wanted in LANGUAGES:
        return wanted
    if configured in LANGUAGES:
        return configured
    ranked = []
    for position, part in enumerate(accept_language.split(",")[:20]):
        tag, _semicolon, weight = part.strip().partition(";q=")
        try:
            quality = float(weight) if weight else 1.0
        except ValueError:
            continue
        ranked.append((-quality, position, tag.split("-")[0].lower()))
    return next((tag for _quality, _position, tag in sorted(ranked) if tag in LANGUAGES), DEFAULT)
