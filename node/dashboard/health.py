"""Is the node healthy? One sentence, and what stands behind it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from node.registry import queries
from node.registry.database import Registry
from node.settings import Configuration
from node.storage import Storage

WORKER_SILENCE = timedelta(seconds=60)
"""A worker that has not said anything for this long is taken for gone."""

EXPECTED_KINDS = ("infer", "deliver")


@dataclass(frozen=True)
class Health:
    """`ok` is False if studies cannot flow; `sentence` says why, `problems` lists everything found."""

    ok: bool
    sentence: str
    problems: tuple[str, ...]


def examine(configuration: Configuration, registry: Registry, storage: Storage, now: datetime) -> Health:
    """Look at the database, the disk, the workers and the deliveries."""
    try:
        with registry.reading() as session:
            session.execute(text("SELECT 1"))
            overview = queries.overview(session, now)
    except SQLAlchemyError as error:
        sentence = f"the database does not answer ({type(error).__name__})"
        return Health(False, sentence, (sentence,))
    problems = []
    floor = configuration.settings.spool.min_free_bytes
    if storage.free_bytes() < floor:
        problems.append(f"the disk has less than {floor / 1e9:.1f} GB left: new instances are refused")
    alive = {worker.kind for worker in overview.workers if now - worker.heartbeat_at < WORKER_SILENCE}
    problems += [f"no {kind} worker is alive" for kind in EXPECTED_KINDS if kind not in alive]
    failed = overview.deliveries.get("failed", 0)
    warnings = [f"{failed} deliveries have failed and wait for a person"] if failed else []
    if problems:
        return Health(False, "not healthy: " + "; ".join(problems), (*problems, *warnings))
    if warnings:
        return Health(True, "working, but " + "; ".join(warnings), tuple(warnings))
    return Health(True, "healthy: receiving, analysing and delivering", ())
