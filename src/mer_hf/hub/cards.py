"""The card of a model, written from its run and never by hand.

    results.json, config.json -> checked -> tables, recipe, metadata -> model_card.md (the template) -> README.md

Every number of a card stands in one of these files: the card is a view of them and computes nothing. What they lack, it
leaves out or calls `not measured`. Both may come from others: wrong types are refused by the name of the field, and
texts are escaped.
"""

import json
import re
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal, TypeAlias, TypedDict, cast, get_args, get_origin, get_type_hints, is_typeddict

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from jinja2 import ChainableUndefined, Environment, Template

from mer_hf.errors import MerHfError
from mer_hf.escaping import Markdown, check_name, code, code_block, is_web_address, markdown
from mer_hf.metrics import SCORES
from mer_hf.protocols import described
from mer_hf.rcn.configuration_rcn import rule_of_confidence

Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, "Json"] | None

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
    "test_data_dir",
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


class Scored(TypedDict, total=False):
    """Scores of some clips, and how many there are."""

    uf1: float
    uar: float
    accuracy: float
    action_unit_f1: float
    clips: int
    subjects: int
    interval: dict[str, tuple[float, float]]
    confusion: list[list[int]]


class ScoredByCorpus(Scored, total=False):
    """The same, and of the clips of each corpus."""

    per_corpus: dict[str, Scored]


class Counts(TypedDict, total=False):
    """How much there was to learn from."""

    clips: int
    subjects: int
    per_class: dict[str, int]
    per_corpus: dict[str, int]


class Data(TypedDict, total=False):
    """What the dataset says of itself."""

    description: Prose
    license: Prose
    citation: Prose
    homepage: str


class Recipe(TypedDict, total=False):
    """What a card shows of a recipe, and names of others that it only repeats."""

    dataset: str
    data_dir: str
    test_dataset: str
    test_data_dir: str
    action_units: list[int]
    model: object
    preset: str
    protocol: str
    folds: str
    average_with: str
    output_dir: str
    label_set: str
    seeds: int
    num_folds: int
    drawn_fields: int
    drawn_per_clip: int
    average_seeds: bool
    bf16: bool
    fp16: bool


class Chosen(TypedDict, total=False):
    """How often each candidate was chosen, and what choosing on the test subjects would have claimed."""

    chosen: dict[str, int]
    final: str
    test_choice: Scored


class Unit(TypedDict, total=False):
    """How well an action unit is recognised."""

    f1: float
    clips: int


class Units(TypedDict, total=False):
    """How well action units are recognised."""

    macro_f1: float
    macro_f1_of_all: float
    not_shown: list[str]
    interval: tuple[float, float]
    clips: int
    per_unit: dict[str, Unit]


class Confidence(TypedDict, total=False):
    """What the threshold of a confident answer is worth."""

    clips: int
    answered: float
    wrong: float


class Results(TypedDict, total=False):
    """The part of results.json that a card shows."""

    classes: list[str]
    headline: ScoredByCorpus
    pooled: ScoredByCorpus
    ensemble: ScoredByCorpus
    mean: Scored
    sd: Scored
    control: Scored
    choice: Chosen
    confidence: Confidence
    action_units: Units
    drawn_motion: dict[str, Scored]
    evaluations: dict[str, Scored]
    counts: Counts
    data: Data
    recipe: Recipe
    versions: dict[str, str]
    wall_time_s: float
    num_processes: int


class Nothing(TypedDict):
    """A table of which nothing is shown."""


class Config(TypedDict, total=False):
    """The part of config.json that a card shows."""

    connectivity: str
    num_frames: int
    num_channels: int
    image_size: tuple[int, int]
    id2label: dict[str, str]
    action_units: list[int]
    members: list[Nothing]
    trained_on: Prose
    temperature: float
    abstain_below: float
    abstain_because: str
    training_subjects: list[object]


_WORDS: dict[type, str] = {
    **{str: "a text", Prose: "a text"},
    **{int: "a whole number", float: "a number", bool: "true or false"},
    **{list: "a list", tuple: "a list", dict: "values by name"},
}


