"""The Celery application: three queues of wake-ups.

    queue    task             its argument                              served by
    infer    infer.run        job id                                    a worker with the pipelines
    deliver  deliver.run      delivery id                               a worker that opens associations
    upkeep   upkeep.confirm   delivery id                               the same, when it has nothing to send

A message holds that one number and nothing else. It is acknowledged when it is read: a message stands for nothing
that the registry does not know, so losing one costs the time to the next sweep, and a surplus one finds nothing to
claim. That is also why there is no result backend, no retry and no count-down in Celery: `node.jobs` retries.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import structlog
from celery import Celery
from kombu.entity import Queue
from kombu.exceptions import ChannelError, KombuError
from redis.exceptions import RedisError

from node.jobs.embedded_redis import REDIS_TIMEOUT_S, redis_url
from node.settings import Configuration

INFER, DELIVER, UPKEEP = "infer", "deliver", "upkeep"
QUEUES = (INFER, DELIVER, UPKEEP)

INFER_TASK, DELIVER_TASK, CONFIRM_TASK = "infer.run", "deliver.run", "upkeep.confirm"

PRIORITIES = tuple(range(10))
"""0 runs first. One list in Redis for each, where Celery's default has four for all."""

COOL_DOWN_S, COOL_DOWN_FACTOR = 1.0, 5.0
"""After a broker could not be reached, nobody tries for this long, or for this many times what the attempt took:
a producer spends at most a sixth of its time on a broker that swallows its packets."""

log = structlog.get_logger(__name__)


def create_app(configuration: Configuration) -> Celery:
    """The Celery application of this node; it has no tasks yet (`node.jobs.worker` adds them)."""
    app = Celery("osteon", broker=redis_url(configuration), set_as_current=False, loader="app")
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        result_serializer="json",
        event_serializer="json",
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        task_queues=[Queue(name, routing_key=name) for name in QUEUES],  # type: ignore[no-untyped-call]
        task_default_queue=UPKEEP,
        task_default_priority=5,
        task_publish_retry=False,
        task_acks_late=False,
        worker_prefetch_multiplier=1,  # a message taken early would overtake a more urgent one that comes later
        worker_enable_remote_control=False,
        worker_cancel_long_running_tasks_on_connection_loss=True,  # of late acknowledgements only: none here
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_connection_timeout=REDIS_TIMEOUT_S,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "priority_steps": list(PRIORITIES),
            "queue_order_strategy": "priority",
            "socket_connect_timeout": REDIS_TIMEOUT_S,
            "socket_timeout": 2 * REDIS_TIMEOUT_S,  # above the 1 s that a worker waits for a message
            "socket_keepalive": True,
            "max_retries": 0,
        },
    )
    return app


class Enqueuer:
    """Sends wake-ups, and gives up at once where the broker cannot be reached: the sweep sends them later.

    Parameters
    ----------
    app
        As made by `create_app`.
    monotonic
        Seconds, for the cool-down; for tests.
    """

    def __init__(self, app: Celery, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._app = app
        self._monotonic = monotonic
        self._not_before = float("-inf")

    def job(self, job_id: int, priority: int) -> bool:
        """Wake a worker for a job; True if the broker took the message."""
        return self._send(INFER_TASK, INFER, job_id, priority)

    def delivery(self, delivery_id: int, priority: int) -> bool:
        """Wake a worker for a delivery; True if the broker took the message."""
        return self._send(DELIVER_TASK, DELIVER, delivery_id, priority)

    def deliveries(self, delivery_ids: Iterable[int], priority: int) -> None:
        """Wake workers for several deliveries; stops at the first message that is not taken."""
        for delivery_id in delivery_ids:
            if not self.delivery(delivery_id, priority):
                return

    def confirmation(self, delivery_id: int) -> bool:
        """Wake a worker to ask a destination for a result; True if the broker took the message."""
        return self._send(CONFIRM_TASK, UPKEEP, delivery_id, PRIORITIES[-1])

    def depth(self, queue: str) -> int | None:
        """How many messages wait in a queue; None where the broker cannot be reached."""
        if self._monotonic() < self._not_before:
            return None
        began = self._monotonic()
        try:
            with self._app.connection_for_write() as connection:
                declared = connection.default_channel.queue_declare(queue, passive=True)
            return int(declared.message_count)
        except ChannelError:  # no message was ever sent to it
            return 0
        except (KombuError, RedisError, OSError) as error:
            self._cool_down(began, error)
            return None

    def _send(self, task: str, queue: str, number: int, priority: int) -> bool:
        if self._monotonic() < self._not_before:
            return False
        began = self._monotonic()
        try:
            self._app.send_task(task, args=[number], queue=queue, priority=priority)
        except (KombuError, RedisError, OSError) as error:
            self._cool_down(began, error)
            return False
        return True

    def _cool_down(self, began: float, error: Exception) -> None:
        ended = self._monotonic()
        self._not_before = ended + max(COOL_DOWN_S, COOL_DOWN_FACTOR * (ended - began))
        log.warning("queue.unreachable", error=type(error).__name__)
