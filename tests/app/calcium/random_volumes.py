"""Random little volumes for laws, with attenuations around every bound."""

from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

_SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 7), st.integers(1, 7))
_HU = st.sampled_from([-1024, 40, 129, 130, 131, 199, 200, 299, 300, 399, 400, 1200])
_LABELS = st.sampled_from([0, 0, 1, 2, 3, 4, 5, 8])
_SPACING_MM = st.tuples(
    st.sampled_from([0.7, 1.5, 3.0, 5.0]),
    st.sampled_from([0.25, 0.4, 0.5, 0.7]),
    st.sampled_from([0.25, 0.4, 0.5, 1.0]),
)


class LabeledVolume(NamedTuple):
    """A volume with its canonical label map."""

    hu: NDArray[np.int16]
    labels: NDArray[np.uint8]
    spacing_mm: tuple[float, float, float]

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Return the voxels labeled as calcium of any artery."""
        return (self.labels >= 1) & (self.labels <= 4)


@st.composite
def labeled_volumes(draw: st.DrawFn) -> LabeledVolume:
    """Draw a volume, its labels and its spacing."""
    shape = draw(_SHAPES)
    hu = draw(hnp.arrays(np.int16, shape, elements=_HU))
    labels = draw(hnp.arrays(np.uint8, shape, elements=_LABELS))
    return LabeledVolume(hu, labels, draw(_SPACING_MM))