def checked(value: Json, shape: type, where: str) -> object:
    """The part of a value that a shape asks for, each part of its type; what is null is left out.

    Args:
        value: as JSON gives it.
        shape: a type such as `Results`, made of what this module knows; `object` is anything with texts of one line.
        where: file and field, for the error.

    Raises:
        CardError: for another type, or a number that is not finite.
        MerHfError: for a name with a line break or control characters.
    """
    if shape is object:
        shape = {dict: dict[str, object], list: list[object]}.get(type(value), type(value))
    kind, parts = get_origin(shape) or shape, get_args(shape)
    if isinstance(value, dict) and (kind is dict or is_typeddict(kind)):
        shapes = get_type_hints(kind) if is_typeddict(kind) else dict.fromkeys(value, parts[1])
        if kind is Recipe:  # it is also repeated whole
            shapes = {**dict.fromkeys(value, object), **shapes}
        known = [check_name(name, where) for name, each in value.items() if each is not None and name in shapes]
        return {name: checked(value[name], shapes[name], f"{where}: {name}") for name in known}
    if isinstance(value, list) and kind in (list, tuple):
        shapes = parts if kind is tuple else parts * len(value)
        if len(shapes) != len(value):
            raise CardError(f"{where} must have {len(shapes)} entries, found {len(value)}")
        found = [checked(each, one, f"{where}[{at}]") for at, (each, one) in enumerate(zip(value, shapes, strict=True))]
        return tuple(found) if kind is tuple else found
    if not _is(value, kind):
        wanted = _WORDS[dict if is_typeddict(kind) else kind]
        raise CardError(f"{where} must give {wanted}, found {json.dumps(value)[:80]}")
    return check_name(value, where) if kind is str and isinstance(value, str) else value


def _is(value: Json, kind: type) -> bool:
    if kind is float:  # also what JSON writes without a point
        return isinstance(value, int | float) and type(value) is not bool and abs(value) <= sys.float_info.max
    return isinstance(value, str) if kind is Prose else type(value) is kind


def without_paths(results: dict[str, Json]) -> dict[str, Json]:
    """Results whose recipe names folders without the way to them, which is nobody else's concern."""
    recipe = results.get("recipe")
    if not isinstance(recipe, dict):
        return results
    names = ("dataset", "data_dir", "test_dataset", "test_data_dir", "model", "average_with", "output_dir")
    folders = {name: recipe.get(name) for name in names}
    ways = {name: Path(place) for name, place in folders.items() if isinstance(place, str)}
    named: dict[str, Json] = {
        name: way.name for name, way in ways.items() if way.is_absolute() or f"{folders[name]}"[:1] in (".", "~")
    }
    if isinstance(candidates := recipe.get("choose"), list):
        named["choose"] = [Path(str(path)).name for path in candidates]
    return {**results, "recipe": {**recipe, **named}}


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


def score_table(rows: Mapping[str, Scored]) -> Markdown:
    """Named scores as a table with the columns that any of them has; empty where none has one.

    Args:
        rows: name -> some of `COLUMNS`, and perhaps the `interval` of some of them, [low, high].
    """
    shown = [name for name in COLUMNS if any(name in row for row in rows.values())]
    cells = [[label, *(_score_cell(row, name) for name in shown)] for label, row in rows.items()]
    return markdown_table(["", *(COLUMNS[name] for name in shown)], cells) if shown else Markdown()


def _score_cell(row: Scored, name: str) -> Markdown:
    value, interval = row.get(name), row.get("interval", {}).get(name)
    if name in ("clips", "subjects"):
        return markdown(NOT_MEASURED if value is None else value)
    between = f" [{score(interval[0])}, {score(interval[1])}]" if interval and name in row else ""
    return Markdown(score(value) + between)


def score(value: object) -> str:
    """A score with three decimals, or that there is none."""
    return f"{value:.3f}" if isinstance(value, int | float) else NOT_MEASURED


def percent(value: object) -> str:
    """A share in whole percents, or that there is none."""
    return f"{100 * value:.0f} %" if isinstance(value, int | float) else NOT_MEASURED


