"""What a study shows, in plain words; nothing is claimed that an interval does not carry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from flatcausal.study._headlines import SHARPNESS, TRAIN_LOSS, TRUTHS, Headline, difference, listed, present

_SPLITS = (
    "The random splits of one table share rows, so the test is Nadeau and Bengio's corrected resampled t; "
    "more splits would add little evidence, and all this speaks of this table only."
)


@dataclass(frozen=True)
class Finding:
    """What one metric shows about the other optimizers against the control.

    Attributes
    ----------
    headline : Headline
        The metric.
    shown : list of (str, str)
        Optimizer and phrase of each difference that was shown.
    not_shown, too_few : list of str
        The optimizers of which none was, or could be.
    higher, lower : list of str
        The optimizers of which one was, by its direction.
    """

    headline: Headline
    shown: list[tuple[str, str]]
    not_shown: list[str]
    too_few: list[str]
    higher: list[str]
    lower: list[str]


def find(headline: Headline, comparison: pd.DataFrame) -> Finding:
    """Sort a comparison with the control by its verdicts."""
    by_verdict = {
        verdict: [str(label) for label in rows["optimizer_a"]]
        for verdict, rows in comparison.groupby("verdict", sort=False)
    }
    words = {"a higher": headline.more, "a lower": headline.less}
    shown = []
    for row in comparison.to_dict("records"):
        if row["verdict"] in words:
            estimate, ends = difference(row["estimate"], row["ci_low"], row["ci_high"])
            shown.append((str(row["optimizer_a"]), f"{words[row['verdict']]}: {estimate} ({ends})"))
    return Finding(
        headline=headline,
        shown=shown,
        not_shown=by_verdict.get("no difference shown", []),
        too_few=by_verdict.get("too few blocks", []),
        higher=by_verdict.get("a higher", []),
        lower=by_verdict.get("a lower", []),
    )


def truth_sentence(frame: pd.DataFrame) -> str:
    """Say what is not known of the target's parents; empty where recovery of them is scored."""
    if not any(truth.key in frame for truth in TRUTHS):
        return (
            "These data come without a causal graph, so whether an importance points at a cause cannot be "
            "measured on them; what follows is about error, flatness and the spread of importances."
        )
    precision = frame.get("average_precision_parents")
    healthy = "status" not in frame or (frame["status"] != "diverged").to_numpy().any()
    if precision is None or present(frame, TRUTHS[:1]) or not healthy:
        return ""
    if precision.notna().any():
        return "Every feature is a parent of the target in the given graph, so there is no ranking to judge."
    return "The target has no parents in the given graph, so ranking them cannot be scored."


def answer(
    findings: Mapping[str, Finding], control: str, truth: str = "", *, is_table: bool = False
) -> list[str]:
    """Return the sentences that answer whether flat minima find causes here.

    Parameters
    ----------
    findings : mapping of str to Finding
        By metric; empty where there is nothing to compare.
    control : str
        The optimizer with which the others were compared.
    truth : str, default=""
        What :func:`truth_sentence` says.
    is_table : bool, default=False
        Whether the blocks are random splits of a user's table.

    Returns
    -------
    list of str
        Plain sentences.
    """
    flatness = findings.get(SHARPNESS.key)
    parents = findings.get(TRUTHS[0].key)
    sentences = [truth] if truth else []
    if flatness is None:
        return sentences
    unit = "random splits" if is_table else "data sets"
    sentences.append(_flatness_sentence(flatness, control, unit))
    if parents is not None:
        name = "the parents in the given graph" if is_table else "the true parents"
        sentences.append(_conclusion(flatness, parents, control, name, unit))
    loss = findings.get(TRAIN_LOSS.key)
    unequal = [
        label for label in flatness.higher + flatness.lower if loss and label in loss.higher + loss.lower
    ]
    if unequal:
        sentences.append(
            f"Beware: the training loss of {listed(unequal)} differs from that of {control} as well, "
            "and sharpness at unequal training loss misleads."
        )
    sentences.append("Each optimizer ran at its own learning rate, which may be part of any difference.")
    if is_table:
        sentences.append(_SPLITS)
    return sentences


def _flatness_sentence(flatness: Finding, control: str, unit: str) -> str:
    if not flatness.lower and not flatness.higher and flatness.too_few:
        few = listed(flatness.too_few)
        return (
            f"There are too few {unit} to show whether {few} ended in flatter or sharper minima "
            f"than {control}."
        )
    if not flatness.lower and not flatness.higher:
        return f"No optimizer was shown to end in flatter or sharper minima than {control}."
    if not flatness.lower:
        return f"{listed(flatness.higher)} ended in sharper minima than {control}, and none in flatter ones."
    text = f"{listed(flatness.lower)} ended in flatter minima than {control}"
    return f"{text}; {listed(flatness.higher)} ended in sharper ones." if flatness.higher else f"{text}."


def _conclusion(flatness: Finding, parents: Finding, control: str, name: str, unit: str) -> str:
    flatter = flatness.lower
    if not flatter:
        return (
            f"Without minima flatter than those of {control}, this study cannot tell whether flat minima "
            "find causes."
        )
    better = [label for label in flatter if label in parents.higher]
    worse = [label for label in flatter if label in parents.lower]
    few = [label for label in flatter if label in parents.too_few]
    open_ = [label for label in flatter if label not in better + worse + few]
    sentences = []
    if better:
        sentences.append(f"{listed(better)} also ranked {name} higher.")
    if worse:
        sentences.append(f"{listed(worse)} ranked {name} lower.")
    if open_:
        sentences.append(f"For {listed(open_)}, no difference in ranking {name} was shown.")
    if few:
        sentences.append(
            f"For {listed(few)}, there are too few {unit} to show a difference in ranking {name}."
        )
    return " ".join(sentences)
