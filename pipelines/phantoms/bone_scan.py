"""A simulated whole-body bone scan of one patient, with its truth.

seed -> patient (`anatomy`) -> skeleton -> normal uptake and organs (`uptake`) -> benign findings (`confounders`)
-> metastases (`lesions`) -> expected counts of both views (`camera`, `body`) -> truth masks (`truth`) -> Poisson
counts as a workstation stores them.

Everything follows from the seed and the preset; presets use separate random streams, so the same seed is another
patient in each. Nothing is read from any real scan. Writing DICOM is `nm_dicom`'s.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter

from pipelines.phantoms import truth
from pipelines.phantoms.anatomy import Patient, draw_patient
from pipelines.phantoms.body import BodyMaps, body_maps
from pipelines.phantoms.camera import (
    ANTERIOR,
    FWHM_PER_SIGMA,
    POSTERIOR,
    Detector,
    add_scatter,
    project,
    project_tissue,
    sensitivity,
    to_view,
)
from pipelines.phantoms.confounders import Findings, add_confounders
from pipelines.phantoms.lesions import Lesion, draw_lesions, draw_number
from pipelines.phantoms.presets import PRESETS, Scanner, draw_scanner
from pipelines.phantoms.skeleton import Posture, Skeleton, build_skeleton
from pipelines.phantoms.uptake import Source, normal_uptake, organs

METASTASIS_SHARE = 280 / 621
"""Share of patients with metastases in the paper."""

MAX_LESION_DRAWS = 12
VIEWS = ("anterior", "posterior")


@dataclass(frozen=True)
class LesionTruth:
    """What is known of one metastasis: its bone, centre (mm, table space), size, contrast, pixels per view."""

    bone: str
    site: str
    centre_mm: tuple[float, float, float]
    radius_mm: float
    contrast: float
    pixels: tuple[int, int]


@dataclass(frozen=True)
class SimulatedBoneScan:
    """One simulated scan.

    Attributes
    ----------
    counts : uint16 (2, rows, columns), anterior then posterior, each as displayed (patient's left on the image's
        right in the anterior view, on its left in the posterior view).
    labels : uint8, same shape: 0 background, 1 metastasis, 2 bladder (see `truth` for what counts as visible).
    expected, expected_lesions : float32, same shape: noise-free counts, and the metastases' own share of them.
    lesions : every metastasis, visible or not. benign : names of the benign findings.
    """

    seed: int
    preset: str
    patient: Patient
    scanner: Scanner
    counts: np.ndarray
    labels: np.ndarray
    expected: np.ndarray
    expected_lesions: np.ndarray
    lesions: tuple[LesionTruth, ...]
    benign: tuple[str, ...]

    @property
    def has_metastases(self) -> bool:
        """True if a metastasis can be seen on either view."""
        return bool((self.labels == truth.METASTASIS).any())


def simulate_bone_scan(
    seed: int,
    preset: str = "train",
    metastases: int | None = None,
    counts: float | None = None,
    uptake: float = 1.0,
) -> SimulatedBoneScan:
    """Simulate one patient.

    Parameters
    ----------
    seed : everything about the patient and the scan follows from it.
    preset : acquisition settings, one of `presets.PRESETS`.
    metastases : number to place; None draws whether there are any (45 %) and how many.
    counts : expected counts of the anterior view; None draws them. The patient stays the same.
    uptake : factor on the metastases' own uptake, as after therapy; 0 leaves normal bone in their place.

    Raises
    ------
    ValueError
        If the preset does not exist, or the uptake is negative.
    """
    if uptake < 0:
        raise ValueError(f"uptake cannot be negative, got {uptake}")
    if preset not in PRESETS:
        raise ValueError(f"there is no acquisition preset '{preset}'; known: {', '.join(PRESETS)}")
    streams = np.random.SeedSequence([PRESETS.index(preset), seed]).spawn(5)
    body_rng, benign_rng, lesion_rng, scan_rng, noise_rng = (np.random.default_rng(s) for s in streams)
    patient = draw_patient(body_rng)
    skeleton = build_skeleton(patient, body_rng)
    factor = normal_uptake(skeleton, patient, body_rng)
    sources, bladder = organs(patient, body_rng)
    findings = Findings(skeleton, patient, benign_rng, factor)
    add_confounders(findings)
    if metastases is None:
        metastases = draw_number(lesion_rng) if lesion_rng.random() < METASTASIS_SHARE else 0
    posture = Posture.of(patient)
    placed = posture.apply(skeleton.points)
    scanner = draw_scanner(scan_rng, preset, patient.height_mm, float(placed[:, 2].min()))
    if counts is not None:
        scanner = replace(scanner, counts=counts)
    scene = _Scene(patient, skeleton, findings, [*sources, *findings.sources], bladder, posture, placed)
    acquisition = _Acquisition(scene, scanner, scan_rng)
    lesions = _visible_lesions(acquisition, metastases, lesion_rng)
    if uptake != 1.0:
        changed = [replace(lesion, activity=lesion.activity * np.float32(uptake)) for lesion, _ in lesions]
        lesions = [(lesion, acquisition.look_at(lesion)) for lesion in changed]
    return acquisition.finish(seed, preset, lesions, noise_rng)


@dataclass(frozen=True)
class _Scene:
    patient: Patient
    skeleton: Skeleton
    findings: Findings
    sources: list[Source]
    bladder: Source | None
    posture: Posture
    placed: np.ndarray


class _Acquisition:
    """Expected counts of one scene on one scanner; lesions are added to a finished background."""

    def __init__(self, scene: _Scene, scanner: Scanner, rng: np.random.Generator) -> None:
        self.scene = scene
        self.detector = Detector.of(scanner, float(rng.normal(0, 9)))
        self.maps: BodyMaps = body_maps(scene.patient, scene.posture, self.detector.x_mm, self.detector.z_mm)
        self.sensitivity = [sensitivity(self.detector, rng) for _ in VIEWS]
        texture = self._tissue_texture(rng)
        self.background = [self._background(view, texture) for view in (ANTERIOR, POSTERIOR)]
        self.bladder = [self._bladder(view) for view in (ANTERIOR, POSTERIOR)]

    def _tissue_texture(self, rng: np.random.Generator) -> np.ndarray:
        """Soft-tissue concentration per pixel: 1, unevenly, with more in muscle and less in fat."""
        shape = (self.detector.scanner.rows, self.detector.scanner.columns)
        field = np.zeros(shape, np.float32)
        for sigma in (6.0, 18.0):
            noise = gaussian_filter(rng.standard_normal(shape).astype(np.float32), sigma)
            field += noise / max(float(noise.std()), 1e-6)
        return np.exp(0.07 * field) * float(np.exp(rng.normal(0, 0.2)))

    def _background(self, view: int, texture: np.ndarray) -> np.ndarray:
        scene, whole = self.scene, self.detector.whole
        image = project_tissue(self.detector, self.maps, texture, view)
        bone = scene.skeleton.activity * scene.findings.factor
        image += project(self.detector, self.maps, scene.placed, bone, view, whole)
        if scene.sources:
            points = scene.posture.apply(np.concatenate([s.points for s in scene.sources]))
            activity = np.concatenate([s.activity for s in scene.sources])
            image += project(self.detector, self.maps, points, activity, view, whole)
        return image * self._absorption(view)

    def _absorption(self, view: int) -> np.ndarray | float:
        """Shadow of metal in front of the body; from behind it hides little."""
        shadow: np.ndarray | float = 1.0
        for centre, radius, transmitted in self.scene.findings.absorbers:
            row, col = (v[0] for v in self.detector.pixels(self.scene.posture.apply(centre[None])))
            pixel = self.detector.scanner.pixel_mm
            r = np.hypot(*np.ogrid[-row : self.detector.scanner.rows - row, -col : self.detector.scanner.columns - col])
            depth = np.clip((radius + 4 - r[: len(self.detector.z_mm), : len(self.detector.x_mm)] * pixel) / 8, 0, 1)
            shadow = shadow * (1 - depth * (1 - transmitted) * (1.0 if view == ANTERIOR else 0.08))
        return shadow

    def _bladder(self, view: int) -> np.ndarray:
        scene = self.scene
        if scene.bladder is None:
            return np.zeros_like(self.background[view])
        points = scene.posture.apply(scene.bladder.points)
        return project(self.detector, self.maps, points, scene.bladder.activity, view, self.detector.whole)

    def look_at(self, lesion: Lesion) -> list[truth.LesionView]:
        """Return the lesion's expected counts and mask on both views (arbitrary units, anterior columns)."""
        points = self.scene.posture.apply(lesion.points)
        window = self.detector.window_around(points)
        views = []
        for view in (ANTERIOR, POSTERIOR):
            excess = project(self.detector, self.maps, points, lesion.activity, view, window)
            block = np.s_[window.row0 : window.row1, window.col0 : window.col1]
            sens = self.sensitivity[view][block]
            others = (self.background[view][block] + self.bladder[view][block]) * sens
            scale = self.scale(view)
            views.append(truth.LesionView(excess, window, truth.lesion_mask(excess * sens * scale, others * scale)))
        return views

    def scale(self, view: int) -> float:
        """Return the factor from projection units to counts, before metastases are added."""
        scanner = self.detector.scanner
        total = float(((self.background[ANTERIOR] + self.bladder[ANTERIOR]) * self.sensitivity[ANTERIOR]).sum())
        ratio = 1.0 if view == ANTERIOR else scanner.posterior_ratio
        return scanner.counts * (1 - scanner.scatter_fraction) / max(total, 1e-6) * ratio

    def finish(
        self, seed: int, preset: str, lesions: list[tuple[Lesion, list[truth.LesionView]]], rng: np.random.Generator
    ) -> SimulatedBoneScan:
        """Sum everything, scatter, expose, and cut the truth masks."""
        scanner = self.detector.scanner
        expected, own, labels = [], [], []
        excess = [self._sum(lesions, view) for view in (ANTERIOR, POSTERIOR)]
        total = [self.background[v] + self.bladder[v] + excess[v] for v in (ANTERIOR, POSTERIOR)]
        total = [add_scatter(self.detector, image) * self.sensitivity[v] for v, image in enumerate(total)]
        unit = scanner.counts / max(float(total[ANTERIOR].sum()), 1e-6)
        for view in (ANTERIOR, POSTERIOR):
            gain = unit * (1.0 if view == ANTERIOR else scanner.posterior_ratio)
            sens = self.sensitivity[view] * gain
            image = total[view] * gain
            labels.append(to_view(self._labels(lesions, view, image, sens), view))
            expected.append(to_view(image + scanner.background * (sens > 0), view))
            own.append(to_view(excess[view] * sens, view))
        counts = [_stored_counts(image, scanner, rng) for image in expected]
        return SimulatedBoneScan(
            seed=seed,
            preset=preset,
            patient=self.scene.patient,
            scanner=scanner,
            counts=np.stack(counts),
            labels=np.stack(labels),
            expected=np.stack(expected),
            expected_lesions=np.stack(own),
            lesions=tuple(self._describe(lesion, views) for lesion, views in lesions),
            benign=tuple(self.scene.findings.names),
        )

    def _sum(self, lesions: list[tuple[Lesion, list[truth.LesionView]]], view: int) -> np.ndarray:
        image = np.zeros_like(self.background[view])
        for _, views in lesions:
            w = views[view].window
            image[w.row0 : w.row1, w.col0 : w.col1] += views[view].excess
        return image

    def _labels(
        self, lesions: list[tuple[Lesion, list[truth.LesionView]]], view: int, image: np.ndarray, sens: np.ndarray
    ) -> np.ndarray:
        """Label map: metastases first, the bladder over them where its own counts are the larger."""
        label = np.zeros(image.shape, np.uint8)
        excess = np.zeros(image.shape, np.float32)
        for _, views in lesions:
            w, mask = views[view].window, views[view].mask
            block = np.s_[w.row0 : w.row1, w.col0 : w.col1]
            label[block][mask] = truth.METASTASIS
            excess[block] += views[view].excess
        own = self.bladder[view] * sens
        mask = truth.bladder_mask(own, image - own)
        label[mask & ~((label == truth.METASTASIS) & (excess * sens > own))] = truth.BLADDER
        label[self.sensitivity[view] <= 0] = truth.BACKGROUND
        return label

    def _describe(self, lesion: Lesion, views: list[truth.LesionView]) -> LesionTruth:
        centre = self.scene.posture.apply(np.asarray(lesion.centre_mm)[None])[0]
        return LesionTruth(
            lesion.bone,
            lesion.site,
            tuple(float(v) for v in centre),  # type: ignore[arg-type]
            lesion.radius_mm,
            lesion.contrast,
            (int(views[0].mask.sum()), int(views[1].mask.sum())),
        )


def _visible_lesions(
    acquisition: _Acquisition, number: int, rng: np.random.Generator
) -> list[tuple[Lesion, list[truth.LesionView]]]:
    """Draw lesions until at least one can be seen, so that a patient with metastases is one on the images."""
    if number == 0:
        return []
    scene = acquisition.scene
    for _ in range(MAX_LESION_DRAWS):
        drawn = draw_lesions(scene.skeleton, scene.findings.factor, number, rng)
        lesions = [(lesion, acquisition.look_at(lesion)) for lesion in drawn]
        if any(view.mask.any() for _, views in lesions for view in views):
            return lesions
    return lesions


def _stored_counts(expected: np.ndarray, scanner: Scanner, rng: np.random.Generator) -> np.ndarray:
    """Poisson counts, smoothed and rescaled as some workstations do, uint16."""
    counts = rng.poisson(np.maximum(expected, 0)).astype(np.float32)
    if scanner.post_filter_mm:
        counts = gaussian_filter(counts, scanner.post_filter_mm / FWHM_PER_SIGMA / scanner.pixel_mm)
    return np.clip(np.rint(counts * scanner.count_scale), 0, 65535).astype(np.uint16)
