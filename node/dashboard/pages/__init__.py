"""The pages, one module for each group; a module's `router` is listed here and nowhere else."""

from __future__ import annotations

from fastapi import APIRouter

from node.dashboard.pages import (
    account,
    audit,
    destinations,
    door,
    job,
    jobs,
    live,
    models,
    oidc,
    overview,
    pictures,
    routing,
    studies,
    system,
    trends,
    users,
)

ROUTERS: tuple[APIRouter, ...] = (
    door.router,
    oidc.router,
    system.router,
    live.router,
    overview.router,
    jobs.router,
    job.router,
    pictures.router,
    studies.router,
    routing.router,
    models.router,
    trends.router,
    destinations.router,
    users.router,
    audit.router,
    account.router,
)
