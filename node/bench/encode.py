"""`osteon bench encode`: a label map to a DICOM SEG file, ours beside plain highdicom and dcmqi, in the same run.

    synthetic CT (FRAMES x 512 x 512) and 5 segments -> SEG file

Ours is the SEG alone as a worker writes it (`node.results.seg_volume`, bytes included); "highdicom, 4-D" is the stack
per segment that most examples use; dcmqi is its `itkimage2segimage`, which also has to read its inputs from files.
Timed in turns.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from highdicom.seg import Segmentation as HighdicomSegmentation
from highdicom.seg import SegmentationTypeValues
from highdicom.seg import SegmentDescription as HighdicomSegment
from highdicom.uid import UID
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.sr.coding import Code
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from node.bench.timing import as_text, interleaved, machine
from node.identity import identity
from node.results import ResultContext, ResultObject
from node.results.seg_volume import volume_seg
from node.results.segments import written_segments
from pipelines.contract import Findings, FrameReference, Segment, Segmentation, SourceSeries

SCHEMA = "osteon.bench.encode/1"
SIZE = 512
SEGMENTS = 5
SPACING_MM = (3.0, 0.8, 0.8)
STRUCTURE = Code("91723000", "SCT", "Anatomical Structure")
VERTEBRA = Code("51282000", "SCT", "Vertebra")


def bench_encode(frames: int = 100, rounds: int = 3) -> dict[str, Any]:
    """Time the encoding of one volumetric SEG.

    Returns
    -------
    dict
        `rows`: per way median, fastest and slowest in s; `missing`: peers that are not installed.
    """
    headers = tuple(_ct_slice(number) for number in range(frames))
    label_map = _label_map(frames)
    missing: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="osteon-bench-") as name:
        folder = Path(name)
        ways: dict[str, Callable[[], object]] = {
            "osteon": lambda: _ours(headers, label_map),
            "highdicom, 4-D stack": lambda: _highdicom(headers, label_map, folder / "highdicom.dcm"),
        }
        program = shutil.which("itkimage2segimage")
        if program is None:
            missing["dcmqi"] = "itkimage2segimage is not installed (pip install dcmqi)"
        else:
            command = _prepare_dcmqi(program, headers, label_map, folder)
            ways["dcmqi itkimage2segimage"] = lambda: subprocess.run(command, check=True, capture_output=True)
        rows = interleaved(ways, rounds)
    return {
        "schema": SCHEMA,
        "frames": frames,
        "size": SIZE,
        "segments": SEGMENTS,
        "rounds": rounds,
        "machine": machine(),
        "rows": rows,
        "missing": missing,
    }


def text(result: dict[str, Any]) -> str:
    """The result for a terminal."""
    title = f"SEG of {result['frames']} x {result['size']} x {result['size']}, {result['segments']} segments"
    return as_text(title, result["rows"], [f"not here: {name}: {why}" for name, why in result["missing"].items()])


def _ct_slice(number: int) -> Dataset:
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.SOPClassUID = CTImageStorage
    header.StudyInstanceUID, header.SeriesInstanceUID, header.FrameOfReferenceUID = "2.25.1", "2.25.2", "2.25.3"
    header.SOPInstanceUID = f"2.25.4{number:06d}"
    header.Modality, header.PatientID, header.PatientName = "CT", "SYNTHETIC", "SYNTHETIC^BENCH"
    for keyword in ("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber", "StudyID"):
        setattr(header, keyword, "")
    header.ReferringPhysicianName, header.SeriesNumber, header.InstanceNumber = "", 1, number + 1
    header.Rows = header.Columns = SIZE
    header.PixelSpacing, header.SliceThickness = list(SPACING_MM[1:]), SPACING_MM[0]
    header.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    header.ImagePositionPatient = [0.0, 0.0, number * SPACING_MM[0]]
    return header


def _label_map(frames: int) -> np.ndarray:
    """Five discs that wander over the slices."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    label_map = np.zeros((frames, SIZE, SIZE), np.uint8)
    for frame in range(frames):
        for number in range(1, SEGMENTS + 1):
            centre = (80 * number + 20 * np.sin(frame / 9 + number), 256 + 60 * np.cos(frame / 13 + number))
            label_map[frame][(rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < 30**2] = number
    return label_map


def _ours(headers: tuple[Dataset, ...], label_map: np.ndarray) -> bytes:
    source = SourceSeries(headers, tuple(FrameReference(CTImageStorage, str(h.SOPInstanceUID)) for h in headers))
    segments = tuple(
        Segment(n, f"vertebra {n}", STRUCTURE, VERTEBRA, f"vertebra-{n}", (200, 40 * n, 60))
        for n in range(1, SEGMENTS + 1)
    )
    segmentation = Segmentation(source, label_map, segments, np.zeros_like(label_map))
    findings = Findings("bench", "1", "bench", (), (segmentation,))
    context = ResultContext("bench", 1, datetime(2026, 1, 1, tzinfo=UTC), identity())
    dataset = volume_seg(findings, 0, written_segments(segmentation), context)
    return ResultObject.of("seg", dataset).to_bytes()


def _highdicom(headers: tuple[Dataset, ...], label_map: np.ndarray, path: Path) -> None:
    stack = np.stack([label_map == n for n in range(1, SEGMENTS + 1)], axis=-1)
    descriptions = [
        HighdicomSegment(n, f"vertebra {n}", STRUCTURE, VERTEBRA, algorithm_type="MANUAL")
        for n in range(1, SEGMENTS + 1)
    ]
    dataset = HighdicomSegmentation(
        list(headers),
        stack,
        SegmentationTypeValues.BINARY,
        descriptions,
        UID(),
        1,
        UID(),
        1,
        "bench",
        "bench",
        "1",
        "1",
    )
    dataset.save_as(path)


def _prepare_dcmqi(program: str, headers: tuple[Dataset, ...], label_map: np.ndarray, folder: Path) -> list[str]:
    """Write what dcmqi reads: DICOM slices, the label map as NRRD, its JSON; return the command."""
    import SimpleITK

    slices = folder / "slices"
    slices.mkdir()
    for header in headers:
        whole = Dataset()
        whole.update(header)
        whole.file_meta = header.file_meta
        whole.BitsAllocated, whole.BitsStored, whole.HighBit, whole.PixelRepresentation = 8, 8, 7, 0
        whole.SamplesPerPixel, whole.PhotometricInterpretation = 1, "MONOCHROME2"
        whole.RescaleIntercept, whole.RescaleSlope = 0, 1
        whole.PixelData = bytes(SIZE * SIZE)
        dcmwrite(slices / f"{header.InstanceNumber}.dcm", whole, enforce_file_format=True)
    image = SimpleITK.GetImageFromArray(label_map)
    image.SetSpacing((SPACING_MM[2], SPACING_MM[1], SPACING_MM[0]))
    SimpleITK.WriteImage(image, str(folder / "labels.nrrd"))
    code = {"CodeValue": VERTEBRA.value, "CodingSchemeDesignator": "SCT", "CodeMeaning": VERTEBRA.meaning}
    category = {"CodeValue": STRUCTURE.value, "CodingSchemeDesignator": "SCT", "CodeMeaning": STRUCTURE.meaning}
    attributes = [
        {
            "labelID": n,
            "SegmentDescription": f"vertebra {n}",
            "SegmentAlgorithmType": "MANUAL",
            "SegmentedPropertyCategoryCodeSequence": category,
            "SegmentedPropertyTypeCodeSequence": code,
        }
        for n in range(1, SEGMENTS + 1)
    ]
    (folder / "meta.json").write_text(json.dumps({"ContentCreatorName": "BENCH", "segmentAttributes": [attributes]}))
    return [
        *(program, "--inputImageList", str(folder / "labels.nrrd"), "--inputDICOMDirectory", str(slices)),
        *("--inputMetadata", str(folder / "meta.json"), "--outputDICOM", str(folder / "dcmqi.dcm"), "--skip"),
    ]
