"""Shared with the other planar pipelines: see `pipelines.planar.prepare`."""

from pipelines.planar.prepare import *  # noqa: F403
