"""Arrivals become rows once, whatever comes twice, at once or in hostile shape, on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from node.registry.database import Registry
from node.registry.intake import Arrival, Fate, Registered, Version, decide, register
from node.registry.models import Event, Instance, Job, OpenAssociation, Result, Series, Study
from tests.registry.arrivals import NOW, arrival

SAME, OTHER = "a" * 64, "b" * 64


def put(registry: Registry, arrivals: Sequence[Arrival]) -> list[Registered]:
    with registry.transaction() as session:
        return register(session, arrivals, NOW)


@pytest.mark.parametrize(
    ("versions", "fate", "number"),
    [
        ([], Fate.NEW, 1),
        ([Version(1, SAME, True)], Fate.IDENTICAL, 1),
        ([Version(1, OTHER, True)], Fate.NEW_VERSION, 2),
        ([Version(1, SAME, False), Version(2, OTHER, True)], Fate.OUTDATED, 1),
        ([Version(1, OTHER, False), Version(2, SAME, True)], Fate.IDENTICAL, 2),
        ([Version(1, OTHER, False), Version(2, OTHER, True)], Fate.NEW_VERSION, 3),
    ],
)
def test_an_arrival_is_judged_by_the_versions_that_are_there(versions: list[Version], fate: Fate, number: int) -> None:
    assert decide(versions, SAME) == (fate, number)


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=8))
def test_whatever_comes_in_whatever_order_each_content_is_one_version_and_one_is_current(contents: list[str]) -> None:
    versions: list[Version] = []
    for content in contents:
        fate, number = decide(versions, content)
        if fate in (Fate.NEW, Fate.NEW_VERSION):
            versions = [replace(version, current=False) for version in versions]
            versions.append(Version(number, content, True))
    assert [version.sha256 for version in versions] == list(dict.fromkeys(contents))
    assert [version.number for version in versions] == list(range(1, len(versions) + 1))
    assert sum(version.current for version in versions) == 1


def test_a_batch_becomes_studies_series_and_instances(registry: Registry) -> None:
    outcomes = put(registry, [arrival(n, s, t) for t in (1, 2) for s in (1, 2) for n in (1, 2, 3)])
    assert {outcome.fate for outcome in outcomes} == {Fate.NEW}
    assert len({outcome.storage_key for outcome in outcomes}) == 12
    with registry.reading() as session:
        assert session.scalar(select(func.count()).select_from(Study)) == 2
        rows = session.execute(select(Series.instance_count, Series.byte_count, Series.content_revision)).all()
        assert [tuple(row) for row in rows] == [(3, 300, 3)] * 4


def test_repeating_a_batch_changes_nothing(registry: Registry) -> None:
    batch = [arrival(n) for n in (1, 2)]
    keys = [outcome.storage_key for outcome in put(registry, batch)]
    again = put(registry, batch)
    assert [(outcome.fate, outcome.storage_key) for outcome in again] == [(Fate.IDENTICAL, key) for key in keys]
    with registry.reading() as session:
        assert session.scalar(select(func.count()).select_from(Instance)) == 2


def test_exactly_one_version_is_current(registry: Registry) -> None:
    for content in ("a", "b", "a", "c"):
        put(registry, [arrival(sha256=content)])
    with registry.reading() as session:
        rows = session.execute(select(Instance.version, Instance.sha256, Instance.current).order_by(Instance.version))
        assert [tuple(row) for row in rows] == [(1, "a", False), (2, "b", False), (3, "c", True)]


def test_texts_longer_than_their_column_are_cut_and_odd_characters_kept(registry: Registry) -> None:
    """PostgreSQL refuses what does not fit; SQLite would keep it."""
    long = "骨" * 5000
    put(registry, [
        arrival(
            patient_id=long, patient_name=long, accession_number=long, study_date=long, study_description=long,
            modality=long, series_description=long, calling_aet=long, called_aet=long,
            headers={"SeriesDescription": "'; DROP TABLE series; -- \u202e {{x}} %s 𝕏"},
        )
    ])  # fmt: skip
    with registry.reading() as session:
        series = session.scalars(select(Series)).one()
        study = session.scalars(select(Study)).one()
        sender = session.scalars(select(Instance.source_aet)).one()
    assert (len(series.modality), len(series.description), len(sender)) == (32, 256, 32)
    assert (len(study.patient_name), len(study.accession_number)) == (512, 64)
    assert series.headers["SeriesDescription"] == "'; DROP TABLE series; -- \u202e {{x}} %s 𝕏"


def test_a_series_stays_with_the_study_that_had_it_first(registry: Registry) -> None:
    outcomes = put(registry, [arrival(1), arrival(2, study_uid="1.9")])
    assert [outcome.fate for outcome in outcomes] == [Fate.NEW, Fate.WRONG_STUDY]
    assert [outcome.fate for outcome in put(registry, [arrival(3, study_uid="1.9")])] == [Fate.WRONG_STUDY]
    with registry.reading() as session:
        assert list(session.scalars(select(Study.study_uid))) == ["1.1"]


def test_a_series_with_another_patient_id_than_its_study_is_noted_without_the_ids(registry: Registry) -> None:
    put(registry, [arrival(1, 1)])
    put(registry, [arrival(1, 2, patient_id="OTHER-1")])
    with registry.reading() as session:
        event = session.scalars(select(Event).where(Event.kind == "study.patient_differs")).one()
        everything = [f"{e.kind} {e.message} {e.data}" for e in session.scalars(select(Event))]
    assert event.level == "warning"
    assert not [text for text in everything if "SECRET" in text or "OTHER-1" in text]


def test_a_result_of_this_node_that_comes_back_is_marked(registry: Registry) -> None:
    put(registry, [arrival(1)])
    with registry.transaction() as session:
        study_id = session.scalars(select(Study.id)).one()
        job = Job(key="k", study_id=study_id, pipeline="p", available_at=NOW, created_at=NOW)
        session.add(job)
        session.flush()
        session.add(Result(job_id=job.id, kind="sc", sop_uid="2.25.7", sop_class_uid="1.2", series_uid="2.25.8",
                           storage_key="x", sha256="y", byte_count=1, created_at=NOW))  # fmt: skip
    put(registry, [arrival(1, 2, sop_uid="2.25.7"), arrival(1, 3)])
    with registry.reading() as session:
        marked = {uid: headers.get("MadeByOsteon", False) for uid, headers in
                  session.execute(select(Series.series_uid, Series.headers))}  # fmt: skip
    assert marked == {"1.1.1": False, "1.1.2": True, "1.1.3": False}


def test_an_association_is_open_once_per_series_however_often_it_sends(registry: Registry) -> None:
    put(registry, [arrival(1), arrival(2), arrival(1, 2)])
    put(registry, [arrival(3), arrival(4, association="a2")])
    with registry.reading() as session:
        rows = session.execute(
            select(Series.series_uid, OpenAssociation.token)
            .join(Series, Series.id == OpenAssociation.series_id)
            .order_by(Series.series_uid, OpenAssociation.token)
        )
        assert [tuple(row) for row in rows] == [("1.1.1", "a1"), ("1.1.1", "a2"), ("1.1.2", "a1")]


@pytest.mark.peer
@pytest.mark.slow
def test_hosts_that_register_parts_of_the_same_studies_at_once_lose_and_double_nothing(
    request: pytest.FixtureRequest,
) -> None:
    """Four hosts, each with its own inbox, over one PostgreSQL; batches overlap in studies, series and instances."""
    from tests.fixtures.postgres import database
    from tests.fixtures.registry import migrated_postgres

    server = request.getfixturevalue("postgres_server")
    with database(server, migrated_postgres(server)) as url:
        registry = Registry(url)
        everything = [arrival(n, s, t) for t in (1, 2, 3) for s in (1, 2, 3) for n in range(1, 11)]

        def host(number: int) -> list[Fate]:
            mine = everything[number::4] + everything[: 10 * number]
            return [o.fate for start in range(0, len(mine), 9) for o in put(registry, mine[start : start + 9])]

        with ThreadPoolExecutor(4) as pool:
            fates = [fate for found in pool.map(host, range(4)) for fate in found]
        assert fates.count(Fate.NEW) == len(everything)
        assert set(fates) == {Fate.NEW, Fate.IDENTICAL}
        with registry.reading() as session:
            assert session.scalar(select(func.count()).select_from(Instance)) == len(everything)
            assert set(session.scalars(select(Series.instance_count))) == {10}
        registry.dispose()
