"""Published figures, and how their epoch was chosen: `published.yaml`, in the package.

a protocol by name, or the run that follows one -> figures_of -> published_lines
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from mer_hf.errors import MerHfError
from mer_hf.protocols import described

FILE = Path(__file__).with_name("published.yaml")
EPOCHS = {
    "fixed": "fixed beforehand",
    "inner": "on inner subjects",
    "test": "ON THE TEST SUBJECT",
    "unknown": "unknown",
    "none": "no epochs",
}
"""How an epoch may have been chosen, in words. A figure of an epoch chosen on the test subject is not comparable."""


@dataclass(frozen=True)
class Figure:
    """What a system is said to reach under a protocol.

    Args:
        system: its name.
        scores: part of the data -> metric -> figure in [0, 1]; what was not published is left out.
        source: who published it.
        epoch: how it was chosen, a key of `EPOCHS`.
        checked: where that was looked up.
        note: what else one must know.
    """

    system: str
    scores: dict[str, dict[str, float]]
    source: str
    epoch: str
    checked: str
    note: str = ""


@dataclass(frozen=True)
class Protocol:
    """Published figures that can be compared with one another.

    Args:
        name: as `figures_of` takes it.
        title: data, classes, who is held out.
        metrics: which scores the figures are.
        parts: which data they are of, `all` first where it was scored as a whole.
        run: what the recipe of a run under this protocol says; empty where no recipe can.
        figures: in the order of the file.
    """

    name: str
    title: str
    metrics: tuple[str, ...]
    parts: tuple[str, ...]
    run: dict[str, str]
    figures: tuple[Figure, ...]


@cache
def protocols() -> dict[str, Protocol]:
    """All protocols with published figures, by name."""
    return {name: _protocol(name, entry) for name, entry in yaml.safe_load(FILE.read_text(encoding="utf-8")).items()}


def figures_of(name: str) -> Protocol:
    """The published figures of a protocol.

    Raises:
        MerHfError: none are known under this name; with the names.
    """
    if name not in protocols():
        raise MerHfError(f"no figures are known for the protocol {name!r}; there are those of {', '.join(protocols())}")
    return protocols()[name]


def protocol_of_run(path: Path) -> str | None:
    """The published protocol that a run followed, by the recipe in its `results.json`; None where none is known.

    Args:
        path: the folder of the run, or a file in it.
    """
    recipe = _results_of(path).get("recipe", {})
    if recipe.get("folds"):  # some of the folds only
        return None
    followed = [
        name
        for name, protocol in protocols().items()
        if protocol.run and all(recipe.get(key) == value for key, value in protocol.run.items())
    ]
    return followed[0] if followed else None


def how_of_run(path: Path) -> str | None:
    """How the clips of a run came to be predicted, in a sentence; None where its `results.json` does not tell.

    Args:
        path: the folder of the run, or a file in it.
    """
    return how_of_results(_results_of(path))


def how_of_results(results: Mapping[str, object]) -> str | None:
    """As `how_of_run`, of the content of `results.json`."""
    recipe, scored = results.get("recipe"), results.get("scored")
    if isinstance(recipe, dict):
        return described(recipe)
    if isinstance(scored, dict):
        return f"The saved model {scored.get('model')} on all clips; nothing was trained."
    return None


def _results_of(path: Path) -> dict:
    """The content of the `results.json` of a run; empty where there is none that can be read."""
    results = (path if path.is_dir() else path.parent) / "results.json"
    try:
        return dict(json.loads(results.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def published_lines(protocol: Protocol) -> list[str]:
    """The figures for a reader, those of all data first, with a mark at what was chosen on the test subject."""
    header = ["", *(f"{part} {metric}" for part in protocol.parts for metric in protocol.metrics), "epoch chosen"]
    rows = [header]
    for figure in protocol.figures:
        cells = [figure.scores.get(part, {}).get(metric) for part in protocol.parts for metric in protocol.metrics]
        rows.append([figure.system, *(f"{cell:.3f}" if cell is not None else "" for cell in cells)])
        rows[-1].append(EPOCHS[figure.epoch])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [f"published: {protocol.title}"]
    for row, figure in zip(rows, (None, *protocol.figures), strict=True):
        cells = [
            row[0].ljust(widths[0]),
            *(cell.rjust(size) for cell, size in zip(row[1:-1], widths[1:-1], strict=True)),
        ]
        source = "source" if figure is None else "; ".join(filter(None, (figure.source, figure.note)))
        lines.append(f"  {'  '.join(cells)}  {row[-1].ljust(widths[-1])}  {source}")
    return lines


def _protocol(name: str, entry: dict) -> Protocol:
    metrics, parts = tuple(entry["metrics"]), tuple(entry["parts"])
    figures = []
    for row in entry["figures"]:
        numbers = {part: dict(zip(metrics, row.pop(part), strict=True)) for part in parts if part in row}
        scores = {part: {m: v for m, v in each.items() if v is not None} for part, each in numbers.items()}
        figures.append(Figure(scores=scores, **row))
    return Protocol(name, entry["title"], metrics, parts, entry.get("run", {}), tuple(figures))


__all__ = [
    "EPOCHS",
    "Figure",
    "Protocol",
    "figures_of",
    "how_of_results",
    "how_of_run",
    "protocol_of_run",
    "protocols",
    "published_lines",
]
