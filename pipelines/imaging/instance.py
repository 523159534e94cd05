"""One DICOM instance: its header, and its pixels as numbers in which more is hotter.

file -> header (no pixels; cheap enough to refuse a series on) -> frames: decoded in whatever transfer syntax, to one
grey channel, modality rescale applied, polarity settled. Polarity is settled here, once, so that nobody downstream
ever asks about MONOCHROME1.

What cannot be read is refused with a sentence that names the file; nothing here guesses pixels.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.config import disable_value_validation
from pydicom.multival import MultiValue
from pydicom.uid import JPEG2000, JPEG2000MC, UID, JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless

from pipelines.contract import ContentRefused

GREY_TOLERANCE = 2
"""Channels of a screen capture may differ by this much and still be grey (JPEG, dithering)."""

BORDER_PIXELS = 2
"""Width of the frame of air around a body whose level tells hot-is-high from hot-is-low."""

LOSSY_TRANSFER_SYNTAXES = frozenset({JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless})
EITHER_TRANSFER_SYNTAXES = frozenset({JPEG2000, JPEG2000MC})
"""JPEG 2000 under these may or may not be lossless; the header (0028,2110) can say that it is."""

TOLERABLE_LOSSY_RATIO = 30.0
"""Beyond what radiologists' societies allow for any kind of image (5:1 to 30:1)."""

PIXEL_GROUP = 0x0028
"""Holds all that says how pixels are stored (PS3.3 C.7.6.3)."""

POLARITY_MARGIN = 0.15
"""Border levels this close to mid-range (as a part of the range) settle nothing; the header then decides."""


@dataclass(frozen=True)
class Frames:
    """The decoded pixels of one instance.

    Attributes
    ----------
    values
        float32, (frame, rows, columns); more is hotter.
    inverted
        True where the stored values were turned round to get there.
    polarity
        Why, in words.
    """

    values: np.ndarray
    inverted: bool
    polarity: str


def read_header(path: Path) -> Dataset:
    """Read a file up to its pixels.

    Raises
    ------
    ContentRefused
        If the file is no readable DICOM object.
    OSError
        If the file cannot be opened at all.
    """
    return _read(path, stop_before_pixels=True)


def read_frames(path: Path) -> Frames:
    """Decode a file's pixels, rescale them and settle their polarity.

    Raises
    ------
    ContentRefused
        As `read_stored`, and if values are not finite.
    """
    dataset, values = read_stored(path)
    values = values * np.float32(_number(dataset, "RescaleSlope", 1.0) or 1.0)
    values = values + np.float32(_number(dataset, "RescaleIntercept", 0.0))
    if not np.isfinite(values).all():
        raise ContentRefused(f"{path.name}: the pixel values are not finite numbers.")
    inverted, polarity = settle_polarity(values, str(dataset.get("PhotometricInterpretation", "")))
    if inverted:
        values = values.max() - values
    return Frames(values, inverted, polarity)


def read_stored(path: Path) -> tuple[Dataset, np.ndarray]:
    """Decode a file's pixels as they are stored: no rescale, no polarity.

    Returns
    -------
    tuple
        The data set, and float32 (frame, rows, columns).

    Raises
    ------
    ContentRefused
        Naming the file and, where it matters, the transfer syntax: no pixels, pixels that no installed decoder
        opens, or colour.
    """
    dataset = _read(path, stop_before_pixels=False)
    return dataset, _decoded(dataset, path)


def read_pixels(path: Path) -> np.ndarray:
    """Decode a file's pixels as `read_stored` does, float32 (frame, rows, columns), where the header is known already.

    Of the data set only what describes the pixels is looked at.

    Raises
    ------
    ContentRefused
        As `read_stored`.
    """
    return _decoded(_read(path, stop_before_pixels=False, group=PIXEL_GROUP), path)


def _decoded(dataset: Dataset, path: Path) -> np.ndarray:
    if "PixelData" not in dataset:
        raise ContentRefused(f"{path.name}: the object holds no pixel data.")
    with warnings.catch_warnings():
        # Real files break rules that pydicom warns about; what matters here is whether pixels come out.
        warnings.simplefilter("ignore")
        try:
            stored = np.asarray(dataset.pixel_array)
        except Exception as error:  # decoders raise whatever they like on damaged data
            raise ContentRefused(
                f"{path.name}: the pixel data cannot be decoded (transfer syntax {_transfer_syntax(dataset)}, "
                f"{dataset.get('BitsStored', '?')} bits); send it uncompressed or losslessly compressed."
            ) from error
    return _grey(stored, dataset, path)


def settle_polarity(values: np.ndarray, photometric_interpretation: str) -> tuple[bool, str]:
    """Tell whether high stored values mean little activity.

    Photometric interpretation says how values are shown, not what they mean: a MONOCHROME1 object may hold counts
    (shown dark for high, as bone scans are), a MONOCHROME2 capture may hold a picture that is already dark for hot.
    The air around a body has no activity, so the level of the image's border decides, and the header only where
    the border says nothing.

    Parameters
    ----------
    values
        (frame, rows, columns).
    photometric_interpretation
        The attribute's value.

    Returns
    -------
    tuple
        Whether to turn the values round, and why.
    """
    low, high = (float(v) for v in np.percentile(values, (0.1, 99.9)))
    if high <= low:
        return False, "blank image"
    edge = BORDER_PIXELS
    sides = (values[:, :, :edge], values[:, :, -edge:], values[:, :edge, :], values[:, -edge:, :])
    border = float(np.median(np.concatenate([side.reshape(-1) for side in sides])))
    level = (border - low) / (high - low)
    if abs(level - 0.5) > POLARITY_MARGIN:
        inverted = level > 0.5
        return inverted, f"the border is {'high' if inverted else 'low'}, so hot is {'low' if inverted else 'high'}"
    inverted = photometric_interpretation.strip().upper() == "MONOCHROME1"
    return inverted, f"the border is undecided; {photometric_interpretation or 'no photometric interpretation'}"


