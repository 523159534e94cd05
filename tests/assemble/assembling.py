"""The assembler over one registry, with rules for pipelines that are only names: nothing runs."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select, update

from node.assemble import Assembler, AssemblyReport
from node.assemble.rules import Rules, parse_rules
from node.registry.database import Registry
from node.registry.intake import Arrival, register
from node.registry.models import Event, Job, JobInput, Series
from node.settings import Configuration
from node.storage import LocalStorage
from tests.assemble.objects import NOW

RULES = """
rules:
  - {name: bone, pipeline: bone-scan, priority: 4, match: {Modality: NM, SeriesDescription: "*bone*"}}
  - {name: ribs, pipeline: thorax, priority: 7, destinations: [pacs], match: {SeriesDescription: "*ribs*"}}
  - name: fusion
    pipeline: spect-ct
    match: {Modality: NM, SeriesDescription: "*spect*"}
    companion:
      role: ct
      match: {Modality: CT}
      wait_s: 900
      prefer: [{ConvolutionKernel: "B70s"}, {SliceThickness: "[2, 4]"}]
  - name: strict
    pipeline: strict
    match: {Modality: NM, SeriesDescription: "*strict*"}
    companion: {role: ct, match: {Modality: CT}, wait_s: 60, required: true}
  - {name: absent, pipeline: lumbar, match: {Modality: MR}}
"""
INSTALLED = ("bone-scan", "thorax", "spect-ct", "strict")
QUIET = timedelta(seconds=61)


class Node:
    """The assembler over one registry, with a clock that tests move and a broker that remembers."""

    def __init__(self, registry: Registry, configuration: Configuration, rules: Rules) -> None:
        self.registry = registry
        self.woken: list[tuple[int, int]] = []
        self.now = NOW
        self.storage = LocalStorage(configuration.data_dir)
        self.assembler = Assembler(
            configuration,
            registry,
            self.storage,
            lambda job_id, priority: self.woken.append((job_id, priority)),
            rules=rules,
            installed=INSTALLED,
        )

    def receive(self, series: int, sop: int = 1, description: str = "bone", **more: Any) -> str:
        """One instance of a series of study 1; returns the series UID."""
        headers = {"Modality": "NM", "SeriesDescription": description} | more.pop("headers", {})
        arrival = Arrival(
            study_uid="1.1",
            series_uid=f"1.1.{series}",
            sop_uid=f"1.1.{series}.{sop}",
            sop_class_uid="1.2",
            transfer_syntax_uid="1.2",
            sha256=f"{series}-{sop}",
            byte_count=10,
            received_at=self.now,
            modality=headers["Modality"],
            series_description=description,
            headers=headers,
            association="a1",
        )
        with self.registry.transaction() as session:
            register(session, [replace(arrival, **more)], self.now)
        return arrival.series_uid

    def ct(self, series: int, sop: int = 1, **headers: Any) -> str:
        return self.receive(series, sop, "CT", headers={"Modality": "CT", **headers})

    def step(self, after: timedelta = QUIET) -> AssemblyReport:
        """Let time pass, then step."""
        self.now += after
        return self.assembler.step(self.now)

    def jobs(self) -> list[Job]:
        with self.registry.reading() as session:
            return list(session.scalars(select(Job).order_by(Job.id)))

    def set_state(self, job_id: int, state: str) -> None:
        with self.registry.transaction() as session:
            session.execute(update(Job).where(Job.id == job_id).values(state=state))

    def inputs(self, job_id: int) -> dict[str, tuple[str, int]]:
        """Role -> (series UID, content revision)."""
        with self.registry.reading() as session:
            rows = session.execute(
                select(JobInput.role, Series.series_uid, JobInput.content_revision)
                .join(Series, Series.id == JobInput.series_id)
                .where(JobInput.job_id == job_id)
            )
            return {role: (uid, revision) for role, uid, revision in rows}

    def series(self, uid: str) -> Series:
        with self.registry.reading() as session:
            return session.scalars(select(Series).where(Series.series_uid == uid)).one()

    def events(self) -> list[str]:
        with self.registry.reading() as session:
            return list(session.scalars(select(Event.kind).order_by(Event.id)))


def parsed_rules() -> Rules:
    return parse_rules(RULES, Path("routing.yaml"), ["pacs"])
