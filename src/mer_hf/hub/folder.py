"""Model folders that load anywhere: saved whole, sorted out for the Hub, and checked.

    a model -> save_model_folder -> a folder -> pack: what of it goes, what stays and why -> check_whole: it loads

A folder goes by a list of what a model is made of. Whatever else lies in it, frames above all, stays where it is.
"""

import hashlib
import json
import re
import shutil
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import cast

from mer_hf.hub.cards import Json, without_paths, write_card
from mer_hf.hub.connection import HubError, first_line
from mer_hf.rcn.faces_rcn import FOLDER, MODELS
from mer_hf.rcn.modeling_rcn import RcnForVideoClassification
from mer_hf.rcn.pipeline_rcn import TASK, MicroExpressionClassificationPipeline
from mer_hf.rcn.video_processing_rcn import FACE_MODELS, RcnVideoProcessor


def save_model_folder(model: RcnForVideoClassification, processor: RcnVideoProcessor, folder: str | Path) -> Path:
    """Save all that a pushed model needs: weights, configurations, and the code that loads them.

    The folder works with `from_pretrained`, with `pipeline("micro-expression-classification", model=folder)` where
    mer_hf is imported, and with `trust_remote_code=True` where it is not installed.

    Args:
        model: with its labels in `config.id2label`.
        processor: that made its inputs.
        folder: created where it does not exist; files of the same names are overwritten.

    Returns:
        The folder.
    """
    pipeline = MicroExpressionClassificationPipeline(
        model=model, video_processor=processor, task=TASK, device=model.device
    )
    pipeline.save_pretrained(folder)
    return Path(folder)


def save_with_card(
    model: RcnForVideoClassification, processor: RcnVideoProcessor, results: dict[str, Json], folder: Path
) -> Path:
    """Save a trained model, the results of its run, and the card that is written from them.

    The folder is there whole or not at all, in place of one that was there before, whose `notes.md` stays.

    Args:
        model, processor: as `save_model_folder` takes them.
        results: as `results.json` of the run holds them; folders of this machine are named without the way to them.
        folder: of the model; the folder above it exists.

    Returns:
        The folder.
    """
    with tempfile.TemporaryDirectory(prefix=".model-", dir=folder.parent) as beside:
        whole = save_model_folder(model, processor, Path(beside) / "new")
        (whole / "results.json").write_text(json.dumps(without_paths(results), indent=2) + "\n", encoding="utf-8")
        if (folder / "notes.md").exists():
            shutil.copy(folder / "notes.md", whole)
        write_card(whole)
        if folder.exists():
            folder.rename(Path(beside) / "old")
        return whole.rename(folder)


# --- what of a folder goes to the Hub ---


def _with_siblings(*names: str) -> dict[str, Path]:
    """Files of the Hub room by name, and those that they import, as transformers finds them when it saves a model."""
    files: dict[str, Path] = {}
    waiting = [*names]
    while waiting:
        name = waiting.pop()
        path = FOLDER / f"{name}.py"
        if path.name not in files:
            files[path.name] = path
            waiting += re.findall(r"^\s*from \.(\w+) import", path.read_text(encoding="utf-8"), re.MULTILINE)
    return dict(sorted(files.items()))


CODE = _with_siblings("configuration_rcn", "modeling_rcn", "video_processing_rcn", "pipeline_rcn")
"""The code files that travel with every model that names clips, and where they lie."""
CONFIGS = ("config.json", "video_preprocessor_config.json")
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
BESIDE = ("README.md", "results.json", ".gitattributes")
"""What goes with a model where it is there."""

FRAMES = "frames, or something made from them; the corpora may not be passed on"
PICKLE = "not safetensors; such files can run code when they are opened"
NO_PART = "no part of a model on the Hub"
REASONS = {
    **dict.fromkeys((".arrow", ".parquet", ".npy", ".npz", ".h5"), FRAMES),
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif", ".webp"), FRAMES),
    **dict.fromkeys((".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv"), FRAMES),
    **dict.fromkeys((".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib"), PICKLE),
    ".csv": "predictions and tables name the clips of a corpus; they stay with the run",
}
"""Why a file stays, by the end of its name."""


@dataclass(frozen=True)
class Parcel:
    """What goes to the Hub of a folder.

    Attributes:
        folder: of the model.
        files: names of the files that go, all of them directly in the folder.
        left_out: what stays, relative to the folder that was named, and why.
    """

    folder: Path
    files: tuple[str, ...]
    left_out: dict[str, str]


def pack(folder: str | Path) -> Parcel:
    """Sort out what of a folder goes to the Hub; nothing is opened.

    Args:
        folder: what `pipe.save_pretrained` wrote, the `model/` of a run, or the output folder of a run, whose `model/`
            is meant.

    Raises:
        HubError: where there is no such folder.
    """
    named = Path(folder)
    if not named.is_dir():
        raise HubError(f"{named} is no folder; name the output folder of a run, or what pipe.save_pretrained wrote")
    model = folder_of_model(named)
    entries = sorted(model.iterdir())
    files = tuple(path.name for path in entries if is_part(path.name) and path.is_file())
    rest = [path for path in entries if path.name not in files]
    rest += sorted(path for path in named.iterdir() if path != model) if model != named else []
    left_out = {path.relative_to(named).as_posix() + "/" * path.is_dir(): _reason(path) for path in rest}
    return Parcel(model, files, left_out)


