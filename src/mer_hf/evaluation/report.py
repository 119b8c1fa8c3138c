"""One page about runs that needs nothing but a browser: no network, no script, no file next to it.

runs on disk -> read_run -> report -> report.html

Frames are on it only where the caller gives pictures; who may pass them on is decided there. Every name that comes from
a file is escaped.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import yaml

from mer_hf.errors import MerHfError
from mer_hf.evaluation.charts import (
    calibration_picture,
    confusion_picture,
    interval_picture,
    risk_picture,
    training_picture,
)
from mer_hf.evaluation.comparison import TITLES, compare
from mer_hf.evaluation.confidence import calibration, risk_coverage
from mer_hf.evaluation.predictions import SCORE, PredictionsError, class_names, read_predictions
from mer_hf.evaluation.published import EPOCHS, Protocol, how_of_results
from mer_hf.evaluation.summary import Scored, Summary, parts_of, summarise
from mer_hf.evaluation.units import Units, unit_scores

STYLE = Path(__file__).with_name("report.css")
GROUPS = ("corpus", "subject", "emotion")
"""Columns whose values are scored each, where the table has them."""
MANY = 12
"""From so many rows on, a table is folded."""


@dataclass(frozen=True)
class Run:
    """A run, or somebody else's table of predictions.

    Args:
        name: on the page.
        table: its predictions, as `read_predictions` returns.
        classes: names in the order of the score columns.
        results: what its `results.json` says; empty for a bare table.
        curves: (epoch, loss) of each of its trainings, as its folds were kept.
    """

    name: str
    table: pd.DataFrame
    classes: list[str]
    results: Mapping[str, object]
    curves: Sequence[Sequence[tuple[float, float]]] = ()


def read_run(path: Path, name: str, columns: pd.DataFrame | None = None) -> Run:
    """Read a run for the report.

    Args:
        path: its folder, or a table of predictions.
        name: on the page.
        columns: more about the clips, by `clip_id`, such as emotions.

    Raises:
        PredictionsError: the table cannot be used, or a clip of it is not in `columns`.
        MerHfError: `results.json` or the file of a fold is there, but not JSON.
    """
    table = read_predictions(path)
    if columns is not None:
        more = columns.drop(columns=[column for column in columns if column in table and column != "clip_id"])
        lacking = sorted({*table.clip_id} - {*more.clip_id})
        if lacking:
            raise PredictionsError(f"{name}: {len(lacking)} clips have no row among the columns, such as {lacking[0]}")
        table = table.merge(more.drop_duplicates("clip_id"), on="clip_id", how="left")
    folder = path if path.is_dir() else path.parent
    results = folder / "results.json"
    content = _read_json(results) if results.exists() else {}
    kept = [_read_json(file).get("curve") for file in sorted((folder / "folds").rglob("seed-*.json"))]
    curves = [[(each["epoch"], each["loss"]) for each in curve or () if "loss" in each] for curve in kept]
    return Run(name, table, class_names(table), content, [curve for curve in curves if curve])


def _read_json(path: Path) -> dict:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise MerHfError(f"{path} is not JSON: {error}") from error
    return content if isinstance(content, dict) else {}


def report(
    runs: Sequence[Run],
    by: Sequence[str] = (),
    published: Protocol | None = None,
    pictures: Mapping[str, bytes] | None = None,
) -> str:
    """The page.

    Args:
        runs: one at least; several are compared where they predicted the same clips.
        by: more columns whose values are scored each.
        published: figures of the same protocol, shown next to the runs.
        pictures: JPEG files by clip, for the clips that every seed gets wrong.

    Returns:
        HTML.

    Raises:
        PredictionsError: a column of `by` is in no run.
    """
    unknown = [column for column in by if not any(column in run.table for run in runs)]
    if unknown:
        raise PredictionsError(f"no run has the column {unknown[0]}; there are {', '.join(runs[0].table.columns)}")
    groups = list(dict.fromkeys((*GROUPS, *by)))
    summaries = [summarise(run.table, run.classes, groups) for run in runs]
    with_classes = [each for each in zip(runs, summaries, strict=True) if tells_classes(each[0])]
    title = " and ".join(run.name for run in runs)
    parts = [f"<h1>{escape(title)}</h1>", _protocols(runs)]
    if with_classes:
        parts.append(_overview(with_classes))
    if len(with_classes) > 1:
        parts.append(_compared([run for run, _ in with_classes]))
    if published is not None:
        parts.append(_published(published, runs, summaries))
    for run, summary in zip(runs, summaries, strict=True):
        parts += _about(run, summary, groups, pictures or {}, len(runs) > 1)
    parts.append(
        "<footer>UF1, UAR and accuracy are of counts pooled over all folds; intervals are 95 %, over resampled "
        "subjects. A class that nobody shows is left out. Made by mer_hf.</footer>"
    )
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE.read_text(encoding='utf-8')}</style>"
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n' + "\n".join(parts) + "\n</body></html>\n"


def tells_classes(run: Run) -> bool:
    """Whether there are classes to score, and not action units alone."""
    return len(run.classes) > 1 or units_of(run) is None


def units_of(run: Run) -> Units | None:
    """The scores of the action units of a run, those of `results.json` where it has them; None without any."""
    return cast(Units | None, run.results.get("action_units")) or unit_scores(run.table)


# --- all runs ---


def _protocols(runs: Sequence[Run]) -> str:
    """How the clips of each run came to be predicted, as far as that is known."""
    said = [(run.name, how) for run in runs if (how := how_of_results(run.results)) is not None]
    named = [f"<b>{escape(name)}</b>: {escape(how)}" if len(runs) > 1 else escape(how) for name, how in said]
    return "".join(f"<p>{each}</p>" for each in named)


def _overview(scored: Sequence[tuple[Run, Summary]]) -> str:
    rows = []
    for run, summary in scored:
        pooled, several = summary["pooled"], len(summary["seeds"]) > 1
        cells = [_score(summary["mean"][m], summary["sd"][m] if several else None, pooled, m) for m in TITLES]
        rows.append(
            [
                escape(run.name),
                str(pooled["clips"]),
                str(pooled.get("subjects", "")),
                str(len(summary["seeds"])),
                *cells,
            ]
        )
        control = run.results.get("control")
        if isinstance(control, dict) and all(metric in control for metric in TITLES):
            rows.append(["its classical control", "", "", "", *(f"{control[metric]:.3f}" for metric in TITLES)])
    note = "<p>A score is the mean over seeds, ± their standard deviation, with the interval of all clips pooled.</p>"
    dots = [(run.name, s["pooled"]["uf1"], s["pooled"].get("interval", {}).get("uf1")) for run, s in scored]
    picture = f"<figure>{interval_picture(dots, 'UF1, seeds pooled')}</figure>"
    header = ["", "clips", "subjects", "seeds", *TITLES.values()]
    return f"<section><h2>Scores</h2>{_table(header, rows)}{note}{picture}</section>"


def _score(mean: float, sd: float | None, pooled: Scored, metric: str) -> str:
    spread = f" ± {sd:.3f}" if sd is not None else ""
    interval = pooled.get("interval", {}).get(metric)
    ends = f' <span class="faint">[{interval[0]:.3f}, {interval[1]:.3f}]</span>' if interval else ""
    return f"<b>{mean:.3f}</b>{spread}{ends}"


def _compared(runs: Sequence[Run]) -> str:
    try:
        comparison = compare({run.name: run.table for run in runs})
    except MerHfError as error:
        return f"<section><h2>Differences</h2><p>The runs cannot be compared: {escape(str(error))}</p></section>"
    rows = []
    for pair in comparison.pairs:
        for one in pair.differences:
            low, high = one.interval
            mark = "" if low <= 0 <= high else ' class="clear"'
            cells = [
                f"<span{mark}>{one.difference:+.3f}</span>",
                f'<span class="faint">[{low:+.3f}, {high:+.3f}]</span>',
            ]
            cells += [f"{one.p_holm:.3f}", f"{one.resolves:.3f}"]
            rows.append([f"{escape(pair.second)} − {escape(pair.first)}", TITLES[one.metric], *cells])
    sides = "".join(
        f"<li>{escape(pair.first)} alone is right about {pair.only_first_right:.3g} clips, "
        f"{escape(pair.second)} alone about {pair.only_second_right:.3g}.</li>"
        for pair in comparison.pairs
    )
    header = ["", "score", "difference", "interval", "p (Holm)", "resolves"]
    note = (
        f"<p>{comparison.clips} clips of {comparison.subjects} subjects, paired by clip. <em>resolves</em> is the "
        "smallest difference that these clips can show between two such systems.</p>"
    )
    return f"<section><h2>Differences</h2>{_table(header, rows)}{note}<ul>{sides}</ul></section>"


def _published(protocol: Protocol, runs: Sequence[Run], summaries: Sequence[Summary]) -> str:
    header = ["", *(f"{part} {TITLES.get(metric, metric)}" for part in protocol.parts for metric in protocol.metrics)]
    header += ["epoch chosen", "source"]
    rows, kinds = [], []
    for run, summary in zip(runs, summaries, strict=True):
        parts = {"all": summary["pooled"], **summary["pooled"].get("per_corpus", {})}
        cells = [parts.get(part, {}).get(metric) for part in protocol.parts for metric in protocol.metrics]
        rows.append([f"<b>{escape(run.name)}</b>", *(_number(cell) for cell in cells), "", "this page"])
        kinds.append("ours")
    for figure in protocol.figures:
        cells = [figure.scores.get(part, {}).get(metric) for part in protocol.parts for metric in protocol.metrics]
        source = "; ".join(filter(None, (figure.source, figure.note)))
        chosen = EPOCHS[figure.epoch].lower()
        rows.append([escape(figure.system), *(_number(cell) for cell in cells), escape(chosen), escape(source)])
        kinds.append("inflated" if figure.epoch == "test" else "")
    note = "<p>What was chosen on the test subject, in red, is not comparable: that alone lifts UF1 by .06 to .14.</p>"
    table = _table(header, rows, kinds)
    return f'<section id="published"><h2>Published</h2><p>{escape(protocol.title)}</p>{table}{note}</section>'


# --- one run ---


def _about(run: Run, summary: Summary, groups: Sequence[str], pictures: Mapping[str, bytes], named: bool) -> list[str]:
    heading = f"<h2>{escape(run.name)}</h2>" if named else "<h2>What is recognised</h2>"
    pooled, classes, units = summary["pooled"], tells_classes(run), units_of(run)
    figures = []
    if classes:
        matrix = confusion_picture(run.classes, pooled["confusion"])
        figures = [f"<figure>{matrix}<figcaption>Confusion, a row for each true class</figcaption></figure>"]
        figures += _confidence_figures(run)
    if run.curves:
        said = f"Training loss, the mean of {len(run.curves)} trainings, and from the least to the most"
        figures.append(f"<figure>{training_picture(run.curves)}<figcaption>{said}</figcaption></figure>")
    parts = [f'<section>{heading}<div class="figures">{"".join(figures)}</div></section>']
    if units is not None:
        parts.append(_units(units))
    if classes:
        parts += [_group(column, found) for column in groups if (found := parts_of(pooled, column))]
        parts.append(_always_wrong(run, pictures))
    parts.append(_circumstances(run))
    return parts


def _confidence_figures(run: Run) -> list[str]:
    columns = [f"{SCORE}{name}" for name in run.classes]
    if not all(column in run.table for column in columns):
        return []
    scores = run.table[columns].to_numpy()
    if scores.min() < 0 or not np.allclose(scores.sum(axis=1), 1, atol=1e-3):
        return ["<p>The scores of a clip do not add up to 1, so neither calibration nor risk is shown.</p>"]
    confidence, right = scores.max(axis=1), (run.table.label == run.table.predicted).to_numpy()
    found, curve = calibration(confidence, right), risk_coverage(confidence, right)
    half = curve.risks[int(np.searchsorted(curve.coverages, 0.5))]
    calibrated = f"Calibration: expected calibration error {found.ece:.3f}"
    bought = f"What abstaining buys: {curve.risks[-1]:.0%} wrong of all clips, {half:.0%} of the surer half"
    pictures = ((calibration_picture(found), calibrated), (risk_picture(curve), bought))
    return [f"<figure>{picture}<figcaption>{caption}</figcaption></figure>" for picture, caption in pictures]


def _units(units: Units) -> str:
    rows = [[escape(name), str(unit["clips"]), _number(unit["f1"])] for name, unit in units["per_unit"].items()]
    ends = units.get("interval")
    interval = f' <span class="faint">[{ends[0]:.3f}, {ends[1]:.3f}]</span>' if ends else ""
    said = f"Macro F1 <b>{units['macro_f1']:.3f}</b>{interval} on {units['clips']} coded clips."
    if "not_shown" in units:
        missing = escape(", ".join(units["not_shown"]))
        said += f" No clip shows {missing}; with 0 for them it is {units['macro_f1_of_all']:.3f}."
    table = _table(["action unit", "clips", "F1"], rows)
    return f"<section><h3>Action units</h3><p>{said}</p>{table}</section>"


def _group(column: str, parts: Mapping[str, Scored]) -> str:
    header = [column, "clips", *TITLES.values()]
    rows = []
    for name, part in sorted(parts.items(), key=lambda item: item[1]["uf1"]) if len(parts) > MANY else parts.items():
        ends = part.get("interval", {}).get("uf1")
        interval = f' <span class="faint">[{ends[0]:.3f}, {ends[1]:.3f}]</span>' if ends else ""
        scored = [f"{part['uf1']:.3f}{interval}", f"{part['uar']:.3f}", f"{part['accuracy']:.3f}"]
        rows.append([escape(name), str(part["clips"]), *scored])
    order = ", the hardest first" if len(parts) > MANY else ""
    return f"<section><h3>By {escape(column)}{order}</h3>{_folded(_table(header, rows), len(rows))}</section>"


def _always_wrong(run: Run, pictures: Mapping[str, bytes]) -> str:
    right = (run.table.label == run.table.predicted).groupby(run.table.clip_id).any()
    wrong = right.index[~right]
    seeds = run.table.seed.nunique()
    rows = []
    for clip_id, clip in run.table[run.table.clip_id.isin(wrong)].groupby("clip_id", sort=False):
        taken = ", ".join(f"{name} {count}×" for name, count in clip.predicted.value_counts().items())
        rows.append([_thumbnail(pictures.get(clip_id)) + escape(clip_id), escape(clip.label.iloc[0]), escape(taken)])
    share = len(wrong) / len(right)
    said = f"{len(wrong)} of {len(right)} clips ({share:.0%}) are wrong in every one of {seeds} seeds."
    said = said if seeds > 1 else f"{len(wrong)} of {len(right)} clips ({share:.0%}) are wrong."
    table = _folded(_table(["clip", "shows", "taken for"], rows), len(rows)) if rows else ""
    return f"<section><h3>Always wrong</h3><p>{said}</p>{table}</section>"


def _thumbnail(jpeg: bytes | None) -> str:
    if jpeg is None:
        return ""
    return f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"> '


def _circumstances(run: Run) -> str:
    parts = []
    headings = {"choice": "Choice", "confidence": "Confidence of the model of all clips", "recipe": "Recipe"}
    headings |= {"candidates": "Candidates", "versions": "Versions", "counts": "Data"}
    for key, heading in headings.items():
        if run.results.get(key):
            text = yaml.safe_dump(run.results[key], sort_keys=False, allow_unicode=True, width=90)
            parts.append(f"<details><summary>{heading}</summary><pre>{escape(text)}</pre></details>")
    return f"<section><h3>How it came about</h3>{''.join(parts)}</section>" if parts else ""


# --- pieces ---


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], kinds: Sequence[str] | None = None) -> str:
    """A table that scrolls in itself on a narrow page; cells are HTML, headings text."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    kinds = kinds or [""] * len(rows)
    body = "".join(
        f'<tr class="{kind}">' + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>"
        for row, kind in zip(rows, kinds, strict=True)
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _folded(content: str, rows: int) -> str:
    return content if rows <= MANY else f"<details><summary>{rows} rows</summary>{content}</details>"


__all__ = ["Run", "read_run", "report"]
