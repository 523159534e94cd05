"""Simulated patients with known truth, as arrays and as DICOM; everything they write is marked SYNTHETIC.

`simulate_bone_scan(seed, preset)` gives one whole-body bone scan, `write_bone_scan_study` writes it with its truth,
`generate` does so for many. Knows no pipeline and imports no torch.
"""

from pipelines.phantoms.bone_scan import SimulatedBoneScan, simulate_bone_scan
from pipelines.phantoms.study import generate, write_bone_scan_study

__all__ = ["SimulatedBoneScan", "generate", "simulate_bone_scan", "write_bone_scan_study"]
