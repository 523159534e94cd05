"""Shared with the other planar pipelines: see `pipelines.planar.checks`."""

from pipelines.planar.checks import *  # noqa: F403
