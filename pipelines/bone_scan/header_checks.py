"""Shared with the other planar pipelines: see `pipelines.planar.header_checks`."""

from pipelines.planar.header_checks import *  # noqa: F403
