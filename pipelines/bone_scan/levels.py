"""Shared with the other planar pipelines: see `pipelines.planar.levels`."""

from pipelines.planar.levels import *  # noqa: F403
