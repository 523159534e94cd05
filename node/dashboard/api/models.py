"""Installed weights for programs: cards, figures, and whether a file is intact."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter

from node.dashboard.api.description import PROBLEMS
from node.dashboard.models import ModelView, Verified, model_views, verify_model
from node.dashboard.security.access import AsOperator, AsViewer, AtDesk

router = APIRouter(prefix="/api/v1/models", responses=PROBLEMS, tags=["models"])


@router.get(
    "", response_model=list[ModelView], summary="Installed weights with their cards, hidden and broken ones too"
)
def models(desk: AtDesk, who: AsViewer) -> Any:
    return model_views(desk)


@router.post(
    "/{place}/{name}/verify", response_model=Verified, summary="Compare a weights file with the sha256 in its card"
)
def verify(desk: AtDesk, who: AsOperator, place: Literal["site", "shipped"], name: str) -> Any:
    return verify_model(desk, place, name)
