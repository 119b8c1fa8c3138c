"""What ties mer_hf to transformers and the Hub: registration, model folders that load anywhere, and pushing them.

    a folder -> pack: what of it goes, what stays and why -> check_whole: it is complete and loads -> push: one commit
    a name on the Hub -> fetch -> a folder

A folder goes by a list of what a model is made of. Whatever else lies there, frames above all, stays where it is.
"""

import contextlib
import errno
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mer_hf.errors import MerHfError

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from transformers.video_processing_utils import BaseVideoProcessor


DEFAULT_MODEL = Path(__file__).parent / "default_model"
"""The model of a pipeline that is asked for without one: trained on drawn motion, see its README.md."""


def register(registry: str) -> None:
    """Enter our classes into one registry of transformers. Doing it again changes nothing.

    Imports stand inside the functions below: each may run while transformers is half imported, and asks only for what
    its registry needs.

    Args:
        registry: Full name of its module, as `mer_hf.__init__` lists them.
    """
    {
        "transformers.models.auto.configuration_auto": _register_config,
        "transformers.models.auto.modeling_auto": _register_models,
        "transformers.models.auto.video_processing_auto": _register_video_processor,
        "transformers.pipelines": _register_pipeline,
    }[registry]()


# `register_for_auto_class` makes every `save_pretrained`, the Trainer's included, write the code files and `auto_map`
# beside the weights. Where mer_hf is imported, transformers prefers the registered classes to those files, without
# asking and whatever `trust_remote_code` says.


def _register_config() -> None:
    from transformers.models.auto.configuration_auto import AutoConfig

    from mer_hf.rcn.configuration_rcn import RcnConfig

    AutoConfig.register("rcn", RcnConfig, exist_ok=True)
    RcnConfig.register_for_auto_class()
    _prefer_the_local_pipeline(RcnConfig)


def _prefer_the_local_pipeline(config_class: type) -> None:
    """Hide `custom_pipelines` of a configuration from `pipeline()`, without losing it.

    The key in config.json is what leads a process without mer_hf to the pipeline's code. But `pipeline()` follows it
    before it looks into its own registry, and then demands `trust_remote_code=True` although the class is registered.
    So where mer_hf is imported, and only there, its own configuration class shows no custom pipelines; the value
    stays in the instance, and is saved and pushed as before.
    """

    def remember(config: Any, pipelines: dict[str, Any]) -> None:
        config.__dict__["custom_pipelines"] = pipelines

    config_class.custom_pipelines = property(lambda config: {}, remember)


def _register_models() -> None:
    from transformers.models.auto.modeling_auto import AutoModel, AutoModelForVideoClassification

    from mer_hf.rcn.configuration_rcn import RcnConfig
    from mer_hf.rcn.modeling_rcn import RcnForVideoClassification, RcnModel

    AutoModel.register(RcnConfig, RcnModel, exist_ok=True)
    AutoModelForVideoClassification.register(RcnConfig, RcnForVideoClassification, exist_ok=True)
    RcnModel.register_for_auto_class("AutoModel")
    RcnForVideoClassification.register_for_auto_class("AutoModelForVideoClassification")


def _register_video_processor() -> None:
    from transformers.models.auto.video_processing_auto import AutoVideoProcessor

    from mer_hf.rcn.configuration_rcn import RcnConfig
    from mer_hf.rcn.video_processing_rcn import RcnVideoProcessor

    AutoVideoProcessor.register(RcnConfig, RcnVideoProcessor, exist_ok=True)
    RcnVideoProcessor.register_for_auto_class()


def _register_pipeline() -> None:
    from transformers import AutoModelForVideoClassification
    from transformers.pipelines import PIPELINE_REGISTRY

    from mer_hf.rcn.pipeline_rcn import TASK, MicroExpressionClassificationPipeline

    if TASK not in PIPELINE_REGISTRY.get_supported_tasks():  # registering twice would log a warning
        PIPELINE_REGISTRY.register_pipeline(
            TASK,
            MicroExpressionClassificationPipeline,
            pt_model=AutoModelForVideoClassification,
            default={"model": (str(DEFAULT_MODEL), None)},
            type="video",
        )


