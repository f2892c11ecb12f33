from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from models.dropout import seeded_masks
from models.network import (
    MultiTaskNetwork,
    NetworkConfig,
    paper_network,
    restrict_to_candidates,
    small_network,
)
from models.tail import patch_box, prefix_level, sample_at_points
from models.tasks import LESION, REGION, TaskSpec
from tests.models.cases import tiny_network

COMPOSITIONS = {
    "tiny": tiny_network(),
    "two sampled stages": replace(tiny_network(), sampled_stages=2),
    "no dropout": replace(tiny_network(), bottleneck_dropout=0.0, stage_dropout=0.0),
    "joined": NetworkConfig(widths=(8, 8, 8), stage_dropout=0.3, sampled_stages=2),
    "two convolutions": replace(tiny_network(), stage_convs=2, dropout_stages=1),
    "coarse heads": NetworkConfig(
        widths=(8, 8, 8),
        tasks=(replace(REGION, stop_level=2), replace(LESION, stop_level=1, sees_input=False)),
    ),
    "small profile": small_network(),
    "paper profile": paper_network(),
}


def lively_network(config: NetworkConfig) -> MultiTaskNetwork:
    """Give normalisation layers statistics that are not the neutral ones."""
    torch.manual_seed(3)
    network = MultiTaskNetwork(config).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    return network


def random_input(config: NetworkConfig, height: int = 32, width: int = 48) -> Tensor:
    inputs = torch.rand(
        1, config.in_channels, height, width, generator=torch.Generator().manual_seed(5)
    )
    inputs[:, -1] = inputs[:, -1] > 0.3
    return inputs


def test_paper_network_has_the_size_of_the_published_one() -> None:
    network = MultiTaskNetwork(paper_network())
    # The published network has 3.11 M parameters; ours has a fifth region class.
    assert sum(parameter.numel() for parameter in network.parameters()) == pytest.approx(
        3.11e6, rel=0.02
    )
    assert network.config.in_channels == 2
    assert network.config.multiple == 256


@pytest.mark.parametrize("config", [tiny_network(), small_network()], ids=["tiny", "small"])
def test_every_task_gets_logits_at_full_resolution(config: NetworkConfig) -> None:
    logits = MultiTaskNetwork(config).eval()(random_input(config, 32, 64))
    assert logits["region"].shape == (1, 5, 32, 64)
    assert logits["lesion"].shape == (1, 2, 32, 64)


def test_sides_must_fit_the_halvings() -> None:
    with pytest.raises(ValueError, match=r"multiples of 8, got \(32, 44\)"):
        MultiTaskNetwork(tiny_network())(random_input(tiny_network(), 32, 44))


def test_lesion_loss_reaches_the_region_decoder() -> None:
    network = MultiTaskNetwork(tiny_network()).eval()
    network(random_input(network.config))["lesion"].sum().backward()
    stages = network.heads["region"].stages
    assert isinstance(stages, nn.ModuleDict)
    assert all(parameter.grad is not None for parameter in stages.parameters())


def test_no_lesion_outside_candidates() -> None:
    network = lively_network(tiny_network())
    inputs = random_input(network.config)
    probs = network(inputs)["lesion"].softmax(dim=1)[:, 1]
    is_candidate = inputs[:, -1] > 0.5
    assert (probs[~is_candidate] == 0.0).all()
    assert (probs[is_candidate] > 0.0).all()


def test_restriction_keeps_gradients_finite() -> None:
    logits = torch.zeros(1, 2, 2, 2, requires_grad=True)
    restricted = restrict_to_candidates(logits, torch.zeros(1, 1, 2, 2))
    (gradient,) = torch.autograd.grad(restricted.log_softmax(dim=1).sum(), logits)
    assert torch.isfinite(gradient).all()


PLACES = {
    "corner": ((0, 3), (5, 9)),
    "middle": ((14, 17, 15), (20, 22, 30)),
    "far corner": ((-1,), (-1,)),
    "edge": ((12, 20), (0, 1)),
    "whole": ((0, -1), (0, -1)),
}
"""Rows and columns of pixels; negative ones are counted from the end."""


@pytest.mark.parametrize("config", COMPOSITIONS.values(), ids=COMPOSITIONS)
def test_prefix_and_box_equal_full_passes_with_the_same_masks(config: NetworkConfig) -> None:
    side = max(config.multiple, 32)
    network, inputs = lively_network(config), random_input(config, side, side)
    for rows, columns in PLACES.values():
        inputs[:, -1, rows, columns] = 1.0
    masks = seeded_masks(config.sampled_sites(), 4, seed=1)
    with torch.inference_mode():
        naive = [
            network(inputs, {name: mask[t : t + 1] for name, mask in masks.items()})
            for t in range(4)
        ]
        prefix = network.decode(network.encode(inputs), until=prefix_level(config))
    for place in PLACES.values():
        points = torch.tensor(place) % side
        with torch.inference_mode():
            sampled = sample_at_points(network, prefix, masks, points)
        for name in ("region", "lesion"):
            full = torch.cat([logits[name] for logits in naive])[:, :, points[0], points[1]]
            drawn = sampled[name].expand(4, -1, -1)
            torch.testing.assert_close(drawn, full, rtol=0.0, atol=2e-6)
            assert full.std(dim=0).max() > 1e-4 or not masks


@pytest.mark.parametrize("config", [paper_network(), small_network()], ids=["paper", "small"])
def test_samples_drop_channels_of_the_last_stage_of_each_head_alone(config: NetworkConfig) -> None:
    last = {f"{task.name}.{task.stop_level}" for task in config.tasks}
    assert {site.name for site in config.sampled_sites()} == last
    assert {site.name for site in config.dropout_sites()} > last


def test_coarse_stages_speak_at_their_own_resolution() -> None:
    network = MultiTaskNetwork(tiny_network()).eval()
    state = network.decode(network.encode(random_input(network.config)))
    # The region head of three levels ends at level 1; only level 2 lies before it.
    shapes = [tuple(logits.shape) for logits in network.coarse_logits(state, "region")]
    assert shapes == [(1, 5, 8, 12)]


def test_box_is_smaller_than_the_slice() -> None:
    config = tiny_network()
    network = lively_network(config)
    prefix = network.decode(network.encode(random_input(config, 96, 96)), until=2)
    # Nine pixels of margin on a grid of four: 31..49 becomes 28..52, 41..59 becomes 40..60.
    assert patch_box(config, prefix, torch.tensor([[40], [50]])) == (((28, 52), (40, 60)), 2)


def test_crop_must_lie_on_the_grid_of_its_level() -> None:
    network = lively_network(tiny_network())
    state = network.decode(network.encode(random_input(network.config)), until=2)
    with pytest.raises(ValueError, match="multiples of 4"):
        state.crop((2, 8), (0, 8), 2)


@pytest.mark.parametrize(
    ("tasks", "reason"),
    [
        ((LESION,), "fed by"),
        ((REGION, REGION), "two tasks"),
        ((), "at least one"),
        ((replace(REGION, stop_level=3),), "stop_level"),
    ],
)
def test_impossible_networks_are_refused(tasks: tuple[TaskSpec, ...], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        NetworkConfig(widths=(8, 8, 8), tasks=tasks)


def test_impossible_tasks_are_refused() -> None:
    with pytest.raises(ValueError, match="without a dot"):
        TaskSpec(name="a.b", classes=2)
    with pytest.raises(ValueError, match="at least 2 classes"):
        TaskSpec(name="a", classes=1)


def test_unknown_task_is_named() -> None:
    with pytest.raises(ValueError, match="no task 'bone'"):
        tiny_network().task("bone")
