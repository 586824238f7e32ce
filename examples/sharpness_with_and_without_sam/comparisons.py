"""Statistics of the records: means with their intervals, and paired differences with and without SAM.

A block is a seed: one split, one set of initial weights, one order of batches. What is inferred is inferred
about other seeds on these images, not about other images, for which all splits share theirs
(``flatcausal.study.compare_splits`` has the test for that).
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from flatcausal.study import compare, summarize
from sharpness_with_and_without_sam.measures import FLATNESS, MEASURES, OTHERS
from sharpness_with_and_without_sam.pairs import LONG, SHORT, WITH

COLUMNS = ("epochs", *MEASURES)
_KEY = ["model", "base"]
_VERDICTS = {
    "a higher": "SAM higher",
    "a lower": "SAM lower",
    "no difference shown": "no evidence of a difference",
    "too few blocks": "too few seeds to tell",
}


@dataclass(frozen=True)
class Comparison:
    """Which records are compared.

    Attributes
    ----------
    title : str
        Its name.
    experiment, where : str
        Of its records.
    without : str
        The run that the one with SAM is compared with.
    """

    title: str
    experiment: str
    where: str
    without: str = SHORT

    @property
    def families(self) -> dict[str, tuple[str, ...]]:
        """Measures that are corrected for each other, over all networks and optimizers of the comparison."""
        others = tuple(name for name in OTHERS if self.where == "end" or name != "train_loss")
        return {"flatness": tuple(FLATNESS), "circumstances": others}


CLEAN = (
    Comparison("equal epochs", "clean", "end"),
    Comparison("equal gradient evaluations", "clean", "end", LONG),
    Comparison("matched training loss, along training", "clean", "matched"),
    Comparison("matched training loss, at the end of schedules", "clean", "annealed"),
)
CONTROL = (
    Comparison("control, equal epochs", "noisy", "end"),
    Comparison("control, matched training loss, along training", "noisy", "matched"),
    Comparison("control, matched training loss, at the end of schedules", "noisy", "annealed"),
)


def cells(records: pd.DataFrame) -> pd.DataFrame:
    """Mean and half width of Student's 95 % interval over seeds, a row a measure of each kind of run."""
    found = []
    kinds = ["experiment", "where", *_KEY]
    for key, group in records.groupby(kinds, sort=False):
        table = summarize(group.rename(columns={"seed": "block"}), list(COLUMNS))
        for row in table.reset_index().to_dict("records"):
            head = dict(zip(kinds, key, strict=True))
            head |= {name: row[name] for name in ("optimizer", "n_runs", "diverged")}
            found += [
                {**head, "measure": name, "mean": row[name], "half_width": row[f"{name}_half_width"]}
                for name in COLUMNS
            ]
    return pd.DataFrame(found)


def differences(records: pd.DataFrame) -> pd.DataFrame:
    """Those of all comparisons, one after another."""
    found = [paired(records, comparison) for comparison in (*CLEAN, *CONTROL)]
    return pd.concat(found, ignore_index=True)


def paired(records: pd.DataFrame, comparison: Comparison) -> pd.DataFrame:
    """The run with SAM minus the one without, paired over seeds.

    Wilcoxon's exact signed-rank test, its estimate (Hodges-Lehmann) and its 95 % interval; Holm's correction
    over each family. The interval is not corrected.
    """
    here = (records["experiment"] == comparison.experiment) & (records["where"] == comparison.where)
    runs = records[here & records["run"].isin([comparison.without, WITH])]
    return pd.concat(
        [_family(runs, comparison, name, measures) for name, measures in comparison.families.items()],
        ignore_index=True,
    )


def _family(
    runs: pd.DataFrame, comparison: Comparison, family: str, measures: tuple[str, ...]
) -> pd.DataFrame:
    pairs: dict[str, pd.DataFrame] = {}
    heads: dict[str, dict[str, str]] = {}
    usable = runs[runs["status"] != "diverged"]
    for key, pair in runs.groupby(_KEY, sort=False):
        finished = usable.loc[usable.index.intersection(pair.index)].set_index(["seed", "run"])
        for measure in measures:
            label = " ".join((*key, measure))
            values = finished[measure].unstack().reindex(columns=[comparison.without, WITH])
            pairs[label] = values.reindex(pair["seed"].unique())
            heads[label] = dict(zip((*_KEY, "measure"), (*key, measure), strict=True))
    # All of a family goes into one call, which corrects over its rows: each difference against zero.
    changes = {label: values[WITH] - values[comparison.without] for label, values in pairs.items()}
    changes["zero"] = pd.Series(0.0, index=sorted(runs["seed"].unique()))
    frame = pd.concat(
        [
            pd.DataFrame({"block": change.index, "optimizer": label, "difference": change.to_numpy()})
            for label, change in changes.items()
        ]
    )
    table = compare(frame, "difference", control="zero").set_index("optimizer_a")
    found = []
    for label, head in heads.items():
        row = table.loc[label]
        both = pairs[label].dropna().mean()
        found.append(
            {
                "comparison": comparison.title,
                "family": family,
                **head,
                "n_seeds": row["n_blocks"],
                "mean_without": both[comparison.without],
                "mean_with_sam": both[WITH],
                "difference": row["estimate"],
                **{name: row[name] for name in ("ci_low", "ci_high", "p", "p_holm")},
                "shown": _VERDICTS[str(row["verdict"])],
                "note": str(row["note"]).replace("block", "seed"),
            }
        )
    return pd.DataFrame(found)
