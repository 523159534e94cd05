"""A listener that runs out of threads or file handles turns away what it cannot take, and goes on when it can again.

The refusals of the kernel are real for file handles; threads are refused where Python asks for one.
"""

from __future__ import annotations

import os
import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from node.receive.association import InboundAssociation
from node.receive.listener import Listener
from node.receive.occupancy import Occupancy
from node.receive.port import open_port
from node.receive.transport import SpoolingUpperLayer
from tests.receive.listening import make_configuration, wait_until
from tests.receive.raw_peer import ASSOCIATE_AC, CT, IMPLICIT, PeerGone, RawPeer, echoes

CONTEXTS = {1: (CT, [IMPLICIT])}


@pytest.fixture
def occupancy() -> Occupancy:
    return Occupancy(1)


@pytest.fixture
def port(tmp_path: Path, occupancy: Occupancy) -> Iterator[int]:
    """The port of a listener in a thread of this process."""
    listening = open_port("127.0.0.1", 0)
    number = listening.getsockname()[1]
    listener = Listener(make_configuration(tmp_path), listening, occupancy)
    thread = threading.Thread(target=listener.serve)
    thread.start()
    yield number
    listener.stop()
    thread.join(30)
    assert not thread.is_alive()


@pytest.mark.parametrize("refused", [InboundAssociation, SpoolingUpperLayer])
def test_an_association_for_which_no_thread_can_be_started_ends_alone_and_frees_its_place(
    port: int, occupancy: Occupancy, refused: type[threading.Thread], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with RawPeer(port) as before:
        assert before.associate(CONTEXTS)[0] == ASSOCIATE_AC
        with monkeypatch.context() as patched, RawPeer(port) as peer:
            patched.setattr(refused, "start", no_thread)
            with pytest.raises((PeerGone, OSError)):
                peer.associate(CONTEXTS)
        wait_until("its place to be free", lambda: occupancy.total() == 1)
        before.release()
    assert echoes(port)


@contextmanager
def no_more_handles() -> Iterator[None]:
    """Let this process open no file beyond those that are open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    probe = os.open(os.devnull, os.O_RDONLY)
    os.close(probe)
    resource.setrlimit(resource.RLIMIT_NOFILE, (probe, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_without_file_handles_accepting_rests_and_the_connection_is_taken_later(port: int) -> None:
    assert echoes(port)
    with socket.socket() as waiting, capture_logs() as said:
        with no_more_handles():
            waiting.connect(("127.0.0.1", port))
            time.sleep(1.0)
        refused = [line for line in said if line["event"] == "connection not accepted"]
        assert 1 <= len(refused) <= 10, "told, but not thousands of times a second"
    assert echoes(port)
