"""Tables of predictions: read leniently, never guessed.

predictions.csv, of a run or of somebody else's system -> read_predictions -> a checked table -> class_names
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mer_hf.errors import MerHfError
from mer_hf.escaping import check_name
from mer_hf.evaluation.units import UNIT
from mer_hf.files import check_columns, read_cells

NEEDED = ("clip_id", "label", "predicted")
OPTIONAL = ("seed", "corpus", "subject", "fold")
SCORE = "score_"
"""How the columns begin that hold the score of a class."""


class PredictionsError(MerHfError):
    """A table of predictions cannot be used; the message says where and what to change."""


def read_predictions(path: Path) -> pd.DataFrame:
    """Read and check a table of predictions.

    Args:
        path: a CSV file, or the folder of a run, which holds `predictions.csv`. Columns `clip_id`, `label`,
            `predicted`; where there are, `seed`, `corpus`, `subject`, `fold`, `score_<class>` and `unit_AU<number>`;
            any others are kept as text. Blanks around cells, a byte order mark and the order of columns do not matter.

    Returns:
        A row for each clip and seed. `seed` is 0 where the table has none; whole numbers where all seeds are;
        `score_` and `unit_AU` columns are floats; everything else is text.

    Raises:
        PredictionsError: it is no table, lacks columns or cells, has a clip twice for a seed, gives a clip two labels
            or subjects, or its labels and predictions are spelt differently.
        MerHfError: a name has a line break or a control character.
        OSError: the file cannot be read.
    """
    path = path / "predictions.csv" if path.is_dir() else path
    table = read_table(path, NEEDED)
    if "seed" not in table:
        table["seed"] = "0"
    filled = [name for name in (*NEEDED, *OPTIONAL) if name in table]
    unfilled = table[(table[filled] == "").any(axis=1)]
    if len(unfilled):
        raise PredictionsError(f"{path}, line {unfilled.index[0] + 2}: one of {', '.join(filled)} is empty")
    twice = table[table.duplicated(["clip_id", "seed"])]
    if len(twice):
        row = twice.iloc[0]
        raise PredictionsError(
            f"{path}, line {twice.index[0] + 2}: clip {row.clip_id} is there twice for seed {row.seed}; "
            "each clip is held out once"
        )
    check_names(path, table)
    _check_one_per_clip(path, table)
    _check_spelling(path, table)
    for name in table.columns[table.columns.str.startswith((SCORE, UNIT))]:
        table[name] = _numbers(path, table[name])
    if table.seed.str.fullmatch(r"\d+").all():
        table["seed"] = table.seed.astype(int)
    return table


def read_table(path: Path, needed: Iterable[str]) -> pd.DataFrame:
    """A CSV file as text without blanks around its cells; a first line that begins with "# " is passed over.

    Raises:
        PredictionsError: it is no table, has no rows, or lacks a needed column.
    """
    table, _ = read_cells(path, PredictionsError)
    table.columns = table.columns.str.strip()
    check_columns(table, path, needed, PredictionsError)
    if table.empty:
        raise PredictionsError(f"{path} has no rows")
    return table.apply(lambda column: column.str.strip())


def check_names(path: Path, table: pd.DataFrame) -> None:
    """Refuse names of columns, clips, videos, people, classes and types that are no text in one line.

    Raises:
        MerHfError: a name has a line break or a control character.
    """
    shown = [*NEEDED, *OPTIONAL, "video", "type"]
    for name in {*table.columns, *(cell for column in shown if column in table for cell in table[column].unique())}:
        check_name(str(name), str(path))


def class_names(table: pd.DataFrame) -> list[str]:
    """The classes of a table in the order of its score columns; without those, sorted.

    Raises:
        PredictionsError: a label or prediction has no score column, where others have.
    """
    scored = [column.removeprefix(SCORE) for column in table if column.startswith(SCORE)]
    found = sorted({*table.label, *table.predicted})
    unknown = [name for name in found if name not in scored]
    if scored and unknown:
        raise PredictionsError(f"the class {unknown[0]} has no score column; those are of {', '.join(scored)}")
    return scored or found


def names_of_runs(paths: Sequence[Path], names: Sequence[str] | None = None) -> list[str]:
    """What to call runs: as asked, or by the shortest ends of their paths that tell them apart.

    Raises:
        PredictionsError: there are not as many names as runs, or two are alike.
    """
    if names is None:
        parts = [
            (path.parent if path.name == "predictions.csv" else path.with_suffix("")).absolute().parts for path in paths
        ]
        depth = next((n for n in range(1, max(map(len, parts))) if len({each[-n:] for each in parts}) == len(parts)), 1)
        names = ["/".join(each[-depth:]) for each in parts]
    if len(names) != len(paths):
        raise PredictionsError(f"there are {len(paths)} runs and {len(names)} names; each run needs one")
    if len(set(names)) < len(names):
        raise PredictionsError(f"two runs have the same name among {', '.join(names)}; each is compared once")
    return list(names)


def same_spelling(name: str) -> str:
    """What two spellings of one class have in common: `Happiness ` and `happiness`, `0` and `0.0`."""
    if re.fullmatch(r"[-+]?\d+(\.\d*)?", name.strip()):
        return f"{float(name):g}"
    return " ".join(name.split()).casefold()


def check_same_names(first: Iterable[str], second: Iterable[str], where: str, sides: tuple[str, str]) -> None:
    """Refuse two sets of names of which one may be another spelling of the other; an empty one is refused nothing.

    Args:
        first, second: names of classes, types or videos.
        where: they are from, for the message.
        sides: what the two are called.

    Raises:
        PredictionsError: they have nothing in common, or one name has two spellings; with all names of both sides.
    """
    first, second = sorted({*first}), sorted({*second})
    spellings: dict[str, set[str]] = {}
    for name in (*first, *second):
        spellings.setdefault(same_spelling(name), set()).add(name)
    several = [" and ".join(map(repr, sorted(names))) for names in spellings.values() if len(names) > 1]
    if several or (first and second and not {*first} & {*second}):
        reason = f"{several[0]} may be the same" if several else "they have nothing in common"
        raise PredictionsError(
            f"{where}: {sides[0]} and {sides[1]} do not match, {reason}. The {sides[0]} are {', '.join(first)}; the "
            f"{sides[1]} are {', '.join(second)}. Spell the same alike on both sides."
        )


def _check_one_per_clip(path: Path, table: pd.DataFrame) -> None:
    for name in ("label", "subject", "corpus"):
        if name not in table:
            continue
        several = table.groupby("clip_id", sort=False)[name].unique()
        several = several[several.str.len() > 1]
        if len(several):
            raise PredictionsError(
                f"{path}: clip {several.index[0]} has the {name} {several.iloc[0][0]} in one row and "
                f"{several.iloc[0][1]} in another"
            )


def _check_spelling(path: Path, table: pd.DataFrame) -> None:
    labels, predicted = {*table.label}, {*table.predicted}
    if any(column.startswith(SCORE) for column in table):  # a run: the score columns name the classes
        class_names(table)
        return
    check_same_names(labels, predicted, str(path), ("labels", "predictions"))


def _numbers(path: Path, column: pd.Series) -> pd.Series:
    numbers = pd.to_numeric(column, errors="coerce")
    wrong = ~np.isfinite(numbers)
    if wrong.any():
        line = wrong.idxmax()
        raise PredictionsError(f"{path}, line {line + 2}: {column.name} is {column[line]!r}, which is no number")
    return numbers.astype(float)
