"""Who sees patients' names: the one place that decides, by `dashboard.patient_names`.

A page hands over the studies it shows and gives the result to the macro `ui.patient(patients, study_uid)`, which
escapes names as it does everything. Lists of studies without this helper show no patient at all.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy.orm import Session

from node.dashboard.desk import Desk
from node.dashboard.security.principal import Principal
from node.registry.patients import Patient, patients_of


def may_see_names(desk: Desk, who: Principal) -> bool:
    """Whether this person or program is shown patients' names and numbers."""
    return who.role in desk.settings.patient_names


def shown_patients(desk: Desk, who: Principal, session: Session, study_uids: Collection[str]) -> dict[str, Patient]:
    """Study UID -> patient as this person may see them; empty where names are hidden from them."""
    return patients_of(session, study_uids) if may_see_names(desk, who) else {}
