"""The JSON API under /api/v1, described at /api/openapi.json and, for people, at /api/docs.

Programs send `Authorization: Bearer TOKEN`; the pages' own session works too, with `X-CSRF-Token` on changes. Errors
are problem details (RFC 9457). Times are ISO 8601 in UTC.
"""

from __future__ import annotations

from fastapi import APIRouter

from node.dashboard.api import description, destinations, jobs, models, routing, studies, trends, v1

ROUTERS: tuple[APIRouter, ...] = (
    description.router,
    v1.router,
    jobs.router,
    studies.router,
    trends.router,
    destinations.router,
    routing.router,
    models.router,
)
