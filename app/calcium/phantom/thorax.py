"""Everything around the heart: chest wall, lungs, bones, great vessels of the back, liver."""

from dataclasses import dataclass

import numpy as np

from app.calcium.phantom.geometry import (
    Ellipsoid,
    Floats,
    Plane,
    Tube,
    bend_tube,
    box_ellipsoid,
    coverage,
    smooth_union,
)
from app.calcium.phantom.painting import Canvas

AIR_HU = -1000.0
FAT_HU = -96.0
MUSCLE_HU = 52.0
BLOOD_HU = 42.0
LIVER_HU = 58.0
LUNG_HU = -850.0
RIM_HU = 620.0
"""Cortical bone before blur; thin against a pixel, so that images show 300 to 600 HU."""
MARROW_HU = 170.0
DISC_HU = 75.0
CARTILAGE_HU = 95.0
CANAL_HU = 25.0

_WALL = (136.0, 84.0)
"""Half width and half depth of the inside of the chest, in mm."""
_MUSCLE_MM = 17.0
_VERTEBRA_MM = 28.0
"""Height of a vertebra with its disc, and distance of the ribs."""
_DISC_MM = 6.0
_RIB_DROP_MM = 72.0
_VESSEL_STEP_MM = 1.8
_CARTILAGE_FROM = -0.8
"""Ribs turn to cartilage in front of this sine of the angle around the chest."""


