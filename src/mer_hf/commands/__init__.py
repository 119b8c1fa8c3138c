"""The command line: `mer-hf synthesize | corpora | prepare | train | evaluate | predict | inspect | push`.

Every command imports what it needs when it runs, so that `mer-hf --help` answers at once.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mer_hf import __version__
from mer_hf.errors import MerHfError

if TYPE_CHECKING:
    import pandas as pd
    from datasets import Dataset

    from mer_hf.training.recipe import Recipe


SCORES = ("uf1", "uar", "accuracy")
ENOUGH_SUBJECTS = 30
"""From about here on, real clips train as good a model as drawn motion does: the clips of 10 subjects trained one to a
UF1 of .625, those of 30 to .720, and drawn motion alone to .733."""


class CommandError(MerHfError):
    """A command was given something that it cannot work with."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The arguments after `mer-hf`; those of the process by default.

    Returns:
        The exit status: 0, or 2 with one line on stderr where the input was at fault.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        if argv[:1] in (["train"], ["prepare"]):  # their options are those of a recipe, which has its own parser
            return {"train": _train, "prepare": _prepare}[argv[0]](argv[1:])
        arguments = _parser().parse_args(argv)
        return arguments.run(arguments)
    except (MerHfError, OSError) as error:
        print(f"mer-hf: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mer-hf", description="Recognise facial micro-expressions in video. Try: mer-hf COMMAND --help"
    )
    parser.add_argument("--version", action="version", version=f"mer-hf {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_synthesize(commands)
    _add_corpora(commands)
    commands.add_parser("prepare", help="find faces and motion in a corpus once, for every training", add_help=False)
    commands.add_parser("train", help="train and test a model on a corpus", add_help=False)
    _add_evaluate(commands)
    _add_predict(commands)
    _add_inspect(commands)
    _add_push(commands)
    return parser


def _add_command(commands: Any, name: str, run: Any, short: str, text: str, example: str) -> argparse.ArgumentParser:
    command = commands.add_parser(
        name,
        help=short,
        description=text,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=run)
    return command


# --- synthesize ---


def _add_synthesize(commands: Any) -> None:
    command = _add_command(
        commands,
        "synthesize",
        _synthesize,
        "render a corpus of synthetic faces to try everything with",
        "Render faces whose action units move, and write them as a corpus on disk. The corpora of the field are\n"
        "handed out on request only; this one needs no request, and trains and tests in minutes.\n\n"
        "With --corpus, write a replica of a licensed corpus instead: its folders, sheet, names, counts and oddities\n"
        "around plain images, or around drawn faces with --faces.",
        "mer-hf synthesize corpora/synthetic --subjects 8 --clips 12",
    )
    command.add_argument("folder", metavar="DIR", type=Path, help="where to write the corpus")
    command.add_argument("--corpus", help="whose replica to write, e.g. smic; mer-hf corpora lists them")
    command.add_argument("--release", help="which release of it, e.g. extended; a wrong one prints those there are")
    command.add_argument("--faces", action="store_true", help="draw faces in the replica")
    command.add_argument("--subjects", type=int, help="number of people (default: 8; all in a replica)")
    command.add_argument("--clips", type=int, help="clips of each person (default: 12; all in a replica)")
    command.add_argument("--fps", type=float, help="frames per second (default: 200; a replica has its corpus's)")
    command.add_argument("--size", type=int, help="height and width in pixels (default: 256; 8 without faces)")
    command.add_argument("--seed", type=int, default=0, help="the same seed renders the same (default: %(default)s)")
    command.add_argument("--num-proc", type=int, default=1, help="processes that render (default: %(default)s)")


def _synthesize(arguments: argparse.Namespace) -> int:
    if arguments.corpus is not None:
        from mer_hf.corpora.replicas import replicate

        if arguments.fps is not None:
            raise CommandError("--fps is not for replicas: they have the frame rate of their corpus")
        limits = {"subjects": arguments.subjects, "clips": arguments.clips, "size": arguments.size}
        options = {"faces": arguments.faces, "seed": arguments.seed}
        folder = replicate(arguments.corpus, arguments.folder, arguments.release, **limits, **options)
        print(f"a replica of {arguments.corpus} is in {folder}")
        return 0
    if arguments.release is not None or arguments.faces:
        raise CommandError("--release and --faces are for replicas: say with --corpus of which")
    from mer_hf.drawn.embedded import synthesize

    subjects = 8 if arguments.subjects is None else arguments.subjects
    clips = 12 if arguments.clips is None else arguments.clips
    folder = synthesize(
        arguments.folder,
        subjects=subjects,
        clips=clips,
        fps=200.0 if arguments.fps is None else arguments.fps,
        size=256 if arguments.size is None else arguments.size,
        seed=arguments.seed,
        num_proc=arguments.num_proc,
    )
    print(f"{subjects} subjects with {clips} clips each are in {folder}")
    return 0


# --- corpora ---


def _add_corpora(commands: Any) -> None:
    command = _add_command(
        commands,
        "corpora",
        _corpora,
        "list the corpora, or check a copy of one",
        "List the corpora that can be read: clips, subjects, classes, licence, how to come by a copy, and how it lies\n"
        "on disk. `mer-hf corpora check` reads a copy and tells everything that is wrong with it.",
        "mer-hf corpora check casme2 --data-dir /data/CASME2",
    )
    actions = command.add_subparsers(metavar="check")
    check = _add_command(
        actions,
        "check",
        _check_corpus,
        "read a copy and tell what is wrong with it",
        "Read a copy of a corpus: clips in the sheet and on disk, missing frames, counts of classes and subjects,\n"
        "corrections. The exit status is 1 when something is wrong.",
        "mer-hf corpora check casme2 --data-dir /data/CASME2 --json",
    )
    check.add_argument("corpus", metavar="NAME", help="a corpus, e.g. casme2")
    check.add_argument(
        "--data-dir", required=True, help="folder of the copy; for megc2019 also smic=DIR,casme2=DIR,samm=DIR"
    )
    for parser in (command, check):
        parser.add_argument("--json", action="store_true", help="print JSON")


def _corpora(arguments: argparse.Namespace) -> int:
    from mer_hf.corpora.check import describe_corpora, description_lines

    corpora = describe_corpora()
    if arguments.json:
        print(json.dumps(corpora, indent=2))
    else:
        print("\n\n".join("\n".join(description_lines(corpus)) for corpus in corpora))
    return 0


def _check_corpus(arguments: argparse.Namespace) -> int:
    from mer_hf.corpora.check import check_corpus, report_lines

    report = check_corpus(arguments.corpus, arguments.data_dir)
    print(json.dumps(report, indent=2) if arguments.json else "\n".join(report_lines(report)))
    return 1 if report["problems"] else 0


# --- prepare ---

PREPARE_USAGE = """usage: mer-hf prepare CORPUS|FOLDER|RECIPE.yaml [--OPTION VALUE ...]

Find the faces and the motion of all clips, and keep them in the cache of datasets: what training would do first, on all
cores. What to prepare is said as to `mer-hf train`, and its options are those of `mer-hf train --help`.

example:
  mer-hf prepare casme2 --data-dir /data/CASME2 --preset strcn-a"""


def _prepare(argv: Sequence[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        print(PREPARE_USAGE)
        return 0 if argv else 2
    from mer_hf.training.clips import check_dataset, prepare
    from mer_hf.training.recipe import parse_recipe
    from mer_hf.training.trainer import build_config, build_processor

    is_recipe = argv[0].startswith("-") or argv[0].endswith((".yaml", ".yml"))
    recipe, _ = parse_recipe(argv if is_recipe else ["--dataset", *argv])
    dataset = _load_dataset(recipe)
    if check_dataset(dataset) != "frames":
        raise CommandError(f"{recipe.dataset} holds ready inputs; there is nothing to prepare")
    processor = build_processor(recipe, build_config(recipe, dataset))
    started = time.monotonic()
    prepared = prepare(dataset, processor, recipe.num_proc or os.cpu_count())
    print(f"{len(prepared)} clips of {recipe.dataset} are prepared ({time.monotonic() - started:.1f} s); they lie in")
    for folder in sorted({str(Path(file["filename"]).parent) for file in prepared.cache_files}):
        print(f"  {folder}")
    flagged = [
        (clip, problems) for clip, problems in zip(dataset["clip_id"], prepared["problems"], strict=True) if problems
    ]
    for clip, problems in flagged:
        print(f"{clip}: {'; '.join(problems)}")
    return 0


# --- train ---


def _train(argv: Sequence[str]) -> int:
    from mer_hf.hub.models import open_model
    from mer_hf.training.drawn import DATASET as DRAWN
    from mer_hf.training.recipe import parse_recipe
    from mer_hf.training.runs import run, take_share

    share = take_share()
    recipe, arguments = parse_recipe(argv)
    if recipe.evaluate_only:
        return _evaluate_saved(recipe, arguments, share)
    if arguments.push_to_hub and share.rank == 0:
        _check_destination(arguments)
    if recipe.dataset == DRAWN:
        return _train_drawn(recipe, arguments, share)
    dataset = _load_dataset(recipe)
    start, companion = (name and open_model(name) for name in (recipe.saved_model, recipe.average_with))
    trained = run(dataset, recipe, arguments, share, start, companion)
    if trained is None:
        return 0
    output_dir = Path(arguments.output_dir)
    folder = _save_whole(*trained, output_dir / "model")
    if recipe.protocol != "none":
        print()
        _print_scores(output_dir / "predictions.csv")
        control = json.loads((output_dir / "results.json").read_text(encoding="utf-8")).get("control")
        if control:
            print(
                f"control (PCA and RBF machine on the same folds): UF1 {control['uf1']:.4f}  UAR {control['uar']:.4f}"
            )
    print(f"\nmodel, predictions.csv and results.json are in {output_dir}")
    print(_recommendation(dataset, trained.model.config))
    if arguments.push_to_hub:
        _push_trained(folder, arguments)
    if recipe.dataset == "synthetic":
        _classify_example(folder, output_dir / "example.mp4")
    return 0


def _recommendation(dataset: "Dataset", config: Any) -> str:
    """What to make of so many subjects, where the model in the package tells the same classes; empty otherwise."""
    from mer_hf.training.batches import DRAWN_CLASSES

    subjects = len(set(dataset["subject"]))
    if config.connectivity != "geometric" or set(config.id2label.values()) != set(DRAWN_CLASSES):
        return ""
    if subjects < ENOUGH_SUBJECTS:
        return (
            f"{subjects} subjects are few: below about {ENOUGH_SUBJECTS}, the model in the package was better as it is "
            'than one trained on clips (README, "Few subjects"). --model default --evaluate-only scores it on these.'
        )
    return (
        f"{subjects} subjects are enough to train on, and better still is the average with the model in the package "
        '(README, "Few subjects"): --average-with default. For people recorded otherwise than these: joint.yaml.'
    )


def _evaluate_saved(recipe: "Recipe", arguments: Any, share: Any) -> int:
    from mer_hf.hub.models import open_model
    from mer_hf.training.drawn import DATASET as DRAWN
    from mer_hf.training.drawn import evaluate_drawn
    from mer_hf.training.runs import evaluate

    if share.rank != 0:
        return 0
    saved, output_dir = open_model(recipe.saved_model), Path(arguments.output_dir)
    if recipe.dataset == DRAWN:
        evaluate_drawn(saved.model, recipe, arguments)
        _print_drawn_scores(output_dir / "results.json")
        return 0
    evaluate(_load_dataset(recipe), saved, recipe, arguments)
    results = json.loads((output_dir / "results.json").read_text(encoding="utf-8"))
    _print_scores(output_dir / "predictions.csv")
    if "action_units" in results:
        units = results["action_units"]
        print(f"\naction units of {units['clips']} coded clips: macro F1 {units['macro_f1']:.4f}")
    if results["clips_of_training_subjects"]:
        print(f"\n{results['clips_of_training_subjects']} of the clips show subjects that the model was trained on")
    print(f"\npredictions.csv and results.json are in {output_dir}")
    return 0


def _check_destination(arguments: Any) -> None:
    """Refuse what the model could not be pushed to in the end, before hours of training."""
    from mer_hf.hub.push import check_login

    if arguments.hub_model_id is None:
        raise CommandError("--push_to_hub needs to know where: --hub_model_id USER/NAME")
    check_login(arguments.hub_model_id, arguments.hub_token)


def _train_drawn(recipe: "Recipe", arguments: Any, share: Any) -> int:
    from mer_hf.training.drawn import run_drawn

    if share.rank != 0:  # there are no folds to share out
        return 0
    trained = run_drawn(recipe, arguments)
    output_dir = Path(arguments.output_dir)
    _save_whole(*trained, output_dir / "model")
    _print_drawn_scores(output_dir / "results.json")
    print(f"\nmodel and results.json are in {output_dir}")
    if arguments.push_to_hub:
        _push_trained(output_dir / "model", arguments)
    return 0


def _print_drawn_scores(results: Path) -> None:
    print("\nscores on drawn motion that was not trained on: UF1, UAR")
    for name, scored in json.loads(results.read_text(encoding="utf-8"))["drawn_motion"].items():
        print(f"  {name:20} {scored['uf1']:.3f}  {scored['uar']:.3f}")


def _save_whole(model: Any, video_processor: Any, folder: Path) -> Path:
    """Save the model of a run with its results, which lie above it, and its card."""
    from mer_hf.hub.folder import save_with_card

    results = json.loads((folder.parent / "results.json").read_text(encoding="utf-8"))
    return save_with_card(model, video_processor, results, folder)


def _load_dataset(recipe: "Recipe") -> "Dataset":
    """The dataset of a recipe: a corpus by its name, or a folder that `Dataset.save_to_disk` wrote."""
    import datasets

    from mer_hf.corpora import CORPORA, load_corpus

    if recipe.dataset in CORPORA:
        return load_corpus(recipe.dataset, recipe.data_dir, recipe.label_set, fps=recipe.fps, num_proc=recipe.num_proc)
    known = f"expected a corpus ({', '.join(CORPORA)}) or the folder of a saved datasets.Dataset"
    if not Path(recipe.dataset).is_dir():
        raise CommandError(f"the dataset {recipe.dataset!r} is no corpus and no folder; {known}")
    try:
        dataset = datasets.load_from_disk(recipe.dataset)
    except FileNotFoundError as error:
        raise CommandError(f"the folder {recipe.dataset} holds no saved dataset; {known}") from error
    except (LookupError, ValueError) as error:  # what datasets says of one that was saved without rows, or cut short
        raise CommandError(f"the folder {recipe.dataset} holds a dataset that is empty or damaged: {error}") from error
    if not isinstance(dataset, datasets.Dataset):
        raise CommandError(f"the folder {recipe.dataset} holds the splits {', '.join(dataset)}; name the folder of one")
    return dataset


def _classify_example(model: Path, video: Path) -> None:
    """Show the way back in: the saved folder, the pipeline, and a video of somebody the model has not seen."""
    from transformers import pipeline

    from mer_hf.drawn.embedded import write_example
    from mer_hf.rcn.pipeline_rcn import TASK

    shown = write_example(video)
    print(f"\n{video}: a new face that shows a {shown} micro-expression\npipeline({TASK!r}, model={str(model)!r}) says")
    print("\n".join(_label_lines(pipeline(TASK, model=str(model))(video))))


# --- evaluate ---


def _add_evaluate(commands: Any) -> None:
    command = _add_command(
        commands,
        "evaluate",
        _evaluate,
        "score the predictions of a run",
        "Print UF1, UAR, accuracy and the confusion matrix of a predictions.csv: of each fold, of all clips together\n"
        "(the counts of all folds pooled, as MEGC 2019 asks), of each corpus, and of each seed with the mean over\n"
        "seeds; and 95 % intervals over resampled subjects.\n"
        "Its columns: clip_id, label, predicted; and where there are several, subject, corpus, seed and score_<class>.",
        "mer-hf evaluate runs/composite/predictions.csv",
    )
    command.add_argument("predictions", metavar="predictions.csv", type=Path, help="a run's predictions, a row a clip")


def _evaluate(arguments: argparse.Namespace) -> int:
    _print_scores(arguments.predictions)
    return 0


def _print_scores(predictions: Path) -> None:
    table = _read_predictions(predictions)
    classes = _class_names(table)
    lines = [*_score_lines(table, classes), *_interval_lines(table, classes), "", *_confusion_lines(table, classes)]
    print("\n".join(lines))


def _read_predictions(path: Path) -> "pd.DataFrame":
    import pandas as pd

    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)  # a class may be called "none"
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise CommandError(f"{path} is not a CSV table: {error}") from error
    missing = [column for column in ("clip_id", "label", "predicted") if column not in table]
    if missing:
        raise CommandError(f"{path} lacks the columns {', '.join(missing)}; it has {', '.join(table.columns)}")
    if table.empty:
        raise CommandError(f"{path} has no rows")
    if "seed" not in table:
        table["seed"] = "0"
    needed = [name for name in ("clip_id", "label", "predicted", "seed", "corpus", "subject") if name in table]
    unfilled = table[(table[needed] == "").any(axis=1)]
    if len(unfilled):
        raise CommandError(f"{path}, line {unfilled.index[0] + 2}: one of {', '.join(needed)} is empty")
    twice = table[table.duplicated(["clip_id", "seed"])]
    if len(twice):
        row = twice.iloc[0]
        raise CommandError(
            f"{path}, line {twice.index[0] + 2}: clip {row.clip_id} is there twice for seed {row.seed}; "
            "each clip is held out once"
        )
    return table


def _class_names(table: "pd.DataFrame") -> list[str]:
    """The classes in the order of the score columns; without those, as they occur, sorted."""
    scored = [column.removeprefix("score_") for column in table if column.startswith("score_")]
    found = sorted({*table.label, *table.predicted})
    unknown = [name for name in found if name not in scored]
    if scored and unknown:
        raise CommandError(f"the class {unknown[0]} has no score column; those are of {', '.join(scored)}")
    return scored or found


def _score_lines(table: "pd.DataFrame", classes: list[str]) -> list[str]:
    groups = []
    folds = table.fold.nunique() if "fold" in table else 0
    if 1 < folds < table.clip_id.nunique():  # a fold of one clip has no score to show
        groups += [(f"fold {name}", rows) for name, rows in table.groupby("fold")]
    groups += [("pooled", table)]
    if "corpus" in table:
        groups += [(f"corpus {name}", rows) for name, rows in table.groupby("corpus", sort=False)]
    seeds = [(f"seed {name}", rows) for name, rows in table.groupby("seed", sort=False)]
    results = [(name, len(rows), _scores(rows, classes)) for name, rows in groups + seeds]
    mean = {key: sum(score[key] for _, _, score in results[-len(seeds) :]) / len(seeds) for key in SCORES}
    results.append(("mean over seeds", "", mean))
    width = max(len(name) for name, _, _ in results)
    lines = [f"{'':{width}}  predictions     UF1     UAR  accuracy"]
    for name, count, score in results:
        lines.append(f"{name:{width}}  {count:>11}  {score['uf1']:6.4f}  {score['uar']:6.4f}  {score['accuracy']:8.4f}")
    return lines


def _interval_lines(table: "pd.DataFrame", classes: list[str]) -> list[str]:
    """The intervals of the pooled scores and of those of each corpus; none without two subjects by name."""
    from mer_hf.metrics import subject_bootstrap

    if "subject" not in table:
        return []
    groups = [("pooled", table)]
    if "corpus" in table and table.corpus.nunique() > 1:
        groups += [(f"corpus {name}", rows) for name, rows in table.groupby("corpus", sort=False)]
    groups = [(name, rows) for name, rows in groups if rows.subject.nunique() > 1]
    width = max((len(name) for name, _ in groups), default=0)
    lines = ["", "95 % intervals over resampled subjects"] if groups else []
    for name, rows in groups:
        interval = subject_bootstrap(*_class_numbers(rows, classes), rows.subject, len(classes))
        told = "  ".join(f"{key} {low:.4f} to {high:.4f}" for key, (low, high) in interval.items())
        lines.append(f"  {name:{width}}  {rows.subject.nunique():>4} subjects  {told}")
    return lines


def _confusion_lines(table: "pd.DataFrame", classes: list[str]) -> list[str]:
    counts = _scores(table, classes)["confusion"]
    corner = "true \\ predicted"
    width = max(len(name) for name in [*classes, corner])
    columns = [max(len(name), 6) for name in classes]
    header = "  ".join(f"{name:>{size}}" for name, size in zip(classes, columns, strict=True))
    lines = [f"{corner:{width}}  {header}"]
    for name, row in zip(classes, counts, strict=True):
        lines.append(f"{name:{width}}  " + "  ".join(f"{n:{size}d}" for n, size in zip(row, columns, strict=True)))
    return lines


def _scores(rows: "pd.DataFrame", classes: list[str]) -> dict[str, Any]:
    from mer_hf.metrics import scores

    return scores(*_class_numbers(rows, classes), len(classes))


def _class_numbers(rows: "pd.DataFrame", classes: list[str]) -> tuple[list[int], list[int]]:
    """Labels and predictions of the rows, as places in `classes`."""
    number = {name: index for index, name in enumerate(classes)}
    return [number[name] for name in rows.label], [number[name] for name in rows.predicted]


# --- predict ---


def _add_predict(commands: Any) -> None:
    command = _add_command(
        commands,
        "predict",
        _predict,
        "name the micro-expression in videos",
        "Print the labels of each video with their scores, the likeliest first. A video is a file or an http(s)\n"
        "address, cut to the moment from onset to offset. Images are taken together as the frames of one video.",
        "mer-hf predict clip.mp4 --model runs/composite/model --top-k 3",
    )
    command.add_argument("videos", metavar="VIDEO", nargs="+", help="files or addresses, or the images of one video")
    command.add_argument(
        "--model",
        default="default",
        help="folder of a trained model, or its name on the Hub (default: the model in the package)",
    )
    command.add_argument("--top-k", type=int, help="how many labels to print (default: all)")
    command.add_argument("--align", help="mesh, box or none (default: as the model was trained)")
    command.add_argument("--fps", type=float, help="frames per second, where a video tells it wrong")
    command.add_argument("--json", action="store_true", help="print a JSON object a video and line, not a table")


def _predict(arguments: argparse.Namespace) -> int:
    if arguments.top_k is not None and arguments.top_k < 1:
        raise CommandError(f"--top-k is {arguments.top_k}; it must be 1 or more")
    from transformers import pipeline

    from mer_hf.hub.connection import first_line
    from mer_hf.hub.models import model_folder
    from mer_hf.rcn.decoding_rcn import VideoError, as_batch
    from mer_hf.rcn.pipeline_rcn import TASK

    sources, _ = as_batch(arguments.videos)
    folder = model_folder(arguments.model)
    try:
        classify = pipeline(TASK, model=folder)
    except (ValueError, OSError) as error:
        raise CommandError(f"--model {arguments.model} is no model that can be loaded: {first_line(error)}") from error
    status = 0
    for source in sources:
        name = source if isinstance(source, str) else f"{source[0]} ... {source[-1]}"
        try:
            labels = classify(source, top_k=arguments.top_k, align=arguments.align, fps=arguments.fps)
        except VideoError as error:  # the other videos are still worth their answer
            print(f"mer-hf: {error}", file=sys.stderr)
            status = 2
            continue
        if arguments.json:
            print(json.dumps({"video": name, "labels": labels}))
        else:
            print("\n".join([name, *_label_lines(labels)]))
    return status


def _label_lines(labels: list[dict[str, Any]]) -> list[str]:
    width = max(len(label["label"]) for label in labels)
    return [f"  {label['label']:{width}}  {label['score']:.4f}" for label in labels]


# --- inspect ---


def _add_inspect(commands: Any) -> None:
    command = _add_command(
        commands,
        "inspect",
        _inspect,
        "draw what a model sees of a video",
        "Draw a clip on one page: the face and its landmarks on the onset frame, the aligned crop, the motion over\n"
        "time with onset, apex and offset, the flow from onset to apex, and the pixels that move. Needs matplotlib:\n"
        'pip install "mer-hf[inspect]"',
        "mer-hf inspect clip.mp4 --out report.png",
    )
    command.add_argument("video", metavar="VIDEO", nargs="+", help="a file or address, or the images of one video")
    command.add_argument("--out", type=Path, default=Path("report.png"), help="the picture (default: %(default)s)")
    command.add_argument("--model", help="folder of a model, or its name on the Hub, whose processor is used")
    command.add_argument("--align", help="mesh, box or none (default: as the model, or mesh)")
    command.add_argument("--fps", type=float, help="frames per second, where the video tells it wrong")
    command.add_argument("--apex", type=int, help="index of the apex frame, from 0 (default: spotted)")


def _inspect(arguments: argparse.Namespace) -> int:
    try:
        from mer_hf.inspection import draw, examine
    except ModuleNotFoundError as error:
        if not error.name.startswith("matplotlib"):
            raise
        raise CommandError('the page is drawn with matplotlib: pip install "mer-hf[inspect]"') from error
    from mer_hf.hub.models import model_folder
    from mer_hf.rcn.decoding_rcn import as_batch
    from mer_hf.rcn.video_processing_rcn import RcnVideoProcessor

    sources, _ = as_batch(arguments.video)
    if len(sources) > 1:
        raise CommandError(f"one video makes a page, got {len(sources)}")
    options = {"face_problems": "flag", **({"align": arguments.align} if arguments.align else {})}
    if arguments.model is None:
        processor = RcnVideoProcessor(**options)
    else:
        processor = RcnVideoProcessor.from_pretrained(model_folder(arguments.model), **options)
    seen = examine(sources[0], processor, arguments.apex, arguments.fps)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    draw(seen, arguments.out, title=Path(str(arguments.video[0])).name)
    how = "spotted" if seen.spotted else "given"
    print(f"{len(seen.clip.frames)} frames at {seen.clip.fps:.1f} a second, apex {how} at frame {seen.apex}")
    print("\n".join(seen.clip.face.problems) or "nothing is wrong with the face")
    print(f"drawn in {arguments.out}")
    return 0


# --- push ---


def _add_push(commands: Any) -> None:
    command = _add_command(
        commands,
        "push",
        _push,
        "put a trained model on the Hub",
        "Put a model on the Hub in one commit: weights, configurations, face models, the code that loads it anywhere,\n"
        "its card and its results. Nothing else of the folder goes: no frames, no predictions, no pickles. Log in\n"
        "first: `hf auth login`, or HF_TOKEN.",
        "mer-hf push runs/composite user/rcn-composite --private",
    )
    command.add_argument("folder", type=Path, help="output folder of a run, or what pipe.save_pretrained wrote")
    command.add_argument("repo", metavar="USER/NAME", help="where to; created where it does not exist")
    command.add_argument("--private", action="store_true", help="create it for yourself and those you let in")
    command.add_argument("--revision", metavar="BRANCH", help="branch, created where it does not exist (default: main)")
    command.add_argument("--message", help="of the commit")
    command.add_argument("--dry-run", action="store_true", help="say what would go and what not; no network is used")


def _push(arguments: argparse.Namespace) -> int:
    from mer_hf.hub.folder import check_whole, pack
    from mer_hf.hub.push import push

    parcel = pack(arguments.folder)
    for name in parcel.files if arguments.dry_run else ():
        print(f"{(parcel.folder / name).stat().st_size:>12,}  {name}")
    if "README.md" not in parcel.files:
        print(f"{parcel.folder} has no README.md: its card is written from config.json, unless the repository has one")
    for name, reason in parcel.left_out.items():
        print(f"{name} stays: {reason}")
    if arguments.dry_run:
        check_whole(parcel)
        print(f"{parcel.folder} is whole; nothing was sent to {arguments.repo}")
        return 0
    options = {"private": arguments.private, "revision": arguments.revision, "message": arguments.message}
    _print_pushed(push(parcel, arguments.repo, **options))
    return 0


def _push_trained(folder: Path, arguments: Any) -> None:
    """Push the model of a finished run as its training arguments say."""
    from mer_hf.hub.connection import HubError
    from mer_hf.hub.folder import pack
    from mer_hf.hub.push import push

    options = {"private": bool(arguments.hub_private_repo), "revision": arguments.hub_revision}
    try:
        pushed = push(pack(folder), arguments.hub_model_id, token=arguments.hub_token, **options)
    except HubError as error:
        raise CommandError(f"the model is whole in {folder}, `mer-hf push` can send it later; {error}") from error
    _print_pushed(pushed)


def _print_pushed(pushed: Any) -> None:
    print(pushed.url if pushed.is_new else f"nothing has changed since {pushed.url}")


if __name__ == "__main__":
    sys.exit(main())
