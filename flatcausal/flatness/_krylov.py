"""Lanczos's iteration for several symmetric matrices in lockstep."""

from __future__ import annotations

import torch
from torch import Tensor

from flatcausal.flatness._probes import FURTHER, fixed_generators, normal
from flatcausal.flatness._products import Products


class Krylov:
    """Orthonormal bases V of what products of a start vector span, and the matrices V' H V.

    Each new vector is orthogonalised against all others, twice; the simple form keeps two. Where the span
    is used up, a random vector begins another one, so that eigenvalues that occur twice are found.

    Parameters
    ----------
    products : Products
        H of each member.
    start : Tensor of shape (K, P)
        First vectors.
    width : int
        Most vectors of a basis; no more than numbers that move.

    Attributes
    ----------
    size : int
        Vectors whose products are known.
    residual : Tensor of shape (K,)
        Length of what H leads out of the span, all of it along the next vector.
    """

    def __init__(self, products: Products, start: Tensor, width: int):
        n_members, n_numbers = start.shape
        self.products, self.size = products, 0
        self.basis = start.new_zeros(n_members, width + 1, n_numbers)
        self.projected = start.new_zeros(n_members, width, width, dtype=torch.float64)
        self.residual = start.new_zeros(n_members)
        self._generators = fixed_generators(products.problem, FURTHER)  # never the start again
        self._basis_is_whole = width == products.problem.n_parameters
        self.basis[:, 0] = _unit(start)

    def grow(self) -> None:
        """By one vector: one product."""
        j = self.size
        vector, coefficients = self._orthogonal(self.products(self.basis[:, j]), j + 1)
        self.projected[:, j, : j + 1] = self.projected[:, : j + 1, j] = coefficients.double()
        self.size = j + 1
        self.residual = torch.linalg.vector_norm(vector, dim=1)
        held = self.projected[:, : j + 1, : j + 1].abs().amax((1, 2))
        ended = self.residual <= 100 * torch.finfo(vector.dtype).eps * held
        self.residual = torch.where(ended, 0.0, self.residual)
        if self._basis_is_whole and self.size == self.projected.shape[1]:
            return
        if ended.any():
            vector = self._another(vector, ended)
        self.basis[:, j + 1] = _unit(vector)

    def eigen(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues (K, size), rising, and eigenvectors (K, size, size) of the projected matrices."""
        values, vectors = torch.linalg.eigh(self.projected[:, : self.size, : self.size])
        return values, vectors

    def vectors(self, combinations: Tensor) -> Tensor:
        """From coordinates (K, size, k) to vectors (K, k, P)."""
        return torch.bmm(combinations.mT.to(self.basis.dtype), self.basis[:, : self.size])

    def restart(self, values: Tensor, combinations: Tensor) -> None:
        """Keep some eigenvectors of the projected matrix and the next vector alone (Wu & Simon, 2000)."""
        kept = values.shape[1]
        following = self.basis[:, self.size].clone()
        self.basis[:, :kept] = self.vectors(combinations)
        self.basis[:, kept] = following
        self.projected.zero_()
        self.projected[:, range(kept), range(kept)] = values
        self.size = kept

    def _orthogonal(self, vector: Tensor, n: int) -> tuple[Tensor, Tensor]:
        """Without the first n basis vectors, and their coefficients."""
        held, total = self.basis[:, :n], 0.0
        for _ in range(2):
            coefficients = torch.bmm(held, vector[:, :, None])
            vector = vector - torch.bmm(held.mT, coefficients)[:, :, 0]
            total = total + coefficients
        assert isinstance(total, Tensor)
        return vector, total[:, :, 0]

    def _another(self, vector: Tensor, ended: Tensor) -> Tensor:
        """A random direction outside the span for members whose span is used up."""
        drawn = _unit(normal(self.products.problem, self._generators, ended))
        chance, _ = self._orthogonal(drawn, self.size)
        return torch.where(ended[:, None], chance, vector)


def _unit(vectors: Tensor) -> Tensor:
    """Rows of length 1, however short they were; 0 stays 0."""
    return torch.nn.functional.normalize(vectors, dim=1, eps=torch.finfo(vectors.dtype).tiny)
