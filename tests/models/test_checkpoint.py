import json
import pickle
from pathlib import Path

import pytest
import torch

from models.checkpoint import Checkpoint, card_path, load, save
from models.network import MultiTaskNetwork
from tests.models.cases import tiny_network


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "version.safetensors"
    weights = MultiTaskNetwork(tiny_network()).state_dict()
    save(path, Checkpoint(tiny_network(), weights, {"labels": ["a", "b"], "dice": 0.5}))
    return path


def test_what_is_saved_is_loaded(saved: Path) -> None:
    loaded = load(saved)
    assert loaded.network == tiny_network()
    assert loaded.facts == {"labels": ["a", "b"], "dice": 0.5}
    MultiTaskNetwork(loaded.network).load_state_dict(dict(loaded.weights))


def test_changed_weights_are_refused(saved: Path) -> None:
    content = bytearray(saved.read_bytes())
    content[-1] ^= 1
    saved.write_bytes(content)
    with pytest.raises(ValueError, match="do not match the SHA-256"):
        load(saved)


def test_pickle_is_never_opened(tmp_path: Path, saved: Path) -> None:
    path = tmp_path / "evil.pt"
    path.write_bytes(pickle.dumps({"weight": 1}))
    with pytest.raises(ValueError, match=r"must be in a \.safetensors file"):
        load(path)


@pytest.mark.parametrize("text", ["no json", "[]", '{"format": "other"}'])
def test_other_cards_are_refused(saved: Path, text: str) -> None:
    card_path(saved).write_text(text)
    with pytest.raises(ValueError, match=r"card version\.json is not"):
        load(saved)


def test_card_with_an_unknown_field_is_refused(saved: Path) -> None:
    card = json.loads(card_path(saved).read_text())
    card["network"]["colour"] = "red"
    card_path(saved).write_text(json.dumps(card))
    with pytest.raises(ValueError, match="is not a checkpoint"):
        load(saved)


def test_card_with_a_list_of_the_wrong_kind_is_refused(saved: Path) -> None:
    card = json.loads(card_path(saved).read_text())
    card["network"]["tasks"] = "region"
    card_path(saved).write_text(json.dumps(card))
    with pytest.raises(ValueError, match="expected a list"):
        load(saved)


def test_no_number_that_json_lacks_reaches_a_card(tmp_path: Path) -> None:
    path = tmp_path / "version.safetensors"
    with pytest.raises(ValueError, match="not JSON compliant"):
        save(path, Checkpoint(tiny_network(), {"a": torch.zeros(1)}, {"dice": float("nan")}))
    assert not path.exists()
