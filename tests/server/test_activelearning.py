"""``/activelearning/{strategy}``: the image to label next."""

import hashlib

import pytest
from sqlalchemy import update

from app.store.tables import ImageRow
from strategies.registry import strategy_names
from tests.server.conftest import Site


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
