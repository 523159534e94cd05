"""The canonical grids and the way back, and the cascade around networks whose answers are known.

How well the shipped weights segment is not tested here: the model cards say what was measured. The networks are
replaced by ones that answer by grey value, so that every step between volume and label map can be checked.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from pipelines.contract import ComputeOptions, WeightsError  # noqa: E402
from pipelines.contract.compute import Device  # noqa: E402
from pipelines.contract.weights import ModelCard, save_model  # noqa: E402
from pipelines.lumbar import grid, rib_network  # noqa: E402
from pipelines.lumbar.cascade import COARSE, FINE, NO_SPINE, SMALL_BOX, LumbarCascade, blend_windows  # noqa: E402
from pipelines.lumbar.classes import BODY, CANAL, CLASSES  # noqa: E402
from pipelines.lumbar.networks import NETWORK, NetworkSettings, UNet3d  # noqa: E402

SPACING = (4.0, 0.7, 0.7)
AIR = -100.0


class ByGreyValue(torch.nn.Module):
    """Calls the bright body, the dark canal, what lies between background: thresholds on the z-scored input.

    So the blurred edge of one structure is never taken for the other.
    """

    def __init__(self, body: float, canal: float) -> None:
        super().__init__()
        self.body, self.canal = body, canal
        self.seen: list[tuple[int, ...]] = []

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        self.seen.append(tuple(volume.shape))
        logits = torch.zeros((1, len(CLASSES), *volume.shape[2:]))
        logits[:, BODY] = 40 * (volume[:, 0] - self.body)
        logits[:, CANAL] = 40 * (self.canal - volume[:, 0])
        return logits


class Nothing(ByGreyValue):
    """Finds background everywhere."""

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        logits = super().forward(volume)
        return logits.zero_().index_fill_(1, torch.tensor([0]), 1.0)


def cascade(coarse=None, fine=None):
    device = Device("cpu", "CPU")
    ribs = rib_network.RibReader(rib_network.RibNetwork(), rib_card({}), device)
    return LumbarCascade(coarse or ByGreyValue(1, -1), fine or ByGreyValue(0.7, -1.2), ribs, (), device, "fp32")


def spine(slices=16, rows=320, columns=260):
    """A dark canal behind bright bodies in grey tissue, off the middle; returns the volume and its truth."""
    truth = np.zeros((slices, rows, columns), np.uint8)
    truth[slices // 4 : -(slices // 4), 60:270, 120:165] = BODY
    truth[slices // 4 : -(slices // 4), 60:270, 170:186] = CANAL
    volume = np.choose(truth, [100.0, 300.0, 0.0, -100.0]).astype(np.float32)
    volume[:, :, :30] = volume[:, :, 230:] = AIR
    volume += np.random.default_rng(0).normal(0, 4, volume.shape).astype(np.float32)
    return volume, truth


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_the_label_map_lies_on_the_source_grid_where_the_structures_are():
    volume, truth = spine()
    result = cascade().segment(volume, SPACING)
    assert result.labels.shape == volume.shape and result.labels.dtype == np.uint8
    assert result.flags == ()
    for structure in (BODY, CANAL):
        assert dice(result.labels == structure, truth == structure) > 0.96
        found, true = (np.argwhere(m == structure).mean(0) for m in (result.labels, truth))
        assert found == pytest.approx(true, abs=0.3)
    assert result.confidence.shape == volume.shape
    assert result.confidence[truth == BODY].astype(float).mean() > 0.9


def test_the_fine_stage_sees_the_box_of_the_coarse_structures_with_margins():
    volume, _ = spine()
    fine = ByGreyValue(0.7, -1.2)
    result = cascade(fine=fine).segment(volume, SPACING)
    (top, bottom), (left, right) = result.box
    assert (top, bottom) == pytest.approx((60 - 0.05 * 210, 270 + 0.05 * 210), abs=3)
    assert (left, right) == pytest.approx((120 - 0.15 * 66, 186 + 0.15 * 66), abs=4)
    assert fine.seen == [(1, 1, grid.SLICES, *grid.FINE_SIZE)]
    outside = np.ones(volume.shape, bool)
    outside[:, top:bottom, left:right] = False
    assert not result.labels[outside].any()


def test_an_empty_coarse_stage_means_the_whole_image_and_a_flag():
    volume, truth = spine()
    result = cascade(coarse=Nothing(0, 0)).segment(volume, SPACING)
    assert result.flags == (NO_SPINE,)
    # All rows, and the columns without the air at both sides.
    assert result.box[0] == (0, volume.shape[1])
    assert result.box[1] == pytest.approx((30, 230), abs=2)
    assert dice(result.labels == CANAL, truth == CANAL) > 0.9


def test_a_box_too_low_for_a_lumbar_spine_is_flagged():
    volume, _ = spine()
    volume[:, 150:, 30:230] = 100.0
    assert cascade().segment(volume, SPACING).flags == (SMALL_BOX,)


@pytest.mark.parametrize("slices", [5, 11, 16, 17, 20, 24, 35])
def test_any_number_of_slices_goes_through_windows_of_sixteen(slices):
    volume, truth = spine(slices, rows=160, columns=140)
    truth = truth[:, :, :140]
    volume[:, :, 100:] = AIR
    coarse = ByGreyValue(0.5, -5)
    result = cascade(coarse=coarse).segment(volume, (4.0, 1.4, 1.4))
    assert result.labels.shape == volume.shape
    assert all(shape[2] == grid.SLICES for shape in coarse.seen)
    assert len(coarse.seen) == len(grid.window_starts(slices))


def test_windows_cover_every_slice_and_overlap_by_half():
    for slices in range(1, 60):
        starts = grid.window_starts(slices)
        covered = np.zeros(max(slices, grid.SLICES), int)
        for first in starts:
            covered[first : first + grid.SLICES] += 1
        assert covered.min() >= 1 and starts[-1] + grid.SLICES <= max(slices, grid.SLICES)
        assert all(b - a <= grid.WINDOW_STEP for a, b in itertools.pairwise(starts))


def test_blending_windows_gives_back_what_every_window_agrees_on():
    torch.manual_seed(0)
    for slices in (7, 16, 21, 40):
        stack = torch.rand(slices, 4, 3)
        blended = blend_windows(stack, lambda window: torch.stack([window, 1 - window], 1))
        assert torch.allclose(blended[:, 0], stack, atol=1e-6)
        assert torch.allclose(blended.sum(1), torch.ones(slices, 4, 3), atol=1e-6)


def test_where_windows_disagree_the_nearer_middle_counts_more():
    calls = []

    def first_window_only(window):
        calls.append(None)
        return torch.full((grid.SLICES, 1, 1, 1), 1.0 if len(calls) == 1 else 0.0)

    blended = blend_windows(torch.zeros(24, 1, 1), first_window_only).flatten()
    assert blended[:8].tolist() == [1] * 8 and blended[16:].tolist() == [0] * 8
    assert (blended[8:16].diff() < 0).all()


def test_thin_slices_are_averaged_and_come_back_on_their_own_grid():
    volume, _ = spine(slices=48, rows=160, columns=140)
    volume[:, :, 100:] = AIR
    coarse = ByGreyValue(0.5, -5)
    result = cascade(coarse=coarse).segment(volume, (1.0, 1.4, 1.4))
    assert result.labels.shape == volume.shape
    # 48 slices of 1 mm are 12 of 4 mm, which fit one window.
    assert len(coarse.seen) == 1
    assert grid.slice_groups(48, 1.0)[1] == slice(4, 8)
    assert [len(range(*g.indices(48))) for g in grid.slice_groups(48, 4.0)] == [1] * 48


def test_the_box_ignores_specks_and_stays_inside_the_image():
    mask = np.zeros((3, 100, 80), bool)
    mask[1, 10:60, 20:40] = True
    mask[2, 95, 75] = True
    box = grid.structure_box(mask)
    assert box == grid.Box((7, 63), (17, 43))
    mask[0, 0:90, 20:30] = True
    assert grid.structure_box(mask).rows == (0, 95)
    assert grid.structure_box(np.zeros((2, 5, 5), bool)) is None


def test_air_at_the_sides_is_left_out_even_if_it_is_not_black():
    volume, _ = spine()
    assert grid.body_box(volume).columns == pytest.approx((30, 230), abs=2)
    assert grid.body_box(np.full((4, 20, 20), 7.0)).columns == (0, 20)


def test_normalising_clips_half_a_percent_and_centres():
    volume = torch.rand(16, 64, 64, generator=torch.Generator().manual_seed(0)) * 50 + 10
    volume[0, 0, 0] = 1e6
    shown = grid.normalise(volume)
    assert float(shown.mean()) == pytest.approx(0, abs=1e-4)
    assert float(shown.std()) == pytest.approx(1, abs=1e-3)
    # A uniform distribution reaches to sqrt(3) standard deviations; one hot pixel changes nothing.
    assert float(shown.max()) == pytest.approx(3**0.5, abs=0.06)


def test_a_volume_that_cannot_be_segmented_is_refused():
    with pytest.raises(ValueError, match="axes"):
        cascade().segment(np.zeros((10, 10)), SPACING)
    with pytest.raises(ValueError, match="not finite"):
        cascade().segment(np.full((4, 32, 32), np.nan), SPACING)


def test_the_volumes_unit_and_offset_do_not_matter():
    volume, _ = spine()
    first, second = (cascade().segment(v, SPACING) for v in (volume, volume * 3.7 - 500))
    assert (first.labels == second.labels).mean() > 0.9999


def card(name, parameters, network=NETWORK, outputs=CLASSES):
    return ModelCard(
        name=name,
        version="0",
        pipeline="lumbar",
        network=network,
        network_parameters=parameters,
        input="test",
        outputs=outputs,
        training_data="none",
        simulated_only=True,
        seed=0,
        steps=0,
        licence="Apache-2.0",
        intended_use="test",
    )


def rib_card(parameters):
    return card(rib_network.MODEL, parameters, rib_network.NETWORK, rib_network.OUTPUTS)


def test_weights_are_loaded_as_their_cards_say_and_run_in_both_precisions(tmp_path):
    torch.manual_seed(0)
    small = NetworkSettings(base_width=8, flat_levels=4)
    for name in (COARSE, FINE):
        save_model(UNet3d(small).state_dict(), card(name, small.to_card()), tmp_path)
    narrow = {"widths": [8, 8]}
    save_model(rib_network.RibNetwork(**narrow).state_dict(), rib_card(narrow), tmp_path)
    volume, _ = spine(slices=8, rows=96, columns=80)
    for precision in ("fp32", "bf16"):
        loaded = LumbarCascade.load(ComputeOptions(device="cpu", precision=precision, weights_dir=tmp_path))
        assert [c.name for c in loaded.cards] == [COARSE, FINE, rib_network.MODEL]
        assert loaded.coarse_labels(volume).shape == (8, *grid.COARSE_SIZE)


def test_weights_of_another_network_are_refused_by_name(tmp_path):
    network = UNet3d(NetworkSettings(base_width=8))
    save_model(network.state_dict(), card(COARSE, NetworkSettings(base_width=16).to_card()), tmp_path)
    with pytest.raises(WeightsError, match=r"lumbar-coarse 0: the weights do not fit"):
        LumbarCascade.load(ComputeOptions(device="cpu", weights_dir=tmp_path))
    other = card(COARSE, {}).model_copy(update={"outputs": ("background", "disc")})
    save_model(network.state_dict(), other, tmp_path)
    with pytest.raises(WeightsError, match="Install weights made for it"):
        LumbarCascade.load(ComputeOptions(device="cpu", weights_dir=tmp_path))
