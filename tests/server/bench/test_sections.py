"""Every section, measured at the smallest scale."""

from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch

from app.errors import NotFoundError
from app.samples import assign_next
from app.settings import Settings
from app.store.database import Database
from models.inputs import network_input
from models.network import MultiTaskNetwork, small_network
from server.bench.next_sample import fill
from server.bench.prediction_cost import never_say
from server.bench.scale import quick_scale
from server.bench.sections import LONG, measure, section_names
from server.demo.narration import Narrator


def test_an_unknown_section_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="known: polling"):
        measure("speed", quick_scale(tmp_path, Narrator(StringIO())))


def test_the_large_pool_is_ranked_by_uncertainty(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    fill(settings, 40)
    database = Database(settings.database)
    with database.writing() as session:
        sample = assign_next(
            session, strategy="uncertainty", client_id="c", options={}, settings=settings, now=1e9
        )
    database.close()
    assert sample is not None
    assert sample.image.id.startswith("image-0000")


def test_a_head_never_says_what_it_must_not() -> None:
    torch.manual_seed(0)
    config = replace(small_network(), has_position=False)
    network = MultiTaskNetwork(config).eval()
    never_say(network, "region", 0)
    never_say(network, "lesion", 1)
    slabs = np.zeros((1, 2 * config.neighbours + 1, 32, 32), np.int16)
    with torch.inference_mode():
        logits = network(network_input(slabs, np.zeros((1, 32, 32), np.bool_), config))
    assert (logits["region"].argmax(dim=1) > 0).all()
    assert (logits["lesion"].softmax(dim=1)[:, 1] < 1e-6).all()


_ALSO_LONG = {"polling"}
"""Trains a network behind a real server for its figures, as the demonstration does for its report;
``caclabel bench --quick`` tries it in a minute."""


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(section_names()) - LONG - _ALSO_LONG))
def test_every_section_yields_positive_figures(name: str, tmp_path: Path) -> None:
    section = measure(name, quick_scale(tmp_path, Narrator(StringIO())))
    assert section.name == name
    assert all(figure.value > 0 for figure in section.figures)
