"""SGD's stationary variance against that of its recursion, by a population of scalars.

On :math:`h (w - x)^2 / 2` with rows :math:`x` of variance :math:`s^2`, a batch of :math:`S` rows has gradient
noise of variance :math:`\\sigma^2 / S`, :math:`\\sigma = h s`, and the step is a first-order autoregression.
"""

import pytest
import torch

from flatcausal.optim import SGD

N_CHAINS, N_STEPS = 20_000, 150


def variance(lr, batch_size, curvature, momentum=0.0, spread=1.5):
    """Variance over chains, each a member with batches of its own, after the start is forgotten."""
    w = torch.zeros(N_CHAINS, 1, dtype=torch.float64, requires_grad=True)
    optimizer = SGD(momentum=momentum).build([w], lr=lr, n_members=N_CHAINS)
    generator = torch.Generator().manual_seed(0)

    def closure():
        optimizer.zero_grad()
        x = spread * torch.randn(N_CHAINS, batch_size, dtype=torch.float64, generator=generator)
        loss = (0.5 * curvature * (w - x).square()).mean(1).sum()
        loss.backward()
        return loss

    for _ in range(N_STEPS):
        optimizer.step(closure)
    return w.var().item()


@pytest.mark.parametrize(("lr", "batch_size", "curvature"), [(0.05, 1, 1.0), (0.4, 4, 2.0), (0.3, 2, 0.5)])
def test_variance_of_sgd(lr, batch_size, curvature):
    sigma = 1.5 * curvature
    expected = lr * sigma**2 / batch_size / (curvature * (2 - lr * curvature))
    # The standard error is sqrt(2 / 20 000) = 1 %.
    assert variance(lr, batch_size, curvature) == pytest.approx(expected, rel=0.04)


def test_momentum_multiplies_the_ratio():
    lr, curvature, mu = 0.1, 1.0, 0.8
    denominator = curvature * (1 - mu) * (2 * (1 + mu) - lr * curvature)
    expected = lr * (1.5 * curvature) ** 2 / 2 * (1 + mu) / denominator
    assert variance(lr, 2, curvature, mu) == pytest.approx(expected, rel=0.04)
    assert expected == pytest.approx(lr / (1 - mu) * 1.5**2 / 2 / 2, rel=0.03)  # the law of the ratio


def test_one_ratio_gives_one_variance_while_steps_are_short():
    narrow, wide = variance(0.05, 1, 0.8), variance(0.1, 2, 0.8)
    assert narrow == pytest.approx(wide, rel=0.06)
    assert variance(0.1, 1, 0.8) == pytest.approx(2 * narrow, rel=0.08)
