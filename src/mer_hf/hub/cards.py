"""The card of a model, written from its run and never by hand.

    results.json, config.json -> checked -> tables, recipe, metadata -> model_card.md (the template) -> README.md

Every number of a card stands in one of these files: the card is a view of them and computes nothing. What they lack, it
leaves out or calls `not measured`. Both may come from others: wrong types are refused by the name of the field, and
texts are escaped.
"""

import json
import re
import sys
from functools import cache
from pathlib import Path

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from jinja2 import ChainableUndefined, Environment, Template

from mer_hf.errors import MerHfError
from mer_hf.escaping import Markdown, check_name, code, code_block, is_web_address, markdown
from mer_hf.metrics import SCORES

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

TEMPLATE = Path(__file__).with_name("model_card.md")
NOT_MEASURED = "not measured"
LARGEST = 2**24
"""Bytes of a file that is read for a card; results of 10,000 clips have some thousands."""
COLUMNS = {
    "clips": "clips",
    "subjects": "subjects",
    "uf1": "UF1",
    "uar": "UAR",
    "accuracy": "accuracy",
    "action_unit_f1": "F1 of action units",
}
"""What a table of scores may show, and how it is headed there."""
OF_THE_MACHINE = (
    "data_dir",
    "num_proc",
    "use_cpu",
    "bf16",  # taken where the machine has it
    "disable_tqdm",
    "dataloader_pin_memory",
    "remove_unused_columns",
    "save_strategy",
    "logging_strategy",
)
"""What a recorded recipe says of where and how it ran, and a recipe for other machines does not."""


class CardError(MerHfError):
    """A card cannot be written; the message says which file and field is at fault."""


# --- what the two files may hold ---


class Prose(str):
    """The shape of a text that may have several lines, as descriptions and citations do."""


ANY_NAME = "*"
SCORED = {
    **dict.fromkeys(("uf1", "uar", "accuracy", "action_unit_f1"), float),
    **dict.fromkeys(("clips", "subjects"), int),
    "interval": {ANY_NAME: (float, float)},
    "confusion": [[int]],
}
SCORED_BY_CORPUS = {**SCORED, "per_corpus": {ANY_NAME: SCORED}}
RESULTS = {
    "classes": [str],
    **dict.fromkeys(("headline", "pooled", "ensemble"), SCORED_BY_CORPUS),
    **dict.fromkeys(("mean", "sd", "control"), SCORED),
    "drawn_motion": {ANY_NAME: SCORED},
    "evaluations": {ANY_NAME: SCORED},
    "counts": {"clips": int, "subjects": int, "per_class": {ANY_NAME: int}, "per_corpus": {ANY_NAME: int}},
    "data": {**dict.fromkeys(("description", "license", "citation"), Prose), "homepage": str},
    "recipe": {
        ANY_NAME: object,
        **dict.fromkeys(("dataset", "data_dir", "preset", "protocol", "folds", "average_with", "output_dir"), str),
        "label_set": str,
        **dict.fromkeys(("seeds", "num_folds", "drawn_fields", "drawn_per_clip"), int),
        **dict.fromkeys(("average_seeds", "bf16", "fp16"), bool),
    },
    "versions": {ANY_NAME: str},
    "wall_time_s": float,
    "num_processes": int,
}
"""The part of results.json that a card shows. A shape is a type, a list or pair of shapes, or shapes by name."""
CONFIG = {
    "connectivity": str,
    **dict.fromkeys(("num_frames", "num_channels"), int),
    "image_size": (int, int),
    "id2label": {ANY_NAME: str},
    "action_units": [int],
    "members": [{}],
    "trained_on": Prose,
    "training_subjects": [object],
}
"""The part of config.json that a card shows."""
_NUMBERS = {int: "a whole number", float: "a number", bool: "true or false"}
_WORDS = {str: "a text", Prose: "a text", **_NUMBERS, list: "a list", tuple: "a list", dict: "values by name"}


