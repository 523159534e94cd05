"""`osteon models` on folders of weights: what it lists, and that a changed byte does not pass."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from node.cli.models import models
from pipelines.contract import weights as store

SPECT_CT = "spect-ct-mt-unet"


def osteon_models(*arguments: str) -> Result:
    """Run `osteon models` in this process."""
    return CliRunner().invoke(models, arguments)


def card_of(name: str) -> store.ModelCard:
    (found,) = [m for m in store.find_models(store.shipped_folders()) if m.name == name]
    assert found.card is not None
    return found.card


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A node's data folder whose own weights folder holds a copy of one shipped model."""
    (shipped,) = [m for m in store.find_models(store.shipped_folders()) if m.name == SPECT_CT]
    done = osteon_models("install", str(shipped.card_path), "--data", str(tmp_path))
    assert done.exit_code == 0, done.output
    return tmp_path


def test_each_shipped_pipeline_lists_its_figures_a_line_each_beside_the_papers(tmp_path: Path) -> None:
    done = osteon_models("list", "--data", str(tmp_path))
    assert done.exit_code == 0
    lines = done.output.splitlines()
    held = card_of(SPECT_CT).metrics["held_out"]["uses"]["ct"]
    (ct,) = [line.split() for line in lines if line.startswith("    dice, CT ")]
    assert ct[2] == f"{held['dice']:.3f}"
    assert ct[-2:] == ["paper", "0.930"]
    assert sum("held_out: " in line for line in lines) == len(store.find_models(store.shipped_folders()))
    assert max(len(line) for line in lines if line.startswith("    ")) < 80


def test_real_volumes_are_not_called_simulated(tmp_path: Path) -> None:
    lines = osteon_models("list", "--data", str(tmp_path)).output.splitlines()
    assert "  real: real patients" in lines
    shown = float(lines[lines.index("  real: real patients") + 1].split()[3])
    (body,) = [r for r in card_of("lumbar-fine").metrics["real"]["structures"] if r["structure"] == "vertebral body"]
    assert shown == pytest.approx(body["dice"], abs=5e-4)


def test_the_sites_copy_is_in_use_and_hides_the_shipped_one(site: Path) -> None:
    rows = json.loads(osteon_models("list", "--json", "--data", str(site)).output)
    mine = [(row["in_use"], Path(row["file"]).is_relative_to(site)) for row in rows if row["name"] == SPECT_CT]
    assert sorted(mine) == [(False, False), (True, True)]


def test_a_changed_byte_is_named_by_verify_which_then_fails(site: Path) -> None:
    assert osteon_models("verify", "--data", str(site)).exit_code == 0
    (weights,) = site.rglob("*.safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    done = osteon_models("verify", "--data", str(site))
    assert done.exit_code == 1
    assert str(weights) in done.output
