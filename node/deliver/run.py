"""One sending from claim to outcome: the bodies of the tasks `deliver.run` and `upkeep.confirm`.

    claim a batch (all due at one destination) --> files --> one association or connection --> per result:
        stored -> sent (-> verified, where the destination is asked)
        not now -> pending, with back-off; given up in the end -> failed
        never -> failed, with the sentence that says why

Each result at each destination has its own state, so what arrived in part is shown in part. A repeated sending sends
the same objects under the same UIDs; losing the lease therefore costs nothing but the time. This module knows no
pipeline, and no broker but the `Enqueuer`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import structlog
from sqlalchemy.orm import Session

from node.deliver import places
from node.deliver.backoff import next_attempt_at, next_question_at
from node.deliver.find import Wanted
from node.deliver.scu import SendOutcome
from node.errors import OsteonError, PermanentError
from node.jobs.heartbeat import Heartbeat, Held, utc_now
from node.registry import confirmations, deliveries
from node.registry.database import Registry
from node.registry.deliveries import NEVER, ClaimedDelivery
from node.registry.jobs import LeaseLost
from node.settings import AnyDestination, Configuration
from node.storage import Storage

BATCH = 32
"""Results sent over one association; their common lease is renewed meanwhile."""

QUESTION_LEASE_S = 60.0
"""While a destination is asked about a result, nobody else asks."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class DeliveryLease:
    """The lease on a batch, for the heartbeat."""

    claims: tuple[ClaimedDelivery, ...]

    @property
    def job_id(self) -> int | None:
        return self.claims[0].job_id

    def renew(self, session: Session, now: datetime, lease_s: float, progress: float, text: str) -> bool:
        return deliveries.renew_deliveries(session, self.claims, now, lease_s)

    def stop_wanted(self, session: Session) -> bool:
        return False

    def give_back(self, session: Session, now: datetime) -> None:
        deliveries.give_back_deliveries(session, self.claims, now)


