"""The intake: empties the inbox, which is the journal of what was acknowledged, into registry and store.

    inbox file --read--> Arrival --register (commit)--> row with storage key --adopt--> store     (inbox file gone)
                  \\-> unregistrable --> event (commit) --> refused/ with a reason beside it
    inbox *.end --(no file of that association left)--> series are released or broken off --> association's records
                                                        forgotten

A file leaves the inbox last, after its row is committed, so a crash at any point repeats a step that changes nothing:
the replay finds the row with the same digest and only moves the file. Identical resends are dropped the same way.
The loop that calls `step` is `node.jobs`'s. Nothing is decoded here, and no file makes `step` raise; a database that
cannot be reached does (nothing is lost then).
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import structlog
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError

from node.assemble.instance_file import UnregistrableError, digest_file, read_instance
from node.assemble.rule_book import RuleBook
from node.assemble.rules import Rules
from node.errors import OsteonError
from node.logs import describe_exception
from node.registry.database import Registry
from node.registry.events import add_event
from node.registry.intake import Arrival, Fate, Registered, register
from node.registry.series import end_association
from node.settings import Configuration
from node.storage import SpoolFolders, Storage
from node.storage.local import fsync_folder
from node.storage.spool import (
    REASON_SUFFIX,
    AssociationEnd,
    AssociationRecord,
    InboxEntry,
    ended_associations,
    forget_association,
    parse_instance_name,
    read_association,
)

log = structlog.get_logger(__name__)

BATCH = 200
"""Instances per transaction: long enough to spare fsyncs, short enough that nobody waits for the write lock."""

MOVERS = 8
"""Files moved to the store side by side: a move is mostly waiting for the disk to say that it is durable."""

RETRY_S = 30.0
"""How long a file whose move to the store failed (disk full, store away) is left alone."""

WRONG_STUDY = (
    "its series is registered under another study; two patients may be mixed up. Look at the sender, then send the "
    "series again under UIDs of its own"
)


@dataclass(frozen=True)
class IngestReport:
    """What one step did. `backlog`: the inbox holds more than this step took."""

    new: int = 0
    identical: int = 0
    new_versions: int = 0
    refused: int = 0
    deferred: int = 0
    associations_ended: int = 0
    backlog: bool = False

    def __bool__(self) -> bool:
        """Whether anything changed, so that another step may be worth while at once."""
        return bool(self.new or self.identical or self.new_versions or self.refused or self.associations_ended)

    def __add__(self, other: IngestReport) -> IngestReport:
        return IngestReport(
            self.new + other.new,
            self.identical + other.identical,
            self.new_versions + other.new_versions,
            self.refused + other.refused,
            self.deferred + other.deferred,
            self.associations_ended + other.associations_ended,
            self.backlog or other.backlog,
        )


class Ingest:
    """Empties one data folder's inbox. Several may run: only one works at a time, the others see an empty report.

    Parameters
    ----------
    rules
        Rules whose attributes are kept beside the usual ones; None loads the configuration's.
    """

    def __init__(
        self, configuration: Configuration, registry: Registry, storage: Storage, rules: Rules | None = None
    ) -> None:
        self._folders = SpoolFolders.create(configuration.data_dir)
        self._lock_file = configuration.data_dir / "spool" / "ingest.lock"
        self._registry = registry
        self._storage = storage
        self._book = RuleBook(configuration, rules)
        self._attributes = self._book.rules.attributes()
        self._not_before: dict[str, datetime] = {}
        self._movers = ThreadPoolExecutor(MOVERS, "ingest").map if MOVERS > 1 else map

    def step(self, now: datetime, limit: int = 5 * BATCH) -> IngestReport:
        """Take up to `limit` instances from the inbox, oldest first, then see which associations are over.

        Raises
        ------
        sqlalchemy.exc.OperationalError, InterfaceError
            If the database cannot be reached; what was not registered stays in the inbox.
        """
        with self._alone() as alone:
            if not alone:
                return IngestReport()
            if self._book.refresh():
                self._attributes = self._book.rules.attributes()
            # The ends first: whatever an ended association sent is then in the listing that follows.
            ended = ended_associations(self._folders.inbox)
            entries, strangers = self._entries()
            self._not_before = {name: due for name, due in self._not_before.items() if due > now}
            due = [entry for entry in entries if entry.path.name not in self._not_before]
            report = IngestReport(refused=sum(self._refuse_stranger(path, now) for path in strangers))
            left = {entry.path.name: entry for entry in entries}
            for start in range(0, min(len(due), limit), BATCH):
                batch = due[start : min(start + BATCH, limit)]
                report += self._batch(batch, now)
                for entry in batch:
                    if not entry.path.exists():
                        del left[entry.path.name]
            busy = {entry.association for entry in left.values()}
            over = {token: how for token, how in ended.items() if token not in busy}
            report += IngestReport(associations_ended=self._end(over, now), backlog=len(due) > limit)
            return report

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Whether this process holds the inbox's lock, which the kernel frees when a process dies."""
        with self._lock_file.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True

    def _entries(self) -> tuple[list[InboxEntry], list[Path]]:
        """(instances in the order of their arrival, .dcm files that no listener of ours named)."""
        found: list[tuple[int, InboxEntry]] = []
        strangers = []
        with os.scandir(self._folders.inbox) as listing:
            for item in listing:
                if not item.name.endswith(".dcm"):
                    continue
                path = Path(item.path)
                entry = parse_instance_name(path)
                if entry is None:
                    strangers.append(path)
                else:
                    found.append((item.stat(follow_symlinks=False).st_mtime_ns, entry))
        found.sort(key=lambda pair: (pair[0], pair[1].association, pair[1].number))
        return [entry for _, entry in found], sorted(strangers)

    def _batch(self, entries: Sequence[InboxEntry], now: datetime) -> IngestReport:
        records: dict[str, AssociationRecord | None] = {}
        arrivals: list[tuple[InboxEntry, Arrival]] = []
        report = IngestReport()
        for entry in entries:
            if entry.association not in records:
                records[entry.association] = read_association(self._folders.inbox, entry.association)
            try:
                arrivals.append((entry, self._read(entry, records[entry.association], now)))
            except UnregistrableError as error:
                report += self._refuse(entry.path, str(error), now)
            except OSError as error:
                report += self._defer(entry.path, error, now)
            except Exception as error:  # a header that nobody thought of must not hold up all that comes after it
                log.error("ingest.unreadable", file=entry.path.name, error=describe_exception(error))
                reason = f"its header cannot be understood ({type(error).__name__})"
                report += self._refuse(entry.path, reason, now)
        return report + self._register(arrivals, now)

    def _read(self, entry: InboxEntry, record: AssociationRecord | None, now: datetime) -> Arrival:
        instance = read_instance(entry.path, self._attributes, acknowledged_uid=entry.sop_instance_uid)
        digest = digest_file(entry.path)
        written = datetime.fromtimestamp(entry.path.stat().st_mtime, UTC)
        return Arrival(
            study_uid=instance.study_uid,
            series_uid=instance.series_uid,
            sop_uid=instance.sop_uid,
            sop_class_uid=instance.sop_class_uid,
            transfer_syntax_uid=instance.transfer_syntax_uid,
            sha256=digest.sha256,
            byte_count=digest.byte_count,
            received_at=min(written, now),
            patient_id=instance.patient_id,
            patient_id_issuer=instance.patient_id_issuer,
            patient_name=instance.patient_name,
            accession_number=instance.accession_number,
            study_date=instance.study_date,
            study_description=instance.text("StudyDescription"),
            modality=instance.text("Modality"),
            series_description=instance.text("SeriesDescription"),
            expected_count=instance.expected_count,
            headers=instance.headers,
            association=entry.association,
            calling_aet=record.calling_aet if record else "",
            called_aet=record.called_aet if record else "",
        )

    def _register(self, arrivals: Sequence[tuple[InboxEntry, Arrival]], now: datetime) -> IngestReport:
        """Commit a batch, then move its files; a batch that the database refuses is tried one by one."""
        if not arrivals:
            return IngestReport()
        try:
            with self._registry.transaction() as session:
                # Copies: registering marks headers, and this may be a second try.
                outcomes = register(session, [replace(a, headers=dict(a.headers)) for _, a in arrivals], now)
        except (OperationalError, InterfaceError):
            raise
        except (SQLAlchemyError, OsteonError, ValueError) as error:
            if len(arrivals) > 1:
                return sum((self._register([pair], now) for pair in arrivals), IngestReport())
            log.error("ingest.unregistrable", error=type(error).__name__)
            return self._refuse(arrivals[0][0].path, f"the registry cannot take it ({type(error).__name__})", now)
        # Copies of one instance in the order of their arrival, different ones side by side.
        places: dict[str, list[tuple[InboxEntry, Arrival, Registered]]] = {}
        report = IngestReport()
        for (entry, arrival), outcome in zip(arrivals, outcomes, strict=True):
            if outcome.fate is Fate.WRONG_STUDY:
                report += self._refuse(entry.path, WRONG_STUDY, now)
            else:
                places.setdefault(outcome.storage_key, []).append((entry, arrival, outcome))
        return sum(self._movers(partial(self._settle, now=now), places.values()), report)

    def _settle(self, files: Sequence[tuple[InboxEntry, Arrival, Registered]], now: datetime) -> IngestReport:
        """Put registered files that belong to one place there, in order."""
        return sum((self._settle_one(*file, now) for file in files), IngestReport())

    def _settle_one(self, entry: InboxEntry, arrival: Arrival, outcome: Registered, now: datetime) -> IngestReport:
        """Move a registered file to its place, or drop it if the same bytes are there already."""
        try:
            if outcome.fate in (Fate.IDENTICAL, Fate.OUTDATED) and self._storage.exists(outcome.storage_key):
                entry.path.unlink()
            else:
                self._storage.adopt(entry.path, outcome.storage_key)
        except OSError as error:
            return self._defer(entry.path, error, now)
        if entry.sop_instance_uid != arrival.sop_uid:
            log.warning("ingest.uid_differs", acknowledged=entry.sop_instance_uid, data_set=arrival.sop_uid)
        if outcome.fate is Fate.NEW:
            return IngestReport(new=1)
        return IngestReport(new_versions=1) if outcome.fate is Fate.NEW_VERSION else IngestReport(identical=1)

    def _defer(self, path: Path, error: OSError, now: datetime) -> IngestReport:
        self._not_before[path.name] = now + timedelta(seconds=RETRY_S)
        log.error("ingest.deferred", file=path.name, error=str(error), retry_s=RETRY_S)
        return IngestReport(deferred=1)

    def _refuse(self, path: Path, reason: str, now: datetime) -> IngestReport:
        """Keep a file that cannot be registered where a person finds it, with the reason beside it.

        The event is committed first: repeated after a crash it is there twice, never not at all.
        """
        with self._registry.transaction() as session:
            add_event(session, now, "instance.refused", f"An acknowledged file was put aside: {reason}.",
                      level="warning", data={"file": path.name})  # fmt: skip
        try:
            target = self._folders.refused / path.name
            note = {"file": path.name, "reason": reason, "at": now.isoformat()}
            target.with_name(path.name + REASON_SUFFIX).write_text(json.dumps(note), encoding="utf-8")
            path.replace(target)
            fsync_folder(self._folders.refused)
        except OSError as error:
            return self._defer(path, error, now)
        log.warning("ingest.refused", file=path.name, reason=reason)
        return IngestReport(refused=1)

    def _refuse_stranger(self, path: Path, now: datetime) -> int:
        if path.name in self._not_before:
            return 0
        return self._refuse(path, "its name is not one that the listener gives", now).refused

    def _end(self, over: Mapping[str, AssociationEnd], now: datetime) -> int:
        """Tell the series of associations that are over, in the order of their ends, then forget the associations."""
        if over:
            with self._registry.transaction() as session:
                for token, how in over.items():
                    end_association(session, token, how, now)
            for token in over:
                forget_association(self._folders.inbox, token)
        return len(over)
