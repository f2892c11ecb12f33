"""``/activelearning/{strategy}``: the image to label next."""

import hashlib
import json

import pytest
from sqlalchemy import select, update

from app.store.tables import ImageRow, LeaseRow, PredictionRow
from strategies.registry import strategy_names
from tests.server.conftest import Site
from tests.server.pool import add_model, add_prediction


@pytest.mark.parametrize("strategy", strategy_names())
def test_every_strategy_serves_without_a_body(pool: Site, strategy: str) -> None:
    answer = pool.client.post(f"/activelearning/{strategy}")
    assert answer.status_code == 200
    assert answer.json()["id"] in {"case_1", "case_2"}
    assert answer.json()["name"] == f"{answer.json()['id']}.nii.gz"


def test_checksum_is_that_of_the_file_a_client_downloads(pool: Site) -> None:
    sample = pool.client.post("/activelearning/first", json={"client_id": "u"}).json()
    content = pool.client.get(f"/datastore/image?image={sample['id']}").content
    assert sample["checksum"] == f"SHA256:{hashlib.sha256(content).hexdigest()}"


def test_no_checksum_is_told_before_there_is_a_file(pool: Site) -> None:
    with pool.services.database.writing() as session:
        # As of a DICOM series, whose file is made when somebody downloads it.
        session.execute(update(ImageRow).values(file_sha256=""))
    assert "checksum" not in pool.client.post("/activelearning/first").json()


def test_tells_the_patient_and_no_server_path(pool: Site) -> None:
    sample = pool.client.post("/activelearning/first").json()
    assert "path" not in sample
    assert str(pool.services.settings.data) not in str(sample)


def test_tells_which_label_would_help_most(pool: Site) -> None:
    version = add_model(pool.services)
    prediction = add_prediction(pool.services, "case_1", version)
    with pool.services.database.writing() as session:
        row = session.get_one(PredictionRow, prediction)
        row.lesion_share, row.region_share = 0.2, 0.7
    told = {}
    for _ in range(2):
        sample = pool.client.post("/activelearning/first").json()
        told[sample["id"]] = sample["doubt"]
    shares = {"lesion_share": 0.2, "region_share": 0.7}
    assert told == {"case_1": {**shares, "label_that_helps": "regions"}, "case_2": None}


def test_two_clients_never_get_the_same_image(pool: Site) -> None:
    served = {
        pool.client.post("/activelearning/random", json={"client_id": client}).json()["id"]
        for client in ("a", "b")
    }
    assert served == {"case_1", "case_2"}


def test_an_empty_object_when_nothing_is_left(pool: Site) -> None:
    for _ in range(2):
        pool.client.post("/activelearning/first")
    answer = pool.client.post("/activelearning/first")
    assert (answer.status_code, answer.json()) == (200, {})


def test_a_labeled_image_is_not_served_again(pool: Site) -> None:
    pool.submit("case_1")
    assert pool.client.post("/activelearning/random").json()["id"] == "case_2"


def test_an_unknown_strategy_is_404_with_the_known_ones(pool: Site) -> None:
    answer = pool.client.post("/activelearning/epistemic")
    assert answer.status_code == 404
    assert "uncertainty" in answer.json()["detail"]


def test_a_body_that_is_no_object_is_refused(pool: Site) -> None:
    assert pool.client.post("/activelearning/random", json=[1]).status_code == 422


class TestOptions:
    @pytest.mark.parametrize("value", [0.5, "0.5", "", None, 1, "1"])
    def test_numbers_may_come_as_text(self, pool: Site, value: object) -> None:
        body = {"client_id": "u", "random_share": value}
        assert pool.client.post("/activelearning/uncertainty", json=body).status_code == 200

    @pytest.mark.parametrize(
        ("option", "problem"),
        [
            ({"random_share": "much"}, "random_share: expected a number, got 'much'"),
            ({"random_share": 2}, "expected random_share from 0 to 1, got 2.0"),
            ({"beta_rounds": 2.5}, "beta_rounds: expected a whole number, got 2.5"),
            ({"gamma": 2}, "no option 'gamma' of power; known: random_share, beta_first"),
        ],
    )
    def test_what_is_no_option_is_refused_with_the_reason(
        self, pool: Site, option: dict[str, object], problem: str
    ) -> None:
        answer = pool.client.post("/activelearning/power", json={"client_id": "u", **option})
        assert answer.status_code == 422
        assert problem in answer.json()["detail"]


