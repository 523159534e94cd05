"""`osteon route explain`: what the rules say of files, without any node running.

Files are read and grouped into series as the intake does it; then the same pure functions decide. Where a file has no
place (no study, not DICOM), that is said in place of a trace.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from node.assemble.companion import find_companion, wants_companion
from node.assemble.instance_file import InstanceFile, UnregistrableError, read_instance
from node.assemble.routing import Trace, route, trace_lines
from node.assemble.rules import Rules, load_rules
from node.assemble.stored_headers import with_stored_headers
from node.registry.series import SeriesFacts, series_facts, series_of_study
from node.registry.states import SeriesState
from node.settings import Configuration
from node.storage import Storage
from node.storage.walk import walk
from pipelines.contract.pipeline import iter_pipeline_names


@dataclass(frozen=True)
class SeriesTrace:
    """The trace of one series among the files, or the problem of one file.

    companions: rule name -> series UID of the companion found among the files, None if there is none; only for rules
    that matched and want one. Of two series that one job reads, each names the other.
    """

    files: tuple[Path, ...]
    study_uid: str = ""
    series_uid: str = ""
    modality: str = ""
    description: str = ""
    trace: Trace | None = None
    companions: dict[str, str | None] = field(default_factory=dict)
    problem: str = ""

    def as_json(self) -> dict[str, Any]:
        """Stable schema: study_uid, series_uid, modality, description, files, problem, companions, routing."""
        return {
            "study_uid": self.study_uid,
            "series_uid": self.series_uid,
            "modality": self.modality,
            "description": self.description,
            "files": [str(file) for file in self.files],
            "problem": self.problem,
            "companions": self.companions,
            "routing": None if self.trace is None else self.trace.as_json(),
        }


def explain(configuration: Configuration, paths: Iterable[Path]) -> list[SeriesTrace]:
    """Route the series among files and folders, in the order of their first files; nothing is stored or started.

    Raises
    ------
    ConfigurationError
        If the rules are wrong.
    """
    rules = load_rules(configuration)
    installed = frozenset(iter_pipeline_names())
    members: dict[str, list[tuple[Path, InstanceFile]]] = defaultdict(list)
    problems: list[SeriesTrace] = []
    for file in (found.path for found in walk(paths)):
        try:
            instance = read_instance(file, rules.attributes())
        except (UnregistrableError, OSError) as error:
            problems.append(SeriesTrace((file,), problem=f"{file}: {error}"))
        else:
            members[instance.series_uid].append((file, instance))
    studies: dict[str, list[SeriesFacts]] = defaultdict(list)
    facts: list[tuple[SeriesFacts, str, list[tuple[Path, InstanceFile]]]] = []
    for number, (series_uid, found) in enumerate(members.items()):
        study_uid = found[0][1].study_uid
        series = _facts(number, series_uid, found)
        studies[study_uid].append(series)
        facts.append((series, study_uid, found))
    traces = [_explain_series(series, uid, found, studies[uid], rules, installed) for series, uid, found in facts]
    return traces + problems


def explain_received(session: Session, storage: Storage, rules: Rules, series_uid: str) -> SeriesTrace:
    """Route a series that was received; nothing is written.

    The registry kept its headers; those that rules ask for since then are read from its first stored file, as
    `route_again` does it.

    Raises
    ------
    PermanentError
        If there is no such series.
    """
    wanted = series_facts(session, series_uid)
    received = series_of_study(session, wanted.study_id)
    study = [with_stored_headers(session, storage, rules, series) for series in received]
    series = next(series for series in study if series.id == wanted.id)
    trace = route(series.headers, rules, frozenset(iter_pipeline_names()))
    return SeriesTrace(
        files=(),
        series_uid=series.series_uid,
        modality=str(series.headers.get("Modality", "")),
        description=str(series.headers.get("SeriesDescription", "")),
        trace=trace,
        companions=_companions(trace, rules, series, study),
    )


def explain_text(trace: SeriesTrace) -> str:
    """A trace for people: which series, what follows, then every rule with every condition."""
    if trace.trace is None:
        return trace.problem
    count = f"{len(trace.files)} file{'s' if len(trace.files) != 1 else ''}" if trace.files else "as received"
    said = f"'{trace.description}'" if trace.description else "no description"
    lines = [f"series {trace.series_uid} ({trace.modality or 'no modality'}, {said}, {count})"]
    lines += trace_lines(trace.trace)
    for rule, uid in trace.companions.items():
        lines.append(f"  companion for rule {rule}: " + (f"series {uid}" if uid else "none among these files"))
    return "\n".join(lines)


def _facts(number: int, series_uid: str, found: list[tuple[Path, InstanceFile]]) -> SeriesFacts:
    headers = {**found[0][1].headers, "InstanceCount": len({instance.sop_uid for _, instance in found})}
    return SeriesFacts(
        id=number,
        study_id=0,
        series_uid=series_uid,
        state=SeriesState.COMPLETE,
        instance_count=len(found),
        content_revision=1,
        first_received_at=datetime.fromtimestamp(number, UTC),
        headers=headers,
    )


def _explain_series(
    series: SeriesFacts,
    study_uid: str,
    found: list[tuple[Path, InstanceFile]],
    study: list[SeriesFacts],
    rules: Rules,
    installed: frozenset[str],
) -> SeriesTrace:
    trace = route(series.headers, rules, installed)
    first = found[0][1]
    return SeriesTrace(
        files=tuple(file for file, _ in found),
        study_uid=study_uid,
        series_uid=series.series_uid,
        modality=first.text("Modality"),
        description=first.text("SeriesDescription"),
        trace=trace,
        companions=_companions(trace, rules, series, study),
    )


def _companions(trace: Trace, rules: Rules, series: SeriesFacts, study: list[SeriesFacts]) -> dict[str, str | None]:
    matched = {rule.rule for rule in trace.rules if rule.matched}
    found: dict[str, str | None] = {}
    for rule in rules.rules:
        if rule.companion is not None and rule.name in matched and wants_companion(rule.companion, series):
            best = find_companion(rule.companion, series, study).partner
            found[rule.name] = best.series_uid if best else None
    return found
