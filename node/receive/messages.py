"""DIMSE messages out of P-DATA fragments: C-STORE requests are stored and answered, all others are passed on whole.

    fragment of a command set --> StoreRequest --> Reception.begin --> IncomingInstance
                              \\-> another command: kept until complete, then given to pynetdicom (C-ECHO, ...)
    fragment of a data set    --> IncomingInstance.write (or dropped, where the request was refused)
    last fragment             --> IncomingInstance.commit --> C-STORE-RSP

A refused data set is read to its end, since the response may only follow the whole request. What is no DIMSE message is
a ProtocolError; whoever reads the connection aborts the association then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import structlog

from node.receive.command import (
    C_STORE_RQ,
    COMMAND_DATA_SET_TYPE,
    COMMAND_FIELD,
    MAX_COMMAND_BYTES,
    NO_DATA_SET,
    ProtocolError,
    StoreRequest,
    decode_elements,
    number,
    store_request,
    store_response,
)
from node.receive.reception import IncomingInstance, Reception
from node.receive.statuses import SUCCESS, Refused, StoreStatus

MAX_OTHER_DATA_SET_BYTES = 1 << 20
"""Data set of a message other than C-STORE: they are held in memory, and none that we answer has one at all."""

LAST_COMMAND = b"\x03"
LAST_DATA = b"\x02"

log = structlog.get_logger(__name__)


class AcceptedContext(Protocol):
    """What is needed of an accepted presentation context."""

    @property
    def abstract_syntax(self) -> str | None: ...

    @property
    def transfer_syntax(self) -> list: ...


class MessageReader:
    """Takes one association's fragments in the order in which they came.

    Parameters
    ----------
    reception
        Where instances go.
    contexts
        The accepted presentation contexts by ID; looked up late, since negotiation fills it.
    respond
        Called with context ID and encoded command set of each C-STORE response.
    forward
        Called with context ID and fragments (control header first) of each complete message that is no C-STORE.
    """

    def __init__(
        self,
        reception: Reception,
        contexts: Callable[[], Mapping[int, AcceptedContext]],
        respond: Callable[[int, bytes], None],
        forward: Callable[[int, list[bytes]], None],
    ) -> None:
        self._reception = reception
        self._contexts = contexts
        self._respond = respond
        self._forward = forward
        self._context_id: int | None = None
        self._command = bytearray()
        self._command_complete = False
        self._request: StoreRequest | None = None
        self._incoming: IncomingInstance | None = None
        self._refused: Refused | None = None
        self._other_data = bytearray()

    @property
    def in_message(self) -> bool:
        """True between the first and the last fragment of a message."""
        return self._context_id is not None

    def command(self, context_id: int, fragment: bytes, last: bool) -> None:
        """Take a fragment of a command set."""
        if self._context_id is None:
            if context_id not in self._contexts():
                raise ProtocolError(f"presentation context {context_id} was not accepted")
            self._context_id = context_id
        if self._command_complete or context_id != self._context_id:
            raise ProtocolError("a command set in the middle of another message")
        self._command += fragment
        if len(self._command) > MAX_COMMAND_BYTES:
            raise ProtocolError("the command set is too long")
        if last:
            self._command_complete = True
            self._understand(context_id)

    def data(self, context_id: int, fragment: memoryview) -> None:
        """Take bytes of a data set; a fragment may come in several pieces."""
        if not self._command_complete or context_id != self._context_id:
            raise ProtocolError("a data set without a command set before it")
        if self._request is None:
            self._other_data += fragment
            if len(self._other_data) > MAX_OTHER_DATA_SET_BYTES:
                raise ProtocolError("the data set of a message other than C-STORE is too long")
        elif self._incoming is not None:
            try:
                self._incoming.write(fragment)
            except Refused as refused:
                self._incoming, self._refused = None, refused

    def end_of_data(self) -> None:
        """The last fragment of the data set has been taken."""
        assert self._context_id is not None
        if self._request is None:
            self._pass_on(self._context_id, [LAST_DATA + bytes(self._other_data)])
            return
        if self._incoming is not None:
            try:
                self._incoming.commit()
            except Refused as refused:
                self._refused = refused
            self._incoming = None
        self._answer(self._request, self._refused)

    def abandon(self) -> None:
        """The association is over: what is half received goes."""
        if self._incoming is not None:
            log.warning(
                "instance lost half-way",
                association=self._reception.record.token,
                sop_instance_uid=self._incoming.request.sop_instance_uid,
                bytes=self._incoming.size,
            )
            self._incoming.discard()
        self._reset()

    def _understand(self, context_id: int) -> None:
        elements = decode_elements(bytes(self._command))
        if number(elements, COMMAND_FIELD) != C_STORE_RQ:
            if number(elements, COMMAND_DATA_SET_TYPE) == NO_DATA_SET:
                self._pass_on(context_id, [])
            return
        request = self._request = store_request(elements, context_id)
        context = self._contexts()[context_id]
        try:
            self._incoming = self._reception.begin(
                request, str(context.abstract_syntax), str(context.transfer_syntax[0])
            )
        except Refused as refused:
            self._refused = refused
        if not request.has_data_set:
            self._answer(request, self._refused)

    def _answer(self, request: StoreRequest, refused: Refused | None) -> None:
        status: StoreStatus = SUCCESS
        comment = ""
        if refused is not None:
            status, comment = refused.status, refused.comment
            self._reception.refused += 1
            log.warning(
                "instance refused",
                association=self._reception.record.token,
                sop_instance_uid=request.sop_instance_uid[:64],
                sop_class_uid=request.sop_class_uid[:64],
                status=f"0x{status.code:04X}",
                reason=comment,
            )
        self._reset()
        self._respond(request.context_id, store_response(request, status.code, comment))

    def _pass_on(self, context_id: int, data: list[bytes]) -> None:
        fragments = [LAST_COMMAND + bytes(self._command), *data]
        self._reset()
        self._forward(context_id, fragments)

    def _reset(self) -> None:
        self._context_id = None
        self._command = bytearray()
        self._command_complete = False
        self._request = self._incoming = self._refused = None
        self._other_data = bytearray()
