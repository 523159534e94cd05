"""Planar scans: the files of a study -> one or two views with their counts and their place in the source.

files -> headers (each may be refused by the pipeline's own rule before any pixel is decoded) -> frames -> the
photopeak's frames -> anterior and posterior. Both usual layouts are read: one object with a frame per detector, and
a single-frame object per view, in one series or in two.

Whether the content is a whole-body bone scan is not asked here; the pipeline brings that question along.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.tag import BaseTag, Tag

from pipelines.contract import ContentRefused, FrameReference, SourceSeries
from pipelines.imaging.instance import Frames, pixel_spacing_mm, read_frames, read_header
from pipelines.imaging.views import ANTERIOR, FrameHeader, decide_views, own_view

TC99M_KEV = 140.5

ENERGY_WINDOW_VECTOR = Tag(0x0054, 0x0010)
DETECTOR_VECTOR = Tag(0x0054, 0x0020)
PLANAR_VECTORS = frozenset({ENERGY_WINDOW_VECTOR, DETECTOR_VECTOR})
"""What frames of a planar scan may differ in; any other vector means time slots, phases, angles or slices."""

HeaderRule = Callable[[Dataset], str | None]
"""Returns why an instance is of no use, in one sentence, or None."""


@dataclass(frozen=True)
class PlanarView:
    """One view.

    Attributes
    ----------
    name
        "anterior" or "posterior".
    counts
        float32, (rows, columns), more is hotter; may hold negative values after lossy compression.
    spacing_mm
        Row and column pitch, or None where the header has none.
    header
        The instance's header, without pixels.
    reference
        Which frame of which instance.
    polarity
        How hot was told from cold.
    """

    name: str
    counts: np.ndarray
    spacing_mm: tuple[float, float] | None
    header: Dataset
    reference: FrameReference
    polarity: str


@dataclass(frozen=True)
class PlanarScan:
    """The views of one scan, anterior first.

    Attributes
    ----------
    evidence
        What told the views apart; `assumed` is True where only the frames' order did.
    remarks
        Sentences about contradictions and about what was left out.
    """

    views: tuple[PlanarView, ...]
    evidence: str
    assumed: bool
    remarks: tuple[str, ...] = ()

    def groups(self) -> list[tuple[SourceSeries, tuple[int, ...]]]:
        """Return the source series, each with the indices of its views; views of one series and size go together."""
        by_source: dict[tuple[str, tuple[int, ...]], list[int]] = {}
        for index, view in enumerate(self.views):
            by_source.setdefault((str(view.header.SeriesInstanceUID), view.counts.shape), []).append(index)
        groups = []
        for indices in by_source.values():
            headers: dict[str, Dataset] = {}
            for index in indices:
                headers.setdefault(self.views[index].reference.sop_instance_uid, self.views[index].header)
            source = SourceSeries(
                headers=tuple(headers.values()),
                frames=tuple(self.views[index].reference for index in indices),
                planar=True,
                view_names=tuple(self.views[index].name for index in indices),
            )
            groups.append((source, tuple(indices)))
        return groups


@dataclass(frozen=True)
class _Candidate:
    path: Path
    header: Dataset
    frame: int
    frames_in_instance: int
    detector_number: int
    remarks: tuple[str, ...] = field(default=())

    @property
    def frame_header(self) -> FrameHeader:
        items = _sequence(self.header, "DetectorInformationSequence")
        item = items[self.detector_number - 1] if 0 < self.detector_number <= len(items) else None
        # A lone item is believed to be both detectors' only where there is one frame to describe.
        if item is None and len(items) == 1 and self.frames_in_instance == 1:
            item = items[0]
        return FrameHeader(self.header, item, alone=self.frames_in_instance == 1)


def read_planar_scan(paths: Sequence[Path], refuse: HeaderRule) -> PlanarScan:
    """Read a planar scan.

    Parameters
    ----------
    paths
        Files of one or more series of one study; instances that `refuse` turns away are left out.
    refuse
        Asked about each header before its pixels are decoded.

    Raises
    ------
    ContentRefused
        If no instance is left (with the first reason given), if the frames cannot be told apart, or if pixels cannot
        be decoded.
    """
    candidates: list[_Candidate] = []
    reasons: list[str] = []
    for path in sorted(paths):
        try:
            header = read_header(path)
            reason = refuse(header) or identity_refusal(header, path.name)
            if reason is None:
                candidates += _candidates(path, header)
        except ContentRefused as error:
            reason = str(error)
        if reason is not None and reason not in reasons:
            reasons.append(reason)
    if not candidates:
        raise ContentRefused(reasons[0] if reasons else "The series holds no files.")
    candidates, left_out = _at_most_one_pair(candidates)
    decision = decide_views([candidate.frame_header for candidate in candidates])
    decoded = {path: read_frames(path) for path in {candidate.path for candidate in candidates}}
    views = [_view(c, decoded[c.path], name) for c, name in zip(candidates, decision.views, strict=True)]
    remarks = [*decision.remarks, *left_out]
    for candidate in candidates:
        remarks += [remark for remark in candidate.remarks if remark not in remarks]
    views.sort(key=lambda view: view.name != ANTERIOR)
    return PlanarScan(tuple(views), decision.evidence, decision.assumed, tuple(remarks))


def identity_refusal(header: Dataset, name: str) -> str | None:
    """Say why an instance cannot be referred to by a result: UIDs that every object must carry are missing."""
    for keyword in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        if not str(header.get(keyword, "") or ""):
            return f"{name}: {keyword} is missing, so no result can refer to the object."
    return None


def photopeak_window(header: Dataset) -> tuple[int | None, str]:
    """Choose the energy window of technetium-99m.

    Returns
    -------
    tuple
        1-based number of the first window that holds 140.5 keV, or None where no window states its limits; and a
        remark where more than one window holds it.

    Raises
    ------
    ContentRefused
        If windows state their limits and none holds 140.5 keV.
    """
    holding, stated = [], []
    for number, item in enumerate(_sequence(header, "EnergyWindowInformationSequence"), start=1):
        ranges = _energy_ranges(item)
        stated += ranges
        if any(low <= TC99M_KEV <= high for low, high in ranges):
            holding.append(number)
    if stated and not holding:
        limits = ", ".join(f"{low:g}-{high:g}" for low, high in stated)
        raise ContentRefused(f"No energy window holds the 140 keV of technetium-99m (windows: {limits} keV).")
    remark = f"{len(holding)} energy windows hold 140.5 keV; number {holding[0]} was read" if len(holding) > 1 else ""
    return (holding[0] if holding else None), remark


def frame_vectors(header: Dataset) -> list[BaseTag]:
    """Return the attributes that the Frame Increment Pointer (0028,0009) names."""
    value = header.get("FrameIncrementPointer")
    if value is None or value == "":
        return []
    return [Tag(tag) for tag in (value if isinstance(value, (list, tuple)) or hasattr(value, "append") else [value])]


def _candidates(path: Path, header: Dataset) -> list[_Candidate]:
    """List the photopeak's frames of one instance."""
    number = max(1, int(header.get("NumberOfFrames", 1) or 1))
    strange = [tag for tag in frame_vectors(header) if tag not in PLANAR_VECTORS]
    if strange and number > 1:
        raise ContentRefused(
            f"{path.name}: its frames follow {', '.join(str(tag) for tag in strange)}: a dynamic, gated or tomographic "
            "object, not a planar scan."
        )
    windows = _vector(header, "EnergyWindowVector", number)
    detectors = _vector(header, "DetectorVector", number)
    chosen, remark = photopeak_window(header)
    frames = list(range(number))
    if windows is not None and len(set(windows)) > 1:
        wanted = chosen if chosen in windows else windows[0]
        frames = [frame for frame in frames if windows[frame] == wanted]
        remark = remark or f"the object has {len(set(windows))} energy windows; number {wanted} was read"
    if len(frames) > 2:
        raise ContentRefused(f"{path.name}: {len(frames)} frames in one energy window, where a scan has two views.")
    return [
        _Candidate(
            path,
            header,
            frame,
            len(frames),
            detectors[frame] if detectors is not None else frame + 1,
            (remark,) if remark else (),
        )
        for frame in frames
    ]


