"""An evaluation as plain text: the paper's table 4 with our figures above the paper's, volumes, goals one by one."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from pipelines.spect_ct.lesions import LEAST_PEAK
from pipelines.spect_ct.scores import FIGURES
from pipelines.spect_ct.uses import TITLES, USES

if TYPE_CHECKING:
    from pipelines.spect_ct.evaluation_report import EvaluationReport


def table(report: EvaluationReport) -> str:
    """Return the report as lines of text."""
    figures = report.summary()
    parts = [
        _paper_lines(report, figures), _kind_lines(figures), _volume_lines(figures), _goal_lines(figures),
        _note_lines(report, figures),
    ]  # fmt: skip
    return "\n\n".join("\n".join(lines) for lines in parts if lines)


def _paper_lines(report: EvaluationReport, figures: dict[str, Any]) -> list[str]:
    from pipelines.spect_ct.evaluation_report import PAPER

    first, last = min(figures["seeds"]), max(figures["seeds"])
    heads = ("accuracy", "sensitivity", "specificity", "AUC", "IoU", "DSC")
    lines = [
        f"{figures['patients']} simulated patients, preset {report.preset}, seeds {first} to {last}; "
        "each lesion on the slice where it is largest",
        f"{'':12}{'lesions':>8}" + "".join(f"{head:>13}" for head in heads) + f"{'95 % interval':>18}{'threshold':>11}",
    ]
    for use in USES:
        held = figures["uses"][use]
        cells = "".join(f"{_number(held[name]):>13}" for name in FIGURES)
        extra = f"{_span(held['dice_interval']):>18}{_number(held['baseline_dice']):>11}"
        lines.append(f"{TITLES[use]:12}{held['lesions']:>8}{cells}{extra}")
        lines.append(f"{'  paper':12}{40:>8}" + "".join(f"{_number(PAPER[use][name]):>13}" for name in FIGURES))
    return lines


def _kind_lines(figures: dict[str, Any]) -> list[str]:
    """Mean DSC by what the lesion is, and how many lesions have no pixel sure enough for a result on their slice."""
    by_use = {use: figures["uses"][use]["by_kind"] for use in USES}
    kinds = sorted({kind for held in by_use.values() for kind in held})
    lines = [f"{'DSC (missed)':24}" + "".join(f"{TITLES[use]:>20}" for use in USES)]
    for kind in kinds:
        held = [by_use[use].get(kind) for use in USES]
        cells = ["-" if one is None else f"{_number(one['dice'])} ({one['missed']}/{one['lesions']})" for one in held]
        lines.append(f"{kind.replace('_', ' '):24}" + "".join(f"{cell:>20}" for cell in cells))
    lines.append(f"missed: no pixel of the lesion reaches {LEAST_PEAK} on that slice; a result leaves such pieces out")
    return lines if kinds else []


def _volume_lines(figures: dict[str, Any]) -> list[str]:
    lines = []
    for use in USES:
        held = figures["uses"][use].get("volume")
        if held is None:
            continue
        found, small, clean = (
            held[key] for key in ("sensitivity", "sensitivity_under_5_mm", "patients_without_false_positives")
        )
        malignant, benign = (held[f"sensitivity_{nature}"]["counts"] for nature in ("malignant", "benign"))
        kinds = [
            f"{kind.replace('_', ' ')} {n['found']}/{n['lesions']}" for kind, n in sorted(held["found_by_kind"].items())
        ]
        lines += [
            f"{TITLES[use]}, whole volumes of {held['patients']} patients",
            f"  Dice of the volume: mean {_number(held['dice_mean'])}, pooled {_number(held['dice_pooled'])}",
            f"  lesions found: {_number(found['value'])} ({found['counts'][0]}/{found['counts'][1]}, "
            f"{_span(found['interval'])}); under 5 mm {small['counts'][0]}/{small['counts'][1]}",
            f"  of these malignant {malignant[0]}/{malignant[1]}, benign {benign[0]}/{benign[1]}",
            *wrap(f"by kind: {', '.join(kinds)}", 118, initial_indent="  ", subsequent_indent="    "),
            f"  false positives per patient: mean {_number(held['false_positives_per_patient'])}, median "
            f"{held['false_positives_median']:g}; none in {clean['counts'][0]}/{clean['counts'][1]} patients",
        ]
    return lines


def _goal_lines(figures: dict[str, Any]) -> list[str]:
    return [
        f"{'reached' if goal['reached'] else 'MISSED ':8} {_number(goal['value'])}  {goal['goal']}"
        for goal in figures["goals"]
    ]


def _note_lines(report: EvaluationReport, figures: dict[str, Any]) -> list[str]:
    models = ", ".join(f"{m['name']} {m['version']} ({m['sha256'][:12]})" for m in report.models)
    return [
        f"weights: {models}; {figures['seconds_median']:.1f} s per patient (median, all uses)",
        "Paper: test set of 22 patients with 40 lesions (table 4). Accuracy, sensitivity, specificity and AUC are",
        "those of pixels, dominated by the background. threshold: the best level of z-scores on training patients.",
        "Simulated patients prove that the method works as built; they do not tell how it does on real ones.",
    ]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _span(interval: Sequence[float] | None) -> str:
    return f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else ""
