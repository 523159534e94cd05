"""When a delivery is tried again: hand-computed pauses, and that giving up takes as long as configured."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from node.deliver.backoff import ASK_FOR_S, JITTER, next_attempt_at, next_question_at, pause_s
from node.settings.model import DeliverySettings

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
SETTINGS = DeliverySettings()


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("attempts", "expected_s"), [(1, 10), (2, 20), (3, 40), (9, 2560), (10, 3600), (11, 3600), (100_000, 3600)]
)
def test_the_pause_doubles_up_to_an_hour(attempts: int, expected_s: float) -> None:
    assert pause_s(SETTINGS, attempts) == expected_s
    if attempts < 100:
        assert next_attempt_at(NOW, SETTINGS, attempts, jitter=0.0) == at(expected_s)


def test_jitter_only_lengthens() -> None:
    assert next_attempt_at(NOW, SETTINGS, 3, jitter=1.0) == at(40 * (1 + JITTER))
    drawn = {next_attempt_at(NOW, SETTINGS, 3) for _ in range(50)}
    assert len(drawn) > 1
    assert all(at(40) <= when <= at(40 * (1 + JITTER)) for when in drawn if when)


def trying_s(settings: DeliverySettings) -> float:
    """How long a destination that never answers is tried, walked attempt by attempt."""
    now, attempts = NOW, 1
    while (again := next_attempt_at(now, settings, attempts, jitter=0.0)) is not None:
        now, attempts = again, attempts + 1
    return (now - NOW).total_seconds()


def test_the_defaults_outlast_a_week_and_then_end() -> None:
    assert 7 * 86400 <= trying_s(SETTINGS) <= 7 * 86400 + 3600


def test_giving_up_takes_as_long_as_configured() -> None:
    assert 100 <= trying_s(DeliverySettings(first_retry_s=1, max_backoff_s=30, give_up_after_s=100)) < 130


def test_questions_come_less_and_less_often_and_end_after_a_day() -> None:
    now, asked = NOW, 0
    while (again := next_question_at(now, NOW, SETTINGS)) is not None:
        assert (again - now).total_seconds() == min(max((now - NOW).total_seconds(), 10), 3600)
        now, asked = again, asked + 1
    assert ASK_FOR_S <= (now - NOW).total_seconds() <= ASK_FOR_S + 3600
    assert asked < 40
