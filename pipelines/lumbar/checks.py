"""Is this series a sagittal T2-weighted lumbar spine without fat suppression? If not, why, in one sentence.

acquisition facts -> kind of object -> kind of image -> plane -> weighting -> fat suppression -> part of the body;
sorted stack -> field of view; the first reason against the series, or none. Of a study's series, the one that fits.

The paper excludes fat suppression, and its patients had sagittal T2 turbo spin echoes. What physics says (TR, TE, TI)
weighs more than what people wrote; where neither says anything, nothing is assumed. No pixel is read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipelines.contract import ContentRefused, InputSeries
from pipelines.imaging.mr import MrAcquisition, read_acquisition
from pipelines.imaging.volume import tilt_deg
from pipelines.imaging.volume_frames import read_planes
from pipelines.imaging.volume_geometry import Stack, sort_stack

ECHO_MS = (60.0, 250.0)
"""Effective echo times of T2-weighted turbo spin echoes: below it proton density and T1, above it MR myelography.
The upper end leaves room for three-dimensional ones with variable flip angles."""

SHORTEST_REPETITION_MS = 1400.0
"""Repetition times of T1-weighted spin echoes end at 900 ms, those of T2-weighted ones begin at 1500 ms."""

LARGEST_TILT_DEG = 37.0
"""From the sagittal plane; the routing rules' "sagittal" ends there, too."""

FEWEST_SLICES = 7
"""With fewer the foramina on both sides cannot be shown; scans for the lumbar spine have 9 to 24."""

NARROWEST_STACK_MM = 24.0
"""From the first to the last slice: half a vertebral body's width."""

SHORTEST_FIELD_MM = 160.0
"""Head to foot: L1 to the sacrum measures about 180 mm in small adults."""

LONGEST_FIELD_MM = 520.0
SMALLEST_DEPTH_MM = 100.0
"""Front to back: body, canal and posterior elements need this much."""

COARSEST_PIXEL_MM = 2.0
"""In the plane; the cord is about 8 mm wide."""

_L = r"A-Za-zÀ-ÖØ-öø-ÿ"


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![{_L}0-9])(?:{pattern})(?![{_L}0-9])", re.IGNORECASE)


_LUMBAR = re.compile(
    rf"lumb|(?<![{_L}])l\W?s?\W?(?:spine|sp|ws|s-?spine)(?![{_L}])|(?<![{_L}])(?:lws|lss|lspine|lsspine)(?![{_L}])|腰",
    re.IGNORECASE,
)
_ANY_SPINE = _words(r"spine|wirbels\w*|columna|rachis|\w*vertebra\w*|whole ?spine|t-?l ?spine|tlspine|wholespine")
_ELSEWHERE = re.compile(
    rf"brain|cerebr|(?<![{_L}])head|skull|neuro ?cran|crani|sch(?:ä|ae)del|kopf|hirn|pituit|orbit|(?<![{_L}])neck|"
    rf"cervic|(?<![{_L}])c\W?-?(?:spine|sp|ws)(?![{_L}])|hws|thorac(?!o\W?lumb)|(?<![{_L}])t\W?-?(?:spine|sp)(?![{_L}])|"
    rf"(?<![{_L}])bws|(?<![{_L}])(?:knee|hip|shoulder|ankle|foot|wrist|hand|elbow|breast|heart|cardiac|liver|prostate|"
    rf"uterus|femur|tibia)(?![{_L}])|头|颅|脑|垂体|颈|胸椎|膝|髋|肩|踝|足|腕|肘|乳腺|心脏|肝|前列腺|子宫",
    re.IGNORECASE,
)
_AROUND = _words(r"pelvis|chest|abdomen|thorax")
"""Parts around the lumbar spine, which some sites state for it: believed where nothing says lumbar."""
_T2 = re.compile(rf"(?<![{_L}0-9])t2(?!\s?\*)", re.IGNORECASE)
_T1 = _words(r"t1\w*")
_SUPPRESSED = (
    _words(r"fs|t2w?fs|t2w?_?tse_?fs|spair|spir|stir|tirm|tir|chess|fat ?sat\w*|fat ?sup\w*|fatsat|water|ideal"),
    re.compile("压脂|脂肪抑制|抑脂|脂肪饱和|水像|水相"),
)
_OTHER_WORDS = (
    (_words(r"flair"), "a FLAIR series"),
    (_words(r"dwi|adc|diff\w*|trace\w*|b\d{3,4}"), "a diffusion series"),
    (_words(r"myelo\w*|haste|mrm"), "MR myelography"),
    (_words(r"locali[sz]er\w*|scout|survey|plan\w*scan|3-?pl\w*|loc"), "a localiser"),
    (_words(r"t2\s?\*\w*|merge|medic|swi|gre"), "a gradient echo"),
    (re.compile("水成像|椎管造影"), "MR myelography"),
    (re.compile("定位"), "a localiser"),
    (re.compile("弥散|扩散"), "a diffusion series"),
)
_IN_PHASE = frozenset({"IN_PHASE", "IN PHASE", "INPHASE", "IP"})
_DIXON_PARTS = {
    "WATER": "water", "W": "water", "FAT": "fat", "F": "fat",
    "OUT_PHASE": "opposed-phase", "OPP_PHASE": "opposed-phase", "OUT_OF_PHASE": "opposed-phase", "OP": "opposed-phase",
    "FAT_FRACTION": "fat-fraction", "FF": "fat-fraction",
}  # fmt: skip
_KINDS = {
    "LOCALIZER": "a localiser",
    "PROJECTION IMAGE": "a projection",
    "PROJECTION": "a projection",
    "MIP": "a projection",
    "MPR": "a reformatted image",
    "SCREEN SAVE": "a screen capture",
    "SUBTRACT": "a subtraction",
    "SUBTRACTION": "a subtraction",
    "ADC": "a diffusion map",
    "PHASE MAP": "a phase map",
    "STIR": "a STIR series",
    "FLAIR": "a FLAIR series",
    "T2_STAR": "a gradient echo",
    "DIFFUSION": "a diffusion series",
}


