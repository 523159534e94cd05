"""Series between their first instance and completion: who is still sending, and what is known for judging.

    intake --> receiving --complete_series--> complete --(late instance: intake)--> receiving

Whether a series is complete is `node.assemble.completion`'s decision; this module reads and writes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from node.errors import PermanentError
from node.registry.events import add_event
from node.registry.models import OpenAssociation, Series, Study
from node.registry.states import SERIES_MOVES, SeriesState, check_move
from node.storage.spool import AssociationEnd

_BROKEN_OFF = {
    AssociationEnd.ABORTED: "The association that sent it was aborted before it was released",
    AssociationEnd.LOST: "The connection was lost before the association that sent it was released",
    AssociationEnd.KILLED: "The listener was gone before the association that sent it was released",
    AssociationEnd.UNKNOWN: "How the association that sent it ended is not known",
}
"""Ends after which images may be missing, as the series' events tell of them."""

COMPLETE_ALREADY = "the series is complete already; to have the rules asked once more, route it again"
STILL_RECEIVED = "the series is still being received; it is routed once it is complete"
FILES_DELETED = "the files of the series were deleted by retention; send it to the node again, and it is routed"
"""Refusals without the series' UID: the dashboard translates them, and who asked named the series."""


@dataclass(frozen=True)
class SeriesSnapshot:
    """What completion is judged from. released_at: as `Series.association_released_at`."""

    id: int
    study_id: int
    series_uid: str
    instance_count: int
    expected_count: int | None
    content_revision: int
    last_received_at: datetime
    released_at: datetime | None
    open_associations: int
    forced: bool


@dataclass(frozen=True)
class SeriesFacts:
    """A series as routing and companions see it; `has_files` is False once retention has deleted them."""

    id: int
    study_id: int
    series_uid: str
    state: SeriesState
    instance_count: int
    content_revision: int
    first_received_at: datetime
    headers: dict[str, Any]
    has_files: bool = True


def open_series(session: Session, limit: int) -> list[SeriesSnapshot]:
    """Series that are being received, those silent for longest first."""
    associations = (
        select(func.count())
        .select_from(OpenAssociation)
        .where(OpenAssociation.series_id == Series.id)
        .correlate(Series)
        .scalar_subquery()
    )
    statement = (
        select(
            Series.id,
            Series.study_id,
            Series.series_uid,
            Series.instance_count,
            Series.expected_count,
            Series.content_revision,
            Series.last_received_at,
            Series.association_released_at,
            associations,
            Series.force_complete,
        )
        .where(Series.state == SeriesState.RECEIVING.value)
        .order_by(Series.last_received_at)
        .limit(limit)
    )
    return [SeriesSnapshot(*row) for row in session.execute(statement)]


def end_association(session: Session, token: str, how: AssociationEnd, ended_at: datetime) -> int:
    """Say that an association is over; returns how many series it had sent to and was still open for.

    Only a clean release is one to a series: after any other end its rest may be missing, so that it waits for the long
    quiet period unless another association, the sender's next attempt for one, is released after this end.
    """
    rows = list(session.scalars(select(OpenAssociation.series_id).where(OpenAssociation.token == token)))
    session.execute(delete(OpenAssociation).where(OpenAssociation.token == token))
    if how is not AssociationEnd.RELEASED:
        _tell_broken_off(session, rows, how, ended_at)
        return len(rows)
    still_open = select(OpenAssociation.series_id)
    session.execute(
        update(Series)
        .where(Series.id.in_(rows), Series.id.not_in(still_open.where(OpenAssociation.series_id.in_(rows))))
        .values(association_released_at=ended_at)
        .execution_options(synchronize_session=False)
    )
    return len(rows)


def _tell_broken_off(session: Session, series_ids: list[int], how: AssociationEnd, ended_at: datetime) -> None:
    for series_id, study_id in session.execute(select(Series.id, Series.study_id).where(Series.id.in_(series_ids))):
        add_event(session, ended_at, "series.broken_off", f"{_BROKEN_OFF[how]}; images may be missing, so the rest "
                  "is waited for until the long quiet period is over.", level="warning", study_id=study_id,
                  series_id=series_id, data={"how": how.value})  # fmt: skip


