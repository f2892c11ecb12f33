"""What a DICOMweb server answers: values of its JSON, its refusals, what it did not store."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final
from xml.etree.ElementTree import ParseError

import requests
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring
from pydicom.datadict import tag_for_keyword

from app.errors import PacsDownError, PacsError, PacsRefusedError

_PASSING: Final = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
"""Refusals below 500 that a later request may not meet."""

_HINTS: Final[Mapping[int, str]] = {
    HTTPStatus.UNAUTHORIZED: "; check pacs_user and pacs_password, or pacs_token",
    HTTPStatus.FORBIDDEN: "; the account may not do this",
    HTTPStatus.NOT_FOUND: "; the address must be the DICOMweb root, or the series is gone",
}
"""What to look at first."""

_REASONS: Final[Mapping[int, str]] = {
    0x0110: "processing failure",
    0x0111: "duplicate instance",
    0x0117: "invalid instance UID",
    0x0122: "kind of object not supported",
    0x0124: "not authorized",
    0x0131: "wrong patient",
    0x0132: "object cannot be stored",
    0x0133: "patient removed",
    0xA700: "out of resources",
    0xA900: "does not match its kind of object",
    0xC000: "cannot be understood",
}
"""Failure reasons of PS3.18 table I.2-2 and PS3.7 annex C."""

_Dataset = Mapping[str, Any]
"""A data set of DICOM JSON."""


def value_of(item: _Dataset, keyword: str) -> str:
    """Return the first value of an element of DICOM JSON as text, empty where there is none."""
    values = _values(item, keyword)
    return str(values[0]) if values and values[0] is not None else ""


def error_of_answer(answer: requests.Response) -> PacsError:
    """Return the error for a status of 400 or more."""
    status = answer.status_code
    sentence = f"the DICOMweb server answered {status}{_HINTS.get(status, '')}"
    is_passing = status in _PASSING or status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return PacsDownError(sentence) if is_passing else PacsRefusedError(sentence)


def problem_of_store(answer: requests.Response, sop_uids: Sequence[str]) -> str | None:
    """Say what a server did not store, by the body of its answer: the status may well be 200.

    Args:
        answer: Answer with a status below 400.
        sop_uids: SOPInstanceUIDs of what was sent.

    Returns:
        One sentence, or None when everything was stored.
    """
    reasons, stored = _outcome(answer)
    if reasons is None:
        if answer.status_code == HTTPStatus.OK:
            return None
        return f"the DICOMweb server answered {answer.status_code} and not what it stored"
    count = len(sop_uids)
    # Some list failures only; then what is not listed was stored.
    left_out = len(set(sop_uids) - stored) if stored else len(reasons)
    if not reasons and not left_out:
        return None
    said = ", ".join(sorted({_reason(code) for code in reasons})) or "no reason given"
    failed = max(len(reasons), left_out)
    return f"the DICOMweb server did not store {failed} of {count} objects: {said}"


def _outcome(answer: requests.Response) -> tuple[list[int] | None, set[str]]:
    """Return the reasons of failures and what was stored; None where nothing is said."""
    try:
        if "xml" in answer.headers.get("Content-Type", ""):
            item = _of_xml(answer.content)
        else:
            item = answer.json()
        if isinstance(item, list):
            item = item[0]
        failed = _values(item, "FailedSOPSequence")
        reasons = [int(value_of(one, "FailureReason") or 0) for one in failed]
        stored = {
            value_of(one, "ReferencedSOPInstanceUID")
            for one in _values(item, "ReferencedSOPSequence")
        }
    except (ValueError, LookupError, TypeError, AttributeError, ParseError, DefusedXmlException):
        return None, set()
    return reasons, stored


def _of_xml(content: bytes) -> dict[str, Any]:
    """Turn a data set of the native DICOM model into the shape of DICOM JSON."""
    return _elements(fromstring(content))


def _elements(parent: Any) -> dict[str, Any]:  # xml.etree types nothing of defusedxml
    found = {}
    for attribute in parent:
        if not attribute.tag.endswith("DicomAttribute"):
            continue
        values: list[Any] = []
        for child in attribute:
            is_item = child.tag.endswith("Item")
            values.append(_elements(child) if is_item else child.text)
        found[attribute.attrib["tag"].upper()] = {"Value": values}
    return found


def _values(item: _Dataset, keyword: str) -> Sequence[Any]:
    element = item.get(f"{tag_for_keyword(keyword):08X}", {})
    values = element.get("Value", [])
    return values if isinstance(values, list) else []


def _reason(code: int) -> str:
    # The last bytes of the A and C codes are the server's own.
    known = _REASONS.get(code) or _REASONS.get(code & 0xFF00) or _REASONS.get(code & 0xF000)
    return f"{known or 'failure'} ({code:04X})"
