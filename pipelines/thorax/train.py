"""The training recipe of the thorax network.

simulated patients (`planar.dataset`, cached on disk) -> thorax images, of which a share keeps its labels -> `fitting`
-> operating point -> weights and model card.

`paper` keeps the paper's settings (learning rate 5e-4, constant; T from the start; no warm-up; its loss alone);
`default` is what fits two cores. Both use AdamW for the paper's "Adam, weight decay 1e-4": with plain Adam the decay
would be scaled by each weight's gradient. Metrics in the card come from `evaluate`, never from training. Results of
simulated patients say nothing about real ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from pipelines.contract import ComputeOptions
from pipelines.contract.compute import prepare_process
from pipelines.contract.weights import ModelCard, save_model
from pipelines.planar.dataset import DEFAULT_CACHE, build_cache, load_patients
from pipelines.thorax.dataset import cut_all, labelled_patients
from pipelines.thorax.display import GAMMA, UPPER_LEVEL
from pipelines.thorax.engine import AGGREGATED, MODEL, OUTPUTS
from pipelines.thorax.fitting import RECIPES, Recipe, fit
from pipelines.thorax.networks import NETWORK, NetworkSettings, RecurrentThoraxNetwork
from pipelines.thorax.operating_point import set_operating_point

PAPERS_FRACTION = 0.37
PATIENTS = 400

TrainProgress = Callable[[float, str], None]


def train(
    preset: str = "default",
    patients: int = PATIENTS,
    steps: int | None = None,
    out: Path = Path("weights"),
    seed: int = 0,
    progress: TrainProgress | None = None,
    *,
    labelled_fraction: float = PAPERS_FRACTION,
    aggregated: bool = False,
    seconds: float = 0.0,
    cache: Path = DEFAULT_CACHE,
    workers: int = 2,
    threads: int = 0,
    device: str = "auto",
) -> ModelCard:
    """Train the network and write it with its card.

    Parameters
    ----------
    preset : "default" or "paper". patients : simulated patients (seeds 0 to patients - 1) to learn from.
    steps : None for the preset's. seconds : wall-clock limit, 0 for none; the schedule then follows the clock.
    out : folder of the weights; checkpoints go to `out`/run, and a run found there is resumed.
    labelled_fraction : share of the patients whose labels are used. aggregated : learn from both views added.
    cache : folder of simulated patients, filled if needed.

    Returns
    -------
    ModelCard
        Its metrics are still empty (see `evaluate.measure_into_cards`).

    Raises
    ------
    ValueError
        If the preset does not exist or the fraction is not within [0, 1].
    """
    if preset not in RECIPES:
        raise ValueError(f"there is no training preset '{preset}'; known: {', '.join(RECIPES)}")
    recipe = RECIPES[preset]
    where = prepare_process(ComputeOptions(device=device, threads=threads)).name
    recipe = replace(recipe, loop=replace(recipe.loop, steps=steps or recipe.loop.steps, seconds=seconds).on(where))
    labelled = labelled_patients(range(patients), labelled_fraction)
    torch.manual_seed(seed)
    network = RecurrentThoraxNetwork()
    folder = build_cache(cache, range(patients), "train", workers, _part(progress, 0.0, 0.1))
    images = cut_all(load_patients(folder, range(patients)), labelled, aggregated)
    done = fit(network, images, recipe, out / "run", seed, where, _part(progress, 0.1, 0.95))
    threshold = set_operating_point(network, [image for image in images if image.labelled])
    card = card_of(preset, recipe, network.settings, patients, labelled_fraction, aggregated, seed, done, threshold)
    return save_model(network.state_dict(), card, out)


def card_of(
    preset: str, recipe: Recipe, network: NetworkSettings, patients: int, labelled_fraction: float, aggregated: bool,
    seed: int, steps: int, threshold: float | None,
) -> ModelCard:  # fmt: skip
    """Compose the model card of a training run."""
    facts: dict[str, Any] = {
        "preset": preset,
        "labelled_fraction": labelled_fraction,
        AGGREGATED: aggregated,
        "batch": recipe.batch,
        "warm_up": recipe.warm_up,
        "labelled_share": recipe.labelled_share,
        "operating_point": threshold,
        "loss": asdict(recipe.loss),
        **asdict(recipe.loop),
    }
    return ModelCard(
        name=MODEL,
        version=f"0.1.{steps}",
        pipeline="thorax",
        network=NETWORK,
        network_parameters=network.as_parameters(),
        input=(
            "float32 (n, 1, 256, 256): the thorax of one view of a whole-body bone scan "
            + ("(or of both added, halved) " if aggregated else "")
            + f"on the working grid (2.26 mm), counts over {UPPER_LEVEL:g} times the reference level to the power of "
            f"{GAMMA:g}, clipped to [0, 1], 1 = hottest"
        ),
        outputs=OUTPUTS,
        training_data=(
            f"simulated patients only: {patients} patients of pipelines.phantoms, preset train, seeds 0 to "
            f"{patients - 1}, labels of {100 * labelled_fraction:g} % of them"
        ),
        simulated_only=True,
        recipe=facts,
        seed=seed,
        steps=steps,
        licence="Apache-2.0",
        intended_use="Research only. Trained and measured on simulated patients; not for diagnosis.",
    )


def _part(progress: TrainProgress | None, low: float, high: float) -> TrainProgress | None:
    if progress is None:
        return None
    return lambda share, message: progress(low + (high - low) * share, message)
