"""Findings -> files in the store: what a worker does between the pipeline and the transaction that says `done`.

    Findings --node.results--> objects, pictures, summary --> a private folder --> the lease confirmed --> the store

The lease is confirmed right before the store is touched, so that a worker that slept through its lease does not
replace the files of the one that took over. Pictures are results of kind `png` without a SOP class: the dashboard
shows them, retention deletes them, nothing delivers them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, cast
from zoneinfo import ZoneInfo

import structlog

from node.errors import StoreUnavailable
from node.identity import identity
from node.jobs.heartbeat import Held
from node.jobs.previous import with_previous
from node.jobs.workspace import attempt_folder
from node.registry.database import Registry
from node.registry.deliveries import PlannedDelivery
from node.registry.job_files import EarlierRevision, earlier_revision
from node.registry.jobs import ClaimedJob, NewResult
from node.registry.trends import previous
from node.results import (
    ObjectReference,
    ResultContext,
    ResultKind,
    ResultObject,
    Superseded,
    build_results,
    summary,
    write_pictures,
    write_results,
)
from node.settings import AnyDestination, Configuration
from node.settings.model import ResultSettings
from node.storage import Storage, result_key
from pipelines.contract import Findings

PICTURE_KIND = "png"

_STEM = "result"
_CHUNK_BYTES = 1 << 20

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Publication:
    """What is in the store now and waits to be registered."""

    results: tuple[NewResult, ...]
    deliveries: tuple[PlannedDelivery, ...]
    summary: dict[str, Any]


def publish(
    configuration: Configuration,
    registry: Registry,
    storage: Storage,
    claim: ClaimedJob,
    findings: Findings,
    held: Held,
) -> Publication:
    """Write the results of a job and hand them to the store.

    Raises
    ------
    LeaseLost
        If another worker may have the job by now; the store was not touched.
    StoreUnavailable
        If the disk is full, or the store is away.
    """
    with registry.reading() as session:
        earlier = earlier_revision(session, claim)
        findings = with_previous(findings, previous(session, claim.study_id, claim.created_at))
    context = ResultContext(
        job_key=claim.key,
        revision=claim.revision,
        # The job's time, not now, and in one zone on every host: a second attempt must write the same bytes.
        created_at=site_time(claim.created_at, configuration.settings.results),
        node=identity(configuration.settings.listen.ae_title),
        supersedes=_superseded(earlier),
    )
    objects = build_results(findings, context)
    try:
        with attempt_folder(configuration.data_dir) as folder:
            files = write_results(objects, folder, _STEM)
            pictures = write_pictures(findings, context, folder, _STEM)
            held.confirm()
            results = [_adopt_object(storage, claim, item, path) for item, path in zip(objects, files, strict=True)]
            results += [_adopt_picture(storage, claim, number, path) for number, path in enumerate(pictures, start=1)]
    except OSError as error:
        raise StoreUnavailable(f"the results cannot be stored: {error.strerror or type(error).__name__}") from error
    deliveries = planned_deliveries(results, claim.destinations, configuration.destinations)
    _tell_left_out(results, receivers(claim.destinations, configuration.destinations), configuration.destinations)
    return Publication(
        results=tuple(results),
        deliveries=tuple(deliveries),
        summary=summary(findings, objects),
    )


def site_time(moment: datetime, settings: ResultSettings) -> datetime:
    """`moment` in the hospital's zone: DICOM dates and times are local ones, like those of the scanners beside us."""
    return moment.astimezone(ZoneInfo(settings.timezone) if settings.timezone else None)


def receivers(wanted: Sequence[str], destinations: Sequence[AnyDestination]) -> list[str]:
    """Names of the destinations of a job: those it names, else the default ones."""
    return list(dict.fromkeys(wanted)) or [d.name for d in destinations if d.default]


def planned_deliveries(
    results: Iterable[NewResult], wanted: Sequence[str], destinations: Sequence[AnyDestination]
) -> list[PlannedDelivery]:
    """Which result goes where.

    Parameters
    ----------
    wanted
        Names of the job's destinations; empty for the ones marked `default`. A name that is not configured gets
        its deliveries all the same, so that its absence shows as a failed delivery and not as silence.
    """
    by_name = {destination.name: destination for destination in destinations}
    deliverable = [result for result in results if result.kind != PICTURE_KIND]
    return [
        PlannedDelivery(result.sop_uid, name)
        for name in receivers(wanted, destinations)
        for result in deliverable
        if name not in by_name or by_name[name].gets(result.kind, result.source_modality)
    ]


def _tell_left_out(results: Iterable[NewResult], names: Sequence[str], destinations: Iterable[AnyDestination]) -> None:
    """Say in the job's log which segmentations a destination's own choice keeps from it, for whoever misses one."""
    segmentations = [result for result in results if result.kind == "seg"]
    for one in destinations:
        kept = {r.source_modality for r in segmentations if not one.gets(r.kind, r.source_modality)}
        if one.name in names and "seg" in one.send and kept:
            chosen = list(one.segmentations)
            log.info("delivery.seg_left_out", destination=one.name, drawn_on=sorted(kept), segmentations=chosen)


def _superseded(earlier: EarlierRevision | None) -> Superseded | None:
    if earlier is None:
        return None
    references = tuple(
        ObjectReference(cast(ResultKind, r.kind), r.sop_class_uid, r.sop_uid, r.series_uid) for r in earlier.results
    )
    return Superseded(earlier.revision, references)


def _adopt_object(storage: Storage, claim: ClaimedJob, item: ResultObject, path: Path) -> NewResult:
    key = result_key(claim.key, claim.revision, f"{item.sop_instance_uid}.{item.kind}.dcm")
    sha256, byte_count = _digest(path)
    storage.adopt(path, key)
    return NewResult(
        kind=item.kind,
        sop_uid=item.sop_instance_uid,
        sop_class_uid=item.sop_class_uid,
        series_uid=item.series_instance_uid,
        storage_key=key,
        sha256=sha256,
        byte_count=byte_count,
        source_modality=item.source_modality,
    )


def _adopt_picture(storage: Storage, claim: ClaimedJob, number: int, path: Path) -> NewResult:
    key = result_key(claim.key, claim.revision, f"overlay-{number}.{PICTURE_KIND}")
    sha256, byte_count = _digest(path)
    storage.adopt(path, key)
    name = f"{PICTURE_KIND}-{number}"  # no DICOM object: the name only has to be one of its job's
    return NewResult(PICTURE_KIND, name, "", "", key, sha256, byte_count)


def _digest(path: Path) -> tuple[str, int]:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest(), path.stat().st_size
