"""A DICOMweb server: searching (QIDO-RS), retrieving (WADO-RS) and storing (STOW-RS).

Nothing it sends is trusted: UIDs are checked before they become part of a path or of an
address, and a series counts as retrieved only when every instance that it lists has come.

Concurrency: an object belongs to one thread; making one costs nothing.
"""

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import pydicom
import requests
from dicomweb_client import DICOMwebClient
from pydicom.datadict import tag_for_keyword

from app.errors import PacsDownError, PacsRefusedError, SettingsError
from app.imaging.dicom.answer_body import AnswerBody, watch_end
from app.imaging.dicom.credentials import Credentials
from app.imaging.dicom.dicomweb_answers import (
    AWAY,
    answering,
    check_uid,
    is_uid,
    problem_of_store,
    value_of,
)
from app.imaging.dicom.json_model import identify
from app.imaging.dicom.line import line_to
from app.settings import Settings

_PAGE: Final = 200
"""Results asked for at once."""

_RETRIEVE_CHUNK_BYTES: Final = 1_000_000
"""Bytes of an answer that are read at once."""

_CONNECT_S: Final = 5.0
"""Longest wait for a connection: a server that is up accepts one at once."""

_BOUNDARY_BYTES: Final = 16
"""Random bytes of a boundary: no file holds it by chance."""

_AS_STORED: Final = (("application/dicom", "*"),)
"""Instances as the server keeps them: no loss, and nothing for it to convert."""

_LEVELS: Final = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
"""What names an instance."""

_SERIES_FIELDS: Final = ("Modality", "NumberOfSeriesRelatedInstances")
"""What has to be told of a series beside its UIDs."""

_Item = dict[str, Any]
"""A data set of DICOM JSON."""


@dataclass(frozen=True)
class RemoteSeries:
    """A series that a DICOMweb server has.

    Attributes:
        study_uid: StudyInstanceUID, checked.
        series_uid: SeriesInstanceUID, checked.
        modality: Modality, or empty.
        instances: How many instances it has, None where the server does not tell.
    """

    study_uid: str
    series_uid: str
    modality: str
    instances: int | None


@dataclass(frozen=True)
class RemoteInstance:
    """An instance that a DICOMweb server has; all UIDs are checked."""

    study_uid: str
    series_uid: str
    sop_uid: str


