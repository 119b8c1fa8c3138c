"""Which action units moved: what coders wrote, what was predicted of it, and how right that is.

action_units, unit_AU<n> of a table of predictions -> unit_scores -> `results.json`, `mer-hf scores`, card, report
"""

import re
from typing import NotRequired, TypedDict

import numpy as np
import pandas as pd

from mer_hf.metrics import action_unit_scores

UNIT = "unit_AU"
"""How the columns begin that hold the probability of an action unit; one above .5 is predicted."""
CODES = "action_units"
"""The column of what coders saw."""
NEUTRAL = "0"
"""What a coder writes who saw none of the units."""


class Unit(TypedDict):
    """How well an action unit is recognised, and how many clips show it."""

    f1: float | None
    clips: int


class Units(TypedDict):
    """How well action units are recognised, see `unit_scores`; ready for JSON."""

    macro_f1: float
    interval: NotRequired[list[float]]
    clips: int
    per_unit: dict[str, Unit]
    not_shown: NotRequired[list[str]]
    macro_f1_of_all: NotRequired[float]


def coded_units(text: str | None) -> set[int] | None:
    """The units of a code such as `4+L10`, by FACS number: the empty set for `0`; None where nothing was coded."""
    numbers = set(map(int, re.findall(r"\d+", text or "")))
    return numbers - {0} if numbers else None


def unit_scores(predictions: pd.DataFrame) -> Units | None:
    """How well action units are recognised on the clips that are coded, from counts pooled over folds and seeds.

    Args:
        predictions: as `read_predictions` returns, or a run writes.

    Returns:
        The macro F1 over the units that some clip shows, its interval over resampled subjects, F1 of each unit and the
        number of clips that show it, counted once for several seeds; where no clip shows some of the units, these, and
        the mean over all with 0 for them, as CD6ME counts. None without codes, units, or a clip that shows one.
    """
    names = [column for column in predictions if str(column).startswith(UNIT)]
    if not names or CODES not in predictions:
        return None
    coded = predictions[CODES].map(coded_units)
    rows = predictions[coded.notna()]
    numbers = [int(name.removeprefix(UNIT)) for name in names]
    moved = np.zeros((len(rows), len(numbers)), dtype=bool)
    for row, codes in enumerate(coded[rows.index]):
        moved[row] = [unit in codes for unit in numbers]
    if not moved.any():
        return None
    found = action_unit_scores(moved, rows[names].to_numpy() > 0.5, rows.get("subject"))
    shown = pd.DataFrame(moved, columns=names).groupby(rows["clip_id"].to_numpy()).first().sum()
    f1 = {f"AU{unit}": value for unit, value in zip(numbers, found["f1"], strict=True)}
    per_unit = {
        f"AU{unit}": Unit(f1=f1[f"AU{unit}"], clips=int(clips))
        for unit, clips in zip(numbers, shown, strict=True)
        if clips
    }
    scored = Units(macro_f1=found["macro_f1"], clips=rows["clip_id"].nunique(), per_unit=per_unit)
    if found["interval"] is not None:
        scored["interval"] = found["interval"]
    if len(per_unit) < len(f1):
        scored["not_shown"] = [name for name in f1 if name not in per_unit]
        scored["macro_f1_of_all"] = found["macro_f1"] * len(per_unit) / len(f1)
    return scored


def unit_lines(units: Units) -> list[str]:
    """The scores of action units for a reader."""
    interval = units.get("interval")
    between = f"  95 % {interval[0]:.4f} to {interval[1]:.4f}" if interval else ""
    lines = [f"action units of {units['clips']} coded clips: macro F1 {units['macro_f1']:.4f}{between}"]
    lines += [f"  {name:5} {unit['clips']:>5} clips  F1 {unit['f1']:.4f}" for name, unit in units["per_unit"].items()]
    if "not_shown" in units:
        missing = ", ".join(units["not_shown"])
        lines.append(f"  no clip shows {missing}; with 0 for them, the mean is {units['macro_f1_of_all']:.4f}")
    return lines


__all__ = ["CODES", "NEUTRAL", "UNIT", "Unit", "Units", "coded_units", "unit_lines", "unit_scores"]
