"""Conditions of a rule: a tree of `all`, `any`, `not` and questions to header attributes.

    match:                          a mapping means: all of these
      Modality: NM
      any:
        - ImageType[2]: WHOLE BODY  [2] is the third value
        - SeriesDescription: ["*bone*", "re:骨.*像"]
      not: {SeriesDescription: "*phantom*"}

`parse` turns YAML into the tree and collects every mistake with its path; `check` asks a series' headers and returns
the same tree with what was seen, so that a decision can be shown whole. What a value may look like: `values`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from node.assemble.attributes import attribute_problem
from node.assemble.values import Scalar, ValueTest, parse_test

MAX_DEPTH = 12
"""Nesting of a rule; nobody reads deeper ones, and recursion stays bounded."""

ALL, ANY, NOT, ATTRIBUTE = "all", "any", "not", "attribute"

_KEY = re.compile(r"^([A-Za-z][A-Za-z0-9.]*)(?:\[(\d{1,2})\])?$")


@dataclass(frozen=True)
class Condition:
    """A node of the tree. A question (ATTRIBUTE) has name, index and test; the others have children."""

    kind: str
    children: tuple[Condition, ...] = ()
    name: str = ""
    index: int | None = None
    test: ValueTest | None = None

    @property
    def key(self) -> str:
        """The attribute as it is written in a rule."""
        return self.name if self.index is None else f"{self.name}[{self.index}]"

    def attributes(self) -> Iterator[str]:
        """Names of all attributes that the tree asks for."""
        if self.kind == ATTRIBUTE:
            yield self.name
        for child in self.children:
            yield from child.attributes()


@dataclass(frozen=True)
class Checked:
    """A condition with its answer; `seen` is the attribute's value (None: absent)."""

    kind: str
    matched: bool
    children: tuple[Checked, ...] = ()
    key: str = ""
    wanted: str = ""
    seen: Scalar | list[Scalar] | None = None

    def as_json(self) -> dict[str, Any]:
        """For the trace: `{"attribute", "wanted", "seen", "matched"}` or `{"all"|"any"|"not": [...], "matched"}`."""
        if self.kind == ATTRIBUTE:
            return {"attribute": self.key, "wanted": self.wanted, "seen": self.seen, "matched": self.matched}
        return {self.kind: [child.as_json() for child in self.children], "matched": self.matched}

    def failures(self) -> list[str]:
        """What stood in the way, one sentence each; empty if the condition matched."""
        if self.matched:
            return []
        if self.kind == ALL:
            return [failure for child in self.children for failure in child.failures()]
        if self.kind == ANY:  # what was wanted would fill a page; the whole trace shows it
            seen = {part.key: f"{part.key} is {show(part.seen)}" for part in self.questions() if not part.matched}
            return ["no alternative fits (" + ", ".join(seen.values()) + ")"]
        if self.kind == NOT:
            return ["ruled out: " + " and ".join(text for c in self.children for text in c.reasons())]
        return [f"{self.key} is {show(self.seen)}, wanted {self.wanted}"]

    def questions(self) -> Iterator[Checked]:
        """All questions to attributes in this tree."""
        if self.kind == ATTRIBUTE:
            yield self
        for child in self.children:
            yield from child.questions()

    def reasons(self) -> list[str]:
        """What made the condition match, one sentence each; empty if it did not."""
        if not self.matched or self.kind == NOT:
            return []
        if self.kind == ATTRIBUTE:
            return [f"{self.key} is {show(self.seen)} (fits {self.wanted})"]
        return [text for child in self.children for text in child.reasons()]


def show(seen: Scalar | list[Scalar] | None) -> str:
    """A value for people."""
    if seen is None:
        return "absent"
    if isinstance(seen, list):
        return "\\".join(show(part) for part in seen)
    if isinstance(seen, bool):
        return "yes" if seen else "no"
    return f"'{seen}'" if isinstance(seen, str) else f"{seen:g}" if isinstance(seen, float) else str(seen)


def parse(written: Any, path: str, problems: list[str], depth: int = 0) -> Condition:
    """The condition behind a piece of YAML; every mistake is added to `problems` as 'path: what is wrong'."""
    if depth > MAX_DEPTH:
        problems.append(f"{path}: conditions are nested deeper than {MAX_DEPTH} levels")
        return Condition(ALL)
    if not isinstance(written, dict) or not written:
        problems.append(f"{path}: a condition is a mapping such as 'Modality: NM', or one of all, any, not")
        return Condition(ALL)
    parts = tuple(_parse_entry(key, value, path, problems, depth) for key, value in written.items())
    return parts[0] if len(parts) == 1 else Condition(ALL, parts)


def _parse_entry(key: Any, value: Any, path: str, problems: list[str], depth: int) -> Condition:
    if key in (ALL, ANY, NOT):
        return _parse_group(key, value, f"{path}.{key}", problems, depth)
    where = f"{path}.{key}"
    found = _KEY.match(key) if isinstance(key, str) else None
    if found is None:
        problems.append(f"{where}: not an attribute; write a DICOM keyword, with [index] for one of several values")
        return Condition(ALL)
    problem = attribute_problem(found[1])
    if problem:
        problems.append(f"{where}: {problem}")
    if isinstance(value, bool) and found[1] != "MadeByOsteon":
        problems.append(f"{where}: YAML reads this as yes or no; put it in quotes to mean the text")
    try:
        test = parse_test(value)
    except ValueError as error:
        problems.append(f"{where}: {error}")
        return Condition(ALL)
    return Condition(ATTRIBUTE, name=found[1], index=int(found[2]) if found[2] else None, test=test)


def _parse_group(kind: str, value: Any, path: str, problems: list[str], depth: int) -> Condition:
    if isinstance(value, dict):
        # Under `any`, a mapping's entries are the alternatives; under `all` and `not` it is one condition.
        entries = [{key: part} for key, part in value.items()] if kind == ANY else [value]
        children = tuple(parse(entry, path, problems, depth + 1) for entry in entries)
    elif isinstance(value, list) and value:
        children = tuple(parse(part, f"{path}[{n}]", problems, depth + 1) for n, part in enumerate(value))
    else:
        problems.append(f"{path}: '{kind}' needs a condition or a list of conditions")
        return Condition(ALL)
    if kind == NOT:  # several conditions under `not`: none of them may hold
        children = (children[0] if len(children) == 1 else Condition(ANY, children),)
    return Condition(kind, children)


def check(condition: Condition, headers: Mapping[str, Any]) -> Checked:
    """Ask the headers of a series; every part is asked, also where the answer is known already."""
    if condition.test is not None:
        seen = _seen(headers.get(condition.name), condition.index)
        values: Sequence[Scalar] = seen if isinstance(seen, list) else [] if seen is None else [seen]
        matched = condition.test.matches(values)
        return Checked(ATTRIBUTE, matched, (), condition.key, condition.test.text, seen)
    children = tuple(check(child, headers) for child in condition.children)
    answers = [child.matched for child in children]
    matched = {ALL: all(answers), ANY: any(answers), NOT: not any(answers)}[condition.kind]
    return Checked(condition.kind, matched, children)


def _seen(value: Any, index: int | None) -> Scalar | list[Scalar] | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if index is None:
        return value
    values = value if isinstance(value, list) else [value]
    part = values[index] if index < len(values) else None
    return None if part == "" else part
