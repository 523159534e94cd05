"""A simulated bed of SPECT/CT of one patient, with its truth.

seed -> patient, settings -> bones (`bones`, with the new bone of `spots`) -> list of bone voxels -> density
(`marrow`), uptake (`activity`), lesions (`lesions`) -> soft tissue (`tissues`) -> CT (`ct`) and SPECT (`spect`) of
the same body, which may have moved a little in between -> truth (`truth`).

Everything follows from the seed and the preset; presets use separate random streams, so the same seed is another
patient in each. Nothing is read from any real scan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipelines.phantoms.anatomy import Patient, draw_patient
from pipelines.phantoms.limbs import leg_joints
from pipelines.phantoms.skeleton import Posture
from pipelines.phantoms.spect_ct import ct as ct_scanner
from pipelines.phantoms.spect_ct import spect
from pipelines.phantoms.spect_ct.activity import Motion, bin_points, fill_uptake, soft_tissue, source_points
from pipelines.phantoms.spect_ct.bones import Placement, draw_skeleton
from pipelines.phantoms.spect_ct.canvas import BoneCanvas
from pipelines.phantoms.spect_ct.grid import Grid
from pipelines.phantoms.spect_ct.lesions import LesionDraft, Placer, draw_number, total_excess
from pipelines.phantoms.spect_ct.marrow import BoneVoxels, collect, fill_density, onto
from pipelines.phantoms.spect_ct.patient import LesionTruth, SpectCtPatient
from pipelines.phantoms.spect_ct.presets import PRESETS, Settings, draw_settings
from pipelines.phantoms.spect_ct.spots import draw_collapses, plan_benign
from pipelines.phantoms.spect_ct.tissues import draw_tissues
from pipelines.phantoms.spect_ct.truth import Outline, SpectTruth, body_outline, ct_outline
from pipelines.phantoms.uptake import Source, organs

FINE_SLICES = 2
"""Slices drawn for every slice of the CT; their mean is its partial volume."""

SIDE_MARGIN_MM, WIDEST_MM = 12.0, 500.0
PROSTHESIS_CHANCE = 0.07


@dataclass(frozen=True)
class _Body:
    """The patient as both modalities see one: bones as voxels, HU, and what takes up tracer outside bone."""

    placement: Placement
    grid: Grid
    bone: BoneVoxels
    lesions: list[LesionDraft]
    hu: np.ndarray
    covered: np.ndarray
    metal: np.ndarray | None
    sources: list[Source]


def simulate_spect_ct(
    seed: int,
    preset: str = "train",
    metastases: int | None = None,
    benign: float = 1.0,
    stack: tuple[int, int] | None = None,
) -> SpectCtPatient:
    """Simulate one bed.

    Parameters
    ----------
    seed : everything about the patient and the scan follows from it. preset : one of `presets.PRESETS`.
    metastases : number to place; None draws it. benign : factor on the frequency of benign lesions.
    stack : slices of the CT and of the SPECT, which then sets the length of the bed; None for the preset's.

    Raises
    ------
    ValueError
        If the preset does not exist.
    """
    if preset not in PRESETS:
        raise ValueError(f"there is no acquisition preset '{preset}'; known: {', '.join(PRESETS)}")
    streams = np.random.SeedSequence([7, PRESETS.index(preset), seed]).spawn(5)
    body_rng, disease_rng, settings_rng, scan_rng, spect_rng = (np.random.default_rng(s) for s in streams)
    settings = draw_settings(settings_rng, preset)
    if stack is not None:
        settings = _restacked(settings, *stack)
    patient = _for_the_bed(draw_patient(body_rng), settings, body_rng)
    number = draw_number(disease_rng) if metastases is None else metastases
    body = _draw_body(patient, settings, number, benign, body_rng, disease_rng)
    return _scan(seed, preset, patient, settings, body, scan_rng, spect_rng)


def _for_the_bed(patient: Patient, settings: Settings, rng: np.random.Generator) -> Patient:
    """Adults only; arms are up, or beside the body where the patient cannot lift them."""
    arms = "beside" if rng.random() < 0.2 and settings.region == "pelvis" else "up"
    return replace(patient, age_years=max(patient.age_years, 28), missing=(), pose=replace(patient.pose, arms=arms))


def _restacked(settings: Settings, ct_slices: int, spect_slices: int) -> Settings:
    """Give the CT as many slices, as thick as the length of that many SPECT slices asks for."""
    # A tenth of a slice more: the SPECT takes the whole slices that fit into the CT's length.
    length = (spect_slices + 0.1) * settings.spect.pixel_mm
    return replace(settings, ct=replace(settings.ct, slices=ct_slices, slice_mm=length / ct_slices))


def _draw_body(
    patient: Patient, settings: Settings, metastases: int, benign: float, body_rng: np.random.Generator,
    disease_rng: np.random.Generator,
) -> _Body:  # fmt: skip
    posture = Posture.of(patient)
    placement = Placement(patient, posture, settings.bed_mm * patient.stretch[2], 0.0)
    grid = _ct_grid(patient, settings)
    fine = replace(
        grid,
        shape=(grid.shape[0] * FINE_SLICES, *grid.shape[1:]),
        spacing_mm=(grid.spacing_mm[0] / FINE_SLICES, *grid.spacing_mm[1:]),
        origin_mm=(*grid.origin_mm[:2], grid.origin_mm[2] - grid.spacing_mm[0] * (1 - 1 / FINE_SLICES) / 2),
    )
    collapses = draw_collapses(patient, disease_rng) if benign > 0 else {}
    prosthesis = (
        int(disease_rng.choice([-1, 1])) if disease_rng.random() < PROSTHESIS_CHANCE * (patient.age_years > 55) else 0
    )
    skeleton = draw_skeleton(fine, placement, body_rng, collapses, prosthesis)
    spots = plan_benign(skeleton, patient, collapses, benign, disease_rng)
    bone = collect(skeleton.canvas)
    fill_density(bone, patient.age_years, body_rng)
    fill_uptake(bone, body_rng)
    placer = Placer(bone, disease_rng)
    for spot in spots:
        placer.add_spot(spot)
    placer.add_metastases(metastases)
    placer.add_bone_islands(int(disease_rng.poisson(0.25 * benign)))
    sources, bladder = organs(patient, body_rng)
    deepest = skeleton.canvas.depth.reshape(grid.shape[0], FINE_SLICES, *grid.shape[1:]).max(1)
    tissues = draw_tissues(grid, placement, deepest, skeleton.vertebrae, sources, bladder, body_rng)
    covered = onto(tissues.hu, grid, bone)
    metal = _prosthesis(grid, placement, prosthesis) if prosthesis else None
    found = [*sources, *([bladder] if bladder is not None else [])]
    return _Body(placement, grid, bone, placer.placed, tissues.hu, covered, metal, found)


def _ct_grid(patient: Patient, settings: Settings) -> Grid:
    """The CT's slices, rows and columns about the body; writing pads or cuts them to a scanner's field."""
    s = settings.ct
    girth = max(patient.girth, 0.9) ** 0.9
    arms = 1.25 if patient.pose.arms == "beside" or settings.region == "thorax" else 1.0
    width = min(WIDEST_MM, 2 * 178 * girth * patient.stretch[0] * arms + 2 * SIDE_MARGIN_MM)
    height = min(WIDEST_MM, 2 * 118 * girth**1.2 * patient.stretch[1] + 4 * SIDE_MARGIN_MM)
    rows, columns = (int(np.ceil(mm / s.pixel_mm / 8)) * 8 for mm in (height, width))
    origin = (-(columns - 1) / 2 * s.pixel_mm, -(rows - 1) / 2 * s.pixel_mm, -(s.slices - 1) / 2 * s.slice_mm)
    return Grid((s.slices, rows, columns), (s.slice_mm, s.pixel_mm, s.pixel_mm), origin)


def _prosthesis(grid: Grid, placement: Placement, side: int) -> np.ndarray:
    """A hip replacement: cup, head, neck and stem, as the part of each CT voxel that is metal."""
    canvas = BoneCanvas(grid, placement, placement.scale, np.random.default_rng(0))
    joints = leg_joints(placement.patient, side)
    hip, knee = joints.hip, joints.knee
    trochanter = hip + np.array([side * 46.0, 12, 36])
    axis = (knee - trochanter) / np.linalg.norm(knee - trochanter)
    canvas.ellipsoid("cup", hip, (26, 26, 26), shell=0.88)
    canvas.ellipsoid("head", hip, (16, 16, 16))
    middle = trochanter - [side * 5, 0, 0]
    canvas.tube("stem", np.array([hip, middle, middle + axis * 60, middle + axis * 130]), [7, 8, 7, 5])
    return np.asarray(np.clip(0.5 + canvas.depth / 1.5, 0, 1) * (canvas.depth > -2), np.float32)


def _scan(
    seed: int, preset: str, patient: Patient, settings: Settings, body: _Body, scan_rng: np.random.Generator,
    spect_rng: np.random.Generator,
) -> SpectCtPatient:  # fmt: skip
    spect_grid = _spect_grid(body.grid, settings)
    motion = Motion(np.array(settings.shift_mm), settings.turn_deg, np.array([0.0, 0.0, 0.0]))
    hu = body.hu if body.metal is None else body.hu + body.metal * (ct_scanner.METAL_HU - body.hu)
    tissue, seen_hu = soft_tissue(spect_grid, body.grid, hu, body.covered, motion)
    points = motion.apply(body.bone.points.astype(float))
    volume = body.bone.share * float(np.prod(body.bone.grid.spacing_mm))
    normal = tissue + bin_points(spect_grid, points, body.bone.uptake * volume)
    source, amount = source_points(body.sources, body.placement)
    normal += bin_points(spect_grid, motion.apply(source), amount)
    raised = bin_points(spect_grid, points, total_excess(body.bone, body.lesions) * volume)
    taken = spect.acquire(normal, raised, seen_hu, settings.spect, spect_rng)
    truth = SpectTruth(spect_grid, body.grid, taken, settings.spect, motion)
    ct = ct_scanner.scan(body.hu, body.grid, settings.ct, body.metal, scan_rng)
    maps, lesions = _label(body, truth, settings)
    return SpectCtPatient(
        seed=seed, preset=preset, patient=patient, settings=settings, ct_grid=body.grid, spect_grid=spect_grid, ct=ct,
        spect=taken.image, body_labels=maps[0], ct_labels=maps[1], spect_labels=maps[2], spect_labels_on_ct=maps[3],
        lesions=lesions, benign_features=("hip_prosthesis",) if body.metal is not None else (),
        total_counts=taken.total_counts, notes={"bones": len(body.bone.names)},
    )  # fmt: skip


def _spect_grid(ct: Grid, settings: Settings) -> Grid:
    """The camera's grid: the CT's bed, rounded to whole slices, the square matrix centred on the CT's axis."""
    s = settings.spect
    length = ct.shape[0] * ct.spacing_mm[0]
    slices = int(length / s.pixel_mm)
    half = (s.matrix - 1) / 2 * s.pixel_mm
    return Grid((slices, s.matrix, s.matrix), (s.pixel_mm,) * 3, (-half, -half, -(slices - 1) / 2 * s.pixel_mm))


