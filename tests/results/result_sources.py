"""Source series and findings that the results tests stand on.

A minimal whole-body NM object (valid: dciodvfy finds no error in it), and builders that put asymmetric label maps on
any source, so that a mirrored, swapped or shifted result cannot pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from datetime import datetime, timedelta, timezone

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian, NuclearMedicineImageStorage

from node.results import NodeIdentity, ResultContext
from node.results.uids import derive_uid
from pipelines.contract import (
    Contour,
    Findings,
    FrameReference,
    ModelIdentity,
    Quantity,
    Region,
    Segment,
    Segmentation,
    SourceSeries,
)

ANTERIOR_IOP = [1, 0, 0, 0, 0, -1]
POSTERIOR_IOP = [-1, 0, 0, 0, 0, -1]

ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")
SECONDARY_NEOPLASM = Code("14799000", "SCT", "Neoplasm, Secondary")
ANATOMY = Code("123037004", "SCT", "Body structure")
BLADDER = Code("89837001", "SCT", "Bladder")
BONY_METASTASIS = Code("94222008", "SCT", "Bony metastasis")
AREA = Code("42798000", "SCT", "Area")
SQUARE_MM = Code("mm2", "UCUM", "square millimeter")
NO_UNITS = Code("1", "UCUM", "no units")
PERCENT = Code("%", "UCUM", "Percent")
COUNTS = Code("{counts}", "UCUM", "counts")
ACTIVITY = Code("110820", "DCM", "Nuclear Medicine Projection Activity")
MEAN = Code("373098007", "SCT", "Mean")
MAXIMUM = Code("56851009", "SCT", "Maximum")
BSTBI = Code("BSTBI", "99OSTEON", "Bone scan tumour burden index")
PROBABILITY = Code("111047", "DCM", "Probability of cancer")
BONE = Code("272673000", "SCT", "Bone")
RIGHT = Code("24028007", "SCT", "Right")

HOSPITAL_ZONE = timezone(timedelta(hours=8))
CREATED_AT = datetime(2026, 3, 2, 9, 30, 15, tzinfo=HOSPITAL_ZONE)
NODE = NodeIdentity(station_name="OSTEON", device_serial="test-node", software_version="0.1.0")


def context(**changes: object) -> ResultContext:
    """A context of the first revision."""
    values: dict[str, object] = {
        "job_key": "job-1",
        "revision": 1,
        "created_at": CREATED_AT,
        "node": NODE,
    }
    return ResultContext(**{**values, **changes})  # type: ignore[arg-type]


def whole_body(rows: int = 1024, columns: int = 256, detector_iop: bool = True) -> Dataset:
    """A valid two-view whole-body bone scan without any patient: a body-shaped blob of Poisson counts per view."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = NuclearMedicineImageStorage
    dataset.SOPInstanceUID = derive_uid("test", "whole-body", rows, columns)
    dataset.StudyInstanceUID = derive_uid("test", "study", rows, columns)
    dataset.SeriesInstanceUID = derive_uid("test", "series", rows, columns)
    dataset.Modality = "NM"
    dataset.PatientName = "SYNTHETIC^WHOLE BODY"
    dataset.PatientID = "SYNTHETIC-1"
    dataset.PatientBirthDate = ""
    dataset.PatientSex = "O"
    dataset.StudyDate, dataset.StudyTime = "20260302", "081500"
    dataset.StudyID, dataset.AccessionNumber, dataset.ReferringPhysicianName = "1", "A1", ""
    dataset.SeriesNumber, dataset.InstanceNumber = 1, 1
    dataset.SeriesDescription = "WHOLE BODY"
    dataset.Manufacturer = "SYNTHETIC"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "WHOLE BODY", "EMISSION"]
    dataset.ContentDate, dataset.ContentTime = "20260302", "083000"
    dataset.AcquisitionDate, dataset.AcquisitionTime = "20260302", "082000"
    dataset.PatientOrientation = ""
    dataset.PixelSpacing = [2.26, 2.26]
    dataset.Rows, dataset.Columns, dataset.NumberOfFrames = rows, columns, 2
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    dataset.FrameIncrementPointer = [0x00540010, 0x00540020]
    dataset.NumberOfEnergyWindows = dataset.EnergyWindowVector = 1
    dataset.EnergyWindowVector = [1, 1]
    dataset.NumberOfDetectors, dataset.DetectorVector = 2, [1, 2]
    dataset.PatientOrientationCodeSequence = []
    dataset.PatientGantryRelationshipCodeSequence = []
    dataset.EnergyWindowInformationSequence = [Dataset()]
    dataset.RadiopharmaceuticalInformationSequence = []
    dataset.WholeBodyTechnique = "1PS"
    dataset.Laterality = ""
    dataset.CountsAccumulated, dataset.ActualFrameDuration = "", 600000
    dataset.ScanVelocity, dataset.ScanLength = "", ""
    dataset.DetectorInformationSequence = []
    for iop, start in ((ANTERIOR_IOP, 180), (POSTERIOR_IOP, 0)):
        detector = Dataset()
        detector.CollimatorType = "PARA"
        detector.FocalDistance = 0
        detector.StartAngle = start
        if detector_iop:
            detector.ImagePositionPatient = [-columns * 1.13, 0, 0]
            detector.ImageOrientationPatient = iop
        dataset.DetectorInformationSequence.append(detector)
    dataset.LossyImageCompression = "00"
    dataset.PixelData = whole_body_counts(rows, columns).tobytes()
    return dataset


