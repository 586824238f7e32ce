"""Sharpness written out for one flat weight vector, in float64."""

from __future__ import annotations

import math

import torch


def adaptive(loss, w, is_weight, rho, eta=0.01):
    w = w.clone().requires_grad_()
    value = loss(w)
    (g,) = torch.autograd.grad(value, w)
    t = torch.where(is_weight, w.detach().abs() + eta, torch.ones_like(w))
    step = rho * t * t * g / (t * g).norm()
    return (loss(w.detach() + step) - value).item()


def adaptive_average(loss, w, is_weight, rho, n_draws, generator):
    """Mean and standard error by independent draws, without antithetic pairs."""
    rises = torch.stack(
        [
            loss(
                w
                + rho
                * torch.where(is_weight, w.abs(), 0.0)
                * torch.randn(w.shape, dtype=w.dtype, generator=generator)
            )
            for _ in range(n_draws)
        ]
    ) - loss(w)
    return rises.mean().item(), (rises.std() / n_draws**0.5).item()


def sam(loss, w, rho):
    w = w.clone().requires_grad_()
    value = loss(w)
    (g,) = torch.autograd.grad(value, w)
    return (loss(w.detach() + rho * g / g.norm()) - value).item()


def ascent(loss, w, scale, rho, n_steps, *, boxed):
    """Highest rise along a projected ascent that starts with one step along the gradient."""

    def slope(u):
        u = u.clone().requires_grad_()
        value = loss(w + scale * u)
        (g,) = torch.autograd.grad(value, u)
        return value.item(), g.sign() if boxed else g / g.norm()

    base, uphill = slope(torch.zeros_like(w))
    u, best = rho * uphill, 0.0
    for t in range(n_steps):
        value, uphill = slope(u)
        best = max(best, value - base)
        u = u + rho * (1 + math.cos(math.pi * t / n_steps)) * uphill
        u = u.clamp(-rho, rho) if boxed else u * min(1.0, rho / u.norm().item())
    return max(best, loss(w + scale * u).item() - base)


def highest_in_disc(loss, w, scale, rho, *, boxed, n=15):
    """Highest rise over two numbers by a grid of steps."""
    line = torch.linspace(-rho, rho, n, dtype=w.dtype)
    steps = torch.cartesian_prod(line, line)
    if not boxed:  # the boundary, too
        angles = torch.linspace(0, 2 * math.pi, 361, dtype=w.dtype)
        edge = rho * torch.stack([angles.cos(), angles.sin()], dim=1)
        steps = torch.cat([steps[steps.norm(dim=1) <= rho], edge])
    return max((loss(w + scale * step) - loss(w)).item() for step in steps)


def average(loss, w, scale, rho, directions):
    """Mean rise over given directions and their opposites."""
    rises = [
        (loss(w + rho * scale * z) + loss(w - rho * scale * z)).item() / 2 - loss(w).item()
        for z in directions
    ]
    return sum(rises) / len(rises)


def relative_flatness(loss, w, rows):
    """By the explicit Hessian; ``rows`` are the positions in w of each neuron's weights, shape (c, d)."""
    hessian = torch.autograd.functional.hessian(loss, w)
    total = 0.0
    for s in rows:
        for t in rows:
            total += (w[s] @ w[t] * hessian[s][:, t].trace()).item()
    return total


def fisher_rao(row_losses, w):
    """Mean over rows, one gradient a row."""
    total, n = 0.0, len(row_losses(w))
    for i in range(n):
        v = w.clone().requires_grad_()
        (g,) = torch.autograd.grad(row_losses(v)[i], v)
        total += (g @ w).item() ** 2 / n
    return total


def largest_noise(risk, w, draws, spread, most):
    """Where the mean risk over fixed draws passes ``most``: bisection to the last digit."""
    low, high = 1e-4, 10.0
    for _ in range(30):
        middle = (low * high) ** 0.5
        mean = sum(float(risk(w + spread(middle) * z)) for z in draws) / len(draws)
        low, high = (middle, high) if mean <= most else (low, middle)
    return low


def sam_bound(length, rho, n, p, delta):
    """What the best prior of a grid adds to the worst case within rho: the proof of Foret et al., theorem 2.

    McAllester's bound for noise that leaves the ball with probability 1 / sqrt(n), and priors
    N(0, c exp((1 - j) / p)) of which the j-th may fail with probability 6 delta / (pi j)^2.
    """
    noise = (rho / (math.sqrt(p) + math.sqrt(math.log(n)))) ** 2
    log_c = math.log(noise) + math.log1p(math.exp(-4 * n / p)) + 4 * n / p
    best = math.log(noise + length**2 / p)  # the variance that would be chosen with hindsight
    middle = 1 + p * (log_c - best)
    terms = []
    for j in {max(1, math.floor(middle) + shift) for shift in (-1, 0, 1)}:
        prior = math.exp(log_c + (1 - j) / p)
        divergence = (p * noise + length**2) / prior - p + p * math.log(prior / noise)
        chance = math.log(n * math.pi**2 * j**2 / (6 * delta))
        terms.append(math.sqrt((divergence / 2 + chance) / (2 * (n - 1))))
    return min(terms) + 1 / math.sqrt(n)
