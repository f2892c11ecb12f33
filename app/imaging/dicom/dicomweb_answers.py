"""What a DICOMweb server answers: its UIDs and values, its refusals, what it did not store."""

import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Final
from xml.etree.ElementTree import ParseError

import requests
import urllib3
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring
from pydicom.datadict import tag_for_keyword

from app.errors import PacsDownError, PacsError, PacsRefusedError
from app.imaging.parsing import PARSER_ERRORS

_UID: Final = re.compile(r"[0-9]+(\.[0-9]+)*")
"""A UID; zeros before a component are out of the standard, frequent, and harmless."""

_UID_LENGTH: Final = 64
"""Longest UID that DICOM allows."""

_PASSING: Final = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
"""Refusals below 500 that a later request may not meet."""

AWAY: Final = (
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
)
"""What is answered for a server that is away; other errors are the server's own."""

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


def check_uid(uid: str) -> str:
    """Return a UID unchanged.

    Raises:
        PacsRefusedError: If it is none, so that it can never be part of a path.
    """
    if not is_uid(uid):
        raise PacsRefusedError("the DICOMweb server named something that is no DICOM UID")
    return uid


def is_uid(uid: str) -> bool:
    """Tell whether something is a UID."""
    return len(uid) <= _UID_LENGTH and _UID.fullmatch(uid) is not None


def value_of(item: _Dataset, keyword: str) -> str:
    """Return the first value of an element of DICOM JSON as text, empty where there is none."""
    values = _values(item, keyword)
    return str(values[0]) if values and values[0] is not None else ""


@contextmanager
def answering(on_silence: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Turn whatever asking a server can raise into one of two errors.

    Args:
        on_silence: Called when it does not answer in time.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except requests.HTTPError as error:
        raise error_of_answer(error.response) from None
    except requests.exceptions.InvalidJSONError:
        raise PacsRefusedError("the DICOMweb server answered something else than JSON") from None
    except requests.exceptions.SSLError:
        raise PacsDownError("the certificate of the DICOMweb server is not trusted") from None
    except requests.Timeout:
        on_silence()
        raise PacsDownError("the DICOMweb server did not answer in time") from None
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        if _is_stall(error):
            on_silence()
            raise PacsDownError("the DICOMweb server stopped in the middle of an answer") from None
        raise PacsDownError("the DICOMweb server cannot be reached") from None
    except PARSER_ERRORS:
        raise PacsRefusedError("the DICOMweb server answered what cannot be read") from None


def _is_stall(error: Exception) -> bool:
    """Tell whether the body of an answer did not go on; requests calls that a lost connection."""
    causes = (error, *error.args)
    return any(isinstance(cause, urllib3.exceptions.ReadTimeoutError) for cause in causes)


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
            said = answer.json()
            item = said[0] if isinstance(said, list) else said
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