def whole_body_counts(rows: int, columns: int) -> np.ndarray:
    """uint16 (2, rows, columns): a head, a trunk and legs, with noise; the posterior view is dimmer."""
    row, column = np.mgrid[0:rows, 0:columns]
    y, x = row / rows, (column - columns / 2) / columns
    body = ((y - 0.08) ** 2 / 0.004 + x**2 / 0.012 < 1) | ((np.abs(x) < 0.24) & (y > 0.13) & (y < 0.5))
    body |= (np.abs(np.abs(x) - 0.1) < 0.07) & (y >= 0.5) & (y < 0.97)
    rate = np.where(body, 12.0, 0.3)
    rate[(np.abs(x) < 0.03) & (y > 0.13) & (y < 0.5)] = 40.0
    generator = np.random.default_rng(7)
    return np.stack([generator.poisson(rate), generator.poisson(0.7 * rate)]).astype(np.uint16)


def header_of(dataset: Dataset) -> Dataset:
    """The dataset without its pixels."""
    header = deepcopy(dataset)
    for keyword in ("PixelData", "FloatPixelData"):
        header.pop(keyword, None)
    return header


def planar_source(headers: Sequence[Dataset], view_names: Sequence[str] = ("anterior", "posterior")) -> SourceSeries:
    """One multi-frame object, or one single-frame object per view."""
    multi = len(headers) == 1 and int(headers[0].get("NumberOfFrames") or 1) > 1
    if multi:
        first = headers[0]
        frames = tuple(
            FrameReference(str(first.SOPClassUID), str(first.SOPInstanceUID), number + 1)
            for number in range(int(first.NumberOfFrames))
        )
    else:
        frames = tuple(FrameReference(str(h.SOPClassUID), str(h.SOPInstanceUID)) for h in headers)
    names = tuple(view_names[: len(frames)])
    return SourceSeries(tuple(header_of(h) for h in headers), frames, planar=True, view_names=names)


def volume_source(headers: Sequence[Dataset]) -> SourceSeries:
    """One instance per slice in the given order, or one multi-frame object."""
    if len(headers) == 1 and "NumberOfFrames" in headers[0]:
        first = headers[0]
        frames = tuple(
            FrameReference(str(first.SOPClassUID), str(first.SOPInstanceUID), number + 1)
            for number in range(int(first.NumberOfFrames))
        )
    else:
        frames = tuple(FrameReference(str(h.SOPClassUID), str(h.SOPInstanceUID)) for h in headers)
    return SourceSeries(tuple(header_of(h) for h in headers), frames)


LESION = Segment(
    1, "Bone metastases", ABNORMAL, SECONDARY_NEOPLASM, "metastases", (230, 40, 40), "Suspected bone metastases", BONE
)
BLADDER_SEGMENT = Segment(2, "Bladder", ANATOMY, BLADDER, "bladder", (60, 120, 240))
UNUSED = Segment(3, "Never seen", ABNORMAL, SECONDARY_NEOPLASM, "unused", (0, 200, 0))


def planar_label_map(views: int, rows: int, columns: int) -> np.ndarray:
    """Asymmetric masks: another place and shape per view, off the midline; no flip maps an L on itself."""
    label_map = np.zeros((views, rows, columns), np.uint8)
    u, v = rows / 1024, columns / 256

    def block(view: int, value: int, top: int, left: int, height: int, width: int) -> None:
        if view < views:
            label_map[view, round(top * u) : round((top + height) * u), round(left * v) : round((left + width) * v)] = (
                value
            )

    block(0, 1, 200, 60, 60, 12)
    block(0, 1, 248, 60, 12, 40)
    block(0, 2, 470, 120, 30, 36)
    block(1, 1, 300, 170, 20, 30)
    block(1, 1, 300, 170, 50, 8)
    return label_map


