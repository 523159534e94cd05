"""DIMSE messages out of P-DATA fragments: C-STORE is stored and answered, C-ECHO answered, all else declined.

    fragment of a command set --> StoreRequest --> Reception.begin --> IncomingInstance
                              \\-> another request: its response is prepared
    fragment of a data set    --> IncomingInstance.write (or dropped, where there is nothing to store)
    last fragment             --> IncomingInstance.commit --> response

A refused data set is read to its end, since the response may only follow the whole request. What is no DIMSE message is
a ProtocolError; whoever reads the connection aborts the association then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import structlog

from node.receive.command import (
    C_CANCEL_RQ,
    C_ECHO_RQ,
    C_STORE_RQ,
    COMMAND_DATA_SET_TYPE,
    COMMAND_FIELD,
    MAX_COMMAND_BYTES,
    NO_DATA_SET,
    RESPONSE,
    ProtocolError,
    StoreRequest,
    decode_elements,
    number,
    plain_response,
    store_request,
    store_response,
)
from node.receive.reception import IncomingInstance, Reception
from node.receive.statuses import SUCCESS, Refused, StoreStatus

UNRECOGNISED_OPERATION = 0x0211
"""Status for every request other than C-STORE and C-ECHO (PS3.7 annex C.5.24)."""

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
        Called with context ID and encoded command set of each response.
    """

    def __init__(
        self,
        reception: Reception,
        contexts: Callable[[], Mapping[int, AcceptedContext]],
        respond: Callable[[int, bytes], None],
    ) -> None:
        self._reception = reception
        self._contexts = contexts
        self._respond = respond
        self._context_id: int | None = None
        self._command = bytearray()
        self._command_complete = False
        self._request: StoreRequest | None = None
        self._incoming: IncomingInstance | None = None
        self._refused: Refused | None = None
        self._plain_response = b""

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
        if self._incoming is not None:
            try:
                self._incoming.write(fragment)
            except Refused as refused:
                self._incoming, self._refused = None, refused

    def end_of_data(self) -> None:
        """The last fragment of the data set has been taken."""
        assert self._context_id is not None
        if self._request is None:
            self._answer_plainly(self._context_id)
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
        field = number(elements, COMMAND_FIELD)
        if field != C_STORE_RQ:
            if field != C_CANCEL_RQ and not field & RESPONSE:
                status = SUCCESS.code if field == C_ECHO_RQ else UNRECOGNISED_OPERATION
                self._plain_response = plain_response(elements, status)
            if number(elements, COMMAND_DATA_SET_TYPE) == NO_DATA_SET:
                self._answer_plainly(context_id)
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

    def _answer_plainly(self, context_id: int) -> None:
        """Answer a request other than C-STORE; a cancellation or a response, which nobody asked for, gets no answer."""
        response = self._plain_response
        self._reset()
        if response:
            self._respond(context_id, response)

    def _reset(self) -> None:
        self._context_id = None
        self._command = bytearray()
        self._command_complete = False
        self._request = self._incoming = self._refused = None
        self._plain_response = b""