def acquisition_refusal(facts: MrAcquisition) -> str | None:
    """Say why a series was not taken as a sagittal T2-weighted lumbar spine without fat suppression.

    Returns
    -------
    str or None
        What follows the series' name in a sentence, or None where nothing speaks against it.
    """
    for rule in (_object, _image, _plane, _other_words, _weighting, _suppression, _region):
        reason = rule(facts)
        if reason:
            return reason
    return None


def usable_stack(one: InputSeries) -> Stack:
    """Read one series' headers and check them.

    Raises
    ------
    ContentRefused
        With the series' name and the first reason against it.
    """
    planes = read_planes(one.paths)
    reason = acquisition_refusal(read_acquisition(planes))
    if reason is None:
        # An axial stack is refused for being axial, not for the gaps between its slices: geometry comes second.
        stack = sort_stack(planes)
        reason = field_refusal(stack)
    if reason:
        raise ContentRefused(f"{planes.name} {reason}.")
    return stack


def choose_series(series: Sequence[InputSeries]) -> tuple[Stack, tuple[str, ...]]:
    """Choose the series to analyse among those of a job: usually one, after `osteon run STUDY` all of a study.

    Returns
    -------
    tuple
        The sorted stack of the first series that fits, and remarks about others that would have fitted, too.

    Raises
    ------
    ContentRefused
        If none fits: with its reason where there is one series, with each one's reason where there are several.
    """
    fitting: list[Stack] = []
    reasons: list[str] = []
    for one in series:
        try:
            fitting.append(usable_stack(one))
        except ContentRefused as refusal:
            reasons.append(str(refusal))
    if not fitting:
        if len(reasons) == 1:
            raise ContentRefused(reasons[0])
        raise ContentRefused(
            f"None of the {len(reasons)} series is a sagittal T2-weighted lumbar spine without fat suppression: "
            + " ".join(reasons)
        )
    # The finest of those that fit: most slices, then smallest pixels, then the order in which they came.
    best = min(fitting, key=lambda stack: (-len(stack.frames), stack.spacing_mm[0] * stack.spacing_mm[1]))
    others = [stack.name for stack in fitting if stack is not best]
    remark = f"{', '.join(others)} would have fitted, too; {best.name} was analysed"
    return best, (remark,) if others else ()


def _object(facts: MrAcquisition) -> str | None:
    return None if facts.is_mr else f"is no MR image ({facts.sop_class})"


def _image(facts: MrAcquisition) -> str | None:
    for word in facts.image_type:
        if word in _KINDS:
            return f"is {_KINDS[word]} (ImageType {word})"
    for word in facts.image_type[2:]:
        if word in _DIXON_PARTS:
            return (
                f"is the {_DIXON_PARTS[word]} image of a Dixon acquisition; the in-phase image has fat like a plain T2"
            )
        if word == "P":
            return "is a phase image (ImageType P)"
    if "SECONDARY" in facts.image_type[:2]:
        return "is a secondary image (ImageType SECONDARY); the original slices are needed"
    if facts.image_type[:1] == ("DERIVED",) and not _IN_PHASE & set(facts.image_type):
        return "is a derived image (ImageType DERIVED); the original slices are needed"
    if facts.diffusion:
        return "is diffusion-weighted"
    return None


