"""The drawn study on the network's grid."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.spect_ct.grid import prepare
from pipelines.spect_ct.truth import GridPatient, placed
from pipelines.spect_ct.uses import CT, FUSED, SPECT
from tests.spect_ct.drawn_study import CT_FIELD, LESIONS, SPECT_FIELD, Field, counts, hounsfield


@pytest.fixture(scope="module")
def patient() -> GridPatient:
    """The drawn study; the CT shows the first lesion only, the SPECT both."""
    prepared = prepare(placed(counts(), SPECT_FIELD), placed(hounsfield(lesions=LESIONS[:1]), CT_FIELD))
    held = prepared.lattice
    field = Field(held.shape, held.spacing_mm, tuple(held.origin_mm))
    both = np.zeros(held.shape, np.uint16)
    for number, (centre, radius) in enumerate(LESIONS, 1):
        both[field.ball(centre, radius)] = number
    return GridPatient(prepared, {SPECT: both, CT: np.where(both == 1, both, 0).astype(np.uint16), FUSED: both})
