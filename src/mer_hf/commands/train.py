"""Train and test a model by a recipe, of clips or of long recordings, and print its scores."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from transformers import TrainingArguments, pipeline

from mer_hf.corpora.recordings import load_recordings
from mer_hf.drawn.embedded import write_example
from mer_hf.evaluation.recordings import recording_score_lines
from mer_hf.evaluation.summary import summary_lines
from mer_hf.evaluation.units import unit_lines
from mer_hf.hub.connection import HubError
from mer_hf.hub.folder import pack
from mer_hf.hub.push import push
from mer_hf.protocols import described
from mer_hf.rcn.pipeline_rcn import TASK
from mer_hf.training.batches import DRAWN_CLASSES
from mer_hf.training.choice import choice_lines
from mer_hf.training.outcome import Outcome
from mer_hf.training.plan import RunError
from mer_hf.training.processes import take_share
from mer_hf.training.recipe import Recipe, help_text, parse_recipe
from mer_hf.training.runs import train_parsed
from mer_hf.training.spotting_runs import train_on_recordings

ENOUGH_SUBJECTS = 30
"""From about here on, real clips train as good a model as drawn motion does: the clips of 10 subjects trained one to a
UF1 of .625, those of 30 to .720, and drawn motion alone to .733."""


def run(argv: Sequence[str]) -> int:
    """Run the command with what stands behind its name."""
    if argv and argv[-1] in ("-h", "--help", "--help-all"):
        print(help_text(everything=argv[-1] == "--help-all"))
        return 0
    recipe, arguments = parse_recipe(argv)
    if recipe.is_spotting:
        return run_spotting(recipe, arguments)
    outcome = train_parsed(recipe, arguments)
    if outcome is None:  # one of several processes, and not the first
        return 0
    folder = outcome.save(cast(str, arguments.output_dir))
    print("\n".join(["", *score_lines(outcome), "", f"model and results.json are in {folder}"]))
    if not recipe.is_drawn:
        print(recommendation(outcome))
    if arguments.push_to_hub:
        push_trained(folder / "model", arguments)
    if recipe.dataset == "synthetic":
        classify_example(folder / "model", folder / "example.mp4")
    return 0


def run_spotting(recipe: Recipe, arguments: TrainingArguments) -> int:
    """Train on the recordings of a corpus, and print what was found of those who were held out."""
    recordings = load_recordings(recipe.dataset, recipe.data_dir, recipe.fps)
    outcome = train_on_recordings(recipe, arguments, recordings, take_share(), progress=True)
    if outcome is None:  # one of several processes, and not the first
        return 0
    folder = outcome.save(cast(str, arguments.output_dir))
    lines = [] if outcome.scores is None else ["", *recording_score_lines(outcome.scores)]
    tables = "" if outcome.scores is None else "spotted.csv, truth.csv, "
    print("\n".join([*lines, "", f"{tables}model and results.json are in {folder}"]))
    if outcome.scores is not None:
        found = f"mer-hf spot-scores {recipe.dataset} --data-dir {recipe.data_dir}"
        print(f"`{found}` says what the network in the package finds in the same recordings.")
    return 0


def score_lines(outcome: Outcome) -> list[str]:
    """The scores of an outcome as text; a view of `results.json`."""
    lines = [] if outcome.predictions is None or not outcome.is_trained else [described(outcome.record["recipe"]), ""]
    if "pooled" in outcome.scores:
        lines += summary_lines(outcome.scores)
    if "choice" in outcome.scores:
        lines += ["", *choice_lines(outcome.scores["choice"])]
    if "control" in outcome.scores:
        control = outcome.scores["control"]
        lines.append(
            f"control (PCA and RBF machine on the same folds): UF1 {control['uf1']:.4f}  UAR {control['uar']:.4f}"
        )
    if "action_units" in outcome.scores:
        lines += [*([""] if "pooled" in outcome.scores else []), *unit_lines(outcome.scores["action_units"])]
    if "drawn_motion" in outcome.scores:
        lines.append("scores on drawn motion that was not trained on: UF1, UAR")
        drawn = outcome.scores["drawn_motion"].items()
        lines += [f"  {name:20} {scored['uf1']:.3f}  {scored['uar']:.3f}" for name, scored in drawn]
    return lines


def recommendation(outcome: Outcome) -> str:
    """What to make of so many subjects, where the model in the package names the same classes; empty otherwise."""
    subjects, config = outcome.record["counts"]["subjects"], outcome.model.config
    if config.connectivity != "geometric" or set(config.class_names()) != set(DRAWN_CLASSES):
        return ""
    if subjects < ENOUGH_SUBJECTS:
        return (
            f"{subjects} subjects are few: below about {ENOUGH_SUBJECTS}, the model in the package was better as it is "
            'than one trained on clips (README, "Few subjects"). `mer-hf score default` scores it on these.'
        )
    return (
        f"{subjects} subjects are enough to train on, and better still is the average with the model in the package "
        '(README, "Few subjects"): --average-with default. For people recorded otherwise than these: joint.yaml.'
    )


def push_trained(folder: Path, arguments: TrainingArguments) -> None:
    """Push the model of a finished run as its training arguments say."""
    try:
        pushed = push(
            pack(folder),
            cast(str, arguments.hub_model_id),
            token=arguments.hub_token,
            private=bool(arguments.hub_private_repo),
            revision=arguments.hub_revision,
        )
    except HubError as error:
        raise RunError(f"the model is whole in {folder}, `mer-hf push` can send it later; {error}") from error
    print(pushed.url if pushed.is_new else f"nothing has changed since {pushed.url}")


def classify_example(model: Path, video: Path) -> None:
    """Show the way back in: the saved folder, the pipeline, and a video of somebody the model has not seen."""
    shown = write_example(video)
    print(f"\n{video}: a new face that shows a {shown} micro-expression\npipeline({TASK!r}, model={str(model)!r}) says")
    classify = pipeline(TASK, model=str(model))  # ty: ignore[no-matching-overload] - they name transformers' own tasks
    for label in classify(video):
        print(f"  {label['label']:10}  {label['score']:.4f}")
