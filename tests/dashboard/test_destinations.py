"""The page of destinations and its API, over a real registry and a real archive on loopback."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from fastapi.testclient import TestClient

from node.cli.main import cli
from node.dashboard.destinations import destination_views
from node.errors import ConfigurationError
from node.loopback import free_port
from node.registry import credentials
from node.registry.account_models import AuditEntry
from node.registry.deliveries import fail_delivery
from node.registry.models import Delivery
from node.registry.roles import Role
from tests.dashboard.analysed import analyse, claim_next
from tests.dashboard.conftest import NOW, TESTER, Site, post
from tests.deliver.archive import Archive, running_archive

CONFIGURED = """
destinations:
  - {{name: pacs, host: 127.0.0.1, port: {port}, ae_title: ARCHIVE, send: [seg, sr]}}
  - {{name: away, host: 127.0.0.1, port: {closed}, ae_title: NOBODY, default: false, segmentations: [CT, MR]}}
"""


@pytest.fixture(scope="module")
def archive() -> Iterator[Archive]:
    with running_archive(Archive()) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path, archive: Archive) -> Path:
    made = tmp_path / "config"
    made.mkdir()
    (made / "destinations.yaml").write_text(CONFIGURED.format(port=archive.port, closed=free_port()))
    return made


@pytest.fixture
def site(make_site: Callable[..., Site], folder: Path) -> Site:
    site = make_site(folder)
    site.add("otto", Role.OPERATOR)
    analyse(site.registry, 1, NOW, destinations=("pacs", "gone"))
    return site


def token(site: Site, role: Role) -> dict[str, str]:
    with site.registry.transaction() as session:
        return {"Authorization": f"Bearer {credentials.add_token(session, TESTER, role, role, None, NOW)}"}


def fail_one(site: Site) -> None:
    with site.registry.reading() as session:
        (first, *_) = session.query(Delivery).filter_by(destination="pacs").order_by(Delivery.id)
    claims = claim_next(site.registry, first.id, NOW)
    with site.registry.transaction() as session:
        for claim in claims:
            fail_delivery(session, claim, NOW, "PACS refused it <b>for good</b>.")


def test_the_page_tells_queue_and_error_and_pauses_resumes_and_sends_again(site: Site, operator: TestClient) -> None:
    page = operator.get("/destinations").text
    assert "ARCHIVE @ 127.0.0.1" in page
    assert page.count("(only those drawn on CT, MR)") == 1, "of the one that chose"
    assert "It is not in destinations.yaml any more" in page, "results wait for one that is gone"
    assert post(operator, "/destinations/pacs/pause", "/destinations").headers["location"] == "/destinations"
    page = operator.get("/destinations").text
    assert "pacs is paused; results for it wait." in page
    assert "Paused by otto" in page and "/destinations/pacs/resume" in page
    assert claim_next(site.registry, 1, NOW) == [], "a worker gets nothing to send"
    post(operator, "/destinations/pacs/resume", "/destinations")
    fail_one(site)
    page = operator.get("/destinations").text
    assert "PACS refused it &lt;b&gt;for good&lt;/b&gt;." in page
    post(operator, "/destinations/pacs/resend", "/destinations")
    with site.registry.reading() as session:
        assert {row.state for row in session.query(Delivery).filter_by(destination="pacs")} == {"pending"}
        trail = [
            (row.action, row.object, row.who, row.after) for row in session.query(AuditEntry) if "dest" in row.action
        ]
    assert trail == [
        ("destination.pause", "destination pacs", "otto", {"paused": True}),
        ("destination.resume", "destination pacs", "otto", {"paused": False}),
        ("destination.resend", "destination pacs", "otto", {"deliveries": 2}),
    ]


def test_failures_that_nobody_will_cure_are_set_aside_and_sent_after_all(site: Site, operator: TestClient) -> None:
    fail_one(site)
    assert "deliveries have failed" in operator.get("/healthz").text
    assert "Set failed ones aside" in operator.get("/destinations").text
    post(operator, "/destinations/pacs/dismiss", "/destinations")
    page = operator.get("/destinations").text
    assert "2 results for pacs are set aside" in page and "Set failed ones aside" not in page
    assert "deliveries have failed" not in operator.get("/healthz").text
    with site.registry.reading() as session:
        rows = session.query(Delivery).filter_by(destination="pacs").order_by(Delivery.id).all()
        assert {row.state for row in rows} == {"dismissed"}
        (entry,) = (row for row in session.query(AuditEntry) if row.action == "destination.dismiss")
        assert (entry.object, entry.who, entry.after) == ("destination pacs", "otto", {"deliveries": 2})
        job_id = rows[0].result.job_id
    assert "dismissed" in operator.get(f"/jobs/{job_id}").text
    assert claim_next(site.registry, rows[0].id, NOW) == []
    writer = token(site, Role.OPERATOR)
    again = site.browser().post(f"/api/v1/deliveries/{rows[0].id}/resend", headers=writer)
    assert again.json() == {"deliveries": 1}
    with site.registry.reading() as session:
        assert session.get_one(Delivery, rows[0].id).state == "pending"
    assert site.browser().post("/api/v1/destinations/pacs/dismiss", headers=writer).json() == {"deliveries": 0}


def test_the_test_button_says_what_the_peer_accepts_or_why_it_cannot_be_reached(
    site: Site, operator: TestClient
) -> None:
    page = post(operator, "/destinations/pacs/test", "/destinations").text
    assert "answers C-ECHO" in page
    assert "SEG: yes" in page and "SR: yes" in page
    page = post(operator, "/destinations/away/test", "/destinations").text
    assert "cannot be reached" in page
    assert post(operator, "/destinations/nowhere/test", "/destinations").status_code == 404


def test_programs_read_and_pause_and_a_viewer_only_reads(site: Site) -> None:
    client, reader, writer = site.browser(), token(site, Role.VIEWER), token(site, Role.OPERATOR)
    found = {one["name"]: one for one in client.get("/api/v1/destinations", headers=reader).json()}
    assert (found["pacs"]["state"], found["pacs"]["pending"], found["pacs"]["configured"]) == ("pending", 2, True)
    assert (found["gone"]["state"], found["gone"]["configured"]) == ("disabled", False)
    assert found["away"]["state"] == "healthy"
    assert (found["pacs"]["segmentations"], found["away"]["segmentations"]) == ([], ["CT", "MR"])
    assert client.post("/api/v1/destinations/pacs/pause", headers=reader).status_code == 403
    paused = client.post("/api/v1/destinations/pacs/pause", headers=writer).json()
    assert [one["paused_by"] != "" for one in paused if one["name"] == "pacs"] == [True]
    assert client.post("/api/v1/destinations/other/pause", headers=writer).status_code == 404
    probe = client.post("/api/v1/destinations/pacs/test", headers=writer).json()
    assert probe["answers"] and probe["accepts"]["seg"] and probe["refused"] == []
    fail_one_paused = client.post("/api/v1/destinations/pacs/resend", headers=writer)
    assert fail_one_paused.json() == {"deliveries": 0}


def test_the_command_pauses_the_same_destination_and_the_doctor_says_so(site: Site, folder: Path) -> None:
    where = ["--config", str(folder), "--data", str(folder.parent)]
    environment = {"OSTEON_DATABASE_URL": site.registry.url}
    run = CliRunner(env=environment).invoke
    assert run(cli, ["destination", "dismiss", "pacs", *where]).output == "0 results for pacs are set aside\n"
    assert run(cli, ["destination", "pause", "pacs", *where]).output == "pacs is paused; its results wait\n"
    rows = json.loads(run(cli, ["destination", "list", "--json", *where]).output)
    assert [row["name"] for row in rows if row["paused_since"]] == ["pacs"]
    with site.registry.reading() as session:
        (pacs,) = [one for one in destination_views(site.app.state.desk, session) if one.name == "pacs"]
    assert pacs.state == "paused" and pacs.paused_by.startswith("console:")
    said = run(cli, ["doctor", "--destination", "pacs", *where])
    assert said.exit_code == 0 and "osteon destination resume pacs" in said.output
    assert "SEGs" not in said.output, "it gets all of them"
    said = run(cli, ["doctor", "--destination", "away", *where])
    assert "destination away, segmentations: of the SEGs it gets only those drawn on CT, MR" in said.output
    assert run(cli, ["destination", "resume", "pacs", *where]).output == "pacs is resumed\n"
    refused = run(cli, ["destination", "pause", "nowhere", *where])
    assert isinstance(refused.exception, ConfigurationError) and "no destination 'nowhere'" in str(refused.exception)
