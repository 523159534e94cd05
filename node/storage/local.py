"""The local folder: spool folders and the default `Storage`."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from node.errors import PermanentError
from node.storage.protocol import StoredFile, check_key


def fsync_folder(folder: Path) -> None:
    """Make names created or removed in `folder` durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def fsync_file(path: Path) -> None:
    """Make the bytes of `path` durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(folder: Path, mode: int = 0o777) -> None:
    """Make `folder` and those above it, durably: a file is only as durable as every name on the way to it."""
    if folder.is_dir():
        return
    make_folder(folder.parent, mode)
    folder.mkdir(mode=mode, exist_ok=True)
    with suppress(PermissionError):  # one that may be written but not listed cannot be opened for it
        fsync_folder(folder.parent)


@dataclass(frozen=True)
class SpoolFolders:
    """The listener's folders, all on one file system so that a rename is atomic."""

    inbox: Path
    partial: Path
    refused: Path

    @classmethod
    def create(cls, data_dir: Path) -> SpoolFolders:
        """Make the folders below `data_dir` if they are not there; only the owner may read them."""
        folders = cls.below(data_dir)
        for folder in (data_dir, data_dir / "spool", folders.inbox, folders.partial, folders.refused):
            make_folder(folder, 0o700)
        return folders

    @classmethod
    def below(cls, data_dir: Path) -> SpoolFolders:
        """Return where they are, for who only looks."""
        return cls(*(data_dir / "spool" / name for name in ("inbox", "partial", "refused")))


class LocalStorage:
    """`Storage` in a local (or mounted) folder."""

    def __init__(self, data_dir: Path) -> None:
        self._root = data_dir / "store"
        make_folder(self._root, 0o700)

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)

    def adopt(self, source: Path, key: str) -> None:
        target = self._path(key)
        make_folder(target.parent)
        try:
            source.replace(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            # Another file system: copy beside the target first, so that a crash leaves no half file under the key.
            partial = target.with_name(f".{target.name}.partial")
            shutil.copyfile(source, partial)
            fsync_file(partial)
            partial.replace(target)
            source.unlink()
        fsync_folder(target.parent)

    @contextmanager
    def local_path(self, key: str) -> Iterator[Path]:
        path = self._path(key)
        if not path.exists():
            raise FileNotFoundError(f"the store has no '{key}'")
        yield path

    def exists(self, key: str) -> bool:
        return self._path(key).exists()

    def delete(self, key: str) -> None:
        path = self._path(key)
        path.unlink(missing_ok=True)
        # Empty folders of a deleted series go too; the first that is not empty ends it.
        with suppress(OSError):
            for folder in list(path.parents)[: len(Path(key).parents) - 1]:
                folder.rmdir()

    def files(self, prefix: str) -> Iterator[StoredFile]:
        for folder, _, names in os.walk(self._path(prefix)):
            for name in sorted(names):
                key = (Path(folder) / name).relative_to(self._root).as_posix()
                try:
                    found = self._path(key).stat()
                except (FileNotFoundError, PermanentError):  # gone meanwhile; a copy that is not finished
                    continue
                yield StoredFile(key, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))

    def free_bytes(self) -> int:
        return shutil.disk_usage(self._root).free
