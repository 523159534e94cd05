"""The viewer of a job's result: pictures of its slices, source and segments apart, made here and kept for a while.

/jobs/7/pictures/12                     the viewer (a page; the job's page fetches its block `viewer`)
/jobs/7/pictures/12/34/source.png       frame 34 of the source
/jobs/7/pictures/12/34/segment-2.png    segment 2 there, transparent around it
/jobs/7/pictures/12/34/overlay.png      both in one, for who has no JavaScript
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any, TypeVar

import numpy as np
from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response
from PIL import Image
from sqlalchemy.orm import Session

from node.dashboard.desk import Desk
from node.dashboard.i18n import Text
from node.dashboard.pages.job import Number
from node.dashboard.pages.pictures_slices import NoPictures, Overlay, grey, read_overlay
from node.dashboard.security.access import AsViewer, AtDesk
from node.registry.models import Job
from node.registry.queries_job import instance_keys, result_file

router = APIRouter(prefix="/jobs/{job_id}/pictures/{result_id}", include_in_schema=False)

T = TypeVar("T")

OVERLAYS_KEPT, PICTURES_KEPT = 8, 600
BLEND = 0.45
CACHED = {"Cache-Control": "private, max-age=3600"}
"""Results never change under their number; only a person's own browser may keep patients' images."""


class _Kept:
    """The results of a function that were asked for last."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[Any, Any] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Any, make: Callable[[], T]) -> T:
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                found: T = self._values[key]
                return found
        made = make()
        with self._lock:
            self._values[key] = made
            while len(self._values) > self._most:
                self._values.popitem(last=False)
        return made


_overlays, _pictures = _Kept(OVERLAYS_KEPT), _Kept(PICTURES_KEPT)


@dataclass(frozen=True)
class ShownSegment:
    """A segment as the viewer names it."""

    number: int
    label: str
    colour: tuple[int, int, int]

    @property
    def hex(self) -> str:
        return "#{:02x}{:02x}{:02x}".format(*self.colour)


@router.get("")
def viewer(request: Request, desk: AtDesk, who: AsViewer, job_id: Number, result_id: Number) -> Response:
    values: dict[str, Any] = {"job_id": job_id, "result_id": result_id, "problem": None}
    try:
        overlay, segments = _open(desk, job_id, result_id)
        values |= {"overlay": overlay, "segments": segments, "frame": overlay.fullest()}
    except NoPictures as error:
        values["problem"] = error.text
    return desk.pages.page(request, "pictures.html", values)


@router.get("/{frame}/source.png")
def source_picture(desk: AtDesk, who: AsViewer, job_id: Number, result_id: Number, frame: int) -> Response:
    overlay, _segments = _open(desk, job_id, result_id)
    _check_frame(overlay, frame)
    return _png(desk, (job_id, result_id, frame, "source"), lambda: _source_image(desk, overlay, frame))


@router.get("/{frame}/segment-{number}.png")
def segment_picture(
    desk: AtDesk, who: AsViewer, job_id: Number, result_id: Number, frame: int, number: int
) -> Response:
    overlay, segments = _open(desk, job_id, result_id)
    _check_frame(overlay, frame)
    colour = next((segment.colour for segment in segments if segment.number == number), None)
    if colour is None:
        raise HTTPException(404, Text("There is no such segment."))

    def draw() -> Image.Image:
        mask = overlay.mask(frame, number)
        drawn = np.zeros((overlay.rows, overlay.columns), np.uint8) if mask is None else mask.astype(np.uint8)
        image = Image.fromarray(drawn)
        image.putpalette([0, 0, 0, *colour])
        image.info["transparency"] = 0
        return _stretched(image, overlay, Image.Resampling.NEAREST)

    return _png(desk, (job_id, result_id, frame, number), draw)


@router.get("/{frame}/overlay.png")
def overlay_picture(desk: AtDesk, who: AsViewer, job_id: Number, result_id: Number, frame: int) -> Response:
    overlay, segments = _open(desk, job_id, result_id)
    _check_frame(overlay, frame)

    def draw() -> Image.Image:
        picture = np.repeat(grey(overlay, frame, desk.storage.local_path)[..., None], 3, axis=2).astype(np.float32)
        for segment in segments:
            mask = overlay.mask(frame, segment.number)
            if mask is not None:
                picture[mask] = (1 - BLEND) * picture[mask] + BLEND * np.asarray(segment.colour, np.float32)
        return _stretched(Image.fromarray(picture.round().astype(np.uint8)), overlay, Image.Resampling.BILINEAR)

    return _png(desk, (job_id, result_id, frame, "overlay"), draw)


def _open(desk: Desk, job_id: int, result_id: int) -> tuple[Overlay, list[ShownSegment]]:
    with desk.registry.reading() as session:
        found = result_file(session, job_id, result_id)
        if found is None or found[0].kind != "seg":
            raise HTTPException(404, Text("There is no such segmentation, or its file was deleted."))
        row, key = found
        segments = _segments(session, job_id, row.sop_uid)

        def read() -> Overlay:
            try:
                with desk.storage.local_path(key) as path:
                    return read_overlay(path, instance_keys(session, job_id), desk.storage.local_path)
            except FileNotFoundError as error:
                raise NoPictures(Text("The file of this result is no longer kept.")) from error

        return _overlays.get((desk.registry.url, result_id), read), segments


def _segments(session: Session, job_id: int, sop_uid: str) -> list[ShownSegment]:
    """Segments of a SEG as the job's summary names them: its SEGs come in the order of the segmentations drawn."""
    job = session.get(Job, job_id)
    summary = (job.summary if job else None) or {}
    written = [entry for entry in summary.get("segmentations", []) if entry["segments"]]
    segs = [entry["sop_instance_uid"] for entry in summary.get("objects", []) if entry["kind"] == "seg"]
    if sop_uid not in segs or len(segs) != len(written):
        raise NoPictures(Text("This segmentation is of a kind that the viewer does not read."))
    return [
        ShownSegment(entry["number"], entry["label"], tuple(entry["colour_rgb"]))
        for entry in written[segs.index(sop_uid)]["segments"]
    ]


def _check_frame(overlay: Overlay, frame: int) -> None:
    if not 0 <= frame < len(overlay.frames):
        raise HTTPException(404, Text("There is no such slice."))


def _source_image(desk: Desk, overlay: Overlay, frame: int) -> Image.Image:
    picture = Image.fromarray(grey(overlay, frame, desk.storage.local_path))
    return _stretched(picture, overlay, Image.Resampling.BILINEAR)


def _stretched(image: Image.Image, overlay: Overlay, how: Image.Resampling) -> Image.Image:
    height = max(1, round(image.height * overlay.stretch))
    return image if height == image.height else image.resize((image.width, height), how)


def _png(desk: Desk, key: tuple[Any, ...], draw: Callable[[], Image.Image]) -> Response:
    def encode() -> bytes:
        image = draw()
        buffer = BytesIO()
        options = {"transparency": 0} if image.mode == "P" else {}
        image.save(buffer, "PNG", **options)
        return buffer.getvalue()

    return Response(_pictures.get((desk.registry.url, *key), encode), media_type="image/png", headers=CACHED)
