"""Studies found by what a person types: the beginning of a UID, an accession number, a patient's number or name.

    text --spellings--> ranges along indices --> study ids, the newest first, at most MOST

A beginning is found along an index however large the archive. Only where nothing begins so is a piece of a name looked
for within all names, which reads one narrow index.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, or_, select, union
from sqlalchemy.orm import InstrumentedAttribute, Session

from node.registry.models import Study

MOST = 1000
LAST_CHARACTER = "\U0010ffff"


@dataclass(frozen=True)
class Found:
    """Ids of the studies; `more` says that there are older ones beyond these."""

    study_ids: tuple[int, ...]
    more: bool = False


def find_studies(session: Session, text: str, with_patients: bool) -> Found:
    """The studies that a text means.

    Parameters
    ----------
    with_patients
        Whether patients' names and numbers are searched, too; not for those who may not see them.
    """
    text = text.strip().replace("\0", "")
    if not text:
        return Found(())
    choices = [_begins(session, Study.study_uid, text)]
    choices += [_begins(session, Study.accession_number, spelling) for spelling in _spellings(text)]
    if with_patients:
        choices += [_begins(session, Study.patient_id, spelling) for spelling in _spellings(text)]
        choices += [_begins(session, Study.patient_name, spelling) for spelling in _name_spellings(text)]
    found = _newest(session, choices)
    if not found.study_ids and with_patients and (len(text) > 1 or not text.isascii()):
        pieces = sorted({text, _with_caret(text)})
        found = _newest(session, [or_(*(_holds(session, piece) for piece in pieces))])
    return found


def _newest(session: Session, choices: list[ColumnElement[bool]]) -> Found:
    ids = union(*(select(Study.id).where(choice) for choice in choices)).subquery()
    rows = session.scalars(select(ids.c.id).order_by(ids.c.id.desc()).limit(MOST + 1)).all()
    return Found(tuple(rows[:MOST]), len(rows) > MOST)


def _begins(session: Session, column: InstrumentedAttribute[Any], text: str) -> ColumnElement[bool]:
    if session.get_bind().dialect.name == "sqlite":  # compares bytes, so a beginning is a stretch of the index
        return column.between(text, text + LAST_CHARACTER)
    return column.startswith(text, autoescape=True)


def _holds(session: Session, piece: str) -> ColumnElement[bool]:
    if session.get_bind().dialect.name == "sqlite":  # its LIKE heeds no case, and lower() costs far more
        return Study.patient_name.contains(piece, autoescape=True)
    return Study.patient_name.icontains(piece, autoescape=True)


def _spellings(text: str) -> list[str]:
    return sorted({text, text.upper()})


def _name_spellings(text: str) -> list[str]:
    """As DICOM writes names: family^given, mostly in capitals."""
    written = {text, _with_caret(text)}
    return sorted({*written, *(one.upper() for one in written), *(one.title() for one in written)})


def _with_caret(text: str) -> str:
    """A name as people type it, with DICOM's mark between family and given name."""
    return text if "^" in text else text.replace(", ", "^").replace(" ", "^", 1)
