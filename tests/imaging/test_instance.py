"""Reading one instance: decoding in real transfer syntaxes, rescale, polarity, spacing, refusals.

Oracles: pydicom's own decoder on the uncompressed bytes, numbers chosen here. Not covered: 12-bit JPEG Extended, which
no free decoder opens; it is only shown to be refused by name.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.config import disable_value_validation
from pydicom.data import get_testdata_file
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from pipelines.contract import ContentRefused
from pipelines.imaging.instance import (
    is_lossy,
    lossy_remark,
    pixel_spacing_mm,
    read_frames,
    read_header,
    read_pixels,
    read_stored,
    settle_polarity,
)
from tests.imaging.nm_objects import SECONDARY_CAPTURE, draw_body, nm_object, save

LOSSLESS = ("NM1_J2KR", "NM1_JLSL", "NM1_JPLL", "NM1_RLE")
LOSSY = ("NM1_J2KI", "NM1_JLSN", "NM1_UNCOMPRESSED.dcm")


@pytest.mark.parametrize("name", LOSSLESS[1:])
def test_the_real_scan_has_the_same_counts_in_every_lossless_syntax(shared_data, name):
    expected = read_frames(shared_data / "nm" / LOSSLESS[0]).values
    read = read_frames(shared_data / "nm" / name)
    np.testing.assert_array_equal(read.values, expected)
    # The header states how many counts the scanner accumulated: an oracle outside any decoder.
    assert read.values.sum(dtype=np.float64) == float(read_header(shared_data / "nm" / name).CountsAccumulated)
    assert not read.inverted


@pytest.mark.parametrize("name", LOSSY)
def test_lossy_copies_decode_close_to_the_counts_and_are_known_as_lossy(shared_data, name):
    expected = read_frames(shared_data / "nm" / "NM1_JPLL").values
    read = read_frames(shared_data / "nm" / name).values
    assert np.corrcoef(read.ravel(), expected.ravel())[0, 1] > 0.9
    assert is_lossy(read_header(shared_data / "nm" / name))
    assert not is_lossy(read_header(shared_data / "nm" / "NM1_JPLL"))


def test_a_result_says_that_images_were_compressed_with_loss_and_when_by_far_too_much():
    def header(lossy: str, ratio: object = None) -> Dataset:
        made = Dataset()
        made.LossyImageCompression = lossy
        if ratio is not None:
            made.LossyImageCompressionRatio = ratio
        return made

    assert lossy_remark([header("00"), header("00", 40)]) is None
    for mild in (header("01"), header("01", 8), header("01", [2, 10]), header("01", "")):
        remark = lossy_remark([header("00"), mild])
        assert remark is not None and "with loss" in remark and ":1" not in remark
    for strong in (header("01", 2097), header("01", ["4", "2097"])):
        remark = lossy_remark([header("01", 8), strong])
        assert remark is not None and "2097:1" in remark and "fine detail is gone" in remark


def test_the_demos_copy_of_the_real_scan_is_known_as_compressed_beyond_use():
    path = get_testdata_file("JPEG2000.dcm", download=False)
    assert "2097:1" in (lossy_remark([read_header(Path(path))]) or "")


def test_twelve_bit_jpeg_is_refused_with_file_and_syntax(shared_data):
    with pytest.raises(ContentRefused, match=r"NM1_JPLY.*JPEG Extended.*12 bits"):
        read_frames(shared_data / "nm" / "NM1_JPLY")


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless, RLELossless])
def test_two_frames_survive_compression(tmp_path, syntax):
    counts = np.stack([draw_body(seed=1), draw_body(seed=2)])
    dataset = nm_object(counts)
    dataset.compress(syntax)
    dataset["PixelData"].VR = "OB"
    np.testing.assert_array_equal(read_frames(save(dataset, tmp_path)).values, counts)


@pytest.mark.parametrize("syntax", [None, JPEG2000Lossless, JPEGLSLossless, RLELossless])
def test_pixels_alone_are_those_of_the_whole_object(tmp_path, syntax):
    dataset = nm_object(np.stack([draw_body(seed=1), draw_body(seed=2)]))
    if syntax is not None:
        dataset.compress(syntax)
        dataset["PixelData"].VR = "OB"
    path = save(dataset, tmp_path)
    np.testing.assert_array_equal(read_pixels(path), read_stored(path)[1])


def test_rescale_slope_and_intercept_are_applied_once(tmp_path):
    counts = draw_body()
    dataset = nm_object(counts, RescaleSlope="0.5", RescaleIntercept="2")
    np.testing.assert_allclose(read_frames(save(dataset, tmp_path)).values[0], counts * 0.5 + 2, rtol=1e-6)


def test_signed_pixels_keep_their_sign(tmp_path):
    stored = draw_body().astype(np.int16) - 5
    values = read_frames(save(nm_object(stored, sop_class=SECONDARY_CAPTURE), tmp_path)).values[0]
    np.testing.assert_array_equal(values, stored)


@pytest.mark.parametrize("interpretation", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("dark_is_hot", [True, False])
def test_hot_is_high_after_reading_whatever_was_stored(tmp_path, interpretation, dark_is_hot):
    counts = np.clip(draw_body(), 0, 255).astype(np.uint8)
    stored = 255 - counts if dark_is_hot else counts
    dataset = nm_object(stored, sop_class=SECONDARY_CAPTURE, PhotometricInterpretation=interpretation)
    read = read_frames(save(dataset, tmp_path))
    np.testing.assert_array_equal(read.values[0], counts)
    assert read.inverted == dark_is_hot


def test_the_header_settles_polarity_where_the_border_cannot():
    half = np.tile(np.linspace(0, 100, 64, dtype=np.float32), (1, 64, 1))
    assert settle_polarity(half, "MONOCHROME1")[0]
    assert not settle_polarity(half, "MONOCHROME2")[0]


def test_grey_screen_captures_are_read_and_coloured_ones_refused(tmp_path):
    grey = np.clip(draw_body(256, 128), 0, 255).astype(np.uint8)
    rgb = np.repeat(grey[..., None], 3, axis=-1)
    attributes = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    dataset = nm_object(grey, sop_class=SECONDARY_CAPTURE, **attributes)
    dataset.PixelData = rgb.tobytes()
    np.testing.assert_array_equal(read_frames(save(dataset, tmp_path)).values[0], grey)
    rgb[..., 0] = np.clip(rgb[..., 0].astype(int) + 60, 0, 255)
    dataset.PixelData = rgb.tobytes()
    with pytest.raises(ContentRefused, match=r"colour\.dcm: a colour picture"):
        read_frames(save(dataset, tmp_path, "colour.dcm"))


def test_files_that_are_no_images_are_refused_by_name(tmp_path):
    (tmp_path / "noise.bin").write_bytes(b"\x01\x02" * 400)
    with pytest.raises(ContentRefused, match=r"noise\.bin"):
        read_header(tmp_path / "noise.bin")
    dataset = nm_object(draw_body(128, 64), PixelData=None)
    with pytest.raises(ContentRefused, match=r"scan\.dcm: the object holds no pixel data"):
        read_frames(save(dataset, tmp_path))


def test_truncated_pixels_are_refused_and_name_the_syntax(tmp_path):
    dataset = nm_object(draw_body(128, 64))
    dataset.PixelData = dataset.PixelData[:100]
    with pytest.raises(ContentRefused, match=r"scan\.dcm.*Explicit VR Little Endian"):
        read_frames(save(dataset, tmp_path))


def test_damaged_attributes_count_as_never_sent_and_are_not_logged(tmp_path, caplog):
    with disable_value_validation():
        dataset = nm_object(draw_body(128, 64), PatientName="Bad^Name" * 40, AcquisitionTime="noon", InstanceNumber=3)
        path = save(dataset, tmp_path)
    path.write_bytes(path.read_bytes().replace(b"IS\x02\x003 ", b"IS\x02\x00x "))
    header = read_header(path)
    assert "InstanceNumber" not in header
    assert header.Rows == 128
    assert str(header.AcquisitionTime) == "noon"
    assert caplog.records == []


def test_a_missing_file_is_the_disks_trouble_not_the_contents(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_header(tmp_path / "gone.dcm")


def test_spacing_comes_from_the_first_attribute_that_states_it():
    frame = draw_body(128, 64)
    assert pixel_spacing_mm(nm_object(frame, spacing_mm=(2.0, 3.0))) == (2.0, 3.0)
    assert pixel_spacing_mm(nm_object(frame, spacing_mm=None)) is None
    assert pixel_spacing_mm(nm_object(frame, spacing_mm=None, NominalScannedPixelSpacing=[2.4, 2.4])) == (2.4, 2.4)
    assert pixel_spacing_mm(nm_object(frame, spacing_mm=(0.0, 2.0), ImagerPixelSpacing=[1.5, 1.5])) == (1.5, 1.5)


def test_malformed_objects_are_refused_and_never_raise_anything_else(shared_data):
    """Every other file of the public fuzz corpus and of the odd ones: a refusal or pixels, nothing third."""
    files = sorted([*(shared_data / "fuzz").iterdir(), *(shared_data / "odd").iterdir()])[::2]
    read = 0
    for path in files:
        try:
            read += read_frames(path).values.size > 0
        except ContentRefused as error:
            assert path.name in str(error)
    assert 0 < read < len(files)
