"""With a million instances every question that is asked all the time is answered from an index.

No time is measured: the statements that the functions really send are recorded and the database is asked for its plan.
A plan that reads a whole table of the archive is the fault that makes nodes slower with every study; the one exception
is counting by state, which reads a narrow index from end to end.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.orm import Session

from node.registry import queries
from node.registry.database import Registry
from node.registry.deliveries import due_deliveries, superseded_deliveries
from node.registry.intake import register
from node.registry.jobs import due_jobs
from node.registry.models import Delivery, Job
from node.registry.planning import due_waiting, job_key
from node.registry.retention import series_with_files, stored_files, study_snapshot
from node.registry.series import end_association, open_series, series_of_study
from node.storage.spool import AssociationEnd
from tests.fixtures.postgres import database
from tests.fixtures.registry import migrated_postgres
from tests.registry.arrivals import NOW, arrival

SQLITE_INSTANCES = 1_000_000
POSTGRES_INSTANCES = 200_000
"""Fewer, because filling takes longer; plans depend on statistics there, which a fifth of the rows gives as well."""

PER_SERIES = 20
ARCHIVE = ("studies", "series", "instances", "jobs", "job_inputs", "results", "deliveries", "events")

pytestmark = pytest.mark.slow


def seed(session: Session, instances: int) -> None:
    """An archive of complete, delivered studies, two series and one job each, made inside the database."""
    sqlite = session.get_bind().dialect.name == "sqlite"
    series = instances // PER_SERIES
    studies = series // 2

    def rows(count: int) -> str:
        if sqlite:
            return f"WITH RECURSIVE g(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM g WHERE n < {count})"
        return f"WITH g AS (SELECT n FROM generate_series(1, {count}) AS n)"

    def day(number: str) -> str:
        if sqlite:
            return f"datetime('2020-01-01', '+' || ({number}) || ' minutes') || '.000000'"
        return f"timestamptz '2020-01-01 00:00Z' + ({number}) * interval '1 minute'"

    false = "0" if sqlite else "false"
    true = "1" if sqlite else "true"
    statements = [
        f"INSERT INTO studies (study_uid, patient_id, patient_name, accession_number, study_date, description, "
        f"created_at) {rows(studies)} SELECT '9.' || n, 'p' || n, '', '', '', '', {day('n')} FROM g",
        f"INSERT INTO series (study_id, series_uid, modality, description, sop_class_uid, source_aet, called_aet, "
        f"state, instance_count, byte_count, content_revision, open_association, first_received_at, last_received_at, "
        f"force_complete, completed_by, headers) {rows(series)} SELECT (n + 1) / 2, '9.9.' || n, 'CT', '', '1.2', '', "
        f"'', 'complete', {PER_SERIES}, 1, {PER_SERIES}, '', {day('n')}, {day('n')}, {false}, 'quiet', '{{}}' FROM g",
        f"INSERT INTO instances (series_id, sop_uid, sop_class_uid, transfer_syntax_uid, version, current, sha256, "
        f"byte_count, storage_key, received_at, source_aet) {rows(instances)} SELECT (n - 1) / {PER_SERIES} + 1, "
        f"'9.9.9.' || n, '1.2', '1.2', 1, {true}, 'x', 1, 'received/' || n, {day('n / 20')}, '' FROM g",
        f"INSERT INTO jobs (key, revision, study_id, pipeline, rule, trace, destinations, priority, state, reason, "
        f"attempts, available_at, cancel_requested, lease_owner, progress, progress_text, created_at, error, traceback)"
        f" {rows(studies)} SELECT 'k' || n, 1, n, 'bone-scan', '', '{{}}', '[]', 5, 'done', '', 1, {day('n')}, {false},"
        f" '', 1, '', {day('n')}, '', '' FROM g",
        f"INSERT INTO job_inputs (job_id, series_id, role, content_revision) {rows(studies)} "
        f"SELECT n, 2 * n, 'primary', 1 FROM g",
        f"INSERT INTO results (job_id, kind, sop_uid, sop_class_uid, series_uid, storage_key, sha256, byte_count, "
        f"created_at) {rows(studies)} SELECT n, 'seg', '2.25.' || n, '1.2', '2.25.9', 'r', 'x', 1, {day('n')} FROM g",
        f"INSERT INTO deliveries (result_id, destination, state, attempts, next_attempt_at, lease_owner, last_error, "
        f"created_at) {rows(studies)} SELECT n, 'pacs', 'sent', 1, {day('n')}, '', '', {day('n')} FROM g",
        f"INSERT INTO events (at, kind, level, message, study_id) {rows(3 * studies)} "
        f"SELECT {day('n')}, 'job.done', 'info', '', (n + 2) / 3 FROM g",
    ]
    for statement in statements:
        session.execute(text(statement.replace(":00Z", "\\:00Z")))


@pytest.fixture(scope="module")
def archive_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A SQLite registry of a million instances, without statistics, as no node ever analyses its own."""
    from node.registry.migrate import upgrade

    path = tmp_path_factory.mktemp("archive") / "registry.sqlite"
    registry = Registry(f"sqlite:///{path}")
    upgrade(registry)
    raw = registry.engine.raw_connection()  # outside of any transaction; the pool hands it out again below
    raw.cursor().execute("PRAGMA synchronous=OFF")
    raw.close()
    with registry.transaction() as session:
        seed(session, SQLITE_INSTANCES)
    with registry.reading() as session:
        assert session.scalar(text("SELECT count(*) FROM instances")) == SQLITE_INSTANCES
    registry.dispose()
    yield path
    shutil.rmtree(path.parent)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.peer)], scope="module")