def square_contour(frame: int, mask: np.ndarray) -> Contour:
    """The bounding box of a mask as a closed contour, pixel corners."""
    rows, columns = np.nonzero(mask)
    top, bottom, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    points = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    return Contour(frame, np.array(points, dtype=float))


def planar_findings(source: SourceSeries, label_map: np.ndarray | None = None, **changes: object) -> Findings:
    """What a bone-scan pipeline would find: a lesion per view and a bladder."""
    header = source.headers[0]
    if label_map is None:
        label_map = planar_label_map(len(source.frames), int(header.Rows), int(header.Columns))
    display = np.clip(whole_body_counts(int(header.Rows), int(header.Columns))[: len(label_map)] * 5, 0, 255)
    segmentation = Segmentation(
        source,
        label_map,
        (LESION, BLADDER_SEGMENT, UNUSED),
        display.astype(np.uint8),
        True,
        tuple(range(len(label_map))),
    )
    regions = []
    for frame, name in enumerate(source.view_names):
        for segment, code, label in ((1, BONY_METASTASIS, "Lesion"), (2, BLADDER, "Bladder")):
            mask = label_map[frame] == segment
            if mask.any():
                regions.append(
                    Region(
                        tracking_id=f"{label.lower()}-{name}-1",
                        label=f"{label} 1, {name}",
                        finding=code,
                        segmentation=0,
                        segment_number=segment,
                        finding_site=BONE if segment == 1 else None,
                        laterality=RIGHT if segment == 1 else None,
                        view=name,
                        location="ribs, 3rd to 5th" if segment == 1 else "pelvis",
                        contours=(square_contour(frame, mask),),
                        quantities=(
                            Quantity(AREA, float(mask.sum()) * 2.26**2, SQUARE_MM),
                            Quantity(ACTIVITY, 123.456789012345, COUNTS, MEAN),
                            Quantity(ACTIVITY, None, COUNTS, MAXIMUM, reason="a frame was clipped"),
                        ),
                    )
                )
    values: dict[str, object] = {
        "pipeline": "bone-scan",
        "pipeline_version": "0.1.0",
        "algorithm_name": "ResNet34 classifier and U-Net",
        "models": (ModelIdentity("bone-scan-unet", "1", "ab" * 32, "simulated patients"),),
        "segmentations": (segmentation,),
        "regions": tuple(regions),
        "quantities": (
            Quantity(BSTBI, 0.1048951048951049, NO_UNITS, method="K=5, mean of 4 images, unedited"),
            Quantity(PROBABILITY, 87.5, PERCENT),
        ),
        "conclusion": "Foci of raised uptake, compatible with bone metastases.",
        "limitations": ("Photopenic metastases are not detected.",),
        "details": {"windows": [1.0, 0.4]},
    }
    return Findings(**{**values, **changes})  # type: ignore[arg-type]


def volume_label_map(shape: tuple[int, int, int]) -> np.ndarray:
    """Two segments, off centre in every axis, touching first and last planes only where said."""
    frames, rows, columns = shape
    label_map = np.zeros(shape, np.uint8)
    label_map[1 : max(2, frames // 3), rows // 8 : rows // 4, columns // 2 : columns // 2 + columns // 8] = 1
    label_map[frames // 2 : frames - 1, rows // 2 : rows // 2 + 5, columns // 8 : columns // 8 + 9] = 2
    return label_map


def volume_findings(source: SourceSeries, label_map: np.ndarray) -> Findings:
    """A volumetric result: one region per segment, each its segment's own."""
    display = np.where(label_map > 0, 200, 60).astype(np.uint8)
    key = int(np.argmax((label_map > 0).sum(axis=(1, 2))))
    segmentation = Segmentation(source, label_map, (LESION, BLADDER_SEGMENT), display, False, (key,))
    volume = Code("118565006", "SCT", "Volume")
    cubic_cm = Code("cm3", "UCUM", "cubic centimeter")
    frame = int(np.nonzero((label_map == 1).any(axis=(1, 2)))[0][0])
    regions = (
        Region(
            "focal-1",
            "Focal lesion 1",
            BONY_METASTASIS,
            0,
            1,
            finding_site=BONE,
            contours=(square_contour(frame, label_map[frame] == 1),),
            quantities=(Quantity(volume, float((label_map == 1).sum()) / 1000, cubic_cm),),
        ),
        Region("bladder-1", "Bladder", BLADDER, 0, 2, quantities=(Quantity(volume, 12.5, cubic_cm),)),
    )
    return Findings(
        pipeline="spect-ct",
        pipeline_version="0.1.0",
        algorithm_name="MT-UNet",
        models=(),
        segmentations=(segmentation,),
        regions=regions,
        conclusion="A focal lesion, nature undetermined.",
    )
