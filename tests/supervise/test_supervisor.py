"""The supervisor's own rules, with small real processes as parts."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from node.errors import ConfigurationError, OsteonError
from node.jobs.locks import only_one
from node.supervise.child import LIFELINE, LONGEST_RESTART_S, STEADY_S, Child, Part, restart_pause_s
from node.supervise.ports import answers, claim_port
from node.supervise.supervisor import STARTING_TRIES, Stopped, Supervisor
from tests.fixtures.running_node import wait_for

TIMEOUT_S = 20.0


def python(program: str) -> Callable[[], Sequence[str]]:
    return lambda: [sys.executable, "-S", "-c", program]


def part(name: str, program: str, ready: Callable[[int], bool] = lambda _pid: True, **more: object) -> Part:
    return Part(name, python(program), ready, **more)  # type: ignore[arg-type]


SLEEP = "import time; time.sleep(600)"


class Running:
    """A supervisor that watches in a thread of the test."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self.supervisor = Supervisor(self.stopping)
        self.thread = threading.Thread(target=self.supervisor.watch, daemon=True)

    def start(self, *parts: Part) -> None:
        self.supervisor.start(parts)

    def child(self, name: str) -> Child:
        return next(child for child in self.supervisor._children if child.part.name == name)


@pytest.fixture
def running() -> Iterator[Running]:
    running = Running()
    yield running
    running.stopping.set()
    if running.thread.is_alive():
        running.thread.join(timeout=TIMEOUT_S)
    running.supervisor.stop()


def test_start_returns_when_every_part_is_ready(running: Running, tmp_path: Path) -> None:
    mark = tmp_path / "ready"
    late = f"import pathlib, time; time.sleep(0.3); pathlib.Path({str(mark)!r}).touch(); time.sleep(600)"
    running.start(part("late", late, lambda _pid: mark.exists()), part("early", SLEEP))
    assert mark.exists()
    assert running.child("late").ready and running.child("early").ready


def test_a_part_that_dies_is_started_again_after_its_work_was_released(running: Running) -> None:
    released: list[int] = []
    running.start(part("worker", SLEEP, on_exit=released.append))
    first = running.child("worker").pid
    assert first is not None
    running.thread.start()
    os.kill(first, signal.SIGKILL)
    wait_for("another process", lambda: running.child("worker").pid not in (first, None), TIMEOUT_S)
    assert released == [-signal.SIGKILL]


def test_a_part_that_never_gets_up_ends_the_start_with_its_name(running: Running) -> None:
    with pytest.raises(OsteonError, match=f"broken ended {STARTING_TRIES} times"):
        running.start(part("broken", "raise SystemExit(1)", lambda _pid: False))


def test_a_part_whose_configuration_is_wrong_ends_the_start_at_once(running: Running) -> None:
    with pytest.raises(ConfigurationError, match="infer-1 cannot run"):
        running.start(part("infer-1", "raise SystemExit(2)", lambda _pid: False))
    assert running.child("infer-1").early_deaths == 1


def test_a_signal_during_the_start_stops_it(running: Running) -> None:
    threading.Timer(0.3, running.stopping.set).start()
    with pytest.raises(Stopped):
        running.start(part("slow", SLEEP, lambda _pid: False))


def test_parts_end_in_their_order_and_what_does_not_end_is_killed(running: Running, tmp_path: Path) -> None:
    book = tmp_path / "book"
    polite = (
        "import signal, sys, time\n"
        "def end(*_):\n"
        f"    open({str(book)!r}, 'a').write(sys.argv[1] + ' ')\n"
        "    raise SystemExit(0)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "print('up', flush=True)\n"
        "time.sleep(600)"
    )
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    )

    def named(name: str, program: str, order: int, grace_s: float) -> Part:
        heard: list[bytes] = []

        def listen(process: subprocess.Popen[bytes]) -> None:
            assert process.stdout is not None
            heard.append(process.stdout.readline())  # the handler is installed
            process.stdout.close()

        return Part(
            name,
            lambda: [*python(program)(), name],
            lambda _pid: bool(heard),
            stop_order=order,
            grace_s=grace_s,
            capture_output=listen,
        )

    running.start(
        named("redis", polite, 3, 10), named("listener", polite, 1, 10), named("worker", polite, 2, 10),
        named("stubborn", stubborn, 2, 0.3),
    )  # fmt: skip
    pids = [child.pid for child in running.supervisor._children]
    running.supervisor.stop()
    assert book.read_text().split() == ["listener", "worker", "redis"]
    assert not any(pid and psutil.pid_exists(pid) for pid in pids)


