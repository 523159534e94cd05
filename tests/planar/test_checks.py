"""Content checks: what must pass passes, what must never reach the networks is refused with a sentence.

Real files where they are at hand (QC floods, bars, statics, tomography, the real whole-body scan), drawn and simulated
ones for the rest. Not covered by real data: blood-pool phases; their content is imitated by spreading a scan's counts
through the body, and their headers are written as scanners write them.
"""

from __future__ import annotations

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.config import disable_value_validation
from scipy import ndimage

from pipelines.imaging.instance import pixel_spacing_mm, read_frames, read_header
from pipelines.planar.checks import content_refusal, field_refusal
from pipelines.planar.header_checks import header_refusal, minutes_after_injection
from pipelines.planar.prepare import prepare_view
from tests.imaging.nm_objects import SECONDARY_CAPTURE, draw_body, nm_object

SPACING = (2.26, 2.26)
REAL_SCAN = ("NM1_J2KI", "NM1_J2KR", "NM1_JLSL", "NM1_JLSN", "NM1_JPLL", "NM1_RLE", "NM1_UNCOMPRESSED.dcm")
NOT_A_SCAN = (
    "FourBar.dcm", "Jaszack.dcm", "UNIFORMIDAD_1.dcm", "recon_tomo_ge_1.dcm", "recon_tomo_ge_2.dcm",
    "recon_tomo_ge_3.dcm", "recon_tomo_no_geometry.dcm", "static_renal.dcm", "static_two_detectors.dcm",
)  # fmt: skip


def content(counts: np.ndarray, spacing: tuple[float, float] | None = SPACING) -> str | None:
    return field_refusal(counts, spacing) or content_refusal(prepare_view(counts, spacing), "anterior")


def header(**attributes: object) -> Dataset:
    return nm_object(np.zeros((64, 16)), **attributes)


def agent(name: str = "", nuclide: str = "", start: str = "") -> list[Dataset]:
    item = Dataset()
    if name:
        item.Radiopharmaceutical = name
    if start:
        item.RadiopharmaceuticalStartTime = start
    if nuclide:
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "X", "99X", nuclide
        item.RadionuclideCodeSequence = [code]
    return [item]


@pytest.mark.parametrize("name", REAL_SCAN)
def test_the_real_scan_passes_in_every_syntax(shared_data, name):
    path = shared_data / "nm" / name
    assert header_refusal(read_header(path)) is None
    assert content(read_frames(path).values[0], pixel_spacing_mm(read_header(path))) is None


@pytest.mark.parametrize("name", NOT_A_SCAN)
def test_quality_control_statics_and_tomography_are_refused_twice_over(shared_data, name):
    """By their headers, and again by their counts alone, should a header ever say nothing."""
    path = shared_data / "nm" / name
    assert header_refusal(read_header(path)).endswith(".")
    for frame in read_frames(path).values[:2]:
        for spacing in (pixel_spacing_mm(read_header(path)), None):
            refused = content(frame, spacing)
            assert refused is not None
            assert refused.endswith(".")


@pytest.mark.parametrize("folder", ["ct_body", "mr_sagittal_brain", "ct_lung_lidc"])
def test_other_modalities_are_refused_by_what_they_are(shared_data, folder):
    path = sorted((shared_data / folder).iterdir())[0]
    read = read_header(path)
    # One CT file leaves its own SOP Class UID empty.
    assert "nuclear medicine" in header_refusal(read)


def test_a_header_that_says_nothing_keeps_nothing_out():
    assert header_refusal(header(ImageType=None)) is None
    assert header_refusal(header(ImageType=["DERIVED", "SECONDARY"], sop_class=SECONDARY_CAPTURE)) is None


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"ImageType": ["ORIGINAL", "PRIMARY", "STATIC", "EMISSION"]}, "STATIC"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "GATED", "EMISSION"]}, "gated"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "DYNAMIC", "EMISSION"]}, "dynamic"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "WHOLE BODY", "TRANSMISSION"]}, "attenuation"),
        ({"Modality": "PT"}, "modality is PT"),
        ({"Modality": "OT", "sop_class": SECONDARY_CAPTURE}, "secondary capture of modality OT"),
        ({"SeriesDescription": "UNIF_INT_H1"}, "quality-control"),
        ({"SeriesDescription": "Four Bar LEHR"}, "quality-control"),
        ({"StudyDescription": "均匀性测试"}, "quality-control"),
        ({"SeriesDescription": "WB Blood Pool"}, "blood pool"),
        ({"SeriesDescription": "WB_FLOW"}, "flow"),
        ({"SeriesDescription": "全身血池相"}, "血池"),
        ({"SeriesDescription": "Weichteilphase"}, "weichteilphase"),
        ({"SeriesDescription": "WB Phase 2"}, "phase 2"),
        ({"SeriesDescription": "WB I-131 post therapy"}, "i-131"),
        ({"ProtocolName": "MIBG Whole Body"}, "mibg"),
        ({"StudyDescription": "全身碘扫描"}, "碘"),
        ({"RadiopharmaceuticalInformationSequence": agent("Tc99m Sestamibi")}, "sestamibi"),
        ({"RadiopharmaceuticalInformationSequence": agent(nuclide="^131^Iodine")}, "131Iodine"),
        ({"RadiopharmaceuticalInformationSequence": agent("MDP", start="100000"), "AcquisitionDate": "20240102",
          "AcquisitionTime": "100800"}, "8 minutes after the injection"),
    ],
)  # fmt: skip
def test_headers_that_speak_against_a_delayed_bone_scan(attributes, said):
    refused = header_refusal(header(**attributes))
    assert refused is not None
    assert said in refused
    assert refused.endswith(".")


