"""Installed weights with their cards; on demand, whether a file is the one its card was written for."""

from __future__ import annotations

import json
from typing import Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response

from node.dashboard.desk import Desk
from node.dashboard.models import SITE, ModelView, Verified, model_views, verify_model
from node.dashboard.security.access import AsOperator, AsViewer, AtDesk

router = APIRouter(prefix="/models", include_in_schema=False)


@router.get("")
def models_page(request: Request, desk: AtDesk, who: AsViewer) -> Response:
    return _show(request, desk)


@router.post("/{place}/{name}/verify")
def verify(request: Request, desk: AtDesk, who: AsOperator, place: Literal["site", "shipped"], name: str) -> Response:
    return _show(request, desk, verify_model(desk, place, name))


def _show(request: Request, desk: Desk, verified: Verified | None = None) -> Response:
    models = model_views(desk)
    values = {
        "models": models,
        "verified": verified,
        "folder": desk.configuration.weights_dir,
        "site": SITE,
        "cards": [_card_text(model) for model in models],
        "simulated": sum(
            bool(model.card and model.card.simulated_only) for model in models if model.state == "enabled"
        ),
    }
    return desk.pages.page(request, "models.html", values)


def _card_text(model: ModelView) -> str:
    return json.dumps(model.card.model_dump(mode="json"), indent=2, ensure_ascii=False) if model.card else ""
