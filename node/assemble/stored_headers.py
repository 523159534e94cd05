"""Headers that nobody asked for when a series came: a rule names an attribute since then, and a file still has it.

    series, rules --what is asked for and not kept--> first stored file of the series --> its headers, made whole

Deciding is left to `routing.route`; nothing is written here.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from node.assemble.attributes import is_always_kept
from node.assemble.instance_file import UnregistrableError, read_instance
from node.assemble.rules import Rules
from node.registry.models import Instance
from node.registry.series import SeriesFacts
from node.storage import Storage


def stored_headers(
    session: Session, storage: Storage, series_id: int, wanted: Collection[str]
) -> dict[str, Any] | None:
    """These attributes of the first stored file of a series; None if it is gone or unreadable."""
    first = select(Instance.storage_key).where(Instance.series_id == series_id, Instance.current)
    key = session.scalar(first.order_by(Instance.id).limit(1))
    if key is None:
        return None
    try:
        with storage.local_path(key) as path:
            found = read_instance(path, wanted).headers
    except (OSError, UnregistrableError):
        return None
    return {name: found[name] for name in wanted if name in found}


def with_stored_headers(session: Session, storage: Storage, rules: Rules, series: SeriesFacts) -> SeriesFacts:
    """The series with what the rules ask for now; as it is where nothing is missing or no file can be read.

    An attribute that the file lacks, too, is looked for each time: nothing tells it from one that was not kept.
    """
    missing = frozenset(name for name in rules.attributes() if not is_always_kept(name)) - series.headers.keys()
    if not missing or not series.has_files:
        return series
    more = stored_headers(session, storage, series.id, missing)
    return replace(series, headers={**series.headers, **more}) if more else series
