"""Calcium scores as a DICOM structured report, template TID 1500, and back."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import pydicom
from highdicom import sr
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from app.calcium.labels import ARTERIES
from app.calcium.score import ArteryScore, CalciumScores
from app.errors import ImagingError
from app.imaging.dicom.derivation import (
    ARTERY_CODES,
    CALCIFICATION,
    CORONARY_ARTERY,
    MANUFACTURER,
    Derivation,
    coded,
    equipment,
    read_sources,
    to_bytes,
    tolerating_sources,
)
from app.imaging.dicom.header import quiet_pydicom
from app.imaging.dicom.uids import derived_uid
from app.imaging.parsing import PARSER_ERRORS

_SERIES_NUMBER: Final = 9002
"""Series number, the one after the segmentation's."""

_TOTAL: Final = "total"
"""Name of the measurements of all arteries together."""

_PROCEDURE: Final = Code("426005005", "SCT", "Cardiac CT for calcium scoring")
_NO_UNITS: Final = Code("1", "UCUM", "no units")
_THRESHOLD: Final = Code("122657", "DCM", "Agatston Score Threshold")
_HOUNSFIELD_UNIT: Final = Code("[hnsf'U]", "UCUM", "Hounsfield unit")


@dataclass(frozen=True)
class _Quantity:
    """One number of each artery: what it is, in which unit, by which method."""

    attribute: str
    name: Code
    unit: Code
    method: Code | None


_QUANTITIES: Final = (
    _Quantity(
        "agatston",
        Code("450360000", "SCT", "Coronary artery calcium score"),
        _NO_UNITS,
        Code("112055", "DCM", "Agatston scoring method"),
    ),
    _Quantity(
        "volume_mm3",
        Code("122660", "DCM", "Calcium Volume"),
        Code("mm3", "UCUM", "cubic millimeter"),
        Code("112056", "DCM", "Volume scoring method"),
    ),
    _Quantity(
        "mass_mg",
        Code("122661", "DCM", "Calcium Mass"),
        Code("mg", "UCUM", "milligram"),
        Code("112057", "DCM", "Mass scoring method"),
    ),
    _Quantity("lesions", Code("111038", "DCM", "Number of calcifications"), _NO_UNITS, None),
)
"""What is reported of each artery, and of all of them."""

_GROUP: Final = "125007"
"""Code of a measurement group."""

_FINDING_SITE: Final = "363698007"
"""Code of the site of a finding."""


def write_report(
    series_files: Sequence[Path],
    scores: CalciumScores,
    derivation: Derivation,
    *,
    segmentation: bytes | None,
    numbers: Mapping[str, int] | None = None,
) -> bytes:
    """Write the scores of a label as a Comprehensive 3D SR with an Imaging Measurement Report.

    Each artery with a segment is a volumetric ROI that refers to it; the other ones and the
    total are measurement groups without one. No calcium is a report of zeros. Written twice
    it is the same file, and it names nobody but the patient of the series.

    Args:
        series_files: Files of the series, in any order.
        scores: Scores of the label.
        derivation: How the label came about.
        segmentation: The label as a DICOM segmentation; None when there is none, as when it
            is empty. One of another study is not referred to.
        numbers: Number of the segment of each artery; None where the segments have the names
            of the labels, as ``write_segmentation`` gives them.

    Raises:
        ImagingError: If the series cannot be read, or its headers contradict each other.
    """
    sources = read_sources(series_files)
    with quiet_pydicom(), tolerating_sources():
        try:
            segments = _evidence(segmentation, sources)
            if numbers is None:
                numbers = _segment_numbers(segments)
            content = _content(scores, derivation, _Segments(sources, segments, numbers))
            made = sr.Comprehensive3DSR(
                evidence=[*sources, *([] if segments is None else [segments])],
                content=content[0],
                series_instance_uid=derivation.uid("report series"),
                series_number=_SERIES_NUMBER,
                sop_instance_uid=derivation.report_uid,
                instance_number=1,
                is_complete=True,
                is_final=True,
                series_description="Coronary calcium scores",
                performed_procedure_codes=[_PROCEDURE],
                **equipment(),
            )
            return to_bytes(made, derivation.made_at)
        except PARSER_ERRORS as error:
            raise ImagingError("the headers of the series allow no report of it") from error


def _evidence(
    segmentation: bytes | None, sources: Sequence[pydicom.Dataset]
) -> pydicom.Dataset | None:
    found = None if segmentation is None else pydicom.dcmread(BytesIO(segmentation))
    is_of_study = found is not None and found.StudyInstanceUID == sources[0].StudyInstanceUID
    return found if is_of_study else None


@dataclass(frozen=True)
class _Segments:
    """Where the calcium of the arteries is drawn: the series, and segments by artery."""

    sources: Sequence[pydicom.Dataset]
    segmentation: pydicom.Dataset | None
    numbers: Mapping[str, int]

    def of(self, name: str) -> Any:
        """Return the reference to the segment of an artery, or None."""
        if self.segmentation is None or name not in self.numbers:
            return None
        # Not from_segmentation: highdicom 0.28.2 cannot read its own segmentations of one segment.
        return sr.ReferencedSegment(
            sop_class_uid=self.segmentation.SOPClassUID,
            sop_instance_uid=self.segmentation.SOPInstanceUID,
            segment_number=self.numbers[name],
            source_series=sr.SourceSeriesForSegmentation(self.sources[0].SeriesInstanceUID),
        )


