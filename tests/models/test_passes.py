import pytest
import torch

from models.network import MultiTaskNetwork, NetworkConfig, paper_network, small_network
from models.passes import OpenVinoPass, TorchPass, has_openvino, make_pass, precision
from tests.models.cases import tiny_network
from tests.models.test_network import lively_network, random_input

needs_openvino = pytest.mark.skipif(
    not has_openvino(), reason="needs the extra caclabel[openvino], which is not installed"
)


def test_pytorch_pass_is_the_networks_own() -> None:
    network = lively_network(tiny_network())
    inputs = random_input(network.config)
    with torch.inference_mode():
        prefix, logits = TorchPass(network)(inputs)
        expected = network(inputs)
    # The last stage of the region head ends at level 1, so samples begin at level 2.
    assert prefix.level == 2
    assert all(torch.equal(logits[name], expected[name]) for name in ("region", "lesion"))


@needs_openvino
@pytest.mark.parametrize(
    "config", [tiny_network(), small_network(), paper_network()], ids=["tiny", "small", "paper"]
)
def test_openvino_gives_the_same_values(config: NetworkConfig) -> None:
    network = lively_network(config)
    converted, side = OpenVinoPass(network), max(config.multiple, 32)
    for height, width in ((side, side), (2 * side, side)):
        inputs = random_input(config, height, width)
        with torch.inference_mode():
            (prefix, logits), (expected, told) = converted(inputs), TorchPass(network)(inputs)
        for name, values in told.items():
            torch.testing.assert_close(logits[name], values, rtol=1e-4, atol=1e-4)
        assert prefix.decoded.keys() <= expected.decoded.keys()
        for key, values in prefix.decoded.items():
            torch.testing.assert_close(values, expected.decoded[key], rtol=1e-4, atol=1e-4)
        for values, wanted in zip(prefix.features, expected.features, strict=True):
            torch.testing.assert_close(values, wanted, rtol=1e-4, atol=1e-4)


def test_the_processor_runs_openvino_where_it_is_installed() -> None:
    chosen = make_pass(MultiTaskNetwork(tiny_network()).eval())
    assert isinstance(chosen, OpenVinoPass if has_openvino() else TorchPass)


def test_a_processor_keeps_all_digits() -> None:
    with precision(torch.device("cpu")):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
