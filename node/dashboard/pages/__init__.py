"""The pages, one module for each group; a module's `router` is listed here and nowhere else."""

from __future__ import annotations

from fastapi import APIRouter

from node.dashboard.pages import account, audit, destinations, door, jobs, live, models, overview, routing, studies, system, users

ROUTERS: tuple[APIRouter, ...] = (
    door.router,
    system.router,
    live.router,
    overview.router,
    jobs.router,
    studies.router,
    routing.router,
    models.router,
    destinations.router,
    users.router,
    audit.router,
    account.router,
)