def _content(
    scores: CalciumScores, derivation: Derivation, segments: _Segments
) -> sr.MeasurementReport:
    groups = [_artery_group(name, scores, derivation, segments) for name in ARTERIES]
    observer = sr.ObserverContext(
        codes.DCM.Device,
        sr.DeviceObserverIdentifyingAttributes(
            uid=str(derived_uid(MANUFACTURER)), name=MANUFACTURER
        ),
    )
    return sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer),
        procedure_reported=_PROCEDURE,
        imaging_measurements=[*groups, _total_group(scores, derivation)],
        title=codes.DCM.ImagingMeasurementReport,
    )


def _segment_numbers(segments: pydicom.Dataset | None) -> dict[str, int]:
    items = () if segments is None else segments.SegmentSequence
    return {str(item.SegmentLabel): int(item.SegmentNumber) for item in items}


def _artery_group(
    name: str,
    scores: CalciumScores,
    derivation: Derivation,
    segments: _Segments,
) -> Any:
    shared = {
        "tracking_identifier": sr.TrackingIdentifier(derivation.tracking_uid(name), name),
        "finding_type": CALCIFICATION,
        "finding_sites": [sr.FindingSite(ARTERY_CODES[name])],
        "algorithm_id": _algorithm(scores),
        "measurements": _measurements(scores.arteries[name]),
    }
    referenced = segments.of(name)
    if referenced is None:
        return sr.MeasurementsAndQualitativeEvaluations(**shared)
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        referenced_segment=referenced, **shared
    )


def _total_group(scores: CalciumScores, derivation: Derivation) -> Any:
    threshold = sr.Measurement(_THRESHOLD, scores.threshold_hu, _HOUNSFIELD_UNIT)
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(derivation.tracking_uid(_TOTAL), _TOTAL),
        finding_type=CALCIFICATION,
        finding_sites=[sr.FindingSite(CORONARY_ARTERY)],
        algorithm_id=_algorithm(scores),
        measurements=[*_measurements(scores.total), threshold],
    )


def _algorithm(scores: CalciumScores) -> Any:
    return sr.AlgorithmIdentification(
        name=MANUFACTURER, version=version("caclabel"), parameters=[f"rule={scores.rule}"]
    )


def _measurements(score: ArteryScore) -> list[Any]:
    values = score.to_json()
    return [
        sr.Measurement(
            quantity.name, values[quantity.attribute], quantity.unit, method=quantity.method
        )
        for quantity in _QUANTITIES
    ]


@dataclass(frozen=True)
class CalciumReport:
    """What a report of ``write_report`` says.

    Attributes:
        sop_uid: SOPInstanceUID.
        total: Scores of all arteries.
        arteries: Scores by artery.
        segments: Segment that a group refers to, by artery: SOPInstanceUID and number.
    """

    sop_uid: str
    total: ArteryScore
    arteries: Mapping[str, ArteryScore]
    segments: Mapping[str, tuple[str, int]]


def read_report(content: bytes) -> CalciumReport:
    """Read the scores of a structured report.

    Raises:
        ImagingError: If it is no report with scores of every artery and of all.
    """
    with quiet_pydicom():
        try:
            return _read(pydicom.dcmread(BytesIO(content)))
        except PARSER_ERRORS as error:
            raise ImagingError("the report lacks scores of the coronary arteries") from error


def _read(dataset: pydicom.Dataset) -> CalciumReport:
    groups = {_site(group): group for group in _groups(dataset)}
    sites = {name: groups[code.value] for name, code in ARTERY_CODES.items()}
    referenced = {name: _referenced(group) for name, group in sites.items()}
    return CalciumReport(
        sop_uid=str(dataset.SOPInstanceUID),
        total=_score(groups[CORONARY_ARTERY.value]),
        arteries={name: _score(group) for name, group in sites.items()},
        segments={name: found for name, found in referenced.items() if found},
    )


def _groups(item: pydicom.Dataset) -> Iterator[pydicom.Dataset]:
    for child in item.get("ContentSequence", ()):
        if _concept(child) == _GROUP:
            yield child
        yield from _groups(child)


def _concept(item: pydicom.Dataset) -> str:
    found = coded(item.get("ConceptNameCodeSequence"))
    return found[0].value if found else ""


def _site(group: pydicom.Dataset) -> str:
    sites = [
        str(item.ConceptCodeSequence[0].CodeValue)
        for item in group.ContentSequence
        if _concept(item) == _FINDING_SITE
    ]
    return sites[0] if sites else ""


def _score(group: pydicom.Dataset) -> ArteryScore:
    values = {
        _concept(item): _number(item.MeasuredValueSequence[0])
        for item in group.ContentSequence
        if item.ValueType == "NUM"
    }
    agatston, volume, mass, lesions = (values[quantity.name.value] for quantity in _QUANTITIES)
    return ArteryScore(agatston, volume, mass, int(lesions))


def _number(value: pydicom.Dataset) -> float:
    # The decimal string has 16 characters at most; the double beside it is exact.
    return float(value.get("FloatingPointValue", value.NumericValue))


def _referenced(group: pydicom.Dataset) -> tuple[str, int] | None:
    for item in group.ContentSequence:
        for reference in item.get("ReferencedSOPSequence", ()):
            if "ReferencedSegmentNumber" in reference:
                number = int(reference.ReferencedSegmentNumber)
                return str(reference.ReferencedSOPInstanceUID), number
    return None
