"""Routing as the page and the API show it: rules with their hits, one series asked or routed again, an edited
text tried and saved."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from node.assemble import rule_file
from node.assemble.dry_run import DryRun, dry_run
from node.assemble.explain import SeriesTrace, explain, explain_received
from node.assemble.planner import Planner
from node.assemble.route_again import RoutedAgain, route_again
from node.assemble.rules import DEFAULT_DESTINATIONS, Rules, load_rules, read_rules, rules_file
from node.dashboard.desk import Desk
from node.errors import ConfigurationError
from node.registry.audit import Actor, audited
from node.registry.rule_hits import rule_hits
from pipelines.contract.pipeline import iter_pipeline_names

HIT_DAYS = 30
MAX_UPLOAD_BYTES = 64_000_000
"""A whole-body scan or a slice; enhanced multi-frame files beyond that are asked by `osteon route explain`."""


@dataclass(frozen=True)
class RuleView:
    """A rule with its hits of the last HIT_DAYS days. installed: whether the node has its pipeline."""

    name: str
    pipeline: str
    enabled: bool
    installed: bool
    priority: int
    destinations: tuple[str, ...]
    companion: str
    hits: int
    last_hit_at: datetime | None


@dataclass(frozen=True)
class RoutingView:
    """The rules in force. problem: why the file cannot be read; running processes then keep the rules they had."""

    file: str
    text: str
    sha256: str
    problem: str
    hit_days: int
    rules: tuple[RuleView, ...]
    versions: tuple[rule_file.Version, ...]


@dataclass(frozen=True)
class Trial:
    """What became of an edited text: its mistakes, or what it would change."""

    text: str
    sha256: str
    days: int
    problems: tuple[str, ...]
    outcome: DryRun | None


def routing_view(desk: Desk) -> RoutingView:
    """The rules as they are."""
    file = rules_file(desk.configuration)
    text, problem, rules = "", "", Rules((), file)
    try:
        text = read_rules(file)
        rules = load_rules(desk.configuration)
    except ConfigurationError as error:
        problem = str(error)
    installed = frozenset(iter_pipeline_names())
    with desk.registry.reading() as session:
        hits = rule_hits(session, desk.clock() - timedelta(days=HIT_DAYS))
    views = []
    for rule in rules.rules:
        count, last = hits.get(rule.name, (0, None))
        names = () if rule.destinations == DEFAULT_DESTINATIONS else rule.destination_names
        companion = rule.companion.role if rule.companion else ""
        views.append(
            RuleView(rule.name, rule.pipeline, rule.enabled, rule.pipeline in installed, rule.priority, names,
                     companion, count, last)
        )  # fmt: skip
    found = tuple(rule_file.versions(desk.configuration))
    return RoutingView(str(file), text, rule_file.digest(text), problem, HIT_DAYS, tuple(views), found)


def explain_upload(desk: Desk, content: bytes) -> SeriesTrace:
    """What the rules say of a file that a person chose; it is gone once this returns."""
    with tempfile.TemporaryDirectory(prefix="osteon-explain-") as folder:
        path = Path(folder, "file")
        path.write_bytes(content)
        traces = explain(desk.configuration, [path])
    if not traces:
        return SeriesTrace((), problem="It is no DICOM file.")
    found = traces[0]
    said = found.problem.removeprefix(f"{path}: ")
    return SeriesTrace(
        files=(path,) if found.trace else (),
        study_uid=found.study_uid,
        series_uid=found.series_uid,
        modality=found.modality,
        description=found.description,
        trace=found.trace,
        companions=found.companions,
        problem=said[:1].upper() + said[1:],
    )


def explain_series(desk: Desk, series_uid: str) -> SeriesTrace:
    """What the rules as they are now say of a received series; PermanentError if there is none."""
    with desk.registry.reading() as session:
        return explain_received(session, desk.storage, load_rules(desk.configuration), series_uid)


def route_series_again(desk: Desk, who: Actor, series_uid: str) -> RoutedAgain:
    """Have a complete series routed by the rules as they are now.

    Raises
    ------
    ConfigurationError, PermanentError
        If the rules are wrong; as `node.assemble.route_again.route_again`.
    """
    planner = Planner.of(desk.configuration)
    with desk.registry.transaction() as session:
        return route_again(session, who, planner, desk.storage, series_uid, desk.clock())


def try_text(desk: Desk, text: str, days: int) -> Trial:
    """An edited text on the series of the last `days` days, beside the rules in force."""
    text = rule_file.plain_text(text)
    try:
        new = rule_file.check_text(desk.configuration, text)
    except ConfigurationError as error:
        return Trial(text, rule_file.digest(text), days, tuple(error.problems), None)
    try:
        old = load_rules(desk.configuration)
    except ConfigurationError:  # the file in force is broken: everything the new one does is new
        old = Rules((), rules_file(desk.configuration))
    since = desk.clock() - timedelta(days=days)
    with desk.registry.reading() as session:
        outcome = dry_run(session, desk.storage, old, new, since, frozenset(iter_pipeline_names()))
    return Trial(text, rule_file.digest(text), days, (), outcome)


def save(desk: Desk, who: Actor, text: str, base_sha256: str) -> rule_file.Saved:
    """Put an edited text in force, with its line in the audit trail.

    Raises
    ------
    ConfigurationError, PermanentError
        As `node.assemble.rule_file.save_text`.
    """
    saved = rule_file.save_text(desk.configuration, rule_file.plain_text(text), base_sha256, desk.clock())
    with desk.registry.transaction() as session:
        audited(
            session,
            who,
            "routing.save",
            "routing.yaml",
            before={"sha256": saved.before_sha256, "kept as": saved.version or "nothing: the shipped rules"},
            after={"sha256": saved.after_sha256, "difference": list(saved.difference)},
            now=desk.clock(),
        )
    return saved
