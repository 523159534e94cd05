"""Which series of a job are the SPECT and the CT, and whether they are what the network was made for.

series -> what each is by its header (`header_checks`) -> the SPECT: one object with a place for every slice, large
enough for a body -> the CT beside it (`choose_ct`): a sound stack of axial slices that overlaps the SPECT, the best of
several, with the reasons -> `Study`. Without a SPECT a CT is analysed only where a rule asked for it.

Geometry comes from positions alone (`imaging.volume_geometry`); nothing is repaired. No pixel is read here but by
`refuse_no_patient`, after decoding.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.contract import ContentRefused, InputSeries, PipelineInputs
from pipelines.imaging.instance import read_header
from pipelines.imaging.nm_volume import read_spect_planes
from pipelines.imaging.volume import Volume, tilt_deg
from pipelines.imaging.volume_frames import read_planes, series_name
from pipelines.imaging.volume_geometry import Stack, sort_stack
from pipelines.spect_ct.header_checks import ct_refusal, is_ct, is_nm, says_bone, spect_refusal

LARGEST_TILT_DEG = 20.0
FEWEST_SPECT_SLICES, FEWEST_CT_SLICES = 16, 10
COARSEST_SPECT_MM, COARSEST_CT_MM, THICKEST_CT_MM = 10.0, 2.5, 6.5
NARROWEST_FIELD_MM = 200.0
LEAST_OVERLAP = 0.5
"""Share of the SPECT's length that a CT must cover to be analysed with it."""

SHARP_KERNEL = re.compile(
    r"^(?:[BHT]r?[5-9]\d|U\d\d|bone|lung|sharp|edge|detail|FC[358]\d|[DE]$|Y[A-D])", re.IGNORECASE
)
"""Reconstructions for bone of the large makers; the paper's is Siemens B70s."""

LEAST_COUNTS_RANGE = 10.0
AIR_HU, BONE_HU = -500.0, 200.0
LEAST_BODY_IOU = 0.4
"""How well the bodies in SPECT and CT must lie on each other: they agree to 0.8 and more where they are of one scan."""


@dataclass(frozen=True)
class Study:
    """What will be analysed: sorted stacks, and remarks that travel with the result, without a full stop.

    ct_absence : why there is no CT, where there is none.
    """

    spect: Stack | None
    ct: Stack | None
    remarks: tuple[str, ...] = ()
    ct_absence: str = ""


def choose_study(inputs: PipelineInputs) -> Study:
    """Choose SPECT and CT among the series of a job.

    Raises
    ------
    ContentRefused
        With a sentence, if there is nothing that the pipeline was made for.
    """
    kinds = [(one, read_header(one.paths[0])) for one in inputs.series]
    spects = [one for one, header in kinds if is_nm(header)]
    cts = [one for one, header in kinds if is_ct(header) and not is_nm(header)]
    if spects:
        spect, remarks = _choose_spect(spects)
        ct, said, absence = choose_ct(cts, spect)
        if not says_bone(spect.frames[0].header):
            remarks += ("nothing in the header names bone or a tracer for it; it was taken for a bone SPECT",)
        return Study(spect, ct, (*remarks, *said), absence)
    if not cts:
        name = series_name(kinds[0][1])
        reason = spect_refusal(kinds[0][1]) or "is no SPECT"
        raise ContentRefused(
            f"{name} {reason}; SPECT/CT needs a reconstructed bone SPECT, a CT beside it where there is one."
        )
    if not inputs.rule:
        name = series_name(next(header for one, header in kinds if one is cts[0]))
        raise ContentRefused(
            f"{name} is a CT without a bone SPECT; a CT alone is analysed only where a routing rule sends it to "
            "spect-ct by itself."
        )
    stacks, refusals = _usable_cts(cts)
    if not stacks:
        raise ContentRefused(" ".join(refusals))
    return Study(None, stacks[0], (f"CT alone, because rule '{inputs.rule}' asks for it",))


