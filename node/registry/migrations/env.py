"""What Alembic runs for every command: the scripts on the connection that `node.registry.migrate` hands over."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context

from node.registry import account_models  # noqa: F401  its tables belong to the metadata, too
from node.registry.models import Base, UTCDateTime


def _render_item(kind: str, item: Any, _autogenerate: Any) -> str | Literal[False]:
    # Scripts must not depend on what the models become later.
    if kind == "type" and isinstance(item, UTCDateTime):
        return "sa.DateTime(timezone=True)"
    return False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite changes a column only by copying the table
    render_item=_render_item,
)
context.run_migrations()
