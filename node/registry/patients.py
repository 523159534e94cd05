"""Names of patients, for those who may see them.

The one way by which a patient's name leaves the registry towards a page; everything in `node.registry.queries` goes
without. Who may see names is not decided here (see `node.dashboard.patients`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from node.registry.models import Study


@dataclass(frozen=True)
class Patient:
    """Name and number as the first instance of a study gave them."""

    name: str
    number: str


def patients_of(session: Session, study_uids: Collection[str]) -> dict[str, Patient]:
    """Study UID -> patient, for the studies that are known."""
    wanted = select(Study.study_uid, Study.patient_name, Study.patient_id).where(Study.study_uid.in_(study_uids))
    return {uid: Patient(name, number) for uid, name, number in session.execute(wanted)}
