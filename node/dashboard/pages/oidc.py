"""The way to the identity provider and back; what is believed of its answer stands in `security/oidc.py`."""

from __future__ import annotations

import hmac
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi.responses import RedirectResponse, Response

from node.dashboard.i18n import Text
from node.dashboard.pages.door import enter
from node.dashboard.render import local_path
from node.dashboard.security import cookies
from node.dashboard.security.access import AtDesk, anyone
from node.dashboard.security.addresses import client_address
from node.dashboard.security.login import log_in_as, note_refusal
from node.dashboard.security.oidc import BAD_TOKEN, CALLBACK, Attempt, OidcRefused

router = APIRouter(include_in_schema=False)

Open = Depends(anyone)
Word = Annotated[str, Query(max_length=4000)]

ATTEMPT_AGE_S = 600
"""How long somebody may take to log in at the provider."""


@router.get("/login/oidc", dependencies=[Open])
def leave(request: Request, desk: AtDesk, next: Annotated[str, Query(max_length=2000)] = "/") -> Response:
    if desk.oidc is None:
        raise HTTPException(404, Text("This node has no identity provider."))
    address, attempt = desk.oidc.leave(local_path(next), desk.clock())
    answer = RedirectResponse(address, 303)
    cookies.put(answer, cookies.OIDC, attempt.packed(), desk.pages.secure(request), ATTEMPT_AGE_S)
    return answer


@router.get(CALLBACK, dependencies=[Open])
def arrive(request: Request, desk: AtDesk, state: Word = "", code: Word = "", error: Word = "") -> Response:
    if desk.oidc is None:
        raise HTTPException(404, Text("This node has no identity provider."))
    address = client_address(request, desk.settings.trusted_proxies)
    attempt = Attempt.unpacked(request.cookies.get(cookies.OIDC, ""))
    try:
        # Without the state of this very browser, the answer may be somebody else's login, put upon this person.
        if attempt is None or not hmac.compare_digest(attempt.state.encode(), state.encode()):
            raise OidcRefused(BAD_TOKEN, "the state is not this browser's")
        if error or not code:
            raise OidcRefused(BAD_TOKEN, f"the provider refused: {error or 'no code'}"[:200])
        person = desk.oidc.arrive(attempt, code, desk.clock())
        token, user = log_in_as(desk, person, address, request.cookies.get(cookies.SESSION, ""))
    except OidcRefused as refused:
        note_refusal(desk, refused.why, address)
        answer = desk.pages.page(request, "error.html", {"title": "Forbidden", "text": refused.text}, 403)
    else:
        answer = enter(desk, request, token, user, local_path(attempt.next))
    cookies.drop(answer, cookies.OIDC)
    return answer
