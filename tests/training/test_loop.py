"""The training loop on a tiny network: it learns, saves without pickle, and goes on where it stopped."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from pipelines.training import loop  # noqa: E402
from pipelines.training.loop import CHECKPOINT, STATE, LoopSettings, Trainer, learning_rate  # noqa: E402

SETTINGS = LoopSettings(steps=60, learning_rate=0.05, warmup=5, average=0.9, precision="fp32", checkpoint_s=0.0)


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.BatchNorm2d(4), torch.nn.Conv2d(4, 1, 1))


def batches(seed=0):
    generator = torch.Generator().manual_seed(seed)
    while True:
        x = torch.rand(4, 1, 8, 8, generator=generator)
        yield x, 2 * x - 0.5


def loss(net, batch):
    return (net(batch[0]) - batch[1]).square().mean()


def test_the_loss_falls(tmp_path):
    progress = Trainer(network(), SETTINGS, tmp_path).fit(batches(), loss)
    assert progress.step == SETTINGS.steps
    assert progress.losses[-1] < 0.2 * progress.losses[0]


def test_a_resumed_run_ends_like_one_that_never_stopped(tmp_path):
    whole = Trainer(network(), SETTINGS, tmp_path / "whole")
    whole.fit(batches(), loss)
    source = batches()
    first = Trainer(network(), SETTINGS, tmp_path / "parts")
    # The first half of the same schedule: stopped by running out of batches.
    with pytest.raises(RuntimeError, match="exhausted"):
        first.fit(_limited(source, 30), loss)
    second = Trainer(network(), SETTINGS, tmp_path / "parts")
    assert second.resume()
    assert second.progress.step == 30
    second.fit(source, loss)
    for key, value in whole.network.state_dict().items():
        assert torch.allclose(value, second.network.state_dict()[key], atol=1e-5), key


def _limited(source, count):
    for _ in range(count):
        yield next(source)
    raise RuntimeError("exhausted")


def test_a_checkpoint_is_safetensors_and_json(tmp_path):
    trainer = Trainer(network(), replace(SETTINGS, steps=3), tmp_path)
    trainer.fit(batches(), loss)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([CHECKPOINT, STATE])
    assert json.loads((tmp_path / STATE).read_text())["step"] == 3
    assert not Trainer(network(), SETTINGS, tmp_path / "empty").resume()


def test_a_run_killed_between_its_two_files_goes_on_from_the_step_of_its_tensors(tmp_path):
    Trainer(network(), replace(SETTINGS, steps=2), tmp_path).fit(batches(), loss)
    older = (tmp_path / STATE).read_text()
    Trainer(network(), replace(SETTINGS, steps=5), tmp_path).fit(batches(), loss)
    (tmp_path / STATE).write_text(older)
    (tmp_path / f"{STATE}.partial").write_text('{"step": ')
    again = Trainer(network(), replace(SETTINGS, steps=5), tmp_path)
    assert again.resume()
    assert again.progress.step == 5


@pytest.mark.parametrize(("file", "step"), [(CHECKPOINT, 2), (STATE, 3)])
def test_a_run_killed_while_it_writes_a_file_of_its_checkpoint_keeps_the_file_before(tmp_path, monkeypatch, file, step):
    trainer = Trainer(network(), replace(SETTINGS, steps=2), tmp_path)
    trainer.fit(batches(), loss)
    whole = (tmp_path / file).read_bytes()
    written = []

    def killed(path):
        path.write_bytes(whole[: len(whole) // 2])
        written.append(path.name)
        raise KeyboardInterrupt

    if file == CHECKPOINT:
        monkeypatch.setattr(loop, "save_file", lambda tensors, path, metadata: killed(path))
    else:
        monkeypatch.setattr(Path, "write_text", lambda path, text: killed(path))
    trainer.progress.step = 3
    with pytest.raises(KeyboardInterrupt):
        trainer.save()
    assert len(written) == 1 and (tmp_path / file).read_bytes() == whole
    again = Trainer(network(), SETTINGS, tmp_path)
    # The tensors are written first: with a state that was not written they are the newer ones.
    assert again.resume() and again.progress.step == step


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    trainer = Trainer(network(), SETTINGS, tmp_path)
    with pytest.raises(FloatingPointError, match="step 0"):
        trainer.fit(batches(), lambda net, batch: loss(net, batch) * float("nan"))


def test_the_average_follows_the_weights_with_a_lag(tmp_path):
    trainer = Trainer(network(), SETTINGS, tmp_path)
    start = trainer.averaged_state()["0.weight"].clone()
    trainer.fit(batches(), loss)
    end = trainer.network.state_dict()["0.weight"]
    averaged = trainer.averaged_state()["0.weight"]
    assert (averaged - end).norm() < 0.5 * (start - end).norm()
    assert not torch.equal(averaged, end)


def test_the_rate_warms_up_then_falls_to_a_hundredth():
    settings = LoopSettings(steps=100, learning_rate=1.0, warmup=10)
    assert learning_rate(settings, 0, 0.0) == pytest.approx(0.1)
    assert learning_rate(settings, 50, 0.5) == pytest.approx(0.505)
    assert learning_rate(settings, 99, 1.0) == pytest.approx(0.01)
    assert learning_rate(replace(settings, schedule="constant"), 99, 1.0) == 1.0


def test_a_clock_ends_the_run_before_its_steps(tmp_path):
    settings = replace(SETTINGS, steps=10**9, seconds=0.2, checkpoint_s=100.0)
    progress = Trainer(network(), settings, tmp_path).fit(batches(), loss)
    assert 0 < progress.step < 10**6
    assert progress.elapsed_s >= 0.2


@pytest.mark.parametrize(
    ("features", "expected"),
    [({"amx_bf16": True}, "bf16"), ({"avx512_bf16": True}, "bf16"), ({"avx2": True}, "fp32"), ({}, "fp32")],
)
def test_bf16_is_chosen_only_where_the_processor_multiplies_it(monkeypatch, features, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features)
    assert LoopSettings(steps=1).on("cpu").precision == expected
    assert LoopSettings(steps=1, precision="bf16").on("cpu").precision == "bf16"


def test_a_torch_that_cannot_say_what_the_processor_has_trains_in_fp32(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert LoopSettings(steps=1).on("cpu").precision == "fp32"


def test_a_trainer_records_the_precision_that_it_chose(tmp_path):
    trainer = Trainer(network(), replace(SETTINGS, precision="auto", steps=1), tmp_path)
    trainer.fit(batches(), loss)
    assert json.loads((tmp_path / STATE).read_text())["settings"]["precision"] == trainer.settings.precision != "auto"
