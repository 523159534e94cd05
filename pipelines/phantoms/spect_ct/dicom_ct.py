"""The simulated CT as DICOM: one CT Image Storage object per slice, and a localiser.

A scanner's field is square and has 512 x 512 pixels: the simulated field is padded with air, or cut (`STORED_PIXELS`).
Some studies hold a second series of another kernel, of the same slices (`softer`). PS3.3 C.8.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from pydicom import Dataset
from pydicom.uid import CTImageStorage
from scipy.ndimage import gaussian_filter

from pipelines.phantoms.spect_ct.ct import LOWEST_HU
from pipelines.phantoms.spect_ct.grid import Grid
from pipelines.phantoms.spect_ct.identity import new_instance, study_uid
from pipelines.phantoms.spect_ct.patient import SpectCtPatient

STORED_PIXELS = 512
AIR_HU = -1000
SOFT_KERNEL = "B31s"


def stored_grid(grid: Grid) -> Grid:
    """Return the grid with rows and columns padded or cut to `STORED_PIXELS`, centred as the scanner's field is."""
    pads = [(STORED_PIXELS - n) // 2 for n in grid.shape[1:]]
    x, y, z = grid.origin_mm
    return replace(
        grid,
        shape=(grid.shape[0], STORED_PIXELS, STORED_PIXELS),
        origin_mm=(x - pads[1] * grid.spacing_mm[2], y - pads[0] * grid.spacing_mm[1], z),
    )


def stored(values: np.ndarray, fill: int = 0) -> np.ndarray:
    """Return an array on a CT grid on its stored grid.

    With small pixels a large patient is wider than the field; then the field cuts the sides off, as a scanner's does.
    """
    before = [(STORED_PIXELS - n) // 2 for n in values.shape[1:]]
    kept = values[(slice(None), *(slice(max(0, -first), max(0, -first) + STORED_PIXELS) for first in before))]
    wide = [(0, 0)] + [
        (max(0, first), STORED_PIXELS - n - max(0, first)) for first, n in zip(before, kept.shape[1:], strict=True)
    ]
    return np.pad(kept, wide, constant_values=fill)


def softer(ct: np.ndarray, pixel_mm: float) -> np.ndarray:
    """Return the CT as a soft-tissue kernel would give it: the sharp one, smoothed in the plane."""
    sigma = 1.1 / pixel_mm
    return np.rint(gaussian_filter(ct.astype(np.float32), (0, sigma, sigma))).astype(np.int16)


def ct_datasets(
    patient: SpectCtPatient, frame_of_reference: str, softened: bool = False, series_number: int = 2
) -> Iterator[Dataset]:
    """Yield one data set per slice, from the feet to the head."""
    settings = patient.settings.ct
    kernel = SOFT_KERNEL if softened else settings.kernel
    hu = softer(patient.ct, settings.pixel_mm) if softened else patient.ct
    grid = stored_grid(patient.ct_grid)
    series = f"ct-{kernel}"
    for number, z in enumerate(grid.coordinates(0)):
        ds = new_instance(patient, CTImageStorage, series, number + 1)
        _add_series(ds, series_number, frame_of_reference, f"Bone SPECT-CT {settings.slice_mm:.1f} {kernel}")
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"]
        ds.SliceThickness = f"{settings.slice_mm:g}"
        ds.ConvolutionKernel = kernel
        ds.ImagePositionPatient = [f"{v:.4f}" for v in (*grid.origin_mm[:2], z)]
        ds.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
        ds.SliceLocation = f"{z:.4f}"
        ds.PixelSpacing = [f"{v:.6f}" for v in grid.spacing_mm[1:]]
        _add_pixels(ds, stored(hu[number : number + 1], AIR_HU)[0])
        yield ds


def localiser_dataset(patient: SpectCtPatient, frame_of_reference: str, series_number: int = 1) -> Dataset:
    """Return the scout: a coronal radiograph, which is no slice of any volume."""
    grid = stored_grid(patient.ct_grid)
    mass = (stored(patient.ct, AIR_HU).astype(np.float32) + 1000).clip(0).mean(1)[::-1]
    ds = new_instance(patient, CTImageStorage, "localiser", 1)
    _add_series(ds, series_number, frame_of_reference, "Topogram 1.0 T20s")
    ds.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER", "CT_SOM5 TOP"]
    ds.SliceThickness = f"{grid.shape[1] * grid.spacing_mm[1]:g}"
    ds.ConvolutionKernel = "T20s"
    ds.ImagePositionPatient = [f"{v:.4f}" for v in (grid.origin_mm[0], 0.0, grid.coordinates(0)[-1])]
    ds.ImageOrientationPatient = ["1", "0", "0", "0", "0", "-1"]
    ds.PixelSpacing = [f"{grid.spacing_mm[0]:.6f}", f"{grid.spacing_mm[2]:.6f}"]
    _add_pixels(ds, np.clip(mass - 1000, LOWEST_HU, 3071).astype(np.int16))
    return ds


def _add_series(ds: Dataset, number: int, frame_of_reference: str, description: str) -> None:
    ds.Modality = "CT"
    ds.SeriesNumber = number
    ds.SeriesDescription = description
    ds.FrameOfReferenceUID = frame_of_reference
    ds.PatientPosition = "HFS"
    ds.AcquisitionNumber = 1
    ds.KVP = "130"
    ds.XRayTubeCurrent = "190"
    ds.ProtocolName = "SYNTHETIC bone SPECT/CT"


def _add_pixels(ds: Dataset, hu: np.ndarray) -> None:
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows, ds.Columns = hu.shape
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation = 15, 0
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = str(LOWEST_HU), "1", "HU"
    ds.WindowCenter, ds.WindowWidth = "50", "1500"
    ds.PixelData = (hu.astype(np.int32) - LOWEST_HU).astype("<u2").tobytes()


def frame_of_reference(patient: SpectCtPatient, shared: bool, modality: str) -> str:
    """Return the frame of reference of a modality: one for both, or one each where the workstation kept them apart."""
    return str(study_uid(patient, "frame of reference", "" if shared else modality))
