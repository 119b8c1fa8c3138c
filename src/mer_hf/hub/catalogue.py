"""What models come with the package: a folder, its card, configuration and results -> a description.

Nothing of a description is written here: each part stands in one of the files of the model, and is read from there.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

import yaml

from mer_hf.hub.packaged import CLASSIFICATION, PACKAGED, SPOTTER, SPOTTING, VERSIONS

SCORED_BY = {"uf1": "UF1", "f1": "F1 (IoU >= .5)"}
"""The figure of an evaluation that a list has room for: of a model that names clips, of one that finds events."""
COUNTED = ("clips", "subjects", "events", "minutes", "fields")


class Evaluation(TypedDict):
    """What a model scored on some clips or videos."""

    on: str
    score: str
    value: float
    interval: tuple[float, float] | None
    counts: dict[str, float]


class PackagedModel(TypedDict):
    """What is known of a model in the package; ready for JSON."""

    name: str
    version: str
    task: str
    inputs: str
    trained_on: str
    scores: list[Evaluation]
    licence: str
    bytes: int
    sha256: str
    folder: str


def describe_models() -> list[PackagedModel]:
    """What is known of every model in the package: the scores are those of its `results.json`.

    Of each score there is the figure, its 95 % interval over subjects where it was measured, and on how much.
    """
    tasks = dict.fromkeys(PACKAGED.values(), CLASSIFICATION) | {SPOTTER: SPOTTING}
    return [_describe(folder, task) for folder, task in tasks.items()]


def _describe(folder: Path, task: str) -> PackagedModel:
    read = ((folder / f"{name}.json").read_text(encoding="utf-8") for name in ("config", "results"))
    config, results = map(json.loads, read)
    _, metadata, card = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    inputs = re.search(r"^\| input \| (.*) \|$", card, re.MULTILINE)
    return {
        "name": folder.name,
        "version": config["name_and_version"].removeprefix(folder.name).strip(),
        "task": task,
        "inputs": inputs[1] if inputs else "",
        "trained_on": config["trained_on"],
        "scores": [_evaluation(name, scored) for name, scored in _evaluations(results)],
        "licence": yaml.safe_load(metadata)["license"],
        "bytes": (folder / "model.safetensors").stat().st_size,
        "sha256": sha256_of_weights(folder),
        "folder": str(folder),
    }


def _evaluations(results: dict) -> Iterator[tuple[str, dict]]:
    """What was scored, by name; of the settings of drawn fields of motion the hardest alone."""
    drawn = results.get("drawn_motion", {})
    if drawn:
        name = min(drawn, key=lambda name: drawn[name]["uf1"])
        fields = sum(map(sum, drawn[name]["confusion"]))
        yield f"drawn motion, the hardest of {len(drawn)} settings: {name}", {**drawn[name], "fields": fields}
    yield from results["evaluations"].items()


def _evaluation(name: str, scored: dict) -> Evaluation:
    key = next(key for key in SCORED_BY if key in scored)
    interval = scored.get("interval", {}).get(key)
    counts = {count: scored[count] for count in COUNTED if count in scored}
    return {
        "on": name,
        "score": SCORED_BY[key],
        "value": scored[key],
        "interval": (interval[0], interval[1]) if interval else None,
        "counts": counts,
    }


def description_lines(model: PackagedModel) -> list[str]:
    """A description as lines of text."""
    return [
        f"{model['name']}, version {model['version']}: {model['task']}",
        f"  input: {model['inputs']}",
        f"  {model['trained_on']}",
        *(f"  {_score_line(scored)}" for scored in model["scores"]),
        f"  {model['bytes']:,} bytes, {model['licence']}, sha256 of the weights {model['sha256']}",
        f"  card: {Path(model['folder']) / 'README.md'}",
    ]


def _score_line(scored: Evaluation) -> str:
    between = "" if scored["interval"] is None else " [{:.3f}, {:.3f}]".format(*scored["interval"])
    counts = ", ".join(f"{count:.4g} {what}" for what, count in scored["counts"].items())
    return f"{scored['score']} {scored['value']:.3f}{between} on {scored['on']} ({counts})"


def sha256_of_weights(folder: Path) -> str:
    """The sha256 of the weights of a model folder, in hexadecimal."""
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def put_version(folder: Path) -> str:
    """Give the weights of a packaged model their version: the one they have had, or the next where they are new.

    Returns:
        Name and version, which its configuration now has as `name_and_version`.
    """
    versions = json.loads(VERSIONS.read_text(encoding="utf-8"))
    known, weights = versions.setdefault(folder.name, []), sha256_of_weights(folder)
    if weights not in known:
        known.append(weights)
    named = f"{folder.name} {known.index(weights) + 1}"
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    for path, content in ((VERSIONS, versions), (folder / "config.json", {**config, "name_and_version": named})):
        path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return named


__all__ = ["Evaluation", "PackagedModel", "describe_models", "description_lines", "put_version", "sha256_of_weights"]
