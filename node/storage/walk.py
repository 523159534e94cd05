"""Files that a person names on the command line: as they are, and folders searched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class FoundFile:
    """A file; `named` is True if the person named it, False if it was found in a folder."""

    path: Path
    named: bool


def walk(paths: Iterable[Path]) -> Iterator[FoundFile]:
    """Every file among `paths`, in the order given, and below the folders among them, by name.

    What is named is not looked for: a path that does not exist comes, too.
    """
    for path in paths:
        if path.is_dir():
            yield from (FoundFile(file, False) for file in sorted(path.rglob("*")) if file.is_file())
        else:
            yield FoundFile(path, True)