class DicomwebServer:
    """A DICOMweb server, asked as the settings say.

    Every method raises PacsDownError when the server cannot be reached, does not answer in
    time or fails, and PacsRefusedError when it refuses or answers something else than
    DICOMweb. Neither says which patient, series or password the request was about.
    """

    def __init__(
        self,
        url: str,
        user: str = "",
        password: str = "",
        token: str = "",
        *,
        timeout_s: float = 30.0,
        page_size: int = _PAGE,
    ) -> None:
        """Prepare to ask; nothing is sent.

        Args:
            url: DICOMweb root, perhaps with user name and password before the host.
            user: User name; empty: none.
            password: Password of the user.
            token: Bearer token, used instead of user and password.
            timeout_s: Longest wait for an answer, or for the next part of one.
            page_size: Results of a search asked for at once.
        """
        parts = urlsplit(url)
        self.url = public_url(url)
        self._credentials = Credentials(
            user or unquote(parts.username or ""),
            password or unquote(parts.password or ""),
            token,
        )
        self._line = line_to(self.url)
        self._timeouts_s = (min(timeout_s, _CONNECT_S), timeout_s)
        self._page_size = page_size

    def place(self) -> AbstractContextManager[None]:
        """Hold one of the few places of requests that wait for the server; see ``Line``."""
        return self._line.place()

    def check(self) -> None:
        """Raise when the server is away, and not when it only fails at something."""
        with answering():
            answer = requests.get(
                f"{self.url}/studies?limit=1",
                auth=self._credentials,
                headers={"Accept": "application/dicom+json"},
                timeout=self._timeouts_s,
            )
            if answer.status_code in AWAY:
                answer.raise_for_status()
        self._line.note_answer()

    def find_series(self, filters: Mapping[str, str]) -> list[RemoteSeries]:
        """Find all series that match, page by page.

        Args:
            filters: Wanted value by keyword of the attribute.

        Returns:
            Each series once, in the order of the server; those with unusable UIDs are left out.
        """

        def page(client: DICOMwebClient, offset: int) -> list[_Item]:
            items: list[_Item] = client.search_for_series(
                limit=self._page_size,
                offset=offset,
                fields=_SERIES_FIELDS,
                search_filters=dict(filters),
            )
            return items

        found = [_remote_series(item) for item in self._pages(page, "SeriesInstanceUID")]
        # A server may not know a filter and answer with everything.
        modality = filters.get("Modality", "")
        wanted = ("", modality) if modality.isalnum() else None
        return [one for one in found if one and (wanted is None or one.modality in wanted)]

    def find_objects(self, filters: Mapping[str, str]) -> list[RemoteInstance]:
        """Find all instances that match, of whatever study and series; see ``find_series``."""

        def page(client: DICOMwebClient, offset: int) -> list[_Item]:
            items: list[_Item] = client.search_for_instances(
                limit=self._page_size, offset=offset, search_filters=dict(filters)
            )
            return items

        found = [
            RemoteInstance(*(value_of(item, keyword) for keyword in _LEVELS))
            for item in self._pages(page, "SOPInstanceUID")
        ]
        return [
            one for one in found if all(map(is_uid, (one.study_uid, one.series_uid, one.sop_uid)))
        ]

    def find_instances(self, study_uid: str, series_uid: str) -> list[str]:
        """Return the SOPInstanceUIDs of a series."""
        study, series = check_uid(study_uid), check_uid(series_uid)

        def page(client: DICOMwebClient, offset: int) -> list[_Item]:
            items: list[_Item] = client.search_for_instances(
                study, series, limit=self._page_size, offset=offset
            )
            return items

        found = self._pages(page, "SOPInstanceUID")
        return [check_uid(value_of(item, "SOPInstanceUID")) for item in found]

    def retrieve(self, study_uid: str, series_uid: str, folder: Path) -> None:
        """Write every instance of a series into a folder, one file each, named by its UID.

        Args:
            study_uid: StudyInstanceUID.
            series_uid: SeriesInstanceUID.
            folder: Empty folder; holds part of the series when this raises.
        """
        with self.place():
            missing = set(self.find_instances(study_uid, series_uid))
            count = len(missing)
            for sop_uid, content in self._instances(study_uid, series_uid):
                missing.discard(sop_uid)
                # By a number, another retrieval could put another slice under the same name.
                (folder / f"{check_uid(sop_uid)}.dcm").write_bytes(content)
        if missing:
            raise PacsDownError(
                f"the DICOMweb server sent {count - len(missing)} of {count} instances of a series"
            )

    def retrieve_instance(self, study_uid: str, series_uid: str, sop_uid: str) -> bytes:
        """Return one instance as a DICOM file."""
        with self._asking(), self._client() as client:
            instance = client.retrieve_instance(
                check_uid(study_uid), check_uid(series_uid), check_uid(sop_uid), _AS_STORED
            )
            if str(instance.SOPInstanceUID) != sop_uid:
                raise PacsRefusedError("the DICOMweb server sent another instance than asked for")
            return _file_of(instance)

    def open(self, path: str, query: str, headers: Mapping[str, str]) -> requests.Response:
        """Ask as a viewer did, and leave the answer to be read and closed.

        Args:
            path: Checked path below the root.
            query: Query of the request, still encoded; may be empty.
            headers: Headers to send along.

        Returns:
            The answer, whatever its status; a redirect is not followed.
        """
        with self._asking():
            return requests.get(
                f"{self.url}/{path}?{query}".rstrip("?"),
                auth=self._credentials,
                headers={"Accept-Encoding": "identity", **headers},
                timeout=self._timeouts_s,
                stream=True,
                allow_redirects=False,
            )

    def body(self, answer: requests.Response, *, is_decoded: bool = False) -> AnswerBody:
        """Return the body of an answer of ``open``; ``is_decoded``: without compression."""
        patience_s = self._timeouts_s[1]
        return AnswerBody(answer, self._line, patience_s=patience_s, is_decoded=is_decoded)

    def store(self, instances: Sequence[bytes]) -> None:
        """Store DICOM files, byte by byte as they are; storing one again changes nothing.

        Raises:
            ImagingError: If one of them is damaged; nothing was sent.
            PacsDownError: If the server cannot be reached or fails; retry.
            PacsRefusedError: If it did not store every one of them, whatever its status was.
        """
        sop_uids = [identify(content).sop_instance for content in instances]
        boundary = secrets.token_hex(_BOUNDARY_BYTES)
        kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
        with self._asking():
            answer = requests.post(
                f"{self.url}/studies",
                data=_body(instances, boundary),
                headers={"Accept": "application/dicom+json", "Content-Type": kind},
                auth=self._credentials,
                timeout=self._timeouts_s,
                # Followed, a redirect would turn into a search, which always succeeds.
                allow_redirects=False,
            )
            answer.raise_for_status()
            problem = problem_of_store(answer, sop_uids)
        if problem:
            raise PacsRefusedError(problem)

    def _instances(self, study_uid: str, series_uid: str) -> Iterator[tuple[str, bytes]]:
        """Yield SOPInstanceUID and file of each instance of a series as it comes."""
        with self._client() as client:
            with self._asking():
                instances = client.iter_series(
                    check_uid(study_uid), check_uid(series_uid), media_types=_AS_STORED
                )
            while True:
                with self._asking():
                    instance = next(instances, None)
                    if instance is None:
                        return
                    if str(instance.SeriesInstanceUID) != series_uid:
                        raise PacsRefusedError(
                            "the DICOMweb server sent another series than asked for"
                        )
                    sent = str(instance.SOPInstanceUID), _file_of(instance)
                yield sent

    def _pages(
        self, page: Callable[[DICOMwebClient, int], list[_Item]], keyword: str
    ) -> list[_Item]:
        """Return the results of all pages, each once by the UID under ``keyword``.

        A short page need not be the last one, and a server may ignore limit and offset: what
        ends the search is a page without anything new.
        """
        found: dict[str, _Item] = {}
        offset = 0
        with self._client() as client:
            while True:
                with self._asking():
                    items = page(client, offset)
                    fresh = {value_of(item, keyword): item for item in items}
                if fresh.keys() <= found.keys():
                    return list(found.values())
                found |= fresh
                offset += len(items)

    @contextmanager
    def _asking(self) -> Iterator[None]:
        with self.place():
            asked_at = self._line.now()
            with answering(lambda: self._line.note_silence(asked_at)):
                yield
            self._line.note_answer()

    @contextmanager
    def _client(self) -> Iterator[DICOMwebClient]:
        with requests.Session() as session:
            session.auth = self._credentials
            session.hooks["response"] = [watch_end]
            session.headers["Accept"] = "application/dicom+json"
            client = DICOMwebClient(
                self.url,
                session,
                chunk_size=_RETRIEVE_CHUNK_BYTES,
                timeout=self._timeouts_s,
                permissive_uid=True,
            )
            # Whoever asks decides when to ask again; the pauses of the client take minutes.
            client.set_http_retry_params(retry=False)
            yield client


