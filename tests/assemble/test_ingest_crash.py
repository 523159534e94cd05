"""Wherever the intake dies, replaying the inbox ends in the same registry and store as if it had not.

First every single side effect of a step is made the last one, before and after it took place; then a real process is
killed with SIGKILL in mid-work. Power cuts are not tested: that files and commits survive them is fsync's promise.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from node.assemble import Ingest, ingest
from node.assemble.instance_file import digest_file
from node.assemble.rules import Rules, load_rules
from node.registry.database import Registry
from node.registry.migrate import upgrade
from node.registry.models import Instance, OpenAssociation, Series
from node.settings import Configuration
from node.storage import LocalStorage, SpoolFolders
from tests.assemble.objects import NOW, Inbox, configure, data_set

REPOSITORY = Path(__file__).resolve().parents[2]


class CrashError(BaseException):
    """The process is gone; a BaseException, because nothing may catch it."""


class Fuse:
    """Counts side effects and blows at a chosen one."""

    def __init__(self) -> None:
        self.count = 0
        self.blows_at: int | None = None

    def __call__(self) -> None:
        self.count += 1
        if self.count == self.blows_at:
            raise CrashError

    def around(self, function: Any) -> Any:
        """`function` with a chance to die before and after it."""

        def wrapped(*arguments: Any, **keywords: Any) -> Any:
            self()
            result = function(*arguments, **keywords)
            self()
            return result

        return wrapped


@pytest.fixture
def fuse(monkeypatch: pytest.MonkeyPatch) -> Fuse:
    """A fuse in everything through which the intake changes the world."""
    fuse = Fuse()
    monkeypatch.setattr(ingest, "MOVERS", 1)  # one after the other, so that the n-th side effect is the same each time
    monkeypatch.setattr(LocalStorage, "adopt", fuse.around(LocalStorage.adopt))
    monkeypatch.setattr(ingest, "forget_association", fuse.around(ingest.forget_association))
    for name in ("unlink", "replace", "write_text"):
        monkeypatch.setattr(Path, name, fuse.around(getattr(Path, name)))
    transaction = Registry.transaction

    @contextmanager
    def fused(registry: Registry) -> Iterator[Session]:
        with transaction(registry) as session:
            yield session
            session.flush()
            fuse()  # all is written, nothing committed
        fuse()

    monkeypatch.setattr(Registry, "transaction", fused)
    return fuse


def fill(configuration: Configuration) -> None:
    """Everything that can arrive, in two batches' worth of files, and one association that is over."""
    inbox = Inbox.of(configuration)
    for number in range(3):
        inbox.put(data_set(number + 1))
    inbox.put(data_set(1))
    inbox.put(data_set(2, SeriesDescription="corrected"))
    inbox.put(b"garbage" * 99, "a2")
    inbox.put(data_set(1, 2), "a2")
    inbox.put(data_set(9, 1, StudyInstanceUID="1.9.9"), "a2")
    inbox.end("a1")


def outcome(configuration: Configuration, registry: Registry) -> dict[str, Any]:
    """Everything that must be the same with and without a crash."""
    storage = LocalStorage(configuration.data_dir)
    folders = SpoolFolders.create(configuration.data_dir)
    with registry.reading() as session:
        rows = session.scalars(select(Instance).order_by(Instance.series_id, Instance.sop_uid, Instance.version)).all()
        stored = {}
        for row in rows:
            with storage.local_path(row.storage_key) as path:
                stored[row.storage_key] = hashlib.sha256(path.read_bytes()).hexdigest()
        return {
            "instances": [(r.sop_uid, r.version, r.current, r.sha256, r.storage_key) for r in rows],
            "stored": stored,
            "series": [
                (
                    s.series_uid,
                    s.instance_count,
                    s.content_revision,
                    s.byte_count,
                    s.description,
                    s.state,
                    s.association_released_at is not None,
                )
                for s in session.scalars(select(Series).order_by(Series.series_uid))
            ],
            "open": sorted(session.scalars(select(OpenAssociation.token))),
            "inbox": sorted(path.name for path in folders.inbox.iterdir()),
            "refused": sorted(path.name for path in folders.refused.iterdir()),
        }