class TestCoverage:
    def test_without_any_score_the_answer_says_that_it_was_drawn_at_random(
        self, pool: Site
    ) -> None:
        # Of the quota it would be at random anyway.
        body = {"client_id": "u", "random_share": 0}
        sample = pool.client.post("/activelearning/uncertainty", json=body).json()
        assert (sample["is_random"], sample["coverage"]) == (True, 0.0)
        assert sample["note"].startswith("drawn at random by predicted risk, as only 0% of")
        assert "note" not in pool.client.post("/activelearning/random").json()

    def test_with_scores_the_ranking_decides(self, pool: Site) -> None:
        version = add_model(pool.services)
        add_prediction(pool.services, "case_2", version)
        add_prediction(pool.services, "case_1", version)
        body = {"client_id": "u", "random_share": 0}
        sample = pool.client.post("/activelearning/uncertainty", json=body).json()
        assert (sample["is_random"], sample["coverage"]) == (False, 1.0)
        assert "note" not in sample
        assert pool.client.get("/info/").json()["coverage"] == {
            "scored": 2,
            "images": 2,
            "share": 1.0,
        }


class TestAnnotationTime:
    def serve(self, pool: Site, seconds_ago: float) -> str:
        sample = pool.client.post("/activelearning/first", json={"client_id": "anna"}).json()
        with pool.services.database.writing() as session:
            lease = session.scalars(select(LeaseRow)).one()
            lease.served_at -= seconds_ago
        image_id: str = sample["id"]
        return image_id

    def active_seconds(self, pool: Site) -> float:
        with pool.services.database.reading() as session:
            return session.scalars(select(LeaseRow.active_seconds)).one()

    def test_it_is_kept_with_the_label_and_shown(self, pool: Site) -> None:
        image_id = self.serve(pool, 90.0)
        pool.submit(image_id, params='{"client_id": "anna"}')
        about = pool.client.get(f"/datastore/label/info?label={image_id}&tag=final").json()
        # A slow machine may take some seconds from here to there.
        assert 90.0 <= about["annotation_seconds"] < 120.0
        overview = pool.client.get("/datastore/?output=all").json()
        label = overview["objects"][image_id]["labels"]["final"]
        assert label["info"]["annotation_seconds"] == about["annotation_seconds"]
        page = pool.client.get("/").text
        assert "<tr><th>Labels with a known annotation time</th><td>1</td></tr>" in page

    def test_a_label_of_somebody_else_has_none(self, pool: Site) -> None:
        image_id = self.serve(pool, 90.0)
        pool.submit(image_id, params='{"client_id": "bert"}')
        about = pool.client.get(f"/datastore/label/info?label={image_id}&tag=final").json()
        assert "annotation_seconds" not in about

    @pytest.mark.parametrize(
        "request_of", ["datastore/image?image={}", "datastore/image/info?image={}"]
    )
    def test_asking_for_the_image_is_work_on_it(self, pool: Site, request_of: str) -> None:
        image_id = self.serve(pool, 90.0)
        assert pool.client.get(request_of.format(image_id)).status_code == 200
        assert self.active_seconds(pool) >= 90.0

    @pytest.mark.parametrize(("client", "is_noted"), [("anna", True), ("bert", False)])
    def test_clicks_of_the_client_who_has_the_image_are_work_on_it(
        self, pool: Site, client: str, is_noted: bool
    ) -> None:
        image_id = self.serve(pool, 90.0)
        params = {"client_id": client, "foreground": [[4, 3, 2]], "label": "LAD"}
        pool.client.post(
            f"/infer/lesion_click?image={image_id}", data={"params": json.dumps(params)}
        )
        assert (self.active_seconds(pool) >= 90.0) == is_noted

    def test_a_client_can_say_that_it_works(self, pool: Site) -> None:
        image_id = self.serve(pool, 90.0)
        url = f"/activelearning/lease/heartbeat?image={image_id}&client_id="
        assert pool.client.post(url + "bert").json() == {"image": image_id, "is_held": False}
        assert pool.client.post(url + "anna").json() == {"image": image_id, "is_held": True}
        assert self.active_seconds(pool) >= 90.0
