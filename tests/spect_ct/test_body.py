"""Which parts of a field are body: drawn trunks, legs, arms and couches, and a simulated patient.

Extents are those of the drawing, in millimetres; nothing of the code is asked for them.
"""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.spect_ct import body
from pipelines.spect_ct.grid import Lattice, Prepared, Voxels, common_lattice, prepare, share_outside
from pipelines.spect_ct.lesions import LesionMap
from pipelines.spect_ct.uses import SPECT
from pipelines.spect_ct.wording import limitations
from tests.spect_ct.drawn_study import Field

AXIAL = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
FIELD = Field((12, 150, 250), (4.0, 2.0, 2.0), (-249.0, -149.0, 0.0))
SPECT_FIELD = Field((10, 64, 128), (4.8, 4.8, 4.8), (-304.8, -151.2, 0.0))


def placed(values: np.ndarray, field: Field = FIELD) -> Voxels:
    return Voxels(values, field.spacing_mm, np.array(field.origin_mm), AXIAL)


def tubes(*drawn: tuple[float, float, float, float], field: Field = FIELD) -> np.ndarray:
    """Upright elliptic cylinders: middle x, middle y, half width, half depth (mm)."""
    x, y, _ = field.coordinates()
    found = np.zeros(field.shape, bool)
    for middle_x, middle_y, wide, deep in drawn:
        found |= ((x - middle_x) / wide) ** 2 + ((y - middle_y) / deep) ** 2 <= 1
    return found


def ct_of(mask: np.ndarray) -> Voxels:
    return placed(np.where(mask, 40, -1000).astype(np.float32))


def couch() -> np.ndarray:
    """Two skins of 2 mm, 20 mm apart and 420 mm wide, 10 mm below a trunk of 200 mm."""
    x, y, _ = FIELD.coordinates()
    return (np.abs(x) < 210) & (((y > 110) & (y < 113)) | ((y > 131) & (y < 134)))


TRUNK, ARM, OTHER_ARM = (0.0, 0.0, 150.0, 100.0), (205.0, 20.0, 30.0, 35.0), (-205.0, 20.0, 30.0, 35.0)
LEFT_LEG, RIGHT_LEG = (110.0, 0.0, 70.0, 75.0), (-110.0, 0.0, 72.0, 75.0)


def reach_x(lattice: Lattice) -> tuple[float, float]:
    """The outer edges of a grid from right to left, LPS mm."""
    low = lattice.origin_mm[0] - lattice.spacing_mm[2] / 2
    return low, low + lattice.shape[2] * lattice.spacing_mm[2]


@pytest.mark.parametrize(
    "parts", [(LEFT_LEG, RIGHT_LEG), (TRUNK, ARM), (TRUNK, OTHER_ARM), (TRUNK, ARM, OTHER_ARM)],
    ids=["two legs", "left arm", "right arm", "two arms"],
)  # fmt: skip
def test_the_grid_holds_every_limb_of_the_body(parts):
    ct = ct_of(tubes(*parts))
    lattice = common_lattice(None, ct)
    low, high = reach_x(lattice)
    assert low <= min(x - wide for x, _, wide, _ in parts) and high >= max(x + wide for x, _, wide, _ in parts)
    assert share_outside(ct, True, lattice) == 0


def test_a_couch_and_small_things_beside_the_trunk_leave_the_grid_as_it_is():
    trunk = tubes(TRUNK)
    bottle = tubes((220.0, -60.0, 12.0, 12.0))
    alone, beside = (common_lattice(None, ct_of(mask)) for mask in (trunk, trunk | couch() | bottle))
    assert alone.shape == beside.shape
    assert alone.origin_mm == pytest.approx(beside.origin_mm)
    assert share_outside(ct_of(trunk | couch()), True, alone) == 0


def test_both_legs_of_a_spect_alone_are_on_the_grid():
    counts = np.where(tubes(LEFT_LEG, RIGHT_LEG, field=SPECT_FIELD), 100, 0).astype(np.float32)
    low, high = reach_x(prepare(placed(counts, SPECT_FIELD), None).lattice)
    assert low <= -182 and high >= 180


def test_an_arm_that_only_the_spect_shows_is_told_to_lie_beside_the_grid():
    spect = placed(np.where(tubes(TRUNK, ARM, field=SPECT_FIELD), 100, 0).astype(np.float32), SPECT_FIELD)
    prepared = prepare(spect, ct_of(tubes(TRUNK)))
    # The arm is 30 x 35 of 150 x 100 + 30 x 35; the grid of 320 mm ends at x = 160, before it begins.
    assert prepared.outside == pytest.approx(1050 / 16050, abs=0.015)
    said = " ".join(told(prepared))
    assert "of the body that the images show" in said and "lies beside the area that was analysed" in said
    whole = prepare(placed(np.where(tubes(TRUNK, field=SPECT_FIELD), 100, 0), SPECT_FIELD), ct_of(tubes(TRUNK)))
    assert whole.outside == 0 and "beside the area" not in " ".join(told(whole))


def told(prepared: Prepared) -> tuple[str, ...]:
    nothing = LesionMap(np.zeros(prepared.lattice.shape, np.uint16), prepared.lattice, ())
    return limitations(SPECT, prepared, nothing, (), (), "", ())


def test_a_field_without_a_body_is_an_error():
    with pytest.raises(ValueError, match="the CT shows no body"):
        body.body_box(ct_of(np.zeros(FIELD.shape, bool)), is_ct=True)


@pytest.mark.slow
def test_the_trunk_of_a_simulated_patient_on_a_couch_gives_the_grid_of_its_largest_part(monkeypatch):
    from pipelines.phantoms.spect_ct import simulate_spect_ct
    from pipelines.spect_ct import truth

    patient = simulate_spect_ct(500_000, "held_out", stack=(30, 18))
    spect, ct = (
        truth.placed(values, grid)
        for values, grid in ((patient.spect, patient.spect_grid), (patient.ct, patient.ct_grid))
    )
    assert patient.patient.pose.arms == "up" and patient.settings.ct.table
    pairs = ((spect, ct), (spect, None), (None, ct))
    now = [common_lattice(*pair) for pair in pairs]
    monkeypatch.setattr(body, "LIMB_SHARE", 2.0)  # no further part is larger than the largest
    for one, before in zip(now, [common_lattice(*pair) for pair in pairs], strict=True):
        assert one.shape == before.shape
        assert one.origin_mm == pytest.approx(before.origin_mm)
    assert share_outside(ct, True, now[0]) == 0 and share_outside(spect, False, now[0]) < 0.01
