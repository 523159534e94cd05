"""DCMTK's own sender against the listener: what scanners are built on."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread

from node.bench.receive import as_text, bench_receive
from tests.fixtures.programs import need_program
from tests.receive.listening import Running, listening, listening_process, make_configuration

pytestmark = pytest.mark.peer

ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1"}


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [need_program(program), "-v", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=ENVIRONMENT)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Running]:
    with listening(make_configuration(tmp_path)) as running:
        yield running


def test_echoscu_is_answered_and_a_wrong_title_is_named_as_the_reason(node: Running) -> None:
    assert run("echoscu", "-aec", "OSTEON", "127.0.0.1", str(node.port)).returncode == 0
    wrong = run("echoscu", "-aec", "OTHER", "127.0.0.1", str(node.port))
    assert wrong.returncode != 0
    assert "Called AE Title Not Recognized" in wrong.stdout + wrong.stderr


@pytest.mark.parametrize(
    ("file", "propose"),
    [
        ("NM1_UNCOMPRESSED.dcm", "-xi"),
        ("NM1_UNCOMPRESSED.dcm", "-xe"),
        ("NM1_JPLL", "-xs"),
        ("NM1_JLSL", "-xt"),
        ("NM1_JLSN", "-xu"),
        ("NM1_J2KR", "-xv"),
        ("NM1_J2KI", "-xw"),
        ("NM1_RLE", "-xr"),
        ("NM1_JPLY", "-xx"),
    ],
)
def test_storescu_delivers_each_transfer_syntax(node: Running, shared_data: Path, file: str, propose: str) -> None:
    sent = shared_data / "nm" / file
    answer = run("storescu", propose, "-aec", "OSTEON", "127.0.0.1", str(node.port), str(sent))
    assert answer.returncode == 0, answer.stdout + answer.stderr
    (entry,) = node.instances()
    received, original = dcmread(entry.path), dcmread(sent)
    assert received.SOPInstanceUID == original.SOPInstanceUID
    if propose != "-xi":  # this file is in Explicit VR; storescu converts it
        assert received.file_meta.TransferSyntaxUID == original.file_meta.TransferSyntaxUID
        assert received.PixelData == original.PixelData


def test_a_study_from_four_senders_at_once_arrives_whole_on_two_processes(shared_data: Path, tmp_path: Path) -> None:
    storescu = need_program("storescu")
    files = sorted((shared_data / "ct_lung_lidc").glob("*.dcm"))
    with listening_process(make_configuration(tmp_path, processes=2)) as node:
        senders = [
            subprocess.Popen(
                [storescu, "-aec", "OSTEON", "127.0.0.1", str(node.port), *map(str, files[start::4])], env=ENVIRONMENT
            )
            for start in range(4)
        ]
        assert [sender.wait(120) for sender in senders] == [0, 0, 0, 0]
        received = {entry.sop_instance_uid for entry in node.instances()}
        assert received == {str(dcmread(file, stop_before_pixels=True).SOPInstanceUID) for file in files}


def test_the_benchmark_measures_what_is_installed_and_names_what_is_not() -> None:
    need_program("storescu")
    lines: list[str] = []
    # The system counts processor time in steps of 10 ms: on a fast machine a few images take none.
    result = bench_receive(images=80, parallel=2, rounds=1, peers=["osteon", "storescp --fork"], say=lines.append)
    assert {row["receiver"] for row in result["rows"]} | set(result["missing"]) >= {"osteon", "storescp --fork"}
    for row in result["rows"]:
        assert row["images_per_s"]["min"] <= row["images_per_s"]["median"] <= row["images_per_s"]["max"]
        assert row["cpu_ms_per_image"] > 0
        assert row["receiver"] in as_text(result)
    assert len(lines) == len(result["rows"])
