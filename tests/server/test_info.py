"""``/info/``: what the clients build their panels from."""

import math

import pytest

from app import jobs
from app.calcium.labels import LABELS
from app.store.tables import Json
from server.wire.finite import finite
from tests.server.conftest import Site
from tests.server.pool import add_model


def info(site: Site) -> Json:
    answer = site.client.get("/info/")
    assert answer.status_code == 200
    body: Json = answer.json()
    return body


def test_has_the_keys_the_clients_read_and_no_config(pool: Site) -> None:
    # 3D Slicer refuses a server whose answer has a key "config" at the top.
    assert set(info(pool)) == {
        "name",
        "description",
        "version",
        "labels",
        "models",
        "trainers",
        "strategies",
        "scoring",
        "train_stats",
        "datastore",
        "coverage",
    }


def test_labels_are_a_list_of_names_in_canonical_order(site: Site) -> None:
    assert info(site)["labels"] == list(LABELS)


def test_before_the_first_training_lesions_can_be_clicked(site: Site) -> None:
    [(name, model)] = info(site)["models"].items()
    assert name == "lesion_click"
    assert model["type"] == "deepgrow"
    assert model["dimension"] == 3
    assert model["description"]


def slicer_runs_by_itself(body: Json) -> str | None:
    """Choose a model as 3D Slicer does on every next sample, of whatever type."""
    for label in body["labels"]:
        for name, model in body["models"].items():
            if label in model["labels"]:
                return str(name)
    return None


def test_slicer_runs_by_itself_what_can_run_alone_or_nothing(site: Site) -> None:
    assert slicer_runs_by_itself(info(site)) is None
    add_model(site.services)
    assert slicer_runs_by_itself(info(site)) == "calcium"


def test_every_tool_of_clicks_has_the_arteries_with_contiguous_values(site: Site) -> None:
    add_model(site.services)
    models = info(site)["models"]
    assert list(models) == ["calcium", "lesion_click", "lesion_assign"]
    for name, kind in (("lesion_click", "deepgrow"), ("lesion_assign", "deepedit")):
        assert models[name]["type"] == kind
        assert models[name]["labels"] == {"LM": 1, "LAD": 2, "LCX": 3, "RCA": 4}
    # The first choice is the default: nothing that the annotator has not seen.
    assert models["lesion_click"]["config"] == {"start": ["nothing", "prediction"]}


def test_the_model_is_described_once_it_is_trained(site: Site) -> None:
    add_model(site.services)
    model = info(site)["models"]["calcium"]
    assert model["type"] == "segmentation"
    assert model["labels"] == LABELS
    assert model["dimension"] == 3
    assert model["description"]


def test_choices_are_lists_of_strings(site: Site) -> None:
    add_model(site.services)
    for choices in info(site)["models"]["calcium"]["config"].values():
        assert choices
        assert all(isinstance(choice, str) for choice in choices)


def test_trainer_offers_a_whole_number_of_epochs(site: Site) -> None:
    assert info(site)["trainers"]["calcium"]["config"] == {
        "max_epochs": 0,
        "start": ["shrink_perturb", "fresh", "warm"],
    }


@pytest.mark.parametrize("section", ["strategies", "scoring"])
def test_everything_to_choose_is_described(site: Site, section: str) -> None:
    entries = info(site)[section]
    assert entries
    assert all(entry["description"] for entry in entries.values())


def test_strategies_include_those_that_scripts_expect(site: Site) -> None:
    assert {"uncertainty", "stratified", "random", "first"} <= set(info(site)["strategies"])


def test_names_have_no_space(site: Site) -> None:
    # A space becomes a plus in the clients' paths.
    add_model(site.services)
    body = info(site)
    names = [*body["models"], *body["trainers"], *body["strategies"], *body["scoring"]]
    assert not [name for name in names if " " in name]


def test_counts_the_pool(pool: Site) -> None:
    pool.submit("case_1")
    assert info(pool)["datastore"] == {"total": 2, "completed": 1, "label_tags": {"final": 1}}


def test_train_stats_hold_finite_numbers_only(site: Site) -> None:
    with site.services.database.writing() as session:
        job = jobs.request_job(session, "train", {}, now=1.0)
        job.started_at = 1.0
        # JSON of the database keeps NaN, which would make the whole answer fail.
        job.result = {"stats": {"epoch": 3, "best_metric": math.nan, "train": {"loss": math.inf}}}
    assert info(site)["train_stats"] == {"calcium": {"epoch": 3, "train": {}, "start_ts": 1}}


def test_finite_leaves_out_what_is_no_number() -> None:
    value = {"a": math.nan, "b": [1.0, -math.inf, None], "c": {"d": None, "e": 0}, "f": False}
    assert finite(value) == {"b": [1.0], "c": {"e": 0}, "f": False}


def test_strategies_show_their_options_with_the_defaults(site: Site) -> None:
    strategies = info(site)["strategies"]
    assert strategies["uncertainty"]["config"] == {"random_share": 0.2}
    assert strategies["power"]["config"] == {
        "random_share": 0.2,
        "beta_first": 1.0,
        "beta_last": 100.0,
        "beta_rounds": 10,
    }
    # 3D Slicer makes a table of every config it finds.
    assert "config" not in strategies["random"]
