"""Skull, spine, ribs, sternum and sacrum of the simulated skeleton.

All lengths are in mm for a person of 1700 mm (see `cloud` for the axes); `skeleton.build_skeleton` stretches and
poses the result. Landmarks follow standard proportions: C7 at 15 % of the height below the crown, the fifth lumbar
disc at 42.5 %. Uptake values are relative to soft tissue = 1; disease is added elsewhere.
"""

# ruff: noqa: RUF005 - array + [x, y, z] adds coordinates, it does not join lists.
from __future__ import annotations

import numpy as np

from pipelines.phantoms.anatomy import Patient
from pipelines.phantoms.cloud import Cloud

C1_TOP_MM, T1_TOP_MM, L1_TOP_MM, S1_TOP_MM = 158.0, 276.0, 562.0, 722.0

VERTEBRAE = (*(f"C{i}" for i in range(1, 8)), *(f"T{i}" for i in range(1, 13)), *(f"L{i}" for i in range(1, 6)))

RIB_HALF_WIDTH_MM = (56, 86, 106, 119, 127, 133, 137, 139, 137, 131, 121, 103)
RIB_HALF_DEPTH_MM = (42, 58, 70, 79, 86, 91, 95, 96, 95, 91, 82, 68)
RIB_DROP_MM = (34, 58, 80, 98, 112, 124, 132, 132, 126, 112, 78, 40)
RIB_END_DEG = (163, 153, 149, 146, 143, 140, 137, 130, 123, 114, 82, 52)


def vertebra_levels() -> dict[str, tuple[float, float]]:
    """Return top and height in mm of every vertebra with its disc."""
    levels = {}
    for group, top, bottom, growth in (
        (VERTEBRAE[:7], C1_TOP_MM, T1_TOP_MM, 0.15),
        (VERTEBRAE[7:19], T1_TOP_MM, L1_TOP_MM, 0.55),
        (VERTEBRAE[19:], L1_TOP_MM, S1_TOP_MM, 0.12),
    ):
        share = np.linspace(1, 1 + growth, len(group))
        heights = share / share.sum() * (bottom - top)
        tops = top + np.concatenate([[0], np.cumsum(heights)[:-1]])
        levels.update({n: (float(t), float(h)) for n, t, h in zip(group, tops, heights, strict=True)})
    return levels


