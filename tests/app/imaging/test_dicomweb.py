"""Asking a DICOMweb server: a real one, and ones that cannot be trusted."""

import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import UID

from app.errors import ImagingError, PacsDownError, PacsError, PacsRefusedError, SettingsError
from app.imaging.dicom.dicomweb import DicomwebServer, dicomweb_server, public_url
from app.settings import Settings
from tests.dicomweb_stub import Answer, Query, stub
from tests.factories import make_volume, write_dicom
from tests.orthanc import OrthancServer, orthanc

_CREDENTIALS = {"radiologist": "se:cret ä"}


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> list[list[Path]]:
    """Five series of five slices."""
    folder = tmp_path_factory.mktemp("series")
    return [
        write_dicom(folder / str(seed), make_volume(seed=seed, patient_id=f"p{seed}"))
        for seed in range(5)
    ]


@pytest.fixture(scope="module")
def remote(
    series: list[list[Path]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OrthancServer]:
    with orthanc(tmp_path_factory.mktemp("orthanc"), users=_CREDENTIALS) as running:
        running.upload(path for files in series for path in files)
        yield running


@pytest.fixture
def server(remote: OrthancServer) -> DicomwebServer:
    return DicomwebServer(remote.url, *next(iter(_CREDENTIALS.items())), page_size=2)


def uids(files: list[Path]) -> tuple[str, str]:
    dataset = pydicom.dcmread(files[0], stop_before_pixels=True)
    return str(dataset.StudyInstanceUID), str(dataset.SeriesInstanceUID)


class TestRealServer:
    def test_finds_every_series_once_over_several_pages(
        self, server: DicomwebServer, series: list[list[Path]]
    ) -> None:
        found = server.find_series({"Modality": "CT"})
        assert sorted(one.series_uid for one in found) == sorted(uids(files)[1] for files in series)
        assert {one.instances for one in found} == {5}

    @pytest.mark.parametrize(
        ("filters", "count"), [({"PatientID": "p3"}, 1), ({"Modality": "MR"}, 0)]
    )
    def test_filters(self, server: DicomwebServer, filters: dict[str, str], count: int) -> None:
        assert len(server.find_series(filters)) == count

    def test_retrieves_the_files_as_they_were_stored(
        self, server: DicomwebServer, series: list[list[Path]], tmp_path: Path
    ) -> None:
        server.retrieve(*uids(series[2]), tmp_path)
        stored = sorted(path.read_bytes() for path in series[2])
        assert sorted(path.read_bytes() for path in tmp_path.iterdir()) == stored

    def test_retrieves_one_instance(self, server: DicomwebServer, series: list[list[Path]]) -> None:
        sop_uid = str(pydicom.dcmread(series[1][3]).SOPInstanceUID)
        content = server.retrieve_instance(*uids(series[1]), sop_uid)
        assert content == series[1][3].read_bytes()

    def test_stores(self, server: DicomwebServer, remote: OrthancServer, tmp_path: Path) -> None:
        files = write_dicom(tmp_path, make_volume(seed=77))
        server.store([path.read_bytes() for path in files])
        assert len(remote.find("Instance", SeriesInstanceUID=uids(files)[1])) == len(files)
        remote.delete_series(uids(files)[1])

    def test_stores_the_very_bytes(
        self, server: DicomwebServer, remote: OrthancServer, tmp_path: Path
    ) -> None:
        path = write_dicom(tmp_path, make_volume(seed=78))[0]
        dataset = pydicom.dcmread(path)
        # A writer that was told so would keep neither.
        content = b"a preamble".ljust(128, b"!") + path.read_bytes()[128:]
        server.store([content])
        [name] = remote.find("Instance", SOPInstanceUID=str(dataset.SOPInstanceUID))
        assert remote.request("GET", f"/instances/{name}/file").content == content
        remote.delete_series(str(dataset.SeriesInstanceUID))

    def test_what_it_will_not_store_is_an_error(
        self, server: DicomwebServer, series: list[list[Path]], tmp_path: Path
    ) -> None:
        (tmp_path / "bad.dcm").write_bytes(series[0][0].read_bytes())
        nameless = pydicom.dcmread(tmp_path / "bad.dcm")
        nameless.StudyInstanceUID = ""
        nameless.SOPInstanceUID = "1.2.3"
        nameless.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3")
        nameless.save_as(tmp_path / "bad.dcm")
        contents = [series[0][1].read_bytes(), (tmp_path / "bad.dcm").read_bytes()]
        with pytest.raises(PacsRefusedError, match="did not store 1 of 2 objects"):
            server.store(contents)

    def test_a_series_it_has_not_got_is_refused(
        self, server: DicomwebServer, tmp_path: Path
    ) -> None:
        with pytest.raises(PacsRefusedError, match="404"):
            server.retrieve("1.2.3", "1.2.4", tmp_path)

    def test_wrong_credentials_are_refused_without_being_told(self, remote: OrthancServer) -> None:
        with pytest.raises(PacsRefusedError, match="401; check pacs_user") as refused:
            DicomwebServer(remote.url, "radiologist", "hunter2").find_series({})
        assert "hunter2" not in str(refused.value)

    def test_credentials_may_be_part_of_the_address(self, remote: OrthancServer) -> None:
        with_password = remote.url.replace("http://", "http://radiologist:se%3Acret%20%C3%A4@")
        server = DicomwebServer(with_password)
        assert len(server.find_series({})) == 5
        assert server.url == remote.url == public_url(with_password)


def qido(*items: dict[str, str]) -> Answer:
    """Answer a search; keys are tags."""
    body = [{tag: {"vr": "UI", "Value": [value]} for tag, value in item.items()} for item in items]
    return Answer(json.dumps(body).encode())


def one(series_uid: str, modality: str = "CT") -> dict[str, str]:
    return {"0020000D": "1.2", "0020000E": series_uid, "00080060": modality}


def unannounced(answer: Answer, *, lost_bytes: int = 0) -> Answer:
    """Answer as Orthanc does, without a length; one that was killed meanwhile loses the end."""
    return answer._replace(body=answer.body[: len(answer.body) - lost_bytes], has_length=False)


def multipart(*contents: bytes, is_whole: bool = True) -> Answer:
    parts = [b"--x\r\nContent-Type: application/dicom\r\n\r\n" + one for one in contents]
    body = b"\r\n".join(parts) + (b"\r\n--x--\r\n" if is_whole else b"")
    return Answer(body, 'multipart/related; type="application/dicom"; boundary=x')


class TestServersNotToTrust:
    @pytest.mark.parametrize(
        "uid", ["../../../etc", "1.2/../..", "", "1..2", "1." * 40, "1.2\n", "a.b", "/1.2"]
    )
    def test_a_series_with_an_odd_uid_is_left_out(self, uid: str) -> None:
        with stub(lambda _: qido(one(uid), one("1.3"))) as running:
            found = DicomwebServer(running.url).find_series({})
        assert [series.series_uid for series in found] == ["1.3"]

    def test_a_server_that_ignores_the_offset_ends_the_search(self) -> None:
        with stub(lambda _: qido(one("1.3"), one("1.4"))) as running:
            assert len(DicomwebServer(running.url, page_size=2).find_series({})) == 2

    def test_a_server_that_gives_less_than_asked_for_is_asked_again(self) -> None:
        def answer(query: Query) -> Answer:
            offset = int(query.values["offset"])
            return qido(*[one(f"1.{number}") for number in range(7)][offset : offset + 3])

        with stub(answer) as running:
            assert len(DicomwebServer(running.url, page_size=100).find_series({})) == 7

    def test_a_server_that_ignores_the_modality_adds_nothing_to_the_pool(self) -> None:
        with stub(lambda _: qido(one("1.3", "MR"), one("1.4"))) as running:
            found = DicomwebServer(running.url).find_series({"Modality": "CT"})
        assert [series.series_uid for series in found] == ["1.4"]

    @pytest.mark.parametrize("sent", [1, 4])
    def test_a_series_that_comes_in_part_is_no_series(
        self, series: list[list[Path]], tmp_path: Path, sent: int
    ) -> None:
        contents = [path.read_bytes() for path in series[0]]
        listed = [{"00080018": str(pydicom.dcmread(path).SOPInstanceUID)} for path in series[0]]

        def answer(query: Query) -> Answer:
            is_search = query.path.endswith("/instances")
            return qido(*listed) if is_search else multipart(*contents[:sent], is_whole=False)

        with stub(answer) as running, pytest.raises(PacsDownError, match=f"sent {sent} of 5"):
            DicomwebServer(running.url).retrieve(*uids(series[0]), tmp_path)

    @pytest.mark.parametrize("lost_bytes", [3, 40, 2000])
    def test_a_slice_that_broke_off_is_no_slice(
        self, series: list[list[Path]], tmp_path: Path, lost_bytes: int
    ) -> None:
        contents = [path.read_bytes() for path in series[0]]
        listed = [{"00080018": str(pydicom.dcmread(path).SOPInstanceUID)} for path in series[0]]

        def answer(query: Query) -> Answer:
            is_search = query.path.endswith("/instances")
            cut = unannounced(multipart(*contents), lost_bytes=lost_bytes)
            return qido(*listed) if is_search else cut

        with stub(answer) as running, pytest.raises(PacsDownError, match="broke off"):
            DicomwebServer(running.url).retrieve(*uids(series[0]), tmp_path)

    def test_an_instance_that_broke_off_is_none(self, series: list[list[Path]]) -> None:
        path = series[0][0]
        whole = multipart(path.read_bytes())
        sop_uid = str(pydicom.dcmread(path).SOPInstanceUID)
        with stub(lambda _: unannounced(whole, lost_bytes=40)) as running:
            server = DicomwebServer(running.url)
            with pytest.raises(PacsDownError, match="broke off"):
                server.retrieve_instance(*uids(series[0]), sop_uid)
        with stub(lambda _: unannounced(whole)) as running:
            server = DicomwebServer(running.url)
            content = server.retrieve_instance(*uids(series[0]), sop_uid)
        assert pydicom.dcmread(BytesIO(content)) == pydicom.dcmread(path)

    def test_another_series_than_asked_for_is_refused(
        self, series: list[list[Path]], tmp_path: Path
    ) -> None:
        def answer(query: Query) -> Answer:
            is_search = query.path.endswith("/instances")
            return qido({"00080018": "1.9"}) if is_search else multipart(series[1][0].read_bytes())

        with stub(answer) as running, pytest.raises(PacsRefusedError, match="another series"):
            DicomwebServer(running.url).retrieve(*uids(series[0]), tmp_path)

    @pytest.mark.parametrize(
        ("answer", "kind"),
        [
            (Answer(status=503), PacsDownError),
            (Answer(status=500), PacsDownError),
            (Answer(status=429), PacsDownError),
            (Answer(status=403), PacsRefusedError),
            (Answer(b"<html>log in</html>", "text/html"), PacsRefusedError),
            (Answer(b'["nonsense"]'), PacsRefusedError),
        ],
    )
    def test_tells_a_failure_from_a_refusal(self, answer: Answer, kind: type[PacsError]) -> None:
        with stub(lambda _: answer) as running, pytest.raises(kind):
            DicomwebServer(running.url).find_series({})

    def test_nobody_at_the_address_is_down(self) -> None:
        with stub(lambda _: Answer()) as running:
            pass
        with pytest.raises(PacsDownError, match="cannot be reached"):
            DicomwebServer(running.url).find_series({})

    def test_a_bearer_token_wins_over_the_user(self) -> None:
        with stub(lambda _: qido()) as running:
            DicomwebServer(running.url, "user", "password", "t0ken").find_series({})
        assert running.queries[0].headers["Authorization"] == "Bearer t0ken"
        assert running.queries[0].headers["Host"] == running.url.split("/")[2]


_FAILED = {"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [0xA703]}}]}}

_STORED_XML = """<?xml version="1.0"?><NativeDicomModel>
<DicomAttribute tag="00081199" vr="SQ" keyword="ReferencedSOPSequence"><Item number="1">
<DicomAttribute tag="00081155" vr="UI"><Value number="1">{uid}</Value></DicomAttribute>
</Item></DicomAttribute></NativeDicomModel>"""


class TestStoring:
    @pytest.mark.parametrize(
        ("answer", "said"),
        [
            (Answer(json.dumps(_FAILED).encode()), "1 of 1 objects: out of resources .A703."),
            (Answer(json.dumps(_FAILED).encode(), status=202), "out of resources"),
            (
                Answer(json.dumps(_FAILED).encode(), "application/dicom+json; charset=utf-8"),
                "out of resources",
            ),
            (Answer(_STORED_XML.encode(), "application/dicom+xml"), "no reason given"),
            (Answer(b"", status=202), "answered 202 and not what it stored"),
            (Answer(b"", status=409), "answered 409"),
        ],
    )
    def test_what_was_not_stored_is_an_error_whatever_the_status(
        self, series: list[list[Path]], answer: Answer, said: str
    ) -> None:
        with stub(lambda _: answer) as running, pytest.raises(PacsRefusedError, match=said):
            DicomwebServer(running.url).store([series[0][0].read_bytes()])

    def test_what_was_stored_is_fine_in_xml_too(self, series: list[list[Path]]) -> None:
        uid = str(pydicom.dcmread(series[0][0]).SOPInstanceUID)
        answer = Answer(_STORED_XML.format(uid=uid).encode(), "application/dicom+xml")
        with stub(lambda _: answer) as running:
            DicomwebServer(running.url).store([series[0][0].read_bytes()])

    def test_a_server_without_room_may_have_some_later(self, series: list[list[Path]]) -> None:
        with stub(lambda _: Answer(status=503)) as running, pytest.raises(PacsDownError):
            DicomwebServer(running.url).store([series[0][0].read_bytes()])

    def test_half_a_slice_is_not_even_sent(self, series: list[list[Path]]) -> None:
        content = series[0][0].read_bytes()
        with stub(lambda _: Answer()) as running, pytest.raises(ImagingError, match="cut off"):
            DicomwebServer(running.url).store([content[:-50]])
        assert running.queries == []

    def test_a_redirect_is_no_success(self, series: list[list[Path]]) -> None:
        with (
            stub(lambda _: Answer(status=302)) as running,
            pytest.raises(PacsRefusedError, match="302"),
        ):
            DicomwebServer(running.url).store([series[0][0].read_bytes()])


def test_a_filter_by_something_unknown_is_a_wrong_setting() -> None:
    settings = Settings(studies="http://pacs/dicom-web", pacs_filter={"Modalty": "CT"})
    with pytest.raises(SettingsError, match="'Modalty' is no DICOM attribute"):
        dicomweb_server(settings)
