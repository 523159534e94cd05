"""The common grid: drawn balls must lie where they were drawn, for both signs of the SPECT's spacing.

Where a voxel lies is worked out from the headers by hand; SimpleITK, which the code uses, is not asked.
"""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.contract import ContentRefused
from pipelines.imaging.nm_volume import read_spect_planes
from pipelines.imaging.volume import read_stack, read_volume
from pipelines.imaging.volume_geometry import sort_stack
from pipelines.spect_ct import grid
from pipelines.spect_ct.grid import AXES, Lattice, Voxels, prepare
from tests.spect_ct.drawn_study import CT_FIELD, LESIONS, SPECT_FIELD, Field, counts, hounsfield, write_ct, write_spect

AXIAL = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])


def placed(values: np.ndarray, field: Field) -> Voxels:
    return Voxels(values, field.spacing_mm, np.array(field.origin_mm), AXIAL)


def read_spect(path):
    return read_volume(sort_stack(read_spect_planes([path])), AXES)


def centre_of(values: np.ndarray, lattice: Lattice) -> np.ndarray:
    """LPS centre of mass, by hand for axes to the head, to the back and to the left."""
    index = np.argwhere(values)
    z, y, x = index.mean(0) * lattice.spacing_mm
    return np.array([x, y, z]) + lattice.origin_mm


@pytest.mark.parametrize("head_first", [False, True])
def test_a_spect_lies_the_same_way_round_whatever_the_sign_of_its_spacing(tmp_path, head_first):
    volume = read_spect(write_spect(tmp_path / "nm.dcm", counts(), head_first=head_first))
    assert np.array_equal(volume.values, counts())
    assert volume.origin_mm == pytest.approx(SPECT_FIELD.origin_mm)
    first = volume.source.frames[0].frame_number
    back = volume.grid.to_source(volume.values)
    assert first == (len(back) if head_first else 1)
    hottest = int(np.abs(volume.source.frames[int(back.max((1, 2)).argmax())].frame_number))
    slices = np.flatnonzero(counts().max((1, 2)) == 2500)
    assert hottest in ((len(back) - slices) if head_first else (slices + 1))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"SpacingBetweenSlices": None}, "SpacingBetweenSlices"),
        ({"SpacingBetweenSlices": 0}, "SpacingBetweenSlices"),
        ({"DetectorInformationSequence": None}, "where its slices lie"),
        ({"SliceVector": [1, 2]}, "SliceVector"),
    ],
)
def test_a_spect_that_does_not_say_where_its_frames_lie_is_refused(tmp_path, change, words):
    path = write_spect(tmp_path / "nm.dcm", counts(), **change)
    with pytest.raises(ContentRefused, match=words):
        read_spect_planes([path])


def test_real_reconstructions_with_negative_spacing_run_to_the_head(shared_data):
    volume = read_spect(next((shared_data / "nm").glob("recon_tomo_ge_*.dcm")))
    assert volume.values.shape == (50, 70, 70)
    assert volume.directions[0] == pytest.approx([0, 0, 1], abs=1e-6)
    # The stated first frame is the highest: the volume's lowest slice is the object's last frame.
    assert volume.stack.frames[0].index == 49
    top = np.array(volume.header.DetectorInformationSequence[0].ImagePositionPatient, float)
    assert volume.patient_mm(np.array([[49, 0, 0]]))[0] == pytest.approx(top, abs=1e-3)


def test_both_modalities_meet_at_the_place_that_was_drawn():
    prepared = prepare(placed(counts(), SPECT_FIELD), placed(hounsfield(), CT_FIELD))
    assert prepared.inputs.shape == (38, 2, 256, 256)
    assert prepared.lattice.spacing_mm == (3.0, 1.0, 1.0)
    for centre, radius in LESIONS:
        voxels = np.indices(prepared.counts.shape).reshape(3, -1).T * prepared.lattice.spacing_mm
        offsets = np.abs(voxels + prepared.lattice.origin_mm[::-1] - centre[::-1]).max(1)
        near = offsets.reshape(prepared.counts.shape) < radius + 12
        assert centre_of((prepared.counts > 1200) & near, prepared.lattice) == pytest.approx(centre, abs=1.5)
        assert centre_of((prepared.hu > 400) & near, prepared.lattice) == pytest.approx(centre, abs=1.0)


def test_a_missing_modality_is_zero_and_the_other_is_as_beside_it():
    spect, ct = placed(counts(), SPECT_FIELD), placed(hounsfield(), CT_FIELD)
    both, alone = prepare(spect, ct), prepare(None, ct)
    assert not alone.inputs[:, 0].any()
    assert np.allclose(alone.inputs[:, 1], both.inputs[both.has_ct, 1], atol=1e-4)
    assert not alone.has_spect.any()
    spect_only = prepare(spect, None)
    assert not spect_only.inputs[:, 1].any()
    assert spect_only.lattice.shape == (38, 256, 256), "3 mm apart as beside a CT, of 24 slices of 4.8 mm"


