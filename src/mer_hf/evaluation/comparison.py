"""Whether one system is better than another on the same clips, and how large a difference the clips can show at all.

tables of predictions by name -> compare -> Comparison -> comparison_lines, comparison_table; draw_comparison

Clips are paired by `clip_id`. The two systems see the same people, so their scores rise and fall together when other
people are drawn; the interval of the difference is therefore narrower than those of the scores lead to think.
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import NormalDist
from typing import Literal

import numpy as np
import pandas as pd

from mer_hf.evaluation.predictions import PredictionsError, check_same_names, class_names
from mer_hf.metrics import SCORES, Metric, confusion_by_subject, drawn_subjects, interval_deviate, interval_of_draws

TITLES = {"uf1": "UF1", "uar": "UAR", "accuracy": "accuracy"}


@dataclass(frozen=True)
class Difference:
    """By how much the second of two systems differs from the first in one score.

    Args:
        metric: uf1, uar or accuracy.
        first, second: the score of each, the mean over its seeds.
        difference: second - first.
        interval: where the difference lies, 95 %, over resampled subjects and seeds.
        p: two-sided, of there being no difference, from the same draws; see `p_of_draws`.
        p_holm: the same, corrected after Holm over all pairs of systems.
        resolves: the smallest difference whose interval would not hold 0, from the standard deviation of the draws:
            what these clips can show between two systems that differ as these do. A true difference of this size is
            found in half of all samples of people.
    """

    metric: Metric
    first: float
    second: float
    difference: float
    interval: tuple[float, float]
    p: float
    p_holm: float
    resolves: float


@dataclass(frozen=True)
class Pair:
    """Two systems compared.

    Args:
        first, second: their names.
        differences: by metric.
        only_first_right, only_second_right: on how many clips one is right and the other is not; the mean over the
            pairs of seeds that are compared.
    """

    first: str
    second: str
    differences: tuple[Difference, ...]
    only_first_right: float
    only_second_right: float


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    Args:
        pairs: each two systems, in the order in which they were given.
        classes: their names.
        clips, subjects: what was compared.
        left_out: clips that not every system predicted, by system.
        seeds: how many each system has.
        pairing: how seeds were drawn, averaged or paired.
    """

    pairs: tuple[Pair, ...]
    classes: tuple[str, ...]
    clips: int
    subjects: int
    left_out: dict[str, int]
    seeds: dict[str, int]
    pairing: str

    def to_dict(self) -> dict[str, object]:
        """Ready for JSON."""
        return asdict(self)


