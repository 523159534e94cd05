"""Arrivals as the intake reads them, for the tests of this room."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from node.registry.intake import Arrival

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def arrival(sop: int = 1, series: int = 1, study: int = 1, **more: Any) -> Arrival:
    """One instance; attributes override."""
    return Arrival(**{
        "study_uid": f"1.{study}",
        "series_uid": f"1.{study}.{series}",
        "sop_uid": f"1.{study}.{series}.{sop}",
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.20",
        "transfer_syntax_uid": "1.2.840.10008.1.2.1",
        "sha256": f"{study}-{series}-{sop}",
        "byte_count": 100,
        "received_at": NOW,
        "patient_id": "SECRET-4711",
        "patient_name": "SECRET^NAME",
        "modality": "NM",
        "series_description": "bone",
        "headers": {"Modality": "NM"},
        "association": "a1",
        "calling_aet": "SCANNER",
        "called_aet": "OSTEON",
    } | more)  # fmt: skip
