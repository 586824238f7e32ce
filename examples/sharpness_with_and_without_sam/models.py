"""Networks for small images: residual ones and plain ones, both with batch normalisation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


class Block(nn.Module):
    """Two convolutions and a way around them."""

    def __init__(self, n_in: int, n_out: int, stride: int):
        super().__init__()
        self.straight = nn.Sequential(
            _conv(n_in, n_out, stride),
            nn.BatchNorm2d(n_out),
            nn.ReLU(),
            _conv(n_out, n_out, 1),
            nn.BatchNorm2d(n_out),
        )
        same = stride == 1 and n_in == n_out
        around = nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out))
        self.around = nn.Identity() if same else around

    def forward(self, images: Tensor) -> Tensor:
        """The sum of both ways, cut off at 0."""
        return torch.relu(self.straight(images) + self.around(images))


class ResNet(nn.Sequential):
    """A residual network with the stem for small images: one 3x3 convolution, no pooling (He et al., 2016).

    Parameters
    ----------
    n_channels, n_classes : int
        Of the images.
    widths : sequence of int
        Channels of each stage; all but the first halve the image.
    n_blocks : int
        Of each stage.
    """

    def __init__(self, n_channels: int, n_classes: int, widths: Sequence[int], n_blocks: int):
        layers: list[nn.Module] = [_conv(n_channels, widths[0], 1), nn.BatchNorm2d(widths[0]), nn.ReLU()]
        for stage, (n_in, n_out) in enumerate(pairwise([widths[0], *widths])):
            layers.append(Block(n_in, n_out, stride=1 if stage == 0 else 2))
            layers += [Block(n_out, n_out, stride=1) for _ in range(n_blocks - 1)]
        super().__init__(*layers, *_head(widths[-1], n_classes))


class VGG(nn.Sequential):
    """Plain convolutions, each with batch normalisation (Simonyan and Zisserman, 2015), and one linear layer.

    Parameters
    ----------
    n_channels, n_classes : int
        Of the images.
    stages : sequence of sequence of int
        Channels of the convolutions of each stage; pooling halves the image between stages.
    pool_last : bool
        Whether it does so after the last stage too.
    """

    def __init__(self, n_channels: int, n_classes: int, stages: Sequence[Sequence[int]], pool_last: bool):
        layers: list[nn.Module] = []
        n_in = n_channels
        for stage, widths in enumerate(stages):
            for n_out in widths:
                layers += [_conv(n_in, n_out, 1), nn.BatchNorm2d(n_out), nn.ReLU()]
                n_in = n_out
            if pool_last or stage < len(stages) - 1:
                layers.append(nn.MaxPool2d(2))
        super().__init__(*layers, *_head(n_in, n_classes))


def _conv(n_in: int, n_out: int, stride: int) -> nn.Conv2d:
    # Without bias, which the normalisation after it would take off again.
    return nn.Conv2d(n_in, n_out, 3, stride, padding=1, bias=False)


def _head(n_in: int, n_classes: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(n_in, n_classes)]


_VGG16 = ((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3)
_MODELS: dict[str, tuple[Callable[[int, int], nn.Module], int]] = {  # and the least height and width
    "resnet8": (lambda c, k: ResNet(c, k, (8, 16, 32), 1), 4),
    "resnet18": (lambda c, k: ResNet(c, k, (64, 128, 256, 512), 2), 8),
    "vgg3": (lambda c, k: VGG(c, k, ((8,), (16,)), pool_last=False), 2),
    "vgg6": (lambda c, k: VGG(c, k, ((8, 8), (16, 16), (32,)), pool_last=False), 4),
    "vgg16": (lambda c, k: VGG(c, k, _VGG16, pool_last=True), 32),
}
NAMES = tuple(_MODELS)


def build(name: str, shape: tuple[int, int, int], n_classes: int, seed: int) -> nn.Module:
    """Make the network ``name`` for images of ``shape`` (channels, height, width).

    The same seed gives the same weights; torch's own random state stays as it is.
    """
    make, least = _MODELS[name]
    channels, height, width = shape
    if min(height, width) < least:
        raise ValueError(
            f"--models {name} needs images of at least {least} by {least} pixels, and these have {height} by "
            f"{width}: choose another of {', '.join(NAMES)}."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make(channels, n_classes).to(memory_format=torch.channels_last)  # a sixth less time on CPUs