def checked(value: Json, shape: object, where: str) -> Json:
    """The part of a value that a shape asks for, each part of its type; what is null is left out.

    Args:
        value: as JSON gives it.
        shape: see `RESULTS`; `object` is anything with texts of one line.
        where: file and field, for the error.

    Raises:
        CardError: for another type, or a number that is not finite.
        MerHfError: for a name with a line break or control characters.
    """
    if shape is object:
        shape = {dict: {ANY_NAME: object}, list: [object]}.get(type(value), type(value))
    if isinstance(shape, dict) and isinstance(value, dict):
        kinds = {name: shape.get(name, shape.get(ANY_NAME)) for name, each in value.items() if each is not None}
        known = {check_name(name, where): kind for name, kind in kinds.items() if kind is not None}
        return {name: checked(value[name], kind, f"{where}: {name}") for name, kind in known.items()}
    if isinstance(shape, list | tuple) and isinstance(value, list):
        kinds = shape if isinstance(shape, tuple) else shape * len(value)
        if len(kinds) != len(value):
            raise CardError(f"{where} must have {len(kinds)} entries, found {len(value)}")
        return [checked(each, kind, f"{where}[{at}]") for at, (each, kind) in enumerate(zip(value, kinds, strict=True))]
    if not isinstance(shape, type) or not _is(value, shape):
        wanted = _WORDS[shape if isinstance(shape, type) else type(shape)]
        raise CardError(f"{where} must give {wanted}, found {json.dumps(value)[:80]}")
    return check_name(value, where) if shape is str else value


def _is(value: Json, kind: type) -> bool:
    if kind is float:  # also what JSON writes without a point
        return type(value) in (int, float) and abs(value) <= sys.float_info.max
    return isinstance(value, str) if kind is Prose else type(value) is kind


def without_paths(results: dict[str, Json]) -> dict[str, Json]:
    """Results whose recipe names folders without the way to them, which is nobody else's concern."""
    recipe = results.get("recipe", {})
    places = {name: recipe.get(name) for name in ("dataset", "data_dir", "model", "average_with", "output_dir")}
    found = {name: Path(place).name for name, place in places.items() if _is_way(place)}
    return {**results, "recipe": {**recipe, **found}}


def _is_way(place: Json) -> bool:
    return isinstance(place, str) and (Path(place).is_absolute() or place.startswith((".", "~")))


# --- the parts of a card ---