def pixel_spacing_mm(header: Dataset) -> tuple[float, float] | None:
    """Return row and column spacing in mm from the first attribute that states both as positive numbers."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        value = header.get(keyword)
        try:
            row_mm, column_mm = (float(part) for part in value)
        except (TypeError, ValueError):
            continue
        if math.isfinite(row_mm) and math.isfinite(column_mm) and row_mm > 0 and column_mm > 0:
            return row_mm, column_mm
    return None


def is_lossy(header: Dataset) -> bool:
    """Tell whether the pixels were ever compressed with loss, as far as the header and the file meta say."""
    stated = str(header.get("LossyImageCompression", "") or "").strip()
    uid = str(getattr(getattr(header, "file_meta", None), "TransferSyntaxUID", ""))
    return stated == "01" or uid in LOSSY_TRANSFER_SYNTAXES or (uid in EITHER_TRANSFER_SYNTAXES and stated != "00")


def lossy_remark(headers: Iterable[Dataset]) -> str | None:
    """Say that images were compressed with loss, and whether by so much that nothing small survives; None if not.

    Headers do not always state the ratio (0028,2112); where several do, the largest counts.
    """
    lossy = [header for header in headers if is_lossy(header)]
    if not lossy:
        return None
    ratio = max(_stated_ratio(header) for header in lossy)
    if ratio <= TOLERABLE_LOSSY_RATIO:
        return "Images were compressed with loss before they came; their values are approximate."
    return (
        f"Images were compressed {ratio:.0f}:1 with loss before they came: fine detail is gone, and patterns of the "
        "compression may be marked."
    )


def _stated_ratio(header: Dataset) -> float:
    """Return the largest Lossy Image Compression Ratio of a header, 0 where it has none that is a number."""
    value = header.get("LossyImageCompressionRatio")
    if value is None:
        return 0.0
    try:
        ratios = [float(part) for part in (value if isinstance(value, MultiValue) else [value])]
    except (TypeError, ValueError):
        return 0.0
    return max((ratio for ratio in ratios if math.isfinite(ratio)), default=0.0)


def _read(path: Path, stop_before_pixels: bool, group: int | None = None) -> Dataset:
    """Read a file; with `group` only the elements of that one are converted and checked."""
    with disable_value_validation(), warnings.catch_warnings():
        # Validation would warn about, and log, values of real files: patients' names among them.
        warnings.simplefilter("ignore")
        try:
            dataset = dcmread(path, stop_before_pixels=stop_before_pixels)
            _drop_unreadable(dataset, group)
        except Exception as error:  # damaged files raise anything from struct.error to RecursionError
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the disk's or the share's trouble says nothing about the content
            raise ContentRefused(f"{path.name}: not a readable DICOM object ({type(error).__name__}).") from error
    return dataset


def _drop_unreadable(dataset: Dataset, group: int | None = None) -> None:
    """Convert every element now, of one group or of all; one whose value cannot be converted counts as never sent.

    pydicom converts on first access, so a damaged attribute would otherwise raise wherever it is first asked for.
    """
    for tag in list(dataset.keys()):
        if group is not None and tag.group != group:
            continue
        try:
            element = dataset[tag]
        except Exception:  # the conversions of single values raise what they like
            del dataset[tag]
            continue
        if element.VR == "SQ":
            for item in element.value or []:
                _drop_unreadable(item)
        elif element.VR in ("IS", "DS") and element.value:
            values = [element.value] if element.VM == 1 else element.value
            if any(isinstance(value, str) for value in values):
                del dataset[tag]  # text where a number belongs


def _transfer_syntax(dataset: Dataset) -> str:
    uid = UID(str(getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", "")))
    return uid.name if uid else "not stated"


def _number(dataset: Dataset, keyword: str, default: float) -> float:
    try:
        value = float(dataset.get(keyword, default))
    except (TypeError, ValueError):
        return default
    return value if math.isfinite(value) else default


def _grey(stored: np.ndarray, dataset: Dataset, path: Path) -> np.ndarray:
    """Bring decoded pixels to float32 (frame, rows, columns)."""
    samples = int(dataset.get("SamplesPerPixel", 1) or 1)
    if samples == 1:
        planes = stored if stored.ndim == 3 else stored[None]
    else:
        coloured = stored if stored.ndim == 4 else stored[None]
        channels = coloured[..., :3].astype(np.int32)
        if int((channels.max(axis=-1) - channels.min(axis=-1)).max()) > GREY_TOLERANCE:
            raise ContentRefused(f"{path.name}: a colour picture; send the grey-scale image.")
        planes = channels[..., 0]
    if planes.ndim != 3 or 0 in planes.shape:
        raise ContentRefused(f"{path.name}: the pixel data has no rows and columns to read.")
    return planes.astype(np.float32)
