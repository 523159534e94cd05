"""What a rule says about a value means what the documentation says, and no pattern in a rule can run away."""

from __future__ import annotations

import fnmatch
import re
import string
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from node.assemble.text import MAX_TEXT_CHARACTERS
from node.assemble.values import MAX_PATTERN_CHARACTERS, compile_pattern, parse_test

MATCHES = [
    ("NM", ["NM"]),
    ("nm", ["NM"]),
    ("ＮＭ", ["NM"]),
    ("T2 SAG", ["Ｔ２　ＳＡＧ"]),
    ("whole body", ["WHOLE   BODY"]),
    ("*骨*", ["全身骨显像"]),
    ("*bone*", ["WB BONE SCAN"]),
    ("t?", ["T2"]),
    ("*", ["x"]),
    ("re:^wb", ["WB bone"]),
    ("re:T2", ["sag t2 tse"]),
    ("10*", [1024]),
    (1024, [1024]),
    (1024, ["1024"]),
    (2.5, [2.5]),
    ("=1024", [1024.0]),
    ("=a*b", ["A*B"]),
    (">= 70", [70]),
    ("> 70", [70.001]),
    ("<= 3", [3]),
    ("< -1", [-2.5]),
    ("[70, 130]", [70]),
    ("[70, 130]", [130]),
    ("(70, 130)", [71]),
    ("3..5", [4.2]),
    ("-3..5", [-3]),
    ("[70, 130]", ["99.24"]),
    (["A", "B"], ["b"]),
    ([None, ">= 3"], []),
    ([None, ">= 3"], [4]),
    ("WHOLE BODY", ["ORIGINAL", "PRIMARY", "WHOLE BODY"]),
    (None, []),
    (None, ["", ""]),
    (True, [True]),
    (False, []),
]
FAILS = [
    ("NM", ["NMX"]),
    ("NM", []),
    ("*", []),
    ("*", [""]),
    ("t?", ["T"]),
    ("=a*b", ["axb"]),
    ("> 70", [70]),
    ("(70, 130)", [70]),
    ("[70, 130)", [130]),
    ("[70, 130]", ["about 99"]),
    ("[70, 130]", []),
    (1024, [1024.5]),
    (1, [True]),
    ("1", [True]),
    ("re:^wb", ["my wb"]),
    (None, ["x"]),
    (None, [0]),
    (True, []),
    (True, ["yes"]),
    (False, [True]),
]


@pytest.mark.parametrize(("written", "values"), MATCHES)
def test_a_value_that_fits_matches(written: Any, values: list[Any]) -> None:
    assert parse_test(written).matches(values)


@pytest.mark.parametrize(("written", "values"), FAILS)
def test_a_value_that_does_not_fit_does_not_match(written: Any, values: list[Any]) -> None:
    assert not parse_test(written).matches(values)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("", "write ~ for"),
        ([], "1 to 100"),
        ([70, 130], r'write "\[70, 130\]" for the range'),
        ([["a"]], "another list"),
        ({"a": 1}, "put it in quotes"),
        ("[130, 70]", "empty"),
        (float("inf"), "finite"),
        ("re:", "1 to 200 characters"),
        ("re:" + "a" * (MAX_PATTERN_CHARACTERS + 1), "1 to 200 characters"),
        ("re:(", "not a regular expression"),
        ("re:[[a]", "not a regular expression"),
        (r"re:(.)\1", "back references"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_way_out(written: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_test(written)


@pytest.mark.parametrize(
    "pattern",
    ["(a+)+$", "(a|a)*b", "(a|aa)+$", "(.*)*x", "([a-z]+)*1", "a?" * 30 + "a" * 30, "(a{1,20}){1,20}b", ".*.*.*.*x"],
)
def test_patterns_known_to_run_away_are_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="could take very long"):
        compile_pattern(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        "t2",
        r"\b(t2|t2w)\b",
        "^(wb|whole.?body)",
        "(骨|bone).*(全身|whole)",
        "[0-9]{1,4}x[0-9]{1,4}",
        ".*a.*b",
        "(?i:x)y?",
    ],
)
def test_patterns_that_people_write_are_taken(pattern: str) -> None:
    assert compile_pattern(pattern).pattern == pattern


fragments = st.sampled_from(
    ["a", "b", ".", "[ab]", "(a|b)", "(a|ab)", "a?", "b*", ".*", "a+", "(ab)+", "a{1,3}", "^", "$"]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(fragments, min_size=1, max_size=8).map("".join))
@example(".*a.*b")
def test_every_pattern_that_is_taken_ends_on_the_longest_hostile_text(pattern: str) -> None:
    """A runaway would hang until the test's time-out; that is the claim, no time is measured."""
    try:
        compiled = compile_pattern(pattern)
    except ValueError:
        return
    for text in ("a" * MAX_TEXT_CHARACTERS, "ab" * (MAX_TEXT_CHARACTERS // 2), "a" * (MAX_TEXT_CHARACTERS - 1) + "!"):
        compiled.search(text)


@given(
    pattern=st.text(alphabet="ab*?", min_size=1, max_size=12),
    text=st.text(alphabet="ab", min_size=1, max_size=12),
)
def test_globs_match_as_the_standard_library_matches_them(pattern: str, text: str) -> None:
    assert parse_test(pattern).matches([text]) == fnmatch.fnmatchcase(text, pattern)


@given(low=st.integers(-50, 50), width=st.integers(0, 50), value=st.integers(-120, 120))
def test_a_range_holds_its_ends_and_nothing_beyond(low: int, width: int, value: int) -> None:
    high = low + width
    inside = low <= value <= high
    assert parse_test(f"[{low}, {high}]").matches([value]) == inside
    assert parse_test(f"{low}..{high}").matches([value]) == inside
    assert parse_test(f"({low}, {high})").matches([value]) == (low < value < high)


@given(st.text(alphabet=string.printable, max_size=30))
def test_any_text_is_either_refused_or_answers(written: str) -> None:
    try:
        test = parse_test(written)
    except ValueError:
        return
    assert test.matches(["some text", 5]) in (True, False)
    assert isinstance(test.text, str)


def test_the_cost_bound_is_above_what_a_matcher_really_tries() -> None:
    """A pattern just inside the bound is run on its worst text; it must end."""
    compiled = compile_pattern("(a|aa|aaa|aaaa|aaaaa).*.*b")
    assert compiled.search("a" * MAX_TEXT_CHARACTERS) is None
    assert isinstance(compiled, re.Pattern)
