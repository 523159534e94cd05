"""Starting and stopping an Orthanc of one's own."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from pynetdicom import AE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from deploy.demo.studies import real_study
from deploy.orthanc.run import (
    OrthancError,
    OrthancProcess,
    configuration,
    find_orthanc,
    find_plugins,
    start_orthanc,
)
from node.deliver.scu import send_files
from node.loopback import free_port


def test_the_configuration_refuses_other_hosts_over_http_and_carries_ports_and_modalities(tmp_path: Path) -> None:
    values = configuration(tmp_path, 4711, 4712, {"node": ["OSTEON", "127.0.0.1", 11112]}, "ARCHIVE")
    assert values["HttpBindAddresses"] == ["127.0.0.1"] and values["RemoteAccessAllowed"] is False
    assert (values["DicomPort"], values["HttpPort"], values["DicomAet"]) == (4711, 4712, "ARCHIVE")
    assert values["DicomModalities"] == {"node": ["OSTEON", "127.0.0.1", 11112]}
    assert str(values["StorageDirectory"]).startswith(str(tmp_path))


def test_plugins_are_looked_for_where_the_configuration_says(tmp_path: Path) -> None:
    assert find_plugins([str(tmp_path)]) == []
    (tmp_path / "libOrthancDicomWeb.so").touch()
    assert find_plugins([str(tmp_path)]) == [str(tmp_path)]


def test_a_machine_without_orthanc_is_told_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.orthanc.run.EXECUTABLES", ("no-such-program",))
    with pytest.raises(OrthancError, match="apt install orthanc"):
        start_orthanc(tmp_path)


@pytest.mark.peer
def test_orthanc_answers_echo_and_dicomweb_when_started(archive: OrthancProcess) -> None:
    association = AE(ae_title="TESTER")
    association.add_requested_context(Verification)
    opened = association.associate("127.0.0.1", archive.dicom_port, ae_title=archive.aet)
    assert opened.is_established
    assert opened.send_c_echo().Status == 0x0000
    opened.release()
    assert isinstance(archive.get("/dicom-web/studies"), list)


@pytest.mark.peer
def test_an_archive_for_known_senders_takes_objects_of_those_and_of_nobody_else(tmp_path: Path) -> None:
    if find_orthanc() is None:
        pytest.skip("Orthanc is not installed")
    scan = real_study().files
    known = {"node": ["OSTEON", "127.0.0.1", 11112], "away": ["ELSEWHERE", "192.0.2.1", 104]}
    with start_orthanc(tmp_path, modalities=known, only_known=True) as running:

        def sent_as(title: str) -> bool:
            where = {"host": "127.0.0.1", "port": running.dicom_port, "called_aet": running.aet}
            return all(outcome.ok for outcome in send_files(scan, calling_aet=title, **where))

        assert (sent_as("STRANGER"), sent_as("ELSEWHERE"), running.get("/instances")) == (False, False, [])
        assert sent_as("OSTEON")
        assert len(running.get("/instances")) == len(scan)


@pytest.mark.peer
def test_stopping_ends_the_process_and_frees_its_ports(tmp_path: Path) -> None:
    if find_orthanc() is None:
        pytest.skip("Orthanc is not installed")
    with start_orthanc(tmp_path) as running:
        assert running.process.poll() is None
    assert running.process.poll() is not None
    for port in (running.dicom_port, running.http_port):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))


@pytest.mark.peer
def test_an_orthanc_that_cannot_start_says_why(tmp_path: Path) -> None:
    if find_orthanc() is None:
        pytest.skip("Orthanc is not installed")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OrthancError, match="Orthanc ended with code"):
            start_orthanc(tmp_path, dicom_port=taken.getsockname()[1], http_port=free_port())