def run(configuration: Configuration, registry: Registry, rules: Rules | None = None) -> None:
    """A fresh process, as it were: it knows nothing but the folders and the database."""
    step = Ingest(configuration, registry, LocalStorage(configuration.data_dir), rules).step
    while step(NOW):
        pass


def scenario(tmp_path: Path, base: Configuration, name: str) -> tuple[Configuration, Registry]:
    configuration = replace(base, data_dir=tmp_path / name)
    registry = Registry(configuration.database_url)
    template = tmp_path / "template.sqlite"
    if not template.exists():
        made = Registry(f"sqlite:///{template}")
        upgrade(made)
        made.dispose()
    shutil.copyfile(template, configuration.data_dir / "registry.sqlite")
    fill(configuration)
    return configuration, registry


@pytest.mark.slow
def test_a_crash_at_any_side_effect_and_a_replay_end_as_if_nothing_had_happened(tmp_path: Path, fuse: Fuse) -> None:
    base = configure(tmp_path)
    rules = load_rules(base)
    configuration, registry = scenario(tmp_path, base, "whole")
    fuse.count = 0
    run(configuration, registry, rules)
    effects = fuse.count
    expected = outcome(configuration, registry)
    registry.dispose()
    assert [len(expected["instances"]), len(expected["refused"])] == [5, 4]
    assert expected["inbox"] == ["a2.assoc"]
    assert effects > 25

    for blows_at in range(1, effects + 1):
        configuration, registry = scenario(tmp_path, base, f"crash {blows_at}")
        fuse.count, fuse.blows_at = 0, blows_at
        with pytest.raises(CrashError):
            run(configuration, registry, rules)
        fuse.blows_at = None
        run(configuration, registry, rules)
        assert outcome(configuration, registry) == expected, f"crash at side effect {blows_at} of {effects}"
        registry.dispose()


@pytest.mark.slow
def test_a_process_killed_in_mid_work_again_and_again_loses_and_doubles_nothing(tmp_path: Path) -> None:
    configuration = configure(tmp_path)
    registry = Registry(configuration.database_url)
    upgrade(registry)
    inbox = Inbox.of(configuration)
    sent = {}
    for number in range(400):
        path = inbox.put(data_set(number + 1, number % 5 + 1, PixelData=os.urandom(2048)))
        sent[path.name.split("~")[0]] = digest_file(path).sha256
    inbox.end()

    kills = 0
    for _ in range(3):
        before = len(list(inbox.path.glob("*.dcm")))
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.assemble.ingest_process", str(configuration.data_dir)],
            cwd=REPOSITORY,
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 80
        while len(list(inbox.path.glob("*.dcm"))) > before - 20 and process.poll() is None:
            assert time.monotonic() < deadline, "the process did not get to work"
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        kills += process.wait(timeout=30) == -signal.SIGKILL
    assert kills == 3
    assert list(inbox.path.glob("*.dcm")), "nothing was left to replay, so nothing was tested"

    run(configuration, registry)
    with registry.reading() as session:
        rows = session.scalars(select(Instance)).all()
    assert {row.sop_uid: row.sha256 for row in rows} == sent
    assert len(rows) == len(sent)
    storage = LocalStorage(configuration.data_dir)
    for row in rows:
        with storage.local_path(row.storage_key) as path:
            assert digest_file(path).sha256 == row.sha256
    assert inbox.left() == []
    with registry.reading() as session:
        counts = session.execute(select(Series.instance_count, Series.content_revision)).all()
    assert [tuple(row) for row in counts] == [(80, 80)] * 5
    registry.dispose()
