"""A series is routed again by mended rules: what is missing is made, nothing twice, nothing else called off."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from node.assemble.explain import explain_received
from node.assemble.planner import Planner
from node.assemble.route_again import RoutedAgain, route_again
from node.assemble.rules import Rules, parse_rules
from node.errors import PermanentError
from node.registry.account_models import AuditEntry
from node.registry.audit import Actor
from node.registry.models import Series
from node.registry.states import JobState
from node.storage import LocalStorage
from node.storage.protocol import instance_key
from tests.assemble.assembling import INSTALLED, RULES, Node
from tests.assemble.objects import configure, data_set, part10

OTTO = Actor("otto", "operator")
KNEE = "  - {name: knee, pipeline: bone-scan, match: {SeriesDescription: '*knee*'}}\n"
BY_OPERATOR = "  - {name: by-operator, pipeline: bone-scan, match: {DeviceSerialNumber: 'A1'}}\n"
WITH_CT = """
rules:
  - name: fused
    pipeline: {pipeline}
    match: {{Modality: NM}}
    companion: {{role: ct, match: {{Modality: CT}}}}
"""
TOGETHER = """
rules:
  - name: views
    pipeline: bone-scan
    match: {SeriesDescription: view}
    companion: {role: second, joins: true, match: {SeriesDescription: view}}
