"""The tables of the registry: what is where, and how far each thing has come.

The registry is the one owner of the database; other rooms call `node.registry`'s functions. Times are UTC.
Indexes serve the questions that are asked all the time (open series, due jobs, due deliveries, newest first), so that
they cost the same with a million instances as with ten.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.types import TypeDecorator

from node.registry.states import DeliveryState, JobState, SeriesState

UID_LENGTH = 64  # PS3.5 9.1
BigId = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by itself only for INTEGER keys


class UTCDateTime(TypeDecorator[datetime]):
    """Aware datetimes in UTC, also on SQLite, which keeps no time zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a naive datetime does not belong in the registry")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


# Every constraint has a name, because a later migration can only change what it can name (on SQLite above all).
NAMING_CONVENTION = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map = {  # noqa: RUF012
        datetime: UTCDateTime,
        dict[str, Any]: JSON,
        list[Any]: JSON,
    }


class Study(Base):
    """One study as its first instance described it."""

    __tablename__ = "studies"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    study_uid: Mapped[str] = mapped_column(String(UID_LENGTH), unique=True)
    patient_id: Mapped[str] = mapped_column(String(128), default="", index=True)
    patient_id_issuer: Mapped[str] = mapped_column(String(64), default="")
    patient_name: Mapped[str] = mapped_column(String(512), default="", index=True)
    accession_number: Mapped[str] = mapped_column(String(64), default="", index=True)
    study_date: Mapped[str] = mapped_column(String(16), default="")
    description: Mapped[str] = mapped_column(String(256), default="")
    created_at: Mapped[datetime] = mapped_column(index=True)

    series: Mapped[list[Series]] = relationship(back_populates="study")


