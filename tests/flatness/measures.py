"""Every public measure, as quick as it can be."""

from functools import partial

from flatcausal.flatness import (
    fisher_rao_norm,
    gradient_norm,
    hessian_top_eigenvalues,
    hessian_trace,
    local_energy,
    local_entropy,
    pac_bayes_sigma,
    relative_flatness,
    sharpness,
    spectral_density,
)
from tests.flatness.models import KINDS

MEASURES = {
    **{kind: partial(sharpness, kind=kind, n_draws=3, n_steps=3) for kind in KINDS},
    "local_energy": partial(local_energy, sigmas=[0.3], n_draws=2, of="loss"),
    "pac_bayes": partial(pac_bayes_sigma, n_draws=2, of="loss"),
    "relative_flatness": relative_flatness,
    "fisher_rao": fisher_rao_norm,
    "gradient_norm": gradient_norm,
    "eigenvalues": hessian_top_eigenvalues,
    "trace": partial(hessian_trace, max_products=30),
    "density": partial(spectral_density, n_runs=2, n_steps=6, sigma=1.0),
    "local_entropy": partial(local_entropy, n_runs=2, n_steps=6),
}
SURVIVE = {
    "adaptive_l2",
    "adaptive_linf",
    "adaptive_average",
    "local_energy",
    "relative_flatness",
    "fisher_rao",
}
