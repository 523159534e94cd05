"""What looks like a metastasis and is none: degeneration, trauma, surgery, urine, the injection.

Each finding raises (or removes) uptake of the skeleton's points, or adds sources outside it, and leaves its name in
the patient's list. Frequencies grow with age where they do in people. None of it ever enters the truth mask.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pipelines.phantoms.anatomy import Patient
from pipelines.phantoms.axial import vertebra_levels
from pipelines.phantoms.limbs import SIDES, arm_joints, leg_joints
from pipelines.phantoms.skeleton import Skeleton
from pipelines.phantoms.uptake import Source, blob, lognormal

JOINTS = (
    ("joint_acromioclavicular", 0.16), ("joint_sternoclavicular", 0.16), ("joint_elbow", 0.07), ("joint_wrist", 0.2),
    ("joint_knee", 0.3), ("patella", 0.2), ("joint_ankle", 0.12), ("joint_sacroiliac", 0.1), ("acetabulum", 0.08),
)  # fmt: skip


@dataclass
class Findings:
    """Benign findings of one patient while they are being drawn.

    factor : float32 (n,), uptake of the skeleton's points, changed in place. sources : activity outside bone.
    absorbers : (centre (3,), radius_mm, transmission) of metal or contrast lying on or in the body.
    """

    skeleton: Skeleton
    patient: Patient
    rng: np.random.Generator
    factor: np.ndarray
    sources: list[Source] = field(default_factory=list)
    absorbers: list[tuple[np.ndarray, float, float]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    @property
    def stretch(self) -> np.ndarray:
        """The patient's stretch against the reference skeleton, (3,)."""
        return np.asarray(self.patient.stretch)

    def warm(self, centre: np.ndarray, radii: tuple[float, float, float], gain: float, *prefixes: str) -> None:
        """Raise the uptake of bone points within an ellipsoid, softly, by up to `gain`."""
        chosen = self.skeleton.select(*prefixes) if prefixes else np.ones(len(self.factor), bool)
        index = np.flatnonzero(chosen)
        distance = np.linalg.norm((self.skeleton.points[index] - centre) / np.asarray(radii), axis=1)
        self.factor[index] *= 1 + (gain - 1) * np.clip((1.2 - distance) / 0.5, 0, 1)

    def add(self, name: str, source: Source | None = None) -> None:
        """Note a finding, with its source if it has one."""
        self.names.append(name)
        if source is not None:
            self.sources.append(source)


def add_confounders(findings: Findings) -> None:
    """Draw all benign findings of the patient."""
    age_risk = float(np.clip((findings.patient.age_years - 30) / 40, 0.05, 1.3))
    _degenerative_spine(findings, age_risk)
    _arthritis(findings, age_risk)
    for chance, draw in (
        (0.10 + 0.05 * age_risk, _rib_fractures),
        (0.06 * age_risk, _compression_fracture),
        (0.05, _limb_fracture),
        (0.05 * age_risk, _prosthesis),
        (0.05, _sternotomy),
        (0.12, _dental),
        (0.62, _injection),
        (0.22, _contamination),
        (0.05, _catheter),
        (0.015, _paget),
        (0.04, _metabolic),
        (0.05, _metal),
        (0.05, _costal_cartilage),
        (0.04, _shin_splint),
    ):
        if findings.rng.random() < chance:
            draw(findings)


