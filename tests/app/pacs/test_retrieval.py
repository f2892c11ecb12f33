"""Series in the cache: bounded, whole, and the right ones."""

import os
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest

from app import arrays, images, jobs, samples
from app.background.work import WorkContext
from app.errors import PacsRefusedError
from app.imaging.dicom.dicomweb import DicomwebServer
from app.imaging.volume_writer import write_volume
from app.pacs import pool_view, retrieval
from app.pacs.prefetch import Lookahead, next_unready, prefetch
from app.pacs.sync import sync
from app.store import cache
from app.store.files import file_sha256
from app.store.tables import ImageRow, JobRow, LeaseRow
from tests.app.conftest import Deployment
from tests.app.pacs.conftest import PacsSite
from tests.factories import make_volume, write_dicom

_LONG_AGO_S = 7200.0


def size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def cached(context: WorkContext) -> set[str]:
    """Return the series that are in the cache."""
    return {path.name for path in (context.settings.cache / "dicomweb").iterdir()}


def age(path: Path, seconds: float = _LONG_AGO_S) -> None:
    """Let an entry of the cache be last used some time ago."""
    then = time.time() - seconds
    os.utime(path, (then, then))


def open_image(site: PacsSite, uid: str) -> None:
    images.open_volume(site.context.settings, site.context.files, site.image(uid))


class LocalServer(DicomwebServer):
    """A server whose answers are here already: nothing slows a series' replacement down."""

    def __init__(self, contents: list[bytes]) -> None:
        """Keep what every series shall be."""
        super().__init__("http://127.0.0.1:9")
        self._contents = contents

    def retrieve(self, study_uid: str, series_uid: str, folder: Path) -> None:
        """Write the files."""
        del study_uid, series_uid
        for number, content in enumerate(self._contents):
            (folder / f"{number}.dcm").write_bytes(content)


class TestBound:
    def test_what_was_not_used_longest_goes_and_is_retrieved_again(self, site: PacsSite) -> None:
        uids = [site.add_series(seed) for seed in (1, 2, 3)]
        site.run(sync)
        folder = site.context.settings.cache / "dicomweb"
        for place, uid in enumerate(uids):
            age(folder / uid, _LONG_AGO_S - place)
        two = 2.5 * size(folder / uids[0]) / 1e9
        small = site.with_settings(pacs_cache_gb=two)
        retrieval.keep_room(small.context.settings)
        assert cached(site.context) == set(uids[1:])
        open_image(small, uids[0])
        assert cached(site.context) == {uids[0], uids[2]}

    def test_what_is_in_use_stays(self, site: PacsSite) -> None:
        uid = site.add_series(1)
        tiny = site.with_settings(pacs_cache_gb=1e-9)
        tiny.run(sync)
        assert cached(tiny.context) == {uid}
        age(tiny.context.settings.cache / "dicomweb" / uid)
        retrieval.local_files(tiny.context.settings, tiny.image(uid))
        retrieval.keep_room(tiny.context.settings)
        assert cached(tiny.context) == {uid}

    def test_arrays_and_converted_files_count_and_are_made_again(self, site: PacsSite) -> None:
        uid = site.add_series(1)
        site.run(sync)
        settings, files, row = site.context.settings, site.context.files, site.image(uid)
        hu = arrays.load_image(settings, files, row).hu.copy()
        checksum = images.image_file(settings, files, row) and row.file_sha256
        made = [*(settings.cache / "arrays").iterdir(), *(settings.cache / "images").iterdir()]
        for path in made:
            age(path)
        assert len(made) == 2
        retrieval.keep_room(settings.model_copy(update={"pacs_cache_gb": 1e-9}))
        assert not any(path.exists() for path in made)
        assert (arrays.load_image(settings, files, row).hu == hu).all()
        images.image_file(settings, files, row)
        assert row.file_sha256 == checksum

    def test_leftovers_of_a_killed_process_are_removed(self, tmp_path: Path) -> None:
        (tmp_path / ".left.part").mkdir()
        (tmp_path / ".left.part" / "1.dcm").write_bytes(b"x")
        (tmp_path / ".new.part").mkdir()
        age(tmp_path / ".left.part")
        cache.keep_within([tmp_path], 10**9, now=time.time())
        assert [path.name for path in tmp_path.iterdir()] == [".new.part"]