def _at_most_one_pair(candidates: list[_Candidate]) -> tuple[list[_Candidate], list[str]]:
    """Keep one scan's frames: originals before derived copies, a two-frame object before single frames."""
    ordered = sorted(candidates, key=_preference)
    if _is_original(ordered[0]):
        ordered = [candidate for candidate in ordered if _is_original(candidate)]
    pair = [c for c in ordered if c.frames_in_instance == 2]
    kept = [c for c in pair if c.path == pair[0].path] if pair else _one_per_view(ordered)
    spare = len(candidates) - len(kept)
    remark = f"frames of the series beside the {len(kept)} analysed: {spare}, left out"
    return sorted(kept, key=lambda c: (_instance_number(c.header), str(c.path), c.frame)), [remark] if spare else []


def _one_per_view(ordered: list[_Candidate]) -> list[_Candidate]:
    """Of single-frame instances keep the first of each view; where nothing tells two of them apart, the first two.

    An angle or an orientation that both carry says nothing, as some files carry the same one on both detectors.
    """
    first = ordered[0]
    for other in ordered[1:]:
        decision = decide_views([first.frame_header, other.frame_header])
        if not decision.assumed:
            return [first, other]
    # Two images that a code or a text calls the same view are copies or repeats; any others are taken for both views.
    return ordered[:1] if own_view(first.frame_header) else ordered[:2]


