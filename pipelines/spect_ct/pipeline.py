"""`spect-ct`: focal bone lesions on SPECT/CT, on SPECT where no CT came, on CT where a rule asks for that.

files -> `checks` (which series, and are they a bone SPECT and its CT) -> `imaging.volume` -> `grid` -> `engine` (the
network, every slice) -> `lesions` (joined in 3-D, back on the sources' grids) -> `measurements` -> `findings`. After
doi:10.3760/cma.j.cn321828-20241106-00384; every departure from the paper stands where it is made.

This module stays cheap to import: torch and SimpleITK come with `load` and `run`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from pipelines.contract import ComputeOptions, ContentRefused, Findings, Pipeline, PipelineInputs, Progress
from pipelines.contract.provenance import Provenance, Stopwatch
from pipelines.imaging.volume import Volume, read_volume
from pipelines.spect_ct.bone import beside_bone
from pipelines.spect_ct.checks import LEAST_BODY_IOU, Study, choose_study, refuse_no_patient
from pipelines.spect_ct.findings import SourceLesions, build_findings
from pipelines.spect_ct.grid import AXES, Lattice, Prepared, prepare
from pipelines.spect_ct.header_checks import is_child
from pipelines.spect_ct.lesions import find_lesions, onto_source
from pipelines.spect_ct.measurements import body_of, measure
from pipelines.spect_ct.search import worth_a_look
from pipelines.spect_ct.uses import CT, FUSED, SPECT
from pipelines.spect_ct.wording import CHILD

if TYPE_CHECKING:
    from pipelines.spect_ct.engine import LesionEngine


class SpectCtPipeline(Pipeline):
    """The contract's `Pipeline` for bone SPECT/CT."""

    name: ClassVar[str] = "spect-ct"
    version: ClassVar[str] = "0.1.0"
    title: ClassVar[str] = "Focal bone lesions on SPECT/CT"

    def __init__(self) -> None:
        self._engine: LesionEngine | None = None
        self._checked: tuple[PipelineInputs, Study] | None = None

    def check(self, inputs: PipelineInputs) -> None:
        """Refuse what is no bone SPECT, with or without a CT, by the headers; see `checks`.

        Raises
        ------
        ContentRefused
            With the reason in a sentence.
        """
        self._checked = inputs, choose_study(inputs)

    def load(self, options: ComputeOptions) -> None:
        """Load the network.

        Raises
        ------
        WeightsError, DeviceError
        """
        from pipelines.spect_ct.engine import LesionEngine

        self._engine = LesionEngine.load(options)

    def run(self, inputs: PipelineInputs, progress: Progress) -> Findings:
        """Analyse one study.

        Raises
        ------
        ContentRefused
            If pixels cannot be decoded or show no patient; those of a CT only where there is no SPECT.
        RuntimeError
            If `load` was not called.
        """
        engine = self._engine
        if engine is None:
            raise RuntimeError("load() has to be called before run()")
        watch = Stopwatch()
        progress(0.0, "reading the series")
        with watch.stage("read"):
            study = self._study_of(inputs)
            spect, ct, study = read_study(study)
            child = any(is_child(one.source.headers[0]) for one in (spect, ct) if one is not None)
        progress(0.1, "bringing SPECT and CT onto one grid")
        with watch.stage("resample"):
            prepared, ct, absence = meet(spect, ct, study)
        with watch.stage("segment"):
            probabilities = engine.probabilities(
                prepared.inputs,
                lambda done, text: progress(0.15 + 0.65 * done, f"segmenting, {text}"),
                where=worth_a_look(prepared, FUSED),
            )
        progress(0.8, "joining lesions")
        with watch.stage("join"):
            found = find_lesions(probabilities, prepared.lattice, None if child else beside_bone(prepared))
            sources = {
                name: SourceLesions(volume, onto_source(found, probabilities, Lattice.of(volume)))
                for name, volume in ((CT, ct), (SPECT, spect))
                if volume is not None
            }
        progress(0.88, "measuring")
        with watch.stage("measure"):
            on_spect = sources[SPECT].labels if SPECT in sources else None
            figures = measure(found, prepared, spect.values if spect is not None else None, on_spect)
        progress(0.92, "composing the findings")
        provenance = Provenance(
            self.name, self.version, (engine.card,), engine.device.title, engine.precision, watch.seconds
        )
        use = CT if spect is None else SPECT if ct is None else FUSED
        remarks = (*study.remarks, CHILD) if child else study.remarks
        findings = build_findings(use, prepared, found, figures, sources, remarks, absence, provenance)
        progress(1.0, "done")
        return findings

    def _study_of(self, inputs: PipelineInputs) -> Study:
        """Return what `check` chose of these inputs, which is then let go; without a check choose now."""
        checked, self._checked = self._checked, None
        return checked[1] if checked is not None and checked[0] is inputs else choose_study(inputs)


def read_study(study: Study) -> tuple[Volume | None, Volume | None, Study]:
    """Decode SPECT and CT; a CT that cannot be used is left out where there is a SPECT, and the study says why.

    Raises
    ------
    ContentRefused
        If what is left cannot be decoded or shows no patient.
    """
    spect = read_volume(study.spect, AXES) if study.spect is not None else None
    refuse_no_patient(spect, None)
    try:
        ct = read_volume(study.ct, AXES) if study.ct is not None else None
        refuse_no_patient(None, ct)
    except ContentRefused as refusal:
        if spect is None:
            raise
        return spect, None, replace(study, ct=None, ct_absence=_unusable(refusal))
    return spect, ct, study


def _unusable(refusal: Exception) -> str:
    return f"no CT of the study can be used: {refusal}".rstrip(".")


def meet(spect: Volume | None, ct: Volume | None, study: Study) -> tuple[Prepared, Volume | None, str]:
    """Bring both onto one grid; leave a CT out that shows no body, or one that is not where the SPECT's is.

    Returns
    -------
    tuple
        The grid, the CT that is on it, and why there is none where there is none.

    Raises
    ------
    ContentRefused
        If an image shows no body.
    """
    if spect is None or ct is None:
        return _prepared(spect, ct), ct, study.ct_absence
    try:
        prepared = _prepared(spect, ct)
    except ContentRefused as refusal:
        return _prepared(spect, None), None, _unusable(refusal)
    agreement = body_agreement(prepared)
    if agreement >= LEAST_BODY_IOU:
        return prepared, ct, ""
    reason = (
        f"the bodies in {spect.name} and {ct.name} do not lie on each other (they share {agreement:.0%} of their "
        "area), so the CT is not of this patient's position"
    )
    return _prepared(spect, None), None, reason


def _prepared(spect: Volume | None, ct: Volume | None) -> Prepared:
    try:
        return prepare(spect, ct)
    except ValueError as error:
        named = ct or spect
        raise ContentRefused(f"{named.name if named is not None else 'The study'}: {error}.") from error


def body_agreement(prepared: Prepared) -> float:
    """Return how far the bodies in SPECT and CT cover each other: intersection over union, where both are."""
    both = prepared.has_spect & prepared.has_ct
    if not both.any() or prepared.hu is None or prepared.counts is None:
        return 0.0
    alone = [
        Prepared(prepared.inputs, prepared.lattice, counts, hu, has_spect, has_ct)
        for counts, hu, has_spect, has_ct in (
            (prepared.counts, None, prepared.has_spect, np.zeros_like(both)),
            (None, prepared.hu, np.zeros_like(both), prepared.has_ct),
        )
    ]
    one, other = (body_of(part)[both] for part in alone)
    return float((one & other).sum() / max(1, int((one | other).sum())))
