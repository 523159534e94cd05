"""Result objects, pictures and summary -> files in one folder, atomically.

A file is written under a temporary name, fsynced and renamed, so that a reader (or a crash) never sees half of it.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from node.results.context import ResultContext, ResultObject
from node.results.picture import render_png
from pipelines.contract import Findings


def write_results(objects: Sequence[ResultObject], out_dir: Path, stem: str) -> list[Path]:
    """Write each object as `<stem>.<kind>.dcm`, a second one of a kind as `<stem>-2.<kind>.dcm`, and so on.

    Returns
    -------
    list of Path
        In the order of the objects.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    seen: Counter[str] = Counter()
    paths = []
    for item in objects:
        seen[item.kind] += 1
        path = out_dir / f"{_numbered(stem, seen[item.kind])}.{item.kind}.dcm"
        write_atomically(path, item.to_bytes())
        paths.append(path)
    return paths


def write_pictures(findings: Findings, context: ResultContext, out_dir: Path, stem: str) -> list[Path]:
    """Write each segmentation's overlay picture as `<stem>.png`, `<stem>-2.png`, ..."""
    out_dir.mkdir(parents=True, exist_ok=True)
    paths = []
    for index in range(len(findings.segmentations)):
        path = out_dir / f"{_numbered(stem, index + 1)}.png"
        write_atomically(path, render_png(findings, context, index))
        paths.append(path)
    return paths


def write_summary(values: dict[str, object], path: Path) -> None:
    """Write a summary (see `node.results.summary`) as JSON, UTF-8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False)
    write_atomically(path, text.encode() + b"\n")


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, also after a power cut."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _numbered(stem: str, number: int) -> str:
    return stem if number == 1 else f"{stem}-{number}"