def save_model_folder(model: "PreTrainedModel", video_processor: "BaseVideoProcessor", folder: str | Path) -> Path:
    """Save all that a pushed model needs: weights, configurations, and the code that loads them.

    The folder works with `from_pretrained`, with `pipeline("micro-expression-classification", model=folder)` where
    mer_hf is imported, and with `trust_remote_code=True` where it is not installed.

    Args:
        model: A `RcnForVideoClassification`, with its labels in `config.id2label`.
        video_processor: The `RcnVideoProcessor` that made its inputs.
        folder: Created where it does not exist; files of the same names are overwritten.

    Returns:
        The folder.
    """
    from mer_hf.rcn.pipeline_rcn import TASK, MicroExpressionClassificationPipeline

    pipeline = MicroExpressionClassificationPipeline(
        model=model, video_processor=video_processor, task=TASK, device=model.device
    )
    pipeline.save_pretrained(folder)
    return Path(folder)


# --- what of a folder goes to the Hub ---

CODE = {path.name: path for path in sorted((Path(__file__).parents[1] / "rcn").glob("*_rcn.py"))}
"""The code files that travel with every model, and where they lie."""
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


class HubError(MerHfError):
    """What cannot go to the Hub, or come from it; the message says what happened, and what to do."""


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
    is_run = not (named / CONFIGS[0]).exists() and (named / "model").is_dir()
    model = named / "model" if is_run else named
    entries = sorted(model.iterdir())
    files = tuple(path.name for path in entries if _belongs(path.name) and path.is_file())
    rest = [path for path in entries if path.name not in files]
    rest += sorted(path for path in named.iterdir() if path != model) if is_run else []
    left_out = {path.relative_to(named).as_posix() + "/" * path.is_dir(): _reason(path) for path in rest}
    return Parcel(model, files, left_out)


def _belongs(name: str) -> bool:
    """Whether a file of this name is a part of a model on the Hub."""
    from mer_hf.rcn.video_processing_rcn import FACE_MODELS

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
    from mer_hf.rcn.faces_rcn import FOLDER, MODELS

    folder, there = parcel.folder, set(parcel.files)
    needed = [*CONFIGS, *MODELS, "NOTICE", *CODE]
    problems = [f"{name} is missing" for name in needed if name not in there]
    for name in [name for name in MODELS if name in there]:
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != MODELS[name]:
            problems.append(f"{name} is not the original: its sha256 is another")
    for name, original in {**CODE, "NOTICE": FOLDER / "NOTICE"}.items():
        if name in there and (folder / name).read_bytes() != original.read_bytes():
            problems.append(f"{name} is not that of mer_hf {version('mer-hf')}")
    for name in [name for name in CONFIGS if name in there]:
        problems += _config_problems(folder / name)
    for name in [name for name in BESIDE if name in there]:
        try:
            text = (folder / name).read_text(encoding="utf-8")
            json.loads(text if name.endswith(".json") else "{}")
        except ValueError as error:
            problems.append(f"{name} cannot be read: {error}")
    return problems + _weight_problems(folder, there)


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


def _weight_problems(folder: Path, there: set[str]) -> list[str]:
    """Whether the weights are one file, or all the files that their index names."""
    if WEIGHTS in there:
        return [f"{INDEX} is there beside {WEIGHTS}: which of them is meant?"] if INDEX in there else []
    if INDEX not in there:
        return [f"{WEIGHTS} is missing"]
    try:
        shards = set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        return [f"{INDEX} cannot be read: {error}"]
    return [f"{name!r}, which {INDEX} names, is missing" for name in sorted(map(str, shards - there))]