@pytest.mark.parametrize("slice_mm", [2.0, 3.0, 3.3, 4.8, 6.5])
def test_whatever_the_slices_distance_the_network_sees_about_3_mm_and_the_same_places(slice_mm):
    field = Field(
        (round(110 / slice_mm), *CT_FIELD.shape[1:]), (slice_mm, *CT_FIELD.spacing_mm[1:]), CT_FIELD.origin_mm
    )
    prepared = prepare(None, placed(hounsfield(field), field))
    lattice = prepared.lattice
    assert 2.4 <= lattice.spacing_mm[0] <= 3.4
    ends = [lattice.origin_mm[2] + (n - 0.5) * lattice.spacing_mm[0] for n in (0, lattice.shape[0])]
    mine = [field.origin_mm[2] + (n - 0.5) * slice_mm for n in (0, field.shape[0])]
    assert mine[0] - 0.01 <= ends[0] <= mine[0] + 1.5 and mine[1] - 1.5 <= ends[1] <= mine[1] + 0.01
    for centre, radius in LESIONS:
        offsets = np.abs(lattice.points(np.indices(lattice.shape).reshape(3, -1).T) - centre).max(1)
        near = offsets.reshape(lattice.shape) < radius + 12
        assert centre_of((prepared.hu > 400) & near, lattice) == pytest.approx(centre, abs=2.0)


def test_where_the_ct_ends_earlier_the_spect_stands_alone_and_what_lies_beyond_the_spect_is_left_out():
    short = Field((20, *CT_FIELD.shape[1:]), CT_FIELD.spacing_mm, CT_FIELD.origin_mm)
    prepared = prepare(placed(counts(), SPECT_FIELD), placed(hounsfield(short), short))
    assert prepared.has_ct.sum() == 20
    assert prepared.has_spect.all()
    assert not prepared.inputs[~prepared.has_ct, 1].any()
    assert prepared.inputs[~prepared.has_ct, 0].any()
    long = Field((100, *CT_FIELD.shape[1:]), CT_FIELD.spacing_mm, (*CT_FIELD.origin_mm[:2], -150.0))
    prepared = prepare(placed(counts(), SPECT_FIELD), placed(hounsfield(long), long))
    z = prepared.lattice.origin_mm[2] + np.arange(prepared.lattice.shape[0]) * 3.0
    # The SPECT's outermost edges lie half a slice beyond its first and last centre.
    assert z[0] >= -55.2 - 2.4 and z[-1] <= -55.2 + 23 * 4.8 + 2.4
    assert prepared.has_spect.all()


def test_the_ct_is_windowed_and_scored_within_the_body_only():
    prepared = prepare(None, placed(hounsfield(), CT_FIELD))
    hu = np.clip(prepared.hu, -700, 800)
    body = prepared.hu > -300
    expected = (hu - hu[body].mean()) / hu[body].std()
    # The code looks at every fourth row and column only.
    assert np.allclose(prepared.inputs[:, 1], expected, rtol=0.04, atol=0.05)
    assert np.corrcoef(prepared.inputs[:, 1].ravel(), hu.ravel())[0, 1] == pytest.approx(1.0)


def test_a_full_bladder_changes_little_of_what_is_seen_elsewhere():
    dull, hot = counts(), counts()
    hot[SPECT_FIELD.ball((0, -20, -45), 14)] = 30000
    first, second = (prepare(placed(v, SPECT_FIELD), None).inputs[:, 0] for v in (dull, hot))
    for at in ((19, 128, 128), (19, 183, 128)):
        assert second[at] == pytest.approx(first[at], abs=0.1)
    assert second.max() < 8


def test_thin_slices_are_averaged_and_not_skipped():
    thin = Field((108, 160, 160), (1.0, 1.9, 1.9), (*CT_FIELD.origin_mm[:2], -53.5))
    values = hounsfield(thin)
    values[::3] += 90
    shrunk = grid.shrink(placed(values, thin))
    assert shrunk.values.shape == (36, 160, 160)
    assert shrunk.origin_mm == pytest.approx([*CT_FIELD.origin_mm[:2], -52.5])
    assert np.allclose(shrunk.values, values.reshape(36, 3, 160, 160).mean(1), atol=1e-3)


def test_ct_slices_of_any_file_name_are_sorted_by_place(tmp_path):
    volume = read_volume(read_stack(write_ct(tmp_path, hounsfield())), AXES)
    assert np.array_equal(volume.values, hounsfield())
    assert volume.origin_mm == pytest.approx(CT_FIELD.origin_mm)