def dicomweb_server(settings: Settings) -> DicomwebServer:
    """Return the DICOMweb server of the settings.

    Raises:
        SettingsError: If the settings name none, or filter by something that DICOM does not know.
    """
    if settings.pacs_url is None:
        raise SettingsError("the studies are no DICOMweb server")
    for name in settings.pacs_filter:
        if tag_for_keyword(name) is None:
            raise SettingsError(f"setting pacs_filter: {name[:64]!r} is no DICOM attribute")
    return DicomwebServer(
        settings.pacs_url,
        settings.pacs_user,
        settings.pacs_password.get_secret_value(),
        settings.pacs_token.get_secret_value(),
        timeout_s=settings.pacs_timeout_s,
    )


def public_url(url: str) -> str:
    """Return an address without the user name and password that it may hold."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=host).geturl().rstrip("/")


def _body(instances: Sequence[bytes], boundary: str) -> bytes:
    """Return the body of a store request, in one piece: few servers take one in chunks."""
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    parts = [part for content in instances for part in (head, content, b"\r\n")]
    return b"".join((*parts, f"--{boundary}--\r\n".encode()))


def _file_of(instance: pydicom.Dataset) -> bytes:
    buffer = BytesIO()
    instance.save_as(buffer)
    return buffer.getvalue()


def _remote_series(item: _Item) -> RemoteSeries | None:
    study_uid, series_uid = value_of(item, "StudyInstanceUID"), value_of(item, "SeriesInstanceUID")
    count = value_of(item, "NumberOfSeriesRelatedInstances")
    if not (is_uid(study_uid) and is_uid(series_uid)):
        return None
    return RemoteSeries(
        study_uid,
        series_uid,
        value_of(item, "Modality"),
        int(count) if count.isdecimal() else None,
    )
