"""Routing over a real registry: rules with hits, one file or series asked, rules edited, tried, saved, restored."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from pydicom import dcmwrite

from node.registry import credentials
from node.registry.account_models import AuditEntry
from node.registry.roles import Role
from node.registry.series import open_series
from tests.assemble.assembling import Node
from tests.dashboard.analysed import analyse
from tests.dashboard.conftest import NOW, TESTER, Site, csrf, post
from tests.fixtures.queue import tiny_scan

RULES = """# our own
rules:
  - name: bone
    pipeline: bone-scan
    match: {SeriesDescription: "*bone*"}
"""
EDITED = RULES.replace("*bone*", "*knee*")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "config"
    made.mkdir()
    (made / "routing.yaml").write_text(RULES)
    return made


@pytest.fixture
def site(make_site: Callable[..., Site], folder: Path) -> Site:
    site = make_site(folder)
    site.add("ada", Role.ADMIN)
    return site


@pytest.fixture
def received(site: Site) -> Node:
    """Three complete series: two of bones, one of a knee."""
    from node.assemble.rules import parse_rules

    node = Node(site.registry, site.app.state.desk.configuration, parse_rules(RULES, Path("routing.yaml"), []))
    node.now = NOW
    for number, description in enumerate(("whole bone", "bone <b>", "knee"), start=1):
        node.receive(number, description=description)
    node.step()
    site.clock.now = node.now
    with site.registry.reading() as session:
        assert open_series(session, 10) == []
    return node


def header(site: Site, role: Role) -> dict[str, str]:
    with site.registry.transaction() as session:
        return {"Authorization": f"Bearer {credentials.add_token(session, TESTER, role, role, None, NOW)}"}


def test_rules_are_shown_with_their_hits_and_asked_about_a_received_series(
    site: Site, received: Node, admin: TestClient
) -> None:
    page = admin.get("/routing", params={"series": "1.1.3"}).text
    assert "# our own" in page
    assert ">2</a>" in page, "two jobs came of the rule"
    assert "No rule matched." in page and "SeriesDescription: &#39;knee&#39;   (wanted: *bone*)" in page
    assert "there is no series" in admin.get("/routing", params={"series": "1.9.9"}).text
    trace = site.browser().get("/api/v1/routing/explain/1.1.1", headers=header(site, Role.VIEWER)).json()
    assert trace["routing"]["fired"] == ["bone"]


def test_a_dropped_file_gets_the_trace_of_the_command_and_is_not_kept(
    site: Site, admin: TestClient, tmp_path: Path
) -> None:
    scan = tiny_scan()
    scan.SeriesDescription = "my bone scan"
    buffer = BytesIO()
    dcmwrite(buffer, scan, enforce_file_format=True)
    before = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    token = csrf(admin, "/routing")
    page = admin.post("/routing/explain", data={"csrf": token}, files={"file": ("x.dcm", buffer.getvalue())}).text
    assert "rule &#39;bone&#39; asks for pipeline &#39;bone-scan&#39;" in page
    assert str(scan.SeriesInstanceUID) in page
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == before
    page = admin.post("/routing/explain", data={"csrf": token}, files={"file": ("x.txt", b"no dicom at all")}).text
    assert "osteon-explain-" not in page and "/file" not in page.split('<pre class="trace" tabindex="0" role')[1][:200]
    huge = admin.post("/routing/explain", headers={"content-length": "70000000"}, content=b"")
    assert huge.status_code == 413


def test_an_edit_is_tried_then_saved_then_undone(site: Site, received: Node, admin: TestClient, folder: Path) -> None:
    edit = admin.get("/routing/edit").text
    base = edit.split('name="base" value="')[1][:64]
    assert ">Save what was tried<" not in edit
    wrong = post(
        admin, "/routing/try", "/routing/edit", text=EDITED.replace("pipeline", "pipelin"), base=base, days="7"
    )
    assert "line 4: rules[0].pipelin: this key is not known" in wrong.text
    tried = post(admin, "/routing/try", "/routing/edit", text=EDITED.replace("\n", "\r\n"), base=base, days="7").text
    assert "Of 3 series received in the last 7 days, 3 would fare otherwise." in tried
    assert "Jobs asked for: 2 now, 1 then." in tried
    assert "bone &lt;b&gt;" in tried and "bone <b>" not in tried
    digest = tried.split('name="tried" value="')[1][:64]
    other = post(admin, "/routing/save", "/routing/edit", text=RULES, base=base, tried=digest)
    assert "All 3 series received in the last 7 days would fare as they did." in other.text, "tried, not saved"
    assert (folder / "routing.yaml").read_text() == RULES
    saved = post(admin, "/routing/save", "/routing/edit", text=EDITED, base=base, tried=digest)
    assert saved.headers["location"] == "/routing"
    assert (folder / "routing.yaml").read_text() == EDITED
    stale = post(admin, "/routing/save", "/routing/edit", text=EDITED, base=base, tried=digest)
    assert stale.status_code == 409 and "changed by somebody else" in stale.text
    (version,) = (folder / "versions").iterdir()
    assert f"version={version.name}" in admin.get("/routing").text
    assert "# our own" in admin.get("/routing/edit", params={"version": version.name}).text
    assert admin.get("/routing/edit", params={"version": "../routing.yaml"}).status_code == 409
    with site.registry.reading() as session:
        (entry,) = session.query(AuditEntry).filter_by(action="routing.save")
    assert (entry.who, entry.before["kept as"]) == ("ada", version.name)
    assert '+    match: {SeriesDescription: "*knee*"}' in entry.after["difference"]


def test_programs_try_and_save_and_only_an_admin_saves(site: Site, folder: Path) -> None:
    analyse(site.registry, 1, NOW)
    client, reader, writer, admin = site.browser(), *(header(site, role) for role in Role)
    found = client.get("/api/v1/routing", headers=reader).json()
    assert [(rule["name"], rule["hits"]) for rule in found["rules"]] == [("bone", 0)], "hits are by rule name"
    body = {"text": "rules: []", "base_sha256": found["sha256"]}
    assert client.put("/api/v1/routing", headers=writer, json=body).status_code == 403
    assert client.post("/api/v1/routing/dry-run", headers=reader, json={"text": ""}).status_code == 403
    trial = client.post("/api/v1/routing/dry-run", headers=writer, json={"text": "rules: {}"}).json()
    assert trial["outcome"] is None and "a list of rules" in trial["problems"][0]
    assert client.put("/api/v1/routing", headers=admin, json=body).json()["rules"] == []
    assert (folder / "routing.yaml").read_text() == "rules: []\n"
    (folder / "routing.yaml").write_text("rules: {")
    assert "routing.yaml" in client.get("/api/v1/routing", headers=reader).json()["problem"]
