"""From complete series to jobs: which are made, revised or called off, on SQLite and PostgreSQL.

Series are put into the registry as the intake does it; pipelines are only names here, nothing runs. Companions have
tests of their own (test_companions).
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError

from node.assemble import Assembler, AssemblyReport, assembler, planner
from node.assemble.rules import Rules
from node.errors import PermanentError
from node.registry.models import Event, Series
from node.registry.planning import job_key
from node.registry.series import end_association
from node.storage import LocalStorage
from node.storage.spool import AssociationEnd
from tests.assemble.assembling import INSTALLED, QUIET, Node
from tests.assemble.objects import configure


def test_a_series_is_completed_routed_and_queued_and_the_worker_woken_after_the_commit(node: Node) -> None:
    uid = node.receive(1)
    assert not node.step(timedelta(seconds=59))
    assert node.step(timedelta(seconds=1)) == AssemblyReport(completed=1, queued=1)
    (job,) = node.jobs()
    assert (job.state, job.pipeline, job.rule, job.priority, job.revision) == ("queued", "bone-scan", "bone", 4, 1)
    assert job.key == job_key("bone-scan", [uid])
    assert job.destinations == []  # the default ones, looked up when there are results
    assert node.woken == [(job.id, 4)]
    assert node.inputs(job.id) == {"primary": (uid, 1)}
    series = node.series(uid)
    assert (series.state, series.completed_by, series.completed_at) == ("complete", "quiet", node.now)
    assert series.routing is not None
    assert series.routing["fired"] == ["bone"]
    assert job.trace["conditions"]["matched"] is True
    assert node.events() == ["series.opened", "series.complete", "job.queued"]
    assert not node.step()


def test_a_released_association_completes_sooner(node: Node) -> None:
    node.receive(1)
    with node.registry.transaction() as session:
        end_association(session, "a1", AssociationEnd.RELEASED, node.now)
    assert not node.step(timedelta(seconds=4))
    assert node.step(timedelta(seconds=1)).completed == 1


def test_several_rules_may_fire_each_with_its_own_destinations(node: Node) -> None:
    node.receive(1, description="bone and ribs")
    assert node.step() == AssemblyReport(completed=1, queued=2)
    assert {job.pipeline: job.destinations for job in node.jobs()} == {"bone-scan": [], "thorax": ["pacs"]}


def test_a_series_that_no_rule_wants_is_complete_without_a_job_and_says_why(node: Node) -> None:
    uid = node.receive(1, description="flood")
    assert node.step() == AssemblyReport(completed=1)
    assert node.jobs() == []
    assert "No rule matched" in str(node.series(uid).routing)
    assert "series.not_routed" in node.events()


def test_a_rule_for_a_pipeline_that_is_not_installed_makes_no_job(node: Node) -> None:
    uid = node.receive(1, headers={"Modality": "MR"})
    assert node.step() == AssemblyReport(completed=1)
    assert node.jobs() == []
    assert "pipeline 'lumbar' is not installed in this node" in str(node.series(uid).routing)


def test_results_that_come_back_are_not_routed_again(node: Node) -> None:
    node.receive(1, headers={"MadeByOsteon": True})
    assert node.step() == AssemblyReport(completed=1)
    assert node.jobs() == []


def test_a_late_instance_makes_a_new_revision_of_the_same_job_that_supersedes_the_old_one(node: Node) -> None:
    uid = node.receive(1, 1)
    node.step()
    (first,) = node.jobs()
    node.set_state(first.id, "done")
    node.receive(1, 2)
    assert node.series(uid).state == "receiving"
    assert node.step() == AssemblyReport(completed=1, queued=1)
    old, new = node.jobs()
    assert (new.key, new.revision, new.supersedes_id, new.state) == (old.key, 2, old.id, "queued")
    assert node.inputs(new.id) == {"primary": (uid, 2)}
    assert old.state == "done"
    assert node.woken[-1] == (new.id, 4)


@pytest.mark.parametrize(("state", "then", "asked"), [("queued", "cancelled", False), ("running", "running", True)])
def test_an_older_revision_that_is_still_open_is_called_off(node: Node, state: str, then: str, asked: bool) -> None:
    node.receive(1, 1)
    node.step()
    node.set_state(node.jobs()[0].id, state)
    node.receive(1, 2)
    node.step()
    old, new = node.jobs()
    assert (old.state, old.cancel_requested) == (then, asked)
    assert old.reason == "Superseded by revision 2: its input changed."
    assert (new.state, new.revision) == ("queued", 2)


def test_a_resend_of_the_same_content_makes_no_second_job(node: Node) -> None:
    node.receive(1)
    node.step()
    with node.registry.transaction() as session:
        session.execute(update(Series).values(state="receiving"))  # as after a restore of deleted files
    assert node.step() == AssemblyReport(completed=1)
    assert len(node.jobs()) == 1


def test_a_correction_that_belongs_to_no_rule_any_more_calls_the_job_off(node: Node) -> None:
    node.receive(1)
    node.step()
    node.receive(1, description="flood", sha256="corrected")
    node.step()
    (job,) = node.jobs()
    assert (job.state, job.reason) == ("cancelled", "The series changed, and no rule asks for this any more.")


def test_something_that_comes_between_judging_and_completing_keeps_the_series_open(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = node.receive(1, 1)
    judge = assembler.judge

    def judge_late(*arguments: Any) -> Any:
        node.receive(1, 2)
        return judge(*arguments)

    monkeypatch.setattr(assembler, "judge", judge_late)
    assert node.step() == AssemblyReport()
    monkeypatch.undo()
    assert node.series(uid).state == "receiving"
    assert node.step() == AssemblyReport(completed=1, queued=1)


def test_a_person_may_force_a_series_and_only_that_one(node: Node) -> None:
    forced, other = node.receive(1), node.receive(2)
    node.assembler.force_complete(forced, node.now)
    assert node.step(timedelta(seconds=1)).completed == 1
    assert (node.series(forced).completed_by, node.series(other).state) == ("forced", "receiving")
    events = node.events()
    with pytest.raises(PermanentError, match="complete already"):
        node.assembler.force_complete(forced, node.now)
    assert (node.series(forced).state, node.events()) == ("complete", events)
    with pytest.raises(PermanentError, match=r"there is no series 9\.9"):
        node.assembler.force_complete("9.9", node.now)


def test_a_broker_that_is_away_stops_nothing(node: Node, tmp_path: Path, rules: Rules) -> None:
    def away(job_id: int, priority: int) -> None:
        raise ConnectionError("no Redis")

    configuration = configure(tmp_path)
    storage = LocalStorage(configuration.data_dir)
    assembler = Assembler(configuration, node.registry, storage, away, rules=rules, installed=INSTALLED)
    node.receive(1)
    assert assembler.step(node.now + QUIET).queued == 1
    assert node.jobs()[0].state == "queued"  # the sweep finds it


def poison(monkeypatch: pytest.MonkeyPatch, description: str) -> None:
    """Make the routing of series of that description raise, as a defect in it would."""
    real = planner.route

    def route(headers: dict[str, Any], *arguments: Any) -> Any:
        if headers.get("SeriesDescription") == description:
            raise ZeroDivisionError
        return real(headers, *arguments)

    monkeypatch.setattr(planner, "route", route)


def test_a_series_that_raises_does_not_hold_up_the_others_and_is_tried_again(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = node.receive(1, description="bone poison"), node.receive(2)
    with monkeypatch.context() as patched:
        poison(patched, "bone poison")
        assert node.step() == AssemblyReport(completed=1, queued=1)
        assert not node.step(timedelta(seconds=1)), "left alone for a moment"
        assert not node.step(timedelta(seconds=9))
        assert (node.series(bad).state, node.series(good).state) == ("receiving", "complete")
        with node.registry.reading() as session:
            said = session.scalars(select(Event).where(Event.kind == "series.setback")).all()
        assert [event.series_id for event in said] == [node.series(bad).id]
        assert "ZeroDivisionError" in said[0].message
    assert node.step() == AssemblyReport(completed=1, queued=1)


def test_a_series_that_raises_does_not_keep_its_companion_from_being_complete(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.receive(1, description="spect")
    node.step()
    ct = node.ct(2)
    poison(monkeypatch, "spect")
    assert node.step() == AssemblyReport(completed=1)
    assert node.series(ct).state == "complete"


def test_a_database_that_is_away_is_told_to_the_caller(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any) -> Any:
        raise OperationalError("SELECT 1", {}, ConnectionError())

    node.receive(1)
    monkeypatch.setattr(planner, "route", away)
    with pytest.raises(OperationalError):
        node.step()
