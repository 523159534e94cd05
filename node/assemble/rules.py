"""The rules of `routing.yaml`: which series goes to which pipeline.

    rules:
      - name: bone-scan             shown wherever the rule is spoken of
        pipeline: bone-scan
        enabled: true
        priority: 5                 0 runs first, 9 last
        destinations: default       or a list of names from destinations.yaml
        match: ...                  see node.assemble.conditions
        companion:                  another series of the study that the pipeline wants beside it
          role: ct
          match: ...
          wait_s: 900               how long to wait for it; default completion.companion_wait_s
          required: false           false: go on without it and say so; true: no job without it
          when: ...                 asked only for series like this; default: for all that the rule matches
          same: [Rows, Columns]     attributes that both series must have alike
          differ: [ProjectionView]  attributes that both must have, but not alike
          within_s: 1800            acquired at most so far apart
          joins: true               one job reads both; the series that came later has none of its own by this rule

Rules are data: they are parsed and checked here once, all mistakes are reported together with file and key, and
nothing of them is ever executed. A configuration folder without `routing.yaml` gets the rules that ship with osteon.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from yaml.nodes import MappingNode

from node.assemble.attributes import attribute_problem
from node.assemble.conditions import Condition, parse
from node.errors import ConfigurationError
from node.settings import Configuration
from node.settings.load import REPOSITORY_CONFIG

FILE_NAME = "routing.yaml"
DEFAULT_DESTINATIONS: Literal["default"] = "default"

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]


def _attribute(name: str) -> str:
    problem = attribute_problem(name)
    if problem:
        raise ValueError(problem)
    return name


Attribute = Annotated[str, AfterValidator(_attribute)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class Companion(_Strict):
    """Another series of the same study that a pipeline wants; `wait_s` None means the configured time."""

    role: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
    match: Condition
    wait_s: Annotated[float, Field(ge=0, le=7 * 86400)] | None = None
    required: bool = False
    when: Condition | None = None
    same: tuple[Attribute, ...] = ()
    differ: tuple[Attribute, ...] = ()
    within_s: Annotated[float, Field(ge=0)] | None = None
    joins: bool = False
    prefer: tuple[Condition, ...] = ()

    def attributes(self) -> Iterator[str]:
        """Names of all attributes that are asked for."""
        for condition in (self.match, self.when, *self.prefer):
            if condition is not None:
                yield from condition.attributes()
        yield from (*self.same, *self.differ)


class Rule(_Strict):
    """One rule as it stands in the file."""

    name: Name
    pipeline: Name
    match: Condition
    enabled: bool = True
    priority: Annotated[int, Field(ge=0, le=9)] = 5
    destinations: Literal["default"] | Annotated[tuple[Name, ...], Field(min_length=1)] = DEFAULT_DESTINATIONS
    companion: Companion | None = None

    @property
    def destination_names(self) -> tuple[str, ...]:
        """The destinations as a job keeps them: empty for the default ones, which are looked up when results exist."""
        return () if self.destinations == DEFAULT_DESTINATIONS else tuple(self.destinations)


@dataclass(frozen=True)
class Rules:
    """All rules, in the order of the file."""

    rules: tuple[Rule, ...]
    file: Path

    @cached_property
    def by_name(self) -> dict[str, Rule]:
        return {rule.name: rule for rule in self.rules}

    def attributes(self) -> frozenset[str]:
        """Names of all attributes that some rule asks for; the intake keeps them."""
        asked = [rule.match.attributes() for rule in self.rules]
        asked += [rule.companion.attributes() for rule in self.rules if rule.companion]
        return frozenset(name for names in asked for name in names)


def load_rules(configuration: Configuration) -> Rules:
    """The rules of a configuration.

    Raises
    ------
    ConfigurationError
        With every mistake, as 'file: key: what is wrong'.
    """
    file = rules_file(configuration)
    text = read_rules(file)
    return _parsed(text, file, frozenset(destination.name for destination in configuration.destinations))


@functools.lru_cache(maxsize=4)
def _parsed(text: str, file: Path, destinations: frozenset[str]) -> Rules:
    """Kept, because pages ask with every request and the text hardly ever changes; mistakes are told anew each time."""
    return parse_rules(text, file, destinations)


def rules_file(configuration: Configuration) -> Path:
    """The file whose rules are in force."""
    file = configuration.config_dir / FILE_NAME
    return file if file.exists() else REPOSITORY_CONFIG / FILE_NAME


def read_rules(file: Path) -> str:
    """The text of a file of rules; ConfigurationError if it cannot be read."""
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError([f"{file}: cannot be read: {error}"]) from error


def parse_rules(text: str, file: Path, destinations: Collection[str]) -> Rules:
    """The rules in a file's text; `destinations` are the names that rules may send to.

    Raises
    ------
    ConfigurationError
        As `load_rules`.
    """
    try:
        content = yaml.load(text, _UniqueKeys)  # a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigurationError([f"{file}:{where}: {getattr(error, 'problem', None) or error}"]) from error
    except (ValueError, RecursionError) as error:  # a date that is none, nesting without end
        raise ConfigurationError([f"{file}: {error}"]) from error
    problems: list[str] = []
    rules: list[Rule] = []
    if not isinstance(content, dict) or not isinstance(content.get("rules"), list):
        raise ConfigurationError([f"{file}: rules: a list of rules is expected here ('rules: []' routes nothing)"])
    problems += [f"{key}: this key is not known" for key in content if key != "rules"]
    for number, written in enumerate(content["rules"]):
        rule = _parse_rule(written, f"rules[{number}]", problems)
        if rule is not None:
            rules.append(rule)
            problems += _cross_checks(rule, f"rules[{number}]", [other.name for other in rules[:-1]], destinations)
    if problems:
        raise ConfigurationError([f"{file}: {problem}" for problem in problems])
    return Rules(tuple(rules), file)


def _parse_rule(written: Any, path: str, problems: list[str]) -> Rule | None:
    if not isinstance(written, dict):
        problems.append(f"{path}: a rule is a mapping with name, pipeline and match")
        return None
    values = dict(written)
    before = len(problems)
    if "match" in values:
        values["match"] = parse(values["match"], f"{path}.match", problems)
    companion = values.get("companion")
    if isinstance(companion, dict):
        conditions = {key: companion[key] for key in ("match", "when") if key in companion}
        parsed: dict[str, Any] = {
            key: parse(value, f"{path}.companion.{key}", problems) for key, value in conditions.items()
        }
        if isinstance(companion.get("prefer"), list):
            parsed["prefer"] = [
                parse(value, f"{path}.companion.prefer[{number}]", problems)
                for number, value in enumerate(companion["prefer"])
            ]
        values["companion"] = {**companion, **parsed}
    try:
        rule = Rule.model_validate(values)
    except ValidationError as error:
        for item in error.errors():
            key = ".".join(str(part) for part in item["loc"] if part not in ("literal['default']", "tuple[str, ...]"))
            what = "this key is not known" if item["type"] == "extra_forbidden" else item["msg"]
            given = "" if item["type"] in ("extra_forbidden", "missing") else f" (given: {item['input']!r})"
            problems.append(f"{path}.{key}: {what}{given}")
        return None
    return rule if len(problems) == before else None


def _cross_checks(rule: Rule, path: str, names: Collection[str], destinations: Collection[str]) -> list[str]:
    problems = []
    if rule.name in names:
        problems.append(f"{path}.name: the name '{rule.name}' is given twice")
    if rule.destinations != DEFAULT_DESTINATIONS:
        known = ", ".join(sorted(destinations)) or "none"
        problems += [
            f"{path}.destinations: no destination '{name}' in destinations.yaml (there: {known})"
            for name in rule.destinations
            if name not in destinations
        ]
    return problems


class _UniqueKeys(yaml.SafeLoader):
    """YAML that refuses a key given twice in one mapping, of which plain YAML would silently keep the last."""

    def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = getattr(key_node, "value", None)
            if isinstance(key, str) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key}' is given twice in one mapping", key_node.start_mark
                )
            seen.add(key if isinstance(key, str) else id(key_node))
        return super().construct_mapping(node, deep=deep)
