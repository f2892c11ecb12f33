import pytest

from app.calcium.phantom import Phantom, PhantomConfig, make_phantom

SHAPE = (20, 96, 96)
"""Small enough for a test, large enough for arteries."""


@pytest.fixture(scope="session")
def severe() -> Phantom:
    """A patient with much calcium, scanned at rest."""
    config = PhantomConfig(
        SHAPE, score_class=">400", kvp=120.0, noise_sd_hu=15.0, motion_mm=0.0, metal=False
    )
    return make_phantom(config, seed=3)
