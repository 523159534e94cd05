"""Destinations of either kind through one door: send files, ask for an object, test.

C-STORE, C-FIND and C-ECHO for `dicom`; STOW-RS and QIDO-RS for `dicomweb`. HTTP is imported where such a place is used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from node.deliver import find, scu
from node.deliver.find import Wanted
from node.deliver.scu import ProbeOutcome, SendOutcome
from node.settings.model import AnyDestination, WebDestination


def send(
    paths: Sequence[Path],
    destination: AnyDestination,
    calling_aet: str,
    progress: Callable[[int, int], None] | None = None,
) -> list[SendOutcome]:
    """Send files; one outcome each, in their order. Nothing is raised for a peer that cannot be reached."""
    if isinstance(destination, WebDestination):
        from node.deliver import stow

        return stow.store(paths, destination, progress)
    return scu.send_files(
        paths,
        destination.host,
        destination.port,
        destination.ae_title,
        destination.calling_ae_title or calling_aet,
        destination.tls,
        progress,
    )


def has_object(destination: AnyDestination, calling_aet: str, wanted: Wanted) -> bool:
    """True if the destination lists the object.

    Raises
    ------
    RetriableError
        If it cannot be asked now.
    PermanentError
        If it cannot be asked at all.
    """
    if isinstance(destination, WebDestination):
        from node.deliver import stow

        return stow.has_object(destination, wanted)
    return find.has_object(destination, calling_aet, wanted)


def probe(destination: AnyDestination, calling_aet: str) -> ProbeOutcome:
    """Whether it answers and, where that can be learnt without sending anything, what it accepts."""
    if isinstance(destination, WebDestination):
        from node.deliver import stow

        return stow.probe(destination)
    return scu.probe(destination, calling_aet)
