"""What a rule may say about one value, and how it is tested: text patterns, numbers, ranges, absence.

    written in routing.yaml          matches
    NM                               that text; case, width (full or half) and runs of spaces do not count
    "*bone*"                         * is any run of characters, ? any one
    "re:(t2|t2w)"                    a regular expression found anywhere in the text
    1024, "=1024"                    that number ("=text" is that text, with * and ? taken literally)
    ">= 3", "< 0"                    numbers on that side
    "[70, 130]", "(0, 10)", "3..5"   numbers in that range; a round bracket leaves the end out
    [a, b, ...]                      any of these
    true, false                      a flag
    ~ (nothing)                      the attribute is absent or empty

A value with several parts (ImageType) matches if one part does. Regular expressions are data from a file that a
hospital edits: they are refused if a text of the longest kept length could make them run away (`pattern_cost`).
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from re import _constants as sre  # type: ignore[attr-defined]
from re import _parser as sre_parser  # type: ignore[attr-defined]
from typing import Any

from node.assemble.text import MAX_TEXT_CHARACTERS, comparable

MAX_PATTERN_CHARACTERS = 200
MAX_PATTERN_PATHS = 5e8
"""Ways in which a pattern may at worst be tried on one text; two free repetitions (.*) fit, three do not."""

MAX_CHOICES = 100

Scalar = str | int | float | bool

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_SIDE = re.compile(rf"^\s*(>=|<=|>|<)\s*({_NUMBER})\s*$")
_BRACKETS = re.compile(rf"^\s*([\[(])\s*({_NUMBER})\s*,\s*({_NUMBER})\s*([\])])\s*$")
_DOTS = re.compile(rf"^\s*({_NUMBER})\s*\.\.\s*({_NUMBER})\s*$")


@dataclass(frozen=True)
class ValueTest:
    """One thing a value may be asked. `text` is how it was written."""

    text: str

    def holds(self, value: Scalar) -> bool:
        """Whether one part of a value passes."""
        raise NotImplementedError

    def matches(self, values: Sequence[Scalar]) -> bool:
        """Whether any part of a value passes; an absent attribute has no parts."""
        return any(self.holds(value) for value in values)


@dataclass(frozen=True)
class Absent(ValueTest):
    """No value at all."""

    def holds(self, value: Scalar) -> bool:
        return False

    def matches(self, values: Sequence[Scalar]) -> bool:
        return not any(str(value).strip() for value in values)


@dataclass(frozen=True)
class Flag(ValueTest):
    """A yes-or-no attribute; an absent one is no."""

    wanted: bool

    def holds(self, value: Scalar) -> bool:
        return value is self.wanted

    def matches(self, values: Sequence[Scalar]) -> bool:
        return any(value is True for value in values) is self.wanted


@dataclass(frozen=True)
class Within(ValueTest):
    """A number between `low` and `high`, each end included or not."""

    low: float
    high: float
    low_included: bool = True
    high_included: bool = True

    def holds(self, value: Scalar) -> bool:
        number = _as_number(value)
        if number is None:
            return False
        if number == self.low or math.isclose(number, self.low, rel_tol=1e-9):
            return self.low_included
        if number == self.high or math.isclose(number, self.high, rel_tol=1e-9):
            return self.high_included
        return self.low < number < self.high


@dataclass(frozen=True)
class Glob(ValueTest):
    """A text pattern with * and ?; `pattern` is in comparable form. `literal` takes both as they are."""

    pattern: str
    literal: bool = False

    def holds(self, value: Scalar) -> bool:
        text = comparable(_as_text(value))
        if not text or isinstance(value, bool):
            return False
        return text == self.pattern if self.literal else _glob(self.pattern, text)


@dataclass(frozen=True)
class Pattern(ValueTest):
    """A regular expression that is found in the text."""

    compiled: re.Pattern[str]

    def holds(self, value: Scalar) -> bool:
        return not isinstance(value, bool) and self.compiled.search(comparable(_as_text(value))) is not None


@dataclass(frozen=True)
class AnyOf(ValueTest):
    """One of several tests."""

    choices: tuple[ValueTest, ...]

    def holds(self, value: Scalar) -> bool:
        return any(choice.holds(value) for choice in self.choices)

    def matches(self, values: Sequence[Scalar]) -> bool:
        return any(choice.matches(values) for choice in self.choices)


def parse_test(written: Any) -> ValueTest:
    """The test that a value in routing.yaml stands for.

    Raises
    ------
    ValueError
        With a sentence that says what is wrong and what to write instead.
    """
    if written is None:
        return Absent("nothing")
    if isinstance(written, bool):
        return Flag("yes" if written else "no", written)
    if isinstance(written, int | float):
        if not math.isfinite(written):
            raise ValueError("a number must be finite")
        return Within(f"{written:g}", float(written), float(written))
    if isinstance(written, str):
        return _parse_text(written)
    if isinstance(written, list):
        return _parse_list(written)
    raise ValueError(
        f"a value is a text, a number, a list of these or nothing, not {type(written).__name__}; put it in quotes if a "
        "text is meant"
    )


def _parse_list(written: list[Any]) -> ValueTest:
    if not 1 <= len(written) <= MAX_CHOICES:
        raise ValueError(f"a list of choices has 1 to {MAX_CHOICES} entries, not {len(written)}")
    if len(written) == 2 and all(isinstance(part, int | float) and not isinstance(part, bool) for part in written):
        low, high = written
        raise ValueError(
            f'[{low}, {high}] without quotes could be a range or a choice; write "[{low}, {high}]" for the range, '
            f'["={low}", "={high}"] for the choice'
        )
    if any(isinstance(part, list) for part in written):
        raise ValueError("a list of choices cannot hold another list")
    choices = tuple(parse_test(part) for part in written)
    return AnyOf("any of " + ", ".join(choice.text for choice in choices), choices)


def _parse_text(written: str) -> ValueTest:
    if written.startswith("re:"):
        return Pattern(written, compile_pattern(written[3:]))
    if found := _SIDE.match(written):
        sign, bound = found[1], float(found[2])
        included = sign in (">=", "<=")
        low, high = (bound, math.inf) if sign[0] == ">" else (-math.inf, bound)
        return Within(written, low, high, included, included)
    if found := _BRACKETS.match(written):
        return _range(written, float(found[2]), float(found[3]), found[1] == "[", found[4] == "]")
    if found := _DOTS.match(written):
        return _range(written, float(found[1]), float(found[2]), True, True)
    if written.startswith("="):
        number = _as_number(written[1:])
        if number is not None:
            return Within(written, number, number)
        return Glob(written, _not_empty(comparable(written[1:])), literal=True)
    return Glob(written, _not_empty(comparable(written)))


def _range(written: str, low: float, high: float, low_included: bool, high_included: bool) -> ValueTest:
    if low > high:
        raise ValueError(f"the range {written} is empty: its lower end comes first")
    return Within(written, low, high, low_included, high_included)


def _not_empty(pattern: str) -> str:
    if not pattern:
        raise ValueError("an empty text matches nothing; write ~ for an attribute that is absent or empty")
    return pattern


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Compile a regular expression from a rule.

    Raises
    ------
    ValueError
        If it is no regular expression, too long, or could run away.
    """
    if not 1 <= len(pattern) <= MAX_PATTERN_CHARACTERS:
        raise ValueError(f"a pattern has 1 to {MAX_PATTERN_CHARACTERS} characters, this one has {len(pattern)}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what `re` is in doubt about today means something else tomorrow
            compiled = re.compile(pattern, re.IGNORECASE)
            cost = pattern_cost(pattern)
    except (re.error, OverflowError, RecursionError, Warning) as error:
        raise ValueError(f"not a regular expression: {error}") from error
    if cost > math.log(MAX_PATTERN_PATHS):
        raise ValueError(
            "this pattern could take very long on some text; use fewer repetitions (* + ? {..}), none inside another, "
            "or several conditions instead"
        )
    return compiled


def pattern_cost(pattern: str) -> float:
    """Natural logarithm of an upper bound on the ways in which a backtracking matcher can try a pattern on one text.

    Counted on the parsed expression: alternatives add up, what follows one another multiplies, a repetition counts
    each of its lengths. A search starts at every character. ValueError for back references, which have no such bound.
    """
    return _cost(sre_parser.parse(pattern, re.IGNORECASE)) + math.log(MAX_TEXT_CHARACTERS)


def _cost(items: Any) -> float:
    total = 0.0
    for operation, argument in items:
        if operation in (sre.GROUPREF, sre.GROUPREF_EXISTS):
            raise ValueError("back references are not allowed in a rule's pattern")
        if operation is sre.BRANCH:
            total += math.log(sum(math.exp(min(_cost(branch), 700.0)) for branch in argument[1]))
        elif operation in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
            total += _repeat_cost(*argument)
        elif operation is sre.SUBPATTERN:
            total += _cost(argument[3])
        elif operation is sre.ATOMIC_GROUP:
            total += _cost(argument)
        elif operation in (sre.ASSERT, sre.ASSERT_NOT):
            total += _cost(argument[1])
    return total


def _repeat_cost(least: int, most: int, body: Any) -> float:
    width = max(1, body.getwidth()[0])
    longest = min(int(most), MAX_TEXT_CHARACTERS // width)
    lengths = max(1, longest - int(least) + 1)
    return math.log(lengths) + longest * _cost(body)


def _glob(pattern: str, text: str) -> bool:
    """Match with * and ? in time proportional to the product of both lengths, whatever the pattern."""
    position = start = 0
    star = -1
    mark = 0
    while start < len(text):
        if position < len(pattern) and pattern[position] == "*":
            star, mark = position, start
            position += 1
        elif position < len(pattern) and pattern[position] in ("?", text[start]):
            position += 1
            start += 1
        elif star >= 0:
            mark += 1
            position, start = star + 1, mark
        else:
            return False
    return all(character == "*" for character in pattern[position:])


def _as_number(value: Scalar) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _as_text(value: Scalar) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