class TestCopies:
    def test_a_damaged_copy_is_replaced(self, site: PacsSite) -> None:
        uid = site.add_series(1)
        site.run(sync)
        damaged = retrieval.local_files(site.context.settings, site.image(uid))[2]
        damaged.write_bytes(damaged.read_bytes()[:-100])
        open_image(site, uid)
        assert damaged.read_bytes() in [path.read_bytes() for path in site.files(1)]

    def test_two_who_want_one_series_retrieve_it_once(self, site: PacsSite) -> None:
        uid = site.add_series(1)
        site.run(sync)
        row = site.image(uid)
        retrieval.discard(site.context.settings, uid)
        found: list[int] = []

        def want() -> None:
            found.append(retrieval.local_files(site.context.settings, row)[0].stat().st_ino)

        threads = [threading.Thread(target=want) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 4
        assert len(set(found)) == 1

    def test_are_named_by_their_instance(self, site: PacsSite) -> None:
        uid = site.add_series(1)
        site.run(sync)
        for path in retrieval.local_files(site.context.settings, site.image(uid)):
            assert path.name == f"{pydicom.dcmread(path).SOPInstanceUID}.dcm"

    def test_an_instance_is_never_found_in_another_retrievals_file(self, site: PacsSite) -> None:
        uid = site.add_series(1)
        site.run(sync)
        settings, row = site.context.settings, site.image(uid)
        first, *_, last = retrieval.local_files(settings, row)
        sop_uid = str(pydicom.dcmread(first).SOPInstanceUID)

        def shown() -> str:
            with site.context.database.reading() as session:
                [path] = pool_view.instance_files(session, settings, row.study_uid, uid, sop_uid)
            return str(pydicom.dcmread(path).SOPInstanceUID)

        assert shown() == sop_uid
        # As if the names had not been those of the instances: the same files, in another order.
        contents = first.read_bytes(), last.read_bytes()
        for path, content in zip((last, first), contents, strict=True):
            path.unlink()
            path.write_bytes(content)
        assert shown() == sop_uid

    def test_are_whole_while_a_sync_replaces_them(self, site: PacsSite, tmp_path: Path) -> None:
        uid = site.add_series(1)
        site.run(sync)
        settings, row = site.context.settings, site.image(uid)
        files = retrieval.local_files(settings, row)
        server = LocalServer([path.read_bytes() for path in files])
        is_over = threading.Event()

        def replace_often() -> None:
            while not is_over.is_set():
                retrieval.fetch(settings, server, row.study_uid, uid, anew=True)

        thread = threading.Thread(target=replace_often)
        thread.start()
        try:
            counts = {len(retrieval.local_files(settings, row)) for _ in range(1500)}
        finally:
            is_over.set()
            thread.join()
        assert counts == {len(files)}

    def test_a_series_without_instances_is_refused(self, site: PacsSite) -> None:
        uid = site.add_series(1)
        site.run(sync)
        folder = retrieval.local_files(site.context.settings, site.image(uid))[0].parent
        for path in folder.iterdir():
            path.unlink()
        with pytest.raises(PacsRefusedError, match="no instances"):
            retrieval.local_files(site.context.settings, site.image(uid))
        assert len(retrieval.local_files(site.context.settings, site.image(uid))) == 5

    def test_a_row_cannot_lead_out_of_the_cache(self, site: PacsSite) -> None:
        row = ImageRow(id="x", source="dicomweb", path="1.2/../../secret")
        with pytest.raises(PacsRefusedError, match="no DICOM UID"):
            retrieval.local_files(site.context.settings, row)


class TestPrefetch:
    def test_makes_the_next_samples_ready_and_leases_nothing(self, site: PacsSite) -> None:
        uids = {site.add_series(seed) for seed in (1, 2, 3)}
        site.run(sync)
        site = site.with_settings(pacs_prefetch=2)
        wanted = next_unready(site.context)
        assert len(wanted) == 2
        for uid in uids:
            retrieval.discard(site.context.settings, uid)
        assert site.run(prefetch, images=wanted) == {"images": 2, "ready": 2}
        assert cached(site.context) == set(wanted)
        assert all(site.image(uid).file_sha256 for uid in wanted)
        with site.context.database.reading() as session:
            assert session.query(LeaseRow).count() == 0
        assert next_unready(site.context) == []

    def test_foretells_what_is_assigned(self, site: PacsSite) -> None:
        for seed in range(5):
            site.add_series(seed)
        site.run(sync)
        settings = site.context.settings
        with site.context.database.reading() as session:
            told = samples.upcoming(session, count=4, settings=settings, now=1.0, strategy="random")
        with site.context.database.writing() as session:
            got = [
                samples.assign_next(
                    session,
                    strategy="random",
                    client_id="a",
                    options={},
                    settings=settings,
                    now=1.0,
                )
                for _ in range(4)
            ]
        assert told == [sample.image.id for sample in got if sample]

    def test_series_of_a_folder_are_converted_ahead_as_well(self, deployment: Deployment) -> None:
        settings, database = deployment.settings, deployment.database
        write_dicom(deployment.studies / "series")
        images.scan_studies(database, settings, now=lambda: 1.0)
        context = WorkContext(settings, database, deployment.files, "cpu")
        wanted = next_unready(context)
        assert len(wanted) == 1
        for _ in prefetch(context, JobRow(id="job", request={"images": wanted})):
            pass
        with database.reading() as session:
            row = images.get_image(session, wanted[0])
        assert row.file_sha256 == file_sha256(images.image_file(settings, deployment.files, row))
        assert next_unready(context) == []

    @pytest.mark.parametrize("kind", ["dicom", "nifti"])
    def test_the_array_that_clicks_need_is_made_ahead(
        self, deployment: Deployment, kind: str
    ) -> None:
        settings, database = deployment.settings, deployment.database
        if kind == "dicom":
            write_dicom(deployment.studies / "series")
        else:
            write_volume(deployment.studies / "case_1.nii.gz", make_volume())
        images.scan_studies(database, settings, now=lambda: 1.0)
        context = WorkContext(settings, database, deployment.files, "cpu")
        wanted = next_unready(context)
        for _ in prefetch(context, JobRow(id="job", request={"images": wanted})):
            pass
        with database.reading() as session:
            row = images.get_image(session, wanted[0])
        shutil.rmtree(deployment.studies)
        # What was decoded before needs no file any more.
        assert arrays.load_image(settings, deployment.files, row).hu.shape == (5, 6, 7)

    def test_what_cannot_be_read_is_looked_at_by_the_next_sync(self, site: PacsSite) -> None:
        uid = site.add_series(1)
        site.run(sync)
        site.remote.delete_series(uid)
        site.remote.upload(path.read_bytes()[:-200] for path in site.files(1))
        retrieval.discard(site.context.settings, uid)
        site.run(prefetch, images=[uid])
        site.run(sync)
        assert site.present() == set()
        assert f"dicomweb/{uid}" in site.quarantine()

    def test_is_asked_for_when_what_is_next_has_changed(self, site: PacsSite) -> None:
        site.add_series(1)
        site.run(sync)
        site = site.with_settings(pacs_prefetch=1)
        now = 600.0
        lookahead = Lookahead(replace(site.context, clock=lambda: now))

        def asked() -> int:
            lookahead.request_if_needed()
            with site.context.database.reading() as session:
                return len(jobs.history(session, "prefetch"))

        def end() -> None:
            with site.context.database.writing() as session:
                job = jobs.running(session, "prefetch")
                assert job is not None
                jobs.finish(session, job.id, "failed", ["the server is away"], now=now)

        assert [asked(), asked()] == [1, 1]
        end()
        assert asked() == 1
        now += 60.0
        assert asked() == 2
        end()
        site.add_series(2)
        site.run(sync)
        assert asked() == 3

    def test_of_nothing_is_never_asked_for(self, site: PacsSite) -> None:
        site.add_series(1)
        site.run(sync)
        context = site.with_settings(pacs_prefetch=0).context
        Lookahead(context).request_if_needed()
        with context.database.reading() as session:
            assert jobs.history(session, "prefetch") == []