@dataclass(frozen=True)
class Thorax:
    """Chest of one patient, in the coordinates of the patient.

    Attributes:
        scale: Size against the standard chest.
        skin_fat_mm: Thickness of the fat under the skin.
        bone_shift_mm: Height of the vertebrae and ribs against the slices.
        rim_hu: Attenuation of cortical bone.
        lung_hu: Attenuation of the lungs at half depth.
        lung_vessels: Branches of the pulmonary vessels.
        aorta: Descending aorta.
        oesophagus: Oesophagus.
        domes: Organs below the diaphragm with their HU.
        pads: Fat around the heart that belongs to the mediastinum.
    """

    scale: float
    skin_fat_mm: float
    bone_shift_mm: float
    rim_hu: float
    lung_hu: float
    lung_vessels: tuple[Tube, ...]
    aorta: Tube
    oesophagus: Tube
    domes: tuple[tuple[Ellipsoid, float], ...]
    pads: tuple[Ellipsoid, ...]

    @property
    def sternum_y_mm(self) -> float:
        """Middle of the sternum towards the front."""
        return -self.scale * _WALL[1] - 9.0

    def paint_wall(self, canvas: Canvas) -> None:
        """Paint body, muscle and lungs."""
        inner = self._wall_distance(canvas.plane)
        canvas.paint(inner - _MUSCLE_MM - self.skin_fat_mm, FAT_HU, ripple_mm=2.0)
        canvas.paint(inner - _MUSCLE_MM, MUSCLE_HU, ripple_mm=2.5)
        # Fat parts the muscles between the ribs from those over them.
        canvas.paint(np.abs(inner - 13.0 + 1.5 * canvas.ripple) - 0.8, FAT_HU)
        depth = canvas.plane.y[:, None] / (self.scale * _WALL[1])
        # Blood sinks to the back of a lying patient.
        canvas.paint(inner, self.lung_hu + 45.0 * depth, ripple_mm=1.5)
        vessels = np.zeros_like(canvas.hu)
        for tube in self.lung_vessels:
            tube.cover(canvas.plane, vessels)
        canvas.blend(vessels * coverage(inner + 3.0, canvas.plane.pixel_mm), BLOOD_HU)

    def paint_organs(self, canvas: Canvas) -> None:
        """Paint what lies below the diaphragm."""
        for organ, hu in self.domes:
            canvas.paint_ellipsoid(organ, hu, ripple_mm=2.0)

    def mediastinum_distance(self, plane: Plane, sac: Floats) -> Floats:
        """Join the heart sac and the fat around it to one signed distance."""
        joined: Floats = sac - 3.0
        for pad in self.pads:
            joined = smooth_union(joined, pad.on_plane(plane), 14.0)
        return joined

    def paint_bones(self, canvas: Canvas) -> None:
        """Paint ribs, sternum and spine."""
        self._paint_ribs(canvas)
        self._paint_sternum(canvas)
        self._paint_spine(canvas)

    def paint_back_vessels(self, canvas: Canvas) -> None:
        """Paint the descending aorta and the oesophagus."""
        canvas.paint_tube(self.aorta, BLOOD_HU)
        canvas.paint_tube(self.oesophagus, 34.0)

    def _wall_distance(self, plane: Plane) -> Floats:
        """Return the signed distance to the inside of the chest wall."""
        half_width, half_depth = self.scale * _WALL[0], self.scale * _WALL[1]
        across = (plane.x / half_width)[None, :]
        deep = (plane.y / half_depth)[:, None]
        round_ = np.sqrt(across**2 + deep**2)
        square = np.sqrt(np.sqrt(across**4 + deep**4))
        distance: Floats = (0.6 * round_ + 0.4 * square - 1.0) * half_depth
        return distance

    def _paint_ribs(self, canvas: Canvas) -> None:
        """Paint slanting ribs, in front as cartilage."""
        plane = canvas.plane
        middle = 0.5 * _MUSCLE_MM - 1.5
        across = (plane.x / (self.scale * _WALL[0] + middle))[None, :]
        deep = (plane.y / (self.scale * _WALL[1] + middle))[:, None]
        sine = deep / np.sqrt(across**2 + deep**2 + 1e-6)
        height = plane.z + self.bone_shift_mm + _RIB_DROP_MM * (1.0 - sine) / 2.0
        vertical = np.mod(height, _VERTEBRA_MM) - _VERTEBRA_MM / 2.0
        radial = self._wall_distance(plane) - middle
        rib = (np.sqrt((vertical / 7.0) ** 2 + (radial / 4.5) ** 2) - 1.0) * 4.5
        bony = sine > _CARTILAGE_FROM
        canvas.paint(np.where(bony, rib, 99.0), self.rim_hu)
        canvas.paint(np.where(bony, rib + 1.6, 99.0), MARROW_HU)
        canvas.paint(np.where(bony | (np.abs(across) < 0.12), 99.0, rib - 1.0), CARTILAGE_HU)

    def _paint_sternum(self, canvas: Canvas) -> None:
        """Paint the sternum as a flat rounded box."""
        plane = canvas.plane
        across = np.maximum(np.abs(plane.x)[None, :] - 14.0, 0.0)
        deep = np.maximum(np.abs(plane.y - self.sternum_y_mm)[:, None] - 2.0, 0.0)
        bone = np.sqrt(across**2 + deep**2) - 4.5
        canvas.paint(bone, self.rim_hu * 0.8, ripple_mm=0.8)
        canvas.paint(bone + 1.3, MARROW_HU * 0.7, ripple_mm=0.9)

    def _paint_spine(self, canvas: Canvas) -> None:
        """Paint a vertebra or disc, and the canal behind it."""
        z, back = canvas.plane.z, self.scale * _WALL[1] - 27.0
        body = box_ellipsoid((0.0, back, z), (21.0, 16.0, 30.0))
        canvas.paint_ellipsoid(body, 20.0, inset_mm=-5.0)
        for side in (-1.0, 1.0):
            muscle = box_ellipsoid((side * 27.0, back + 37.0, z), (23.0, 18.0, 40.0))
            canvas.paint_ellipsoid(muscle, MUSCLE_HU, ripple_mm=1.5)
        canal = box_ellipsoid((0.0, back + 25.0, z), (9.0, 8.5, 30.0))
        if np.mod(z + self.bone_shift_mm, _VERTEBRA_MM) < _DISC_MM:
            canvas.paint_ellipsoid(body, DISC_HU)
        else:
            canvas.paint_ellipsoid(canal, self.rim_hu * 0.7, inset_mm=-4.5)
            for side in (-1.0, 1.0):
                process = box_ellipsoid((side * 22.0, back + 24.0, z), (16.0, 5.0, 30.0))
                canvas.paint_ellipsoid(process, self.rim_hu * 0.55)
            canvas.paint_ellipsoid(body, self.rim_hu, ripple_mm=0.8)
            canvas.paint_ellipsoid(body, MARROW_HU, inset_mm=1.8, ripple_mm=0.9)
        canvas.paint_ellipsoid(canal, CANAL_HU)


