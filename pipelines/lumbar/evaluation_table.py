"""An evaluation as plain text: the paper's table beside ours, names of levels, real volumes, goals one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipelines.lumbar.classes import CLASSES, PAPER_STRUCTURES, SACRUM
from pipelines.lumbar.evaluation_report import PAPER, EvaluationReport


def table(report: EvaluationReport) -> str:
    """Return the report as lines of text."""
    figures = report.summary()
    parts = [_dice_lines(report, figures), _label_lines(figures), _real_lines(figures), _goal_lines(figures)]
    notes = _note_lines(report, figures)
    return "\n\n".join("\n".join(lines) for lines in (*parts, notes) if lines)


def _dice_lines(report: EvaluationReport, figures: dict[str, Any]) -> list[str]:
    last = report.first_seed + len(report.patients) - 1
    lines = [
        f"{len(report.patients)} simulated patients, preset {report.preset}, seeds {report.first_seed} to {last}",
        f"{'Dice':28}{'mean':>7}{'SD':>7}{'range':>15}{'95 % interval':>17}{'pooled':>8}{'threshold':>11}{'paper':>7}",
    ]
    for k in (*PAPER_STRUCTURES, SACRUM):
        name = CLASSES[k]
        lines.append(_dice_line(name, figures["dice"][name], figures["dice_baseline"].get(name), PAPER.get(k)))
    lines.append(_dice_line("canal with cord", figures["dice_thecal_sac"], None, None))
    return lines


def _dice_line(title: str, held: dict[str, Any], baseline: float | None, paper: float | None) -> str:
    spread = f"{_number(held['lowest'])}-{_number(held['highest'])}"
    cells = f"{_number(held['mean']):>7}{_number(held['sd']):>7}{spread:>15}{_span(held['mean_interval']):>17}"
    return f"{title:28}{cells}{_number(held['pooled']):>8}{_number(baseline):>11}{_number(paper):>7}"


def _label_lines(figures: dict[str, Any]) -> list[str]:
    titles = {
        "bodies": "vertebral bodies",
        "discs": "discs",
        "all": "both",
        "usual_anatomy": "both, five lumbar vertebrae",
        "unusual_anatomy": "both, other anatomy",
        "unusual_flagged": "other anatomy said as doubtful",
        "usual_flagged": "usual anatomy said as doubtful",
    }
    lines = [f"{'found under the right name':34}{'share':>7}{'cases':>12}{'95 % interval':>17}"]
    for key, title in titles.items():
        held = figures["labels"][key]
        cases = "{}/{}".format(*held["counts"])
        lines.append(f"{title:34}{_number(held['value']):>7}{cases:>12}{_span(held['interval']):>17}")
    return lines


def _real_lines(figures: dict[str, Any]) -> list[str]:
    if not figures["real"]:
        return []
    lines = [f"{'real volumes':22}{'volumes':>8}{'Dice':>8}{'unrestricted':>14}{'found':>10}  Dice by slice spacing"]
    for held in figures["real"]:
        if held["volumes"]:
            spacings = ", ".join(f"{mm} mm {_number(value)}" for mm, value in held["by_slice_mm"].items())
            found = "{}/{}".format(*held["found"]["counts"])
            cells = f"{held['volumes']:>8}{_number(held['dice']):>8}{_number(held['dice_unrestricted']):>14}{found:>10}"
            lines.append(f"{held['structure']:22}{cells}  {spacings}")
            lines.extend(f"  {name:20}{'':8}{_number(value):>8}" for name, value in held["by_volume"].items())
    lines.append(
        "Dice within the labelled rows, over slices with a mask and their neighbours; the unrestricted figure counts"
    )
    lines.append(
        "what the reader left out (T10, S1, outer discs) as wrong. Each volume counts once for each slice spacing."
    )
    return lines


def _goal_lines(figures: dict[str, Any]) -> list[str]:
    lines = []
    for goal in figures["goals"]:
        lines.append(f"{'reached' if goal['reached'] else 'MISSED ':8} {_number(goal['value'])}  {goal['goal']}")
    return lines


def _note_lines(report: EvaluationReport, figures: dict[str, Any]) -> list[str]:
    models = ", ".join(f"{m['name']} {m['version']} ({m['sha256'][:12]})" for m in report.models)
    return [
        f"weights: {models}; {figures['seconds_median']:.2f} s per patient (median; cascade and levels)",
        "threshold: the best range of grey-value ranks, told the true box. Paper: 11 real series (Guo et al.); the",
        "sacrum is a class of ours. Simulated patients prove that the method works as built; they do not tell how it",
        "does on real ones.",
    ]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _span(interval: Sequence[float] | None) -> str:
    return f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else ""
