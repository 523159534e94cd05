"""The schema, brought up to date when a process starts.

    every process of the node --upgrade()--> lock --> Alembic's scripts in node/registry/migrations --> commit

All processes of `osteon serve` call `upgrade` at once, also on an empty database: the first takes a lock (SQLite's
write lock, a PostgreSQL advisory lock), the others wait and then find nothing to do. Steps are transactional on both
databases, so a crash in the middle leaves the old schema.

A new step is written by a developer with

    python -m node.registry.migrate sqlite:////tmp/scratch.sqlite "what changes"

which upgrades the scratch database and writes the difference to the models as a new script. It does not downgrade
by itself: an older program refuses a newer schema instead (see `upgrade`).
"""

from __future__ import annotations

import sys
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, text

from node.errors import PermanentError
from node.registry import account_models  # noqa: F401  the schema is compared with all models
from node.registry.database import Registry

MIGRATIONS = Path(__file__).with_name("migrations")
ADVISORY_LOCK = 0x6F7374656F6E
"""The number that PostgreSQL locks for a migration; "osteon" in ASCII, so that nobody else picks it by chance."""


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


def head_revision() -> str:
    """The newest step that this program knows."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    if head is None:
        raise PermanentError(f"{MIGRATIONS}: no migration scripts are here; the installation is incomplete")
    return head


def known_revisions() -> frozenset[str]:
    """Every step that this program knows."""
    return frozenset(step.revision for step in ScriptDirectory.from_config(_config()).walk_revisions())


def schema_revision(connection: Connection) -> str | None:
    """The step at which the database stands; None for an empty one."""
    return MigrationContext.configure(connection).get_current_revision()


def upgrade(registry: Registry) -> None:
    """Bring the schema of the registry up to date; safe to call from many processes at once.

    Raises
    ------
    PermanentError
        If the database was made by a newer osteon.
    """
    with registry.engine.connect() as plain:
        connection = plain.execution_options(osteon_write=True)  # SQLite: BEGIN IMMEDIATE is the lock
        with connection.begin():
            if not registry.is_sqlite:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
            _upgrade(connection)


def _upgrade(connection: Connection) -> None:
    current = schema_revision(connection)
    if current == head_revision():
        return
    config = _config()
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise PermanentError(
            f"the database stands at schema step '{current}', which this osteon does not know: it was made by a "
            "newer version; install that version, or name another database"
        ) from error


def _write_revision(url: str, message: str) -> None:
    registry = Registry(url)
    upgrade(registry)
    with registry.engine.connect() as connection:
        config = _config()
        config.attributes["connection"] = connection
        command.revision(config, message, autogenerate=True)


if __name__ == "__main__":
    _write_revision(sys.argv[1], sys.argv[2])
