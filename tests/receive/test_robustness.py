"""Every odd and malformed file, sent at real listener processes as the bytes it has, between images of a good study.

Each ends in a DICOM status, a rejected context or an ended association; no process dies, each file is followed by an
answered C-ECHO, and the good study arrives whole. What the node makes of the stored ones later is not looked at here.
"""

from __future__ import annotations

import struct
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytest
from pynetdicom.dsutils import split_dataset

from node.receive.statuses import STATUSES
from tests.receive.listening import listening_process, make_configuration, wait_until
from tests.receive.raw_peer import ASSOCIATE_AC, CT, IMPLICIT, PeerGone, RawPeer, echoes

KNOWN_STATUSES = {0x0000, 0x0110, 0x0117, 0x0122, 0xA700, 0xA900, 0xC000}
GOOD_ONE_IN = 20


@dataclass(frozen=True)
class Sendable:
    """What can be made of a file that may be broken: the request's words, and the data set's bytes."""

    sop_class: bytes
    sop_instance: bytes
    transfer_syntax: str
    data: bytes


def sendable(path: Path) -> Sendable:
    """From the file meta information where pydicom can read it, otherwise guessed; the data set is never parsed."""
    raw = path.read_bytes()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            meta, offset = split_dataset(path)
            # Where a broken header swallows the file, all behind the prefix is sent.
            offset = offset if offset < len(raw) else 132
            return Sendable(
                str(meta.get("MediaStorageSOPClassUID", CT)).encode("latin-1", "replace"),
                str(meta.get("MediaStorageSOPInstanceUID", "1.2.3")).encode("latin-1", "replace"),
                str(meta.get("TransferSyntaxUID", IMPLICIT)),
                raw[offset:],
            )
    except Exception:  # whatever a broken header leads pydicom to
        return Sendable(CT.encode(), b"1.2.3", IMPLICIT, raw)


def send(port: int, file: Sendable) -> str:
    """Send it; what came of it: a status in hexadecimal, 'rejected' or 'ended'."""
    abstract = file.sop_class[:64].decode("ascii", "replace").strip("\0 ") or CT
    syntax = file.transfer_syntax if file.transfer_syntax.isascii() and file.transfer_syntax else IMPLICIT
    with RawPeer(port) as peer:
        try:
            if peer.associate({1: (abstract.replace("\ufffd", "1"), [syntax])})[0] != ASSOCIATE_AC or not peer.accepted:
                return "rejected"
            status = peer.store(1, file.sop_class[:60_000], file.sop_instance[:60_000], file.data)
            peer.release()
        except PeerGone:
            return "ended"
    assert status in KNOWN_STATUSES, f"0x{status:04X}"
    return f"0x{status:04X}"


def test_the_table_of_statuses_is_complete() -> None:
    assert {status.code for status in STATUSES} == KNOWN_STATUSES
    assert len(STATUSES) == len(KNOWN_STATUSES)


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["odd", "fuzz"])
def test_every_broken_file_ends_in_a_status_and_the_good_study_arrives_whole(
    folder: str, shared_data: Path, tmp_path: Path
) -> None:
    broken = sorted(path for path in (shared_data / folder).iterdir() if path.is_file())
    good = [sendable(path) for path in sorted((shared_data / "ct_lung_lidc").glob("*.dcm"))]
    waiting = list(good)
    outcomes: dict[str, str] = {}
    with listening_process(make_configuration(tmp_path, processes=2)) as node, RawPeer(node.port) as scanner:
        processes = {child.pid for child in node.children()}
        assert scanner.associate({1: (CT, [IMPLICIT])})[0] == ASSOCIATE_AC
        for number, path in enumerate(broken):
            outcomes[path.name] = send(node.port, sendable(path))
            assert echoes(node.port), path.name
            if waiting and (number % GOOD_ONE_IN == 0 or folder == "odd"):
                image = waiting.pop()
                assert scanner.store(1, image.sop_class, image.sop_instance, image.data) == 0
        while waiting:
            image = waiting.pop()
            assert scanner.store(1, image.sop_class, image.sop_instance, image.data) == 0
        scanner.release()
        assert {child.pid for child in node.children()} == processes
        stored = [entry.path.read_bytes() for entry in node.instances()]
        assert len(stored) == len(good) + list(outcomes.values()).count("0x0000")
        for image in good:
            assert any(data.endswith(image.data) for data in stored)
        wait_until("all end marks", lambda: len(node.ended()) == len(node.records()))
        assert node.partials() == []
    assert len(outcomes) == len(broken)
    # Most of them are well-formed enough to be stored: a listener that refused everything would pass the rest.
    assert list(outcomes.values()).count("0x0000") > len(broken) / 2


@pytest.mark.slow
def test_file_meta_information_as_the_data_set_is_stored_or_refused_but_does_no_harm(
    shared_data: Path, tmp_path: Path
) -> None:
    whole = [path.read_bytes() for path in sorted((shared_data / "odd").iterdir())]
    with listening_process(make_configuration(tmp_path)) as node:
        for data in whole:
            assert send(node.port, Sendable(CT.encode(), b"1.2.3", IMPLICIT, data)) in ("0x0000", "0xA900")
            assert send(node.port, Sendable(CT.encode(), b"1.2.3", IMPLICIT, struct.pack(">I", 1) + data)) != "ended"
        assert echoes(node.port)