def _label(
    body: _Body, truth: SpectTruth, settings: Settings
) -> tuple[tuple[np.ndarray, ...], tuple[LesionTruth, ...]]:
    """Number the lesions and draw all label maps."""
    ct, camera = body.grid.shape, truth.grid.shape
    maps = tuple(np.zeros(shape, np.uint16) for shape in (ct, ct, camera, ct))
    lesions = []
    for number, draft in enumerate(body.lesions, 1):
        whole = body_outline(body.bone, draft, body.grid)
        on_spect, drawn = truth.outlines(body.bone, draft, [d for d in body.lesions if d is not draft])
        on_ct = ct_outline(body.bone, draft, settings.ct, body.grid)
        whole.paint(maps[0], number)
        on_ct.paint(maps[1], number)
        on_spect.paint(maps[2], number)
        drawn.paint(maps[3], number)
        lesions.append(_describe(body.bone, draft, number, on_ct, on_spect))
    return maps, tuple(lesions)


def _describe(bone: BoneVoxels, draft: LesionDraft, number: int, on_ct: Outline, on_spect: Outline) -> LesionTruth:
    inside = draft.body
    points = bone.points[inside]
    volume = float(bone.share[inside].sum()) * bone.grid.voxel_ml
    return LesionTruth(
        label=number,
        kind=draft.kind,
        malignant=draft.malignant,
        bone=draft.bone,
        site=draft.site,
        centre_mm=(float(draft.centre_mm[0]), float(draft.centre_mm[1]), float(draft.centre_mm[2])),
        volume_ml=volume,
        diameter_mm=_diameter(points),
        uptake=draft.contrast,
        hu_change=float(draft.hu_change[draft.strength >= 0.5].mean()),
        visible_on=tuple(name for name, outline in (("ct", on_ct), ("spect", on_spect)) if outline.seen),
    )


def _diameter(points: np.ndarray) -> float:
    """Return the largest extent of points (n, 3) over a set of directions, mm."""
    turns = np.linspace(0, np.pi, 12, endpoint=False)
    directions: Sequence[np.ndarray] = [np.array([np.cos(a), np.sin(a), 0]) for a in turns]
    directions = [*directions, *(np.array([0, np.cos(a), np.sin(a)]) for a in turns), np.array([1, 0, 1]) / np.sqrt(2)]
    along = points @ np.array(directions).T
    return float(np.ptp(along, axis=0).max())
