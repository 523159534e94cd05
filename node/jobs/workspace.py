"""Where a worker writes results before the store adopts them: one private folder per attempt.

It lies in the data folder, on the store's file system, so that adopting is a rename. A killed worker leaves its
folder behind; upkeep removes what is old.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STALE_AFTER_S = 86400.0
"""A folder of this age belongs to no attempt: the longest takes minutes."""


def _root(data_dir: Path) -> Path:
    return data_dir / "work"


@contextmanager
def attempt_folder(data_dir: Path) -> Iterator[Path]:
    """A fresh folder that only its owner may read, removed at the end."""
    root = _root(data_dir)
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root, prefix="attempt-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def remove_stale_folders(data_dir: Path, older_than_s: float = STALE_AFTER_S, now: float | None = None) -> int:
    """Remove what killed workers left behind; returns how many folders."""
    moment = time.time() if now is None else now
    removed = 0
    for folder in _root(data_dir).glob("attempt-*"):
        try:
            old = moment - folder.stat().st_mtime > older_than_s
        except FileNotFoundError:  # its worker was quicker
            continue
        if old:
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
    return removed
