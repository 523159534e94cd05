"""The upkeep's loop: no chore stops another, and one that errs is left alone for a while."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from node.jobs.chores import LONGEST_ERROR_PAUSE_S, Chore, error_pause_s, run_chores
from node.jobs.workspace import attempt_folder, remove_stale_folders

NOW = datetime(2026, 3, 2, tzinfo=UTC)


def counting(results: list[object]) -> tuple[list[datetime], Callable[[datetime], object]]:
    """A step that returns (or raises) one of `results` after the other, and the times it was called at."""
    calls: list[datetime] = []

    def step(now: datetime) -> object:
        calls.append(now)
        result = results.pop(0) if results else 0
        if isinstance(result, Exception):
            raise result
        return result

    return calls, step


def test_a_chore_that_finds_work_runs_again_at_once_and_then_pauses() -> None:
    calls, step = counting([5, 5, 0])
    chore = Chore("ingest", step, every_s=2.0)
    assert [chore.run_if_due(0.0, NOW) for _ in range(4)] == [True, True, False, False]
    assert len(calls) == 3
    chore.run_if_due(1.9, NOW)
    assert len(calls) == 3
    chore.run_if_due(2.0, NOW)
    assert len(calls) == 4


def test_a_chore_that_must_pause_does_so_even_after_work() -> None:
    calls, step = counting([5, 5])
    chore = Chore("sweep", step, every_s=2.0, at_once_if_busy=False)
    assert not chore.run_if_due(0.0, NOW)
    chore.run_if_due(1.0, NOW)
    assert len(calls) == 1


def test_a_chore_that_errs_is_left_alone_longer_each_time_until_it_succeeds() -> None:
    _, step = counting([ValueError(), ValueError(), 0, ValueError()])
    chore = Chore("retention", step, every_s=0.0)
    chore.run_if_due(0.0, NOW)
    assert chore.due_at == 1.0
    chore.run_if_due(1.0, NOW)
    assert chore.due_at == 3.0
    chore.run_if_due(3.0, NOW)
    assert (chore.errors, chore.due_at) == (0, 3.0)
    chore.run_if_due(3.0, NOW)
    assert chore.due_at == 4.0
    assert error_pause_s(1000) == LONGEST_ERROR_PAUSE_S


@pytest.mark.parametrize("at_fault", [0, 1, 2])
def test_an_error_in_one_chore_does_not_stop_the_others(at_fault: int) -> None:
    stop = threading.Event()
    names = ["ingest", "assemble", "sweep"]
    done: dict[str, int] = dict.fromkeys(names, 0)

    def step(name: str) -> Callable[[datetime], object]:
        def run(_now: datetime) -> object:
            if name == names[at_fault]:
                raise OSError("the disk is full")
            done[name] += 1
            if all(done[n] >= 3 for n in names if n != names[at_fault]):
                stop.set()
            return 0

        return run

    loop = threading.Thread(
        target=run_chores, args=([Chore(name, step(name), 0.0) for name in names], stop, lambda: NOW), daemon=True
    )
    loop.start()
    loop.join(timeout=30)
    assert not loop.is_alive()


def test_what_a_killed_attempt_left_behind_is_removed_and_a_fresh_one_is_not(tmp_path: Path) -> None:
    with attempt_folder(tmp_path) as folder:
        (folder / "result.seg.dcm").write_bytes(b"half")
        assert remove_stale_folders(tmp_path, older_than_s=3600) == 0
        later = folder.stat().st_mtime + 3601
        assert remove_stale_folders(tmp_path, older_than_s=3600, now=later) == 1
        assert not folder.exists()
    assert list((tmp_path / "work").iterdir()) == []
