"""A drawn body and NM objects around it, for tests: shapes of known place, every header attribute under control.

The drawn body is no simulation (`pipelines.phantoms` is); it is a patient-shaped pattern with bones, cheap enough to
draw in every test.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from pydicom import Dataset, FileDataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

NM_STORAGE = "1.2.840.10008.5.1.4.1.1.20"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"

BLADDER_CENTRE = (460, 128)
BLADDER_RADIUS = 14


def draw_body(
    rows: int = 1024,
    columns: int = 256,
    dose: float = 1.0,
    bladder: float = 300.0,
    hot: Sequence[tuple[int, int, int, float]] = (),
    seed: int | None = 0,
) -> np.ndarray:
    """Draw one view of 2.26 mm pixels, top of the head at row 80, toes at row 860.

    Parameters
    ----------
    dose
        Factor on all expected counts.
    bladder
        Counts per pixel in the bladder.
    hot
        Further discs: row, column, radius, counts per pixel.
    seed
        Of the Poisson noise; None for the expected counts.
    """
    counts = _expected_body(rows, columns, bladder, tuple(hot)) * dose
    if seed is None:
        return counts
    return np.random.default_rng(seed).poisson(counts).astype(np.float64)


@cache
def _expected_body(rows: int, columns: int, bladder: float, hot: tuple[tuple[int, int, int, float], ...]) -> np.ndarray:
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float64) + 0.5
    counts = np.full((rows, columns), 0.2)

    def disc(row: float, column: float, half_rows: float, half_columns: float, level: float) -> None:
        inside = ((y - row) / half_rows) ** 2 + ((x - column) / half_columns) ** 2 <= 1
        counts[inside] = np.maximum(counts[inside], level)

    def bar(top: float, bottom: float, column: float, half: float, level: float) -> None:
        inside = (y >= top) & (y < bottom) & (np.abs(x - column) <= half)
        counts[inside] = np.maximum(counts[inside], level)

    disc(125, 128, 45, 32, 14)
    bar(160, 195, 128, 22, 12)
    disc(330, 128, 160, 72, 14)
    for side in (-1, 1):
        bar(480, 820, 128 + side * 36, 26, 10)
        disc(840, 128 + side * 38, 22, 18, 8)
        bar(200, 480, 128 + side * 84, 16, 8)
        bar(490, 810, 128 + side * 36, 5, 35)
        bar(210, 470, 128 + side * 84, 4, 30)
        disc(445, 128 + side * 36, 26, 20, 45)
        disc(610, 128 + side * 36, 12, 12, 55)
        for rib in range(9):
            row = 215 + 14 * rib + np.abs(x - 128) * 0.25
            level = np.abs(x - 128 - side * 34)
            inside = (np.abs(y - row) <= 2.5) & (level <= 30)
            counts[inside] = np.maximum(counts[inside], 40)
    disc(110, 128, 32, 26, 35)
    bar(170, 440, 128, 8, 60)
    disc(*BLADDER_CENTRE, BLADDER_RADIUS, BLADDER_RADIUS, bladder)
    for row, column, radius, level in hot:
        disc(row, column, radius, radius, level)
    return counts


def detector(angle: float | None = None, orientation: Sequence[float] | None = None, **extra: object) -> Dataset:
    """Return an item of the Detector Information Sequence."""
    item = Dataset()
    item.CollimatorType = "PARA"
    if angle is not None:
        item.StartAngle = angle
    if orientation is not None:
        item.ImageOrientationPatient = list(orientation)
    for keyword, value in extra.items():
        setattr(item, keyword, value)
    return item


def view_code(value: str, meaning: str, scheme: str = "SCT") -> list[Dataset]:
    """Return a View Code Sequence of one item."""
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return [code]


def nm_object(
    frames: np.ndarray,
    detectors: Sequence[Dataset] = (),
    sop_class: str = NM_STORAGE,
    spacing_mm: tuple[float, float] | None = (2.26, 2.26),
    series_uid: str | None = None,
    **attributes: object,
) -> FileDataset:
    """Return a whole-body NM object; `attributes` are set last and win, None deletes."""
    stored = np.asarray(frames)
    stored = stored if stored.ndim == 3 else stored[None]
    if stored.dtype not in (np.uint8, np.uint16, np.int16):
        stored = np.clip(stored, 0, 65535).astype(np.uint16)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.826.0.1.3680043.8.498.1", series_uid or generate_uid()
    ds.Modality = "NM"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "WHOLE BODY", "EMISSION"]
    ds.InstanceNumber = 1
    ds.Rows, ds.Columns = stored.shape[1:]
    ds.NumberOfFrames = len(stored)
    ds.FrameIncrementPointer = [0x00540010, 0x00540020]
    ds.EnergyWindowVector = [1] * len(stored)
    ds.DetectorVector = list(range(1, len(stored) + 1))
    if detectors:
        ds.DetectorInformationSequence = list(detectors)
    if spacing_mm is not None:
        ds.PixelSpacing = list(spacing_mm)
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = stored.dtype.itemsize * 8
    ds.HighBit = ds.BitsStored - 1
    ds.PixelRepresentation = int(stored.dtype.kind == "i")
    ds.PixelData = stored.tobytes()
    ds["PixelData"].VR = "OW" if stored.dtype.itemsize == 2 else "OB"
    for keyword, value in attributes.items():
        if value is None:
            if keyword in ds:
                delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    return ds


def save(dataset: FileDataset, folder: Path, name: str = "scan.dcm") -> Path:
    """Write an object and return its path."""
    path = folder / name
    dataset.save_as(path, enforce_file_format=True)
    return path
