"""A measurement of one patient over studies: the tumour burden index of whole-body bone scans.

    study --patient number and issuer--> all studies of the patient --newest finished job of each--> Measurement by date

Patients are the same where PatientID and IssuerOfPatientID are; an empty PatientID is nobody's, so such a study stands
alone. Everything is read from the summaries of finished jobs. Names are not handled here (`node.registry.patients`).
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from node.registry.models import Job, Study
from node.registry.states import JobState

SCHEME, BURDEN = "99OSTEON", "BSTBI"
PIPELINE = "bone-scan"
MAX_STUDIES = 200
LOOKED_AT = 1000
"""Newest finished jobs among which patients are looked for."""

LISTED = 50


@dataclass(frozen=True)
class Measurement:
    """What the newest finished analysis of a study says.

    date: YYYY-MM-DD as the study gives it, else of its reception. value: None where it could not be computed, `reason`
    says why. models: names and versions of the networks.
    """

    job_id: int
    study_uid: str
    date: str
    value: float | None
    reason: str
    models: tuple[str, ...]


@dataclass(frozen=True)
class PatientTrend:
    """A patient by the end of the newest study's UID and a pseudonym, with the measurements in order of date."""

    study_uid: str
    pseudonym: str
    measurements: tuple[Measurement, ...]


def burden_of(summary: dict[str, Any] | None) -> dict[str, Any] | None:
    """The entry of the study's index in a summary: the first of its code, the images' own follow it."""
    for quantity in (summary or {}).get("quantities", ()):
        name = quantity.get("name", {})
        if (name.get("scheme"), name.get("value")) == (SCHEME, BURDEN):
            return dict(quantity)
    return None


def trend(session: Session, study_uid: str) -> PatientTrend | None:
    """The measurements of the patient of a study; None if there is no such study."""
    study = session.scalars(select(Study).where(Study.study_uid == study_uid)).one_or_none()
    if study is None:
        return None
    studies = _studies_of(session, study)
    return PatientTrend(study_uid, _pseudonym(studies), _measurements(session, studies))


def previous(session: Session, study_id: int, before: datetime) -> Measurement | None:
    """The last measured study of the same patient before this one, as it was known at `before`.

    What was known then does not change, so that a second attempt at a job writes the same result.
    """
    study = session.get_one(Study, study_id)
    at = _date(study)
    known = _measurements(session, [one for one in _studies_of(session, study) if one.id != study_id], before)
    earlier = [one for one in known if one.value is not None and one.date < at]
    return earlier[-1] if earlier else None


def recent_patients(session: Session) -> list[PatientTrend]:
    """The patients of the newest measured studies, newest first, those with several studies before the others."""
    rows = session.execute(
        select(Job.summary, Study)
        .join(Study, Study.id == Job.study_id)
        .where(Job.pipeline == PIPELINE, Job.state == JobState.DONE.value)
        .order_by(Job.created_at.desc(), Job.id.desc())
        .limit(LOOKED_AT)
        .execution_options(yield_per=100)  # most of them need not be read: enough patients are found before
    )
    newest: dict[tuple[Any, ...], Study] = {}
    for summary, study in rows:
        if burden_of(summary) is not None:
            newest.setdefault(_key(study), study)
        if len(newest) == LISTED:
            break
    rows.close()
    studies = _studies_of_all(session, newest)
    measured = defaultdict(list)
    patient_of = {study.study_uid: key for key, several in studies.items() for study in several}
    for one in _measurements(session, [study for several in studies.values() for study in several]):
        measured[patient_of[one.study_uid]].append(one)
    found = [
        PatientTrend(study.study_uid, _pseudonym(studies[key]), tuple(measured[key])) for key, study in newest.items()
    ]
    return sorted(found, key=lambda one: len(one.measurements) < 2)


def studies_of_patient(session: Session, patient_id: str) -> list[str]:
    """The newest study of each patient with this number, one for each issuer."""
    rows = session.scalars(
        select(Study).where(Study.patient_id == patient_id, Study.patient_id != "").order_by(Study.id.desc()).limit(500)
    )
    newest: dict[str, str] = {}
    for study in rows:
        newest.setdefault(study.patient_id_issuer, study.study_uid)
    return list(newest.values())


def _key(study: Study) -> tuple[Any, ...]:
    return (study.patient_id, study.patient_id_issuer) if study.patient_id else (study.id,)


def _studies_of(session: Session, study: Study) -> list[Study]:
    if not study.patient_id:
        return [study]
    same = (Study.patient_id == study.patient_id, Study.patient_id_issuer == study.patient_id_issuer)
    newest = select(Study).where(*same).order_by(Study.id.desc()).limit(MAX_STUDIES)
    return sorted({*session.scalars(newest), study}, key=lambda one: one.id)


def _studies_of_all(session: Session, newest: dict[tuple[Any, ...], Study]) -> dict[tuple[Any, ...], list[Study]]:
    """Patient -> studies in order of reception, in one question; of very many, the newest."""
    numbers = {study.patient_id for study in newest.values() if study.patient_id}
    wanted = select(Study).where(Study.patient_id.in_(numbers)).order_by(Study.id.desc()).limit(MAX_STUDIES * 10)
    found = {key: {study} for key, study in newest.items()}
    for study in session.scalars(wanted):
        if _key(study) in found:
            found[_key(study)].add(study)
    return {key: sorted(several, key=lambda one: one.id) for key, several in found.items()}


def _measurements(
    session: Session, studies: Iterable[Study], before: datetime | None = None
) -> tuple[Measurement, ...]:
    by_id = {study.id: study for study in studies}
    wanted = (
        select(Job.id, Job.study_id, Job.summary)
        # "+ ''" keeps SQLite, which counts no rows, from reading every finished job instead of these studies' few.
        .where(Job.study_id.in_(by_id), Job.state + "" == JobState.DONE.value)
        .order_by(Job.finished_at, Job.id)
    )
    if before is not None:
        wanted = wanted.where(Job.finished_at <= before)
    last: dict[int, Measurement] = {}
    for job_id, study_id, summary in session.execute(wanted):
        entry = burden_of(summary)
        if entry is None:
            continue
        study = by_id[study_id]
        models = tuple(f"{one.get('name')} {one.get('version')}" for one in summary.get("models", ()))
        last[study_id] = Measurement(
            job_id, study.study_uid, _date(study), entry.get("value"), str(entry.get("reason") or ""), models
        )
    return tuple(sorted(last.values(), key=lambda one: (one.date, one.job_id)))


def _date(study: Study) -> str:
    said = study.study_date.replace(".", "").replace("-", "")
    try:
        return date.fromisoformat(f"{said[:4]}-{said[4:6]}-{said[6:8]}").isoformat()
    except ValueError:
        return study.created_at.strftime("%Y-%m-%d")


def _pseudonym(studies: list[Study]) -> str:
    """A short name for a patient that says nothing of the number: made of the UID of the first study received."""
    return hashlib.sha256(studies[0].study_uid.encode()).hexdigest()[:8].upper()
