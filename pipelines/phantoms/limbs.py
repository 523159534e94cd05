"""Shoulder girdles, arms, pelvis and legs of the simulated skeleton.

Same space and reference stature as `axial`. Limbs are built from joint positions, which the posture sets first
(`arm_joints`, `leg_joints`); the body's outline in `body` uses the same joints. `side` is 1 for left, -1 for right.
"""

# ruff: noqa: RUF005 - array + [x, y, z] adds coordinates, it does not join lists.
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.phantoms.anatomy import Patient
from pipelines.phantoms.cloud import Cloud

SIDES = ((1, "L"), (-1, "R"))


def _mirror(points: object, side: int) -> np.ndarray:
    return np.asarray(points, float) * [side, 1, 1]


@dataclass(frozen=True)
class ArmJoints:
    """Centres in mm of shoulder, elbow, wrist and finger tips, each (3,)."""

    shoulder: np.ndarray
    elbow: np.ndarray
    wrist: np.ndarray
    tips: np.ndarray


@dataclass(frozen=True)
class LegJoints:
    """Centres in mm of hip, knee, ankle and toes, each (3,)."""

    hip: np.ndarray
    knee: np.ndarray
    ankle: np.ndarray
    toes: np.ndarray


def arm_joints(patient: Patient, side: int) -> ArmJoints:
    """Place one arm: beside the trunk, folded over the belly, or up beside the head."""
    pose = patient.pose
    index = 0 if side == 1 else 1
    up = pose.arms == "up" or (pose.arms == "one_up" and side == 1)
    shoulder = np.array([158.0 * patient.shoulder_width, 12.0, 314.0 - (26 if up else 0)])
    abduct = np.deg2rad(np.clip(pose.arm_abduction_deg[index], 2, 28))
    bend = np.deg2rad(np.clip(pose.elbow_bend_deg[index], -6, 30))
    if up:
        elbow = shoulder + 270 * np.array([np.sin(abduct + 0.45), -0.05, -np.cos(abduct + 0.45)])
        direction = np.array([-np.sin(0.5 + bend), -0.2, -np.cos(0.5 + bend)])
    elif pose.arms == "folded":
        elbow = shoulder + 285 * np.array([np.sin(abduct + 0.12), 0.1, np.cos(abduct + 0.12)])
        direction = np.array([-0.78, -0.42, 0.45])
    else:
        elbow = shoulder + 292 * np.array([np.sin(abduct), 0.08, np.cos(abduct)])
        direction = np.array([np.sin(abduct - bend), -0.14, np.cos(abduct - bend)])
    direction /= np.linalg.norm(direction)
    wrist = elbow + 248 * direction
    tips = wrist + 175 * direction
    return ArmJoints(*(_mirror(p, side) for p in (shoulder, elbow, wrist, tips)))


def leg_joints(patient: Patient, side: int) -> LegJoints:
    """Place one leg: abduction at the hip, the foot pointed and turned outwards."""
    pose = patient.pose
    index = 0 if side == 1 else 1
    spread = np.deg2rad(np.clip(pose.leg_abduction_deg[index], -1, 10))
    turn = np.deg2rad(np.clip(pose.leg_turn_deg[index], -10, 50))
    hip = np.array([88.0 * patient.pelvis_width, 4.0, 806.0])
    knee = hip + 405 * np.array([np.sin(spread - 0.035), 0.01, np.cos(spread)])
    ankle = knee + 398 * np.array([np.sin(spread - 0.015), 0.06, np.cos(spread)])
    down = 45 + 65 * pose.foot_point
    toes = ankle + np.array([np.sin(turn) * 110, -155 + 60 * pose.foot_point, down])
    return LegJoints(*(_mirror(p, side) for p in (hip, knee, ankle, toes)))


def add_shoulder(cloud: Cloud, patient: Patient, side: int, letter: str) -> None:
    """Clavicle and scapula with spine, acromion and coracoid."""
    width = np.array([patient.shoulder_width, 1, 1])

    def place(points: object) -> np.ndarray:
        return _mirror(points, side) * width

    acromion = (160, 8, 284)
    clavicle = place([(28, -66, 318), (62, -66, 308), (105, -38, 297), (140, -10, 287), (152, -2, 285)])
    cloud.tube(f"clavicle_{letter}", clavicle, [8, 6, 5.5, 6, 7], [1.1, 0.9, 0.85, 0.9, 1.0])
    cloud.ellipsoid(f"joint_acromioclavicular_{letter}", place(acromion), (9, 9, 8), 1.5)
    blade = place([(72, 78, 306), (112, 66, 304), (138, 34, 312), (140, 36, 336), (112, 68, 410), (88, 82, 448)])
    cloud.plate(f"scapula_{letter}", blade, 4.0, 0.7)
    cloud.tube(f"scapula_{letter}", place([(72, 80, 306), (70, 84, 360), (86, 84, 450)]), [4, 4, 6], 0.85)
    cloud.tube(f"scapula_{letter}", place([(140, 36, 338), (115, 66, 400), (88, 82, 450)]), [7, 6, 6], 0.95)
    cloud.tube(f"scapula_{letter}", place([(76, 84, 336), (118, 76, 312), acromion]), [4, 6, 8], 1.0)
    cloud.tube(f"scapula_{letter}", place([(130, 20, 308), (128, -18, 304)]), [8, 7], 1.35)
    cloud.ellipsoid(f"scapula_{letter}", place((140, 30, 322)), (9, 11, 17), 1.25)


