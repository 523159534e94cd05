"""What changed in the registry reaches the open pages by topic, and streams end when they should."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from node.dashboard import live as live_module
from node.dashboard.live import Live, changed_topics, look
from node.registry.audit import audited
from node.registry.database import Registry
from node.registry.events import add_event
from tests.dashboard.conftest import NOW, TESTER

WAIT_S = 20.0


def test_a_poll_names_the_topics_of_what_happened_in_between(sqlite_registry: Registry) -> None:
    before = look(sqlite_registry, None)
    assert changed_topics(before, look(sqlite_registry, before)) == frozenset()
    with sqlite_registry.transaction() as session:
        add_event(session, NOW, "job.done", "Done.")
        add_event(session, NOW, "delivery.sent", "Sent.")
        audited(session, TESTER, "job.retry", "job 1", now=NOW)
    assert changed_topics(before, look(sqlite_registry, before)) == {"job", "delivery", "event", "audit"}


def test_a_flood_of_events_counts_as_a_change_of_everything(
    sqlite_registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_module, "MANY", 3)
    before = look(sqlite_registry, None)
    with sqlite_registry.transaction() as session:
        for _ in range(3):
            add_event(session, NOW, "job.done", "Done.")
    assert changed_topics(before, look(sqlite_registry, before)) == set(live_module.TOPICS)


async def _until(stream: AsyncIterator[str], wanted: str) -> None:
    async for message in stream:
        if wanted in message:
            return
    raise AssertionError(f"the stream ended without {wanted!r}")


async def _told(registry: Registry) -> None:
    live = Live(registry, poll_s=0.05)
    poller = asyncio.create_task(live.run())
    stream = live.stream(lambda: True)
    assert "retry" in await anext(stream)

    async def write() -> None:
        # Until the poller has looked once, there is no "before" that a change could be told from.
        for number in range(100):
            await asyncio.sleep(0.05)
            with registry.transaction() as session:
                add_event(session, NOW, "series.complete", f"Complete {number}.")

    writer = asyncio.create_task(write())
    await asyncio.wait_for(_until(stream, "event: series\n"), WAIT_S)
    writer.cancel()
    live.close()
    await asyncio.wait_for(poller, WAIT_S)
    assert [message async for message in stream if "event" in message] in ([], ["event: event\ndata: \n\n"])


def test_a_page_is_told_within_a_moment_and_closing_ends_its_stream(sqlite_registry: Registry) -> None:
    asyncio.run(_told(sqlite_registry))


async def _ended(registry: Registry) -> None:
    live = Live(registry, poll_s=0.05)
    poller = asyncio.create_task(live.run())
    await asyncio.wait_for(_until(live.stream(lambda: False), "event: signed-out"), WAIT_S)
    live.close()
    await asyncio.wait_for(poller, WAIT_S)


def test_a_login_that_ended_ends_the_stream(sqlite_registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_module, "KEEP_ALIVE_S", 0.05)
    asyncio.run(_ended(sqlite_registry))
