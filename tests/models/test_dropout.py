import pytest
import torch

from models.dropout import DropoutSite, apply_mask, draw_masks, seeded_masks

SITES = (DropoutSite("bottleneck", 40, 0.5, 3), DropoutSite("lesion.0", 10, 0.25, 0))


def test_masks_are_the_same_for_one_seed_and_others_for_another() -> None:
    first, again, other = (seeded_masks(SITES, 6, seed) for seed in (4, 4, 5))
    for site in SITES:
        assert torch.equal(first[site.name], again[site.name])
        assert not torch.equal(first[site.name], other[site.name])


def test_ten_samples_are_the_first_of_twenty() -> None:
    few, many = seeded_masks(SITES, 10, 7), seeded_masks(SITES, 20, 7)
    assert all(torch.equal(few[name], many[name][:10]) for name in few)


def test_samples_differ_from_each_other() -> None:
    masks = seeded_masks(SITES, 20, 0)["bottleneck"]
    assert torch.unique(masks, dim=0).shape[0] == 20


def test_kept_channels_make_up_for_dropped_ones() -> None:
    masks = draw_masks((DropoutSite("a", 1000, 0.25, 0),), 100, torch.Generator().manual_seed(1))
    # Kept channels are scaled by 1 / 0.75; 100 000 draws leave the mean within 1 %.
    assert torch.unique(masks["a"]).tolist() == pytest.approx([0.0, 4 / 3])
    assert float(masks["a"].mean()) == pytest.approx(1.0, abs=0.01)


def test_a_site_without_dropout_has_no_mask() -> None:
    assert seeded_masks((DropoutSite("a", 3, 0.0, 0),), 5, 0) == {}


def test_mask_is_split_over_the_parts_of_a_site() -> None:
    parts = [torch.ones(1, 2, 4, 4), torch.ones(1, 1, 8, 8)]
    first, second = apply_mask(parts, {"a": torch.tensor([[0.0, 2.0, 3.0]])}, "a")
    assert first[0, :, 0, 0].tolist() == [0.0, 2.0]
    assert second[0, :, 0, 0].tolist() == [3.0]


def test_every_slice_gets_the_same_mask() -> None:
    masks = {"a": torch.tensor([[0.0, 2.0]])}
    (scaled,) = apply_mask([torch.ones(3, 2, 1, 1)], masks, "a")
    assert scaled[:, :, 0, 0].tolist() == [[0.0, 2.0]] * 3


def test_dropping_everything_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\[0, 1\)"):
        DropoutSite("a", 1, 1.0, 0)