def _degenerative_spine(f: Findings, age_risk: float) -> None:
    """Osteophytes at the side of end plates and facet joints, most often low cervical, low thoracic and lumbar."""
    levels = vertebra_levels()
    weights: dict[str, float] = {"C4": 1, "C5": 2, "C6": 2, "T8": 1, "T9": 1, "T10": 1, "T11": 1, "T12": 1, "L1": 1}
    weights |= {"L2": 1.5, "L3": 2.5, "L4": 3.5, "L5": 4}
    names, odds = list(weights), np.array(list(weights.values()), float)
    for _ in range(f.rng.poisson(1.5 * age_risk)):
        name = str(f.rng.choice(names, p=odds / odds.sum()))
        body = f.skeleton.points[f.skeleton.select(name)]
        side = f.rng.choice([-1, 1])
        top, height = levels[name]
        edge_z = (top + height * f.rng.choice([0.03, 0.87])) * f.stretch[2]
        half = (np.percentile(body[:, 0], 90) - np.percentile(body[:, 0], 10)) / 2
        middle = body.mean(0)
        if f.rng.random() < 0.6:
            centre = np.array([middle[0] + side * half * 0.85, middle[1] - 6, edge_z])
            radii = (half * f.rng.uniform(0.35, 0.8), 16.0, f.rng.uniform(4, 7))
        else:
            centre = np.array([middle[0] + side * half * 0.75, np.percentile(body[:, 1], 85), edge_z])
            radii = (7.0, 9.0, f.rng.uniform(6, 10))
        gain = 1 + lognormal(f.rng, 1.6, 0.55)
        # The osteophyte straddles the disc: the neighbouring vertebra takes part.
        f.warm(centre, radii, gain, "C", "T", "L", "sacrum")
        f.add("degenerative_spine")


def _arthritis(f: Findings, age_risk: float) -> None:
    for joint, chance in JOINTS:
        both = f.rng.random() < 0.5
        for _, letter in SIDES:
            if f.rng.random() > chance * age_risk * (1.8 if both else 0.8):
                continue
            chosen = f.skeleton.select(f"{joint}_{letter}")
            if not chosen.any():
                continue
            spread = f.skeleton.points[chosen].std(0) * 2.2 + 5
            centre = f.skeleton.points[chosen].mean(0) + f.rng.normal(0, 0.35, 3) * spread
            f.warm(centre, tuple(spread * f.rng.uniform(0.5, 1.0)), 1 + lognormal(f.rng, 1.5, 0.6))
            f.add("arthritis")
    for side, letter in SIDES:
        if f.rng.random() < 0.16 * age_risk:
            shoulder = arm_joints(f.patient, side).shoulder * f.stretch
            f.warm(shoulder + f.rng.normal(0, 8, 3), (22, 24, 22), 1 + lognormal(f.rng, 0.8, 0.5), "humerus", "scapula")
            f.add("arthritis")
        if f.rng.random() < 0.15:
            joints = f.skeleton.points[f.skeleton.select(f"foot_{letter}", f"hand_{letter}")]
            if len(joints):
                centre = joints[f.rng.integers(len(joints))]
                f.warm(centre, (13, 13, 13), 1 + lognormal(f.rng, 2.2, 0.6), f"foot_{letter}", f"hand_{letter}")
                f.add("arthritis")


def _rib_fractures(f: Findings) -> None:
    """Round foci at the same angle of neighbouring ribs, one below the other."""
    letter = f.rng.choice(["L", "R"])
    first, count = int(f.rng.integers(2, 10)), int(f.rng.choice([1, 2, 3, 4, 5], p=[0.2, 0.25, 0.25, 0.2, 0.1]))
    where = f.rng.uniform(0.15, 0.95)
    gain = 1 + lognormal(f.rng, 4.0, 0.5)
    for rib in range(first, min(first + count, 12)):
        points = f.skeleton.points[f.skeleton.select(f"rib_{letter}_{rib}")]
        points = points[points[:, 1].argsort()[::-1]]
        centre = points[int(np.clip(where + f.rng.normal(0, 0.03), 0, 1) * (len(points) - 1))]
        size = f.rng.uniform(4.5, 8)
        f.warm(centre, (size, size, size), gain * lognormal(f.rng, 1, 0.3), f"rib_{letter}_{rib}")
    f.add("rib_fractures")


def _compression_fracture(f: Findings) -> None:
    """A flat horizontal band across one vertebral body."""
    name = str(f.rng.choice(["T7", "T8", "T11", "T12", "L1", "L2", "L3"]))
    body = f.skeleton.points[f.skeleton.select(name)]
    centre = np.array([np.median(body[:, 0]), np.percentile(body[:, 1], 35), np.percentile(body[:, 2], 30)])
    f.warm(centre, (45, 40, f.rng.uniform(4, 6)), 1 + lognormal(f.rng, 3.2, 0.4), name)
    f.add("compression_fracture")


