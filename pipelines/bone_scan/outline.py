"""Shared with the other planar pipelines: see `pipelines.planar.outline`."""

from pipelines.planar.outline import *  # noqa: F403
