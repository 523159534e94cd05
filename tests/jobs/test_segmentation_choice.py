"""Which SEG of a result on several grids a destination gets: the configuration's `segmentations`, down to the registry.

A job of two series, a planar scan (NM) and a CT, runs in this process; what counts is what the registry then holds as
pending. That the objects themselves are right is asked in `tests.results`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from sqlalchemy import select
from structlog.testing import capture_logs

from node.jobs.app import Enqueuer
from node.jobs.heartbeat import Heartbeat
from node.jobs.infer import JobRunner, Outcome
from node.jobs.publish import planned_deliveries
from node.registry.database import Registry
from node.registry.jobs import NewResult
from node.registry.models import Delivery, Result
from node.settings.model import Destination
from node.storage import LocalStorage
from pipelines.contract import Findings, PipelineInputs, Progress
from tests.fixtures.queue import configuration, make_job
from tests.jobs.tiny_pipeline import TinyPipeline
from tests.results.result_sources import volume_findings, volume_source
from tests.spect_ct.drawn_study import Field, write_ct

CT_FIELD = Field((4, 16, 16), (3.0, 2.0, 2.0), (-15.0, -15.0, 0.0))


@pytest.fixture
def registry(sqlite_registry: Registry) -> Registry:
    return sqlite_registry


def place(name: str, **changes: object) -> Destination:
    return Destination.model_validate(
        {"name": name, "host": "127.0.0.1", "port": 104, "ae_title": "PACS", "default": False, **changes}
    )


def seg(modality: str) -> NewResult:
    return NewResult("seg", f"seg on {modality}", "1.2", "1.3", f"results/{modality}", "0" * 64, 1, modality)


RESULTS = (seg("CT"), seg("NM"), *(NewResult(k, k, "1.2", "1.3", f"results/{k}", "0" * 64, 1) for k in ("sr", "sc")))


@pytest.mark.parametrize(
    ("segmentations", "expected"),
    [
        ("all", ["seg on CT", "seg on NM", "sr", "sc"]),
        (["ct"], ["seg on CT", "sr", "sc"]),
        (["NM"], ["seg on NM", "sr", "sc"]),
        (["NM", "CT"], ["seg on CT", "seg on NM", "sr", "sc"]),
        (["MR"], ["sr", "sc"]),
    ],
)
def test_a_destination_gets_the_segmentations_it_chose_and_the_report_in_any_case(
    segmentations: object, expected: list[str]
) -> None:
    chosen = place("pacs", segmentations=segmentations)
    assert [p.sop_uid for p in planned_deliveries(RESULTS, ["pacs"], (chosen,))] == expected


def test_a_destination_that_chose_nothing_gets_every_segmentation() -> None:
    assert len(planned_deliveries(RESULTS, ["pacs"], (place("pacs"),))) == len(RESULTS)


def test_each_destination_of_a_two_grid_result_is_due_the_segmentation_it_chose_and_the_log_says_what_it_lacks(
    registry: Registry, storage: LocalStorage, heartbeat: Heartbeat, deaf_enqueuer: Enqueuer, tmp_path: Path
) -> None:
    class TwoGrids(TinyPipeline):
        """Finds something on the scan and on a CT beside it."""

        def run(self, inputs: PipelineInputs, progress: Progress) -> Findings:
            found = super().run(inputs, progress)
            study = found.segmentations[0].source.headers[0].StudyInstanceUID
            paths = write_ct(tmp_path / "ct", np.zeros(CT_FIELD.shape), CT_FIELD, StudyInstanceUID=study)
            slices = sorted((dcmread(path) for path in paths), key=lambda one: int(one.InstanceNumber))
            label_map = np.zeros(CT_FIELD.shape, np.uint8)
            label_map[1:3, 4:8, 9:12] = 1
            on_ct = volume_findings(volume_source(slices), label_map).segmentations
            return replace(found, segmentations=on_ct + found.segmentations)

    destinations = (
        place("everything"),
        place("on-the-ct", segmentations=["CT"]),
        place("on-the-scan", segmentations=["NM"]),
        place("mr-only", segmentations=["MR"]),
        place("not-asked", segmentations=["CT"]),
    )
    made = make_job(registry, storage, tmp_path / "arriving", destinations=tuple(d.name for d in destinations[:-1]))
    runner = JobRunner(
        configuration(tmp_path, destinations), registry, storage, heartbeat, deaf_enqueuer, "w@h:1",
        load_class={"tiny": TwoGrids}.__getitem__,
    )  # fmt: skip
    with capture_logs() as lines:
        assert runner.run(made.job_id).outcome is Outcome.DONE
    due: dict[str, list[str]] = {}
    with registry.reading() as session:
        rows = session.execute(
            select(Delivery.destination, Result.kind, Result.storage_key, Delivery.state)
            .join(Result, Result.id == Delivery.result_id)
            .order_by(Result.id)
        ).all()
    for name, kind, key, state in rows:
        assert state == "pending"
        with storage.local_path(key) as path:
            source = dcmread(path).ReferencedSeriesSequence[0].SeriesInstanceUID if kind == "seg" else ""
        due.setdefault(name, []).append(f"seg of {'scan' if source == made.series_uid else 'ct'}" if source else kind)
    rest = ["sr", "sc", "sc"]
    assert due == {
        "everything": ["seg of ct", "seg of scan", *rest],
        "on-the-ct": ["seg of ct", *rest],
        "on-the-scan": ["seg of scan", *rest],
        "mr-only": rest,
    }
    told = {line["destination"]: line["drawn_on"] for line in lines if line["event"] == "delivery.seg_left_out"}
    assert told == {"on-the-ct": ["NM"], "on-the-scan": ["CT"], "mr-only": ["CT", "NM"]}