def _preference(candidate: _Candidate) -> tuple[bool, int, str]:
    return not _is_original(candidate), _instance_number(candidate.header), str(candidate.path)


def _is_original(candidate: _Candidate) -> bool:
    kind = candidate.header.get("ImageType") or ""
    return str(kind if isinstance(kind, str) else kind[0]).strip().upper() == "ORIGINAL"


def _instance_number(header: Dataset) -> int:
    try:
        return int(header.get("InstanceNumber") or 0)
    except (TypeError, ValueError):
        return 0


def _view(candidate: _Candidate, decoded: Frames, name: str) -> PlanarView:
    if candidate.frame >= len(decoded.values):
        raise ContentRefused(
            f"{candidate.path.name}: the header promises more frames than the {len(decoded.values)} decoded."
        )
    header = candidate.header
    # A reference without a frame number means all frames, so a lone frame needs none.
    frame_number = candidate.frame + 1 if len(decoded.values) > 1 else None
    reference = FrameReference(str(header.SOPClassUID), str(header.SOPInstanceUID), frame_number)
    counts = decoded.values[candidate.frame]
    return PlanarView(name, counts, pixel_spacing_mm(header), header, reference, decoded.polarity)


def _sequence(header: Dataset, keyword: str) -> list[Dataset]:
    value = header.get(keyword)
    return [item for item in value if isinstance(item, Dataset)] if value else []


def _vector(header: Dataset, keyword: str, number: int) -> list[int] | None:
    """Return a frame vector if it has one number per frame."""
    value = header.get(keyword)
    if value is None:
        return None
    values = list(value) if hasattr(value, "__iter__") and not isinstance(value, str) else [value]
    try:
        numbers = [int(entry) for entry in values]
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == number else None


def _energy_ranges(window: Dataset) -> list[tuple[float, float]]:
    ranges = []
    for item in _sequence(window, "EnergyWindowRangeSequence"):
        try:
            low, high = float(item.EnergyWindowLowerLimit), float(item.EnergyWindowUpperLimit)
        except (AttributeError, TypeError, ValueError):
            continue
        if 0 < low < high:
            ranges.append((low, high))
    return ranges
