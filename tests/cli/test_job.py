"""`osteon job`: what changes from the console stands in the audit trail like what changes on the dashboard."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import select, update

from node.cli.job import job
from node.errors import PermanentError
from node.registry.account_models import AuditEntry
from node.registry.audit import CONSOLE_ROLE, console_actor
from node.registry.database import Registry
from node.registry.models import Delivery
from tests.dashboard.analysed import analyse, receive
from tests.dashboard.conftest import NOW
from tests.fixtures.registry import sqlite_registry

__all__ = ["sqlite_registry"]

PACS = "destinations: [{name: pacs, host: 127.0.0.1, port: 1, ae_title: PACS}]\n"


def test_every_change_from_the_console_is_in_the_audit_trail_with_who_and_what(
    sqlite_registry: Registry, tmp_path: Path
) -> None:
    (tmp_path / "destinations.yaml").write_text(PACS)
    analyse(sqlite_registry, 1, NOW, destinations=("pacs",))
    receive(sqlite_registry, 2, NOW)
    with sqlite_registry.transaction() as session:
        session.execute(update(Delivery).values(state="failed"))

    def osteon_job(*arguments: str) -> None:
        where = ["--config", str(tmp_path), "--data", str(tmp_path)]
        environment = {"OSTEON_DATABASE_URL": sqlite_registry.url}
        done = CliRunner().invoke(job, [*arguments, *where], env=environment, catch_exceptions=False)
        assert done.exit_code == 0, done.output

    osteon_job("resend", "pacs")
    osteon_job("resend", "pacs")  # nothing failed any more: no change, no line
    osteon_job("rerun", "1")
    osteon_job("cancel", "2")
    osteon_job("retry", "2")
    osteon_job("complete", "1.2.2.1")
    with pytest.raises(PermanentError, match="queued cannot become queued"):
        osteon_job("retry", "2")
    with sqlite_registry.reading() as session:
        entries = session.scalars(select(AuditEntry).order_by(AuditEntry.id)).all()
    assert [(entry.action, entry.object, entry.before, entry.after) for entry in entries] == [
        ("destination.resend", "destination pacs", None, {"deliveries": 2}),
        ("job.rerun", "job 1", None, {"job": 2}),
        ("job.cancel", "job 2", {"state": "queued"}, {"state": "cancelled"}),
        ("job.retry", "job 2", {"state": "cancelled"}, {"state": "queued"}),
        ("series.complete", "series 1.2.2.1", None, {"forced": True}),
    ]
    assert {(entry.who, entry.role) for entry in entries} == {(console_actor().name, CONSOLE_ROLE)}
