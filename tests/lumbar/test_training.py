"""The recipe: what the cache keeps of a patient, what the networks are shown, the loss, a run that goes on.

Covered: labels by the largest share, boxes that hold the structures whatever way the patient is turned, parts of the
grid, a loss that lets no class die. Not covered: how well a network learns (the model cards say), the simulation
(tests/phantoms).
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from pipelines.contract import WeightsError  # noqa: E402
from pipelines.contract.weights import load_model  # noqa: E402
from pipelines.lumbar import grid  # noqa: E402
from pipelines.lumbar import train as recipe  # noqa: E402
from pipelines.lumbar.classes import BODY, CLASSES, PAPER_STRUCTURES, SACRUM  # noqa: E402
from pipelines.lumbar.dataset import (  # noqa: E402
    PIXEL_MM,
    TrainingVolume,
    cache_folder,
    cached_paths,
    prepare_volume,
    read_volume,
    write_volume,
)
from pipelines.lumbar.networks import NetworkSettings, UNet3d  # noqa: E402
from pipelines.lumbar.sampling import (  # noqa: E402
    COARSE_SAMPLING,
    FINE_SAMPLING,
    VolumeSampler,
    draw_sample,
    fine_region,
    whole,
)
from pipelines.phantoms.lumbar import simulate_lumbar  # noqa: E402
from pipelines.training.augment_slices import rotation_about  # noqa: E402
from pipelines.training.loop import LoopSettings  # noqa: E402
from tests.lumbar.drawn_spine import label_at  # noqa: E402


def drawn(slices: int = 14, rows: int = 240, columns: int = 160) -> TrainingVolume:
    """The spine of boxes at 1.2 mm, its image its labels with some noise."""
    z, y, x = 225 - 1.2 * np.arange(rows), -85 + 1.2 * np.arange(columns), 4.0 * (np.arange(slices) - slices / 2 + 0.5)
    grid_mm = np.stack(np.broadcast_arrays(x[:, None, None], y[None, None, :], z[None, :, None]), -1)
    labels = label_at(grid_mm)
    noise = np.random.default_rng(3).normal(0, 0.02, labels.shape)
    return TrainingVolume((0.2 + labels / 8 + noise).astype(np.float16), labels, (4.0, 1.2, 1.2))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache of two patients, one scanned twice."""
    folder = cache_folder(tmp_path, "train")
    folder.mkdir()
    for seed, look in ((0, 0), (0, 1), (7, 0)):
        write_volume(folder / f"{seed:06d}-{look}.npz", drawn())
    return tmp_path


def test_a_prepared_patient_keeps_place_and_share_of_every_structure() -> None:
    patient = simulate_lumbar(3, "train")
    volume = prepare_volume(patient)
    assert volume.spacing_mm[1:] == pytest.approx((PIXEL_MM, PIXEL_MM), rel=0.02) or (
        volume.labels.shape == patient.structures.shape
    )
    mm3 = [float(np.prod(s)) for s in (patient.spacing_mm, volume.spacing_mm)]
    for k in range(1, len(CLASSES)):
        before, after = (patient.structures == k).sum() * mm3[0], (volume.labels == k).sum() * mm3[1]
        assert after == pytest.approx(before, rel=0.15, abs=200), CLASSES[k]
    held = volume.image.astype(float)
    assert np.percentile(held, 0.1) == pytest.approx(0, abs=0.01) and np.percentile(held, 99.9) == pytest.approx(
        1, abs=0.01
    )


def test_a_cached_volume_is_read_as_it_was_written_and_half_written_ones_are_not_there(cache: Path) -> None:
    folder = cache_folder(cache, "train")
    (folder / ".000009-0.partial.npz").write_bytes(b"half")
    assert [path.name for path in cached_paths(folder)] == ["000000-0.npz", "000000-1.npz", "000007-0.npz"]
    back, volume = read_volume(cached_paths(folder)[0]), drawn()
    assert (back.labels == volume.labels).all() and (back.image == volume.image).all()
    assert back.spacing_mm == pytest.approx(volume.spacing_mm)


def test_a_sampler_draws_its_own_patients_and_finds_those_that_come_later(cache: Path) -> None:
    folder = cache_folder(cache, "train")
    assert VolumeSampler(folder, range(5), FINE_SAMPLING, 1, 0).patients == 1
    sampler = VolumeSampler(folder, range(20), FINE_SAMPLING, 1, 0)
    assert sampler.patients == 2
    write_volume(folder / "000011-0.npz", drawn())
    sampler.drawn = 99
    next(sampler)
    assert sampler.patients == 3
    with pytest.raises(FileNotFoundError, match="build the cache first"):
        VolumeSampler(folder, range(100, 110), FINE_SAMPLING, 1, 0)


@pytest.mark.parametrize("stage", [COARSE_SAMPLING, FINE_SAMPLING], ids=["coarse", "fine"])
def test_samples_are_parts_of_the_stage_s_grid_normalised_as_at_inference(stage) -> None:
    for seed in range(4):
        image, labels = draw_sample(drawn(), stage, np.random.default_rng(seed))
        assert image.shape == labels.shape == (*stage.part, stage.size[1])
        assert labels.dtype == torch.int64 and int(labels.max()) < len(CLASSES)
        assert (labels > 0).any()
    image, _ = draw_sample(drawn(slices=16), whole(stage), np.random.default_rng(1))
    assert image.shape == (grid.SLICES, *stage.size)
    assert float(image[1:-1].mean()) == pytest.approx(0, abs=0.25)