def add_arm(cloud: Cloud, patient: Patient, side: int, letter: str) -> None:
    """Humerus, forearm and hand along the posed joints."""
    joints = arm_joints(patient, side)
    s, e, w, t = joints.shoulder, joints.elbow, joints.wrist, joints.tips
    axis = (e - s) / np.linalg.norm(e - s)
    cloud.ellipsoid(f"humerus_{letter}", s, (23, 23, 24), 1.15, shell=0.4)
    lateral = np.array([side * 16.0, 0, 6])
    cloud.ellipsoid(f"humerus_{letter}", s + lateral, (10, 14, 16), 1.1)
    shaft = np.array([s + axis * 16, s + axis * 60, s + axis * 160, e - axis * 40, e])
    cloud.tube(f"humerus_{letter}", shaft, [19, 12, 10.5, 11, 15], [1.0, 0.72, 0.62, 0.66, 0.9], hollow=0.45)
    cloud.tube(f"joint_elbow_{letter}", np.array([e - [22, 0, 0], e + [22, 0, 0]]), [11, 12], 1.2)
    name = "right_forearm" if side == -1 else "left_forearm"
    if name in patient.missing:
        return
    along = (w - e) / np.linalg.norm(w - e)
    across = np.array([along[2], 0, -along[0]])
    for offset, radii in ((9.0, [8, 6, 6, 9]), (-9.0, [11, 7, 5.5, 5])):
        path = np.array([e + across * offset * f + along * d for f, d in ((1, 8), (1.2, 85), (1.2, 165), (1.1, 236))])
        cloud.tube(f"forearm_{letter}", path, radii, [0.95, 0.65, 0.65, 1.0], hollow=0.3)
    cloud.ellipsoid(f"joint_wrist_{letter}", w + along * 8, (24, 11, 17), 1.35)
    _add_hand(cloud, letter, w, (t - w) / np.linalg.norm(t - w), across)


def _add_hand(cloud: Cloud, letter: str, wrist: np.ndarray, along: np.ndarray, across: np.ndarray) -> None:
    """Five rays of metacarpal and phalanges with warm joints between."""
    for ray, spread in enumerate((-1.9, -0.85, -0.25, 0.3, 0.85)):
        direction = along + across * spread * 0.28
        direction /= np.linalg.norm(direction)
        base = wrist + across * spread * 13 + along * (18 if ray else 8)
        length = (70, 138, 148, 138, 115)[ray]
        path = np.array([base + direction * f * length for f in (0, 0.45, 0.5, 0.75, 1.0)])
        cloud.tube(f"hand_{letter}", path, [5.5, 4.5, 5.5, 4.0, 3.0], [1.1, 0.8, 1.2, 0.9, 0.7])


def add_pelvis(cloud: Cloud, patient: Patient, side: int, letter: str) -> None:
    """Hip bone of one side: iliac wing with a bright crest, acetabulum, pubis, ischium, sacroiliac joint."""
    width = np.array([patient.pelvis_width, 1, 1])

    def place(points: object) -> np.ndarray:
        return _mirror(points, side) * width

    crest = place([(40, 84, 728), (62, 66, 704), (96, 30, 688), (122, -12, 700), (129, -48, 728), (122, -62, 748)])
    wing = np.concatenate(
        [crest, place([(110, -52, 778), (104, -28, 792), (86, 14, 800), (62, 46, 800), (44, 70, 788), (40, 82, 756)])]
    )
    cloud.plate(f"ilium_{letter}", wing, 9.0, 0.85, bulge_mm=6)
    cloud.tube(f"ilium_{letter}", crest, [7.5, 6, 5.5, 5.5, 6, 7.5], [1.1, 0.8, 0.65, 0.65, 0.8, 1.2])
    cloud.tube(f"ilium_{letter}", crest[[5]] + _mirror([(0, 0, 0), (-14, 10, 34), (-24, 30, 52)], side), 8, 0.6)
    cloud.tube(f"ilium_{letter}", place([(46, 72, 764), (64, 44, 790), (84, 8, 800)]), [10, 13, 14], 0.6)
    joint = place([(52, 48, 732), (46, 62, 752), (44, 72, 776), (46, 72, 790)])
    cloud.tube(f"joint_sacroiliac_{letter}", joint, [8, 9, 8, 5], 1.7)
    cloud.ellipsoid(f"acetabulum_{letter}", place((86, 8, 804)), (31, 30, 30), 1.05, shell=0.72)
    cloud.tube(f"pubis_{letter}", place([(74, -18, 812), (42, -50, 818), (9, -58, 832)]), [11, 8, 9], 0.95)
    cloud.tube(f"pubis_{letter}", place([(8, -56, 830), (8, -52, 850)]), [9, 8], 1.0)
    cloud.tube(f"ischium_{letter}", place([(9, -50, 850), (30, -18, 872), (50, 14, 882)]), [7, 7, 10], 0.85)
    cloud.tube(
        f"ischium_{letter}", place([(78, 24, 826), (66, 34, 855), (53, 26, 878)]), [14, 13, 14], [0.95, 0.95, 1.15]
    )


