"""Listener processes that are killed, replaced, drained and orphaned: what was acknowledged is there in any case."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
from pydicom import dcmread

from node.errors import ConfigurationError
from node.receive import port
from node.receive.supervisor import Supervisor
from node.storage.spool import AssociationEnd, ended_associations
from tests.receive.listening import RunningProcess, listening_process, make_configuration, wait_until
from tests.receive.raw_peer import (
    ASSOCIATE_AC,
    ASSOCIATE_RJ,
    CT,
    IMPLICIT,
    PeerGone,
    RawPeer,
    echoes,
    p_data,
    pdv,
    small_data_set,
    store_command,
)

CONTEXTS = {1: (CT, [IMPLICIT])}


def answers(node: RunningProcess) -> bool:
    try:
        return echoes(node.port)
    except (OSError, PeerGone):
        return False


def test_a_listener_killed_after_its_acknowledgement_has_the_instance_and_is_replaced(tmp_path: Path) -> None:
    with listening_process(make_configuration(tmp_path)) as node:
        (first,) = node.children()
        with RawPeer(node.port) as peer:
            peer.associate(CONTEXTS)
            assert peer.store(1, CT, "1.2.3", small_data_set(extra=os.urandom(5000))) == 0
            peer.send(p_data(pdv(1, 3, store_command(CT, "1.2.4")), pdv(1, 0, bytes(9000))))
            wait_until("the second instance to arrive in part", node.partials)
            first.kill()
            with pytest.raises(PeerGone):
                peer.read_pdu()
        (entry,) = node.instances()
        assert dcmread(entry.path, force=True).SOPInstanceUID == "1.2.3"
        wait_until("a replacement that answers", lambda: answers(node))
        assert [child.pid for child in node.children()] != [first.pid]
        # The supervisor does what the dead process no longer could.
        assert ended_associations(node.spool.inbox) == {entry.association: AssociationEnd.KILLED}
        assert node.partials() == []
        assert len(node.instances()) == 1


def test_the_limit_of_associations_counts_over_all_processes_and_both_are_used(tmp_path: Path) -> None:
    configuration = make_configuration(tmp_path, processes=2, max_associations=4)
    with listening_process(configuration) as node, ExitStack() as peers:
        first, second = node.children()
        # Which process accepts is the kernel's choice; one that is stopped cannot, so that each gets its two.
        for number, halted in enumerate((first, first, second, second)):
            halted.suspend()
            peer = peers.enter_context(RawPeer(node.port))
            assert peer.associate(CONTEXTS)[0] == ASSOCIATE_AC
            assert peer.store(1, CT, f"1.2.{number}", small_data_set(sop_instance=f"1.2.{number}")) == 0
            halted.resume()
        processes = [entry.association.partition("-")[0] for entry in node.instances()]
        assert sorted(processes.count(one) for one in set(processes)) == [2, 2]
        assert peers.enter_context(RawPeer(node.port)).associate(CONTEXTS)[0] == ASSOCIATE_RJ
        # A process that dies takes its associations out of the count.
        for child in node.children():
            child.kill()
        wait_until("room again", lambda: answers(node))


def test_sigterm_ends_all_processes_after_the_running_instance(tmp_path: Path) -> None:
    with listening_process(make_configuration(tmp_path, processes=2)) as node:
        children = node.children()
        with RawPeer(node.port) as peer:
            peer.associate(CONTEXTS)
            data = small_data_set(extra=os.urandom(9000))
            peer.send(p_data(pdv(1, 3, store_command(CT, "1.2.3")), pdv(1, 0, data[:3000])))
            wait_until("the partial file", node.partials)
            node.stop()
            peer.send(p_data(pdv(1, 2, data[3000:])))
            assert peer.status() == 0
            peer.release()
        assert node.process.wait(30) == 0
        assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)
        assert len(node.instances()) == 1
        assert list(node.spool.partial.iterdir()) == []


@pytest.mark.slow
def test_listeners_whose_parent_is_killed_end_themselves_and_free_the_port(tmp_path: Path) -> None:
    with listening_process(make_configuration(tmp_path, processes=2)) as node:
        children = node.children()
        node.process.send_signal(signal.SIGKILL)
        _, alive = psutil.wait_procs(children, timeout=30)
        assert alive == []
        with pytest.raises(ConnectionRefusedError):
            RawPeer(node.port)


def test_what_cannot_be_swept_after_a_killed_listener_does_not_end_the_others(tmp_path: Path) -> None:
    with listening_process(make_configuration(tmp_path)) as node:
        (first,) = node.children()
        (node.spool.inbox / "0123456789ab-1.assoc").touch()
        (node.spool.inbox / "0123456789ab-1.end").symlink_to("/nonexistent/end")  # cannot be written, not by root
        first.kill()
        wait_until("a replacement that answers", lambda: answers(node))
        assert node.process.is_running()


def test_processes_that_cannot_be_forked_are_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def no_memory() -> int:
        tried.append(1)
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr(os, "fork", no_memory)
    with port.open_port("127.0.0.1", 0) as listening:
        supervisor = Supervisor(make_configuration(tmp_path), listening)
        thread = threading.Thread(target=supervisor.run)
        thread.start()
        wait_until("another try", lambda: len(tried) >= 3)
        supervisor.stop()
        thread.join(20)
    assert not thread.is_alive()


def test_the_listener_loads_neither_torch_nor_a_database() -> None:
    program = "import json, sys, node.receive.supervisor; print(json.dumps(sorted(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    loaded = set(json.loads(said.stdout))
    assert "pynetdicom" in loaded
    assert loaded.isdisjoint({"torch", "sqlalchemy", "monai", "celery", "fastapi", "highdicom", "scipy"})


def test_a_port_that_is_taken_is_told_with_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port, "PORT_WAIT_S", 0.2)
    with port.open_port("127.0.0.1", 0) as taken:
        number = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"listen: 127\.0\.0\.1:{number} cannot be opened"):
            port.open_port("127.0.0.1", number)
