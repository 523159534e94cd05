"""Is the node healthy? One sentence, and what stands behind it."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from node.dashboard.i18n import Text
from node.dashboard.liveness import is_lost
from node.registry.database import Registry
from node.registry.models import Delivery
from node.registry.queries_overview import workers
from node.registry.states import DeliveryState
from node.settings import Configuration
from node.storage import SpoolFolders, Storage

EXPECTED_KINDS = ("infer", "deliver", "upkeep")
STALE_ARRIVAL_S = 300
"""Upkeep registers what arrived within a second; what lies longer in the inbox cannot be registered."""

ARRIVALS_LOOKED_AT = 1000
FAILED_COUNTED = 1000
"""Failed deliveries are counted up to here; a health check must not cost more with a full registry."""


@dataclass(frozen=True)
class Health:
    """`ok` is False if studies cannot flow; `problems` say why, `warnings` what else waits for a person."""

    ok: bool
    problems: tuple[Text, ...] = ()
    warnings: tuple[Text, ...] = ()

    @property
    def headline(self) -> Text:
        """Whether it is healthy, without the reasons."""
        if not self.ok:
            return Text("not healthy")
        return Text("working, but") if self.warnings else Text("healthy: receiving, analysing and delivering")

    @property
    def sentence(self) -> str:
        """The whole in English, for programs and logs."""
        reasons = self.problems if not self.ok else self.warnings
        if not reasons:
            return str(self.headline)
        return f"{self.headline}{'' if self.ok else ':'} " + "; ".join(reasons)

    def plain(self) -> dict[str, object]:
        """For /healthz."""
        problems = [str(text) for text in (*self.problems, *self.warnings)]
        return {"ok": self.ok, "sentence": self.sentence, "problems": problems}


def examine(configuration: Configuration, registry: Registry, storage: Storage, now: datetime) -> Health:
    """Look at the database, the disk, the workers and the deliveries."""
    try:
        with registry.reading() as session:
            alive = {worker.kind for worker in workers(session) if not is_lost(worker, now)}
            some = select(Delivery.id).where(Delivery.state == DeliveryState.FAILED.value).limit(FAILED_COUNTED)
            failed = session.scalar(select(func.count()).select_from(some.subquery())) or 0
    except SQLAlchemyError as error:
        return Health(False, (Text("the database does not answer ({error})", error=type(error).__name__),))
    problems, warnings = [], []
    floor = configuration.settings.spool.min_free_bytes
    if storage.free_bytes() < floor:
        problems.append(
            Text("the disk has less than {limit} GB left: new instances are refused", limit=f"{floor / 1e9:.1f}")
        )
    problems += [Text("no {kind} worker is alive", kind=kind) for kind in EXPECTED_KINDS if kind not in alive]
    if failed:
        count = f"{failed}+" if failed == FAILED_COUNTED else str(failed)
        warnings.append(Text("{count} deliveries have failed and wait for a person", count=count))
    stale = _stale_arrivals(SpoolFolders.below(configuration.data_dir).inbox, now)
    if stale:
        count = f"{stale}+" if stale == ARRIVALS_LOOKED_AT else str(stale)
        warnings.append(
            Text(
                "{count} received instances have waited over {minutes} minutes to be registered",
                count=count,
                minutes=STALE_ARRIVAL_S // 60,
            )
        )
    return Health(not problems, tuple(problems), tuple(warnings))


def _stale_arrivals(inbox: Path, now: datetime) -> int:
    """Count acknowledged instances that upkeep has left in the inbox, among the first ones that the folder lists."""
    limit = now.timestamp() - STALE_ARRIVAL_S
    found = 0
    with contextlib.suppress(OSError), os.scandir(inbox) as listing:  # the dashboard may run where the inbox is not
        instances = (item for item in listing if item.name.endswith(".dcm"))
        for item in islice(instances, ARRIVALS_LOOKED_AT):
            with contextlib.suppress(FileNotFoundError):  # registered meanwhile
                found += item.stat(follow_symlinks=False).st_mtime < limit
    return found