class Series(Base):
    """One series as received.

    headers: the attributes that rules may ask for, of the first instance (keyword -> JSON value).
    content_revision: grows with every instance that changes the content, so that a job knows whether its input moved.
    open_association: the association that sent last; all that are still open stand in `OpenAssociation`.
    association_released_at: when the last open association was released; None while one is open, and where the last
    one was aborted or lost.
    completed_by: why it was judged complete ("expected count", "association released", "quiet", "forced").
    routing: the trace of the last routing (see node.assemble), with the rules that fired.
    """

    __tablename__ = "series"
    __table_args__ = (
        Index("ix_series_state_last", "state", "last_received_at"),
        # Pages of series, filtered: the index alone answers, however rare the wanted ones are.
        Index("ix_series_list", "first_received_at", "id", "modality", "source_aet", "state"),
        # Retention asks for the oldest series whose files are still there; deleted ones leave this index.
        Index(
            "ix_series_with_files",
            "last_received_at",
            sqlite_where=text("files_deleted_at IS NULL"),
            postgresql_where=text("files_deleted_at IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"), index=True)
    series_uid: Mapped[str] = mapped_column(String(UID_LENGTH), unique=True)
    modality: Mapped[str] = mapped_column(String(32), default="")
    description: Mapped[str] = mapped_column(String(256), default="")
    sop_class_uid: Mapped[str] = mapped_column(String(UID_LENGTH), default="")
    source_aet: Mapped[str] = mapped_column(String(32), default="")
    called_aet: Mapped[str] = mapped_column(String(32), default="")
    state: Mapped[str] = mapped_column(String(16), default=SeriesState.RECEIVING.value)
    instance_count: Mapped[int] = mapped_column(default=0)
    expected_count: Mapped[int | None]
    byte_count: Mapped[int] = mapped_column(BigInteger, default=0)
    content_revision: Mapped[int] = mapped_column(default=0)
    open_association: Mapped[str] = mapped_column(String(64), default="")
    first_received_at: Mapped[datetime]
    last_received_at: Mapped[datetime]
    association_released_at: Mapped[datetime | None]
    force_complete: Mapped[bool] = mapped_column(default=False)
    completed_at: Mapped[datetime | None]
    completed_by: Mapped[str] = mapped_column(String(32), default="")
    headers: Mapped[dict[str, Any]] = mapped_column(default=dict)
    routing: Mapped[dict[str, Any] | None]
    files_deleted_at: Mapped[datetime | None]

    study: Mapped[Study] = relationship(back_populates="series")
    instances: Mapped[list[Instance]] = relationship(back_populates="series")


class Instance(Base):
    """One SOP instance in one version; a resend with other bytes is a new version."""

    __tablename__ = "instances"
    __table_args__ = (UniqueConstraint("series_id", "sop_uid", "version"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    series_id: Mapped[int] = mapped_column(ForeignKey("series.id"))
    sop_uid: Mapped[str] = mapped_column(String(UID_LENGTH), index=True)
    sop_class_uid: Mapped[str] = mapped_column(String(UID_LENGTH))
    transfer_syntax_uid: Mapped[str] = mapped_column(String(UID_LENGTH))
    version: Mapped[int] = mapped_column(default=1)
    current: Mapped[bool] = mapped_column(default=True)
    sha256: Mapped[str] = mapped_column(String(64))
    byte_count: Mapped[int] = mapped_column(BigInteger)
    storage_key: Mapped[str] = mapped_column(String(400))
    received_at: Mapped[datetime]
    source_aet: Mapped[str] = mapped_column(String(32), default="")

    series: Mapped[Series] = relationship(back_populates="instances")


class OpenAssociation(Base):
    """An association that has sent to a series and is not over yet; the row goes when it ends."""

    __tablename__ = "open_associations"

    token: Mapped[str] = mapped_column(String(64), primary_key=True)
    series_id: Mapped[int] = mapped_column(ForeignKey("series.id"), primary_key=True, index=True)


class Job(Base):
    """One analysis of one study by one pipeline, in one revision.

    key: derived from pipeline and input series; (key, revision) is the identity that result UIDs come from.
    trace: why this pipeline (rule, conditions, values seen). reason: the sentence for rejected, failed, waiting.
    available_at: not before this time (backoff between attempts). wait_until: when waiting ends,
    of a waiting job for its companion, of a queued one for a store that is away or full.
    modality, source_aet: of the primary series when the job was made, so that lists can be filtered by them.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        UniqueConstraint("key", "revision"),
        Index("ix_jobs_state_available", "state", "available_at"),
        Index("ix_jobs_state_lease", "state", "lease_until"),
        # Pages of jobs, filtered: the index alone answers, however rare the wanted ones are.
        Index("ix_jobs_list", "created_at", "id", "state", "pipeline", "rule", "modality", "source_aet"),
        Index("ix_jobs_state_list", "state", "created_at", "id", "pipeline", "modality", "source_aet", "queued_at"),
        Index("ix_jobs_pipeline_list", "pipeline", "created_at", "id", "state", "modality", "source_aet"),
        Index("ix_jobs_finished", "finished_at", "state", "created_at"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    key: Mapped[str] = mapped_column(String(64))
    revision: Mapped[int] = mapped_column(default=1)
    supersedes_id: Mapped[int | None] = mapped_column(ForeignKey("jobs.id"))
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"), index=True)
    pipeline: Mapped[str] = mapped_column(String(64))
    rule: Mapped[str] = mapped_column(String(64), default="")
    modality: Mapped[str] = mapped_column(String(32), default="")
    source_aet: Mapped[str] = mapped_column(String(32), default="")
    trace: Mapped[dict[str, Any]] = mapped_column(default=dict)
    destinations: Mapped[list[Any]] = mapped_column(default=list)
    priority: Mapped[int] = mapped_column(default=5)
    state: Mapped[str] = mapped_column(String(16), default=JobState.QUEUED.value)
    reason: Mapped[str] = mapped_column(Text, default="")
    attempts: Mapped[int] = mapped_column(default=0)
    available_at: Mapped[datetime]
    wait_until: Mapped[datetime | None]
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    lease_owner: Mapped[str] = mapped_column(String(128), default="")
    lease_until: Mapped[datetime | None]
    progress: Mapped[float] = mapped_column(Double, default=0.0)
    progress_text: Mapped[str] = mapped_column(String(200), default="")
    created_at: Mapped[datetime]
    queued_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    error: Mapped[str] = mapped_column(Text, default="")
    traceback: Mapped[str] = mapped_column(Text, default="")
    summary: Mapped[dict[str, Any] | None]

    study: Mapped[Study] = relationship()
    inputs: Mapped[list[JobInput]] = relationship(back_populates="job", cascade="all, delete-orphan")
    results: Mapped[list[Result]] = relationship(back_populates="job")


class JobLog(Base):
    """The last log lines of a job's attempts, one JSON object a line; kept of the newest jobs only."""

    __tablename__ = "job_logs"

    job_id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=False)
    lines: Mapped[str] = mapped_column(Text, default="")


class JobInput(Base):
    """A series that a job reads; content_revision is the series' at the time the job was made."""

    __tablename__ = "job_inputs"

    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    series_id: Mapped[int] = mapped_column(ForeignKey("series.id"), primary_key=True, index=True)
    role: Mapped[str] = mapped_column(String(32), default="primary")
    content_revision: Mapped[int] = mapped_column(default=0)

    job: Mapped[Job] = relationship(back_populates="inputs")
    series: Mapped[Series] = relationship()


class Result(Base):
    """One DICOM object that a job made. files_deleted_at: when retention deleted its file; the row stays."""

    __tablename__ = "results"
    __table_args__ = (UniqueConstraint("job_id", "sop_uid"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id"))
    kind: Mapped[str] = mapped_column(String(16))
    sop_uid: Mapped[str] = mapped_column(String(UID_LENGTH), index=True)
    sop_class_uid: Mapped[str] = mapped_column(String(UID_LENGTH))
    series_uid: Mapped[str] = mapped_column(String(UID_LENGTH))
    storage_key: Mapped[str] = mapped_column(String(400))
    sha256: Mapped[str] = mapped_column(String(64))
    byte_count: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime]
    files_deleted_at: Mapped[datetime | None]

    job: Mapped[Job] = relationship(back_populates="results")
    deliveries: Mapped[list[Delivery]] = relationship(back_populates="result")


class Delivery(Base):
    """The way of one result to one destination."""

    __tablename__ = "deliveries"
    __table_args__ = (
        UniqueConstraint("result_id", "destination"),
        Index("ix_deliveries_state_next", "state", "next_attempt_at"),
        Index("ix_deliveries_state_lease", "state", "lease_until"),
        Index("ix_deliveries_created", "created_at"),
        Index("ix_deliveries_destination_state", "destination", "state", "sent_at", "created_at"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    result_id: Mapped[int] = mapped_column(ForeignKey("results.id"))
    destination: Mapped[str] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(16), default=DeliveryState.PENDING.value)
    attempts: Mapped[int] = mapped_column(default=0)
    next_attempt_at: Mapped[datetime]
    lease_owner: Mapped[str] = mapped_column(String(128), default="")
    lease_until: Mapped[datetime | None]
    last_error: Mapped[str] = mapped_column(Text, default="")
    created_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]
    verified_at: Mapped[datetime | None]

    result: Mapped[Result] = relationship(back_populates="deliveries")


class Event(Base):
    """What happened, in order, for timelines; never changed and never with patient data in `message`."""

    __tablename__ = "events"
    __table_args__ = (Index("ix_events_at", "at"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    at: Mapped[datetime]
    kind: Mapped[str] = mapped_column(String(48))
    level: Mapped[str] = mapped_column(String(8), default="info")
    study_id: Mapped[int | None] = mapped_column(BigInteger, index=True)
    series_id: Mapped[int | None] = mapped_column(BigInteger, index=True)
    job_id: Mapped[int | None] = mapped_column(BigInteger, index=True)
    delivery_id: Mapped[int | None] = mapped_column(BigInteger)
    message: Mapped[str] = mapped_column(Text)
    data: Mapped[dict[str, Any] | None]


class Worker(Base):
    """A process that works on jobs or deliveries, as it last said of itself."""

    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(String(128), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    host: Mapped[str] = mapped_column(String(128))
    pid: Mapped[int]
    device: Mapped[str] = mapped_column(String(128), default="")
    started_at: Mapped[datetime]
    heartbeat_at: Mapped[datetime]
    rss_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    job_id: Mapped[int | None] = mapped_column(BigInteger)


class PausedDestination(Base):
    """A destination that a person has paused; its results wait as `pending` until the row goes."""

    __tablename__ = "paused_destinations"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    paused_at: Mapped[datetime]
    paused_by: Mapped[str] = mapped_column(String(128), default="")
