"""Results at a DICOMweb service: stored by STOW-RS, asked for by QIDO-RS; refused, forbidden, away; a real Orthanc."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.orthanc.run import find_orthanc, find_plugins, start_orthanc
from node.deliver.places import probe
from node.settings import WebDestination
from tests.deliver.sending import FinishJob, Sender
from tests.deliver.web_archive import WebArchive, refusal, running_web_archive

Sending = Callable[..., Sender]


@pytest.fixture
def web() -> Iterator[WebArchive]:
    with running_web_archive(WebArchive()) as running:
        yield running


def place(url: str, **more: object) -> WebDestination:
    return WebDestination.model_validate({"name": "web", "type": "dicomweb", "url": url, **more})


def test_results_arrive_byte_for_byte_and_are_verified(web: WebArchive, finish_job: FinishJob, sender: Sending) -> None:
    there = place(f"{web.url}/", verify="find")
    finish_job(there)
    sending = sender(there)
    assert sending.send_due() == 3
    assert set(sending.states().values()) == {"verified"}
    assert sorted(one.Modality for one in web.received) == ["OT", "SEG", "SR"]
    assert all(one.file_meta.TransferSyntaxUID.is_little_endian for one in web.received)


def test_what_is_acknowledged_but_not_listed_stays_sent(
    web: WebArchive, finish_job: FinishJob, sender: Sending
) -> None:
    there = place(web.url, verify="find")
    web.hidden = True
    finish_job(there)
    sending = sender(there)
    sending.send_due()
    assert set(sending.states().values()) == {"sent"}
    assert "does not list it" in sending.rows()[("seg", "web")].last_error


def test_one_refused_object_does_not_take_the_others_along(
    web: WebArchive, finish_job: FinishJob, sender: Sending
) -> None:
    there = place(web.url)
    web.answers = [refusal(0x0122)]
    finish_job(there)
    sending = sender(there)
    sending.send_due()
    assert sorted(sending.states().values()) == ["failed", "sent", "sent"]
    (failed,) = [row for row in sending.rows().values() if row.state == "failed"]
    assert "0x0122, SOP class not supported" in failed.last_error


@pytest.mark.parametrize(
    ("answer", "state", "words"),
    [
        (refusal(0xA701), "pending", "0xA701, out of resources"),
        (refusal(0xA900), "failed", "0xA900, data set does not match"),
        (refusal(0xC123, status=202), "failed", "0xC123, cannot understand"),
        (refusal(0x0111), "sent", ""),
        ((503, None), "pending", "HTTP status 503"),
        ((403, None), "pending", "may not store there"),
        ((413, None), "failed", "too large"),
        ((404, None), "pending", "check the url"),
    ],
)
def test_an_answer_decides_whether_it_is_tried_again(
    web: WebArchive, finish_job: FinishJob, sender: Sending, answer: tuple[int, object], state: str, words: str
) -> None:
    there = place(web.url, send=("seg",))
    web.answers = [answer]
    finish_job(there)
    sending = sender(there)
    sending.send_due()
    row = sending.rows()[("seg", "web")]
    assert row.state == state
    assert words in (row.last_error or "")


def test_a_service_that_is_away_gets_the_results_when_it_is_back(finish_job: FinishJob, sender: Sending) -> None:
    with running_web_archive(WebArchive()) as gone:
        url = gone.url
    there = place(url, send=("seg",))
    finish_job(there)
    sending = sender(there)
    sending.send_due()
    assert sending.states() == {("seg", "web"): "pending"}
    assert "cannot be reached" in sending.rows()[("seg", "web")].last_error


def test_credentials_come_from_the_environment_or_a_file_and_their_lack_is_said(
    web: WebArchive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.authorization = "Basic " + base64.b64encode(b"osteon:s3cret").decode()
    basic = place(web.url, username="osteon", secret_env="WEB_SECRET")
    assert "set the environment variable WEB_SECRET" in probe(basic, "OSTEON").echo.sentence
    monkeypatch.setenv("WEB_SECRET", "wrong")
    assert "check username and secret" in probe(basic, "OSTEON").echo.sentence
    monkeypatch.setenv("WEB_SECRET", "s3cret")
    assert probe(basic, "OSTEON").echo.ok

    web.authorization = "Bearer t0ken"
    file = tmp_path / "token"
    token = place(web.url, secret_file=str(file))
    assert "cannot be read" in probe(token, "OSTEON").echo.sentence
    file.write_text("t0ken\n")
    assert probe(token, "OSTEON").echo.ok


def test_without_its_secret_a_delivery_waits(web: WebArchive, finish_job: FinishJob, sender: Sending) -> None:
    there = place(web.url, secret_env="A_SECRET_THAT_IS_NOT_SET", send=("sr",))
    finish_job(there)
    sending = sender(there)
    sending.send_due()
    assert sending.states() == {("sr", "web"): "pending"}
    assert web.received == []


@pytest.mark.peer
@pytest.mark.skipif(
    find_orthanc() is None or not find_plugins(), reason="Orthanc with its DICOMweb plugin is not installed"
)
def test_orthanc_takes_seg_sr_and_capture_by_stow_and_lists_them(
    tmp_path: Path, finish_job: FinishJob, sender: Sending
) -> None:
    with start_orthanc(tmp_path / "orthanc") as orthanc:
        there = place(orthanc.dicomweb_url, verify="find")
        assert probe(there, "OSTEON").echo.ok
        finish_job(there)
        sending = sender(there)
        assert sending.send_due() == 3
        assert set(sending.states().values()) == {"verified"}
        assert len(orthanc.get("/instances")) == 3  # type: ignore[arg-type]
