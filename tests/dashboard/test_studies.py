"""Studies and series that were received: lists, "Why not?", a series completed or routed again by
hand, the same as JSON.

Series arrive through the node's own intake and assembler, so that their traces are those of a node.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, update

from node.assemble import planner
from node.assemble.assembler import Assembler
from node.assemble.explain import explain_received
from node.assemble.rules import load_rules, parse_rules
from node.registry.account_models import AuditEntry
from node.registry.intake import register
from node.registry.models import Series
from node.storage import LocalStorage
from tests.dashboard.conftest import NOW, Site, csrf, post
from tests.registry.arrivals import arrival

BONE = {"Modality": "NM", "ImageType": ["ORIGINAL", "PRIMARY", "WHOLE BODY", "EMISSION"], "NumberOfFrames": 2,
        "SeriesDescription": "WB bone", "MadeByOsteon": False}  # fmt: skip
CHEST = {"Modality": "CR", "SeriesDescription": "<b>chest</b>", "MadeByOsteon": False}


@pytest.fixture
def received(site: Site, tmp_path: Path) -> Site:
    """Series 1.1.1 (a chest film) is routed and unwanted; series 1.2.1 (a bone scan) is still being received."""
    configuration = site.app.state.desk.configuration
    assembler = Assembler(configuration, site.registry, LocalStorage(tmp_path), lambda _job, _priority: None)
    chest = {"modality": "CR", "series_description": "<b>chest</b>", "headers": CHEST}
    with site.registry.transaction() as session:
        register(session, [arrival(study=1, **chest)], NOW)
    assembler.force_complete("1.1.1", NOW)
    assembler.step(NOW)
    with site.registry.transaction() as session:
        register(session, [arrival(study=2, headers=BONE)], NOW)
    return site


def test_lists_tell_what_no_rule_wanted(received: Site, viewer: TestClient) -> None:
    studies = viewer.get("/studies", params={"jobs": "not analysed"}).text
    assert "/studies/1.1" in studies
    series = viewer.get("/series", params={"jobs": "not analysed", "modality": "cr"}).text
    assert "Why not?" in series
    assert "No rule matched" in series
    assert "&lt;b&gt;chest" in series
    assert "/series/1.2.1" not in series
    assert "/studies/1.1" not in viewer.get("/studies", params={"jobs": "analysed"}).text


def test_why_not_is_what_route_explain_says(received: Site, viewer: TestClient) -> None:
    page = viewer.get("/series/1.1.1").text
    configuration = received.app.state.desk.configuration
    with received.registry.reading() as session:
        trace = explain_received(session, received.app.state.desk.storage, load_rules(configuration), "1.1.1").as_json()
    for rule in trace["routing"]["rules"]:
        assert f"rule {rule['rule']}, pipeline {rule['pipeline']}" in page
    assert "CR" in page
    assert viewer.get("/api/v1/series/1.1.1").json()["explained"] == trace


def test_a_series_is_taken_as_complete_by_hand_with_its_line_in_the_audit_trail(
    received: Site, viewer: TestClient, operator: TestClient
) -> None:
    assert "/series/1.2.1/complete" not in viewer.get("/series/1.2.1").text
    assert post(viewer, "/series/1.2.1/complete").status_code == 403
    assert "/series/1.2.1/complete" in operator.get("/series/1.2.1").text
    assert "/series/1.2.1/complete" in operator.get("/studies/1.2").text
    assert post(operator, "/series/1.2.1/complete").headers["location"] == "/series/1.2.1"
    with received.registry.reading() as session:
        assert session.scalars(select(Series.force_complete).where(Series.series_uid == "1.2.1")).one()
        entries = session.scalars(select(AuditEntry).where(AuditEntry.who == "otto", AuditEntry.action != "login"))
        assert [(one.action, one.object) for one in entries] == [("series.complete", "series 1.2.1")]


def test_a_series_that_is_complete_is_not_taken_as_complete_once_more(received: Site, operator: TestClient) -> None:
    answer = post(operator, "/series/1.1.1/complete")
    assert answer.status_code == 409
    assert "the series is complete already; to have the rules asked once more, route it again" in answer.text
    refused = operator.post("/api/v1/series/1.1.1/complete", headers={"X-CSRF-Token": csrf(operator, "/account")})
    assert (refused.status_code, refused.json()["detail"][:30]) == (409, "the series is complete already")
    with received.registry.reading() as session:
        assert session.scalars(select(AuditEntry).where(AuditEntry.action == "series.complete")).all() == []


def test_a_series_is_routed_again_by_mended_rules_and_the_page_says_what_came_of_it(
    received: Site, viewer: TestClient, operator: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for page in ("/series/1.1.1", "/studies/1.1"):
        assert "/series/1.1.1/route" not in viewer.get(page).text
        assert "/series/1.1.1/route" in operator.get(page).text
    assert "/series/1.2.1/route" not in operator.get("/series/1.2.1").text, "it is still being received"
    assert post(viewer, "/series/1.1.1/route").status_code == 403
    assert "No rule fires for it, so no job was made." in routed_again(operator, "1.1.1")
    mended = parse_rules("rules: [{name: chest, pipeline: bone-scan, match: {Modality: CR}}]", Path("r.yaml"), [])
    monkeypatch.setattr(planner, "load_rules", lambda _configuration: mended)
    assert "Rule &#39;chest&#39; made job 1: queued." in routed_again(operator, "1.1.1")
    assert "Rule &#39;chest&#39; has its job 1 already: queued." in routed_again(operator, "1.1.1")
    answer = operator.post("/api/v1/series/1.1.1/route", headers={"X-CSRF-Token": csrf(operator, "/account")}).json()
    assert answer["jobs"] == [
        {"id": 1, "revision": 1, "pipeline": "bone-scan", "rule": "chest", "state": "queued", "made": False}
    ]
    with received.registry.reading() as session:
        entries = session.scalars(select(AuditEntry).where(AuditEntry.action == "series.route").order_by(AuditEntry.id))
        assert [(one.who, one.object, one.after["jobs"]) for one in entries] == [
            ("otto", "series 1.1.1", made) for made in ([], [1], [], [])
        ]


def routed_again(operator: TestClient, uid: str) -> str:
    """The page after the button was pressed."""
    answer = post(operator, f"/series/{uid}/route")
    assert answer.status_code == 303, answer.text
    return operator.get(answer.headers["location"]).text


def test_a_series_whose_files_are_deleted_has_no_button_and_is_refused_in_the_visitors_language(
    received: Site, operator: TestClient
) -> None:
    with received.registry.transaction() as session:
        session.execute(update(Series).where(Series.series_uid == "1.1.1").values(files_deleted_at=NOW))
    assert "/series/1.1.1/route" not in operator.get("/series/1.1.1").text + operator.get("/studies/1.1").text
    refused = post(operator, "/series/1.1.1/route")
    assert (refused.status_code, "deleted by retention" in refused.text) == (409, True)
    assert post(operator, "/series/1.2.1/route").status_code == 409
    post(operator, "/language", language="zh", next="/")
    assert "该序列的文件已按保留期限删除" in post(operator, "/series/1.1.1/route").text


def test_what_is_unknown_is_not_found(received: Site, viewer: TestClient, operator: TestClient) -> None:
    for address in ("/series/9.9", "/studies/9.9", "/api/v1/series/9.9", "/api/v1/studies/9.9"):
        assert viewer.get(address).status_code == 404, address
    for action in ("complete", "route"):
        assert post(operator, f"/series/9.9/{action}").status_code == 409


def test_studies_and_series_as_json_hold_no_patient(received: Site, operator: TestClient) -> None:
    studies = operator.get("/api/v1/studies").json()
    assert [study["study_uid"] for study in studies["studies"]] == ["1.2", "1.1"]
    series = operator.get("/api/v1/series").json()["series"]
    assert {one["series"]["series_uid"]: one["fired"] for one in series} == {"1.2.1": [], "1.1.1": []}
    assert operator.get("/api/v1/studies", params={"text": "SECRET^N"}).json()["studies"] == studies["studies"]
    assert "SECRET" not in operator.get("/api/v1/studies").text


def test_a_viewer_cannot_find_out_names_by_searching(received: Site, viewer: TestClient) -> None:
    assert viewer.get("/api/v1/studies", params={"text": "SECRET"}).json()["studies"] == []
    assert viewer.get("/api/v1/studies", params={"text": "1.1"}).json()["studies"] != []