def add_leg(cloud: Cloud, patient: Patient, side: int, letter: str) -> None:
    """Femur, knee, lower leg and foot along the posed joints."""
    joints = leg_joints(patient, side)
    h, k, a = joints.hip, joints.knee, joints.ankle
    word = "left" if side == 1 else "right"
    trochanter = h + _mirror((46, 12, 36), side)
    cloud.ellipsoid(f"femur_{letter}", h, (22, 22, 22), 0.95)
    cloud.tube(f"femur_{letter}", np.array([h + _mirror((10, 2, 8), side), trochanter + [0, 0, 4]]), [15, 17], 0.95)
    cloud.ellipsoid(f"femur_{letter}", trochanter + [0, 4, -10], (13, 14, 19), 1.2)
    short = f"{word}_leg" in patient.missing
    axis = (k - trochanter) / np.linalg.norm(k - trochanter)
    bow = _mirror((7, -14, 0), side)
    shaft = np.array([trochanter, trochanter + axis * 70 + bow * 0.4, trochanter + axis * 190 + bow, k - axis * 70, k])
    if short:
        shaft = shaft[:3]
    radii = [19, 15.5, 14, 16, 26][: len(shaft)]
    cloud.tube(f"femur_{letter}", shaft, radii, [1.0, 0.78, 0.66, 0.68, 0.8][: len(shaft)], hollow=0.55)
    if short:
        return
    for offset in (-1, 1):
        cloud.ellipsoid(f"femur_{letter}", k + [offset * 22, 6, -2], (17, 23, 20), 0.85)
        cloud.ellipsoid(f"joint_knee_{letter}", k + [offset * 20, 4, 19], (17, 20, 4.5), 1.15)
    cloud.ellipsoid(f"femur_{letter}", k + [0, 2, -14], (24, 22, 20), 0.5)
    cloud.ellipsoid(f"joint_knee_{letter}", k + [0, 2, 9], (32, 19, 12), 0.55)
    cloud.ellipsoid(f"patella_{letter}", k + [0, -40, -14], (19, 8, 20), 1.3)
    cloud.tube(f"tibia_{letter}", np.array([k + [0, 6, 22], k + [0, 8, 44], k + [0, 8, 75]]), [29, 25, 16], 0.9)
    if f"{word}_lower_leg" in patient.missing:
        return
    shin = np.array([k + [0, 8, 70], k + (a - k) * 0.5 + [side * -4, 0, 0], a - (a - k) * 0.12, a])
    cloud.tube(f"tibia_{letter}", shin, [15, 11.5, 11, 18], [0.8, 0.62, 0.66, 1.0], hollow=0.5)
    calf = np.array(
        [k + [side * 31, 22, 42], k + [side * 30, 24, 60], a + [side * 24, 12, -60], a + [side * 23, 10, 12]]
    )
    cloud.tube(f"fibula_{letter}", calf, [9, 5.5, 5.5, 8.5], [0.95, 0.6, 0.62, 1.0])
    _add_foot(cloud, letter, a, joints.toes)


def _add_foot(cloud: Cloud, letter: str, ankle: np.ndarray, toes: np.ndarray) -> None:
    """Talus, heel, midfoot and five rays towards the toes."""
    cloud.ellipsoid(f"joint_ankle_{letter}", ankle + [0, 0, 10], (22, 20, 12), 0.85)
    cloud.ellipsoid(f"foot_{letter}", ankle + [0, 30, 34], (18, 24, 24), 0.55)
    ahead = toes - ankle
    mid = ankle + ahead * 0.42 + [0, 0, 8]
    cloud.ellipsoid(f"foot_{letter}", mid, (27, 26, 24), 0.7)
    for spread in np.linspace(-30, 30, 5):
        path = np.array(
            [mid + [spread * 0.6, 0, 8], mid + ahead * 0.33 + [spread * 0.85, 0, 10], toes + [spread, 0, 0]]
        )
        cloud.tube(f"foot_{letter}", path, [6.5, 6, 4.5], [0.95, 1.05, 0.8])
