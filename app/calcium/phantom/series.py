"""One phantom from its seed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from app.calcium.candidates import threshold_hu
from app.calcium.labels import ARTERIES
from app.calcium.phantom.acquisition import (
    TISSUE_HU,
    Scanner,
    add_cupping,
    blur,
    draw_scanner,
    noise_level,
    quantise,
)
from app.calcium.phantom.anatomy import Anatomy, draw_anatomy, paint_tissues
from app.calcium.phantom.config import ArteryTruth, Facts, Phantom, PhantomConfig
from app.calcium.phantom.distractors import draw_distractors
from app.calcium.phantom.labelling import draw_regions, label_calcium
from app.calcium.phantom.metal import add_streaks
from app.calcium.phantom.motion import Motion, add_crescents, draw_motion
from app.calcium.phantom.noise import draw_noise
from app.calcium.phantom.plaques import Deposit, draw_class, draw_plaques
from app.calcium.phantom.rasterise import Frame, rasterise_deposits
from app.calcium.score import calcium_scores
from app.imaging.volume import Grid, Identifiers, Volume

INCREMENTS_MM = (1.5, 2.5, 3.0, 4.0, 5.0)
"""Slice increments met in practice."""

_MARGIN_MM = 6.0
"""Least distance of the arteries to the first and last slice, both together."""

_MOST_COVERED_MM = 135.0
_MAX_SEED = 2**63


@dataclass(frozen=True)
class _Calcium:
    """All calcium of a patient: in the coronary arteries, and elsewhere."""

    plaques: tuple[Deposit, ...]
    distractors: tuple[Deposit, ...]


@dataclass(frozen=True)
class _Clean:
    """A noiseless image and the calcium in it, all of shape (Z, Y, X)."""

    hu: NDArray[np.float32]
    calcium_hu: Mapping[str, NDArray[np.float32]]
    extents: Mapping[str, NDArray[np.bool_]]


def make_phantom(config: PhantomConfig | None = None, seed: int = 0) -> Phantom:
    """Make a phantom.

    Args:
        config: What is fixed; by default everything but the size is drawn.
        seed: The same seed and config give the same phantom on every machine.

    Returns:
        Image, label, truth and facts.
    """
    config = config or PhantomConfig()
    streams = np.random.default_rng(seed).spawn(9)
    score_class = config.score_class or draw_class(streams[0])
    anatomy = draw_anatomy(streams[1], metal=config.metal, metal_part=config.metal_part)
    frame = _draw_frame(config, anatomy, streams[2])
    calcium = _draw_calcium(anatomy, score_class, frame, streams[7])
    scanner = draw_scanner(config.kvp, config.noise_sd_hu, streams[3])
    motion = draw_motion(config.motion_mm, streams[4])
    clean = _image(anatomy, calcium, frame, scanner, motion)
    _add_artefacts(clean.hu, anatomy, frame, motion, streams[8])
    noise = draw_noise(frame.shape, frame.pixel_mm, streams[5])
    noisy = clean.hu + noise * (scanner.noise_sd_hu * noise_level(frame))
    hu = quantise(noisy, scanner, frame)
    threshold = threshold_hu(scanner.kvp)
    regions = draw_regions(anatomy.coronaries, frame, float(streams[6].uniform(8.0, 10.0)))
    labels = label_calcium(hu, clean.calcium_hu, clean.extents, threshold)
    return Phantom(
        volume=_volume(hu, frame, scanner.kvp, f"phantom-{seed}"),
        labels=np.where(labels > 0, labels, regions),
        truth=_truth(calcium.plaques, clean, frame, scanner),
        facts=Facts(
            kvp=scanner.kvp,
            noise_sd_hu=scanner.noise_sd_hu,
            motion_mm=motion.path_mm,
            metal=tuple(dict.fromkeys(part.name for part in anatomy.metal)),
            increment_mm=frame.increment_mm,
            thickness_mm=frame.thickness_mm,
            pixel_mm=frame.pixel_mm,
            score_class=score_class,
            left_dominant=anatomy.coronaries.left_dominant,
        ),
    )


def phantom_patient(seed: int, index: int, size: tuple[int, int, int] = (128, 128, 24)) -> Phantom:
    """Make one patient of a pool.

    Args:
        seed: Seed of the pool.
        index: Number of the patient in the pool, from 0.
        size: Voxels along (X, Y, Z), as the command line names them.

    Returns:
        The same phantom for the same arguments, whatever the size of the pool.
    """
    mixed = np.random.SeedSequence((seed, index)).generate_state(1, np.uint64)[0]
    config = PhantomConfig(shape=(size[2], size[1], size[0]))
    phantom = make_phantom(config, int(mixed) % _MAX_SEED)
    identifiers = replace(phantom.volume.identifiers, patient_id=f"phantom-{seed}-{index:04d}")
    return replace(phantom, volume=replace(phantom.volume, identifiers=identifiers))


def _draw_frame(config: PhantomConfig, anatomy: Anatomy, rng: np.random.Generator) -> Frame:
    """Draw slices and field of view around the coronary arteries."""
    depth, height, width = config.shape
    heights = np.concatenate([tube.points[:, 2] for tube in anatomy.coronaries.trunks.values()])
    fov = float(rng.uniform(180.0, 225.0)) if config.fov_mm is None else config.fov_mm
    increment = _draw_increment(depth, float(np.ptp(heights)), rng)
    if config.increment_mm is not None:
        increment = config.increment_mm
    thickness = 3.0 if increment < 3.0 else increment
    middle = anatomy.heart.centre + rng.normal(0.0, [3.0, 3.0, 0.0])
    pixel = fov / max(height, width)
    top = (float(heights.min()) + float(heights.max())) / 2.0 + config.shift_z_mm
    return Frame(
        x=middle[0] + (np.arange(width) - (width - 1) / 2.0) * pixel,
        y=middle[1] + (np.arange(height) - (height - 1) / 2.0) * pixel,
        z=np.asarray(top + (np.arange(depth) - (depth - 1) / 2.0) * increment, dtype=np.float64),
        thickness_mm=thickness,
        increment_mm=increment,
    )


def _draw_increment(depth: int, extent_mm: float, rng: np.random.Generator) -> float:
    """Draw an increment with which ``depth`` slices cover the arteries and not much more."""
    fitting = [
        step for step in INCREMENTS_MM if extent_mm + _MARGIN_MM <= depth * step <= _MOST_COVERED_MM
    ]
    # Odd depths have no customary increment that fits: spread the slices evenly.
    return float(rng.choice(fitting)) if fitting else (extent_mm + 4 * _MARGIN_MM) / depth


def _draw_calcium(
    anatomy: Anatomy, score_class: str, frame: Frame, rng: np.random.Generator
) -> _Calcium:
    """Draw plaques of a class, and calcium that is not coronary."""
    own, other = rng.spawn(2)
    sampling = frame.sampling
    return _Calcium(
        draw_plaques(anatomy.coronaries, score_class, sampling, own),
        draw_distractors(anatomy.heart, anatomy.thorax, anatomy.coronaries, sampling.growth, other),
    )


def _image(
    anatomy: Anatomy, calcium: _Calcium, frame: Frame, scanner: Scanner, motion: Motion
) -> _Clean:
    """Make the noiseless image of a anatomy."""
    hu = paint_tissues(anatomy, frame, motion)
    calcium_hu, extents = {}, {}
    by_artery = {
        artery: [plaque for plaque in calcium.plaques if plaque.artery == artery]
        for artery in ("", *ARTERIES)
    }
    by_artery[""] = list(calcium.distractors)
    for artery, deposits in by_artery.items():
        if not deposits:
            continue
        drawn = rasterise_deposits(deposits, frame, motion.offsets(artery))
        hu += np.minimum(drawn.covered, 1.0) * (np.float32(TISSUE_HU) - hu)
        added = drawn.density_mg_cm3 * np.float32(scanner.calcium_hu_per_mg_cm3)
        hu += added
        if artery:
            calcium_hu[artery] = blur(added, scanner, frame.pixel_mm)
            extents[artery] = drawn.covered > 0.0
    hu = blur(hu, scanner, frame.pixel_mm)
    add_cupping(hu, scanner, frame)
    return _Clean(hu, calcium_hu, extents)


def _add_artefacts(
    hu: NDArray[np.float32],
    anatomy: Anatomy,
    frame: Frame,
    motion: Motion,
    rng: np.random.Generator,
) -> None:
    """Add what movement and metal leave in the slices, in place."""
    add_crescents(hu, anatomy.coronaries.trunks, motion, frame, rng)
    add_streaks(hu, anatomy.metal, frame, rng)


def _truth(
    plaques: tuple[Deposit, ...], clean: _Clean, frame: Frame, scanner: Scanner
) -> dict[str, ArteryTruth]:
    """Sum up the calcium by artery, and score the noiseless slices."""
    threshold = threshold_hu(scanner.kvp)
    labels = label_calcium(clean.hu, clean.calcium_hu, clean.extents, threshold)
    scores = calcium_scores(
        np.rint(clean.hu).astype(np.int16),
        labels,
        spacing_mm=(frame.increment_mm, frame.pixel_mm, frame.pixel_mm),
        kvp=scanner.kvp,
    )
    truth = {}
    for artery in ARTERIES:
        own = [plaque for plaque in plaques if plaque.artery == artery]
        truth[artery] = ArteryTruth(
            mass_mg=float(sum(plaque.mass_mg for plaque in own)),
            volume_mm3=float(sum(plaque.body.volume_mm3 for plaque in own)),
            plaques=len(own),
            agatston=float(scores.arteries[artery].agatston),
        )
    return truth


def _volume(hu: NDArray[np.int16], frame: Frame, kvp: float, name: str) -> Volume:
    """Put the voxels where they lie in the anatomy."""
    affine = np.diag([frame.pixel_mm, frame.pixel_mm, frame.increment_mm, 1.0])
    affine[:3, 3] = frame.x[0], frame.y[0], frame.z[0]
    grid = Grid(frame.shape, affine)
    return Volume(hu, grid, kvp, Identifiers(patient_id=name, modality="CT"))
