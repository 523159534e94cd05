"""The list of jobs, on the page and as JSON: filters, pages, bulk retry; over a seeded registry.

What a filter should find is counted by SQL of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urlencode

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, text

from node.bench.seed import Plan, seed
from node.registry.account_models import AuditEntry
from node.registry.database import Registry
from node.registry.models import Job, Study
from node.registry.queries_search import find_studies
from node.registry.states import JobState
from tests.dashboard.conftest import NOW, Site, post

PLAN = Plan(instances=2400, jobs=1200, now=NOW)


@pytest.fixture
def seeded(site: Site) -> Site:
    seed(site.registry, PLAN)
    return site


def every_job(browser: TestClient, **filters: str) -> list[int]:
    """Ids on all pages of the list, by following the cursors."""
    found: list[int] = []
    cursor: str | None = ""
    while cursor is not None:
        answer = browser.get("/api/v1/jobs", params={**filters, "cursor": cursor, "limit": "40"})
        assert answer.status_code == 200, answer.text
        found += [job["id"] for job in answer.json()["jobs"]]
        cursor = answer.json()["older"]
    return found


def counted(registry: Registry, where: str) -> list[int]:
    with registry.reading() as session:
        return list(session.scalars(text(f"SELECT id FROM jobs WHERE {where} ORDER BY created_at DESC, id DESC")))


@pytest.mark.parametrize(
    ("filters", "where"),
    [
        ({}, "1"),
        ({"state": "failed"}, "state = 'failed'"),
        ({"pipeline": "lumbar"}, "pipeline = 'lumbar'"),
        ({"rule": "spect-ct"}, "rule = 'spect-ct'"),
        ({"state": "done", "pipeline": "spect-ct"}, "state = 'done' AND pipeline = 'spect-ct'"),
        ({"source": "NM_ROOM_2", "modality": "nm"}, "source_aet = 'NM_ROOM_2'"),
        ({"modality": "XX"}, "0"),
        ({"since": "2026-01-01", "until": "2026-01-31"}, "created_at >= '2026-01-01' AND created_at < '2026-02-01'"),
        ({"text": "A17"}, "study_id IN (SELECT id FROM studies WHERE accession_number LIKE 'A17%')"),
        ({"text": "no such thing"}, "0"),
    ],
)
def test_filters_find_what_they_say_on_all_pages(
    seeded: Site, viewer: TestClient, filters: dict[str, str], where: str
) -> None:
    assert every_job(viewer, **filters) == counted(seeded.registry, where)
    assert viewer.get("/jobs", params=filters).status_code == 200


def test_a_patient_is_found_by_those_who_may_see_names_only(
    seeded: Site, viewer: TestClient, operator: TestClient
) -> None:
    wanted = counted(seeded.registry, "study_id = 7")
    for typed in ("patient number 7", "PATIENT^NUMBER 7", "P7", "p7", "NUMBER 7"):
        found = every_job(operator, text=typed)
        assert set(wanted) <= set(found), typed
        assert every_job(viewer, text=typed) == [], typed


def test_search_finds_beginnings_and_pieces_of_names_in_any_script(sqlite_registry: Registry) -> None:
    names = {"1.2.3": "Wang^XiaoDong=王^小东", "1.2.4": "MUELLER^EVA", "1.2.5": "100%^SURE"}
    with sqlite_registry.transaction() as session:
        for uid, name in names.items():
            session.add(Study(study_uid=uid, patient_name=name, patient_id=uid, created_at=NOW))
    with sqlite_registry.reading() as session:

        def uids(typed: str) -> list[str]:
            ids = find_studies(session, typed, with_patients=True).study_ids
            return sorted(session.scalars(select(Study.study_uid).where(Study.id.in_(ids))))

        assert uids("王") == uids("小东") == uids("wang xiaodong=") == ["1.2.3"]
        assert uids("mueller, eva") == uids("Mueller") == ["1.2.4"]
        assert uids("0%^") == ["1.2.5"]
        assert uids("%") == uids("_____") == []


def test_the_page_offers_ticks_to_operators_and_none_to_viewers(
    seeded: Site, viewer: TestClient, operator: TestClient
) -> None:
    assert 'type="checkbox"' in operator.get("/jobs?state=failed").text
    page = viewer.get("/jobs?state=failed").text
    assert 'type="checkbox"' not in page
    assert "/jobs/retry" not in page


def test_ticked_jobs_are_retried_and_audited_one_by_one(seeded: Site, operator: TestClient) -> None:
    failed = counted(seeded.registry, "state = 'failed' AND id IN (SELECT max(id) FROM jobs GROUP BY key)")
    done = counted(seeded.registry, "state = 'done'")
    ticked = [*failed[:2], done[0]]
    body = urlencode(
        [("csrf", _csrf(operator)), *(("job", str(one)) for one in ticked), ("back", "/jobs?state=failed")]
    )
    answer = operator.post("/jobs/retry", content=body, headers={"content-type": "application/x-www-form-urlencoded"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/jobs?state=failed")
    with seeded.registry.reading() as session:
        states = {one: session.get_one(Job, one).state for one in ticked}
        entries = set(
            session.scalars(select(AuditEntry.object).where(AuditEntry.who == "otto", AuditEntry.action == "job.retry"))
        )
    assert states == {failed[0]: JobState.QUEUED, failed[1]: JobState.QUEUED, done[0]: JobState.DONE}
    assert entries == {f"job {one}" for one in failed[:2]}
    assert "2 jobs are queued again." in operator.get("/jobs?state=failed").text


def test_all_failed_jobs_that_match_are_retried_and_no_others(seeded: Site, operator: TestClient) -> None:
    latest = "id IN (SELECT max(id) FROM jobs GROUP BY key)"
    wanted = counted(seeded.registry, f"state = 'failed' AND source_aet = 'NM_ROOM_1' AND {latest}")
    others = counted(seeded.registry, "state = 'failed' AND source_aet <> 'NM_ROOM_1'")
    assert wanted
    post(operator, "/jobs/retry?source=NM_ROOM_1", everything="true")
    assert counted(seeded.registry, f"state = 'failed' AND source_aet = 'NM_ROOM_1' AND {latest}") == []
    assert counted(seeded.registry, "state = 'failed' AND source_aet <> 'NM_ROOM_1'") == others
    assert set(wanted) <= set(counted(seeded.registry, "state = 'queued'"))


def test_programs_act_by_the_same_functions(seeded: Site, make_token: Callable[[str], dict[str, str]]) -> None:
    browser, headers = seeded.browser(), make_token("operator")
    queued = counted(seeded.registry, "state = 'queued'")[0]

    def act(address: str, **body: object) -> tuple[int, dict[str, object]]:
        answer = browser.post(f"/api/v1{address}", json=body, headers=headers)
        return answer.status_code, answer.json()

    assert act(f"/jobs/{queued}/priority", priority=0)[1]["priority"] == 0
    assert act(f"/jobs/{queued}/cancel")[1]["state"] == "cancelled"
    assert act(f"/jobs/{queued}/cancel")[0] == 409
    assert act("/jobs/retry", jobs=[queued, 10**15])[1] == {"queued": [queued], "left_out": [10**15]}
    assert act("/jobs/999999/retry")[0] == 404
    assert act(f"/jobs/{queued}/priority", priority=12)[0] == 422
    detail = browser.get(f"/api/v1/jobs/{queued}", headers=headers).json()
    assert (detail["job"]["state"], detail["error"]) == ("queued", "")
    done = counted(seeded.registry, "state = 'done' AND id IN (SELECT max(id) FROM jobs GROUP BY key)")[-1]
    assert act(f"/jobs/{done}/resend")[1] == {"deliveries": 2}
    assert act(f"/jobs/{done}/rerun")[1]["revision"] in (2, 3)


def test_a_viewers_token_cannot_act(seeded: Site, make_token: Callable[[str], dict[str, str]]) -> None:
    browser, headers = seeded.browser(), make_token("viewer")
    assert browser.get("/api/v1/jobs", headers=headers).status_code == 200
    for address in ("/jobs/1/retry", "/jobs/1/cancel", "/jobs/1/rerun", "/jobs/1/resend", "/deliveries/1/resend"):
        assert browser.post(f"/api/v1{address}", headers=headers).status_code == 403, address


@pytest.fixture
def make_token(site: Site) -> Callable[[str], dict[str, str]]:
    from node.registry import credentials
    from node.registry.roles import Role
    from tests.dashboard.conftest import TESTER

    def make(role: str) -> dict[str, str]:
        with site.registry.transaction() as session:
            token = credentials.add_token(session, TESTER, "program", Role(role), None, NOW)
        return {"Authorization": f"Bearer {token}"}

    return make


def _csrf(browser: TestClient) -> str:
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', browser.get("/account").text)
    assert found
    return found[1]
