"""Peers that are silent, break off, talk nonsense or come in crowds: nothing half is kept, nobody else has to wait."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.storage.spool import AssociationEnd, ended_associations
from tests.receive.listening import Running, listening, make_configuration, wait_until
from tests.receive.raw_peer import (
    ABORT,
    ASSOCIATE_AC,
    ASSOCIATE_RJ,
    CT,
    IMPLICIT,
    VERIFICATION,
    PeerGone,
    RawPeer,
    associate_request,
    command_set,
    echoes,
    element,
    p_data,
    pdv,
    small_data_set,
    store_command,
    us,
)

CONTEXTS = {1: (CT, [IMPLICIT])}


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Running]:
    with listening(make_configuration(tmp_path)) as running:
        yield running


@pytest.fixture(scope="module")
def shared_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with listening(make_configuration(tmp_path_factory.mktemp("shared"))) as running:
        yield running


def test_a_wrong_called_title_and_an_unlisted_calling_title_are_rejected_with_their_reasons(tmp_path: Path) -> None:
    configuration = make_configuration(tmp_path, ae_title="BONES", allow_calling_aets=("CT1",))
    with listening(configuration) as node:
        for titles, reason in (
            ({"called": "OTHER", "calling": "CT1"}, (1, 1, 7)),
            ({"called": "BONES", "calling": "CT2"}, (1, 1, 3)),
        ):
            with RawPeer(node.port) as peer:
                kind, body = peer.associate(CONTEXTS, **titles)
                assert (kind, tuple(body[1:4])) == (ASSOCIATE_RJ, reason)
        with RawPeer(node.port) as peer:
            assert peer.associate(CONTEXTS, called="BONES", calling="CT1")[0] == ASSOCIATE_AC


def test_titles_padded_with_nul_as_some_devices_do_are_understood(tmp_path: Path) -> None:
    with listening(make_configuration(tmp_path, allow_calling_aets=("CT1",))) as node, RawPeer(node.port) as peer:
        titles = {"called": "OSTEON".ljust(16, "\0"), "calling": "CT1".ljust(16, "\0")}
        assert peer.associate(CONTEXTS, **titles)[0] == ASSOCIATE_AC
        assert peer.store(1, CT, "1.2.3", small_data_set()) == 0
        assert node.records()[0]["calling_aet"] == "CT1"


def test_a_connection_that_breaks_in_mid_instance_leaves_nothing_and_keeps_what_was_acknowledged(node: Running) -> None:
    with RawPeer(node.port) as peer:
        peer.associate(CONTEXTS)
        assert peer.store(1, CT, "1.2.3", small_data_set()) == 0
        peer.send(p_data(pdv(1, 3, store_command(CT, "1.2.4"))))
        peer.send(p_data(pdv(1, 0, small_data_set(sop_instance="1.2.4", extra=bytes(50_000)))))
        wait_until("the partial file", node.partials)
    wait_until("the partial file to go", lambda: not node.partials())
    wait_until("the end mark", node.ended)
    assert [entry.sop_instance_uid for entry in node.instances()] == ["1.2.3"]


def test_a_connection_that_breaks_within_a_pdu_leaves_nothing(node: Running) -> None:
    with RawPeer(node.port) as peer:
        peer.associate(CONTEXTS)
        peer.send(p_data(pdv(1, 3, store_command(CT, "1.2.4"))))
        peer.send(p_data(pdv(1, 2, small_data_set(sop_instance="1.2.4", extra=bytes(50_000))))[:-1])
        wait_until("the partial file", node.partials)
    wait_until("the partial file to go", lambda: not node.partials())
    assert node.instances() == []


def test_an_abort_keeps_what_was_acknowledged_and_ends_the_association(node: Running) -> None:
    with RawPeer(node.port) as peer:
        peer.associate(CONTEXTS)
        assert peer.store(1, CT, "1.2.3", small_data_set()) == 0
        peer.send(p_data(pdv(1, 3, store_command(CT, "1.2.4")), pdv(1, 0, small_data_set())))
        peer.abort()
        wait_until("the end mark", node.ended)
    assert [entry.sop_instance_uid for entry in node.instances()] == ["1.2.3"]
    assert node.partials() == []
    assert echoes(node.port)


def test_the_mark_says_whether_the_association_was_released_aborted_or_lost(node: Running) -> None:
    for number, (way_out, how) in enumerate(
        [
            (RawPeer.release, AssociationEnd.RELEASED),
            (RawPeer.abort, AssociationEnd.ABORTED),
            (lambda _peer: None, AssociationEnd.LOST),
        ],
        start=1,
    ):
        with RawPeer(node.port) as peer:
            peer.associate(CONTEXTS)
            assert peer.store(1, CT, f"1.2.{number}", small_data_set(sop_instance=f"1.2.{number}")) == 0
            way_out(peer)
        wait_until("the end mark", lambda count=number: len(node.ended()) == count)
        (entry,) = [entry for entry in node.instances() if entry.sop_instance_uid == f"1.2.{number}"]
        assert ended_associations(node.spool.inbox)[entry.association] is how


def test_a_sender_that_stalls_in_mid_instance_is_aborted_after_the_dimse_timeout(tmp_path: Path) -> None:
    configuration = make_configuration(tmp_path, dimse_timeout_s=0.3, network_timeout_s=60)
    with listening(configuration) as node:
        for rest in (b"", pdv(1, 0, bytes(1000))[:500]):
            with RawPeer(node.port) as peer:
                peer.associate(CONTEXTS)
                whole = p_data(pdv(1, 3, store_command(CT, "1.2.4")), pdv(1, 0, bytes(100)))
                # First between two PDUs, then within one.
                peer.send(whole + struct.pack(">BxI", 4, 1006) * bool(rest) + rest)
                with pytest.raises(PeerGone):
                    while peer.read_pdu()[0] != ABORT:
                        pass
                    raise PeerGone
        wait_until("the partial files to go", lambda: not node.partials())


def test_an_idle_association_is_ended_after_the_network_timeout(tmp_path: Path) -> None:
    with listening(make_configuration(tmp_path, network_timeout_s=0.3)) as node, RawPeer(node.port) as peer:
        peer.associate(CONTEXTS)
        assert peer.store(1, CT, "1.2.3", small_data_set()) == 0
        assert peer.read_pdu()[0] == ABORT
        wait_until("the end mark", node.ended)


def test_forty_silent_sockets_keep_nobody_out_and_are_closed_in_time(tmp_path: Path) -> None:
    configuration = make_configuration(tmp_path, acse_timeout_s=0.8, max_associations=2)
    with listening(configuration) as node:
        before = threading.active_count()
        silent = [socket.create_connection(("127.0.0.1", node.port), timeout=20) for _ in range(40)]
        half = associate_request(CONTEXTS)
        silent[0].sendall(half[:3])
        silent[1].sendall(half[:-1])
        assert echoes(node.port)
        assert threading.active_count() <= before + 2
        for each in silent:
            assert each.recv(10) == b""
            each.close()


def test_a_spool_that_goes_away_refuses_with_a_status_and_the_association_gives_its_place_back(tmp_path: Path) -> None:
    with listening(make_configuration(tmp_path, max_associations=1)) as node:
        with RawPeer(node.port) as peer:
            peer.associate(CONTEXTS)
            assert peer.store(1, CT, "1.2.3", small_data_set()) == 0
            (tmp_path / "spool").rename(tmp_path / "away")
            assert peer.store(1, CT, "1.2.4", small_data_set(sop_instance="1.2.4")) == 0x0110
            peer.release()

        def is_let_in() -> bool:
            with RawPeer(node.port) as other:
                return other.associate(CONTEXTS)[0] == ASSOCIATE_AC

        wait_until("the one place", is_let_in)
        (tmp_path / "away").rename(tmp_path / "spool")
        assert [entry.sop_instance_uid for entry in node.instances()] == ["1.2.3"]


def test_one_association_too_many_is_told_so_and_welcome_later(tmp_path: Path) -> None:
    with listening(make_configuration(tmp_path, max_associations=2)) as node:
        with RawPeer(node.port) as one, RawPeer(node.port) as two:
            assert one.associate(CONTEXTS)[0] == ASSOCIATE_AC
            assert two.associate(CONTEXTS)[0] == ASSOCIATE_AC
            with RawPeer(node.port) as three:
                kind, body = three.associate(CONTEXTS)
                assert (kind, tuple(body[1:4])) == (ASSOCIATE_RJ, (2, 3, 2))
            assert one.store(1, CT, "1.2.3", small_data_set()) == 0
        wait_until("room", lambda: echoes(node.port))


@pytest.mark.parametrize(
    "noise",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
        struct.pack(">BxI", 1, 0xFFFFFFFF) + bytes(100),
        struct.pack(">BxI", 1, 4) + bytes(4),
        struct.pack(">BxI", 4, 4) + bytes(4),
        struct.pack(">BxI", 9, 0xFFFFFFFF),
        associate_request(CONTEXTS)[:74] + b"\xff" * (len(associate_request(CONTEXTS)) - 74),
    ],
    ids=["http", "tls", "endless", "empty request", "data first", "unknown PDU", "damaged request"],
)
def test_what_is_no_dicom_is_shown_the_door_and_the_node_answers_on(node: Running, noise: bytes) -> None:
    with RawPeer(node.port) as peer:
        peer.send(noise)
        try:
            while True:
                peer.read_pdu()
        except PeerGone:
            pass
    assert echoes(node.port)


VIOLATIONS = {
    "a data set without a command": p_data(pdv(1, 2, b"abc")),
    "a context that was not accepted": p_data(pdv(9, 3, store_command(CT, "1.2.3"))),
    "a second command within a message": p_data(pdv(1, 3, store_command(CT, "1.2.3"))) * 2,
    "another context within a message": p_data(pdv(1, 3, store_command(CT, "1.2.3")), pdv(3, 2, b"abc")),
    "a command that is none": p_data(pdv(1, 3, b"abc")),
    "a command without a message ID": p_data(pdv(1, 3, command_set(element(0x0100, us(1)), element(0x0800, us(1))))),
    "a command without end": p_data(*[pdv(1, 1, bytes(60_000))] * 2),
    "an item longer than its PDU": struct.pack(">BxIIBB", 4, 8, 500, 1, 3) + b"ab",
    "an item shorter than its header": struct.pack(">BxIIBB", 4, 6, 0, 1, 3),
    "a PDU that ends within an item": struct.pack(">BxI", 4, 3) + b"abc",
    "another association request": associate_request(CONTEXTS),
    "an unknown PDU": struct.pack(">BxI", 0x2A, 4) + bytes(4),
    "a control PDU without end": struct.pack(">BxI", 5, 0x7FFFFFFF) + bytes(1000),
}


@pytest.mark.parametrize("violation", VIOLATIONS)
def test_who_breaks_the_protocol_is_aborted_and_the_node_answers_on(node: Running, violation: str) -> None:
    with RawPeer(node.port) as peer:
        peer.associate(CONTEXTS)
        try:
            peer.send(VIOLATIONS[violation])
            kind = peer.read_pdu()[0]
        except PeerGone:
            kind = ABORT  # closed while the rest was still being sent
        assert kind == ABORT
    assert node.instances() == []
    assert echoes(node.port)
    wait_until("the partial file to go", lambda: not node.partials())


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.binary(min_size=1, max_size=120), at=st.integers(0, 3))
def test_noise_at_any_point_never_stores_and_never_stops_the_node(shared_node: Running, noise: bytes, at: int) -> None:
    steps = [
        associate_request(CONTEXTS),
        p_data(pdv(1, 3, store_command(CT, "1.2.3"))),
        p_data(pdv(1, 0, small_data_set(extra=os.urandom(10)))),
    ]
    with RawPeer(shared_node.port) as peer:
        try:
            peer.send(b"".join(steps[:at]) + noise)
            peer.socket.shutdown(socket.SHUT_WR)
            while True:
                peer.read_pdu()
        except (PeerGone, OSError):
            pass
    # Polled: right after a broken association the node may still be giving its place back.
    wait_until("an answer to C-ECHO", lambda: echoes(shared_node.port))


@pytest.mark.slow
def test_a_drain_lets_a_running_instance_finish_and_sends_idle_associations_home(tmp_path: Path) -> None:
    with listening(make_configuration(tmp_path)) as node, RawPeer(node.port) as busy, RawPeer(node.port) as idle:
        for peer in (busy, idle):
            peer.associate(CONTEXTS)
        data = small_data_set(extra=os.urandom(10_000))
        busy.send(p_data(pdv(1, 3, store_command(CT, "1.2.3")), pdv(1, 0, data[:5000])))
        wait_until("the partial file", node.partials)
        node.stop()

        def refuses() -> bool:
            try:
                socket.create_connection(("127.0.0.1", node.port), timeout=5).close()
            except ConnectionRefusedError:
                return True
            return False

        wait_until("the port to close", refuses)
        assert idle.read_pdu()[0] == ABORT
        busy.send(p_data(pdv(1, 2, data[5000:])))
        assert busy.status() == 0
        busy.release()
        assert len(node.instances()) == 1
        wait_until("the end mark", node.ended)


def test_a_verification_association_needs_no_storage_context(node: Running) -> None:
    with RawPeer(node.port) as peer:
        peer.associate({1: (VERIFICATION, [IMPLICIT])})
        assert peer.echo(1) == 0
        peer.release()


@pytest.mark.parametrize("field", [0x0020, 0x0021, 0x0130, 0x7777])
def test_an_operation_that_is_not_served_is_declined_and_the_association_goes_on(node: Running, field: int) -> None:
    command = command_set(element(0x0100, us(field)), element(0x0110, us(7)), element(0x0800, us(1)))
    with RawPeer(node.port) as peer:
        peer.associate(CONTEXTS)
        peer.send(p_data(pdv(1, 3, command), pdv(1, 0, bytes(100_000)), pdv(1, 2, b"abc")))
        answer = peer.response()
        assert (answer[0x0900], answer[0x0120], answer[0x0100]) == (us(0x0211), us(7), us(field | 0x8000))
        assert peer.store(1, CT, "1.2.3", small_data_set()) == 0


def test_a_cancellation_and_a_response_nobody_asked_for_get_no_answer(node: Running) -> None:
    with RawPeer(node.port) as peer:
        peer.associate(CONTEXTS)
        for field in (0x0FFF, 0x8001):
            command = command_set(element(0x0100, us(field)), element(0x0120, us(7)), element(0x0800, us(0x0101)))
            peer.send(p_data(pdv(1, 3, command)))
        assert peer.store(1, CT, "1.2.3", small_data_set()) == 0
