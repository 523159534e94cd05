"""Command sets, the file header and the peek at a data set, each against pydicom as the independent reader."""

from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pynetdicom.dsutils import decode, encode

from node.receive.command import (
    ProtocolError,
    StoreRequest,
    decode_elements,
    p_data_pdus,
    store_request,
    store_response,
)
from node.results.uids import IMPLEMENTATION_CLASS_UID as RESULTS_IMPLEMENTATION_CLASS_UID
from node.storage.part10 import IMPLEMENTATION_CLASS_UID, file_header, read_header
from node.storage.peek import peek_uids

UIDS = st.from_regex(r"[1-9][0-9]{0,5}(\.[1-9][0-9]{0,8}){1,5}", fullmatch=True)


def encoded_command(**values: object) -> bytes:
    command = Dataset()
    for keyword, value in values.items():
        setattr(command, keyword, value)
    encoded = encode(command, True, True)
    assert encoded is not None
    return encoded


@settings(max_examples=40, deadline=None)
@given(UIDS, UIDS, st.integers(0, 65535))
def test_a_request_that_pydicom_encoded_is_understood(sop_class: str, sop_instance: str, message_id: int) -> None:
    encoded = encoded_command(
        CommandGroupLength=0,
        AffectedSOPClassUID=sop_class,
        CommandField=1,
        MessageID=message_id,
        Priority=0,
        CommandDataSetType=0,
        AffectedSOPInstanceUID=sop_instance,
    )
    assert store_request(decode_elements(encoded), 3) == StoreRequest(3, message_id, sop_class, sop_instance, True)


@settings(max_examples=40, deadline=None)
@given(UIDS, UIDS, st.integers(0, 65535), st.sampled_from([0x0000, 0xA700, 0x0117]))
def test_pydicom_understands_the_response(sop_class: str, sop_instance: str, message_id: int, status: int) -> None:
    comment = "disk nearly full" if status else ""
    encoded = store_response(StoreRequest(1, message_id, sop_class, sop_instance, True), status, comment)
    response = decode(io.BytesIO(encoded), True, True)
    assert response.CommandGroupLength == len(encoded) - 12
    assert response.CommandField == 0x8001
    assert response.MessageIDBeingRespondedTo == message_id
    assert response.CommandDataSetType == 0x0101
    assert response.Status == status
    assert response.get("ErrorComment", "") == comment
    assert (response.AffectedSOPClassUID, response.AffectedSOPInstanceUID) == (sop_class, sop_instance)


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=200))
def test_bytes_that_are_no_command_set_are_a_protocol_error_and_nothing_else(noise: bytes) -> None:
    try:
        elements = decode_elements(noise)
        store_request(elements, 1)
    except ProtocolError:
        return
    assert all(0 <= number <= 0xFFFF for number in elements)


def test_a_response_is_cut_to_the_size_of_pdu_that_the_peer_takes() -> None:
    command = bytes(range(200))
    whole = p_data_pdus(5, command, 0)
    cut = p_data_pdus(5, command, 64)
    assert len(whole) == 6 + 6 + 200
    rebuilt, controls = b"", []
    while cut:
        kind, length, item, context_id, control = struct.unpack(">BxIIBB", cut[:12])
        assert (kind, context_id) == (4, 5)
        assert length <= 64
        assert item == length - 4
        rebuilt += cut[12 : 6 + length]
        controls.append(control)
        cut = cut[6 + length :]
    assert rebuilt == command
    assert controls == [1, 1, 1, 3]


@settings(max_examples=40, deadline=None)
@given(UIDS, UIDS, st.sampled_from(["", "SCANNER", "CT 1"]))
def test_pydicom_reads_the_header_that_is_put_before_a_data_set(sop_class: str, instance: str, source: str) -> None:
    meta = dcmread(io.BytesIO(file_header(sop_class, instance, ExplicitVRLittleEndian, source))).file_meta
    assert meta.MediaStorageSOPClassUID == sop_class
    assert meta.MediaStorageSOPInstanceUID == instance
    assert meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert meta.get("SourceApplicationEntityTitle", "") == source
    assert meta.FileMetaInformationVersion == b"\0\1"
    assert meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert len(str(meta.ImplementationVersionName)) <= 16


def test_the_node_has_one_implementation_class() -> None:
    assert IMPLEMENTATION_CLASS_UID == RESULTS_IMPLEMENTATION_CLASS_UID


@settings(max_examples=40, deadline=None)
@given(UIDS, UIDS, st.sampled_from([ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]))
def test_the_header_and_uids_of_what_pydicom_wrote_are_found(sop_class: str, instance: str, syntax: str) -> None:
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, instance
    dataset.PatientName = "Any^Body"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    start = buffer.getvalue()
    header = read_header(start)
    assert header is not None
    assert (header.sop_class_uid, header.sop_instance_uid) == (sop_class, instance)
    assert header.transfer_syntax_uid == syntax
    assert peek_uids(start[header.data_set_offset :], syntax) == (sop_class, instance)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_the_transfer_syntax_of_a_bare_data_set_is_guessed(syntax: str) -> None:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, "1.2.3"
    file = DicomBytesIO()
    file.is_implicit_VR = syntax == ImplicitVRLittleEndian
    file.is_little_endian = syntax != ExplicitVRBigEndian
    write_dataset(file, dataset)
    header = read_header(file.getvalue())
    assert header is not None
    assert (header.transfer_syntax_uid, header.data_set_offset) == (syntax, 0)


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=400), st.sampled_from([ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]))
def test_noise_in_a_data_set_is_never_more_than_unknown(noise: bytes, syntax: str) -> None:
    read_header(noise)
    assert all(isinstance(uid, str) for uid in peek_uids(noise, syntax))


def test_a_deflated_data_set_is_not_looked_into() -> None:
    assert peek_uids(b"\x08\x00\x16\x00UI\x04\x001.2\0" * 20, DeflatedExplicitVRLittleEndian) == ("", "")