def _loading_problems(folder: Path) -> list[str]:
    """What keeps the model and the processor from loading."""
    from mer_hf.rcn.modeling_rcn import RcnForVideoClassification
    from mer_hf.rcn.video_processing_rcn import RcnVideoProcessor

    problems = []
    try:
        _, info = RcnForVideoClassification.from_pretrained(folder, use_safetensors=True, output_loading_info=True)
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


def first_line(error: BaseException) -> str:
    """What an error says, without what follows on further lines."""
    return next(iter(str(error).strip().splitlines()), "")


# --- there ---


@dataclass(frozen=True)
class Pushed:
    """Where a model went.

    Attributes:
        url: of the commit.
        is_new: whether anything had changed, so that a commit was made.
    """

    url: str
    is_new: bool


def push(
    parcel: Parcel,
    repo_id: str,
    private: bool = False,
    revision: str | None = None,
    message: str | None = None,
    token: str | None = None,
) -> Pushed:
    """Push a model to the Hub, in one commit; an unchanged one makes none.

    A repository that does not exist is created. Files that a model there had and this one has not, such as the shards
    of larger weights, are removed in the same commit; other files there stay. What had been uploaded before a push was
    interrupted is not uploaded again.

    Args:
        parcel: as `pack` makes it.
        repo_id: `user/name`.
        private: make the repository a private one.
        revision: branch, created where it does not exist; main by default.
        message: of the commit.
        token: that may write there; the one of HF_TOKEN or of `hf auth login` by default.

    Raises:
        HubError: for a model that is not whole, before anything is sent; where the Hub cannot be reached or refuses;
            and for a private push into a public repository.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    check_whole(parcel)
    with explained(repo_id):
        api = _api(repo_id, token)
        api.create_repo(repo_id, private=private or None, exist_ok=True)
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        there = api.model_info(repo_id, revision=revision)
        if private and not there.private:
            raise HubError(
                f"{repo_id} is there already and public; --private makes a new repository private, and never changes "
                f"one. Change it at {api.endpoint}/{repo_id}/settings, or choose another name."
            )
        stale = {file.rfilename for file in there.siblings or ()} - {*parcel.files, "README.md", ".gitattributes"}
        operations = [
            *(CommitOperationAdd(path_in_repo=name, path_or_fileobj=parcel.folder / name) for name in parcel.files),
            *(CommitOperationDelete(path_in_repo=name, is_folder=False) for name in sorted(filter(_belongs, stale))),
        ]
        message = message or "Upload a model of mer_hf"
        commit = api.create_commit(repo_id, operations, commit_message=message, revision=revision)
    return Pushed(commit.commit_url, commit.oid != there.sha)


def fetch(name: str) -> Path:
    """The folder of a model, for which its weights and configurations are brought from the Hub; no code, no pickles.

    Args:
        name: of a folder, which is given back as it is; or of a model on the Hub, `user/name`.

    Raises:
        HubError: where it cannot be had, or is no model of this package.
    """
    from huggingface_hub import snapshot_download

    if Path(name).is_dir():
        return Path(name)
    with explained(name):
        parts = [*CONFIGS, WEIGHTS, INDEX, "model-?????-of-?????.safetensors"]
        folder = Path(snapshot_download(name, allow_patterns=parts))
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    problems = [f"{config} is missing" for config in CONFIGS if config not in there] + _weight_problems(folder, there)
    if problems:
        raise HubError(f"{name} is on the Hub, but is no model that mer_hf can load: {', '.join(problems)}")
    return folder


def check_login(repo_id: str, token: str | None = None) -> None:
    """Refuse a name that no repository can have, or a token that the Hub does not know: before hours of training.

    Raises:
        HubError: as `push`.
    """
    with explained(repo_id):
        _api(repo_id, token).whoami()


def _api(repo_id: str, token: str | None) -> Any:
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HFValidationError, LocalTokenNotFoundError
    from huggingface_hub.utils import validate_repo_id

    validate_repo_id(repo_id)
    if repo_id.count("/") != 1:
        raise HFValidationError("it must be USER/NAME")
    if token is None and get_token() is None:
        raise LocalTokenNotFoundError
    return HfApi(token=token, library_name="mer_hf")


# --- what can go wrong on the way ---

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def explained(name: str) -> Iterator[None]:
    """Raise what huggingface_hub, or transformers over it, cannot do as a `HubError`, and everything else as it is.

    Args:
        name: of the model on the Hub, `user/name`.
    """
    try:
        yield
    except Exception as error:
        told = None if isinstance(error, HubError) else _in_words(error, name)
        if told is None:
            raise
        raise HubError(told) from error


def _in_words(error: BaseException, name: str) -> str | None:
    """What happened and what to do; None for an error that has nothing to do with the Hub."""
    from huggingface_hub import constants
    from huggingface_hub import errors as hub

    endpoint, log_in = constants.ENDPOINT, "log in by `hf auth login`, or set HF_TOKEN"
    causes = list(_causes(error))

    def find(*kinds: type) -> Any:
        return next((cause for cause in causes if isinstance(cause, kinds)), None)

    if cause := find(hub.HFValidationError):
        return f"{name!r} is no folder here, and no name on the Hub: {first_line(cause)}"
    if find(hub.LocalTokenNotFoundError):
        return f"nobody is logged in at {endpoint}: {log_in} to a token that may write ({endpoint}/settings/tokens)"
    if find(hub.OfflineModeIsEnabled):
        return f"HF_HUB_OFFLINE is set, but {name} can neither be had nor pushed without {endpoint}; unset it"
    if any(isinstance(cause, OSError) and cause.errno in FULL for cause in causes):
        return (
            f"the disk is full; {name} is downloaded to {constants.HF_HUB_CACHE}, make room there or set HF_HUB_CACHE"
        )
    if find(hub.GatedRepoError):
        return f"{name} is gated: ask for access at {endpoint}/{name}, then {log_in} to a token of that account"
    if find(hub.RevisionNotFoundError):
        return f"{name} is there, but has no such revision; see {endpoint}/{name}/commits/main"
    if find(hub.RepositoryNotFoundError):
        return f"there is no {name} at {endpoint}, or it is private; check the name, and for a private one {log_in}"
    if cause := find(hub.HfHubHTTPError):
        return _status_in_words(cause, name, endpoint, log_in)
    if cause := next((cause for cause in causes if _is_transport_error(cause)), None):
        reason = f"{type(cause).__name__}: {first_line(cause)}"
        return f"{endpoint} cannot be reached, or the connection broke off ({reason}); check it, and try again"
    if find(hub.LocalEntryNotFoundError):
        return f"{name} is not in the cache, and {endpoint} gives no answer; check the connection, and try again"
    return None


def _status_in_words(error: Any, name: str, endpoint: str, log_in: str) -> str:
    status = error.response.status_code
    said = f" ({first_line(ValueError(error.server_message))})" if error.server_message else ""
    if status == 401:
        return f"{endpoint} does not accept the token{said}: make a new one at {endpoint}/settings/tokens, and {log_in}"
    if status == 403:
        return (
            f"the token may not do that to {name}{said}: the name is somebody else's, or the token may only read; "
            f"choose a name of your own, or see {endpoint}/settings/tokens"
        )
    if status == 429:
        wait = error.response.headers.get("Retry-After")
        return f"{endpoint} was asked too often (HTTP 429); try again {f'in {wait} seconds' if wait else 'later'}"
    if status >= 500:
        return f"{endpoint} has a fault of its own (HTTP {status}); try again later"
    return f"{endpoint} refused (HTTP {status}){said}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and what it was raised from, the outermost first."""
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _is_transport_error(error: BaseException) -> bool:
    """Whether it comes from the HTTP library under huggingface_hub, which is another in other versions of it."""
    return isinstance(error, ConnectionError | TimeoutError) or type(error).__module__.startswith("http")
