"""The embedded Redis: reachable only by its owner, durable across SIGKILL, and never in the way of a start."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from node.errors import PermanentError
from node.jobs.embedded_redis import (
    SOCKET_PATH_LIMIT,
    connect,
    embedded_url,
    is_up,
    redis_command,
    redis_url,
    set_aside_journal,
    socket_path,
)
from tests.fixtures.queue import configuration, running_redis
from tests.fixtures.running_node import wait_for


def test_a_message_survives_the_sigkill_of_redis(tmp_path: Path) -> None:
    with running_redis(tmp_path) as process:
        connect(embedded_url(tmp_path)).rpush("queue", "job 1")
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=10)
        assert not is_up(embedded_url(tmp_path))
    with running_redis(tmp_path):
        assert connect(embedded_url(tmp_path)).lrange("queue", 0, -1) == [b"job 1"]


def test_nobody_but_the_owner_reaches_it_and_it_opens_no_port(tmp_path: Path) -> None:
    with running_redis(tmp_path) as process:
        mode = socket_path(tmp_path).stat().st_mode
        assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o600
        assert stat.S_IMODE((tmp_path / "redis").stat().st_mode) == 0o700
        assert connect(embedded_url(tmp_path)).config_get("port") == {"port": "0"}
        assert process.poll() is None


@pytest.mark.parametrize("name", ["plain", "with blanks & ümlauts", "long" * 30])
def test_it_serves_from_any_data_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    path = socket_path(folder)
    assert len(os.fsencode(path)) <= SOCKET_PATH_LIMIT
    assert unquote(urlsplit(embedded_url(folder)).path) == str(path)
    with running_redis(folder):
        assert is_up(embedded_url(folder))
    if path.parent != folder / "redis":
        path.parent.rmdir()


def test_a_socket_folder_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    socket_path(folder).parent.mkdir(mode=0o755)
    try:
        with pytest.raises(PermanentError, match="not private"):
            redis_command(folder)
    finally:
        socket_path(folder).parent.rmdir()


def test_a_journal_it_cannot_read_is_put_aside(tmp_path: Path) -> None:
    with running_redis(tmp_path):
        connect(embedded_url(tmp_path)).rpush("queue", "job 1")
    journal = tmp_path / "redis" / "appendonly.aof"
    journal.write_bytes(b"this is no journal\n" * 10)
    failed = subprocess.run(redis_command(tmp_path), capture_output=True, timeout=20, check=False)
    assert failed.returncode == 1
    (moved,) = set_aside_journal(tmp_path, datetime(2026, 3, 2, 12, 30, tzinfo=UTC))
    assert moved.name == "appendonly.aof.unreadable-20260302T123000Z"
    with running_redis(tmp_path):
        wait_for("an empty queue", lambda: connect(embedded_url(tmp_path)).dbsize() == 0, 10)


def test_a_configured_redis_takes_its_place(tmp_path: Path) -> None:
    assert redis_url(configuration(tmp_path)) == embedded_url(tmp_path)
    assert redis_url(configuration(tmp_path, queue={"url": "redis://elsewhere/1"})) == "redis://elsewhere/1"