def markdown_table(header: list[str], rows: list[list[str]]) -> Markdown:
    """A table whose columns stand under one another in the source too, to the right but for the first."""
    cells = [[markdown(cell).strip() for cell in row] for row in (header, *rows)]
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = [
        [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        for row in (cells[0], rule, *cells[1:])
    ]
    return Markdown("\n".join(f"| {' | '.join(line)} |" for line in lines))


def score_table(rows: dict[str, dict[str, Json]]) -> Markdown:
    """Named scores as a table with the columns that any of them has; empty where none has one.

    Args:
        rows: name -> some of `COLUMNS`, and perhaps the `interval` of some of them, [low, high].
    """
    shown = [name for name in COLUMNS if any(name in row for row in rows.values())]
    cells = [[label, *(_score_cell(row, name) for name in shown)] for label, row in rows.items()]
    return markdown_table(["", *(COLUMNS[name] for name in shown)], cells) if shown else Markdown()


def _score_cell(row: dict[str, Json], name: str) -> Markdown:
    value, interval = row.get(name), row.get("interval", {}).get(name)
    if name in ("clips", "subjects"):
        return markdown(NOT_MEASURED if value is None else value)
    between = f" [{score(interval[0])}, {score(interval[1])}]" if interval and name in row else ""
    return Markdown(score(value) + between)


def score(value: Json) -> str:
    """A score with three decimals, or that there is none."""
    return f"{value:.3f}" if isinstance(value, int | float) else NOT_MEASURED


def confusion_table(classes: list[str], counts: list[list[int]]) -> Markdown:
    """A confusion matrix, (classes, classes) with a row for each true class, as a table."""
    if {len(counts), *map(len, counts)} != {len(classes)}:
        raise CardError(f"results.json: confusion must have {len(classes)} rows and columns, one for each class")
    rows = [[name, *map(str, row)] for name, row in zip(classes, counts, strict=True)]
    return markdown_table([Markdown("true \\ predicted"), *classes], rows)


def recipe_yaml(recipe: dict[str, Json]) -> Markdown:
    """The recipe of a run as the YAML file that `mer-hf train` takes, without what only holds on one machine."""
    kept = {name: value for name, value in recipe.items() if name not in OF_THE_MACHINE and value not in (None, {})}
    text = yaml.safe_dump(kept, sort_keys=False, default_flow_style=None, width=100, allow_unicode=True)
    return code_block(text.strip(), "yaml")


def by_corpus(results: dict[str, Json]) -> dict[str, dict[str, Json]]:
    """The held-out scores that a card shows: of each corpus and, where there are several, of all clips.

    They are those of the kind of model that was saved, see `evaluation.summary.headline`; results of before have none.
    Empty where nobody was held out.
    """
    recipe = results.get("recipe", {})
    scored = results.get("headline") or results.get("ensemble" if recipe.get("average_seeds") else "pooled", {})
    corpora = scored.get("per_corpus", {})
    if scored and len(corpora) < 2:
        return {recipe.get("dataset", "all"): scored}
    return {**corpora, "all": scored} if scored else {}


def eval_results(results: dict[str, Json]) -> list[EvalResult]:
    """The scores of `results` for the `model-index` of the Hub."""
    recipe = results.get("recipe", {})
    rows = [(name, row, recipe.get("label_set")) for name, row in by_corpus(results).items()]
    rows = [(recipe.get("dataset", name) if name == "all" else name, *rest) for name, *rest in rows]
    rows += [(name, row, None) for name, row in results.get("evaluations", {}).items()]
    return [
        EvalResult(
            task_type="video-classification",
            task_name="Micro-expression recognition",
            dataset_type=re.sub(r"[^\w.-]+", "-", name).strip("-") or "unnamed",
            dataset_name=name,
            dataset_config=label_set,
            metric_type=metric,
            metric_name=COLUMNS[metric],
            metric_value=row[metric],
        )
        for name, row, label_set in rows
        for metric in SCORES
        if metric in row
    ]


def card_data(results: dict[str, Json], config: dict[str, Json], name: str) -> ModelCardData:
    """The metadata at the head of a card.

    Args:
        results: as in `results.json`.
        config: as in `config.json`.
        name: of the model, in the `model-index`.
    """
    data = results.get("data", {})
    if data.get("license") == "Apache-2.0":
        licence = {"license": "apache-2.0"}
    else:
        homepage = data.get("homepage", "")
        licence = {"license": "other", "license_name": "as-the-training-data"}
        licence["license_link"] = homepage if is_web_address(homepage) else None
    measured = eval_results(results)
    # no `datasets`: the field's corpora are not on the Hub
    units = ["facial-action-units"] if config.get("action_units") else []
    return ModelCardData(
        **licence,
        library_name="transformers",
        pipeline_tag="video-classification",
        tags=["micro-expressions", "facial-expressions", *units],
        model_name=name if measured else None,
        eval_results=measured or None,
    )


# --- the card ---


class _Missing(ChainableUndefined):
    """What the template says in place of a value that is not there, and of anything inside it."""

    def __str__(self) -> str:
        return NOT_MEASURED


@cache
def _template() -> Template:
    """The template, which escapes all that it inserts, but for what is Markdown already."""
    environment = Environment(
        undefined=_Missing, finalize=markdown, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters |= {"score": score, "code": code}
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8"))


def card_text(folder: Path) -> str:
    """The card of a model folder, from its `results.json` and `config.json`.

    `results.json` is that of the run; without it the card says what the configuration says, and has no scores. Scores
    of this very model on other clips may be added to it by name, as `evaluations: {name: {uf1: ..., uar: ..., ...}}`.
    What a `notes.md` says, by hand, is taken into the card as it is.

    Raises:
        CardError: a file cannot be read, or is not what it should be; the message names the field.
    """
    config = checked(_read_json(folder / "config.json"), CONFIG, "config.json")
    results = {}
    if (folder / "results.json").exists():
        results = without_paths(checked(_read_json(folder / "results.json"), RESULTS, "results.json"))
    recipe = results.get("recipe", {})
    from_saved = isinstance(recipe.get("model"), str)  # a preset is not asked then
    kind = "rcn" if from_saved else recipe.get("preset", "rcn")
    dataset = recipe.get("dataset")
    notes = folder / "notes.md"
    text = _template().render(
        card_data=Markdown(card_data(results, config, f"{kind}-{dataset or 'unknown'}").to_yaml()),
        results=results,
        recipe=recipe,
        config=config,
        kind=kind,
        dataset=dataset,
        from_saved=from_saved,
        held_out=by_corpus(results),
        notes=Markdown(_read(notes).strip()) if notes.exists() else None,
        score_table=score_table,
        confusion_table=confusion_table,
        recipe_yaml=recipe_yaml,
    )
    return str(ModelCard(re.sub(r"\n{3,}", "\n\n", text)))


def write_card(folder: Path) -> Path:
    """Write the `README.md` of a model folder, see `card_text`, and give its path."""
    card = folder / "README.md"
    card.write_text(card_text(folder), encoding="utf-8")
    return card


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST:
            raise CardError(f"{path} has {path.stat().st_size} bytes; one of a run has at most {LARGEST}")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise CardError(f"{path} cannot be read ({error.strerror}): a card is written from a model folder") from error
    except UnicodeDecodeError as error:
        raise CardError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}; save it as UTF-8") from error


def _read_json(path: Path) -> Json:
    text = _read(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CardError(f"{path} is not JSON: {error}") from error


__all__ = ["CardError", "Json", "card_text", "without_paths", "write_card"]