def spine_axis(patient: Patient, z: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y (mm) of the vertebral bodies' centres at height z: scoliosis, kyphosis, lordosis."""
    z = np.asarray(z, float)
    reach = np.clip((z - C1_TOP_MM) / (S1_TOP_MM - C1_TOP_MM), 0, 1)
    x = patient.scoliosis_mm * np.sin(np.pi * reach) * np.sin(3.2 * np.pi * reach + patient.scoliosis_phase)
    knots_z = [150, 230, 280, 400, 520, 620, 680, 722, 780, 835, 865]
    knots_y = [8, 6, 22, 30 + 24 * patient.kyphosis, 42, 18, 16, 34, 72, 78, 66]
    return x, np.interp(z, knots_z, knots_y)


def add_spine(cloud: Cloud, patient: Patient) -> None:
    """Vertebral bodies with denser end plates, pedicles, transverse and spinous processes."""
    for name, (top, height) in vertebra_levels().items():
        mid = top + height * 0.45
        x, y = (float(v) for v in spine_axis(patient, mid))
        region = name[0]
        half_width = {"C": 11.0, "T": 13.5, "L": 21.0}[region] + {"C": 0.0, "T": 0.5, "L": 0.8}[region] * int(name[1:])
        half_depth = half_width * {"C": 0.72, "T": 0.95, "L": 0.78}[region]
        body_half = height * {"C": 0.40, "T": 0.41, "L": 0.41}[region]
        _add_body(cloud, name, (x, y, mid), (half_width, half_depth, body_half))
        back = y + half_depth
        reach = {"C": 1.9, "T": 1.8, "L": 1.95}[region]
        for side in (-1, 1):
            root = np.array([x + side * half_width * 0.6, back, mid - body_half * 0.3])
            tip = np.array([x + side * half_width * reach, back + 10, mid - body_half * 0.1])
            cloud.tube(name, np.array([root, tip]), [5.0, 3.2], 1.1)
            facet = (x + side * half_width * 0.75, back + 11, top + height * 0.95)
            cloud.ellipsoid(name, facet, (4.5, 5, 6), 1.7)
        spinous = np.array([[x, back + 12, mid], [x, back + {"C": 24, "T": 30, "L": 32}[region], mid + height * 0.35]])
        cloud.tube(name, spinous, [5.0, 4.0], 1.3)


def _add_body(cloud: Cloud, name: str, centre: tuple[float, float, float], half: tuple[float, float, float]) -> None:
    """One vertebral body: an elliptic cylinder with a waist, its end plates brighter than its middle."""
    hx, hy, hz = half
    z = centre[2] + np.array([-1.0, -0.62, 0.0, 0.62, 1.0]) * hz
    path = np.stack([np.full(5, centre[0]), np.full(5, centre[1]), z], 1)
    # `flat` widens the side axis; along z the frame's side vector is x.
    cloud.tube(name, path, np.array([1.0, 0.97, 0.9, 0.97, 1.0]) * hy, [1.9, 1.55, 1.45, 1.55, 1.9], flat=hx / hy)


def add_ribs(cloud: Cloud, patient: Patient) -> None:
    """Twelve pairs of ribs: ellipses in the horizontal plane that drop from the spine to the costochondral end."""
    levels = vertebra_levels()
    for i in range(12):
        top, height = levels[f"T{i + 1}"]
        z0 = top + height * 0.3
        x0, y0 = (float(v) for v in spine_axis(patient, z0))
        for side, letter in ((1, "L"), (-1, "R")):
            path = rib_path(patient, i, side, x0, y0, z0)
            bright = np.full(len(path), 1.1)
            bright[0], bright[-1] = 1.4, 1.4
            cloud.tube(f"rib_{letter}_{i + 1}", path, np.linspace(5.8, 6.2, len(path)), bright, flat=0.68)


def rib_path(patient: Patient, index: int, side: int, x0: float, y0: float, z0: float) -> np.ndarray:
    """Return control points (12, 3) of one rib's axis, from its head to its bony end."""
    phi = np.deg2rad(np.linspace(9, RIB_END_DEG[index], 12))
    a, b = RIB_HALF_WIDTH_MM[index], RIB_HALF_DEPTH_MM[index] * patient.chest_depth
    centre_y = y0 + 14 - b
    x = x0 * np.cos(phi / 2) ** 2 + side * (8 + (a - 8) * np.sin(phi) ** 0.85)
    y = centre_y + b * np.cos(phi) + 16 * np.sin(phi) ** 2
    progress = (phi - phi[0]) / np.deg2rad(150)
    z = z0 - 9 * np.sin(np.pi * np.clip(progress * 2.2, 0, 1)) + RIB_DROP_MM[index] * progress**1.25
    return np.stack([x, y, z], 1)


def sternum_front(patient: Patient) -> float:
    """Depth (mm) of the sternum's plane; in front of the rib cage's centre."""
    return -78.0 * patient.chest_depth


def add_sternum(cloud: Cloud, patient: Patient) -> None:
    """Manubrium, body with the sternal angle, xiphoid and both sternoclavicular joints."""
    y = sternum_front(patient)
    x = float(spine_axis(patient, 330)[0]) * 0.4
    manubrium = [
        (-24, y + 12, 318),
        (24, y + 12, 318),
        (27, y + 8, 332),
        (15, y, 366),
        (-15, y, 366),
        (-27, y + 8, 332),
    ]
    body = [(-13, y, 368), (13, y, 368), (18, y - 6, 425), (13, y - 6, 462), (-13, y - 6, 462), (-18, y - 6, 425)]
    shift = np.array([x, 0, 0])
    cloud.plate("sternum", np.array(manubrium) + shift, 12, 1.45)
    cloud.plate("sternum", np.array(body) + shift, 10, 1.2)
    cloud.tube("sternum", np.array([[x - 14, y, 367], [x + 14, y, 367]]), 4.5, 1.5)
    cloud.tube("xiphoid", np.array([[x, y - 4, 464], [x, y, 486]]), [5, 3], 0.6)
    for side, letter in ((1, "L"), (-1, "R")):
        cloud.ellipsoid(f"joint_sternoclavicular_{letter}", (x + side * 27, y + 10, 319), (9, 8, 8), 1.9)


def add_skull(cloud: Cloud) -> None:
    """Vault, base, facial bones, jaws; the posture turns them about the neck."""
    cloud.ellipsoid("skull", (0, 4, 97), (75, 92, 96), 0.92, shell=0.925)
    cloud.ellipsoid("skull", (0, -70, 92), (56, 16, 26), 0.35)
    cloud.ellipsoid("skull", (0, -68, 116), (58, 14, 8), 0.6)
    cloud.ellipsoid("skull_base", (0, 8, 152), (50, 52, 15), 0.42)
    cloud.ellipsoid("skull_base", (0, -22, 140), (34, 26, 13), 0.5)
    cloud.ellipsoid("skull_base", (0, 62, 138), (34, 16, 20), 0.45)
    for side in (-1, 1):
        cloud.tube("skull_base", np.array([[side * 18, 2, 156], [side * 60, 22, 152]]), [11, 14], 0.6)
        cloud.ellipsoid("face", (side * 52, -52, 152), (12, 16, 8), 0.95)
        cloud.ellipsoid("face", (side * 22, -66, 168), (14, 15, 15), 1.15)
        jaw = np.array([[side * 56, 2, 158], [side * 53, -4, 196], [side * 34, -48, 216], [0, -76, 222]])
        cloud.tube("mandible", jaw, [6, 7, 7, 8], 0.95)
        teeth = np.array([[side * 30, -40, 190], [side * 19, -66, 192], [0, -76, 193]])
        cloud.tube("face", teeth, [6.5, 6.5, 6.5], 1.15)
    cloud.ellipsoid("face", (0, -72, 154), (14, 14, 22), 1.15)
    cloud.ellipsoid("face", (0, -50, 160), (24, 22, 22), 0.75)


def add_sacrum(cloud: Cloud, patient: Patient) -> None:
    """Sacrum as a curved wedge with its wings, and the coccyx."""
    z = np.array([726, 748, 775, 805, 832])
    x, y = spine_axis(patient, z)
    path = np.stack([x * 0.5, y, z], 1)
    cloud.tube("sacrum", path, [19, 18, 13, 10, 7], [1.3, 1.2, 1.1, 1.0, 0.95], flat=1.9)
    cloud.tube("sacrum", path[:4] + [0, 14, 0], [5, 5, 5, 4], 1.0)
    for side in (-1, 1):
        wing = np.array([[side * 14, y[0] + 4, 736], [side * 44, y[0] + 20, 752]]) * [patient.pelvis_width, 1, 1]
        cloud.tube("sacrum", wing, [17, 14], 1.0)
    cloud.tube("coccyx", np.array([[0, 78, 832], [0, 66, 860]]), [6, 4], 0.8)