def _limb_fracture(f: Findings) -> None:
    bone = str(f.rng.choice(["forearm", "tibia", "fibula", "foot", "hand", "humerus", "femur"]))
    points = f.skeleton.points[f.skeleton.select(f"{bone}_{f.rng.choice(['L', 'R'])}")]
    if len(points):
        if bone in ("humerus", "femur"):
            points = points[points[:, 2] < np.percentile(points[:, 2], 25)]
        size = f.rng.uniform(8, 18)
        f.warm(points[f.rng.integers(len(points))], (size * 2, size, size * 0.6), 1 + lognormal(f.rng, 4, 0.5), bone)
        f.add("limb_fracture")


def _prosthesis(f: Findings) -> None:
    """Hip or knee replacement: no uptake where the metal is, a warm rim."""
    side, _ = SIDES[int(f.rng.integers(2))]
    joints = leg_joints(f.patient, side)
    if f.rng.random() < 0.5:
        centre, radii = joints.hip * f.stretch, (28.0, 28.0, 26.0)
    else:
        centre, radii = joints.knee * f.stretch, (38.0, 40.0, 26.0)
    distance = np.linalg.norm((f.skeleton.points - centre) / np.asarray(radii), axis=1)
    f.factor[distance < 1] *= f.rng.uniform(0.05, 0.3)
    f.factor[(distance >= 1) & (distance < 1.5)] *= 1 + lognormal(f.rng, 0.5, 0.6)
    f.add("prosthesis")


def _sternotomy(f: Findings) -> None:
    points = f.skeleton.points[f.skeleton.select("sternum")]
    middle = points.mean(0)
    f.warm(middle, (5, 30, 90), 1 + lognormal(f.rng, 0.8, 0.4), "sternum")
    f.add("sternotomy")


def _dental(f: Findings) -> None:
    points = f.skeleton.points[f.skeleton.select("mandible", "face")]
    size = f.rng.uniform(6, 12)
    f.warm(points[f.rng.integers(len(points))], (size, size, size), 1 + lognormal(f.rng, 2.0, 0.5), "mandible", "face")
    f.add("dental")


def _injection(f: Findings) -> None:
    """The injection: a hot spot at hand, wrist or elbow, at times infiltrated or running up the vein."""
    side = SIDES[int(f.rng.integers(2))][0]
    arm = arm_joints(f.patient, side)
    place = str(f.rng.choice(["elbow", "wrist", "hand"], p=[0.5, 0.2, 0.3]))
    base = {"elbow": arm.elbow, "wrist": arm.wrist, "hand": (arm.wrist + arm.tips) / 2}[place] + [0, -18, 0]
    centre = base * f.stretch + f.rng.normal(0, 8, 3)
    if f"{'left' if side == 1 else 'right'}_forearm" in f.patient.missing and place != "elbow":
        return
    total = lognormal(f.rng, 6e4, 1.4)
    size = float(np.clip(lognormal(f.rng, 5, 0.5), 3, 25))
    f.add("injection_site", blob(f.rng, centre, (size, size * 0.6, size * 1.5), total, "injection"))
    if f.rng.random() < 0.18:
        target = arm.elbow if place != "elbow" else (arm.elbow + arm.shoulder) / 2
        share = f.rng.random(400)[:, None]
        track = centre + (target * f.stretch - centre) * share + f.rng.normal(0, 3, (400, 3))
        activity = np.full(400, total * f.rng.uniform(0.1, 1.0) / 400, np.float32)
        f.add("infiltrated_vein", Source("vein", track.astype(np.float32), activity))
    if f.rng.random() < 0.04:
        node = arm.shoulder * f.stretch + [-side * 22, 0, 45]
        f.add("axillary_node", blob(f.rng, node, (6, 6, 8), total * f.rng.uniform(0.02, 0.2), "node"))


