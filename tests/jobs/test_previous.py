"""The index of a patient's last study and the change since: in the report and the summary of the next one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from pydicom import Dataset, dcmread
from sqlalchemy import update

from node.jobs.infer import Outcome
from node.jobs.previous import change_in_words, with_previous
from node.registry.database import Registry
from node.registry.models import Job, Result, Study
from node.registry.trends import Measurement, trend
from node.storage import LocalStorage
from pipelines.bone_scan import codes
from pipelines.contract import Findings, PipelineInputs, Progress, Quantity
from tests.jobs.test_infer import Queue, Runner, job, results, runner
from tests.jobs.tiny_pipeline import TinyPipeline

__all__ = ["runner"]

EARLIER = Measurement(1, "1.2", "2025-03-01", 0.25, "", ("none 1",))


def burdened(value: float | None) -> Callable[[TinyPipeline, PipelineInputs, Progress], Findings]:
    """The tiny pipeline's work with an index of the study and one of an image."""
    plain = TinyPipeline.run

    def run(self: TinyPipeline, inputs: PipelineInputs, progress: Progress) -> Findings:
        indices = (
            Quantity(codes.BSTBI, value, codes.NO_UNITS, codes.MEAN, "mean", "" if value is not None else "0/0"),
            Quantity(codes.BSTBI, 0.9, codes.NO_UNITS, None, "one image"),
        )
        return replace(plain(self, inputs, progress), quantities=indices)

    return run


def numbers(report: Dataset) -> dict[str, tuple[float, str]]:
    """Code -> (number, text below it) of every measurement in a report; of several alike the last."""
    found: dict[str, tuple[float, str]] = {}

    def walk(item: Dataset) -> None:
        if item.get("ValueType") == "NUM":
            texts = [child.TextValue for child in item.get("ContentSequence", ()) if child.ValueType == "TEXT"]
            name = item.ConceptNameCodeSequence[0].CodeValue
            found[name] = (float(item.MeasuredValueSequence[0].NumericValue), " ".join(texts))
        for child in item.get("ContentSequence", ()):
            walk(child)

    walk(report)
    return found


def test_the_next_report_tells_the_earlier_index_and_the_change(
    registry: Registry, storage: LocalStorage, runner: Runner, queue_job: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    for date, value in (("20250301", 0.25), ("20260301", 0.375)):
        with monkeypatch.context() as patch:
            patch.setattr(TinyPipeline, "run", burdened(value))
            made.append(queue_job())
            with registry.transaction() as session:
                about = {"patient_id": "P1", "study_date": date}
                session.execute(update(Study).where(Study.study_uid == made[-1].study_uid).values(**about))
                if len(made) == 2:
                    finished = session.get_one(Job, made[0].job_id).finished_at
                    assert finished is not None
                    later = finished + timedelta(seconds=0.001)
                    session.execute(update(Job).where(Job.id == made[1].job_id).values(created_at=later))
            assert runner().run(made[-1].job_id).outcome is Outcome.DONE
    first, second = (report_numbers(registry, storage, one.job_id) for one in made)
    assert not {"BSTBI-CHANGE", "BSTBI-PREVIOUS"} & set(first)
    assert second["BSTBI-PREVIOUS"][0] == 0.25
    assert second["BSTBI-CHANGE"][0] == 0.125
    summary = job(registry, made[1].job_id).summary
    assert summary is not None
    told = {q["name"]["value"]: q["method"] for q in summary["quantities"]}
    assert told["BSTBI-CHANGE"] == "increased by 0.125 against the study of 2025-03-01"
    with registry.reading() as session:
        found = trend(session, made[1].study_uid)
    assert found is not None and [one.value for one in found.measurements] == [0.25, 0.375], "the study's own index"


def report_numbers(registry: Registry, storage: LocalStorage, job_id: int) -> dict[str, tuple[float, str]]:
    (report,) = [result for result in results(registry, job_id) if result.kind == "sr"]
    return numbers(read(storage, report))


def read(storage: LocalStorage, result: Result) -> Dataset:
    with storage.local_path(result.storage_key) as path:
        return dcmread(path)


@pytest.mark.parametrize(("now", "before"), [(None, EARLIER), (0.3, None), (0.3, replace(EARLIER, value=None))])
def test_without_both_figures_nothing_is_compared(now: float | None, before: Measurement | None) -> None:
    index = Quantity(codes.BSTBI, now, codes.NO_UNITS, reason="" if now is not None else "0/0")
    findings = Findings("tiny", "1", "a", (), (), quantities=(index,))
    assert with_previous(findings, before) is findings


def test_other_networks_are_named() -> None:
    index = Quantity(codes.BSTBI, 0.2504, codes.NO_UNITS)
    (_, was, change) = with_previous(Findings("tiny", "1", "a", (), (), quantities=(index,)), EARLIER).quantities
    assert (was.value, was.method) == (0.25, "study of 2025-03-01; other networks: none 1")
    assert change.method == "unchanged against the study of 2025-03-01; other networks: none 1"


@pytest.mark.parametrize(
    ("change", "words"), [(0.1234, "increased by 0.123"), (-0.0051, "decreased by 0.005"), (-0.0004, "unchanged")]
)
def test_a_change_is_told_without_a_judgement(change: float, words: str) -> None:
    assert change_in_words(change) == words
