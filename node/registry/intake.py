"""Received instances on their way into the registry.

    Arrival (one file in the inbox, read) --register--> study, series, instance rows --> Registered (where it goes)

`decide` says what an arrival is to the versions that are there already; `register` applies it to a batch
inside the caller's transaction. Repeating a batch, as after a crash, changes nothing. Files are not touched here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from node.registry.dialect import insert_missing
from node.registry.events import add_event
from node.registry.models import Instance, OpenAssociation, Result, Series, Study
from node.registry.states import SERIES_MOVES, SeriesState, check_move
from node.storage import instance_key


class Fate(StrEnum):
    """What became of an arrival."""

    NEW = "new"
    IDENTICAL = "identical"
    OUTDATED = "outdated"
    NEW_VERSION = "new version"
    WRONG_STUDY = "wrong study"


CHANGES_CONTENT = frozenset({Fate.NEW, Fate.NEW_VERSION})


@dataclass(frozen=True)
class Arrival:
    """One received file as it was read.

    association: token of the association, "" if unknown. headers: see node.assemble.attributes.
    sha256: of the data set, in hex. byte_count: size of the file.
    """

    study_uid: str
    series_uid: str
    sop_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    sha256: str
    byte_count: int
    received_at: datetime
    patient_id: str = field(default="", repr=False)
    patient_id_issuer: str = field(default="", repr=False)
    patient_name: str = field(default="", repr=False)
    accession_number: str = field(default="", repr=False)
    study_date: str = ""
    study_description: str = ""
    modality: str = ""
    series_description: str = ""
    expected_count: int | None = None
    headers: dict[str, Any] = field(default_factory=dict)
    association: str = ""
    calling_aet: str = ""
    called_aet: str = ""


@dataclass(frozen=True)
class Registered:
    """Where the file of an arrival belongs.

    For Fate.WRONG_STUDY, which has no place, key and series are empty.
    """

    fate: Fate
    storage_key: str
    series_id: int
    version: int


@dataclass(frozen=True)
class Version:
    """One version of a SOP instance as registered."""

    number: int
    sha256: str
    current: bool


def decide(versions: Sequence[Version], sha256: str) -> tuple[Fate, int]:
    """What a file is to the versions of its SOP instance in its series, and which version it is or becomes.

    A file that equals a superseded version is OUTDATED: senders repeat old copies, and the newest content stays.
    """
    for version in versions:
        if version.sha256 == sha256:
            return (Fate.IDENTICAL if version.current else Fate.OUTDATED), version.number
    if not versions:
        return Fate.NEW, 1
    return Fate.NEW_VERSION, max(version.number for version in versions) + 1


def register(session: Session, arrivals: Sequence[Arrival], now: datetime) -> list[Registered]:
    """Register a batch of arrivals, in their order; returns one outcome each.

    Raises
    ------
    PermanentError
        If an arrival carries an invalid UID (callers check before).
    """
    owners = _owners(session, arrivals)
    fitting = [arrival for arrival in arrivals if owners[arrival.series_uid] == arrival.study_uid]
    _mark_own_results(session, fitting)
    studies = _studies(session, fitting, now)
    series = _series(session, fitting, studies, now)
    outcomes = {index: Registered(Fate.WRONG_STUDY, "", 0, 0) for index in range(len(arrivals))}
    for uid, row in series.items():
        indices = [
            index
            for index, arrival in enumerate(arrivals)
            if arrival.series_uid == uid
            and arrival.study_uid in studies
            and studies[arrival.study_uid].id == row.study_id
        ]
        batch = [arrivals[index] for index in indices]
        outcomes |= zip(indices, _register_in_series(session, row, batch, now), strict=True)
    return [outcomes[index] for index in range(len(arrivals))]


def clip(column: InstrumentedAttribute[Any], text: str) -> str:
    """`text` cut to what the column holds."""
    length: int | None = getattr(column.type, "length", None)
    return text if length is None else text[:length]


def _owners(session: Session, arrivals: Iterable[Arrival]) -> dict[str, str]:
    """Series UID -> UID of the study it belongs to: as registered, or as its first arrival says."""
    owners = {arrival.series_uid: arrival.study_uid for arrival in reversed(list(arrivals))}
    statement = select(Series.series_uid, Study.study_uid).join(Study).where(Series.series_uid.in_(owners))
    for series_uid, study_uid in session.execute(statement):
        owners[series_uid] = study_uid
    return owners


def _mark_own_results(session: Session, arrivals: Sequence[Arrival]) -> None:
    uids = {arrival.sop_uid for arrival in arrivals}
    own = set(session.scalars(select(Result.sop_uid).where(Result.sop_uid.in_(uids))))
    for arrival in arrivals:
        if arrival.sop_uid in own:
            arrival.headers["MadeByOsteon"] = True


def _studies(session: Session, arrivals: Iterable[Arrival], now: datetime) -> dict[str, Study]:
    first = {arrival.study_uid: arrival for arrival in reversed(list(arrivals))}
    insert_missing(
        session,
        Study,
        [
            {
                "study_uid": uid,
                "patient_id": clip(Study.patient_id, arrival.patient_id),
                "patient_id_issuer": clip(Study.patient_id_issuer, arrival.patient_id_issuer),
                "patient_name": clip(Study.patient_name, arrival.patient_name),
                "accession_number": clip(Study.accession_number, arrival.accession_number),
                "study_date": clip(Study.study_date, arrival.study_date),
                "description": clip(Study.description, arrival.study_description),
                "created_at": now,
            }
            for uid, arrival in sorted(first.items())
        ],
        Study.study_uid,
    )
    rows = session.scalars(select(Study).where(Study.study_uid.in_(first)).execution_options(populate_existing=True))
    return {row.study_uid: row for row in rows}


def _series(
    session: Session, arrivals: Iterable[Arrival], studies: dict[str, Study], now: datetime
) -> dict[str, Series]:
    """The series of a batch, made if need be and locked in one order, so that no two batches wait for each other."""
    first = {arrival.series_uid: arrival for arrival in reversed(list(arrivals))}
    known = set(session.scalars(select(Series.series_uid).where(Series.series_uid.in_(first))))
    missing = sorted(set(first) - known)
    insert_missing(
        session,
        Series,
        [_series_row(first[uid], studies[first[uid].study_uid].id, now) for uid in missing],
        Series.series_uid,
    )
    statement = select(Series).where(Series.series_uid.in_(first)).order_by(Series.id).with_for_update()
    rows = {row.series_uid: row for row in session.scalars(statement.execution_options(populate_existing=True))}
    for uid in missing:
        row, study = rows[uid], studies[first[uid].study_uid]
        add_event(session, now, "series.opened", "The first instance of a series came.", study_id=row.study_id,
                  series_id=row.id, data={"series_uid": uid, "modality": row.modality})  # fmt: skip
        if clip(Study.patient_id, first[uid].patient_id) != study.patient_id:
            add_event(session, now, "study.patient_differs", "A series names another patient ID than its study does; "
                      "both were kept under the study's UID.", level="warning", study_id=study.id,
                      series_id=row.id)  # fmt: skip
    return rows


def _series_row(arrival: Arrival, study_id: int, now: datetime) -> dict[str, Any]:
    return {
        "study_id": study_id,
        "series_uid": arrival.series_uid,
        "source_aet": clip(Series.source_aet, arrival.calling_aet),
        "called_aet": clip(Series.called_aet, arrival.called_aet),
        "state": SeriesState.RECEIVING.value,
        "expected_count": arrival.expected_count,
        "first_received_at": arrival.received_at,
        "last_received_at": now,
        **_described(arrival),
    }


def _described(arrival: Arrival) -> dict[str, Any]:
    """What a series says of itself, from one of its instances."""
    return {
        "modality": clip(Series.modality, arrival.modality),
        "description": clip(Series.description, arrival.series_description),
        "sop_class_uid": clip(Series.sop_class_uid, arrival.sop_class_uid),
        "headers": {**arrival.headers, "CallingAET": arrival.calling_aet, "CalledAET": arrival.called_aet},
    }


def _register_in_series(session: Session, row: Series, batch: Sequence[Arrival], now: datetime) -> list[Registered]:
    if not batch:
        return []
    versions = _versions(session, row.id, {arrival.sop_uid for arrival in batch})
    outcomes, new_rows, outdated = [], [], set()
    for arrival in batch:
        known = versions[arrival.sop_uid]
        fate, number = decide(known, arrival.sha256)
        key = instance_key(arrival.study_uid, arrival.series_uid, arrival.sop_uid, number)
        outcomes.append(Registered(fate, key, row.id, number))
        if fate not in CHANGES_CONTENT:
            continue
        outdated |= {(arrival.sop_uid, version.number) for version in known if version.current}
        known[:] = [Version(version.number, version.sha256, False) for version in known]
        known.append(Version(number, arrival.sha256, True))
        new_rows.append(_instance_row(arrival, row.id, number, key))
    if new_rows:
        session.execute(insert(Instance), new_rows)
    for sop_uid, number in sorted(outdated):
        session.execute(
            update(Instance)
            .where(Instance.series_id == row.id, Instance.sop_uid == sop_uid, Instance.version == number)
            .values(current=False)
            .execution_options(synchronize_session=False)
        )
    _update_series(session, row, batch, outcomes, now)
    return outcomes


def _versions(session: Session, series_id: int, sop_uids: set[str]) -> dict[str, list[Version]]:
    versions: dict[str, list[Version]] = defaultdict(list)
    statement = select(Instance.sop_uid, Instance.version, Instance.sha256, Instance.current).where(
        Instance.series_id == series_id, Instance.sop_uid.in_(sop_uids)
    )
    for sop_uid, number, sha256, current in session.execute(statement.order_by(Instance.version)):
        versions[sop_uid].append(Version(number, sha256, current))
    return versions


def _instance_row(arrival: Arrival, series_id: int, version: int, key: str) -> dict[str, Any]:
    return {
        "series_id": series_id,
        "sop_uid": arrival.sop_uid,
        "sop_class_uid": clip(Instance.sop_class_uid, arrival.sop_class_uid),
        "transfer_syntax_uid": clip(Instance.transfer_syntax_uid, arrival.transfer_syntax_uid),
        "version": version,
        "current": True,
        "sha256": arrival.sha256,
        "byte_count": arrival.byte_count,
        "storage_key": key,
        "received_at": arrival.received_at,
        "source_aet": clip(Instance.source_aet, arrival.calling_aet),
    }


def _update_series(
    session: Session, row: Series, batch: Sequence[Arrival], outcomes: Sequence[Registered], now: datetime
) -> None:
    """Bring the series row up to date with what a batch changed, and say so in events."""
    changed = [(a, o) for a, o in zip(batch, outcomes, strict=True) if o.fate in CHANGES_CONTENT]
    restored = row.files_deleted_at is not None
    if changed or restored:
        _reopen(session, row, len(changed), restored, now)
    if row.state != SeriesState.RECEIVING:
        return  # nothing but copies of what is there
    row.last_received_at = now
    row.expected_count = row.expected_count or next((a.expected_count for a in batch if a.expected_count), None)
    row.content_revision += len(changed)
    row.instance_count += sum(outcome.fate is Fate.NEW for _, outcome in changed)
    row.byte_count += sum(arrival.byte_count for arrival, _ in changed)
    for arrival, outcome in changed:
        if outcome.fate is Fate.NEW_VERSION:
            # A corrected header may belong to another rule than the first one did.
            for name, value in _described(arrival).items():
                setattr(row, name, value)
            add_event(session, now, "instance.new_version", f"An instance came again with other content; version "
                      f"{outcome.version} is used from now on, the older ones are kept.", level="warning",
                      study_id=row.study_id, series_id=row.id, data={"sop_uid": arrival.sop_uid})  # fmt: skip
    tokens = sorted({arrival.association for arrival in batch if arrival.association})
    if tokens:
        row.open_association = batch[-1].association or tokens[-1]
        row.association_released_at = None
        open_rows = [{"token": token, "series_id": row.id} for token in tokens]
        insert_missing(session, OpenAssociation, open_rows, OpenAssociation.token, OpenAssociation.series_id)


def _reopen(session: Session, row: Series, changes: int, restored: bool, now: datetime) -> None:
    if restored:
        row.files_deleted_at = None
        add_event(session, now, "series.restored", "A series whose files had been deleted is sent again.",
                  study_id=row.study_id, series_id=row.id)  # fmt: skip
    if row.state == SeriesState.RECEIVING:
        return
    check_move(SERIES_MOVES, SeriesState(row.state), SeriesState.RECEIVING)
    row.state = SeriesState.RECEIVING.value
    row.completed_at, row.completed_by, row.force_complete = None, "", False
    if changes:
        add_event(session, now, "series.reopened", f"{changes} late instance{'s' if changes > 1 else ''} reopened the "
                  "series; a new revision follows.", study_id=row.study_id, series_id=row.id)  # fmt: skip
