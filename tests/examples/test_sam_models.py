"""The image networks of the example on SAM."""

import pytest
import torch
from sharpness_with_and_without_sam.models import NAMES, build


def _count(network):
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    ("name", "count"), [("resnet8", 19_810), ("resnet18", 11_173_962), ("vgg16", 14_724_042)]
)
def test_sizes_are_those_known(name, count):
    channels = 1 if name == "resnet8" else 3
    assert _count(build(name, (channels, 32, 32), 10, seed=0)) == count


@pytest.mark.parametrize("name", ["resnet8", "vgg3", "vgg6"])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 13)])
def test_small_networks_take_small_images(name, shape):
    assert build(name, shape, 7, seed=0)(torch.zeros(2, *shape)).shape == (2, 7)


@pytest.mark.parametrize("name", NAMES)
def test_no_parameter_is_dead(name):
    side = 32 if name == "vgg16" else 8
    network = build(name, (1, side, side), 10, seed=0)
    images = torch.randn(4, 1, side, side, generator=torch.Generator().manual_seed(0))
    network(images).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 1e-6 for p in network.parameters())


def test_the_seed_alone_draws_the_weights():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, same, other = (build("vgg6", (1, 8, 8), 10, seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["0.weight"], other["0.weight"])


def test_images_that_pooling_would_use_up_are_refused():
    with pytest.raises(
        ValueError, match=r"vgg16 needs images of at least 32 by 32 pixels, and these have 28"
    ):
        build("vgg16", (1, 28, 28), 10, seed=0)