def archive(request: pytest.FixtureRequest) -> Iterator[Registry]:
    if request.param == "sqlite":
        registry = Registry(f"sqlite:///{request.getfixturevalue('archive_file')}")
        yield registry
        registry.dispose()
        return
    server = request.getfixturevalue("postgres_server")
    with database(server, migrated_postgres(server)) as url:
        registry = Registry(url)
        with registry.transaction() as session:
            seed(session, POSTGRES_INSTANCES)
        with registry.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")  # what autovacuum does in the background
        yield registry
        registry.dispose()


@contextmanager
def recorded(registry: Registry) -> Iterator[list[tuple[str, Any]]]:
    """The statements sent meanwhile, with their parameters."""
    found: list[tuple[str, Any]] = []

    def record(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool) -> None:
        if re.match(r"\s*(SELECT|UPDATE|DELETE|WITH)", statement):
            found.append((statement, parameters[0] if many else parameters))

    event.listen(registry.engine, "before_cursor_execute", record)
    try:
        yield found
    finally:
        event.remove(registry.engine, "before_cursor_execute", record)


def whole_table_reads(registry: Registry, statement: str, parameters: Any) -> list[str]:
    """Lines of the plan that read a table of the archive from end to end, or sort what they read."""
    with registry.engine.connect() as connection:
        if registry.is_sqlite:
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
            plan = [str(row[3]) for row in rows]
            scan = re.compile(rf"^SCAN ({'|'.join(ARCHIVE)})(?! USING COVERING INDEX ix_\w+_state)\b")
            # A LIMIT with an index (or the row numbers) that gives the order ends a scan after a page.
            ends_early = "LIMIT" in statement and not any("TEMP B-TREE FOR ORDER BY" in line for line in plan)
            in_order = ends_early and "WHERE" not in statement
            return [line for line in plan if scan.match(line) and not (in_order or (ends_early and "USING" in line))]
        plan = [str(row[0]) for row in connection.exec_driver_sql(f"EXPLAIN {statement}", parameters)]
        counting = "GROUP BY" in statement and "count(*)" in statement
        return [line for line in plan if re.search(rf"Seq Scan on ({'|'.join(ARCHIVE)})\b", line) and not counting]


