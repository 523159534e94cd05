"""The pages of trends: the course with dates and neutral words; names only for those who may see them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from node.dashboard.trends import positions
from node.registry import credentials
from node.registry.roles import Role
from node.registry.trends import Measurement
from tests.dashboard.analysed import analyse
from tests.dashboard.conftest import NOW, TESTER, Site

NUMBER = "SECRET-4711"


def summary(value: float, version: str) -> dict[str, Any]:
    name = {"value": "BSTBI", "scheme": "99OSTEON", "meaning": "Bone scan tumour burden index"}
    return {"quantities": [{"name": name, "value": value}], "models": [{"name": "net", "version": version}]}


@pytest.fixture
def seeded(site: Site) -> Site:
    for number, (date, value, version) in enumerate(
        (("20250101", 0.1, "1"), ("20250111", 0.25, "1"), ("20260101", 0.2496, "2")), start=1
    ):
        analyse(
            site.registry, number, NOW + timedelta(days=number), summary(value, version), patient_id=NUMBER,
            patient_name="SECRET^<b>Name</b>", study_date=date,
        )  # fmt: skip
    return site


def test_the_course_is_told_with_dates_and_changes_to_those_who_may_see_names(seeded: Site) -> None:
    browser = seeded.logged_in("otto")
    listed = browser.get("/trends", params={"patient": NUMBER}).text
    assert NUMBER in listed and "SECRET &lt;b&gt;Name&lt;/b&gt;" in listed and 'href="/trends/1.2.3"' in listed
    assert "No measured bone scan of a patient" in browser.get("/trends", params={"patient": "other"}).text
    page = browser.get("/trends/1.2.3").text
    assert "increased by 0.150" in page and "unchanged" in page and "other networks than before" in page
    assert "against 2025-01-01" in page and "against 2025-01-11" in page
    assert not any(word in page.lower() for word in ("progress", "response", "worse", "better"))
    assert browser.get("/trends/1.2.9").status_code == 404


def test_a_viewer_sees_a_pseudonym_and_cannot_search_by_number(seeded: Site) -> None:
    browser = seeded.logged_in("vera")
    pages = [browser.get(path).text for path in ("/trends", f"/trends?patient={NUMBER}", "/trends/1.2.1")]
    for page in pages:
        assert "SECRET" not in page.replace(f"patient={NUMBER}", "")
        assert "Patient " in page
    with seeded.registry.transaction() as session:
        token = credentials.add_token(session, TESTER, "t", Role.VIEWER, None, NOW)
    answer = seeded.browser().get("/api/v1/trends/1.2.2", headers={"Authorization": f"Bearer {token}"})
    assert "SECRET" not in answer.text
    assert answer.status_code == 200, answer.text
    assert [point["change"] is None for point in answer.json()["points"]] == [True, False, False]


def test_studies_stand_on_an_axis_of_time() -> None:
    days = [Measurement(1, "1", date, 0.1, "", ()) for date in ("2025-01-01", "2025-01-11", "2025-02-10")]
    assert positions(days) == [0.0, 0.25, 1.0]
    assert positions(days[:1]) == [0.5] and positions([]) == []