def test_image_and_labels_of_a_sample_belong_together() -> None:
    plain = replace(FINE_SAMPLING.augment, gamma=(1.0, 1.0), bias=0.0, slice_gain=0.0, blur_share=0.0, noise_share=0.0)
    image, labels = draw_sample(drawn(), replace(FINE_SAMPLING, augment=plain), np.random.default_rng(5))
    means = [float(image[labels == k].mean()) for k in (0, BODY, SACRUM) if (labels == k).sum() > 300]
    assert means == sorted(means) and len(means) >= 2
    # The drawn image is its labels: within a class nothing but noise and blurred edges is left.
    assert float(image[labels == BODY].std()) < 0.5 * float(image.std())


@pytest.mark.parametrize("degrees", [-14.0, 0.0, 14.0])
def test_the_fine_box_holds_the_structures_of_a_turned_patient(degrees: float) -> None:
    volume = drawn()
    angle, centre = math.radians(degrees), (120.0, 80.0)
    held = np.argwhere(np.isin(volume.labels, PAPER_STRUCTURES).any(0)) + 0.5
    turned = rotation_about(held, angle, np.array(centre))
    shares = []
    for seed in range(30):
        box = fine_region(volume.image, volume.labels, angle, centre, np.random.default_rng(seed))
        top, bottom, left, right = box
        shares.append(float(((turned >= (top, left)) & (turned < (bottom, right))).all(1).mean()))
    # One in ten is cut on purpose, as after a coarse stage that lost some; margins may be slightly negative.
    assert np.median(shares) > 0.95 and min(shares) > 0.5
    assert np.mean(np.array(shares) > 0.9) >= 0.75


def logits_of(labels: torch.Tensor, sure: float) -> torch.Tensor:
    return sure * torch.nn.functional.one_hot(labels, len(CLASSES)).movedim(-1, 1).float()


class Fixed(torch.nn.Module):
    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = torch.nn.Parameter(logits)

    def forward(self, _: torch.Tensor) -> torch.Tensor:
        return self.logits


def test_the_loss_is_zero_for_the_truth_and_two_and_more_for_its_opposite() -> None:
    labels = torch.zeros(1, 4, 8, 8, dtype=torch.int64)
    labels[:, :2, :4] = BODY
    volumes = torch.zeros(1, 1, 4, 8, 8)
    wrong = torch.where(labels == BODY, 0, BODY)
    right, opposite = (
        recipe.segmentation_loss(Fixed(logits_of(said, 30)), (volumes, labels)).item() for said in (labels, wrong)
    )
    assert right == pytest.approx(0, abs=1e-3) and opposite > 1.9


def test_a_structure_that_a_batch_lacks_is_not_pushed_away_by_the_dice_term() -> None:
    # The cross-entropy alone may lower an absent class; the Dice term must leave it as it is.
    labels = torch.zeros(1, 4, 8, 8, dtype=torch.int64)
    labels[:, :2, :4] = BODY
    network = Fixed(torch.zeros(1, len(CLASSES), 4, 8, 8))
    loss = recipe.segmentation_loss(network, (torch.zeros(1, 1, 4, 8, 8), labels))
    (loss - torch.nn.functional.cross_entropy(network.logits, labels)).backward()
    absent, present = network.logits.grad[:, SACRUM].abs().sum(), network.logits.grad[:, BODY].abs().sum()
    # Softmax couples the classes: what is left is the share that raising BODY takes from every other class.
    assert float(absent) < 0.2 * float(present)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A preset that a test can afford: the narrowest network, samples of a few slices and rows."""
    network = NetworkSettings(base_width=8)
    loop = LoopSettings(steps=3, precision="fp32", warmup=1, average=0.5)
    preset = recipe.Preset(network, network, loop, loop, batch=1, parts=True)
    monkeypatch.setattr(recipe, "PRESETS", {"default": preset})
    monkeypatch.setattr(recipe, "FINE_SAMPLING", replace(FINE_SAMPLING, size=(64, 32), part=(4, 32)))


def test_a_run_writes_weights_and_a_card_that_say_what_was_done_and_another_goes_on_from_them(
    cache: Path, small: None, tmp_path: Path
) -> None:
    out, more = tmp_path / "first", tmp_path / "second"
    (card,) = recipe.train(patients=8, out=out, only="fine", cache=cache, threads=1, device="cpu")
    assert (card.name, card.steps, card.simulated_only) == ("lumbar-fine", 3, True)
    assert "2 patients" in card.training_data and card.recipe["loss"].startswith("Dice")
    (further,) = recipe.train(
        patients=8, out=more, only="fine", cache=cache, threads=1, device="cpu", start=out, steps=1, learning_rate=1e-12
    )
    assert further.steps == 4 and further.recipe["start"]["sha256"] == card.sha256
    first, second = (load_model("lumbar-fine", [folder])[0] for folder in (out, more))
    # One step at no rate: the weights it went on from, in half precision.
    assert all(torch.allclose(first[key].float(), second[key].float(), atol=2e-3) for key in first)


def test_weights_of_another_width_are_no_start(cache: Path, small: None, tmp_path: Path) -> None:
    out = tmp_path / "wide"
    (card,) = recipe.train(patients=8, out=out, only="fine", cache=cache, threads=1, device="cpu", steps=1)
    recipe.save_model(UNet3d(NetworkSettings(base_width=16)).state_dict(), card, out)
    with pytest.raises(WeightsError, match="another network"):
        recipe.train(
            patients=8, out=tmp_path / "x", only="fine", cache=cache, threads=1, device="cpu", steps=1, start=out
        )


def test_unknown_presets_and_stages_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no training preset 'fast'"):
        recipe.train(preset="fast", out=tmp_path)
    with pytest.raises(ValueError, match="'middle' is unknown"):
        recipe.train(only="middle", out=tmp_path)