class DeliveryRunner:
    """Sends results, from any number of threads.

    Parameters
    ----------
    worker
        Name of the worker, the first part of its claims' tokens.
    clock
        The time now, in UTC.
    """

    def __init__(
        self,
        configuration: Configuration,
        registry: Registry,
        storage: Storage,
        heartbeat: Heartbeat,
        worker: str,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._configuration = configuration
        self._settings = configuration.settings.delivery
        self._registry = registry
        self._storage = storage
        self._heartbeat = heartbeat
        self._worker = worker
        self._clock = clock

    def run(self, delivery_id: int) -> int:
        """Send a due delivery and what else is due at its destination; returns how many were claimed."""
        if self._heartbeat.draining:
            return 0
        token = f"{self._worker}/{uuid.uuid4().hex[:12]}"
        with self._registry.transaction() as session:
            claims = deliveries.claim_deliveries(
                session, delivery_id, token, self._clock(), self._settings.lease_s, BATCH
            )
        if not claims:
            return 0
        destination = self._destination(claims[0].destination)
        if destination is None:
            self._fail_all(
                claims,
                f"There is no destination '{claims[0].destination}' in destinations.yaml any more; put it back and "
                "send again.",
            )
            return len(claims)
        with self._heartbeat.hold(DeliveryLease(tuple(claims)), self._settings.lease_s) as held:
            try:
                outcomes = self._send(claims, destination, held)
            except LeaseLost:  # what was sent is sent again by whoever has the lease: the same objects
                return len(claims)
            with held.finishing():
                sent = self._record(outcomes, destination)
        bound = log.bind(destination=destination.name, sent=len(sent), claimed=len(claims))
        bound.info("delivery.ended") if len(sent) == len(claims) else bound.warning("delivery.ended")
        if destination.verify == "find":
            for claim in sent:
                self._ask(claim, destination)
        return len(claims)

    def confirm(self, delivery_id: int) -> bool:
        """Ask the destination of a sent delivery whether it has the result; True if it says so."""
        now = self._clock()
        with self._registry.transaction() as session:
            claim = confirmations.claim_question(session, delivery_id, now, now + timedelta(seconds=QUESTION_LEASE_S))
        if claim is None:
            return False
        destination = self._destination(claim.destination)
        if destination is None or destination.verify != "find":
            self._unconfirmed(claim, NEVER, f"'{claim.destination}' is not asked about what it has any more.")
            return False
        return self._ask(claim, destination)

    def _destination(self, name: str) -> AnyDestination | None:
        return next((d for d in self._configuration.destinations if d.name == name), None)

    def _send(
        self, claims: Sequence[ClaimedDelivery], destination: AnyDestination, held: Held
    ) -> list[tuple[ClaimedDelivery, SendOutcome]]:
        outcomes = []
        with ExitStack() as files:
            paths: dict[Path, ClaimedDelivery] = {}
            for claim in claims:
                try:
                    paths[files.enter_context(self._storage.local_path(claim.storage_key))] = claim
                except OSError as error:
                    outcomes.append((claim, _not_in_store(claim, error)))
            if paths:
                calling = self._configuration.settings.listen.ae_title
                sent = places.send(
                    list(paths), destination, calling, lambda done, total: held.progress(done / total, "")
                )
                outcomes += [(paths[outcome.path], outcome) for outcome in sent]
        return outcomes

    def _record(
        self, outcomes: Iterable[tuple[ClaimedDelivery, SendOutcome]], destination: AnyDestination
    ) -> list[ClaimedDelivery]:
        """Write what became of each; returns those that arrived."""
        now = self._clock()
        ask_at = now + timedelta(seconds=QUESTION_LEASE_S) if destination.verify == "find" else NEVER
        arrived = []
        with self._registry.transaction() as session:
            for claim, outcome in outcomes:
                if outcome.ok:
                    if deliveries.mark_sent(session, claim, now, ask_at):
                        arrived.append(claim)
                    continue
                again = next_attempt_at(now, self._settings, claim.attempt) if outcome.retriable else None
                if again is not None:
                    deliveries.try_again(session, claim, now, again, outcome.sentence)
                else:
                    tried = f" ({claim.attempt} attempts; none will follow)" if outcome.retriable else ""
                    deliveries.fail_delivery(session, claim, now, f"{outcome.sentence}{tried}")
        return arrived

    def _fail_all(self, claims: Iterable[ClaimedDelivery], reason: str) -> None:
        now = self._clock()
        with self._registry.transaction() as session:
            for claim in claims:
                deliveries.fail_delivery(session, claim, now, reason)
        log.warning("delivery.failed", reason=reason)

    def _ask(self, claim: ClaimedDelivery, destination: AnyDestination) -> bool:
        """Ask for one object and write the answer."""
        wanted = Wanted(claim.study_uid, claim.series_uid, claim.sop_uid)
        calling = self._configuration.settings.listen.ae_title
        now = self._clock()
        again = next_question_at(now, claim.sent_at or now, self._settings) or NEVER
        try:
            found = places.has_object(destination, calling, wanted)
        except PermanentError as error:
            self._unconfirmed(claim, NEVER, str(error))
            return False
        except OsteonError as error:
            self._unconfirmed(claim, again, str(error))
            return False
        if not found:
            self._unconfirmed(claim, again, f"{destination.name} acknowledged it but does not list it (yet).")
            return False
        with self._registry.transaction() as session:
            return confirmations.mark_verified(session, claim, self._clock())

    def _unconfirmed(self, claim: ClaimedDelivery, again: datetime, reason: str) -> None:
        with self._registry.transaction() as session:
            confirmations.note_unverified(session, claim, self._clock(), again, reason)
        log.warning("delivery.unconfirmed", delivery=claim.id, destination=claim.destination, reason=reason)


def _not_in_store(claim: ClaimedDelivery, error: OSError) -> SendOutcome:
    """A result that cannot be read: for good where retention deleted it, else until the store is back."""
    deleted = claim.files_deleted_at is not None
    why = str(error) if isinstance(error, FileNotFoundError) else f"the store cannot be read: {error.strerror or error}"
    way_out = "retention deleted it; run the job again" if deleted else "if it stays so, run the job again"
    return SendOutcome(Path(), claim.sop_uid, False, not deleted, None, f"{why}; {way_out}")
