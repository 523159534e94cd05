"""What every result object shares: identity, times, equipment, character set.

The builders make a dataset; `stamp` finishes it. highdicom fills in the current time in several places and, on
occasion, random UIDs: all of them are replaced here, so that the same findings and context give the same bytes.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

from pydicom import DataElement, Dataset
from pydicom.charset import convert_encodings, decode_bytes, encode_string
from pydicom.config import disable_value_validation
from pydicom.uid import UID
from pydicom.valuerep import TEXT_VR_DELIMS, PersonName

from node.results.context import MANUFACTURER, MODEL_NAME, ResultContext, ResultKind
from node.results.source import identity
from node.results.uids import IMPLEMENTATION_CLASS_UID, object_uid
from pipelines.contract import Findings

LO_LENGTH = 64
"""Longest value of VR LO, in characters (PS3.5 table 6.2-1)."""

SH_LENGTH = 16

_SERIES_BASE = 70000
_SERIES_PER_REVISION = 100
_SERIES_OFFSET: dict[ResultKind, int] = {"seg": 0, "sr": 40, "sc": 60}
"""Series numbers far above a scanner's, later revisions after earlier ones, SEG before SR before capture."""

UTF_8 = "ISO_IR 192"

_ESCAPE_SEQUENCE = re.compile(r"\x1b[\x20-\x2f]+[\x30-\x7e]")
"""ISO 2022 designation of a character set, e.g. ESC $ ) A."""

_TEXT_VRS = frozenset({"LO", "LT", "SH", "ST", "UC", "UT"})


def series_number(kind: ResultKind, revision: int, index: int = 0) -> int:
    """Series number of the `index`-th object of a kind."""
    return _SERIES_BASE + _SERIES_PER_REVISION * revision + _SERIES_OFFSET[kind] + index


def series_description(pipeline: str, what: str, context: ResultContext) -> str:
    """Series description (LO): what it is, and which revision it replaces."""
    text = f"{pipeline} {what} (osteon, research use)"
    if context.supersedes is not None:
        text += f" r{context.revision} replaces r{context.supersedes.revision}"
    elif context.revision > 1:
        text += f" r{context.revision}"
    return text[:LO_LENGTH]


def local_time(context: ResultContext, header: Dataset) -> datetime:
    """The moment of creation in the zone that the source states, or else in `created_at`'s own."""
    offset = identity(header).get("TimezoneOffsetFromUTC")
    if not offset:
        return context.created_at
    sign = -1 if offset[0] == "-" else 1
    minutes = sign * (int(offset[1:3]) * 60 + int(offset[3:5]))
    return context.created_at.astimezone(timezone(timedelta(minutes=minutes)))


def constructor_values(context: ResultContext, header: Dataset, kind: ResultKind, extra: str) -> dict[str, Any]:
    """Keyword arguments that every highdicom constructor takes; `extra` tells objects of one kind apart."""
    moment = local_time(context, header)
    return {
        "series_instance_uid": object_uid(context.job_key, f"{kind}-series", context.revision, extra),
        "sop_instance_uid": object_uid(context.job_key, kind, context.revision, extra),
        "instance_number": 1,
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": MODEL_NAME,
        "software_versions": context.node.software_version[:LO_LENGTH],
        "device_serial_number": context.node.device_serial[:LO_LENGTH],
        "content_date": moment.date(),
        "content_time": moment.time().replace(microsecond=0),
        "series_date": moment.date(),
        "series_time": moment.time().replace(microsecond=0),
    }


def content_labels(findings: Findings, context: ResultContext) -> dict[str, Any]:
    """Content Identification of a SEG: label (CS), description (LO) and creator."""
    description = findings.research_statement
    if context.supersedes is not None:
        replaced = next((o.sop_instance_uid for o in context.supersedes.objects if o.kind == "seg"), "")
        description = f"Rev {context.revision}; replaces {replaced or f'rev {context.supersedes.revision}'}"
    return {
        "content_label": re.sub(r"[^A-Z0-9_]", "_", findings.pipeline.upper())[:SH_LENGTH],
        "content_description": description[:LO_LENGTH],
        "content_creator_name": f"{MANUFACTURER}^",
    }


def stamp(dataset: Dataset, header: Dataset, context: ResultContext) -> None:
    """Finish a dataset in place."""
    moment = local_time(context, header)
    with disable_value_validation():
        for element in identity(header):
            dataset.add(element)
    dataset.InstanceCreationDate = moment.strftime("%Y%m%d")
    dataset.InstanceCreationTime = moment.strftime("%H%M%S")
    dataset.StationName = context.node.station_name[:SH_LENGTH]
    if context.node.institution_name:
        dataset.InstitutionName = context.node.institution_name[:LO_LENGTH]
    for item in dataset.get("ContributingEquipmentSequence", []):
        if item.get("ManufacturerModelName") == "highdicom":
            item.pop("ContributionDateTime", None)
    dataset.file_meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    dataset.file_meta.ImplementationVersionName = f"OSTEON_{context.node.software_version}"[:SH_LENGTH]
    # Its length is counted again on writing; the one highdicom noted was for its own implementation's name.
    del dataset.file_meta.FileMetaInformationGroupLength
    _settle_character_set(dataset, header)


def _settle_character_set(dataset: Dataset, header: Dataset) -> None:
    """Keep the source's character set; where our own words do not fit in it, write UTF-8 instead.

    Names are the same text in either case: pydicom re-encodes them.
    """
    character_set = header.get("SpecificCharacterSet")
    if character_set:
        dataset.SpecificCharacterSet = character_set
    elif "SpecificCharacterSet" in dataset:
        del dataset.SpecificCharacterSet
    if not all(_fits(text, character_set) for text in _texts(dataset)):
        for element in dataset:
            _drop_escape_sequences(element)
        dataset.SpecificCharacterSet = UTF_8


def _drop_escape_sequences(element: DataElement) -> None:
    """pydicom leaves the escapes of GB 2312 (ISO 2022 IR 58) in the decoded text, where UTF-8 has no use for them."""
    if element.VR == "PN" and "\x1b" in str(element.value):
        element.value = PersonName(_ESCAPE_SEQUENCE.sub("", str(element.value)))
    elif element.VR in _TEXT_VRS and isinstance(element.value, str) and "\x1b" in element.value:
        element.value = _ESCAPE_SEQUENCE.sub("", element.value)


def _texts(dataset: Dataset) -> Iterator[str]:
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from _texts(item)
        elif element.VR in _TEXT_VRS and element.value:
            yield from [element.value] if isinstance(element.value, str) else map(str, element.value)


def _fits(text: str, character_set: object) -> bool:
    if text.isascii():
        return True
    if not character_set:
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            encodings = convert_encodings(character_set)  # type: ignore[arg-type]
            # Reading back matters: pydicom writes some sets (ISO 2022 IR 58) without the escapes a reader needs.
            return decode_bytes(encode_string(text, encodings), encodings, set(TEXT_VR_DELIMS)) == text
        except (UserWarning, UnicodeError, LookupError):
            return False
