"""What a worker loads its networks with: the weights that the site installed before those that ship."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from node.cli.models import models
from node.jobs.app import Enqueuer
from node.jobs.device import compute_options
from node.jobs.heartbeat import Heartbeat
from node.jobs.infer import JobRunner, Outcome
from node.registry.database import Registry
from node.storage import LocalStorage
from pipelines.contract import ComputeOptions
from pipelines.contract.weights import find_models, shipped_folders
from pipelines.thorax.engine import Engine
from tests.fixtures.queue import MadeJob, configuration
from tests.jobs.tiny_pipeline import TinyPipeline

MODEL = "thorax-network"


@pytest.fixture
def registry(sqlite_registry: Registry) -> Registry:
    return sqlite_registry


class WithNetwork(TinyPipeline):
    """Loads a real network as the pipelines do, and remembers the version of its card."""

    version_loaded = ""

    def load(self, options: ComputeOptions) -> None:
        type(self).version_loaded = Engine.load(options).card.version


def site_copy(folder: Path, version: str) -> Path:
    """A model of the site's own: the shipped weights under a version that never shipped; returns its card."""
    (shipped,) = [model for model in find_models(shipped_folders()) if model.name == MODEL]
    assert shipped.card is not None
    folder.mkdir()
    shutil.copyfile(shipped.weights_path, folder / shipped.weights_path.name)
    card = folder / shipped.card_path.name
    card.write_text(shipped.card.model_copy(update={"version": version}).model_dump_json())
    return card


def test_a_job_is_computed_with_the_weights_that_were_installed_in_the_data_folder(
    tmp_path: Path, registry: Registry, storage: LocalStorage, heartbeat: Heartbeat, deaf_enqueuer: Enqueuer,
    queue_job: Callable[..., MadeJob],
) -> None:  # fmt: skip
    card = site_copy(tmp_path / "trained", "the site's own")
    installed = CliRunner().invoke(models, ["install", str(card), "--data", str(tmp_path)])
    assert installed.exit_code == 0, installed.output
    runner = JobRunner(
        configuration(tmp_path), registry, storage, heartbeat, deaf_enqueuer, "w@h:1",
        load_class={"tiny": WithNetwork}.__getitem__,
    )  # fmt: skip
    assert runner.run(queue_job().job_id).outcome is Outcome.DONE
    assert WithNetwork.version_loaded == "the site's own"


def test_a_folder_of_weights_in_the_settings_takes_the_place_of_the_data_folders(tmp_path: Path) -> None:
    chosen = configuration(tmp_path, worker={"weights_dir": str(tmp_path / "elsewhere")})
    assert compute_options(chosen).weights_dir == chosen.weights_dir == tmp_path / "elsewhere"


def test_without_weights_of_the_site_those_that_ship_are_loaded(tmp_path: Path) -> None:
    (shipped,) = [model for model in find_models(shipped_folders()) if model.name == MODEL]
    assert shipped.card is not None
    assert Engine.load(compute_options(configuration(tmp_path))).card.version == shipped.card.version
