"""Shared with the other planar pipelines: see `pipelines.planar.location`."""

from pipelines.planar.location import *  # noqa: F403