"""


def rules_of(text: str) -> Rules:
    return parse_rules(text, Path("routing.yaml"), ["pacs"])


def again(node: Node, uid: str, rules: str) -> RoutedAgain:
    planner = Planner(rules_of(rules), INSTALLED, 60.0)
    with node.registry.transaction() as session:
        return route_again(session, OTTO, planner, node.storage, uid, node.now)


def audited(node: Node) -> list[tuple[str, str, object]]:
    with node.registry.reading() as session:
        return [(one.action, one.object, one.after["jobs"]) for one in session.scalars(select(AuditEntry))]


def test_a_series_that_no_rule_wanted_gets_its_job_once_the_rules_are_mended_and_only_one(node: Node) -> None:
    uid = node.receive(1, description="left knee")
    node.step()
    assert again(node, uid, RULES).jobs == ()
    done = again(node, uid, RULES + KNEE)
    (job,) = node.jobs()
    (asked,) = done.jobs
    assert (asked.id, asked.pipeline, asked.rule, asked.state, asked.made) == (
        job.id, "bone-scan", "knee", JobState.QUEUED, True,
    )  # fmt: skip
    assert done.summary == "rule 'knee' asks for pipeline 'bone-scan'."
    assert str(node.series(uid).routing).count("knee") > 1
    (repeated,) = again(node, uid, RULES + KNEE).jobs
    assert (repeated.id, repeated.made, len(node.jobs())) == (job.id, False, 1)
    assert audited(node) == [("series.route", f"series {uid}", made) for made in ([], [job.id], [])]
    assert node.events().count("series.routed_again") == 3


@pytest.mark.parametrize("state", ["done", "failed", "cancelled", "rejected", "running"])
def test_a_job_that_read_the_same_input_is_left_alone_whatever_became_of_it(node: Node, state: str) -> None:
    uid = node.receive(1, description="bone and ribs")
    node.step()
    for job in node.jobs():
        node.set_state(job.id, state)
    done = again(node, uid, RULES)
    assert [(job.state, job.made) for job in done.jobs] == [(JobState(state), False)] * 2
    assert [(job.state, job.revision) for job in node.jobs()] == [(state, 1)] * 2


def test_only_the_missing_job_is_made_and_open_ones_that_no_rule_asks_for_any_more_go_on(node: Node) -> None:
    uid = node.receive(1, description="bone")
    node.step()
    mended = "rules:\n  - {name: all, pipeline: thorax, match: {Modality: NM}}\n"
    (asked,) = again(node, uid, mended).jobs
    assert (asked.pipeline, asked.made) == ("thorax", True)
    assert [(job.pipeline, job.state) for job in node.jobs()] == [("bone-scan", "queued"), ("thorax", "queued")]


def test_a_companion_that_the_rules_ask_for_now_makes_the_next_revision(node: Node) -> None:
    ct, uid = node.ct(1), node.receive(2, description="bone")
    node.step()
    node.set_state(node.jobs()[0].id, "done")
    (asked,) = again(node, uid, WITH_CT.format(pipeline="bone-scan")).jobs
    assert (asked.revision, asked.made) == (2, True)
    assert node.inputs(asked.id) == {"primary": (uid, 1), "ct": (ct, 1)}
    assert node.jobs()[1].supersedes_id == node.jobs()[0].id


def test_a_companion_that_never_came_is_waited_for_again(node: Node) -> None:
    uid = node.receive(1, description="left knee")
    node.step()
    (asked,) = again(node, uid, WITH_CT.format(pipeline="strict")).jobs
    assert (asked.state, asked.made) == (JobState.WAITING, True)
    assert node.jobs()[0].wait_until == node.now + timedelta(seconds=60)


def test_a_series_that_is_read_together_with_an_earlier_one_has_that_one_routed(node: Node) -> None:
    first, second = node.receive(1, description="view"), node.receive(2, description="view")
    node.step()
    done = again(node, second, TOGETHER)
    assert done.joined_to == first
    assert done.summary.endswith(f"It is read together with series {first}, by one job.")
    assert node.inputs(done.jobs[0].id) == {"primary": (first, 1), "second": (second, 1)}
    assert len(node.jobs()) == 1
    assert not again(node, first, TOGETHER).jobs[0].made


def test_what_is_unknown_still_comes_or_is_deleted_is_refused_and_nothing_is_written(node: Node) -> None:
    uid = node.receive(1, description="left knee")
    with pytest.raises(PermanentError, match="still being received"):
        again(node, uid, RULES + KNEE)
    node.step()
    with node.registry.transaction() as session:
        session.execute(update(Series).values(files_deleted_at=node.now))
    with pytest.raises(PermanentError, match="deleted by retention; send it to the node again"):
        again(node, uid, RULES + KNEE)
    with pytest.raises(PermanentError, match=r"there is no series 9\.9"):
        again(node, "9.9", RULES + KNEE)
    assert (node.jobs(), audited(node)) == ([], [])


def stored(node: Node, tmp_path: Path) -> str:
    """A complete series that no rule wanted, whose file holds an attribute that was not kept."""
    (tmp_path / "a.dcm").write_bytes(part10(data_set(DeviceSerialNumber="A1")))
    node.storage.adopt(tmp_path / "a.dcm", instance_key("1.1", "1.1.1", "1.1.1.1", 1))
    uid = node.receive(1, description="left knee")
    node.step()
    return uid


def test_an_attribute_that_nobody_asked_for_then_is_read_from_a_file_to_explain_and_to_route(
    node: Node, tmp_path: Path
) -> None:
    uid = stored(node, tmp_path)
    rules = rules_of(RULES + BY_OPERATOR)
    with node.registry.reading() as session:
        explained = explain_received(session, node.storage, rules, uid).trace
        without = explain_received(session, LocalStorage(tmp_path / "empty"), rules, uid).trace
    assert explained is not None and without is not None
    assert [rule.rule for rule in explained.fired] == ["by-operator"]
    assert without.fired == ()
    (asked,) = again(node, uid, RULES + BY_OPERATOR).jobs
    assert asked.rule == "by-operator"


def test_an_attribute_that_was_read_is_kept_so_that_upkeep_which_reads_no_files_says_the_same(
    node: Node, tmp_path: Path
) -> None:
    uid = stored(node, tmp_path)
    text = WITH_CT.format(pipeline="strict").replace("Modality: NM", "DeviceSerialNumber: A1")
    assert [job.state for job in again(node, uid, text).jobs] == [JobState.WAITING]
    upkeep = Node(node.registry, configure(tmp_path), rules_of(text))
    upkeep.now = node.now
    ct = upkeep.ct(2)
    upkeep.assembler.force_complete(ct, upkeep.now)
    upkeep.step(timedelta(seconds=1))
    (job,) = node.jobs()
    assert (job.state, node.inputs(job.id)) == ("queued", {"primary": (uid, 1), "ct": (ct, 1)})


def test_two_people_at_once_make_one_job(node: Node) -> None:
    uid = node.receive(1, description="left knee")
    node.step()
    made: list[bool] = []
    threads = [
        threading.Thread(target=lambda: made.extend(job.made for job in again(node, uid, RULES + KNEE).jobs))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert sorted(made) == [False, False, False, True]
    assert len(node.jobs()) == 1
