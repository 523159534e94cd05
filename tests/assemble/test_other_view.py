"""Two series with a view each are one bone scan, by the shipped rules: one job reads both; nothing else is joined."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from node.assemble import AssemblyReport
from node.assemble.attributes import collect_headers
from node.assemble.explain import explain
from node.assemble.rules import load_rules, parse_rules
from node.errors import ConfigurationError
from node.registry.database import Registry
from node.registry.models import Series
from tests.assemble.assembling import Node
from tests.assemble.objects import configure, data_set, part10
from tests.imaging.nm_objects import detector

WAIT = timedelta(seconds=60)
SIDES = {"anterior": 180.0, "posterior": 0.0}


def one_view(side: str | None, acquired: str = "120000", **attributes: Any) -> dict[str, Any]:
    """What the intake keeps of a whole-body series with one view; `side` None names none."""
    return collect_headers(data_set(**header(side, acquired, **attributes)))


def header(side: str | None, acquired: str = "120000", **attributes: Any) -> dict[str, Any]:
    return {
        "NumberOfFrames": 1,
        "AcquisitionDate": "20260301",
        "AcquisitionTime": acquired,
        "PixelSpacing": [2.26, 2.26],
        "Rows": 1024,
        "Columns": 256,
        "PixelData": None,
        "DetectorInformationSequence": [detector(SIDES[side])] if side else [],
    } | attributes


class Scanner(Node):
    """The assembler under the shipped rules."""

    def view(self, series: int, side: str | None, acquired: str = "120000", **attributes: Any) -> str:
        return self.receive(series, description="WB BONE", headers=one_view(side, acquired, **attributes))

    def states(self) -> list[tuple[str, set[str]]]:
        return [(job.state, set(self.inputs(job.id))) for job in self.jobs()]


@pytest.fixture
def scanner(registry: Registry, tmp_path: Path) -> Scanner:
    configuration = configure(tmp_path)
    return Scanner(registry, configuration, load_rules(configuration))


BOTH = [("queued", {"primary", "second-view"})]


@pytest.mark.parametrize("order", [("anterior", "posterior"), ("posterior", "anterior")])
def test_two_views_that_come_together_make_one_job_of_the_first(scanner: Scanner, order: tuple[str, str]) -> None:
    first, second = scanner.view(1, order[0]), scanner.view(2, order[1], "121900")
    scanner.step()
    assert scanner.states() == BOTH
    (job,) = scanner.jobs()
    assert scanner.inputs(job.id) == {"primary": (first, 1), "second-view": (second, 1)}
    assert scanner.woken == [(job.id, job.priority)]
    assert f"read together with series {first}, by one job" in str(scanner.series(second).routing)


def test_a_second_view_that_comes_a_little_later_is_waited_for(scanner: Scanner) -> None:
    scanner.view(1, "anterior")
    assert scanner.step() == AssemblyReport(completed=1, waiting=1)
    assert "Waiting for a second-view series of the study" in scanner.jobs()[0].reason
    scanner.view(2, "posterior")
    assert not scanner.step(WAIT / 2), "it is just arriving"
    scanner.step()
    assert scanner.states() == BOTH


def test_the_first_view_may_be_complete_last(scanner: Scanner) -> None:
    scanner.view(1, "anterior")
    second = scanner.view(2, "posterior")
    scanner.assembler.force_complete(second, scanner.now)
    assert scanner.step(timedelta(seconds=1)) == AssemblyReport(completed=1)
    assert scanner.jobs() == []
    scanner.step()
    assert scanner.states() == BOTH


def test_a_view_that_stays_alone_is_analysed_after_the_wait_and_again_with_the_other_if_that_comes(
    scanner: Scanner,
) -> None:
    scanner.view(1, "posterior")
    scanner.step()
    assert scanner.step(WAIT) == AssemblyReport(queued=1)
    assert scanner.jobs()[0].reason == (
        "No second-view series of the study came within 60 s; the analysis runs without it."
    )
    scanner.set_state(scanner.jobs()[0].id, "done")
    scanner.view(2, "anterior")
    scanner.step()
    assert scanner.states() == [("done", {"primary"}), *BOTH]
    assert [job.revision for job in scanner.jobs()] == [1, 2]


NOT_JOINED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "the same view twice": ({"side": "anterior"}, {"side": "anterior"}),
    "another matrix": ({"side": "anterior"}, {"side": "posterior", "Rows": 512}),
    "another pixel size": ({"side": "anterior"}, {"side": "posterior", "PixelSpacing": [2.4, 2.4]}),
    "three hours later": ({"side": "anterior"}, {"side": "posterior", "acquired": "150000"}),
    "at a time that nobody says": ({"side": "anterior"}, {"side": "posterior", "AcquisitionTime": None}),
}


@pytest.mark.parametrize("case", NOT_JOINED)
def test_what_does_not_belong_together_makes_a_job_each(scanner: Scanner, case: str) -> None:
    for number, view in enumerate(NOT_JOINED[case], start=1):
        scanner.view(number, **view)
    scanner.step()
    scanner.step(WAIT)
    assert scanner.states() == [("queued", {"primary"})] * 2


@pytest.mark.parametrize(
    "alone", [{"side": None}, {"side": "anterior", "NumberOfFrames": 2}], ids=["unnamed", "both views in one object"]
)
def test_what_cannot_have_another_view_waits_for_none(scanner: Scanner, alone: dict[str, Any]) -> None:
    scanner.view(1, **alone)
    assert scanner.step() == AssemblyReport(completed=1, queued=1)


def test_two_views_in_one_series_wait_for_none(scanner: Scanner) -> None:
    scanner.view(1, "anterior")
    scanner.receive(1, 2, "WB BONE", headers=one_view("posterior"))
    assert scanner.step() == AssemblyReport(completed=1, queued=1)


def test_a_third_series_changes_no_pair(scanner: Scanner) -> None:
    scanner.view(1, "anterior")
    scanner.view(2, "posterior")
    scanner.step()
    scanner.view(3, "anterior")
    scanner.step()
    scanner.step(WAIT)
    assert scanner.states() == [*BOTH, ("queued", {"primary"})]


def test_a_correction_that_parts_a_pair_makes_a_job_each(scanner: Scanner) -> None:
    scanner.view(1, "anterior")
    scanner.view(2, "posterior")
    scanner.step()
    scanner.set_state(scanner.jobs()[0].id, "done")
    scanner.receive(2, description="WB BONE", headers=one_view("anterior"), sha256="corrected")
    scanner.step()
    scanner.step(WAIT)
    assert scanner.states() == [("done", {"primary", "second-view"}), *[("queued", {"primary"})] * 2]
    assert sorted(job.revision for job in scanner.jobs()) == [1, 1, 2]


def test_a_view_whose_files_are_deleted_is_joined_by_none(scanner: Scanner) -> None:
    scanner.view(1, "anterior")
    scanner.step()
    scanner.step(WAIT)
    with scanner.registry.transaction() as session:
        session.execute(update(Series).values(files_deleted_at=scanner.now))
    scanner.view(2, "posterior")
    scanner.step()
    scanner.step(WAIT)
    assert scanner.states() == [("queued", {"primary"})] * 2


def test_explain_names_each_view_the_other(tmp_path: Path) -> None:
    for number, side in enumerate(SIDES, start=1):
        (tmp_path / f"{number}.dcm").write_bytes(part10(data_set(1, number, **header(side))))
    traces = explain(configure(tmp_path), [tmp_path / "1.dcm", tmp_path / "2.dcm"])
    uids = [trace.series_uid for trace in traces]
    assert [trace.companions for trace in traces] == [
        {"bone-scan": uids[1], "thorax": uids[1]}, {"bone-scan": uids[0], "thorax": uids[0]},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "acquired_at"),
    [
        ({"AcquisitionDateTime": "20260301120005.25+0800"}, "2026-03-01T12:00:05"),
        ({"AcquisitionDate": "20260301", "AcquisitionTime": "120005.123"}, "2026-03-01T12:00:05"),
        ({"AcquisitionDate": "2026.03.01", "AcquisitionTime": "1200"}, "2026-03-01T12:00:00"),
        ({"AcquisitionDate": "20260301", "SeriesDate": "20260302", "SeriesTime": "080000"}, "2026-03-02T08:00:00"),
        ({"AcquisitionDate": "20260301", "AcquisitionTime": "999999"}, None),
        ({"AcquisitionTime": "120000"}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_when_it_was_acquired_is_what_the_header_says_first(given: dict[str, str], acquired_at: str | None) -> None:
    assert collect_headers(data_set(**given)).get("AcquiredAt") == acquired_at


def test_mistakes_in_what_a_companion_must_share_are_told_with_their_key(tmp_path: Path) -> None:
    text = """
rules:
  - name: r
    pipeline: p
    match: {Modality: NM}
    companion: {role: x, match: {Modality: NM}, same: [Rowss], differ: [PatientName], within_s: -1, when: {Nonsense: 1}}
"""
    with pytest.raises(ConfigurationError) as caught:
        parse_rules(text, tmp_path / "routing.yaml", [])
    problems = "\n".join(caught.value.problems)
    for key in ("companion.when.Nonsense", "companion.same.0", "companion.differ.0", "companion.within_s"):
        assert f"rules[0].{key}" in problems
