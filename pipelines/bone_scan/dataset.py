"""Shared with the other planar pipelines: see `pipelines.planar.dataset`."""

from pipelines.planar.dataset import *  # noqa: F403
from pipelines.planar.dataset import patient_path as _path  # noqa: F401
