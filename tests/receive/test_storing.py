"""What is acknowledged is in the inbox, byte for byte; what is not stored is answered with the status that says why.

Real associations on loopback, by pynetdicom's own sender and by a peer that speaks raw PDUs. Covered elsewhere: DCMTK
(test_dcmtk), broken associations (test_breaking_off), killed processes (test_processes).
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, build_context
from pynetdicom.dsutils import split_dataset

from node.deliver.scu import send_files
from node.receive import reception
from node.receive.reception import FREE_SPACE_INTERVAL_BYTES, SpoolRules
from tests.receive.listening import Running, listening, make_configuration, wait_until
from tests.receive.raw_peer import (
    ASSOCIATE_AC,
    CT,
    EXPLICIT,
    IMPLICIT,
    RawPeer,
    echoes,
    p_data,
    pdv,
    small_data_set,
    store_command,
)

LABEL_MAP_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.7"
PARAMETRIC_MAP = "1.2.840.10008.5.1.4.1.1.30"
RETIRED_NUCLEAR_MEDICINE = "1.2.840.10008.5.1.4.1.1.5"
PRIVATE_CLASS = "1.2.840.113619.4.30"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Running]:
    with listening(make_configuration(tmp_path)) as running:
        yield running


def data_set_bytes(path: Path) -> bytes:
    """What follows the file meta information, found by pynetdicom."""
    _, offset = split_dataset(path)
    return path.read_bytes()[offset:]


def test_an_instance_lies_in_the_inbox_as_it_was_sent_with_a_true_header(node: Running) -> None:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, "1.2.3.4"
    dataset.PatientID = "P1"
    dataset.BitsAllocated = 16
    dataset.PixelData = os.urandom(300_000)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ae = AE("SCANNER")
    assoc = ae.associate("127.0.0.1", node.port, [build_context(CTImageStorage, EXPLICIT)], ae_title="OSTEON")
    assert assoc.is_established
    assert assoc.send_c_store(dataset).Status == 0x0000
    # Acknowledged means: there, now.
    (entry,) = node.instances()
    assoc.release()
    assert entry.sop_instance_uid == "1.2.3.4"
    received = dcmread(entry.path)
    assert received == dataset
    meta = received.file_meta
    assert meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID) == (CTImageStorage, "1.2.3.4")
    assert meta.SourceApplicationEntityTitle == "SCANNER"
    assert node.partials() == []


def test_the_association_is_on_record_before_the_acknowledgement_and_marked_when_it_ends(node: Running) -> None:
    with RawPeer(node.port) as peer:
        peer.associate({1: (CT, [IMPLICIT])}, calling="CT ONE")
        assert node.records() == []
        assert peer.store(1, CT, "1.2.3", small_data_set()) == 0
        (record,) = node.records()
        (entry,) = node.instances()
        assert record["token"] == entry.association
        assert (record["calling_aet"], record["called_aet"]) == ("CT ONE", "OSTEON")
        assert record["peer_address"] == "127.0.0.1"
        assert node.ended() == set()
        peer.release()
        wait_until("the end mark", lambda: node.ended() == {entry.association})


def test_an_association_that_stores_nothing_leaves_nothing(node: Running) -> None:
    assert echoes(node.port)
    node.stop()
    assert list(node.spool.inbox.iterdir()) == []


@pytest.mark.parametrize("folder", ["nm", "odd", "ct_body", "mr_lspine_axial"])
def test_every_transfer_syntax_of_the_real_files_arrives_byte_for_byte(
    node: Running, shared_data: Path, folder: str
) -> None:
    outcomes = send_files([shared_data / folder], "127.0.0.1", node.port, "OSTEON", "SENDER")
    assert outcomes
    assert [outcome for outcome in outcomes if not outcome.ok] == []
    # One association, so that the inbox numbers them as they were sent; several hold the same SOP instance.
    for outcome, entry in zip(outcomes, node.instances(), strict=True):
        sent, got = outcome.path, entry.path
        assert entry.sop_instance_uid == outcome.sop_instance_uid
        assert data_set_bytes(got) == data_set_bytes(sent), sent.name
        syntax = split_dataset(sent)[0].get("TransferSyntaxUID")
        if syntax is not None:
            assert split_dataset(got)[0].TransferSyntaxUID == syntax


@pytest.mark.parametrize("sop_class", [LABEL_MAP_SEGMENTATION, PARAMETRIC_MAP, RETIRED_NUCLEAR_MEDICINE, PRIVATE_CLASS])
def test_new_retired_and_private_storage_classes_are_stored(node: Running, sop_class: str) -> None:
    with RawPeer(node.port) as peer:
        peer.associate({1: (sop_class, [IMPLICIT])})
        assert peer.accepted == {1: IMPLICIT}
        assert peer.store(1, sop_class, "1.2.3", small_data_set(sop_class)) == 0
    assert dcmread(node.instances()[0].path).SOPClassUID == sop_class


def test_contexts_that_cannot_be_served_are_refused_and_the_others_accepted(node: Running) -> None:
    with RawPeer(node.port) as peer:
        contexts = {
            1: (CT, [IMPLICIT]),
            3: ("1.2.840.10008.5.1.4.1.2.2.1", [IMPLICIT]),
            5: (CT, ["1.2.840.113619.5.2"]),
            7: (CT, [IMPLICIT, EXPLICIT]),
        }
        kind, _ = peer.associate(contexts)
        assert kind == ASSOCIATE_AC
        assert peer.accepted == {1: IMPLICIT, 7: EXPLICIT}


def test_the_same_instance_twice_on_one_association_and_on_two_at_once_is_kept_each_time(node: Running) -> None:
    with RawPeer(node.port) as one, RawPeer(node.port) as two:
        for peer in (one, two):
            peer.associate({1: (CT, [IMPLICIT])})
        halves = small_data_set(extra=bytes(1000))
        for peer in (one, two):
            peer.send(p_data(pdv(1, 3, store_command(CT, "1.2.3")), pdv(1, 0, halves[:100])))
        for peer in (one, two):
            peer.send(p_data(pdv(1, 2, halves[100:])))
            assert peer.status() == 0
        assert one.store(1, CT, "1.2.3", small_data_set()) == 0
    entries = node.instances()
    assert len(entries) == 3
    assert {entry.sop_instance_uid for entry in entries} == {"1.2.3"}
    sizes = sorted(len(data_set_bytes(entry.path)) for entry in entries)
    assert sizes == [len(small_data_set()), len(halves), len(halves)]


@pytest.mark.parametrize("fragment", [1, 7, 300])
def test_how_a_message_is_cut_into_fragments_does_not_matter(node: Running, fragment: int) -> None:
    data = small_data_set(extra=os.urandom(500))
    command = store_command(CT, "1.2.3")
    pieces = [command[at : at + fragment] for at in range(0, len(command), fragment)]
    pdvs = [pdv(1, 1, piece) for piece in pieces[:-1]] + [pdv(1, 3, pieces[-1])]
    pieces = [data[at : at + fragment] for at in range(0, len(data), fragment)]
    pdvs += [pdv(1, 0, piece) for piece in pieces] + [pdv(1, 2, b"")]
    with RawPeer(node.port) as peer:
        peer.associate({1: (CT, [IMPLICIT])})
        peer.send(p_data(*pdvs))
        assert peer.status() == 0
        # ... nor whether each fragment is a PDU of its own.
        peer.send(b"".join(p_data(each) for each in pdvs))
        assert peer.status() == 0
    assert [data_set_bytes(entry.path) for entry in node.instances()] == [data, data]


def test_a_large_instance_in_small_pdus_arrives_whole(node: Running) -> None:
    data = small_data_set(extra=os.urandom(3_000_000))
    with RawPeer(node.port) as peer:
        peer.associate({1: (CT, [IMPLICIT])})
        assert peer.store(1, CT, "1.2.3", data, fragment=4000) == 0
    assert data_set_bytes(node.instances()[0].path) == data


def test_requests_that_are_sent_without_waiting_are_answered_in_order(node: Running) -> None:
    with RawPeer(node.port) as peer:
        peer.associate({1: (CT, [IMPLICIT])})
        for number in range(1, 6):
            data = small_data_set(sop_instance=f"1.2.{number}")
            peer.send(p_data(pdv(1, 3, store_command(CT, f"1.2.{number}", number)), pdv(1, 2, data)))
        answers = [peer.response() for _ in range(5)]
    assert [struct.unpack("<H", answer[0x0120])[0] for answer in answers] == [1, 2, 3, 4, 5]
    assert all(answer[0x0900] == b"\0\0" for answer in answers)


@pytest.mark.parametrize(
    ("sop_class", "sop_instance", "data", "status"),
    [
        (CT, "", small_data_set(), 0x0117),
        (CT, "1..2", small_data_set(), 0x0117),
        (CT, "../../etc/passwd", small_data_set(), 0x0117),
        (CT, "1." * 40 + "1", small_data_set(), 0x0117),
        (CT, b"\xff\xfe1.2", small_data_set(), 0x0117),
        ("1.2.840.10008.5.1.4.1.1.4", "1.2.3", small_data_set(), 0x0122),
        ("", "1.2.3", small_data_set(), 0x0122),
        (CT, "1.2.3", small_data_set(sop_instance="1.2.4"), 0xA900),
        (CT, "1.2.3", small_data_set(sop_class="1.2.840.10008.5.1.4.1.1.4"), 0xA900),
        (CT, "1.2.3", b"", 0xC000),
    ],
)
def test_what_is_refused_gets_its_status_and_the_next_instance_is_stored(
    node: Running, sop_class: str, sop_instance: str | bytes, data: bytes, status: int
) -> None:
    with RawPeer(node.port) as peer:
        peer.associate({1: (CT, [IMPLICIT])})
        peer.send(p_data(pdv(1, 3, store_command(sop_class, sop_instance)), pdv(1, 2, data)))
        response = peer.response()
        assert struct.unpack("<H", response[0x0900])[0] == status
        assert 0 < len(response[0x0902].strip()) <= 64
        assert node.instances() == []
        assert peer.store(1, CT, "1.2.3", small_data_set()) == 0
    assert len(node.instances()) == 1
    assert node.partials() == []


def test_a_data_set_without_a_class_of_its_own_is_stored_under_the_requests(node: Running) -> None:
    data = struct.pack("<HHI", 8, 0x16, 0) + struct.pack("<HHI", 8, 0x18, 6) + b"1.2.3\0"
    with RawPeer(node.port) as peer:
        peer.associate({1: (CT, [IMPLICIT])})
        assert peer.store(1, CT, "1.2.3", data) == 0


def test_a_request_without_a_data_set_is_refused_at_once(node: Running) -> None:
    with RawPeer(node.port) as peer:
        peer.associate({1: (CT, [IMPLICIT])})
        peer.send(p_data(pdv(1, 3, store_command(CT, "1.2.3", data=False))))
        assert peer.status() == 0xC000


def test_below_the_disk_floor_the_sender_is_told_to_try_later(tmp_path: Path) -> None:
    configuration = make_configuration(tmp_path, spool={"min_free_bytes": 1 << 62})
    with listening(configuration) as node, RawPeer(node.port) as peer:
        peer.associate({1: (CT, [IMPLICIT])})
        assert peer.store(1, CT, "1.2.3", small_data_set(extra=bytes(100_000))) == 0xA700
        assert list(node.spool.inbox.iterdir()) == []
        assert node.partials() == []


def test_a_disk_that_fills_up_during_an_instance_is_noticed_before_its_end(tmp_path: Path) -> None:
    free = iter([10_000, 10, 10_000])
    rules = SpoolRules(min_free_bytes=1000, fsync=True, free_bytes=lambda folder: next(free))
    with listening(make_configuration(tmp_path), rules) as node, RawPeer(node.port) as peer:
        peer.associate({1: (CT, [IMPLICIT])})
        data = small_data_set(extra=bytes(FREE_SPACE_INTERVAL_BYTES))
        assert peer.store(1, CT, "1.2.3", data, fragment=1 << 20) == 0xA700
        assert node.partials() == []
        assert peer.store(1, CT, "1.2.3", small_data_set()) == 0


@pytest.mark.parametrize(("number", "status"), [(errno.ENOSPC, 0xA700), (errno.EDQUOT, 0xA700), (errno.EIO, 0x0110)])
def test_a_disk_that_fails_is_never_acknowledged(
    node: Running, monkeypatch: pytest.MonkeyPatch, number: int, status: int
) -> None:
    def fails(handle: int) -> None:
        raise OSError(number, os.strerror(number))

    with RawPeer(node.port) as peer:
        peer.associate({1: (CT, [IMPLICIT])})
        with monkeypatch.context() as patch:
            patch.setattr(reception.os, "fsync", fails)
            assert peer.store(1, CT, "1.2.3", small_data_set()) == status
        assert node.instances() == []
        assert node.partials() == []
        assert peer.store(1, CT, "1.2.3", small_data_set()) == 0


def test_the_acknowledgement_comes_after_the_syncs_and_the_name(node: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    real_sync, real_folder_sync, real_write = os.fsync, reception.fsync_folder, reception.write_association

    def sync(handle: int) -> None:
        target = Path(f"/proc/self/fd/{handle}").resolve().name
        order.append(f"sync {target.rpartition('.')[2]}")
        real_sync(handle)

    def sync_folder(folder: Path) -> None:
        names = sorted(path.suffix for path in folder.iterdir() if not path.name.startswith("."))
        order.append(f"sync folder with {names}")
        real_folder_sync(folder)

    def write(inbox: Path, record: object) -> None:
        order.append("record")
        real_write(inbox, record)  # type: ignore[arg-type]

    monkeypatch.setattr(reception.os, "fsync", sync)
    monkeypatch.setattr(reception, "fsync_folder", sync_folder)
    monkeypatch.setattr(reception, "write_association", write)
    with RawPeer(node.port) as peer:
        peer.associate({1: (CT, [IMPLICIT])})
        assert peer.store(1, CT, "1.2.3", small_data_set()) == 0
        answered = list(order)
    own = [step for step in answered if step in ("record", "sync part") or step.startswith("sync folder")]
    assert own == ["sync part", "record", "sync folder with ['.assoc', '.dcm']"]


def test_echo_is_answered_between_and_after_instances(node: Running) -> None:
    with RawPeer(node.port) as peer:
        peer.associate({1: (CT, [IMPLICIT]), 3: ("1.2.840.10008.1.1", [IMPLICIT])})
        assert peer.echo(3) == 0
        assert peer.store(1, CT, "1.2.3", small_data_set()) == 0
        assert peer.echo(3) == 0
        peer.release()
