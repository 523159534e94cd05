"""From the numbers of both views to `Findings`: segments, regions, quantities, sentences.

scan (where pixels came from) + analyses (what was computed) + model cards -> label maps per source series, a region
per focus and bladder, the study's quantities, the conclusion and its limitations. Nothing is computed from pixels
here but the display; nothing is written.

The wording never diagnoses: the network marks foci, a physician says what they are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipelines.bone_scan import codes
from pipelines.bone_scan.analysis import ViewAnalysis
from pipelines.bone_scan.bstbi import K, burden
from pipelines.bone_scan.wording import conclusion, limitations, window_text
from pipelines.contract import Contour, Findings, Quantity, Region, Segment
from pipelines.contract.provenance import Provenance
from pipelines.imaging.contours import outline_of
from pipelines.imaging.planar import PlanarScan
from pipelines.planar.lesions import BLADDER
from pipelines.planar.location import locate
from pipelines.planar.regions import numbering_of, size_of
from pipelines.planar.segmentations import Numbering, segmentations_of
from pipelines.planar.wording import body_details, shared_details

BLADDER_COLOUR = (58, 170, 80)
"""Green, as in the paper's figure 1; foci are red."""

ALGORITHM = "ResNet34 encoder with tile labels and U-Net outlines, BSTBI (doi:10.3760/cma.j.cn321828-20200906-00337)"


def build_findings(scan: PlanarScan, analyses: Sequence[ViewAnalysis], provenance: Provenance) -> Findings:
    """Assemble the findings.

    Parameters
    ----------
    scan
        The scan as read.
    analyses
        One per view of the scan, in its order.
    provenance
        Pipeline, models, device and times.
    """
    segmentations, regions = segmentations_of(scan, analyses, _add_bladders)
    return Findings(
        pipeline=provenance.pipeline,
        pipeline_version=provenance.version,
        algorithm_name=ALGORITHM,
        models=tuple(card.identity for card in provenance.cards),
        segmentations=segmentations,
        regions=regions,
        numbering=numbering_of({analysis.name: analysis.found for analysis in analyses}),
        quantities=_study_quantities(analyses),
        conclusion=conclusion(analyses),
        limitations=limitations(scan, analyses, provenance.cards),
        details=_details(scan, analyses, provenance),
    )


def _add_bladders(numbered: Numbering, analyses: Sequence[ViewAnalysis]) -> None:
    """Number the bladder of each view after all foci of the series."""
    for frame, analysis in enumerate(analyses):
        mask = analysis.found.classes == BLADDER
        if not mask.any():
            continue
        number = numbered.add(frame, mask)
        name, tracking = f"Bladder, {analysis.name}", f"{analysis.name}-bladder"
        numbered.segments.append(
            Segment(number, name, codes.ANATOMICAL_STRUCTURE, codes.BLADDER, tracking, BLADDER_COLOUR)
        )
        numbered.regions.append(_bladder_region(number, mask, analysis, frame, numbered.segmentation))


def _bladder_region(number: int, mask: np.ndarray, analysis: ViewAnalysis, frame: int, segmentation: int) -> Region:
    grid = analysis.prepared.grid
    pixels = int(mask.sum())
    area_mm2 = pixels * grid.source_spacing_mm[0] * grid.source_spacing_mm[1] if grid.spacing_known else None
    total = float(analysis.counts[mask].sum(dtype=np.float64))
    return Region(
        tracking_id=f"{analysis.name}-bladder",
        label=f"Bladder, {analysis.name}",
        finding=codes.BLADDER,
        segmentation=segmentation,
        segment_number=number,
        finding_site=codes.BLADDER,
        view=analysis.name,
        location=_bladder_place(mask, analysis),
        contours=tuple(Contour(frame, line) for line in outline_of(mask)),
        quantities=(
            size_of(pixels, area_mm2),
            Quantity(codes.COUNTS, total, codes.COUNTS_UNIT, codes.TOTAL),
        ),
    )


def _bladder_place(mask: np.ndarray, analysis: ViewAnalysis) -> str:
    """Say where what was marked as bladder lies: in the pelvis, where it belongs, or wherever else it was found."""
    rows, columns = np.nonzero(mask)
    frame = analysis.prepared.frame
    row, column = analysis.prepared.grid.point_to_working(float(rows.mean()) + 0.5, float(columns.mean()) + 0.5)
    first, last = frame.pelvis_rows
    return "pelvis" if first <= row <= last else locate(row, column, frame, analysis.name).words


def _study_quantities(analyses: Sequence[ViewAnalysis]) -> tuple[Quantity, ...]:
    """BSTBI and what stands beside it, the tile labels' probabilities, the number of foci."""
    images = [(analysis, index) for analysis in analyses for index in range(len(analysis.window_sums))]
    of_windows = burden([analysis.window_sums[index] for analysis, index in images])
    of_counts = burden([analysis.count_sums for analysis in analyses])
    averaged = f"mean of {len(images)} images ({len(analyses)} view(s), 2 windows each), K = {K:g}, unedited"
    quantities = [
        Quantity(codes.BSTBI, of_windows.index, codes.NO_UNITS, codes.MEAN, averaged, of_windows.reason),
        Quantity(codes.FRACTION, of_windows.fraction, codes.NO_UNITS, codes.MEAN, averaged, of_windows.reason),
        Quantity(
            codes.BSTBI_COUNTS,
            of_counts.index,
            codes.NO_UNITS,
            codes.MEAN,
            f"counts without a window, mean of {len(analyses)} view(s), K = {K:g}, unedited",
            of_counts.reason,
        ),
    ]
    for (analysis, index), value in zip(images, of_windows.per_image, strict=True):
        reason = "" if value is not None else of_windows.reason
        quantities.append(Quantity(codes.BSTBI, value, codes.NO_UNITS, None, window_text(analysis, index), reason))
    most = max(float(analysis.tile_probabilities[..., 0].max()) for analysis in analyses)
    bladder = max(float(analysis.tile_probabilities[..., 1].max()) for analysis in analyses)
    largest = "largest output of the tile labels over all tiles and views; not calibrated; positive from 50 %"
    for name, probability in ((codes.METASTASIS_PROBABILITY, most), (codes.BLADDER_PROBABILITY, bladder)):
        quantities.append(Quantity(name, 100.0 * probability, codes.PERCENT, codes.MAXIMUM, largest))
    for analysis in analyses:
        quantities.append(
            Quantity(codes.FOCI, float(len(analysis.found.foci)), codes.FOCI_UNIT, method=f"{analysis.name} view")
        )
    return tuple(quantities)


def _details(scan: PlanarScan, analyses: Sequence[ViewAnalysis], provenance: Provenance) -> dict[str, object]:
    """JSON-ready facts without a place in DICOM."""
    views = zip(scan.views, analyses, strict=True)
    return {**shared_details(scan, provenance), "images": [_view_details(v.polarity, a) for v, a in views]}


def _view_details(polarity: str, analysis: ViewAnalysis) -> dict[str, object]:
    tiles = zip(analysis.starts, analysis.tile_probabilities.tolist(), analysis.gates, strict=True)
    return {
        "view": analysis.name,
        "polarity": polarity,
        **body_details(analysis.prepared),
        "window_upper_counts_per_pixel": list(analysis.prepared.upper_levels),
        "tiles": [
            {
                "first_working_row": start,
                "metastasis": probabilities[0],
                "bladder": probabilities[1],
                "segmented": decision.segment,
                "metastases_counted": decision.metastases,
            }
            for start, probabilities, decision in tiles
        ],
    }