def choose_ct(series: Sequence[InputSeries], spect: Stack) -> tuple[Stack | None, tuple[str, ...], str]:
    """Choose the CT for a SPECT.

    Returns
    -------
    tuple
        The stack or None; remarks on the choice, without a full stop; and, where there is none, why.
    """
    if not series:
        return None, (), "no CT came with the SPECT"
    stacks, refusals = _usable_cts(series)
    near: list[tuple[Stack, float]] = []
    far: list[tuple[Stack, float]] = []
    for stack in stacks:
        share = overlap(stack, spect)
        (near if share >= LEAST_OVERLAP else far).append((stack, share))
    refusals += [f"{stack.name} covers {share:.0%} of the SPECT." for stack, share in far]
    if not near:
        return None, (), "no CT of the study can be used: " + " ".join(refusals).rstrip(".")
    near.sort(key=lambda item: _rank(item[0], item[1], spect))
    best, share = near[0]
    kernel = _kernel(best)
    words = [
        "in the SPECT's frame of reference"
        if _same_frame(best, spect)
        else "in another frame of reference, so that SPECT and CT are laid over each other by their coordinates alone",
        f"over {share:.0%} of the SPECT",
        f"kernel {kernel}" if kernel else "kernel not stated",
        f"slices {best.step_mm:.1f} mm apart",
    ]
    remarks = [f"{best.name} was taken as the CT: {', '.join(words)}"]
    others = [f"{stack.name} ({_difference(best, stack, spect)})" for stack, _ in near[1:]]
    if others:
        remarks.append(f"other CTs were set aside: {', '.join(others)}")
    if refusals:
        remarks.append("CTs that cannot be used: " + " ".join(refusals).rstrip("."))
    return best, tuple(remarks), ""


def overlap(ct: Stack, spect: Stack) -> float:
    """Return the share of the SPECT's slices whose middle lies within the CT's field, in patient space."""
    rows, columns = spect.frames[0].size
    middle = np.array(spect.orientation[3:]) * spect.spacing_mm[0] * (rows - 1) / 2
    middle = middle + np.array(spect.orientation[:3]) * spect.spacing_mm[1] * (columns - 1) / 2
    places = np.array([frame.position_mm for frame in spect.frames], float) + middle
    offsets = places - np.array(ct.frames[0].position_mm, float)
    axes = (ct.normal, np.array(ct.orientation[3:]), np.array(ct.orientation[:3]))
    ends = (len(ct.frames) * ct.step_mm, *(n * mm for n, mm in zip(ct.frames[0].size, ct.spacing_mm, strict=True)))
    inside = np.ones(len(places), bool)
    for axis, end, step in zip(axes, ends, (ct.step_mm, *ct.spacing_mm), strict=True):
        along = offsets @ axis
        inside &= (along >= -step / 2) & (along <= end - step / 2)
    return float(inside.mean())


def refuse_no_patient(spect: Volume | None, ct: Volume | None) -> None:
    """Refuse voxels that cannot be a patient.

    Raises
    ------
    ContentRefused
        If the SPECT holds next to no counts, or the CT no air or no bone.
    """
    if spect is not None:
        low, high = float(spect.values.min()), float(spect.values.max())
        if high - low < LEAST_COUNTS_RANGE * max(1e-6, float(spect.stack.frames[0].rescale[0])):
            raise ContentRefused(f"{spect.name} holds next to no counts (from {low:g} to {high:g}).")
    if ct is not None and (float(ct.values.min()) > AIR_HU or float(np.percentile(ct.values, 99.9)) < BONE_HU):
        raise ContentRefused(f"{ct.name} shows no air or no bone in Hounsfield units, so it is no CT of a body.")


def _choose_spect(series: Sequence[InputSeries]) -> tuple[Stack, tuple[str, ...]]:
    fitting, reasons = [], []
    for one in series:
        try:
            fitting.append(_usable_spect(one))
        except ContentRefused as refusal:
            reasons.append(str(refusal))
    if not fitting:
        raise ContentRefused(" ".join(reasons))
    best = max(fitting, key=lambda stack: (says_bone(stack.frames[0].header), len(stack.frames)))
    others = [stack.name for stack in fitting if stack is not best]
    return best, (f"{', '.join(others)} would have fitted, too; {best.name} was analysed",) if others else ()


