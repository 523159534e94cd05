"""The tumour burden index beside that of the patient's last study, as two more quantities of the findings.

    Findings + the registry's last measurement --with_previous--> Findings with the earlier value and the change

They reach the report, the summary and the pictures like every other quantity. The wording says by how much the figure
changed and nothing of what that means: scanner, tracer dose and networks may differ between the studies.
"""

from __future__ import annotations

from dataclasses import replace

from pydicom.sr.coding import Code

from node.registry.trends import BURDEN, SCHEME, Measurement
from pipelines.contract import Findings, Quantity

PREVIOUS = Code("BSTBI-PREVIOUS", SCHEME, "Bone scan tumour burden index of the previous study")
CHANGE = Code("BSTBI-CHANGE", SCHEME, "Change of the bone scan tumour burden index")
DIGITS = 3


def with_previous(findings: Findings, previous: Measurement | None) -> Findings:
    """The findings with the previous study's index and the change since; the same where either study has none."""
    current = next(
        (q for q in findings.quantities if (q.name.scheme_designator, q.name.value) == (SCHEME, BURDEN)), None
    )
    if current is None or current.value is None or previous is None or previous.value is None:
        return findings
    networks = {f"{model.name} {model.version}" for model in findings.models}
    other = "" if networks == set(previous.models) else "; other networks: " + ", ".join(previous.models)
    change = current.value - previous.value
    words = change_in_words(change)
    return replace(
        findings,
        quantities=(
            *findings.quantities,
            Quantity(PREVIOUS, previous.value, current.unit, None, f"study of {previous.date}{other}"),
            Quantity(CHANGE, change, current.unit, None, f"{words} against the study of {previous.date}{other}"),
        ),
    )


def change_in_words(change: float) -> str:
    """How a figure changed, to DIGITS places, without a judgement."""
    if round(change, DIGITS) == 0:
        return "unchanged"
    return f"{'increased' if change > 0 else 'decreased'} by {abs(change):.{DIGITS}f}"
