"""The C-STORE sender: files go out as they are, and whatever goes wrong is a sentence that names peer and reason.

Against real peers on loopback: osteon's own listener, pynetdicom SCPs that answer what a test asks of them, a socket
that never answers, and DCMTK's storescp. TLS is tested with the listener (tests/receive/test_tls.py).
"""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    SegmentationStorage,
)
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, evt
from pynetdicom.dsutils import split_dataset
from pynetdicom.transport import ThreadedAssociationServer

from node.deliver.scu import SendOutcome, echo, probe, send_files
from node.deliver.scu_association import Timeouts
from node.deliver.scu_files import OutgoingFile, batches
from node.loopback import free_port
from node.settings.model import Destination
from tests.fixtures.programs import need_program
from tests.receive.listening import Running, listening, make_configuration, wait_until

VERIFICATION = "1.2.840.10008.1.1"
PATIENT = Timeouts(connect_s=5, acse_s=5, dimse_s=10)
HASTY = Timeouts(connect_s=5, acse_s=0.5, dimse_s=0.5)


def write_image(path: Path, number: int, sop_class: str = CTImageStorage, syntax: str = ExplicitVRLittleEndian) -> Path:
    """A small image with odd-sized private content, so that a re-encoding would show."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, f"1.2.3.{number}"
    dataset.PatientID = "P1"
    dataset.add_new(0x00091001, "UN", b"private!")
    dataset.Rows = dataset.Columns = 16
    dataset.BitsAllocated = 16
    compressed = UID(syntax).is_compressed
    dataset.PixelData = encapsulate([os.urandom(512)]) if compressed else os.urandom(512)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    path.parent.mkdir(parents=True, exist_ok=True)
    implicit = syntax == ImplicitVRLittleEndian
    dataset.save_as(path, implicit_vr=implicit, little_endian=True, enforce_file_format=True)
    return path


def data_set_bytes(path: Path) -> bytes:
    return path.read_bytes()[split_dataset(path)[1] :]


def send(paths: list[Path], port: int, timeouts: Timeouts = PATIENT, **arguments: Any) -> list[SendOutcome]:
    arguments = {"called_aet": "OSTEON", "calling_aet": "SENDER", **arguments}
    return send_files(paths, "127.0.0.1", port, timeouts=timeouts, **arguments)


@contextmanager
def scp(
    contexts: dict[str, list[str]], store: Callable[[evt.Event], Any] = lambda event: 0, **ae: Any
) -> Iterator[int]:
    """A pynetdicom SCP with these contexts and this answer to C-STORE; its port."""
    entity = AE("PEER")
    for name, value in ae.items():
        setattr(entity, name, value)
    for abstract, syntaxes in contexts.items():
        entity.add_supported_context(abstract, syntaxes)
    server = entity.make_server(
        ("127.0.0.1", 0), evt_handlers=[(evt.EVT_C_STORE, store)], server_class=ThreadedAssociationServer
    )
    entity._servers.append(server)
    # Not start_server: that looks only twice a second whether it shall stop.
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join(20)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Running]:
    with listening(make_configuration(tmp_path / "node")) as running:
        yield running


def test_files_without_preamble_and_bare_data_sets_arrive_as_they_are(node: Running, tmp_path: Path) -> None:
    whole = write_image(tmp_path / "whole", 1)
    bare = tmp_path / "bare"
    bare.write_bytes(data_set_bytes(write_image(tmp_path / "x", 2)))
    implicit = tmp_path / "implicit"
    implicit.write_bytes(data_set_bytes(write_image(tmp_path / "y", 3, syntax=ImplicitVRLittleEndian)))
    no_preamble = tmp_path / "no preamble"
    no_preamble.write_bytes(write_image(tmp_path / "z", 4).read_bytes()[132:])
    outcomes = send([whole, bare, implicit, no_preamble], node.port)
    assert [outcome.ok for outcome in outcomes] == [True] * 4, outcomes
    received = {entry.sop_instance_uid: entry.path for entry in node.instances()}
    assert data_set_bytes(received["1.2.3.1"]) == data_set_bytes(whole)
    assert data_set_bytes(received["1.2.3.2"]) == bare.read_bytes()
    assert data_set_bytes(received["1.2.3.3"]) == implicit.read_bytes()
    assert data_set_bytes(received["1.2.3.4"]) == data_set_bytes(tmp_path / "z")
    syntaxes = {uid: dcmread(path).file_meta.TransferSyntaxUID for uid, path in received.items()}
    assert syntaxes["1.2.3.3"] == ImplicitVRLittleEndian
    assert syntaxes["1.2.3.4"] == ExplicitVRLittleEndian


def test_a_folder_is_searched_and_only_what_was_named_itself_is_reported_as_no_dicom(
    node: Running, tmp_path: Path
) -> None:
    write_image(tmp_path / "study" / "b" / "2", 2)
    write_image(tmp_path / "study" / "a" / "1", 1)
    (tmp_path / "study" / "notes.txt").write_text("nothing of interest")
    notes = tmp_path / "notes.txt"
    notes.write_text("nothing of interest")
    told: list[tuple[int, int]] = []
    outcomes = send([tmp_path / "study", notes, tmp_path / "gone"], node.port, progress=lambda *at: told.append(at))
    assert [outcome.path.name for outcome in outcomes] == ["1", "2", "notes.txt", "gone"]
    assert [(outcome.ok, outcome.retriable) for outcome in outcomes] == [(True, False)] * 2 + [(False, False)] * 2
    assert "not a DICOM file" in outcomes[2].sentence
    assert told[-1] == (4, 4)


def test_a_dicomdir_is_not_sent(node: Running, shared_data: Path) -> None:
    (outcome,) = send([shared_data / "odd" / "DICOMDIR"], node.port)
    assert not outcome.ok
    assert "DICOMDIR" in outcome.sentence


def test_the_order_of_titles_and_reasons_in_a_rejection(tmp_path: Path) -> None:
    image = write_image(tmp_path / "1", 1)
    configuration = make_configuration(tmp_path / "node", allow_calling_aets=("SCANNER",), max_associations=1)
    with listening(configuration) as node:
        (wrong,) = send([image], node.port, called_aet="OTHER", calling_aet="SCANNER")
        (unknown,) = send([image], node.port)
        assert (wrong.ok, wrong.retriable, wrong.status) == (False, True, None)
        assert "'OTHER'" in wrong.sentence
        assert "called AE title not recognised" in wrong.sentence
        assert (unknown.ok, unknown.retriable) == (False, True)
        assert "'SENDER'" in unknown.sentence
        assert "calling AE title not recognised" in unknown.sentence


def test_a_busy_peer_and_an_absent_one_may_be_tried_again(tmp_path: Path) -> None:
    image = write_image(tmp_path / "1", 1)
    with scp({CTImageStorage: ALL_TRANSFER_SYNTAXES}, maximum_associations=1) as port:
        occupied = AE("OTHER")
        occupied.add_requested_context(CTImageStorage)
        first = occupied.associate("127.0.0.1", port)
        (busy,) = send([image], port)
        first.release()
    assert (busy.ok, busy.retriable) == (False, True)
    assert "too many associations" in busy.sentence
    (absent,) = send([image], free_port())
    assert (absent.ok, absent.retriable) == (False, True)
    assert "refused" in absent.sentence
    (nowhere,) = send_files([image], "no-such-host.invalid", 104, "A", "B")
    assert (nowhere.ok, nowhere.retriable) == (False, True)
    assert "no-such-host.invalid" in nowhere.sentence


@pytest.fixture(scope="module")
def obedient_peer() -> Iterator[int]:
    """A peer that answers with the status that is the last number of the SOP instance UID."""

    def store(event: Any) -> Dataset:
        answer = Dataset()
        answer.Status = int(event.request.AffectedSOPInstanceUID.rpartition(".")[2])
        answer.ErrorComment = "said the peer"
        return answer

    with scp({CTImageStorage: ALL_TRANSFER_SYNTAXES}, store) as port:
        yield port


@pytest.mark.parametrize(
    ("status", "ok", "retriable"),
    [
        (0x0000, True, False),
        (0xB000, True, False),
        (0xB007, True, False),
        (0x0111, True, False),
        (0xA700, False, True),
        (0xA7FF, False, True),
        (0x0110, False, True),
        (0xA900, False, False),
        (0xC123, False, False),
        (0x0122, False, False),
        (0x0124, False, False),
    ],
)
def test_what_a_status_means_for_the_sender(
    obedient_peer: int, tmp_path: Path, status: int, ok: bool, retriable: bool
) -> None:
    (outcome,) = send([write_image(tmp_path / "1", status)], obedient_peer)
    assert (outcome.status, outcome.ok, outcome.retriable) == (status, ok, retriable)
    if not ok:
        assert f"0x{status:04X}" in outcome.sentence
        assert "said the peer" in outcome.sentence


@pytest.mark.parametrize(
    ("written", "accepted"),
    [(ExplicitVRLittleEndian, ImplicitVRLittleEndian), (ImplicitVRLittleEndian, ExplicitVRLittleEndian)],
)
def test_a_peer_that_takes_only_the_other_plain_encoding_gets_it(tmp_path: Path, written: str, accepted: str) -> None:
    received: list[Dataset] = []

    def store(event: Any) -> int:
        received.append(event.dataset)
        assert event.context.transfer_syntax == accepted
        return 0

    image = write_image(tmp_path / "1", 1, syntax=written)
    with scp({CTImageStorage: [accepted]}, store) as port:
        (outcome,) = send([image], port)
    assert outcome.ok, outcome.sentence
    assert received[0].PixelData == dcmread(image).PixelData
    assert received[0].PatientID == "P1"


def test_what_a_peer_does_not_accept_is_permanent_and_named(tmp_path: Path) -> None:
    compressed = write_image(tmp_path / "compressed", 1, syntax=JPEG2000Lossless)
    segmentation = write_image(tmp_path / "seg", 2, sop_class=SegmentationStorage)
    plain = write_image(tmp_path / "plain", 3)
    with scp({CTImageStorage: [ExplicitVRLittleEndian]}) as port:
        refused, unknown, stored = send([compressed, segmentation, plain], port)
        (alone,) = send([segmentation], port)
    assert (refused.ok, refused.retriable) == (False, False)
    assert "JPEG 2000" in refused.sentence
    assert "convert" in refused.sentence
    assert (unknown.ok, unknown.retriable) == (False, False)
    assert "Segmentation Storage" in unknown.sentence
    assert stored.ok
    assert (alone.ok, alone.retriable) == (False, False)


@pytest.mark.parametrize("bad", [1, 2, 4])
def test_a_file_on_which_the_association_breaks_does_not_take_the_others_with_it(tmp_path: Path, bad: int) -> None:
    def store(event: Any) -> int:
        if event.request.AffectedSOPInstanceUID == f"1.2.3.{bad}":
            event.assoc.abort()
        return 0

    files = [write_image(tmp_path / str(number), number) for number in range(1, 5)]
    with scp({CTImageStorage: ALL_TRANSFER_SYNTAXES}, store) as port:
        outcomes = send(files, port)
    assert [outcome.ok for outcome in outcomes] == [number != bad for number in range(1, 5)]
    assert outcomes[bad - 1].retriable


def test_a_peer_that_breaks_every_association_is_not_called_for_each_file(tmp_path: Path) -> None:
    calls: list[str] = []

    def store(event: Any) -> int:
        calls.append(event.request.AffectedSOPInstanceUID)
        event.assoc.abort()
        return 0

    files = [write_image(tmp_path / str(number), number) for number in range(1, 7)]
    with scp({CTImageStorage: ALL_TRANSFER_SYNTAXES}, store) as port:
        outcomes = send(files, port)
    assert len(calls) == 2
    assert all(outcome.retriable and not outcome.ok for outcome in outcomes)


@pytest.mark.parametrize("answers_association", [False, True])
def test_a_peer_that_never_answers_is_given_up_in_time(tmp_path: Path, answers_association: bool) -> None:
    asleep = threading.Event()

    def store(event: Any) -> int:
        asleep.wait(20)
        return 0

    image = write_image(tmp_path / "1", 1)
    if answers_association:
        with scp({CTImageStorage: ALL_TRANSFER_SYNTAXES}, store) as port:
            (outcome,) = send([image], port, HASTY)
            asleep.set()
    else:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            (outcome,) = send([image], silent.getsockname()[1], HASTY)
    assert (outcome.ok, outcome.retriable, outcome.status) == (False, True, None)
    assert "answer" in outcome.sentence


def test_more_kinds_than_an_association_has_contexts_go_over_several(node: Running, tmp_path: Path) -> None:
    kinds = 70
    for number in range(kinds):
        write_image(tmp_path / "many" / f"{number:03d}", number, sop_class=f"1.2.826.0.1.999.{number}")
    outcomes = send([tmp_path / "many"], node.port)
    assert [outcome for outcome in outcomes if not outcome.ok] == []
    assert len(outcomes) == len(node.instances()) == kinds
    assert len({entry.association for entry in node.instances()}) == 2


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), max_size=60), st.integers(1, 6))
def test_batches_keep_every_file_in_order_and_each_within_the_limit(kinds: list[tuple[int, int]], limit: int) -> None:
    files = [OutgoingFile(Path(str(i)), f"1.{a}", "1.2", f"2.{b}", 0) for i, (a, b) in enumerate(kinds)]
    found = list(batches(files, limit))
    assert [file for batch in found for file in batch] == files
    assert all(len({(f.sop_class_uid, f.transfer_syntax_uid) for f in batch}) <= limit for batch in found)


def test_echo_tells_whether_a_peer_is_there(node: Running) -> None:
    assert echo("127.0.0.1", node.port, "OSTEON", "SENDER").ok
    wrong = echo("127.0.0.1", node.port, "OTHER", "SENDER")
    assert (wrong.ok, wrong.retriable) == (False, True)
    with scp({CTImageStorage: ALL_TRANSFER_SYNTAXES}) as port:
        no_verification = echo("127.0.0.1", port, "PEER", "SENDER")
    assert not no_verification.ok


def test_probe_tells_which_results_a_destination_accepts() -> None:
    contexts: dict[str, Any] = {
        VERIFICATION: [ImplicitVRLittleEndian],
        SegmentationStorage: [ExplicitVRLittleEndian],
    }
    stored: list[object] = []

    def store(event: Any) -> int:
        stored.append(event)
        return 0

    with scp(contexts, store) as port:
        outcome = probe(Destination(name="pacs", host="127.0.0.1", port=port, ae_title="PEER"), "OSTEON")
    assert outcome.echo.ok
    assert outcome.accepts == {"seg": True, "sr": False, "sc": False, "seg-labelmap": False}
    assert stored == []
    gone = probe(Destination(name="pacs", host="127.0.0.1", port=port, ae_title="PEER"), "OSTEON")
    assert (gone.echo.ok, gone.accepts) == (False, {})


@pytest.mark.peer
def test_storescp_receives_every_kind_of_file_byte_for_byte(shared_data: Path, tmp_path: Path) -> None:
    storescp, port = need_program("storescp"), free_port()
    received = tmp_path / "received"
    received.mkdir()
    # +xa accepts all transfer syntaxes, +B writes the data set exactly as it came.
    command = [storescp, "+xa", "+B", "-aet", "ARCHIVE", "-od", str(received), str(port)]
    with subprocess.Popen(command, env={**os.environ, "TCP_NODELAY": "1"}) as process:
        try:
            wait_until("storescp", lambda: echo("127.0.0.1", port, "ARCHIVE", "OSTEON", timeout_s=5).ok)
            for folder in ("nm", "ct_body", "ct_liver_with_seg"):
                outcomes = send([shared_data / folder], port, called_aet="ARCHIVE")
                assert [outcome for outcome in outcomes if not outcome.ok] == []
                for outcome in outcomes:
                    found = [path for path in received.iterdir() if path.name.endswith(outcome.sop_instance_uid)]
                    assert found, outcome.path
                # Files that share a SOP instance overwrite each other there; the last one is compared.
                last = {outcome.sop_instance_uid: outcome.path for outcome in outcomes}
                for uid, path in last.items():
                    (copy,) = [each for each in received.iterdir() if each.name.endswith(uid)]
                    assert data_set_bytes(copy) == data_set_bytes(path), path.name
        finally:
            process.terminate()
