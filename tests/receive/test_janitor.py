"""What killed listeners leave is cleared away; what is acknowledged or still being written is not."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from node.receive.janitor import mark_orphans, sweep_partials
from node.receive.liveness import LivingProcess, is_alive, process_of
from node.storage.local import SpoolFolders
from node.storage.spool import (
    AssociationEnd,
    AssociationRecord,
    ended_associations,
    instance_name,
    mark_ended,
    write_association,
)

HOUR_S = 3600.0


@pytest.fixture
def spool(tmp_path: Path) -> SpoolFolders:
    return SpoolFolders.create(tmp_path)


def record(token: str) -> AssociationRecord:
    return AssociationRecord(token, "CT", "OSTEON", "127.0.0.1", 0.0)


def aged(path: Path, age_s: float, now: float) -> Path:
    path.touch()
    os.utime(path, (now - age_s, now - age_s))
    return path


def test_partial_files_of_the_dead_go_at_once_and_those_of_the_living_when_they_are_stale(spool: SpoolFolders) -> None:
    now = time.time()
    living = LivingProcess(spool.partial)
    dead = aged(spool.partial / "0123456789ab-1~1.part", 1, now)
    written = aged(spool.partial / f"{living.new_token()}~1.part", HOUR_S - 5, now)
    stale = aged(spool.partial / f"{living.new_token()}~1.part", HOUR_S + 5, now)
    record_half = aged(spool.inbox / ".0123456789ab-2.assoc.partial", 1, now)
    assert sweep_partials(spool, HOUR_S, now) == 3
    assert [path.exists() for path in (dead, written, stale, record_half)] == [False, True, False, False]
    living.close()
    assert sweep_partials(spool, HOUR_S, now) == 1
    assert list(spool.partial.iterdir()) == []


def test_nothing_acknowledged_is_ever_removed(spool: SpoolFolders) -> None:
    write_association(spool.inbox, record("0123456789ab-1"))
    names = {instance_name("1.2.3", "0123456789ab-1", 1), "0123456789ab-1.assoc"}
    (spool.inbox / instance_name("1.2.3", "0123456789ab-1", 1)).write_bytes(b"x")
    sweep_partials(spool, 0.0, time.time() + 10 * HOUR_S)
    assert {path.name for path in spool.inbox.iterdir()} == names


def test_associations_of_the_dead_are_marked_as_ended_once_and_those_of_the_living_are_not(spool: SpoolFolders) -> None:
    living = LivingProcess(spool.partial)
    open_token = living.new_token()
    for token in (open_token, "0123456789ab-1", "0123456789ab-2"):
        write_association(spool.inbox, record(token))
    mark_ended(spool.inbox, "0123456789ab-2", AssociationEnd.RELEASED)
    assert mark_orphans(spool) == ["0123456789ab-1"]
    assert mark_orphans(spool) == []
    assert ended_associations(spool.inbox) == {
        "0123456789ab-2": AssociationEnd.RELEASED, "0123456789ab-1": AssociationEnd.KILLED,
    }  # fmt: skip
    living.close()
    assert mark_orphans(spool) == [open_token]


def test_a_process_counts_as_alive_until_it_ends_however_it_ends(spool: SpoolFolders) -> None:
    program = (
        "import sys, pathlib\n"
        "from node.receive.liveness import LivingProcess\n"
        "print(LivingProcess(pathlib.Path(sys.argv[1])).new_token(), flush=True)\n"
        "sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(spool.partial)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout and process.stdin
    token = process.stdout.readline().strip()
    assert is_alive(spool.partial, process_of(token))
    process.kill()
    process.wait(30)
    assert not is_alive(spool.partial, process_of(token))
    process.stdout.close()
    process.stdin.close()


def test_a_mark_without_its_process_is_cleared_away(spool: SpoolFolders) -> None:
    now = time.time()
    living = LivingProcess(spool.partial)
    (spool.partial / "0123456789ab.alive").touch()
    starting, abandoned = spool.partial / "a.new", spool.partial / "b.new"
    ending, half_ended = spool.inbox / ".a-1.7.end.partial", spool.inbox / ".a-2.7.end.partial"
    for path in (starting, ending):
        aged(path, 1, now)
    for path in (abandoned, half_ended):
        aged(path, HOUR_S, now)
    sweep_partials(spool, HOUR_S, now)
    assert list(spool.inbox.iterdir()) == [ending]
    assert sorted(path.name for path in spool.partial.iterdir()) == sorted(["a.new", f"{living.name}.alive"])
    living.close()
