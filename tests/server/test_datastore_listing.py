"""``GET /datastore/?output=all``: a large pool in one answer."""

import tracemalloc

import pytest

from app.store.tables import ImageRow, Json
from tests.app.pool import add_image
from tests.server.conftest import Site
from tests.server.pool import add_model

_IMAGES = 1203


@pytest.fixture
def large(site: Site) -> Site:
    """Return a pool of more images than are described together, the last of them gone."""
    with site.services.database.writing() as session:
        rows = [add_image(session, f"case-{number}", at=number) for number in range(_IMAGES)]
        rows[-1].missing_since = 1.0
    return site


def test_every_image_is_listed_once_and_the_oldest_first(large: Site) -> None:
    found: Json = large.client.get("/datastore/?output=all").json()
    assert found["name"] == "caclabel"
    assert list(found["objects"]) == [f"case-{number}" for number in range(_IMAGES - 1)]
    assert found["objects"]["case-700"]["image"]["ext"] == ".nii.gz"


def test_labels_and_samples_are_at_their_images(large: Site) -> None:
    last, late = f"case-{_IMAGES - 2}", "late"
    large.upload(late)
    large.submit(late)
    with large.services.database.writing() as session:
        session.get_one(ImageRow, last).registered_at = -1.0
    large.client.post("/activelearning/first", json={"client_id": "anna"})
    objects: Json = large.client.get("/datastore/?output=all").json()["objects"]
    assert next(iter(objects)) == last
    assert list(objects[last]["image"]["info"]["strategy"]) == ["first"]
    assert [name for name, entry in objects.items() if entry["labels"]] == [late]


def test_an_empty_pool_is_an_empty_object(site: Site) -> None:
    add_model(site.services)
    assert site.client.get("/datastore/?output=all").json()["objects"] == {}


def test_a_listing_takes_little_more_memory_than_its_text(large: Site) -> None:
    size = len(large.client.get("/datastore/?output=all").content)
    tracemalloc.start()
    try:
        large.client.get("/datastore/?output=all")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # As dictionaries alone it takes sixteen times its text.
    assert peak < 10 * size
