"""Routing as one pure function: the headers of a series and the rules give a trace, and the trace says what to do.

Every rule is asked, and of every rule every condition; the trace keeps each with the value that was seen, whether it
matched, and what follows. Jobs keep the trace of their rule, series a shorter one, `osteon route explain` shows all.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from node.assemble.conditions import ALL, Checked, check, show
from node.assemble.rules import Rule, Rules

OWN_RESULT = "made by this node, so it is not routed again"


@dataclass(frozen=True)
class RuleTrace:
    """What one rule said.

    fires: a job follows. outcome: the sentence that says why or why not. near_miss: all of its conditions but one held.
    """

    rule: str
    pipeline: str
    matched: bool
    fires: bool
    near_miss: bool
    outcome: str
    checked: Checked

    def as_json(self, *, conditions: bool = True) -> dict[str, Any]:
        """Stable schema: rule, pipeline, matched, fires, near_miss, outcome, conditions (None where left out)."""
        return {
            "rule": self.rule,
            "pipeline": self.pipeline,
            "matched": self.matched,
            "fires": self.fires,
            "near_miss": self.near_miss,
            "outcome": self.outcome,
            "conditions": self.checked.as_json() if conditions else None,
        }


@dataclass(frozen=True)
class Trace:
    """What all rules said of one series. skipped: why none was asked, "" if they were."""

    rules: tuple[RuleTrace, ...]
    skipped: str = ""

    @property
    def fired(self) -> tuple[RuleTrace, ...]:
        """The rules that ask for a job."""
        return tuple(rule for rule in self.rules if rule.fires)

    @property
    def near_misses(self) -> tuple[RuleTrace, ...]:
        """The rules that failed by one condition."""
        return tuple(rule for rule in self.rules if rule.near_miss)

    @property
    def summary(self) -> str:
        """One sentence: what follows, or why nothing does."""
        if self.skipped:
            return f"Nothing to do: {self.skipped}."
        if self.fired:
            return "; ".join(f"rule '{rule.rule}' asks for pipeline '{rule.pipeline}'" for rule in self.fired) + "."
        matched = [rule.outcome for rule in self.rules if rule.matched]
        if matched:
            return f"Nothing to do: {'; '.join(matched)}."
        near = [f"'{rule.rule}' nearly matched ({rule.outcome})" for rule in self.near_misses]
        return "No rule matched." + (f" {'; '.join(near)}." if near else "")

    def as_json(self) -> dict[str, Any]:
        """Stable schema: summary, skipped, fired (names), rules (see RuleTrace)."""
        return self._json([rule.as_json() for rule in self.rules])

    def as_record(self) -> dict[str, Any]:
        """`as_json` as it is kept with a series: conditions only of rules that matched or nearly did.

        The others' would fill the database with what every CT slice is not; `osteon route explain` shows them.
        """
        return self._json([rule.as_json(conditions=rule.matched or rule.near_miss) for rule in self.rules])

    def _json(self, rules: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "summary": self.summary,
            "skipped": self.skipped,
            "fired": [rule.rule for rule in self.fired],
            "rules": rules,
        }


def route(headers: Mapping[str, Any], rules: Rules, installed: Collection[str]) -> Trace:
    """Ask every rule about one series.

    Parameters
    ----------
    headers
        As `node.assemble.attributes.collect_headers` keeps them.
    installed
        Names of the pipelines that this node has; a rule for another one matches but does not fire.

    Notes
    -----
    Several rules may fire, but each pipeline once: of two rules for one pipeline, the first in the file.
    """
    if headers.get("MadeByOsteon"):
        return Trace((), OWN_RESULT)
    taken: dict[str, str] = {}
    traces = []
    for rule in rules.rules:
        trace = _ask(rule, headers, installed, taken)
        if trace.fires:
            taken[rule.pipeline] = rule.name
        traces.append(trace)
    return Trace(tuple(traces))


def _ask(rule: Rule, headers: Mapping[str, Any], installed: Collection[str], taken: Mapping[str, str]) -> RuleTrace:
    checked = check(rule.match, headers)
    fires, near_miss = False, False
    if not checked.matched:
        failures = checked.failures()
        near_miss = rule.enabled and _is_near_miss(checked)
        outcome = "; ".join(failures) or "its conditions do not hold"
    elif not rule.enabled:
        outcome = f"rule '{rule.name}' matches but is switched off (enabled: false)"
    elif rule.pipeline not in installed:
        outcome = f"rule '{rule.name}' matches, but pipeline '{rule.pipeline}' is not installed in this node"
    elif rule.pipeline in taken:
        outcome = f"rule '{rule.name}' matches, but rule '{taken[rule.pipeline]}' already asks for '{rule.pipeline}'"
    else:
        fires, outcome = True, f"rule '{rule.name}' asks for pipeline '{rule.pipeline}'"
    return RuleTrace(rule.name, rule.pipeline, checked.matched, fires, near_miss, outcome, checked)


def _is_near_miss(checked: Checked) -> bool:
    if checked.kind != ALL or len(checked.children) < 2:
        return False
    return sum(not child.matched for child in checked.children) == 1


def condition_lines(checked: Checked, depth: int = 0) -> list[str]:
    """The tree of a checked condition as text, one line per node, `+` for what matched and `-` for what did not."""
    indent = "  " * depth
    mark = "+" if checked.matched else "-"
    if checked.key:
        return [f"{indent}{mark} {checked.key}: {show(checked.seen)}   (wanted: {checked.wanted})"]
    lines = [f"{indent}{mark} {checked.kind}"]
    for child in checked.children:
        lines += condition_lines(child, depth + 1)
    return lines


def trace_lines(trace: Trace) -> list[str]:
    """A trace as text: the summary, then every rule with every condition."""
    lines = [trace.summary]
    for rule in trace.rules:
        state = "FIRES" if rule.fires else "matches" if rule.matched else "near miss" if rule.near_miss else "no"
        lines += [f"  rule {rule.rule} -> pipeline {rule.pipeline}: {state}"]
        if not rule.fires:
            lines += [f"    because {rule.outcome}"]
        lines += ["    " + line for line in condition_lines(rule.checked)]
    return lines
