"""The secondary capture: the overlay picture as an image that every viewer shows.

RGB, 8 bit, Explicit VR Little Endian, one object per segmentation. "Burned in annotation" is NO: there is text in
the picture, but none that identifies the patient (PS3.3 C.7.6.1.1.5).
"""

from __future__ import annotations

from highdicom.sc import SCImage
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from node.results.context import ResultContext
from node.results.picture import render
from node.results.source import first_instance, source_references
from node.results.stamp import LO_LENGTH, constructor_values, local_time, series_description, series_number, stamp
from pipelines.contract import Findings

WORKSTATION = "WSD"
"""ConversionType: made on a workstation."""

_LT_LENGTH = 10240


def secondary_capture(findings: Findings, index: int, context: ResultContext) -> Dataset:
    """Secondary capture of segmentation `index`'s overlay picture."""
    source = findings.segmentations[index].source
    header = source.headers[0]
    view = first_instance(source).view
    values = constructor_values(context, header, "sc", str(index))
    dataset = SCImage(
        pixel_array=render(findings, context, index),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        study_instance_uid=view.StudyInstanceUID,
        series_number=series_number("sc", context.revision, index),
        series_description=series_description(findings.pipeline, "overlay", context),
        patient_orientation=("L", "F"),
        transfer_syntax_uid=ExplicitVRLittleEndian,
        **values,
    )
    # Several views and a caption: no one direction is true of the whole picture (type 2C, may be empty).
    dataset.add_new("PatientOrientation", "CS", None)
    # Type 2C for a paired body part; empty says that no single side is meant.
    dataset.add_new("Laterality", "CS", None)
    dataset.ConversionType = WORKSTATION
    moment = local_time(context, header)
    dataset.add_new("DateOfSecondaryCapture", "DA", moment.strftime("%Y%m%d"))
    dataset.add_new("TimeOfSecondaryCapture", "TM", moment.strftime("%H%M%S"))
    dataset.SecondaryCaptureDeviceManufacturer = dataset.Manufacturer
    dataset.SecondaryCaptureDeviceManufacturerModelName = dataset.ManufacturerModelName
    dataset.BurnedInAnnotation = "NO"
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.DerivationDescription = f"Overlay of {findings.algorithm_name}"[:LO_LENGTH]
    dataset.ImageComments = ". ".join((*findings.limitations, findings.research_statement))[:_LT_LENGTH]
    dataset.SourceImageSequence = source_references(source)
    _lossy(dataset, view)
    stamp(dataset, header, context)
    return dataset


def _lossy(dataset: Dataset, view: Dataset) -> None:
    """A picture of a lossy image is lossy, too."""
    for keyword in ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        if keyword in view:
            dataset.add(view[keyword])
