"""Too little memory, in a process to which the kernel gives no more."""

import errno
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.dropout import draw_masks
from models.memory import Shortage, attempt, is_out_of_memory
from models.network import MultiTaskNetwork
from models.training.dataset import Item, make_batch
from models.training.portions import Portion, add_gradients, run_in_portions
from models.training.weighting import FixedWeighting
from tests.models.cases import planted_case, tiny_network
from tests.models.starving import ENVIRONMENT
from tests.models.test_network import lively_network

_LONGEST_S = 280.0

_LITTLE = 0.25
"""Share of what whole batches need that a process may keep for good after it ran out."""


def starve(what: str, folder: Path) -> Any:
    """Return what became of a process that had too little memory."""
    command = [sys.executable, "-m", "tests.models.starved", what, str(folder)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, timeout=_LONGEST_S)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def predicted(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return starve("predict", tmp_path_factory.mktemp("starved"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return starve("train", tmp_path_factory.mktemp("starved"))


def test_a_prediction_in_smaller_batches_is_the_same(predicted: Any) -> None:
    found = predicted
    assert found["same"] == [True] * 4
    assert found["lesion_voxels"] > 0


def test_the_batch_that_fits_is_remembered(predicted: Any) -> None:
    found = predicted
    # Whole batches and halves do not fit; the second time what was kept may need one halving more.
    assert found["first_warnings"] >= 2
    assert found["later_warnings"] <= 1


def test_a_slice_that_does_not_fit_is_said_and_its_memory_given_back(predicted: Any) -> None:
    found = predicted
    assert found["problem"].startswith("no memory for one slice")
    assert found["kept"] < _LITTLE * found["needed"]


def test_a_training_goes_on_with_fewer_slices_at_once(trained: Any) -> None:
    found = trained
    assert found["shortage"].endswith("at a time for lack of memory")
    assert found["shrunk"] >= 1
    assert found["is_finite"]


def test_a_training_that_is_taken_up_again_knows_what_fits(trained: Any) -> None:
    found = trained
    assert found["went_on"] == found["shortage"]
    assert found["resumed_at"] == 2


def test_a_training_that_does_not_fit_gives_its_memory_back(trained: Any) -> None:
    found = trained
    assert found["problem"].startswith("no memory to train on one slice")
    assert found["kept"] < _LITTLE * found["needed"]
    # The epoch that failed is not lost: it is the next one that is done.
    assert found["epoch_afterwards"] == 3


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (np._core._exceptions._ArrayMemoryError((9,), np.dtype(np.int8)), True),  # type: ignore[attr-defined]  # numpy's own, which it does not export
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you"), True),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be"), True),
        (RuntimeError("could not create a primitive"), True),
        (RuntimeError("could not create a primitive descriptor for a convolution"), False),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"), False),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (ValueError("DefaultCPUAllocator: can't allocate memory"), False),
    ],
)
def test_tells_a_lack_of_memory_from_other_errors(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_other_errors_go_on_their_way() -> None:
    def fail() -> None:
        raise RuntimeError("planted")

    with pytest.raises(RuntimeError, match="planted"):
        attempt(fail)


def test_a_portion_is_halved_then_tried_on_the_processor_then_given_up() -> None:
    portion, tried = Portion(4, "cuda"), list[tuple[str, int]]()

    def act() -> str:
        tried.append((portion.device.type, portion.slices))
        if portion.device.type == "cpu" and portion.slices == 2:
            return "done"
        raise torch.OutOfMemoryError("CUDA out of memory")

    undone: list[int] = []
    assert portion.fit(act, lambda: undone.append(1)) == "done"
    assert tried == [("cuda", 4), ("cuda", 2), ("cuda", 1), ("cpu", 4), ("cpu", 2)]
    assert len(undone) == 4
    assert portion.shortage == "on the processor 2 slices at a time for lack of memory"


def test_steps_begin_anew_with_a_smaller_portion() -> None:
    portion, ended = Portion(4, "cpu"), list[str]()

    def begin() -> Any:
        yield portion.slices
        if portion.slices > 2:
            raise MemoryError
        return "end"

    def run() -> Any:
        ended.append((yield from portion.fit_steps(begin)))

    assert list(run()) == [4, 2]
    assert ended == ["end"]


class TestPortions:
    """Portions of a batch whose slices are all the same have the loss of the whole batch."""

    @pytest.fixture
    def network(self) -> MultiTaskNetwork:
        return lively_network(tiny_network()).eval()

    def gradients(self, network: MultiTaskNetwork, slices: int) -> tuple[float, torch.Tensor]:
        config = network.config
        batch = make_batch([Item(planted_case(1), 2)] * 4, (48, 48), config)
        masks = draw_masks(config.dropout_sites(), 1, torch.Generator().manual_seed(1))
        repeated = {name: mask.repeat(4, 1) for name, mask in masks.items()}
        portion = Portion(4, "cpu")
        portion.take_up(slices)
        network.zero_grad()
        weighting = FixedWeighting({"region": 1.0, "lesion": 1.0})
        loss = add_gradients(network, weighting, batch, repeated, ("region", "lesion"), portion)
        assert loss is not None
        parts = [one.grad.flatten() for one in network.parameters() if one.grad is not None]
        return float(loss), torch.cat(parts)

    @pytest.mark.parametrize("slices", [1, 3])
    def test_add_up_to_the_gradients_of_the_batch(
        self, network: MultiTaskNetwork, slices: int
    ) -> None:
        whole, expected = self.gradients(network, 4)
        loss, found = self.gradients(network, slices)
        # Not equal: the Dice loss is smoothed by a voxel, which weighs more in fewer slices.
        assert loss == pytest.approx(whole, rel=0.05)
        assert torch.nn.functional.cosine_similarity(found, expected, dim=0) > 0.99
        assert float(found.norm()) == pytest.approx(float(expected.norm()), rel=0.1)

    @torch.inference_mode()
    def test_say_what_the_whole_batch_says(self, network: MultiTaskNetwork) -> None:
        items = [Item(planted_case(seed), 2) for seed in (1, 2, 3)]
        inputs = make_batch(items, (48, 48), network.config).inputs
        whole, found = (run_in_portions(network, inputs, slices) for slices in (3, 2))
        for name, expected in whole.items():
            torch.testing.assert_close(found[name], expected)


def test_a_thread_in_which_no_code_can_be_made_is_not_used_again() -> None:
    used, modes = list[int](), list[bool]()

    def act() -> None:
        used.append(threading.get_ident())
        modes.append(torch.is_inference_mode_enabled())
        raise RuntimeError("could not create a primitive")

    @torch.inference_mode()
    def try_three_times() -> None:
        used.append(threading.get_ident())
        for _ in range(3):
            attempt(act)

    # What is noted of a thread ends with it.
    thread = threading.Thread(target=try_three_times)
    thread.start()
    thread.join()
    own, first, second, third = used
    assert (own == first, own == second, own == third) == (True, False, False)
    assert modes == [True] * 3


def test_a_shortage_is_one_line() -> None:
    def fail() -> None:
        raise RuntimeError("CUDA out of memory\nwith a long story")

    assert attempt(fail) == Shortage("CUDA out of memory")
