"""The card of a model, written from its run and never by hand.

    results.json, config.json -> tables, recipe, metadata -> model_card.md (the template) -> README.md

Every number of a card stands in one of these files. What they lack, the card leaves out or calls `not measured`.
"""

import json
import re
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from jinja2 import ChainableUndefined, Environment

from mer_hf.errors import MerHfError
from mer_hf.metrics import SCORES

TEMPLATE = Path(__file__).with_name("model_card.md")
NOT_MEASURED = "not measured"
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
    """A card cannot be written; the message says what is missing."""


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    """A table whose columns stand under one another in the source too, to the right but for the first."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (header, *rows)]
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = [
        [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        for row in (cells[0], rule, *cells[1:])
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def score_table(rows: dict[str, dict[str, Any]]) -> str:
    """Named scores as a table with the columns that any of them has; empty where none has one.

    Args:
        rows: name -> some of `COLUMNS`, and perhaps the `interval` of some of them, [low, high].
    """
    shown = [name for name in COLUMNS if any(name in row for row in rows.values())]
    cells = [[label, *(_score_cell(row, name) for name in shown)] for label, row in rows.items()]
    return markdown_table(["", *(COLUMNS[name] for name in shown)], cells) if shown else ""


def _score_cell(row: dict[str, Any], name: str) -> str:
    value, interval = row.get(name), row.get("interval", {}).get(name)
    if isinstance(value, int):  # clips, subjects
        return str(value)
    return score(value) + (f" [{score(interval[0])}, {score(interval[1])}]" if interval and name in row else "")


def score(value: Any) -> str:
    """A score with three decimals, or that there is none."""
    return f"{value:.3f}" if isinstance(value, int | float) else NOT_MEASURED


def confusion_table(classes: list[str], counts: list[list[int]]) -> str:
    """A confusion matrix, (classes, classes) with a row for each true class, as a table."""
    rows = [[name, *map(str, row)] for name, row in zip(classes, counts, strict=True)]
    return markdown_table(["true \\ predicted", *classes], rows)


def recipe_yaml(recipe: dict[str, Any]) -> str:
    """The recipe of a run as the YAML file that `mer-hf train` takes, without what only holds on one machine."""
    kept = {name: value for name, value in recipe.items() if name not in OF_THE_MACHINE and value not in (None, {})}
    return yaml.safe_dump(kept, sort_keys=False, default_flow_style=None, width=100, allow_unicode=True).strip()


def without_paths(results: dict[str, Any]) -> dict[str, Any]:
    """Results whose recipe names folders without the way to them, which is nobody else's concern."""
    recipe = results.get("recipe", {})
    places = {name: recipe.get(name) for name in ("dataset", "data_dir", "model", "average_with", "output_dir")}
    found = {name: Path(place).name for name, place in places.items() if _is_way(place)}
    return {**results, "recipe": {**recipe, **found}}


def _is_way(place: Any) -> bool:
    return isinstance(place, str) and (Path(place).is_absolute() or place.startswith((".", "~")))


def by_corpus(results: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The held-out scores that a card shows: of each corpus and, where there are several, of all clips.

    They are those of the kind of model that was saved: the mean prediction of all seeds, or single networks. Empty
    where nobody was held out.
    """
    recipe = results.get("recipe", {})
    scored = results.get("ensemble" if recipe.get("average_seeds") else "pooled", {})
    corpora = scored.get("per_corpus", {})
    if scored and len(corpora) < 2:
        return {recipe.get("dataset", "all"): scored}
    return {**corpora, "all": scored} if scored else {}


def eval_results(results: dict[str, Any]) -> list[EvalResult]:
    """The scores of `results` for the `model-index` of the Hub."""
    recipe = results.get("recipe", {})
    whole = recipe.get("dataset", "all")
    held_out = {whole if name == "all" else name: row for name, row in by_corpus(results).items()}
    told = [(name, row, recipe.get("label_set")) for name, row in held_out.items()]
    told += [(name, row, None) for name, row in results.get("evaluations", {}).items()]
    return [
        EvalResult(
            task_type="video-classification",
            task_name="Micro-expression recognition",
            dataset_type=re.sub(r"[^\w.-]+", "-", name).strip("-"),
            dataset_name=name,
            dataset_config=label_set,
            metric_type=metric,
            metric_name=COLUMNS[metric],
            metric_value=row[metric],
        )
        for name, row, label_set in told
        for metric in SCORES
        if metric in row
    ]


def card_data(results: dict[str, Any], config: dict[str, Any], name: str) -> ModelCardData:
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
        licence = {"license": "other", "license_name": "as-the-training-data"}
        licence["license_link"] = data.get("homepage") or None
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


class _Missing(ChainableUndefined):
    """What the template says in place of a value that is not there, and of anything inside it."""

    def __str__(self) -> str:
        return NOT_MEASURED


def write_card(folder: Path) -> Path:
    """Write the `README.md` of a model folder from its `results.json` and `config.json`.

    `results.json` is that of the run. Scores of this very model on other clips may be added to it by name, as
    `evaluations: {name: {uf1: ..., uar: ..., ...}}`. What a `notes.md` says, by hand, is taken into the card as it is.

    Args:
        folder: of the model.

    Returns:
        The card.

    Raises:
        CardError: one of the two files is not there, or not JSON.
    """
    results, config = without_paths(_read(folder / "results.json")), _read(folder / "config.json")
    recipe = results.get("recipe", {})
    from_saved = isinstance(recipe.get("model"), str)  # a preset is not asked then
    kind = "rcn" if from_saved else recipe.get("preset", "rcn")
    dataset = recipe.get("dataset", "an unknown dataset")
    notes = folder / "notes.md"
    environment = Environment(undefined=_Missing, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    environment.filters["score"] = score
    text = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        card_data=card_data(results, config, f"{kind}-{dataset}").to_yaml(),
        results=results,
        recipe=recipe,
        config=config,
        kind=kind,
        dataset=dataset,
        from_saved=from_saved,
        held_out=by_corpus(results),
        notes=notes.read_text(encoding="utf-8").strip() if notes.exists() else None,
        score_table=score_table,
        confusion_table=confusion_table,
        recipe_yaml=recipe_yaml,
    )
    card = folder / "README.md"
    ModelCard(re.sub(r"\n{3,}", "\n\n", text)).save(card)
    return card


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CardError(
            f"{path} cannot be read ({error.strerror}): a card is written from a run, whose model folder holds it"
        ) from error
    except ValueError as error:
        raise CardError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise CardError(f"{path} must give values by name, found a {type(content).__name__}")
    return content


__all__ = ["CardError", "without_paths", "write_card"]
