"""Calcium outside the coronary arteries: what an expert leaves unlabeled."""

from collections.abc import Callable

import numpy as np

from app.calcium.phantom.geometry import Ellipsoid, Floats, Tube
from app.calcium.phantom.heart import Heart
from app.calcium.phantom.plaques import Deposit, draw_density, draw_size, wall_ellipsoid
from app.calcium.phantom.thorax import Thorax
from app.calcium.phantom.vessels import Coronaries

_ROOT = np.array([-6.0, -2.0, 19.0])
"""Middle of the aortic valve in the standard heart."""


_CLEAR_MM = 4.0
"""Fat or wall that is left between an artery and calcium that is not its own."""


def draw_distractors(
    heart: Heart, thorax: Thorax, coronaries: Coronaries, grown: float, rng: np.random.Generator
) -> tuple[Deposit, ...]:
    """Draw calcified valves, aortic walls, nodes and pericardium.

    Args:
        heart: Heart they lie in or beside.
        thorax: Chest of the same patient.
        coronaries: Arteries that stay clear of other calcium.
        grown: Size against that in a patient, as plaques are grown.
        rng: Source of all draws.

    Returns:
        Deposits without artery, as dense and as large as plaques.
    """

    def size() -> Floats:
        return draw_size(grown, rng)

    age = float(rng.uniform(0.4, 1.6))
    sites: tuple[tuple[float, int, Callable[[], Ellipsoid]], ...] = (
        (0.22, 5, lambda: _on_valve(heart, size(), rng)),
        (0.30, 4, lambda: _in_wall(heart.aorta, (0.12, 0.5), size(), rng)),
        (0.45, 6, lambda: _in_wall(thorax.aorta, (0.2, 0.8), size(), rng)),
        (0.14, 6, lambda: _on_mitral_ring(heart, size(), rng)),
        (0.10, 2, lambda: _in_papillary_muscle(heart, size(), rng)),
        (0.22, 3, lambda: _in_node(heart, size(), rng)),
        (0.06, 4, lambda: on_pericardium(heart, size(), rng)),
    )
    deposits: list[Deposit] = []
    for share, most, place in sites:
        if rng.random() < share * age:
            count = int(rng.integers(1, most + 1))
            deposits += [Deposit(place(), draw_density(rng)) for _ in range(count)]
    return tuple(deposit for deposit in deposits if not _beside(deposit, coronaries))


def _beside(deposit: Deposit, coronaries: Coronaries) -> bool:
    """Tell whether an expert would take a deposit for coronary calcium."""
    nearest = min(
        float(np.linalg.norm(trunk.points - deposit.body.centre, axis=1).min())
        for trunk in coronaries.trunks.values()
    )
    return nearest < _CLEAR_MM + float(deposit.body.reach_mm.max())


def _loose(centre: Floats, semi: Floats, rng: np.random.Generator) -> Ellipsoid:
    """Lay a deposit in any direction."""
    axes, _ = np.linalg.qr(rng.normal(0.0, 1.0, (3, 3)))
    return Ellipsoid(centre, np.asarray(axes), semi)


def _on_valve(heart: Heart, semi: Floats, rng: np.random.Generator) -> Ellipsoid:
    """Place a deposit on a cusp of the aortic valve."""
    return _loose(heart.at(_ROOT + rng.normal(0.0, [4.5, 4.5, 1.8])), semi, rng)


def _in_wall(
    aorta: Tube, range_: tuple[float, float], semi: Floats, rng: np.random.Generator
) -> Ellipsoid:
    """Place a deposit in the wall of an aorta."""
    return wall_ellipsoid(aorta, float(rng.uniform(*range_)), semi, rng)


def _on_mitral_ring(heart: Heart, semi: Floats, rng: np.random.Generator) -> Ellipsoid:
    """Place a deposit on the ring between left atrium and ventricle, inside the muscle."""
    angle = rng.uniform(-0.6 * np.pi, 0.6 * np.pi)
    ring = np.array([-14.0, -15.0 - 15.0 * np.cos(angle), 15.0 * np.sin(angle)])
    return _loose(heart.in_frame(ring + rng.normal(0.0, 1.2, 3)), semi, rng)


def _in_papillary_muscle(heart: Heart, semi: Floats, rng: np.random.Generator) -> Ellipsoid:
    """Place a deposit inside the left ventricle."""
    return _loose(heart.in_frame(np.array([26.0, -18.0, 4.0]) + rng.normal(0.0, 5.0, 3)), semi, rng)


def _in_node(heart: Heart, semi: Floats, rng: np.random.Generator) -> Ellipsoid:
    """Place a deposit in a lymph node beside the airways."""
    side = rng.choice([-1.0, 1.0])
    place = np.array([-8.0 + side * 30.0, 30.0, 42.0]) + rng.normal(0.0, [5.0, 5.0, 9.0])
    return _loose(heart.at(place), semi, rng)


def on_pericardium(heart: Heart, semi: Floats, rng: np.random.Generator) -> Ellipsoid:
    """Place a flat deposit on the sac over the right ventricle."""
    wall = heart.chambers[1]
    way = np.array([rng.uniform(-0.5, 0.5), rng.uniform(0.5, 1.0), rng.uniform(-0.6, 0.6)])
    outward = (way / np.linalg.norm(way)) @ wall.axes
    along = np.cross(outward, np.array([0.0, 0.0, 1.0]))
    along = along / np.linalg.norm(along)
    axes = np.stack([along, outward, np.cross(along, outward)])
    return Ellipsoid(_sac_surface(heart, wall.centre, outward), axes, semi)


def _sac_surface(heart: Heart, start: Floats, way: Floats) -> Floats:
    """Return where a ray from inside the heart leaves the fat sac."""
    steps = np.arange(0.0, 90.0, 0.5)
    points = start + steps[:, None] * way
    near = [chamber.distance(*points.T) for chamber in heart.chambers]
    place: Floats = points[int((heart.sac_distance(near) < 0.0).sum())]
    return place