def folder_of_model(folder: Path) -> Path:
    """The folder itself, or its `model/` where it is the output folder of a run."""
    is_run = not (folder / CONFIGS[0]).exists() and (folder / "model").is_dir()
    return folder / "model" if is_run else folder


def is_part(name: str) -> bool:
    """Whether a file of this name is a part of a model on the Hub."""
    return name in {*CONFIGS, WEIGHTS, INDEX, *FACE_MODELS, *CODE, *BESIDE} or SHARD.fullmatch(name) is not None


def _reason(path: Path) -> str:
    """Why a file, or all of a folder, stays."""
    if not path.is_dir():
        return REASONS.get(path.suffix.lower(), NO_PART)
    reasons = [REASONS.get(file.suffix.lower()) for file in path.rglob("*") if file.is_file()]
    return FRAMES if FRAMES in reasons else NO_PART


def check_whole(parcel: Parcel) -> None:
    """Refuse a model that others could not load, or that is not the one that this package would load.

    Raises:
        HubError: with all that is missing, altered or in disagreement.
    """
    problems = _file_problems(parcel) or _loading_problems(parcel.folder)
    if problems:
        raise HubError(
            "\n  ".join([f"{parcel.folder} cannot be pushed:", *problems])
            + "\nSave the model anew, with this mer_hf: pipeline(TASK, model=FOLDER).save_pretrained(NEW_FOLDER)."
        )


def _file_problems(parcel: Parcel) -> list[str]:
    """What is missing or altered among the files, without loading the model."""
    folder, names = parcel.folder, set(parcel.files)
    needed = [*CONFIGS, *MODELS, "NOTICE", *CODE]
    problems = [f"{name} is missing" for name in needed if name not in names]
    for name in [name for name in MODELS if name in names]:
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != MODELS[name]:
            problems.append(f"{name} is not the original: its sha256 is another")
    for name, original in {**CODE, "NOTICE": FOLDER / "NOTICE"}.items():
        if name in names and (folder / name).read_bytes() != original.read_bytes():
            problems.append(f"{name} is not that of mer_hf {version('mer-hf')}")
    for name in [name for name in CONFIGS if name in names]:
        problems += _config_problems(folder / name)
    for name in [name for name in BESIDE if name in names]:
        try:
            text = (folder / name).read_text(encoding="utf-8")
            json.loads(text if name.endswith(".json") else "{}")
        except ValueError as error:
            problems.append(f"{name} cannot be read: {error}")
    return problems + weight_problems(folder, names)


def _config_problems(path: Path) -> list[str]:
    """Whether a configuration leads to the code that lies beside it, and to no other."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        classes = dict(config.get("auto_map", {}))
        if path.name == CONFIGS[0]:
            classes |= {task: entry["impl"] for task, entry in config.get("custom_pipelines", {}).items()}
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        return [f"{path.name} cannot be read: {error}"]
    wanted = {
        CONFIGS[0]: {"AutoConfig", "AutoModel", "AutoModelForVideoClassification", "micro-expression-classification"},
        CONFIGS[1]: {"AutoVideoProcessor"},
    }[path.name]
    problems = [f"{path.name} does not say where the code of {name} is" for name in sorted(wanted - set(classes))]
    for name, target in sorted(classes.items()):
        if f"{str(target).partition('.')[0]}.py" not in CODE:
            problems.append(f"{path.name} leads {name} to {target}, which does not lie beside it")
    return problems


def weight_problems(folder: Path, names: set[str]) -> list[str]:
    """Whether the weights are one file, or all the files that their index names."""
    if WEIGHTS in names:
        return [f"{INDEX} is there beside {WEIGHTS}: which of them is meant?"] if INDEX in names else []
    if INDEX not in names:
        return [f"{WEIGHTS} is missing"]
    try:
        shards = set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        return [f"{INDEX} cannot be read: {error}"]
    return [f"{name!r}, which {INDEX} names, is missing" for name in sorted(map(str, shards - names))]


def _loading_problems(folder: Path) -> list[str]:
    """What keeps the model and the processor from loading."""
    problems = []
    try:
        loaded = RcnForVideoClassification.from_pretrained(folder, use_safetensors=True, output_loading_info=True)
        _, info = cast(tuple[RcnForVideoClassification, dict[str, set]], loaded)
        for what in ("missing_keys", "unexpected_keys", "mismatched_keys"):
            if info[what]:
                problems.append(f"the weights do not fit config.json: {what} {', '.join(map(str, info[what]))}")
    except Exception as error:  # whatever a file raises that was cut off or tampered with
        problems.append(f"the model does not load: {type(error).__name__}: {first_line(error)}")
    try:
        RcnVideoProcessor.from_pretrained(folder)
    except Exception as error:
        problems.append(f"the video processor does not load: {type(error).__name__}: {first_line(error)}")
    return problems


__all__ = [
    "CODE",
    "CONFIGS",
    "FRAMES",
    "INDEX",
    "NO_PART",
    "PICKLE",
    "WEIGHTS",
    "Parcel",
    "check_whole",
    "folder_of_model",
    "is_part",
    "pack",
    "save_model_folder",
    "save_with_card",
    "weight_problems",
]
