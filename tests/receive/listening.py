"""A listener for a test: in this process, or as a process of its own that can be killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from node.receive.listener import Listener
from node.receive.occupancy import Occupancy
from node.receive.port import open_port
from node.receive.reception import SpoolRules
from node.settings import Configuration, Settings
from node.storage.local import SpoolFolders
from node.storage.spool import InboxEntry, ended_associations, parse_instance_name

WAIT_S = 30.0


def wait_until(what: str, condition: Callable[[], Any], timeout_s: float = WAIT_S) -> None:
    """Poll until the condition holds; AssertionError naming `what` when the time is up."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s:g} s in vain for {what}"
        time.sleep(0.01)


def make_configuration(data_dir: Path, spool: dict[str, Any] | None = None, **listen: Any) -> Configuration:
    """A configuration with a free port; little disk is asked for, so that tests run on full machines."""
    settings = Settings.model_validate(
        {"listen": {"port": 0, "processes": 1, **listen}, "spool": {"min_free_bytes": 0, **(spool or {})}}
    )
    return Configuration(settings, (), data_dir, data_dir)


@dataclass
class Running:
    """A listener that takes associations on `port` of loopback."""

    port: int
    spool: SpoolFolders
    stop: Callable[[], None]

    def instances(self) -> list[InboxEntry]:
        """What is acknowledged, by number of arrival."""
        found = [parse_instance_name(path) for path in self.spool.inbox.glob("*.dcm")]
        return sorted((entry for entry in found if entry), key=lambda entry: (entry.association, entry.number))

    def partials(self) -> list[Path]:
        return list(self.spool.partial.glob("*.part"))

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in self.spool.inbox.glob("*.assoc")]

    def ended(self) -> set[str]:
        return set(ended_associations(self.spool.inbox))


@contextmanager
def listening(configuration: Configuration, spool_rules: SpoolRules | None = None) -> Iterator[Running]:
    """A listener in a thread of this process; drained and joined at the end of the `with`."""
    listen = configuration.settings.listen
    port_socket = open_port(listen.host, listen.port)
    port = port_socket.getsockname()[1]
    listener = Listener(configuration, port_socket, Occupancy(1), spool_rules=spool_rules)
    thread = threading.Thread(target=listener.serve, name="listener under test")
    thread.start()
    try:
        yield Running(port, SpoolFolders.create(configuration.data_dir), listener.stop)
    finally:
        listener.stop()
        thread.join(WAIT_S)
        assert not thread.is_alive(), "the listener did not drain"


PROGRAM = """
import json, sys
from pathlib import Path
import node.receive
from node.settings import Configuration, Settings
given = json.loads(sys.argv[1])
data = Path(given["data"])
configuration = Configuration(Settings.model_validate(given["settings"]), (), data, data)
node.receive.run_listeners(configuration, lambda host, port: print("READY", port, flush=True))
"""


@dataclass
class RunningProcess(Running):
    """Supervised listeners in processes of their own."""

    process: psutil.Process

    def children(self) -> list[psutil.Process]:
        """The listener processes, without any that is dead but not yet waited for."""
        return [child for child in self.process.children() if child.status() != psutil.STATUS_ZOMBIE]


@contextmanager
def listening_process(configuration: Configuration) -> Iterator[RunningProcess]:
    """`run_listeners` in a process of its own; stopped with SIGTERM, which it must obey."""
    settings = configuration.settings.model_dump(mode="json")
    given = {"data": str(configuration.data_dir), "settings": settings}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, json.dumps(given)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    # Read by a thread: a full pipe would stop the listeners' log, and so the listeners.
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(process.stdout or ()), daemon=True)
    port: list[int] = []

    def started() -> bool:
        assert process.poll() is None, f"the listeners ended with {process.poll()}"
        port.extend(int(line.split()[1]) for line in list(lines) if line.startswith("READY"))
        return bool(port)

    reader.start()
    try:
        wait_until("the listeners to start", started)
        running = RunningProcess(
            port[0], SpoolFolders.create(configuration.data_dir), process.terminate, psutil.Process(process.pid)
        )
        count = configuration.settings.listen.processes
        wait_until("all processes", lambda: process.poll() is not None or len(running.children()) == count)
        yield running
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(WAIT_S)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            reader.join(5)
            if process.stdout:
                process.stdout.close()
