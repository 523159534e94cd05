"""The stream of changes that open pages listen to."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from node.dashboard.security.access import AsViewer, AtDesk
from node.dashboard.security.principal import identify

router = APIRouter(include_in_schema=False)


@router.get("/live")
async def stream(request: Request, desk: AtDesk, who: AsViewer) -> StreamingResponse:
    """Server-sent events: one for each topic of `node.dashboard.live` that changed."""

    def still_allowed() -> bool:
        found = identify(desk, request, counts_as_use=False)
        return found is not None and found.role == who.role

    headers = {"X-Accel-Buffering": "no"}  # nginx would hold the events back
    return StreamingResponse(desk.live.stream(still_allowed), media_type="text/event-stream", headers=headers)
