"""Live pages: one poller per process looks for changes in the registry and tells the open pages by topic.

    registry --poll--> topics that changed --> every subscriber's set --> server-sent events --> htmx fetches fragments

An event carries nothing but its topic: what changed is fetched through the ordinary, guarded routes. Topics are
"job", "series", "delivery", "worker", "event", "audit" and "tick" (every TICK_S, for what nothing announces, such as
disk space). The poller sleeps while no page is open.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import structlog
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from node.registry.account_models import AuditEntry
from node.registry.database import Registry
from node.registry.models import Event, Job, Worker
from node.registry.states import JobState

TICK_S = 30.0
KEEP_ALIVE_S = 15.0
MANY = 500
"""Rows looked at per poll; more new events than this count as a change of everything."""

TOPICS = ("job", "series", "delivery", "worker", "event", "audit", "tick")

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Glance:
    """What one poll saw; two of them tell what changed in between."""

    last_event: int
    last_audit: int
    running: tuple[Any, ...]
    workers: tuple[Any, ...]
    kinds: frozenset[str] = frozenset()


@dataclass(eq=False)
class _Subscriber:
    loop_event: asyncio.Event = field(default_factory=asyncio.Event)
    topics: set[str] = field(default_factory=set)


def look(registry: Registry, before: Glance | None) -> Glance:
    """One poll: four small reads along indexes."""
    with registry.reading() as session:
        last_event = session.scalar(select(func.max(Event.id))) or 0
        kinds: frozenset[str] = frozenset()
        if before is not None and last_event > before.last_event:
            fresh = select(Event.kind).where(Event.id > before.last_event).limit(MANY)
            kinds = frozenset(kind.partition(".")[0] for kind in session.scalars(fresh))
            if last_event - before.last_event >= MANY:
                kinds = frozenset(TOPICS)
        running = select(Job.id, Job.progress, Job.progress_text).where(Job.state == JobState.RUNNING.value)
        workers = select(Worker.name, Worker.heartbeat_at, Worker.job_id).order_by(Worker.name)
        return Glance(
            last_event=last_event,
            last_audit=session.scalar(select(func.max(AuditEntry.id))) or 0,
            running=tuple(tuple(row) for row in session.execute(running.order_by(Job.id).limit(MANY))),
            workers=tuple(tuple(row) for row in session.execute(workers.limit(MANY))),
            kinds=kinds,
        )


def changed_topics(before: Glance, after: Glance) -> frozenset[str]:
    """What to tell the pages."""
    topics = {kind for kind in after.kinds if kind in TOPICS}
    if after.last_event != before.last_event:
        topics.add("event")
    if after.running != before.running:
        topics.add("job")
    if after.workers != before.workers:
        topics.add("worker")
    if after.last_audit != before.last_audit:
        topics.add("audit")
    return frozenset(topics)


class Live:
    """The poller and its subscribers; `run` is a task of the application's life."""

    def __init__(self, registry: Registry, poll_s: float) -> None:
        self._registry = registry
        self._poll_s = poll_s
        self._subscribers: set[_Subscriber] = set()
        self._closing = asyncio.Event()
        self._wanted = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self) -> None:
        """Poll until `close`."""
        self._loop = asyncio.get_running_loop()
        before: Glance | None = None
        ticked = self._loop.time()
        while not self._closing.is_set():
            if not self._subscribers:
                before = None
                self._wanted.clear()
                await self._wanted.wait()
                continue
            try:
                after = await run_in_threadpool(look, self._registry, before)
            except SQLAlchemyError as error:
                log.warning("live.registry_away", error=type(error).__name__)
            except Exception:  # one bad look must not leave every open page silent for good
                log.exception("live.look_failed")
            else:
                if before is not None:
                    self._tell(changed_topics(before, after))
                before = after
            if self._loop.time() - ticked > TICK_S:
                ticked = self._loop.time()
                self._tell(frozenset({"tick"}))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), self._poll_s)

    def close(self) -> None:
        """End all streams; may be called from a signal handler or another thread."""

        def end() -> None:
            self._closing.set()
            self._wanted.set()
            for subscriber in self._subscribers:
                subscriber.loop_event.set()

        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(end)

    async def stream(self, still_allowed: Callable[[], bool]) -> AsyncIterator[str]:
        """Server-sent events for one page; ends with `signed-out` once `still_allowed` says no."""
        mine = _Subscriber()
        self._subscribers.add(mine)
        self._wanted.set()
        try:
            yield "retry: 3000\n\n"
            checked = self._now()
            while not self._closing.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(mine.loop_event.wait(), KEEP_ALIVE_S)
                mine.loop_event.clear()
                topics, mine.topics = mine.topics, set()
                if self._now() - checked >= KEEP_ALIVE_S:
                    checked = self._now()
                    if not await run_in_threadpool(still_allowed):
                        yield "event: signed-out\ndata: \n\n"
                        return
                    yield ": still here\n\n"
                for topic in sorted(topics):
                    yield f"event: {topic}\ndata: \n\n"
        finally:
            self._subscribers.discard(mine)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    def _tell(self, topics: frozenset[str]) -> None:
        if not topics:
            return
        for subscriber in self._subscribers:
            subscriber.topics |= topics
            subscriber.loop_event.set()