def compare(
    systems: Mapping[str, pd.DataFrame],
    pairing: Literal["averaged", "paired"] = "averaged",
    draws: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Compare systems by their predictions of the same clips, each pair of them.

    In every draw, as many subjects as there are are drawn with replacement, for both systems the same; and as many
    seeds as a system has, since another training would have given another score.

    Args:
        systems: name -> table as `read_predictions` returns, two at least. One of them must have `subject`.
        pairing: how seeds are drawn: `"averaged"` draws those of each system apart; `"paired"` takes the same for both,
            which is right where a seed means the same in both (the same initial weights, the same augmentation).
        draws: how often.
        seed: what the draws start from; equal ones give equal results.

    Raises:
        PredictionsError: there is one class; the tables have no clips, or not the same classes, in common; they
            disagree about labels or subjects; none has subjects; seeds lack clips, or cannot be paired.
        MerHfError: all clips are of one subject.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, ch. 16; Holm, Scand. J. Statist. 6, 1979;
    Bouthillier et al., Accounting for Variance in Machine Learning Benchmarks, MLSys 2021 (drawing seeds as well).
    """
    if len(systems) < 2:
        raise PredictionsError(f"a comparison needs two systems at least; there is {', '.join(systems) or 'none'}")
    classes = _common_classes(systems)
    if len(classes) < 2:
        raise PredictionsError(f"the only class is {classes[0]}; systems are compared by classes that they tell apart")
    tables, clips = _common_clips(systems)
    people = _subjects(tables, clips)
    names, counts = {}, {}
    for name, table in tables.items():
        names[name], counts[name] = _counts(name, table, people, classes)
    subjects = people.nunique()
    times = drawn_subjects(subjects, draws, seed)
    seeds_drawn = _drawn_seeds(names, pairing, draws, seed + 1)
    values = {name: _drawn_scores(counts[name], times, seeds_drawn[name]) for name in tables}
    raw = [
        (first, second, [_difference(metric, counts, values, first, second, subjects) for metric in SCORES])
        for first, second in itertools.combinations(tables, 2)
    ]
    corrected = {metric: holm([each[2][place].p for each in raw]) for place, metric in enumerate(SCORES)}
    right = {name: _right(table, clips) for name, table in tables.items()}
    pairs = []
    for place, (first, second, differences) in enumerate(raw):
        final = tuple(replace(each, p_holm=corrected[each.metric][place]) for each in differences)
        pairs.append(Pair(first, second, final, *_disagreements(right[first], right[second], pairing)))
    left_out = {name: table.clip_id.nunique() - len(clips) for name, table in systems.items()}
    seeds = {name: len(each) for name, each in names.items()}
    return Comparison(tuple(pairs), tuple(classes), len(clips), subjects, left_out, seeds, pairing)


def p_of_draws(differences: np.ndarray, num_subjects: int) -> float:
    """The two-sided p of there being no difference, from differences in draws of subjects, (draws,).

    Twice the share of draws on the other side of 0, moved as `interval_of_draws` moves its ends, so that p is under
    .05 where the interval does not hold 0. What was measured counts as one of the draws, so p is never 0.

    Source: Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 4.2; Wallace, Annals of
    Mathematical Statistics 30, 1959 (the normal deviate of a t).
    """
    beyond = min((differences <= 0).sum(), (differences >= 0).sum())
    share = min(0.5, float((beyond + 1) / (len(differences) + 1)))
    v = num_subjects - 1
    t = NormalDist().inv_cdf(share) * math.sqrt(v / num_subjects)
    return 2 * NormalDist().cdf(-(8 * v + 1) / (8 * v + 3) * math.sqrt(v * math.log1p(t * t / v)))


def holm(p_values: list[float]) -> list[float]:
    """P-values corrected for their number: the k-th smallest of n times (n - k + 1), rising and at most 1.

    Source: Holm, A Simple Sequentially Rejective Multiple Test Procedure, Scand. J. Statist. 6, 1979.
    """
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = highest
    return corrected


# --- what is paired ---


def _common_classes(systems: Mapping[str, pd.DataFrame]) -> list[str]:
    (reference, first), *others = systems.items()
    classes = class_names(first)
    for name, table in others:
        check_same_names(first.label, table.label, f"{reference} and {name}", ("labels", "labels there"))
        classes += [each for each in class_names(table) if each not in classes]
    return classes


def _common_clips(systems: Mapping[str, pd.DataFrame]) -> tuple[dict[str, pd.DataFrame], pd.Index]:
    """The rows of the clips that all systems predicted, and the clips, sorted."""
    ids = [set(table.clip_id) for table in systems.values()]
    clips = set.intersection(*ids)
    if not clips:
        examples = "; ".join(f"{name}: {', '.join(sorted(each)[:3])}" for name, each in zip(systems, ids, strict=True))
        raise PredictionsError(f"the systems have no clip in common. Their clips are {examples}")
    tables = {name: table[table.clip_id.isin(clips)] for name, table in systems.items()}
    for name, table in tables.items():
        short = {seed: len(clips) - len(rows) for seed, rows in table.groupby("seed") if len(rows) < len(clips)}
        if short:
            seed, missing = next(iter(short.items()))
            raise PredictionsError(f"{name}: seed {seed} lacks {missing} clips that its other seeds have")
    _one_of("label", tables)
    return tables, pd.Index(sorted(clips), name="clip_id")


def _one_of(column: str, tables: Mapping[str, pd.DataFrame]) -> pd.Series:
    """The value of each clip in a column, from all tables that have it; they must agree."""
    found = [
        table[["clip_id", column]].drop_duplicates("clip_id").assign(system=name)
        for name, table in tables.items()
        if column in table
    ]
    if not found:
        raise PredictionsError(f"none of the tables has the column {column!r}; one must, as clips of one are alike")
    together = pd.concat(found)
    several = together.groupby("clip_id", sort=False)[column].nunique()
    if (several > 1).any():
        rows = together[together.clip_id == several.idxmax()]
        said = "; ".join(f"{row.system}: {getattr(row, column)}" for row in rows.itertuples())
        raise PredictionsError(f"the systems disagree about the {column} of clip {several.idxmax()}: {said}")
    return together.drop_duplicates("clip_id").set_index("clip_id")[column]


def _subjects(tables: Mapping[str, pd.DataFrame], clips: pd.Index) -> pd.Series:
    return _one_of("subject", tables).reindex(clips)


def _check_paired(names: Mapping[str, list]) -> None:
    seeds = {name: set(each) for name, each in names.items()}
    if len({frozenset(each) for each in seeds.values()}) > 1:
        said = "; ".join(f"{name}: {', '.join(map(str, each))}" for name, each in names.items())
        raise PredictionsError(f"seeds can be paired only where all systems have the same ones. They are {said}")


# --- counts, draws, differences ---


def _counts(name: str, table: pd.DataFrame, people: pd.Series, classes: list[str]) -> tuple[list, np.ndarray]:
    """Seeds, and the confusion matrix of each seed and subject, (seeds, subjects, classes, classes)."""
    per_seed = {}
    for seed, rows in table.groupby("seed"):
        numbers = [rows[column].map(classes.index).to_numpy() for column in ("label", "predicted")]
        per_seed[seed] = confusion_by_subject(*numbers, people[rows.clip_id].to_numpy(), len(classes))[1]
    return list(per_seed), np.stack(list(per_seed.values()))


def _drawn_seeds(names: Mapping[str, list], pairing: str, draws: int, seed: int) -> dict[str, np.ndarray]:
    """Which seeds of each system are drawn, as places, (draws, seeds)."""
    generator = np.random.default_rng(seed)
    if pairing == "paired":
        _check_paired(names)
        number = len(next(iter(names.values())))
        return dict.fromkeys(names, generator.integers(0, number, (draws, number)))
    return {name: generator.integers(0, len(seeds), (draws, len(seeds))) for name, seeds in names.items()}


def _drawn_scores(counts: np.ndarray, times: np.ndarray, seeds: np.ndarray) -> dict[str, np.ndarray]:
    """Each score in each draw: the mean over the drawn seeds of the score of the drawn subjects, (draws,)."""
    drawn = np.einsum("ds,nsij->dnij", times, counts, optimize=True)
    return {name: np.take_along_axis(score(drawn), seeds, axis=1).mean(axis=1) for name, score in SCORES.items()}


def _difference(
    metric: Metric,
    counts: Mapping[str, np.ndarray],
    values: Mapping[str, dict[str, np.ndarray]],
    first: str,
    second: str,
    subjects: int,
) -> Difference:
    measured = [float(SCORES[metric](counts[name].sum(axis=1)).mean()) for name in (first, second)]
    drawn = values[second][metric] - values[first][metric]
    low, high = interval_of_draws(drawn, subjects)
    p = p_of_draws(drawn, subjects)
    resolves = interval_deviate(subjects) * float(drawn.std(ddof=1))
    return Difference(metric, *measured, measured[1] - measured[0], (low, high), p, p, resolves)


def _right(table: pd.DataFrame, clips: pd.Index) -> np.ndarray:
    """Whether each seed is right about each clip, (seeds, clips)."""
    right = (table.label == table.predicted).astype(float)
    return table.assign(right=right).pivot(index="seed", columns="clip_id", values="right")[clips].to_numpy()


def _disagreements(first: np.ndarray, second: np.ndarray, pairing: str) -> tuple[float, float]:
    """On how many clips one is right and the other is not, each a mean over pairs of seeds."""
    apart = first.mean(axis=0) * second.mean(axis=0)  # every seed of one with every seed of the other
    both = (first * second).mean(axis=0) if pairing == "paired" else apart
    return float((first.mean(axis=0) - both).sum()), float((second.mean(axis=0) - both).sum())


# --- shown ---


def comparison_lines(comparison: Comparison) -> list[str]:
    """A comparison for a reader."""
    lines = [f"{comparison.clips} clips of {comparison.subjects} subjects, paired by clip; seeds {comparison.pairing}"]
    for name, count in comparison.left_out.items():
        if count:
            lines.append(f"  {count} clips of {name} are left out: not every system predicted them")
    several = len(comparison.pairs) > 1
    for pair in comparison.pairs:
        lines += ["", f"{pair.second} - {pair.first}"]
        for one in pair.differences:
            corrected = f", {one.p_holm:.3f} after Holm" if several else ""
            low, high = one.interval
            lines.append(
                f"  {TITLES[one.metric]:8}  {one.second:.4f} - {one.first:.4f} = {one.difference:+.4f}  "
                f"95 % {low:+.4f} to {high:+.4f}  p {one.p:.3f}{corrected}  resolves {one.resolves:.4f}"
            )
        lines.append(f"  only {pair.first} is right: {pair.only_first_right:g} clips; only {pair.second}: "
                     f"{pair.only_second_right:g}")  # fmt: skip
    return [*lines, "", "resolves: the smallest difference that these clips can show between two such systems"]


def comparison_table(comparison: Comparison, style: Literal["markdown", "latex"]) -> list[str]:
    """A row for each pair of systems and score, as Markdown or as rows of a LaTeX tabular."""
    header = ["systems", "score", "first", "second", "difference", "95 % interval", "p (Holm)", "resolves"]
    rows = [
        [
            f"{pair.first} / {pair.second}",
            TITLES[one.metric],
            *(f"{value:.3f}" for value in (one.first, one.second)),
            f"{one.difference:+.3f}",
            f"[{one.interval[0]:+.3f}, {one.interval[1]:+.3f}]",
            f"{one.p_holm:.3f}",
            f"{one.resolves:.3f}",
        ]
        for pair in comparison.pairs
        for one in pair.differences
    ]
    if style == "latex":
        special = {**{mark: f"\\{mark}" for mark in "&%$#_{}"}, "\\": r"\textbackslash{}", "~": r"\textasciitilde{}"}
        special["^"] = r"\textasciicircum{}"
        rows = [["".join(special.get(mark, mark) for mark in cell) for cell in row] for row in [header, *rows]]
        return [" & ".join(row) + r" \\" for row in rows]
    cells = [[cell.replace("|", "\\|") for cell in row] for row in [header, *rows]]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return [lines[0], "|" + " --- |" * len(header), *lines[1:]]


def draw_comparison(comparison: Comparison, path: Path) -> None:
    """Draw the differences with their intervals, and what the clips can resolve. Needs matplotlib.

    Args:
        comparison: what is drawn, a row of points for each pair of systems.
        path: the picture; its ending says its kind.
    """
    from matplotlib.figure import Figure

    pairs = comparison.pairs
    figure = Figure(figsize=(9, 1.6 + 0.55 * len(pairs)), layout="constrained")
    panels = figure.subplots(1, len(SCORES), sharey=True, squeeze=False)[0]
    heights = range(len(pairs), 0, -1)
    for place, (panel, metric) in enumerate(zip(panels, SCORES, strict=True)):
        for height, pair in zip(heights, pairs, strict=True):
            one = pair.differences[place]
            panel.fill_betweenx([height - 0.32, height + 0.32], -one.resolves, one.resolves, color="0.9", linewidth=0)
            clear = one.interval[0] > 0 or one.interval[1] < 0
            panel.plot(one.interval, [height] * 2, color="C0", linewidth=2)
            panel.plot([one.difference], [height], "o", color="C0", markerfacecolor="C0" if clear else "white")
        panel.axvline(0, color="0.4", linewidth=0.8)
        panel.set_title(TITLES[metric])
        panel.set_ylim(0.4, len(pairs) + 0.6)
        panel.spines[["top", "right", "left"]].set_visible(False)
        panel.tick_params(axis="y", length=0)
    panels[0].set_yticks(list(heights), [f"{pair.second} - {pair.first}" for pair in pairs])
    figure.supxlabel("difference, 95 % interval over subjects; grey: too small to be shown by these clips", fontsize=9)
    figure.savefig(path, dpi=150)


__all__ = ["Comparison", "Difference", "Pair", "compare", "comparison_lines", "comparison_table", "draw_comparison"]
