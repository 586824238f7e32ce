"""The part of a data set that draws environments: lasting interventions, and on which nodes."""

from __future__ import annotations

import numpy as np

from flatcausal._random import RandomState, child, seed_sequence
from flatcausal._validation import check_integer
from flatcausal.datasets._blueprint import ENVIRONMENTS, Blueprint
from flatcausal.datasets._columns import Columns
from flatcausal.datasets._environments import Environment, EnvironmentLaw
from flatcausal.datasets._requests import Border
from flatcausal.datasets._roles import FeatureRoles
from flatcausal.exceptions import ParameterError


class Intervening:
    """The part of a data set that knows what can be moved, and draws environments."""

    feature_names_: list[str]
    n_features_: int
    target_name_: str
    roles_: FeatureRoles
    _blueprint: Blueprint
    _columns: Columns
    _root: np.random.SeedSequence
    _n_environments_drawn: int

    def environments(
        self,
        k: int,
        *,
        kind: str = "do",
        nodes: str | None = None,
        fraction: float | None = None,
        strength: float | None = None,
        allow_target: bool = False,
        random_state: RandomState = None,
    ) -> list[Environment]:
        """Draw environments: interventions on random features, never on the target or its noise.

        Parameters
        ----------
        k : int
            How many, at least 1.
        kind : {"do", "shift", "scale", "soft", "mechanism"}, default="do"
            ``do``: features become draws from N(±strength, 1.5²); ``shift``: their noise moves by
            ±strength of its standard deviations; ``scale``: their noise is multiplied by strength; ``soft``:
            the signal of their causes is multiplied by 1 ± strength; ``mechanism``: they depend on their
            causes by another function of the same family, with the old mean and sd.
        nodes : str, default=None
            The features to choose from: ``"any"``, ``"non_ancestors"``, ``"parents"``, ``"ancestors"``,
            ``"markov_blanket"``, ``"children"``, ``"descendants"``, ``"spouses"``, ``"siblings"`` or
            ``"irrelevant"``. None: ``"any"``, but ``"children"`` for ``mechanism``: what the target does
            changes, and what it is made of does not. A model of causes alone is unmoved by that, and by any
            intervention on ``"descendants"``.
        fraction : float, default=None
            Share of these features that each environment concerns, in (0, 1]; at least one. Only those
            count that can be moved: with noise of their own for ``shift`` and ``scale``, with causes for
            ``soft`` and ``mechanism``. None: 0.25, but 1 for ``mechanism``.
        strength : float, default=None
            How far to go, at least 0. None: 2, but 0.5 for ``soft``; ``mechanism`` takes none.
        allow_target : bool, default=False
            Let the target be chosen, too, whatever ``nodes`` says.
        random_state : int, SeedSequence, Generator, RandomState or None, default=None
            Seed. None draws further environments at each call, determined by the dataset's own seed.

        Returns
        -------
        list of Environment
            To be passed as ``sample(env=...)``.

        Raises
        ------
        ParameterError
            If a parameter is out of its range, or there is no such feature.

        Examples
        --------
        >>> from flatcausal.datasets import SyntheticDAGDataset
        >>> ds = SyntheticDAGDataset(n_nodes=9, n_distractors=1, random_state=0)
        >>> [len(env.features) for env in ds.environments(3, kind="shift")]
        [2, 2, 2]
        >>> env = ds.environments(1, kind="mechanism")[0]
        >>> set(env.features) == ds.roles_.children
        True
        """
        k = check_integer("k", k, low=1)
        law = EnvironmentLaw.of(kind, nodes, fraction, strength, allow_target)
        names = self._names_to_move(law)
        if random_state is None:
            sequence = child(self._root, ENVIRONMENTS, self._n_environments_drawn)
            self._n_environments_drawn += 1
        else:
            sequence = child(seed_sequence(random_state), ENVIRONMENTS)
        return [law.draw(names, np.random.default_rng(child(sequence, index))) for index in range(k)]

    @property
    def _border(self) -> Border:
        return Border(self._columns, self._blueprint.model, self._blueprint.target)

    def _names_to_move(self, law: EnvironmentLaw) -> list[str]:
        if law.nodes in ("any", "non_ancestors"):
            members = np.ones(self.n_features_, dtype=bool)
            if law.nodes == "non_ancestors":
                members = ~self.roles_.mask("ancestors")
        else:
            members = self.roles_.mask(law.nodes)
        names = [name for name, member in zip(self.feature_names_, members, strict=True) if member]
        if law.allow_target:
            names.append(self.target_name_)
        border = self._border
        movable = [name for name in names if border.can(law.kind, name)]
        if not movable:
            raise ParameterError(
                f"none of the features that nodes={law.nodes!r} names can be moved by kind={law.kind!r}; "
                "name other nodes, or draw a model whose target has some."
            )
        return movable
