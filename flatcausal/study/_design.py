"""A study's design: what is compared, on which data, at which budget."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from flatcausal._validation import check_integer
from flatcausal.exceptions import DesignError
from flatcausal.study._blocks import DataSource
from flatcausal.study._budget import budgets
from flatcausal.study._canonical import content_id
from flatcausal.study._cells import Cell
from flatcausal.study._optimizers import recipe_of, resolve_optimizers
from flatcausal.study._presets import preset_text
from flatcausal.study._section import check_mapping, check_text, closest, refuse_unknown
from flatcausal.study._synthetic import DlcausalData, SyntheticData
from flatcausal.study._table import TableData
from flatcausal.study._training import Measures, Network, Training

_KINDS: dict[str, Any] = {source.kind: source for source in (SyntheticData, DlcausalData, TableData)}
_SECTIONS: dict[str, Any] = {"training": Training, "network": Network, "measures": Measures}


@dataclass(frozen=True)
class StudyDesign:
    """A comparison of optimizers in which nothing differs but the optimizer.

    All optimizers share the data, the splits, the members' seeds, the learning-rate schedule,
    weight decay, momentum, the network, and the number of gradient evaluations. Each keeps
    its own learning rate: the recipe's default unless ``lr`` is given, never tuned on the truth.

    Parameters
    ----------
    name : str, default="study"
        A title for the report.
    seed : int, default=0
        Every random number of the study follows from it.
    n_members : int, default=4
        Independent networks that each optimizer trains on each data set.
    control : str, default=None
        Label of the optimizer with which the others are compared; None: "sgd" if it is
        there, else the first one.
    data : SyntheticData, DlcausalData, TableData or mapping, optional
        Where the rows come from; a mapping has a key ``kind``: "synthetic", "dlcausal" or
        "table". Default: random graphs.
    training : Training or mapping, optional
        Epochs (of gradient work), batch size, schedule, weight decay and momentum.
    network : Network or mapping, optional
        The TabNet.
    optimizers : list of names or mapping, default=("sgd", "sam")
        A mapping takes a label to a name, to a recipe such as ``SAM(rho=0.1)``, or to a table
        ``{"name": "sam", "rho": 0.1, "lr": 0.05, "base": {"name": "adam"}}``.
    measures : Measures or mapping, optional
        How flatness is measured.

    Attributes
    ----------
    id : str
        Hash of all that decides the results; name and control are not part of it.

    Raises
    ------
    DesignError
        If a key is unknown, or the optimizers cannot be given equal budgets.

    Examples
    --------
    >>> from flatcausal.study import StudyDesign
    >>> design = StudyDesign(optimizers=["sgd", "sam"], data={"kind": "synthetic", "n_datasets": 2})
    >>> [(cell.block.name, cell.label, cell.budget.max_epochs) for cell in design.cells()]
    [('dag-0', 'sgd', 60), ('dag-0', 'sam', 30), ('dag-1', 'sgd', 60), ('dag-1', 'sam', 30)]
    """

    name: str = "study"
    seed: int = 0
    n_members: int = 4
    control: str | None = None
    data: Any = field(default_factory=SyntheticData)
    training: Any = field(default_factory=Training)
    network: Any = field(default_factory=Network)
    optimizers: Any = ("sgd", "sam")
    measures: Any = field(default_factory=Measures)

    def __post_init__(self) -> None:
        self._set(name=check_text("name", self.name))
        self._set(seed=check_integer("seed", self.seed, low=0))
        self._set(n_members=check_integer("n_members", self.n_members, low=1))
        self._set(data=_data_source(self.data))
        for name, section in _SECTIONS.items():
            value = getattr(self, name)
            self._set(**{name: value if isinstance(value, section) else section.from_dict(value)})
        shared = {"momentum": self.training.momentum, "nesterov": self.training.nesterov}
        self._set(optimizers=resolve_optimizers(self.optimizers, shared, self.training.weight_decay))
        self._set(control=self._checked_control())

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _checked_control(self) -> str:
        if self.control is None:
            return "sgd" if "sgd" in self.optimizers else next(iter(self.optimizers))
        if check_text("control", self.control) not in self.optimizers:
            hint = closest(str(self.control), self.optimizers)
            raise DesignError(f"control = {self.control!r} is not one of the optimizers; {hint}")
        return self.control

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> StudyDesign:
        """Build a design from plain data, as :meth:`to_dict` gives it."""
        check_mapping("the design", values)
        refuse_unknown("the design", values, [spec.name for spec in fields(cls)])
        return cls(**values)

    @classmethod
    def from_toml(cls, path: str | Path, *, data: Mapping[str, Any] | None = None) -> StudyDesign:
        """Read a design file.

        Parameters
        ----------
        path : str or Path
            A TOML file; its keys are the parameters above, and the keys of its tables are
            those of their classes. Paths in it are relative to its folder.
        data : mapping, optional
            Data from elsewhere, for a file that has no ``[data]``.
        """
        try:
            values = tomllib.loads(Path(path).read_text("utf-8"))
        except FileNotFoundError as error:
            raise DesignError(f"there is no design file {path}; check the path.") from error
        except OSError as error:
            raise DesignError(f"{path} cannot be read ({error.strerror}); give a TOML file.") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise DesignError(f"{path} is not valid TOML ({error}); mend that place.") from error
        if data is not None:
            if "data" in values:
                raise DesignError(f"{path} has its own [data]; drop that table or the data given beside it.")
            values["data"] = data
        elif isinstance(values.get("data"), dict):
            values["data"] = _beside(values["data"], Path(path).parent)
        return cls.from_dict({"name": Path(path).stem, **values})

    @classmethod
    def preset(cls, name: str, *, data: Mapping[str, Any] | None = None) -> StudyDesign:
        """Return a design that ships with flatcausal: "quick" or "dlcausal".

        Parameters
        ----------
        name : str
            Name of the preset.
        data : mapping, optional
            Other data for the preset's training, network and optimizers.

        Examples
        --------
        >>> from flatcausal.study import StudyDesign
        >>> list(StudyDesign.preset("quick").optimizers)
        ['gd', 'sgd', 'sam', 'entropy_sgd', 'adam']
        """
        values = tomllib.loads(preset_text(name))
        return cls.from_dict(values if data is None else {**values, "data": data})

    def to_dict(self) -> dict[str, Any]:
        """Return the whole design as plain data, every default written out."""
        return {
            "name": self.name,
            "seed": self.seed,
            "n_members": self.n_members,
            "control": self.control,
            "data": {"kind": self.data.kind, **self.data.to_dict()},
            **{name: getattr(self, name).to_dict() for name in _SECTIONS},
            "optimizers": self.optimizers,
        }

    @cached_property
    def id(self) -> str:
        """Hash of all that decides the results: 32 hexadecimal digits."""
        specification = self.to_dict()
        del specification["name"], specification["control"]
        # Where a file lies does not matter; what it holds does.
        for key in ("file", "graph"):
            specification["data"].pop(key, None)
        return content_id(specification)

    def cells(self) -> list[Cell]:
        """List the units of work: one for each data set and optimizer."""
        recipes = {label: recipe_of(optimizer) for label, optimizer in self.optimizers.items()}
        cells = []
        for block in self.data.blocks(self.seed):
            shares = budgets(block.n_train, self.training.epochs, self.training.batch_size, recipes)
            for label, optimizer in self.optimizers.items():
                cells.append(self._cell(block, label, optimizer, shares[label]))
        return cells

    def _cell(self, block: Any, label: str, optimizer: Mapping[str, Any], budget: Any) -> Cell:
        return Cell(
            block=block,
            label=label,
            optimizer=optimizer,
            n_members=self.n_members,
            budget=budget,
            training=self.training,
            network=self.network,
            measures=self.measures,
        )


def _data_source(value: Any) -> DataSource:
    if isinstance(value, tuple(_KINDS.values())):
        return value
    kind = check_mapping("data", value).get("kind", "table" if "file" in value else "synthetic")
    if check_text("data.kind", kind) not in _KINDS:
        raise DesignError(f"data.kind must be one of {', '.join(_KINDS)}, got {kind!r}.")
    return _KINDS[kind].from_dict({key: entry for key, entry in value.items() if key != "kind"})


def _beside(data: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Read relative paths from the folder of the design file."""
    paths = {key: str(folder / data[key]) for key in ("file", "graph") if isinstance(data.get(key), str)}
    return {**data, **paths}