def test_children_die_with_a_parent_that_is_sigkilled(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    sleeper = f"import os, time; open({str(told)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    parent_program = (
        "import os, subprocess, sys, time\n"
        f"lifeline = [sys.executable, '-I', '-S', {str(LIFELINE)!r}, str(os.getpid())]\n"
        f"subprocess.Popen([*lifeline, sys.executable, '-S', '-c', {sleeper!r}], start_new_session=True)\n"
        "time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-S", "-c", parent_program])
    try:
        child = int(wait_for("the child's pid", lambda: told.read_text() if told.exists() else "", TIMEOUT_S))
        assert psutil.pid_exists(child)
    finally:
        parent.kill()
        parent.wait(timeout=10)
    wait_for("the child's death", lambda: not psutil.pid_exists(child) or _is_zombie(child), TIMEOUT_S)


def _is_zombie(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_command_whose_parent_is_gone_already_is_not_run() -> None:
    ended = subprocess.run(
        [sys.executable, "-I", "-S", str(LIFELINE), "1", sys.executable, "-c", "print('ran')"],
        capture_output=True, timeout=TIMEOUT_S, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout) == (1, b"")


def test_the_pause_before_a_restart_doubles_up_to_a_limit() -> None:
    assert [restart_pause_s(n) for n in (1, 2, 3, 4)] == [0.5, 1, 2, 4]
    assert restart_pause_s(50) == restart_pause_s(5000) == LONGEST_RESTART_S


def test_a_part_that_was_up_for_long_is_not_blamed_for_earlier_deaths() -> None:
    child = Child(part("p", "raise SystemExit(1)"))
    for now, expected in ((0.0, 1), (1.0, 2), (2.0, 3), (3.0 + STEADY_S, 1)):
        started = now if expected != 1 or now == 0.0 else 3.0
        child.start(started)
        assert child.process is not None
        child.process.wait(timeout=TIMEOUT_S)
        assert child.reap(now) == 1
        assert (child.early_deaths, child.start_at) == (expected, now + restart_pause_s(expected))


def test_a_busy_port_is_a_sentence_with_the_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        with pytest.raises(OsteonError, match=f"port {port} on 127.0.0.1 is in use.*listen.port"):
            claim_port("127.0.0.1", port, "listen.port", wait_s=0.0)
        assert answers("127.0.0.1", port)
    assert claim_port("127.0.0.1", port, "listen.port") == port
    assert not answers("127.0.0.1", port)


def test_a_port_that_shares_itself_is_busy_all_the_same() -> None:
    with socket.socket() as sharing:  # as a second listener with SO_REUSEPORT would, unnoticed
        sharing.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sharing.bind(("127.0.0.1", 0))
        sharing.listen()
        with pytest.raises(OsteonError, match="in use"):
            claim_port("127.0.0.1", sharing.getsockname()[1], "listen.port", wait_s=0.0)


def test_an_address_that_this_machine_does_not_have_is_a_sentence() -> None:
    with pytest.raises(OsteonError, match=r"192\.0\.2\.1 cannot be opened.*dashboard\.host"):
        claim_port("192.0.2.1", 8080, "dashboard.host", wait_s=0.0)


def test_port_0_is_a_free_one() -> None:
    assert claim_port("127.0.0.1", 0, "listen.port") > 0


def test_a_second_holder_of_a_lock_is_told_who_has_it(tmp_path: Path) -> None:
    lock = tmp_path / "serve.lock"
    refused = pytest.raises(OsteonError, match=f"another osteon serve .process {os.getpid()}.")
    with only_one(lock, "osteon serve"), refused, only_one(lock, "osteon serve", wait_s=0.0):
        pass
    with only_one(lock, "osteon serve", wait_s=0.0):
        assert lock.read_text() == f"{os.getpid()}\n"