@pytest.mark.parametrize(
    "attributes",
    [
        {"SeriesDescription": "Bone WB delayed, 3 phase study", "StudyDescription": "Three Phase Bone Flow"},
        {"SeriesDescription": "WB flow + 3h delayed"},
        {"StudyDescription": "MIBG follow-up: bone scan"},
        {"SeriesDescription": "GANZKÖRPER"},
        {"SeriesDescription": "骨显像 延迟相"},
        {"RadiopharmaceuticalInformationSequence": agent("Tc-99m MDP", "^99m^Technetium", "080000"),
         "AcquisitionDate": "20240102", "AcquisitionTime": "110500.123"},
        {"RadiopharmaceuticalInformationSequence": agent("HDP", "Tc-99m", "230000"), "AcquisitionDate": "20240102",
         "AcquisitionTime": "020000"},
        {"RadiopharmaceuticalInformationSequence": agent("锝[99mTc]亚甲基二膦酸盐", "锝-99m")},
    ],
)  # fmt: skip
def test_headers_that_do_not(attributes):
    assert header_refusal(header(**attributes)) is None


def test_minutes_after_injection_need_both_clocks_to_make_sense():
    item = Dataset()
    item.RadiopharmaceuticalStartDateTime = "20240102080000"
    late = header(RadiopharmaceuticalInformationSequence=[item], AcquisitionDate="20240102", AcquisitionTime="110000")
    assert minutes_after_injection(late) == 180
    next_day = header(RadiopharmaceuticalInformationSequence=[item], AcquisitionDateTime="20240110110000")
    assert minutes_after_injection(next_day) is None
    assert minutes_after_injection(header()) is None
    with disable_value_validation():
        broken = header(RadiopharmaceuticalInformationSequence=agent(start="2599"), AcquisitionTime="9999")
        assert minutes_after_injection(broken) is None


def test_the_drawn_body_passes_at_any_dose_and_matrix():
    assert content(draw_body()) is None
    assert content(draw_body(dose=0.3)) is None
    assert content(draw_body(dose=300.0)) is None
    assert content(draw_body().reshape(512, 2, 128, 2).sum(axis=(1, 3)), (4.52, 4.52)) is None
    assert content(draw_body(), None) is None


def test_sheets_floods_bars_and_noise_are_refused():
    rng = np.random.default_rng(5)
    sheet = np.zeros((1024, 256))
    sheet[60:964, 20:236] = 50
    bars = np.where((np.arange(1024) // 12 % 2)[:, None] * np.ones((1, 256)) > 0, 60.0, 2.0)
    ramp = sheet * np.linspace(0.05, 3, 1024)[:, None]
    for counts, said in (
        (rng.poisson(sheet), "uniform"),
        (np.full((1024, 256), 40.0), "uniform"),
        (rng.poisson(bars), ""),
        (rng.poisson(ramp), "rectangle"),
        (rng.poisson(np.full((1024, 256), 0.3)), ""),
        (np.zeros((1024, 256)), "no body"),
    ):
        refused = content(np.asarray(counts, dtype=float))
        assert refused is not None
        assert said in refused


def test_short_fields_and_tiny_images_are_refused():
    assert "static view" in content(draw_body()[:256])
    assert "too few" in content(draw_body(64, 48))


@pytest.mark.parametrize("spacing", [None, SPACING, (1.0, 1.0), (1.4, 1.4)])
def test_two_bodies_in_one_picture_are_refused_also_where_the_working_grid_holds_one(spacing):
    refused = content(np.hstack([draw_body(), draw_body(seed=1)]), spacing)
    assert "two bodies" in refused


@pytest.mark.parametrize("columns", [512, 1024])
@pytest.mark.parametrize("spacing", [None, SPACING])
def test_the_drawn_body_passes_in_a_padded_matrix(columns, spacing):
    beside = (columns - 256) // 2
    assert content(np.pad(draw_body(), ((0, 0), (beside, beside))), spacing) is None


def test_tracer_spread_through_soft_tissue_is_refused(shared_data):
    """The real scan blurred until no bone is left: what the blood pool looks like to a gamma camera, at best."""
    scan = read_frames(shared_data / "nm" / "NM1_JPLL").values[0]
    spread = np.random.default_rng(1).poisson(ndimage.gaussian_filter(scan, 14)).astype(float)
    assert "blood-pool" in content(spread)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["train", "held_out", "domain_shift"])
def test_simulated_patients_pass(preset):
    from pipelines.phantoms.bone_scan import simulate_bone_scan

    scan = simulate_bone_scan(3, preset)
    for counts in scan.counts:
        assert content(counts.astype(float), (scan.scanner.pixel_mm,) * 2) is None