def _plane(facts: MrAcquisition) -> str | None:
    if facts.orientation is None:
        return "has images without an orientation (ImageOrientationPatient)"
    tilt = tilt_deg(facts.orientation, "L")
    if tilt <= LARGEST_TILT_DEG:
        return None
    if tilt_deg(facts.orientation, "H") <= LARGEST_TILT_DEG:
        plane = "axial"
    else:
        plane = "coronal" if tilt_deg(facts.orientation, "P") <= LARGEST_TILT_DEG else f"oblique by {tilt:.0f} degrees"
    return f"is {plane}; sagittal slices are needed"


def _other_words(facts: MrAcquisition) -> str | None:
    for pattern, meaning in _OTHER_WORDS:
        found = pattern.search(facts.series_text)
        if found:
            return f"is {meaning} by its description ('{found.group()}')"
    return None


def _weighting(facts: MrAcquisition) -> str | None:
    te, tr, ti = facts.echo_ms, facts.repetition_ms, facts.inversion_ms
    times = f"TR {_ms(tr)}, TE {_ms(te)}"
    if facts.has_inversion:
        return f"has an inversion pulse{f' (TI {_ms(ti)})' if ti else ''}, as in STIR and FLAIR; a plain T2 is needed"
    if te is not None and te > ECHO_MS[1]:
        return f"has an echo time of {_ms(te)}, that of MR myelography"
    if facts.is_spin_echo is False:
        return f"is a gradient echo ({times}), not a T2-weighted spin echo"
    if te is not None and te < ECHO_MS[0]:
        weighting = "T1" if tr is not None and tr < SHORTEST_REPETITION_MS else "proton density"
        return f"is weighted by {weighting}, not by T2 ({times})"
    if tr is not None and tr < SHORTEST_REPETITION_MS:
        return f"has too short a repetition time for T2 weighting ({times})"
    if te is None and not _T2.search(facts.series_text):
        return "states no echo time and does not say T2, so its weighting is unknown"
    if te is None and _T1.search(facts.series_text):
        return "says T1 in its description and states no echo time"
    return None


def _suppression(facts: MrAcquisition) -> str | None:
    if facts.fat_suppression:
        return f"is fat-suppressed ({facts.fat_suppression}); a T2 without fat suppression is needed"
    for pattern in _SUPPRESSED:
        found = pattern.search(facts.series_text)
        if found and not _IN_PHASE & set(facts.image_type):
            return f"is fat-suppressed by its description ('{found.group()}'); a T2 without fat suppression is needed"
    return None


def _region(facts: MrAcquisition) -> str | None:
    """The series' own words first, then the stated body part, then the examination's words."""
    for text in (facts.series_text, facts.body_part, facts.study_text):
        if _LUMBAR.search(text):
            return None
        found = _ELSEWHERE.search(text)
        if found is None and not _LUMBAR.search(facts.study_text):
            found = _AROUND.search(text)
        if found:
            return f"shows another part of the body ('{found.group()}'), not the lumbar spine"
        if _ANY_SPINE.search(text):
            return None
    return None


def field_refusal(stack: Stack) -> str | None:
    """Say why a stack cannot hold a lumbar spine, as `acquisition_refusal` does."""
    across_mm, _, _ = stack.extent_mm
    height_mm, depth_mm = in_plane_extent_mm(stack)
    if len(stack.frames) < FEWEST_SLICES:
        return f"has {len(stack.frames)} slices; a lumbar spine needs at least {FEWEST_SLICES}"
    if across_mm < NARROWEST_STACK_MM:
        return f"is {across_mm:.0f} mm from side to side, too narrow for the canal and both foramina"
    if height_mm < SHORTEST_FIELD_MM:
        return f"shows {height_mm:.0f} mm from head to foot, too little for a lumbar spine"
    if height_mm > LONGEST_FIELD_MM:
        return f"shows {height_mm:.0f} mm from head to foot, more than a lumbar scan; send the lumbar part"
    if depth_mm < SMALLEST_DEPTH_MM:
        return f"shows {depth_mm:.0f} mm from front to back, too little for a lumbar spine"
    if max(stack.spacing_mm) > COARSEST_PIXEL_MM:
        return f"has pixels of {max(stack.spacing_mm):.1f} mm, too coarse for canal and foramina"
    return None


def in_plane_extent_mm(stack: Stack) -> tuple[float, float]:
    """Extent from head to foot and from front to back, whichever way the image is turned."""
    _, down_mm, across_mm = stack.extent_mm
    column = stack.orientation[3:]
    return (down_mm, across_mm) if abs(column[2]) >= abs(column[1]) else (across_mm, down_mm)


def _ms(value: float | None) -> str:
    return "not stated" if value is None else f"{value:g} ms"
