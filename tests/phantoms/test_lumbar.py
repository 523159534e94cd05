"""Simulated lumbar patients as arrays: order of axes and levels, which structure lies where, sizes, presets.

One anatomy with two looks and one patient of another preset serve all tests; what they look like is not tested here.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy import ndimage

from pipelines.phantoms.lumbar import STRUCTURES, draw_lumbar, render_lumbar, simulate_lumbar

BODY, DISC, CANAL, FORAMEN, CORD, SACRUM = (
    STRUCTURES.index(name)
    for name in (
        "vertebral body",
        "intervertebral disc",
        "spinal canal",
        "neural foramen",
        "spinal cord and cauda equina",
        "sacrum",
    )
)


@pytest.fixture(scope="module")
def anatomy():
    return draw_lumbar(4)


@pytest.fixture(scope="module")
def patient(anatomy):
    return render_lumbar(anatomy, 0)


@pytest.fixture(scope="module")
def other_look(anatomy):
    return render_lumbar(anatomy, 1)


@pytest.fixture(scope="module")
def centres(patient):
    """Centre of every level in mm from the first voxel: (to the left, down, back)."""
    numbers = range(1, len(patient.level_names) + 1)
    places = np.array(ndimage.center_of_mass(patient.levels > 0, patient.levels, list(numbers)))
    return dict(zip(patient.level_names, places * np.array(patient.spacing_mm), strict=True))


def kind(patient, name):
    """Structures that the voxels of a level have."""
    return set(np.unique(patient.structures[patient.levels == patient.level_names.index(name) + 1]).tolist())


def bodies_of(patient):
    return [n for n in patient.level_names if "/" not in n and n != "S1"]


def test_the_same_seed_and_look_are_the_same_scan(anatomy, patient):
    again = render_lumbar(anatomy, 0)
    assert np.array_equal(again.image, patient.image)
    assert np.array_equal(again.structures, patient.structures)
    assert again.notes == patient.notes


@pytest.mark.slow
def test_drawing_and_rendering_are_what_simulating_does():
    whole = simulate_lumbar(2, "held_out")
    parts = render_lumbar(draw_lumbar(2, "held_out"), 0, "held_out")
    assert np.array_equal(whole.image, parts.image) and np.array_equal(whole.levels, parts.levels)
    assert whole.preset == whole.anatomy_preset == "held_out"


def test_another_look_is_the_same_spine_scanned_otherwise(patient, other_look):
    assert other_look.notes["lumbar_count"] == patient.notes["lumbar_count"]
    assert other_look.notes["pathologies"] == patient.notes["pathologies"]
    assert other_look.image.shape != patient.image.shape
    heights = [
        np.ptp(np.nonzero((scan.levels == scan.level_names.index("L3") + 1).any((0, 2)))[0]) * scan.spacing_mm[1]
        for scan in (patient, other_look)
    ]
    assert heights[0] == pytest.approx(heights[1], abs=4.0)


def test_arrays_share_one_grid_and_hold_plain_numbers(patient):
    assert patient.image.dtype == np.float32 and patient.structures.dtype == patient.levels.dtype == np.uint8
    assert patient.image.shape == patient.structures.shape == patient.levels.shape
    assert np.isfinite(patient.image).all() and patient.image.min() >= 0
    slice_mm, row_mm, column_mm = patient.spacing_mm
    assert 11 <= patient.image.shape[0] <= 24
    assert 3.5 <= patient.slice_thickness_mm <= slice_mm <= 5.7
    assert row_mm == column_mm and 0.5 <= row_mm <= 1.1


def test_every_level_named_is_there_once_and_of_one_kind(patient):
    assert len(set(patient.level_names)) == len(patient.level_names)
    assert set(np.unique(patient.levels)) == set(range(len(patient.level_names) + 1))
    for name in patient.level_names:
        expected = SACRUM if name == "S1" else BODY if "/" not in name else FORAMEN if " " in name else DISC
        assert kind(patient, name) == {expected}, name


def test_levels_exist_exactly_where_a_structure_has_one(patient):
    levelled = np.isin(patient.structures, [BODY, DISC, FORAMEN, SACRUM])
    assert np.array_equal(patient.levels > 0, levelled)


def test_names_run_from_top_to_bottom_without_a_gap(patient, centres):
    names = bodies_of(patient)
    assert names[-1] == f"L{patient.notes['lumbar_count']}" and patient.level_names[-1] == "S1"
    expected = [f"T{n}" for n in range(8, 13)] + [f"L{n}" for n in range(1, patient.notes["lumbar_count"] + 1)]
    assert names == expected[expected.index(names[0]) :]
    heights = [centres[n][1] for n in [*names, "S1"]]
    assert all(lower - upper > 15 for upper, lower in pairwise(heights))


def test_a_disc_lies_between_the_two_bodies_it_is_named_after(patient, centres):
    discs = [n for n in patient.level_names if "/" in n and " " not in n]
    assert len(discs) >= 4
    for name in discs:
        upper, lower = name.split("/")
        if upper in centres and lower in centres:
            assert centres[upper][1] < centres[name][1] < centres[lower][1]
            assert np.abs(centres[name][2] - (centres[upper][2] + centres[lower][2]) / 2) < 15


def test_the_sac_lies_behind_the_bodies_and_the_cord_inside_the_sac(patient, centres):
    sac = np.isin(patient.structures, [CANAL, CORD])
    for name in bodies_of(patient)[1:]:
        row = round(centres[name][1] / patient.spacing_mm[1])
        columns = np.nonzero(sac[:, row].any(0))[0]
        assert columns.size and columns.mean() * patient.spacing_mm[2] > centres[name][2] + 12
    cord = patient.structures == CORD
    inside = ndimage.binary_fill_holes(sac.any(0))
    assert cord.any() and inside[cord.any(0)].all()
    # Cord and roots touch fluid or each other nearly everywhere, never a body.
    around = ndimage.binary_dilation(cord, np.ones((1, 3, 3), bool)) & ~cord
    assert not (patient.structures[around] == BODY).any()
    middle = np.nonzero(cord.any((1, 2)))[0]
    assert np.isin(patient.structures[middle[0] : middle[-1] + 1], [CANAL, CORD]).any()


def test_foramina_lie_on_their_side_behind_their_disc(patient, centres):
    pairs = [n.rsplit(" ", 1)[0] for n in patient.level_names if n.endswith(" left")]
    both = [p for p in pairs if f"{p} right" in centres and p in centres]
    assert len(both) >= 4
    for pair in both:
        right, left, disc = centres[f"{pair} right"], centres[f"{pair} left"], centres[pair]
        assert right[0] < disc[0] < left[0], pair
        assert right[2] > disc[2] + 8 and left[2] > disc[2] + 8
        # A foramen opens above its disc's middle: the pedicle above is its roof.
        assert left[1] < disc[1] + 6


def test_sizes_are_those_of_adults(patient):
    slice_mm, row_mm, column_mm = patient.spacing_mm
    voxel_ml = slice_mm * row_mm * column_mm / 1000
    for name in bodies_of(patient)[1:]:
        mask = patient.levels == patient.level_names.index(name) + 1
        assert 12 < mask.sum() * voxel_ml < 75, name
        assert 26 < mask.any((1, 2)).sum() * slice_mm < 64, name
    for name in (n for n in patient.level_names[4:] if "/" in n):
        volume = (patient.levels == patient.level_names.index(name) + 1).sum() * voxel_ml
        assert (0.1 < volume < 6) if " " in name else (1 < volume < 32), (name, volume)


def test_what_a_reader_must_see_can_be_seen(patient):
    """Fluid is brighter than cord and roots, marrow differs from the rim around the discs."""
    s = patient.structures
    middle = slice(patient.image.shape[0] // 2 - 2, patient.image.shape[0] // 2 + 3)
    means = [float(np.median(patient.image[middle][s[middle] == value])) for value in (CANAL, CORD, BODY)]
    assert means[0] > means[1]
    assert means[0] > means[2]


def test_patients_differ_in_what_the_notes_say():
    from pipelines.phantoms.lumbar.plan import draw_plan, stream

    plans = [draw_plan(stream(seed, "train", 1)) for seed in range(300)]
    counts = [p.lumbar_count for p in plans]
    assert {4, 5, 6} == set(counts) and counts.count(5) > 240
    found = " ".join(text for p in plans for text in p.pathologies)
    for word in ("stenosis", "spondylolisthesis", "wedge fracture", "narrowed disc", "biconcave"):
        assert word in found
    assert {"sacralised L5", "lumbarised S1"} < {p.transitional for p in plans}
    lordosis = [sum(v.disc_wedge + v.body_wedge for v in p.vertebrae[: p.lumbar_count]) for p in plans]
    assert np.percentile(lordosis, 5) < 35 and np.percentile(lordosis, 95) > 62


def test_presets_share_neither_seeds_nor_settings(anatomy):
    from pipelines.phantoms.lumbar.looks import draw_look
    from pipelines.phantoms.lumbar.plan import draw_plan, stream
    from pipelines.phantoms.lumbar.protocol import draw_pack

    assert draw_plan(stream(5, "train", 1)).scale != draw_plan(stream(5, "held_out", 1)).scale
    noise, thickness = {}, {}
    for preset in ("train", "held_out", "domain_shift"):
        rngs = [stream(n, preset, 2) for n in range(30)]
        thickness[preset] = [draw_pack(rng, anatomy, preset).thickness_mm for rng in rngs]
        noise[preset] = [draw_look(rng, anatomy, preset).noise for rng in rngs]
    assert min(noise["domain_shift"]) > np.percentile(noise["train"], 80)
    assert max(thickness["held_out"]) < 4.61 < max(thickness["train"])


def test_an_unknown_preset_is_refused_by_name():
    with pytest.raises(ValueError, match=r"no preset 'vendor'.*train"):
        draw_lumbar(1, "vendor")
