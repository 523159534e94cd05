"""The registry of a node, for the errands of the command line; where there is no node, none is made.

    configuration --> is there a registry? --> schema up to date --> Registry

Without `--data` an errand would otherwise make an empty registry in the working folder and say that all is well.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.engine import make_url

from node.errors import ConfigurationError
from node.registry.database import Registry
from node.registry.migrate import upgrade
from node.settings import Configuration


@contextmanager
def opened_registry(configuration: Configuration, *, may_begin: bool = False) -> Iterator[Registry]:
    """The registry with its schema up to date, closed at the end of the block.

    Parameters
    ----------
    may_begin
        True for what may be the first thing said to a new node; its registry is made then.

    Raises
    ------
    ConfigurationError
        If the registry is a SQLite file that does not exist; the text names it and the way out.
    """
    if not may_begin:
        need_registry(configuration)
    registry = Registry(configuration.database_url)
    try:
        upgrade(registry)
        yield registry
    finally:
        registry.dispose()


def need_registry(configuration: Configuration) -> None:
    """Refuse a configuration whose registry is a SQLite file that does not exist; servers are left to who opens them.

    Raises
    ------
    ConfigurationError
        As `opened_registry`.
    """
    url = make_url(configuration.database_url)
    file = url.database or "" if url.get_backend_name() == "sqlite" else ""
    if not file or file.startswith("file:") or Path(file).exists():  # "file:" is SQLite's own kind of URI
        return
    if configuration.settings.registry.url:
        raise ConfigurationError([f"registry.url (OSTEON_DATABASE_URL): there is no file {file}"])
    folder = configuration.data_dir
    raise ConfigurationError(
        [f"--data: no node has worked in {folder} yet; name its data folder with --data or OSTEON_DATA"]
    )
