"""TabNet: K independent networks computed as one function of a population matrix."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from flatcausal._validation import check_choice, check_integer, check_real
from flatcausal.nn._embeddings import Embeddings
from flatcausal.nn._evaluation import masks, predictions
from flatcausal.nn._gradient import statistics_totals
from flatcausal.nn._layout import Block, Layout
from flatcausal.nn._normalization import BatchStatistics, RunningStatistics
from flatcausal.nn._pass import LOG_OFFSET
from flatcausal.nn._projections import PROJECTIONS
from flatcausal.nn._weights import InputObserver, add_outer, observer_of


@dataclass(frozen=True)
class _GatedLayer:
    """One gated linear unit: its weights, its normalisation, and the part of the input it adds to."""

    weight: str
    norm: int
    residual: slice


class TabNet(nn.Module):
    """TabNet networks whose trainable numbers are the rows of one matrix.

    Parameters
    ----------
    n_features : int
        Width of the input.
    n_outputs : int, default=1
        Width of the output.
    n_members : int, default=1
        Number of independent networks K.
    n_d, n_a : int, default=8
        Width of the decision and of the attention part of a step.
    n_steps : int, default=3
        Number of decision steps.
    gamma : float, default=1.3
        Relaxation: at 1 a feature that one step used fully is closed to later steps.
    n_independent, n_shared : int, default=2
        Gated layers of a step that are its own, and those that all steps share.
    virtual_batch_size : int, default=128
        Most rows of a ghost batch.
    bn_momentum : float, default=0.02
        Share of a new ghost batch in the running statistics.
    mask_type : "sparsemax" or "entmax", default="sparsemax"
        What turns attention into a mask; "entmax" is the 1.5-entmax, less sparse and with a continuous slope.
    embeddings : mapping of int to (int, int), optional
        For each categorical column its number of categories and its embedding's dimension. The column holds
        codes from 0; it is replaced by its embedding, over which its attention is shared equally. A code
        of -1 is an unseen category: the running mean of the column's embedding stands in for it.
    generators : sequence of torch.Generator, optional
        One for each member, to draw its initial weights; fresh entropy by default.

    Attributes
    ----------
    population : nn.Parameter of shape (K, P)
        One row a member; the only parameter.
    statistics : Tensor of shape (K, 2S)
        Running means, then running variances, of all normalised features; a buffer.
    layout : Layout
        The names of the columns of ``population``.
    track_running_stats : bool
        While False, a pass in training mode leaves ``statistics`` alone.
    input_observer : callable or None
        Given the second moments of all linear layers' inputs by every training pass that is differentiated.

    References
    ----------
    S. O. Arik and T. Pfister, "TabNet: Attentive Interpretable Tabular Learning", AAAI 2021.

    Examples
    --------
    >>> import torch
    >>> network = TabNet(5, n_members=3)
    >>> output, sparsity = network(torch.randn(32, 5))
    >>> tuple(output.shape), tuple(sparsity.shape)
    ((3, 32, 1), (3,))
    """

    statistics: Tensor

    def __init__(
        self,
        n_features: int,
        n_outputs: int = 1,
        *,
        n_members: int = 1,
        n_d: int = 8,
        n_a: int = 8,
        n_steps: int = 3,
        gamma: float = 1.3,
        n_independent: int = 2,
        n_shared: int = 2,
        virtual_batch_size: int = 128,
        bn_momentum: float = 0.02,
        mask_type: str = "sparsemax",
        embeddings: Mapping[int, tuple[int, int]] | None = None,
        generators: Sequence[torch.Generator] | None = None,
    ):
        super().__init__()
        self.n_features = check_integer("n_features", n_features, low=1)
        self.n_outputs = check_integer("n_outputs", n_outputs, low=1)
        self.n_members = check_integer("n_members", n_members, low=1)
        self.n_d, self.n_a = check_integer("n_d", n_d, low=1), check_integer("n_a", n_a, low=1)
        self.n_steps = check_integer("n_steps", n_steps, low=1)
        self.gamma = check_real("gamma", gamma, low=1.0)
        self.n_shared = check_integer("n_shared", n_shared, low=0)
        self.n_independent = check_integer("n_independent", n_independent, low=int(self.n_shared == 0))
        self.virtual_batch_size = check_integer("virtual_batch_size", virtual_batch_size, low=2)
        self.bn_momentum = check_real("bn_momentum", bn_momentum, low=0.0, high=1.0)
        self.mask_type = check_choice("mask_type", mask_type, PROJECTIONS)
        self.projection = PROJECTIONS[self.mask_type]
        self.embeddings = Embeddings(self.n_features, {} if embeddings is None else embeddings)
        self.track_running_stats = True
        self.input_observer: InputObserver | None = None

        self._norm_sizes = [self.embeddings.n_columns]
        weights = self.embeddings.blocks()
        self._transformers = [self._plan_transformer(0, weights)]
        self._attention_norms: list[int] = []
        for t in range(1, self.n_steps + 1):
            self._attention_norms.append(self._plan_attention(t, weights))
            self._transformers.append(self._plan_transformer(t, weights))
        weights.append(_linear("output", self.n_d, self.n_outputs))
        self.layout = Layout(
            weights
            + [
                Block(f"norm.{i}.weight", (size,), "norm", 0.0, 1.0)
                for i, size in enumerate(self._norm_sizes)
            ]
            + [Block(f"norm.{i}.bias", (size,), "norm", 0.0) for i, size in enumerate(self._norm_sizes)]
        )

        self._scales: Tensor | None = None  # see residual_scales
        if generators is None:
            generators = [torch.Generator() for _ in range(self.n_members)]
            for generator in generators:
                generator.seed()
        self.population = nn.Parameter(self.layout.draw(generators))
        n_normalized = sum(self._norm_sizes)
        self.register_buffer(
            "statistics",
            torch.cat([torch.zeros(n_normalized), torch.ones(n_normalized)]).repeat(self.n_members, 1),
        )

    def _plan_transformer(self, t: int, weights: list[Block]) -> list[_GatedLayer]:
        """Layers of feature transformer ``t``: 0 starts the attention, t >= 1 belongs to step t."""
        width = self.n_d + self.n_a
        # Only a part of the first and of the last transformer is ever read; the rest would be dead weight.
        read = {0: slice(self.n_d, width), self.n_steps: slice(0, self.n_d)}.get(t, slice(0, width))
        layers = []
        for i in range(self.n_shared + self.n_independent):
            n_inputs = self.embeddings.n_columns if i == 0 else width
            is_last_own = i == self.n_shared + self.n_independent - 1 and self.n_independent > 0
            kept = read if is_last_own else slice(0, width)
            n_outputs = 2 * (kept.stop - kept.start)
            name = f"shared.{i}" if i < self.n_shared else f"transformer.{t}.{i - self.n_shared}"
            if t == 0 or i >= self.n_shared:
                weights.append(_linear(name, n_inputs, n_outputs, gated=True))
            layers.append(_GatedLayer(name, self._plan_norm(n_outputs), kept))
        return layers

    def _plan_attention(self, t: int, weights: list[Block]) -> int:
        weights.append(_linear(f"attention.{t}", self.n_a, self.n_features))
        return self._plan_norm(self.n_features)

    def _plan_norm(self, size: int) -> int:
        self._norm_sizes.append(size)
        return len(self._norm_sizes) - 1

    def forward(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Predict, and say how sparse the attention is.

        Parameters
        ----------
        X : Tensor of shape (n, n_features) or (K, n, n_features)
            The same rows for every member, or each member's own.

        Returns
        -------
        output : Tensor of shape (K, n, n_outputs)
        sparsity : Tensor of shape (K,)
            Mean over rows and steps of the masks' negative entropy, ``sum(M log M)``.
        """
        tensors = self.layout.split(self.population)
        norm = self._norm(tensors, X.shape[-2])
        observer = observer_of(self) if self.training and torch.is_grad_enabled() else None
        if observer is not None:
            tensors = _Watched(tensors)
        steps = self._decide(X, tensors, norm)
        if isinstance(norm, BatchStatistics) and self.track_running_stats:
            with torch.no_grad():
                self.statistics.copy_(norm.decayed(self.statistics, self.bn_momentum))
        output = _apply(tensors, "output", torch.stack([decision for _, decision in steps]).sum(0))
        if observer is not None and isinstance(tensors, _Watched):
            observer(tensors.moments, X.shape[-2])
        sparsity = torch.stack([(mask * (mask + LOG_OFFSET).log()).sum(1).mean(1) for mask, _ in steps]).mean(
            0
        )
        return output.transpose(1, 2), sparsity

    def predict(self, X: Tensor) -> Tensor:
        """What ``forward`` predicts in evaluation mode, without a graph and in bounded memory.

        Returns
        -------
        Tensor of shape (K, n, n_outputs)
        """
        return predictions(self, X)

    def explain(self, X: Tensor) -> Tensor:
        """How much each row's prediction in evaluation mode attends to each feature; rows sum to one.

        The masks of the steps are weighted by what their decisions add (Arik & Pfister, 2021, section
        "Interpretability"); a row to which no step adds anything takes the plain mean of its masks.

        Returns
        -------
        Tensor of shape (K, n, n_features)
        """
        explained = X.new_empty(self.n_members, self.n_features, X.shape[-2])
        for members, rows, mask in masks(self, X):
            explained[members, :, rows] = mask
        return explained.transpose(1, 2)

    def mean_masks(self, X: Tensor, weight: Tensor | None = None) -> Tensor:
        """Mean over the rows of :meth:`explain`, in bounded memory.

        Parameters
        ----------
        X : Tensor of shape (n, n_features) or (K, n, n_features)
        weight : Tensor of shape (n,), optional
            Weights of the rows in the mean.

        Returns
        -------
        Tensor of float64, shape (K, n_features)
        """
        total = torch.zeros(self.n_members, self.n_features, dtype=torch.float64, device=X.device)
        for members, rows, mask in masks(self, X):
            weighted = mask if weight is None else mask * weight[rows]
            total[members] += weighted.sum(2, dtype=torch.float64)
        return total / (X.shape[-2] if weight is None else weight.sum(dtype=torch.float64))

    @torch.no_grad()
    def reestimate_statistics(self, batches: Iterable[Tensor]) -> None:
        """Replace the running statistics by row-weighted means over all ghost batches of ``batches``.

        Running statistics lag behind weights that moved; how far depends on the optimizer's number of
        steps. Afterwards they belong to the present weights.
        """
        total, n_rows = torch.zeros_like(self.statistics, dtype=torch.float64), 0
        for X in batches:
            total += statistics_totals(self, X).double()
            n_rows += X.shape[-2]
        self.statistics.copy_(total / n_rows)

    def _norm(self, tensors: dict[str, Tensor], n_rows: int) -> BatchStatistics | RunningStatistics:
        layers = range(len(self._norm_sizes))
        weights, biases = ([tensors[f"norm.{i}.{part}"] for i in layers] for part in ("weight", "bias"))
        if self.training:
            return BatchStatistics(weights, biases, n_rows, self.virtual_batch_size)
        return RunningStatistics(weights, biases, self.statistics)

    def _decide(
        self, X: Tensor, tensors: dict[str, Tensor], norm: BatchStatistics | RunningStatistics
    ) -> list[tuple[Tensor, Tensor]]:
        """Mask (K, n_features, n) and decision (K, n_d, n) of each step."""
        x = X.expand(self.n_members, *X.shape[-2:]).transpose(1, 2)
        prior = x.new_ones(x.shape)
        x = norm(0, self.embeddings(x, self.population, self.statistics[:, : self.embeddings.n_columns]))
        attention = self._transform(0, x, tensors, norm)[:, -self.n_a :]
        steps = []
        for t in range(1, self.n_steps + 1):
            logits = norm(self._attention_norms[t - 1], _apply(tensors, f"attention.{t}", attention))
            mask = self.projection.differentiable(logits * prior, 1)
            prior = prior * (self.gamma - mask)
            hidden = self._transform(t, self.embeddings.spread(mask) * x, tensors, norm)
            steps.append((mask, hidden[:, : self.n_d].relu()))
            attention = hidden[:, -self.n_a :]
        return steps

    def _transform(self, t: int, x: Tensor, tensors: dict[str, Tensor], norm) -> Tensor:
        for i, layer in enumerate(self._transformers[t]):
            gated = nn.functional.glu(norm(layer.norm, _apply(tensors, layer.weight, x)), dim=1)
            x = gated if i == 0 else (x[:, layer.residual] + gated) * 0.5**0.5
        return x


class _Watched(dict[str, Tensor]):
    """Weights of one pass by name, and the second moments of what they are applied to."""

    def __init__(self, tensors: dict[str, Tensor]):
        super().__init__(tensors)
        self.moments: dict[str, Tensor] = {}


def _apply(tensors: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    """A linear layer on activations (K, inputs, n)."""
    if isinstance(tensors, _Watched):
        with torch.no_grad():
            tensors.moments[name] = add_outer(tensors.moments.get(name), x, x)
    return torch.bmm(tensors[name], x)


def _linear(name: str, n_inputs: int, n_outputs: int, *, gated: bool = False) -> Block:
    # Xavier with TabNet's gains, sqrt((i + o) / sqrt(i)) for gated and sqrt((i + o) / sqrt(4 i)) for
    # plain layers: the number of outputs cancels.
    scale = n_inputs**-0.25 * (2**0.5 if gated else 1.0)
    return Block(name, (n_outputs, n_inputs), "weight", scale)