def _usable_spect(one: InputSeries) -> Stack:
    header = read_header(one.paths[0])
    name = series_name(header)
    if reason := spect_refusal(header):
        raise ContentRefused(f"{name} {reason}.")
    stack = sort_stack(read_spect_planes(one.paths))
    if reason := _field_refusal(stack, FEWEST_SPECT_SLICES, COARSEST_SPECT_MM, COARSEST_SPECT_MM):
        raise ContentRefused(f"{name} {reason}.")
    return stack


def _usable_cts(series: Sequence[InputSeries]) -> tuple[list[Stack], list[str]]:
    stacks, refusals = [], []
    for one in series:
        try:
            planes = read_planes(one.paths)
            if reason := ct_refusal(planes.frames[0].header):
                raise ContentRefused(f"{planes.name} {reason}.")
            stack = sort_stack(planes)
            if reason := _field_refusal(stack, FEWEST_CT_SLICES, COARSEST_CT_MM, THICKEST_CT_MM):
                raise ContentRefused(f"{stack.name} {reason}.")
            stacks.append(stack)
        except ContentRefused as refusal:
            refusals.append(str(refusal))
    return stacks, refusals


def _field_refusal(stack: Stack, fewest: int, coarsest_mm: float, thickest_mm: float) -> str | None:
    tilt = tilt_deg(stack.orientation, "H")
    if tilt > LARGEST_TILT_DEG:
        return f"is not axial but {tilt:.0f} degrees off; axial slices are needed"
    if len(stack.frames) < fewest:
        return f"has {len(stack.frames)} slices; at least {fewest} are needed"
    if max(stack.spacing_mm) > coarsest_mm or stack.step_mm > thickest_mm:
        return f"is too coarse (pixels of {max(stack.spacing_mm):.1f} mm, slices {stack.step_mm:.1f} mm apart)"
    if min(stack.extent_mm[1:]) < NARROWEST_FIELD_MM:
        return f"shows a field of {min(stack.extent_mm[1:]):.0f} mm only; a body needs {NARROWEST_FIELD_MM:.0f} mm"
    return None


def _rank(ct: Stack, share: float, spect: Stack) -> tuple[object, ...]:
    """Same frame of reference, then coverage, then a kernel for bone, then slices near the paper's 3 mm."""
    return (
        not _same_frame(ct, spect),
        -round(share, 1),
        not SHARP_KERNEL.match(_kernel(ct)),
        round(abs(min(ct.step_mm, 3.0) - 3.0), 1) if ct.step_mm <= 3.0 else round(2 * (ct.step_mm - 3.0), 1),
        -len(ct.frames),
    )


def _difference(best: Stack, other: Stack, spect: Stack) -> str:
    """Say what counted against another CT."""
    if _same_frame(best, spect) and not _same_frame(other, spect):
        return "another frame of reference"
    if round(overlap(other, spect), 1) < round(overlap(best, spect), 1):
        return f"covers {overlap(other, spect):.0%} of the SPECT"
    if SHARP_KERNEL.match(_kernel(best)) and not SHARP_KERNEL.match(_kernel(other)):
        return f"kernel {_kernel(other) or 'not stated'} is not one for bone"
    return f"kernel {_kernel(other) or 'not stated'}, slices {other.step_mm:.1f} mm apart"


def _same_frame(ct: Stack, spect: Stack) -> bool:
    one, other = (str(s.frames[0].header.get("FrameOfReferenceUID", "") or "") for s in (ct, spect))
    return bool(one) and one == other


def _kernel(ct: Stack) -> str:
    value = ct.frames[0].value("ConvolutionKernel")
    if value is None:
        return ""
    return str(value if isinstance(value, str) else value[0]).strip()
