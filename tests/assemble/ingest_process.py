"""A process that empties an inbox until it is killed: `python -m tests.assemble.ingest_process DATA_FOLDER`."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

from node.assemble import Ingest
from node.registry.database import Registry
from node.settings import load_configuration
from node.settings.load import REPOSITORY_CONFIG
from node.storage import LocalStorage


def main() -> None:
    configuration = load_configuration(REPOSITORY_CONFIG, Path(sys.argv[1]), {})
    registry = Registry(configuration.database_url)
    ingest = Ingest(configuration, registry, LocalStorage(configuration.data_dir))
    print("ready", flush=True)
    while ingest.step(datetime.now(UTC), limit=7):
        pass


if __name__ == "__main__":
    main()