def complete_series(session: Session, snapshot: SeriesSnapshot, by: str, now: datetime) -> SeriesFacts | None:
    """Make a series complete, unless something came since the snapshot was taken (then None).

    The study's row is locked first, so that series of one study that become complete at the same moment, in two
    processes, see each other as companions.
    """
    lock_study(session, snapshot.study_id)
    row = session.scalars(
        select(Series).where(Series.id == snapshot.id).with_for_update().execution_options(populate_existing=True)
    ).one()
    if row.state != SeriesState.RECEIVING or row.content_revision != snapshot.content_revision:
        return None
    check_move(SERIES_MOVES, SeriesState(row.state), SeriesState.COMPLETE)
    row.state = SeriesState.COMPLETE.value
    row.completed_at, row.completed_by, row.force_complete = now, by, False
    # Only an association that never told its end can still be open here; it must not hold up the next revision.
    session.execute(delete(OpenAssociation).where(OpenAssociation.series_id == row.id))
    count = f"{row.instance_count} instance{'s' if row.instance_count != 1 else ''}"
    add_event(session, now, "series.complete", f"Complete with {count} ({by}).", study_id=row.study_id,
              series_id=row.id, data={"content_revision": row.content_revision})  # fmt: skip
    return _facts(row)


def lock_study(session: Session, study_id: int) -> None:
    """Hold other planners of this study off until the end of the transaction (SQLite has one writer anyway)."""
    session.execute(select(Study.id).where(Study.id == study_id).with_for_update(key_share=True))


def force_complete(session: Session, series_uid: str, now: datetime) -> None:
    """Ask for a series to be taken as complete at the assembler's next step.

    Raises
    ------
    PermanentError
        If there is no such series, or it is complete.
    """
    row = _existing(session, series_uid, lock=True)
    if row.state == SeriesState.COMPLETE:
        raise PermanentError(COMPLETE_ALREADY)
    row.force_complete = True
    add_event(session, now, "series.forced", "A person said that the series is complete.", study_id=row.study_id,
              series_id=row.id)  # fmt: skip


def hold_for_routing(session: Session, series_uid: str) -> SeriesFacts:
    """A complete series with its files, held still for planning.

    Its study is locked against other planners and the study's series against intake and retention, until the end of
    the transaction.

    Raises
    ------
    PermanentError
        If there is no such series, it is still being received, or its files are deleted.
    """
    row = _existing(session, series_uid)
    lock_study(session, row.study_id)
    # All of them and in the order of the intake, so that the two never wait for each other.
    held = select(Series).where(Series.study_id == row.study_id).order_by(Series.id).with_for_update()
    session.scalars(held.execution_options(populate_existing=True)).all()
    if row.state != SeriesState.COMPLETE:
        raise PermanentError(STILL_RECEIVED)
    if row.files_deleted_at is not None:
        raise PermanentError(FILES_DELETED)
    return _facts(row)


def series_facts(session: Session, series_uid: str) -> SeriesFacts:
    """One series by its UID; PermanentError if there is none."""
    return _facts(_existing(session, series_uid))


def series_of_study(session: Session, study_id: int) -> list[SeriesFacts]:
    """All series of a study, in the order of their arrival."""
    rows = session.scalars(
        select(Series)
        .where(Series.study_id == study_id)
        .order_by(Series.first_received_at, Series.id)
        .execution_options(populate_existing=True)
    )
    return [_facts(row) for row in rows]


def write_routing(session: Session, series_id: int, trace: dict[str, Any]) -> None:
    """Keep the trace of a routing with the series."""
    session.execute(
        update(Series).where(Series.id == series_id).values(routing=trace).execution_options(synchronize_session=False)
    )


def add_headers(session: Session, series_id: int, headers: dict[str, Any]) -> None:
    """Keep further attributes with a series; what it has already stays as it is."""
    row = session.get_one(Series, series_id)
    row.headers = {**headers, **row.headers}


def _existing(session: Session, series_uid: str, *, lock: bool = False) -> Series:
    wanted = select(Series).where(Series.series_uid == series_uid)
    row = session.scalars(wanted.with_for_update() if lock else wanted).one_or_none()
    if row is None:
        raise PermanentError(f"there is no series {series_uid[:80]}")
    return row


def _facts(row: Series) -> SeriesFacts:
    return SeriesFacts(
        id=row.id,
        study_id=row.study_id,
        series_uid=row.series_uid,
        state=SeriesState(row.state),
        instance_count=row.instance_count,
        content_revision=row.content_revision,
        first_received_at=row.first_received_at,
        headers={**row.headers, "InstanceCount": row.instance_count},
        has_files=row.files_deleted_at is None,
    )
