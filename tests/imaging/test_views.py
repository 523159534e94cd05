"""Anterior or posterior, by trust; headers as scanners write them, contradictions, text in several languages."""

from __future__ import annotations

import pytest
from pydicom import Dataset

from pipelines.imaging.views import ANTERIOR, POSTERIOR, FrameHeader, decide_views, view_from_text
from tests.imaging.nm_objects import detector, view_code

FRONT, BACK = [1, 0, 0, 0, 0, -1], [-1, 0, 0, 0, 0, -1]
BOTH_WAYS = [(ANTERIOR, POSTERIOR), (POSTERIOR, ANTERIOR)]


def frames(*detectors: Dataset | None, alone: bool = False, **attributes: object) -> list[FrameHeader]:
    instance = Dataset()
    for keyword, value in attributes.items():
        setattr(instance, keyword, value)
    return [FrameHeader(instance, item, alone) for item in detectors]


@pytest.mark.parametrize(
    ("first", "second", "views"),
    [(180, 0, BOTH_WAYS[0]), (0, 180, BOTH_WAYS[1]), (360, 180, BOTH_WAYS[1]), (179.6, 359.7, BOTH_WAYS[0])],
)
def test_start_angle_decides_first(first, second, views):
    decision = decide_views(frames(detector(first, FRONT), detector(second, FRONT)))
    assert (decision.views, decision.evidence) == (views, "detector start angle")
    assert not decision.assumed


def test_the_orientation_that_both_detectors_share_says_nothing():
    decision = decide_views(frames(detector(180, BACK), detector(0, BACK)))
    assert decision.views == (ANTERIOR, POSTERIOR)
    assert decision.remarks == ()


def test_orientation_decides_where_angles_are_absent_or_equal():
    for angle in (None, 0):
        decision = decide_views(frames(detector(angle, BACK), detector(angle, FRONT)))
        assert (decision.views, decision.evidence) == ((POSTERIOR, ANTERIOR), "orientation")


def test_a_contradiction_is_overruled_and_said():
    decision = decide_views(frames(detector(0, FRONT), detector(180, BACK)))
    assert decision.views == (POSTERIOR, ANTERIOR)
    assert decision.remarks == ("the orientation says otherwise and was overruled by the detector start angle",)


def test_one_detector_that_is_known_settles_the_other():
    decision = decide_views(frames(detector(), detector(180)))
    assert decision.views == (POSTERIOR, ANTERIOR)


def test_view_codes_of_cid_26_are_known_in_both_schemes():
    for front, back in (("399321004", "399001007"), ("G-5215", "G-5216")):
        pair = frames(detector(ViewCodeSequence=view_code(back, "x")), detector(ViewCodeSequence=view_code(front, "y")))
        decision = decide_views(pair)
        assert (decision.views, decision.evidence) == ((POSTERIOR, ANTERIOR), "view code")


def test_an_empty_view_code_sequence_is_no_evidence():
    decision = decide_views(frames(detector(ViewCodeSequence=[]), detector(ViewCodeSequence=[])))
    assert decision.assumed
    assert decision.views == (ANTERIOR, POSTERIOR)


@pytest.mark.parametrize(
    ("text", "view"),
    [
        ("WB ANT", ANTERIOR), ("WHOLEBODY_POST", POSTERIOR), ("Ganzkörper von ventral", ANTERIOR),
        ("Ganzkörper von dorsal", POSTERIOR), ("von hinten", POSTERIOR), ("全身骨显像 前位", ANTERIOR),
        ("后位", POSTERIOR), ("後面", POSTERIOR), ("face antérieure", ANTERIOR), ("ANT_E1", ANTERIOR),
        ("posterior 2.5h", POSTERIOR),
        ("WHOLE BODY_E", None), ("ANT/POST", None), ("antecubital injection", None), ("posture", None), ("", None),
        ("Important", None), ("后", None),
    ],
)  # fmt: skip
def test_views_are_named_in_several_languages(text, view):
    assert view_from_text(text) == view


def test_private_detector_text_is_read_unless_it_is_about_the_patient():
    front, back = detector(), detector()
    for item, text in ((front, "Vorne"), (back, "Hinten")):
        block = item.private_block(0x0055, "ACME VIEWS", create=True)
        block.add_new(0x01, "LO", text)
    assert decide_views(frames(back, front)).views == (POSTERIOR, ANTERIOR)
    instance = Dataset()
    named = instance.private_block(0x0009, "GEMS_GENIE_1", create=True)
    named.add_new(0x40, "LO", "POST,EMILY")
    assert decide_views([FrameHeader(instance, None, True)]).assumed


def test_a_lone_frame_is_named_by_its_own_evidence():
    assert decide_views(frames(detector(0), alone=True)).views == (POSTERIOR,)
    assert decide_views(frames(None, alone=True, PatientOrientation=["R", "F"])).views == (POSTERIOR,)
    assert decide_views(frames(None, alone=True, PatientOrientation=["L", "F"])).views == (ANTERIOR,)
    assert decide_views(frames(None, alone=True, SeriesDescription="Bone WB posterior")).views == (POSTERIOR,)
    nothing = decide_views(frames(None, alone=True))
    assert nothing.views == (ANTERIOR,)
    assert nothing.assumed


@pytest.mark.parametrize("angle", [60, 90, 270])
def test_lateral_detectors_are_no_evidence(angle):
    assert decide_views(frames(detector(angle), detector(angle))).assumed


def test_only_one_or_two_frames_can_be_decided():
    with pytest.raises(ValueError, match="one or two"):
        decide_views([])


@pytest.mark.parametrize(
    ("text", "view"),
    [
        ("WB 3h post inj", None), ("Bone scan post injection", None), ("WB post void", None), ("WB BACK PAIN", None),
        ("Bone WB 3 hrs post", None), ("WB_3.5H_POST", None), ("post-therapy", None), ("WB post OP", None),
        ("status post fall", None), ("180 min post", None), ("low back pain, post chemo", None),
        ("WB ANT 3h post", ANTERIOR), ("WB ant, 3 hrs. post inj.", ANTERIOR), ("anterior, back pain", ANTERIOR),
        ("WB POST 3h post", POSTERIOR), ("WB POST 3h", POSTERIOR), ("post, post void", POSTERIOR),
        ("WB post", POSTERIOR), ("WB 3h posterior", POSTERIOR), ("post. 3h p.i.", POSTERIOR),
        ("seen from the back", POSTERIOR),
    ],
)  # fmt: skip
def test_a_time_after_injection_or_a_pain_is_no_view(text, view):
    assert view_from_text(text) == view


def test_a_lone_frame_described_by_its_time_is_assumed_anterior():
    decision = decide_views(frames(None, alone=True, SeriesDescription="WB 3h post inj"))
    assert (decision.views, decision.assumed) == ((ANTERIOR,), True)
    named = decide_views(frames(None, alone=True, SeriesDescription="WB 3h post inj", ImageComments="POST"))
    assert (named.views, named.assumed) == ((POSTERIOR,), False)
