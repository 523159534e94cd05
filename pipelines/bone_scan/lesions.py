"""Shared with the other planar pipelines: see `pipelines.planar.lesions`."""

from pipelines.planar.lesions import *  # noqa: F403
