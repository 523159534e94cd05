"""A simulated SPECT/CT patient and what is written of it: geometry, truth, DICOM, each asked of an independent witness.

The camera's physics is in test_spect_ct_physics. Not covered: whether a physician takes the images for real (they are
looked at).
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess

import numpy as np
import pydicom
import pytest
from pydicom.uid import CTImageStorage, NuclearMedicineImageStorage

from pipelines.phantoms.spect_ct import generate, simulate_spect_ct, write_study
from pipelines.phantoms.spect_ct.canvas import BoneCanvas
from pipelines.phantoms.spect_ct.dicom_ct import STORED_PIXELS, stored, stored_grid
from pipelines.phantoms.spect_ct.dicom_nm import spect_dataset
from pipelines.phantoms.spect_ct.grid import Grid
from pipelines.phantoms.spect_ct.lesions import KINDS, LesionDraft
from pipelines.phantoms.spect_ct.marrow import collect, onto
from pipelines.phantoms.spect_ct.presets import draw_settings
from pipelines.phantoms.spect_ct.study import Layout
from pipelines.phantoms.spect_ct.truth import body_outline, ct_outline

SEED, PRESET = 2, "held_out"
slow = pytest.mark.slow


@pytest.fixture(scope="module")
def patient():
    return simulate_spect_ct(SEED, PRESET)


@pytest.fixture(scope="module")
def study(patient, tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    write_study(patient, folder)
    return folder


@pytest.fixture(scope="module")
def spect_object(study):
    return pydicom.dcmread(study / "SPECT" / "spect.dcm")


@pytest.fixture(scope="module")
def ct_slices(study):
    return [pydicom.dcmread(path) for path in sorted((study / "CT").glob("*.dcm"))]


def small_canvas():
    grid = Grid((20, 40, 40), (1.0, 1.0, 1.0), (-19.5, -19.5, -9.5))
    return BoneCanvas(grid, lambda points: np.asarray(points, float), 1.0, np.random.default_rng(0))


@pytest.mark.parametrize("shift", [0.0, 30.0])
def test_a_plate_of_which_the_bed_ends_at_the_first_slice_is_drawn(shift):
    canvas = BoneCanvas(
        Grid((1, 40, 40), (1.0, 1.0, 1.0), (-20.0, -20.0, 0.0)), lambda p: np.asarray(p, float), 1.0,
        np.random.default_rng(0),
    )  # fmt: skip
    outline = np.array([[-10, shift, 0.5], [10, shift, 0.5], [10, shift, -25], [-10, shift, -25]])
    canvas.plate("ilium_L", outline, 4.0)
    drawn = canvas.depth[0] > 0
    assert drawn.any() == (shift == 0.0)
    if drawn.any():
        rows, _ = np.nonzero(drawn)
        assert abs(rows.mean() - 20) < 0.6


def test_a_ball_on_the_canvas_has_its_volume_and_depth():
    canvas = small_canvas()
    canvas.ellipsoid("skull", (0, 0, 0), (8, 8, 8))
    bone = collect(canvas)
    assert bone.share.sum() == pytest.approx(4 / 3 * np.pi * 8**3, rel=0.02)
    assert bone.depth.max() == pytest.approx(8 - np.sqrt(3) / 2, abs=0.1)


def test_two_pieces_of_one_bone_have_no_cortex_between_them_and_two_bones_do():
    depths = []
    for names in (("ilium_L", "pubis_L"), ("L1", "L2")):
        canvas = small_canvas()
        canvas.ellipsoid(names[0], (-6, 0, 0), (8, 8, 8))
        canvas.ellipsoid(names[1], (6, 0, 0), (8, 8, 8))
        depths.append(float(canvas.depth[9:11, 19:21, 19:21].mean()))
    assert depths[0] > depths[1] + 1.0


def test_bone_is_laid_over_tissue_by_its_share_of_the_voxel():
    canvas = small_canvas()
    canvas.ellipsoid("skull", (0, 0, 0), (8, 8, 8))
    bone = collect(canvas)
    bone.hu[:] = 1000.0
    coarse = Grid((10, 40, 40), (2.0, 1.0, 1.0), (-19.5, -19.5, -9.0))
    hu = np.zeros(coarse.shape, np.float32)
    covered = onto(hu, coarse, bone)
    assert np.allclose(hu, covered * 1000.0, atol=0.5)
    assert covered.sum() * 2 == pytest.approx(4 / 3 * np.pi * 8**3, rel=0.02)


def test_a_grids_points_and_indices_are_each_others_inverse():
    grid = Grid((5, 6, 7), (3.0, 2.0, 1.5), (-10.0, 20.0, 30.0))
    index = np.array([[0, 0, 0], [4, 5, 6], [1, 2, 3]], float)
    points = grid.points(index)
    assert np.allclose(points[0], grid.origin_mm)
    assert np.allclose(points[1], [-10 + 6 * 1.5, 20 + 5 * 2.0, 30 + 4 * 3.0])
    assert np.allclose(grid.index(points), index)
    assert grid.box((500, 500, 500), (600, 600, 600)) is None
    with pytest.raises(ValueError, match="no grid"):
        Grid((0, 1, 1), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))


def test_an_unknown_preset_is_refused_by_name():
    with pytest.raises(ValueError, match="no acquisition preset 'mars'"):
        simulate_spect_ct(0, "mars")


@slow
def test_the_same_seed_gives_the_same_patient(patient):
    again = simulate_spect_ct(SEED, PRESET)
    assert np.array_equal(again.ct, patient.ct)
    assert np.array_equal(again.spect, patient.spect)
    assert np.array_equal(again.fused_labels, patient.fused_labels)
    assert again.lesions == patient.lesions


@slow
def test_tissues_have_their_hounsfield_units(patient):
    ct = patient.ct
    assert ct.min() >= -1024 and ct.max() <= 3071
    body = (ct > -400).mean()
    assert 0.2 < body < 0.9
    assert ((ct > -140) & (ct < -60)).mean() > 0.03, "fat"
    assert ((ct > 20) & (ct < 90)).mean() > 0.05, "muscle and organs"
    assert 0.002 < (ct > 400).mean() < 0.08, "cortex"


@slow
def test_lesions_are_described_as_they_are_drawn(patient):
    assert {lesion.kind for lesion in patient.lesions} <= set(KINDS)
    assert [lesion.label for lesion in patient.lesions] == list(range(1, len(patient.lesions) + 1))
    voxel_ml = patient.ct_grid.voxel_ml
    for lesion in patient.lesions:
        voxels = np.argwhere(patient.body_labels == lesion.label)
        if len(voxels) < 30:
            continue
        centre = patient.ct_grid.points(voxels.mean(0)[None])[0]
        assert np.linalg.norm(centre - lesion.centre_mm) < 4.0, lesion
        assert len(voxels) * voxel_ml == pytest.approx(lesion.volume_ml, rel=0.45), lesion
        assert lesion.malignant == KINDS[lesion.kind].malignant
        if lesion.kind == "marrow":
            assert lesion.hu_change == 0 and "ct" not in lesion.visible_on


@slow
def test_what_a_modality_does_not_show_has_no_outline_there(patient):
    for lesion in patient.lesions:
        assert bool((patient.ct_labels == lesion.label).any()) == ("ct" in lesion.visible_on)
        assert bool((patient.spect_labels == lesion.label).any()) == ("spect" in lesion.visible_on)
        assert bool((patient.fused_labels == lesion.label).any()) == bool(lesion.visible_on)
    shown = [set(lesion.visible_on) for lesion in patient.lesions]
    assert {"ct", "spect"} in shown and {"spect"} in shown


@slow
def test_the_fused_outline_is_the_cts_where_it_shows_half_of_the_lesion_else_both(patient):
    body, ct, spect = (np.zeros_like(patient.ct_labels) for _ in range(3))
    body[5, 10:20, 10:30] = ct[5, 10:20, 10:20] = 1  # half of it
    body[8, 10:20, 10:30] = 2
    ct[8, 10:20, 10:19] = 2  # less
    spect[5, 8:24, 8:34], spect[8, 8:24, 8:34] = 1, 2
    spect[11, 4:9, 4:9] = 3  # nothing of it on CT
    fused = dataclasses.replace(patient, body_labels=body, ct_labels=ct, spect_labels_on_ct=spect).fused_labels
    assert np.array_equal(fused[5], ct[5])
    assert np.array_equal(fused[8], spect[8])
    assert np.array_equal(fused[11], spect[11])


@slow
def test_outlines_on_both_grids_are_the_same_places(patient):
    checked = 0
    for lesion in patient.lesions:
        if "spect" not in lesion.visible_on:
            continue
        on_spect = patient.spect_grid.points(np.argwhere(patient.spect_labels == lesion.label)).mean(0)
        on_ct = patient.ct_grid.points(np.argwhere(patient.spect_labels_on_ct == lesion.label)).mean(0)
        assert np.linalg.norm(on_spect - on_ct) < 2.5, lesion
        checked += 1
    assert checked >= 3


@slow
def test_what_the_spect_shows_is_hotter_than_its_surroundings(patient):
    for lesion in patient.lesions:
        inside = patient.spect_labels == lesion.label
        if inside.sum() < 4:
            continue
        index = np.argwhere(inside)
        low, high = np.maximum(index.min(0) - 4, 0), index.max(0) + 5
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        around = patient.spect[box][patient.spect_labels[box] == 0]
        assert patient.spect[inside].mean() > 1.4 * around.mean(), lesion


@slow
def test_destroyed_bone_is_darker_and_new_bone_is_denser_on_the_ct(patient):
    checked = 0
    for lesion in patient.lesions:
        inside = patient.ct_labels == lesion.label
        if inside.sum() < 40 or lesion.kind not in ("sclerotic", "lytic") or abs(lesion.hu_change) < 100:
            continue
        mean = float(patient.ct[inside].mean())
        assert mean > 350 if lesion.kind == "sclerotic" else mean < 350, lesion
        checked += 1
    assert checked >= 2


def destroyed(radius_mm, cortex_stands):
    """A ball of bone (marrow 150 HU under 2 mm of cortex) destroyed altogether, or but for its cortex."""
    canvas = small_canvas()
    canvas.ellipsoid("L1", (0, 0, 0), (radius_mm,) * 3)
    bone = collect(canvas)
    cortex = bone.depth < 2.0
    before = np.where(cortex, 1000.0, 150.0)
    change = np.where(cortex & cortex_stands, 0.0, 40.0 - before).astype(np.float32)
    bone.hu[:] = before + change
    every = np.arange(len(bone.flat))
    return bone, LesionDraft("lytic", "L1", "spine", np.zeros(3), 1.0, every, np.ones(len(every), np.float32),
                             np.zeros(len(every), np.float32), change)  # fmt: skip


def test_the_true_outline_on_ct_is_what_the_disease_visibly_changed():
    settings = dataclasses.replace(draw_settings(np.random.default_rng(0), "train").ct, noise_hu=20.0, gain=1.0)
    wide, wide_lesion = destroyed(9.0, cortex_stands=True)
    diseased = body_outline(wide, wide_lesion, wide.grid)
    on_ct = ct_outline(wide, wide_lesion, settings, wide.grid)
    inner = ct_radii(on_ct)
    assert 4.0 < inner < 7.5 < ct_radii(diseased) < 9.6, "the cortex that stands is no part of it"
    thin, thin_lesion = destroyed(3.5, cortex_stands=True)
    assert body_outline(thin, thin_lesion, thin.grid).seen
    assert not ct_outline(thin, thin_lesion, settings, thin.grid).seen, "a cavity of 3 mm under its cortex"
    gone, gone_lesion = destroyed(3.5, cortex_stands=False)
    whole, seen = body_outline(gone, gone_lesion, gone.grid), ct_outline(gone, gone_lesion, settings, gone.grid)
    assert np.array_equal(whole.mask, seen.mask) and whole.box == seen.box
    drowned = dataclasses.replace(settings, noise_hu=2000.0)
    assert not ct_outline(wide, wide_lesion, drowned, wide.grid).seen


def ct_radii(outline):
    """Largest half width in a slice, in voxels of 1 mm."""
    return outline.mask.any((0, 1)).sum() / 2


@slow
def test_the_spect_object_keeps_its_geometry_where_real_scanners_do(spect_object, patient):
    assert spect_object.SOPClassUID == NuclearMedicineImageStorage
    assert list(spect_object.ImageType)[2] == "RECON TOMO"
    assert "ImagePositionPatient" not in spect_object and "PerFrameFunctionalGroupsSequence" not in spect_object
    detector = spect_object.DetectorInformationSequence[0]
    step = float(spect_object.SpacingBetweenSlices)
    assert abs(step) == pytest.approx(patient.spect_grid.spacing_mm[0])
    first = np.array([float(v) for v in detector.ImagePositionPatient])
    last = first + (patient.spect_grid.shape[0] - 1) * step * np.array([0, 0, 1.0])
    ends = patient.spect_grid.coordinates(0)
    assert sorted([first[2], last[2]]) == pytest.approx([ends[0], ends[-1]], abs=1e-3)
    hottest = np.unravel_index(spect_object.pixel_array.argmax(), patient.spect.shape)
    down, right = (float(v) for v in spect_object.PixelSpacing)
    here = first + np.array([hottest[2] * right, hottest[1] * down, hottest[0] * step])
    truth = patient.spect_grid.points(np.argwhere(patient.spect == patient.spect.max())[:1])[0]
    assert np.allclose(here, truth, atol=1e-2)


@slow
def test_frames_run_either_way_and_the_sign_of_the_spacing_says_which(patient):
    objects = [spect_dataset(patient, "1.2.3", head_first) for head_first in (False, True)]
    spacings = [float(ds.SpacingBetweenSlices) for ds in objects]
    assert spacings[0] > 0 > spacings[1]
    assert np.array_equal(objects[0].pixel_array, objects[1].pixel_array[::-1])


def test_archives_hold_every_layout():
    layouts = [Layout.of(seed) for seed in range(60)]
    for name in ("second_kernel", "localiser", "head_first", "own_frames"):
        assert {getattr(layout, name) for layout in layouts} == {True, False}, name
    assert sum(layout.own_frames for layout in layouts) < 12


@pytest.mark.parametrize("columns", [384, 512, 560])
def test_a_place_is_the_same_on_the_stored_grid_padded_or_cut(columns):
    grid = Grid((2, 424, columns), (3.0, 0.9, 0.9), (-(columns - 1) / 2 * 0.9, -190.0, -1.5))
    values = np.zeros(grid.shape, np.int16)
    values[1, 100, columns // 2 + 90] = 7
    onto_field, held = stored_grid(grid), stored(values, -1000)
    assert held.shape == onto_field.shape == (2, STORED_PIXELS, STORED_PIXELS)
    places = []
    for lattice, array in ((grid, values), (onto_field, held)):
        index = np.argwhere(array == 7)[0]
        places.append([lattice.coordinates(axis)[index[axis]] for axis in range(3)])
    assert np.allclose(*places)
    assert (held == -1000).sum() == 2 * (512 * 512 - 424 * min(columns, 512)), "air beside a narrow field only"


@slow
def test_the_ct_reads_back_in_hounsfield_units_at_its_place(ct_slices, patient):
    grid = stored_grid(patient.ct_grid)
    assert len(ct_slices) == patient.ct.shape[0]
    stack = np.stack([s.pixel_array * float(s.RescaleSlope) + float(s.RescaleIntercept) for s in ct_slices])
    assert np.array_equal(stack, stored(patient.ct, -1000))
    assert all(s.SOPClassUID == CTImageStorage for s in ct_slices)
    positions = np.array([[float(v) for v in s.ImagePositionPatient] for s in ct_slices])
    assert np.allclose(positions[:, 2], grid.coordinates(0), atol=1e-3)
    assert np.allclose(positions[:, :2], grid.origin_mm[:2], atol=1e-3)
    assert len({s.FrameOfReferenceUID for s in ct_slices}) == 1


@slow
def test_truth_beside_the_study_lies_on_the_stored_grids(study, spect_object, patient):
    description = json.loads((study / "truth.json").read_text())
    assert len(description["lesions"]) == len(patient.lesions) and description["synthetic"]
    with np.load(study / "truth.npz") as held:
        assert held["ct_labels"].shape == (patient.ct.shape[0], 512, 512)
        on_spect = held["spect_labels"]
    hot = [
        spect_object.pixel_array[on_spect == lesion.label] for lesion in patient.lesions if "spect" in lesion.visible_on
    ]
    assert min(h.mean() for h in hot) > 2 * spect_object.pixel_array[on_spect == 0].mean()


@slow
def test_everything_that_names_a_person_says_synthetic(ct_slices, spect_object):
    for dataset in (ct_slices[0], spect_object):
        for keyword in ("PatientID", "PatientName", "ImageComments", "ManufacturerModelName", "StudyDescription"):
            assert "SYNTHETIC" in str(dataset[keyword].value), keyword
    assert ct_slices[0].StudyInstanceUID == spect_object.StudyInstanceUID


def test_a_count_below_one_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at least 1"):
        generate(0, 1, tmp_path)


@slow
@pytest.mark.peer
def test_dciodvfy_finds_no_error(study):
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (dicom3tools) is not installed")
    for path in (study / "SPECT" / "spect.dcm", study / "CT" / "0001.dcm", *(study / "LOCALISER").glob("*.dcm")):
        run = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, timeout=60, check=False)
        assert [line for line in (run.stdout + run.stderr).splitlines() if line.startswith("Error")] == []