def draw_thorax(rng: np.random.Generator) -> Thorax:
    """Draw the chest of a patient."""
    scale = float(rng.uniform(0.94, 1.08))
    sway = rng.normal(0.0, 3.0, (3, 2))
    back = scale * _WALL[1]
    aorta = [(25 + sway[k, 0], back - 50 + sway[k, 1], z) for k, z in enumerate((-90, 0, 100))]
    gullet = [(8 + sway[k, 0], back - 52, z) for k, z in enumerate((-90, 0, 100))]
    return Thorax(
        scale=scale,
        skin_fat_mm=float(rng.uniform(6.0, 26.0)),
        bone_shift_mm=float(rng.uniform(0.0, _VERTEBRA_MM)),
        rim_hu=RIM_HU * float(rng.uniform(0.75, 1.35)),
        lung_hu=LUNG_HU + float(rng.normal(0.0, 20.0)),
        lung_vessels=tuple(_draw_lung_vessel(rng) for _ in range(90)),
        aorta=bend_tube(np.array(aorta), (float(rng.uniform(11.0, 14.5)), 13.0), step_mm=2.0),
        oesophagus=bend_tube(np.array(gullet), (7.0, 7.0), step_mm=2.0),
        domes=_draw_domes(rng),
        pads=_draw_pads(back, rng),
    )


def _draw_lung_vessel(rng: np.random.Generator) -> Tube:
    """Draw a vessel from a hilum into the lung."""
    side = 1.0 if rng.random() < 0.5 else -1.0
    start = np.array([8.0 + side * 48.0, 12.0, 24.0]) + rng.normal(0.0, 5.0, 3)
    way = rng.normal(0.0, 1.0, 3) * np.array([0.6, 1.0, 1.1]) + np.array([side * 0.8, 0.0, -0.2])
    way = way / np.linalg.norm(way)
    bow = np.cross(way, rng.normal(0.0, 0.25, 3))
    length = rng.uniform(35.0, 100.0)
    count = int(length / _VESSEL_STEP_MM) + 2
    at = np.linspace(0.0, 1.0, count)[:, None]
    points: Floats = start + length * (at * way + at * (1.0 - at) * bow)
    return Tube(points, np.linspace(rng.uniform(1.6, 4.2), 0.9, count), _VESSEL_STEP_MM)


def _draw_domes(rng: np.random.Generator) -> tuple[tuple[Ellipsoid, float], ...]:
    """Draw liver, and spleen with stomach, under the diaphragm."""
    rise = rng.normal(0.0, 7.0)
    return (
        (box_ellipsoid((-62.0, 2.0, -84.0 + rise), (82.0, 80.0, 50.0)), LIVER_HU),
        (box_ellipsoid((78.0, 14.0, -98.0 + rise), (62.0, 66.0, 48.0)), 46.0),
    )


def _draw_pads(back_mm: float, rng: np.random.Generator) -> tuple[Ellipsoid, ...]:
    """Draw the fat of the mediastinum and the pads beside the heart."""
    wide = rng.uniform(0.85, 1.2)
    return (
        box_ellipsoid((2.0, -6.0, 66.0), (46.0, 58.0, 72.0)),
        box_ellipsoid((10.0, back_mm - 46.0, 0.0), (24.0, 22.0, 500.0)),
        box_ellipsoid((6.0, -0.9 * back_mm, 0.0), (15.0 * wide, 26.0, 400.0)),
        box_ellipsoid((58.0, -50.0, -50.0), (28.0 * wide, 24.0 * wide, 32.0)),
        box_ellipsoid((-30.0, -52.0, -48.0), (26.0 * wide, 24.0 * wide, 34.0)),
    )
