"""What tests of deliveries share: destinations on loopback, and a worker whose clock a test moves."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import select

from node.deliver.run import DeliveryRunner
from node.jobs.heartbeat import Heartbeat
from node.registry.database import Registry
from node.registry.deliveries import due_deliveries
from node.registry.models import Delivery, Result
from node.settings.model import Destination
from node.storage import LocalStorage
from tests.fixtures.queue import MadeJob, configuration

FinishJob = Callable[..., MadeJob]
KINDS = ["seg", "sr", "sc"]


def destination(port: int, name: str = "pacs", **more: object) -> Destination:
    values = {"name": name, "host": "127.0.0.1", "port": port, "ae_title": "ARCHIVE", **more}
    return Destination.model_validate(values)


def now() -> datetime:
    return datetime.now(UTC)


class Sender:
    """Runs what is due, as a worker would whom the sweep wakes, at a time the test chooses."""

    def __init__(
        self, folder: Path, registry: Registry, storage: LocalStorage, heartbeat: Heartbeat, *there: Destination,
        **delivery: object,
    ) -> None:  # fmt: skip
        self.registry = registry
        self.later_s = 0.0
        chosen = configuration(folder, there, delivery=delivery)
        self.runner = DeliveryRunner(chosen, registry, storage, heartbeat, "d@h:1", self.clock)

    def clock(self) -> datetime:
        return now() + timedelta(seconds=self.later_s)

    def send_due(self) -> int:
        with self.registry.reading() as session:
            due = due_deliveries(session, self.clock(), 100)
        return sum(self.runner.run(delivery_id) for delivery_id, _ in due)

    def states(self) -> dict[tuple[str, str], str]:
        return {key: row.state for key, row in self.rows().items()}

    def rows(self) -> dict[tuple[str, str], Delivery]:
        with self.registry.reading() as session:
            rows = session.execute(select(Result.kind, Delivery).join(Result, Result.id == Delivery.result_id)).all()
        return {(kind, row.destination): row for kind, row in rows}