def confusion_table(classes: list[str], counts: list[list[int]]) -> Markdown:
    """A confusion matrix, (classes, classes) with a row for each true class, as a table."""
    if {len(counts), *map(len, counts)} != {len(classes)}:
        raise CardError(f"results.json: confusion must have {len(classes)} rows and columns, one for each class")
    rows = [[name, *map(str, row)] for name, row in zip(classes, counts, strict=True)]
    return markdown_table([Markdown("true \\ predicted"), *classes], rows)


def unit_table(units: Units) -> Markdown:
    """F1 of action units, and how many clips show each."""
    rows = [[name, str(unit.get("clips")), score(unit.get("f1"))] for name, unit in units.get("per_unit", {}).items()]
    return markdown_table(["", COLUMNS["clips"], "F1"], rows)


def tested_dataset(recipe: Recipe, name: str) -> str:
    """What the held-out clips are of; `name` where the recipe does not say."""
    return recipe.get("test_dataset") or recipe.get("dataset", name)


def recipe_yaml(recipe: Recipe) -> Markdown:
    """The recipe of a run as the YAML file that `mer-hf train` takes, without what only holds on one machine."""
    kept = {name: value for name, value in recipe.items() if name not in OF_THE_MACHINE and value not in (None, {})}
    text = yaml.safe_dump(kept, sort_keys=False, default_flow_style=None, width=100, allow_unicode=True)
    return code_block(text.strip(), "yaml")


def by_corpus(results: Results) -> dict[str, Scored]:
    """The held-out scores that a card shows: of each corpus and, where there are several, of all clips.

    They are those of the kind of model that was saved, see `evaluation.summary.headline`; results of before have none.
    Empty where nobody was held out.
    """
    recipe = results.get("recipe", Recipe())
    kind: Literal["ensemble", "pooled"] = "ensemble" if recipe.get("average_seeds") else "pooled"
    scored = results.get("headline") or results.get(kind, ScoredByCorpus())
    corpora = scored.get("per_corpus", {})
    if scored and len(corpora) < 2:
        return {tested_dataset(recipe, "all"): scored}
    return {**corpora, "all": scored} if scored else {}


def eval_results(results: Results) -> list[EvalResult]:
    """The scores of `results` for the `model-index` of the Hub."""
    recipe = results.get("recipe", Recipe())
    rows: list[tuple[str, Scored, str | None]] = [
        (tested_dataset(recipe, name) if name == "all" else name, row, recipe.get("label_set"))
        for name, row in by_corpus(results).items()
    ]
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


def card_data(results: Results, config: Config, name: str) -> ModelCardData:
    """The metadata at the head of a card.

    Args:
        results: as in `results.json`.
        config: as in `config.json`.
        name: of the model, in the `model-index`.
    """
    data = results.get("data", Data())
    is_free = data.get("license") == "Apache-2.0"
    homepage = data.get("homepage", "")
    measured = eval_results(results)
    # no `datasets`: the field's corpora are not on the Hub
    units = ["facial-action-units"] if config.get("action_units") else []
    return ModelCardData(
        license="apache-2.0" if is_free else "other",
        license_name=None if is_free else "as-the-training-data",
        license_link=homepage if not is_free and is_web_address(homepage) else None,
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
    environment.filters |= {"score": score, "percent": percent, "code": code}
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8"))


def card_text(folder: Path) -> str:
    """The card of a model folder, from its `results.json` and `config.json`.

    `results.json` is that of the run; without it the card says what the configuration says, and has no scores. Scores
    of this very model on other clips may be added to it by name, as `evaluations: {name: {uf1: ..., uar: ..., ...}}`.
    What a `notes.md` says, by hand, is taken into the card as it is.

    Raises:
        CardError: a file cannot be read, or is not what it should be; the message names the field.
    """
    config = cast(Config, checked(_read_json(folder / "config.json"), Config, "config.json"))
    results: Results = {}
    if (folder / "results.json").exists():
        found = cast(dict[str, Json], checked(_read_json(folder / "results.json"), Results, "results.json"))
        results = cast(Results, without_paths(found))
    recipe = results.get("recipe", Recipe())
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
        described=described,
        unit_table=unit_table,
        rule_of_confidence=rule_of_confidence,
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