def _contamination(f: Findings) -> None:
    """Urine on the skin or clothes: groin, thigh, hip, now and then the trunk; in front or behind, drop or smear."""
    for _ in range(int(f.rng.choice([1, 2, 3, 5], p=[0.5, 0.25, 0.15, 0.1]))):
        x, z = f.rng.normal(0, 75), f.rng.normal(900, 80)
        if f.rng.random() < 0.12:
            x, z = f.rng.uniform(-170, 170), f.rng.uniform(420, 1300)
        y = f.rng.choice([-105.0, 105.0])
        size = lognormal(f.rng, 7, 0.6)
        radii = (size * f.rng.uniform(0.6, 3), 4.0, size * f.rng.uniform(0.6, 2.5))
        total = lognormal(f.rng, 4e4, 1.1)
        f.add("contamination", blob(f.rng, np.array([x, y, z]) * f.stretch, radii, total, "urine"))


def _catheter(f: Findings) -> None:
    """A catheter runs from the urethra to a bag beside a leg."""
    side = f.rng.choice([-1, 1])
    ends = [[0, -60, 850], [side * 45, -80, 905], [side * 120, -60, 1010], [side * 165, 0, 1120]]
    share = np.linspace(0, 1, 240)
    path = np.stack([np.interp(share, [0, 0.25, 0.6, 1], [e[i] for e in ends]) for i in range(3)], 1) * f.stretch
    path += f.rng.normal(0, 2.0, path.shape)
    level = lognormal(f.rng, 250, 0.9)
    f.add("catheter", Source("catheter", path.astype(np.float32), np.full(240, level, np.float32)))
    bag = np.array([side * f.rng.uniform(165, 210), 20, f.rng.uniform(1120, 1230)]) * f.stretch
    f.add("catheter_bag", blob(f.rng, bag, (34, 15, 60), level * lognormal(f.rng, 4000, 0.7), "bag"))


def _paget(f: Findings) -> None:
    """Paget's disease: one whole bone, intense and even."""
    bones: list[tuple[str, ...]] = [
        ("ilium_L", "acetabulum_L", "pubis_L", "ischium_L"),
        ("ilium_R", "acetabulum_R", "pubis_R", "ischium_R"),
    ]
    bones += [("tibia_L",), ("tibia_R",), ("femur_L",), ("humerus_R",), ("skull",), ("L3",)]
    chosen = bones[int(f.rng.integers(len(bones)))]
    f.factor[f.skeleton.select(*chosen)] *= 1 + lognormal(f.rng, 2.5, 0.3)
    f.add("paget")


def _metabolic(f: Findings) -> None:
    """Metabolic bone disease ("superscan" without metastases): all bone bright, skull and limbs included."""
    f.factor *= f.rng.uniform(1.8, 3.5)
    f.factor[f.skeleton.select("skull", "mandible")] *= f.rng.uniform(1.1, 1.8)
    f.add("metabolic_superscan")


def _metal(f: Findings) -> None:
    """A pacemaker, coin, buckle or breast prosthesis that hides what lies behind it from one side."""
    x, z = (80.0, 350.0) if f.rng.random() < 0.5 else (f.rng.uniform(-130, 130), f.rng.uniform(380, 900))
    f.absorbers.append((np.array([x, -110.0, z]) * f.stretch, f.rng.uniform(9, 30), f.rng.uniform(0.1, 0.6)))
    f.add("absorber")


def _costal_cartilage(f: Findings) -> None:
    """Warm costochondral junctions, both sides."""
    for _, letter in SIDES:
        for rib in range(2, 9):
            points = f.skeleton.points[f.skeleton.select(f"rib_{letter}_{rib}")]
            end = points[np.argsort(points[:, 1])[: len(points) // 25 + 1]].mean(0)
            f.warm(end, (8, 8, 8), 1 + lognormal(f.rng, 0.7, 0.4), f"rib_{letter}_{rib}")
    f.add("costochondral")


def _shin_splint(f: Findings) -> None:
    """Diffuse stress along the tibiae."""
    for _, letter in SIDES:
        points = f.skeleton.points[f.skeleton.select(f"tibia_{letter}")]
        if len(points):
            centre = np.array([points[:, 0].mean(), points[:, 1].mean() + 6, points[:, 2].mean() + 20])
            f.warm(centre, (25, 25, 110), 1 + lognormal(f.rng, 0.7, 0.4), f"tibia_{letter}")
    f.add("shin_splint")