def reading(function: Callable[[Session], object]) -> Callable[[Registry], None]:
    def run(registry: Registry) -> None:
        with registry.reading() as session:
            function(session)

    return run


def writing(function: Callable[[Session], object]) -> Callable[[Registry], None]:
    """Run and roll back, so that the archive stays as it is."""

    class _UndoError(Exception):
        pass

    def run(registry: Registry) -> None:
        with pytest.raises(_UndoError), registry.transaction() as session:
            function(session)
            session.flush()
            raise _UndoError

    return run


LATE = NOW - timedelta(days=14)
NEW = arrival(1, series_uid="9.9.9.1", study_uid="9.9.9")
RESENT = arrival(1, sop_uid="9.9.9.777", series_uid="9.9.8", study_uid="9.4", sha256="x")

QUESTIONS: dict[str, Callable[[Registry], None]] = {
    "ingest of an instance of a new study": writing(lambda s: register(s, [NEW], NOW)),
    "ingest of an instance that is there already": writing(lambda s: register(s, [RESENT], NOW)),
    "open series": reading(lambda s: open_series(s, 1000)),
    "the end of an association": writing(lambda s: end_association(s, "a1", AssociationEnd.RELEASED, NOW)),
    "series of a study": reading(lambda s: series_of_study(s, 77)),
    "due jobs": reading(lambda s: due_jobs(s, NOW, 100)),
    "jobs that waited long enough": reading(lambda s: due_waiting(s, NOW, 100)),
    "the latest revision of a job": reading(
        lambda s: s.execute(text("SELECT id FROM jobs WHERE key = :key ORDER BY revision DESC LIMIT 1"),
                            {"key": job_key("bone-scan", ["1.2"])})
    ),
    "due deliveries": reading(lambda s: due_deliveries(s, NOW, 100)),
    # A whole batch of 32 would be a sizeable part of this archive: PostgreSQL then rightly prefers to read all of it.
    "deliveries of a batch that are superseded": reading(
        lambda s: superseded_deliveries(s, Delivery.id.in_(range(70, 74)))
    ),
    "waiting deliveries of a job's older revisions": reading(
        lambda s: superseded_deliveries(s, Job.key == "k77", Delivery.state.in_(["pending", "failed"]))
    ),
    "the overview": reading(lambda s: queries.overview(s, NOW)),
    "the first page of studies": reading(lambda s: queries.studies_page(s, 50)),
    "a later page of studies": reading(lambda s: queries.studies_page(s, 50, (LATE, 300))),
    "one study": reading(lambda s: queries.study_view(s, "9.77")),
    "a job's picture": reading(lambda s: queries.picture_key(s, 77)),
    "candidates of retention": reading(lambda s: s.execute(series_with_files(LATE, None, 500)).all()),
    "further candidates of retention": reading(lambda s: s.execute(series_with_files(LATE, (LATE, 9), 500)).all()),
    "a study before it is deleted": writing(lambda s: study_snapshot(s, 77)),
    "files of a study": reading(lambda s: stored_files(s, 77)),
}  # fmt: skip


@pytest.mark.parametrize("question", QUESTIONS)
def test_no_frequent_question_reads_a_table_from_end_to_end(archive: Registry, question: str) -> None:
    with recorded(archive) as statements:
        QUESTIONS[question](archive)
    assert statements
    for statement, parameters in statements:
        found = whole_table_reads(archive, statement, parameters)
        assert not found, f"{found} in the plan of\n{statement}"


def test_the_check_would_notice_a_question_without_an_index(archive: Registry) -> None:
    with recorded(archive) as statements, archive.reading() as session:
        session.execute(text("SELECT count(*) FROM instances WHERE sha256 = :x"), {"x": "y"})
        session.execute(text("SELECT id FROM series ORDER BY byte_count LIMIT 5"))
    assert all(whole_table_reads(archive, *statement) for statement in statements)
