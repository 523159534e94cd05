"""Simulated bone SPECT/CT of one bed, with known truth, as arrays and as DICOM; everything written says SYNTHETIC.

`simulate_spect_ct(seed, preset)` gives one patient, `write_study` writes it with its truth, `generate` does so for
many. Knows no pipeline and imports no torch.
"""

from pipelines.phantoms.spect_ct.patient import LesionTruth, SpectCtPatient
from pipelines.phantoms.spect_ct.simulate import simulate_spect_ct
from pipelines.phantoms.spect_ct.study import generate, write_study

__all__ = ["LesionTruth", "SpectCtPatient", "generate", "simulate_spect_ct", "write_study"]
