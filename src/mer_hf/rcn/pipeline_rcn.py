"""A video in, labels out: the pipeline of the task "micro-expression-classification"."""

import os
import types
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired, TypeAlias, TypedDict, cast

import torch
from torch.utils.data import Dataset
from transformers import Pipeline
from transformers.dynamic_module_utils import custom_object_save
from transformers.utils import logging

from .errors_rcn import MerHfError
from .sources_rcn import Budget, VideoSource, as_batch, name_of, naming

if TYPE_CHECKING:
    from .modeling_rcn import RcnForVideoClassification
    from .video_processing_rcn import RcnVideoProcessor

TASK = "micro-expression-classification"
logger = logging.get_logger(__name__)


@dataclass(frozen=True)
class _Numbered:
    """A video without a name, and what it is called."""

    source: VideoSource
    name: str


class Prepared(TypedDict):
    """A video, or a batch of them, before the model: the inputs, and what is wrong with each."""

    pixel_values_videos: torch.Tensor
    problems: list[list[str] | None]
    failure: list[MerHfError | None]


class Predicted(TypedDict):
    """The same after the model."""

    logits: torch.Tensor
    action_unit_logits: torch.Tensor | None
    problems: list[list[str] | None]
    failure: list[MerHfError | None]


class Label(TypedDict):
    """A label of a video; the other keys where the pipeline says that they come."""

    label: str
    score: float
    confident: NotRequired[bool]
    problems: NotRequired[list[str]]
    action_units: NotRequired[dict[str, float]]


Answer: TypeAlias = list[Label] | MerHfError
"""What one video is answered by: its labels, the likeliest first, or with `on_error="return"` its error."""


class MicroExpressionClassificationPipeline(Pipeline):
    """Classify the micro-expression in a video.

    ```python
    classify = pipeline("micro-expression-classification", model=folder_or_hub_id)
    classify("clip.mp4")  # [{"label": "surprise", "score": 0.71}, {"label": "negative", "score": 0.2}, ...]
    classify("interview.mp4", start=12.4, end=12.9)  # one expression of it
    classify(["one.mp4", "two.mp4"], batch_size=2, top_k=1)  # [[{...}], [{...}]]
    ```

    Where an answer is doubtful, each of its dictionaries has `problems` too, a list of texts: the clip is longer than
    an expression, nothing moves in it, the file is damaged, interlaced or ends early, frames are missing. Answers
    without that key have nothing of the kind. Where the model knows from which score on it can be relied on, an answer
    below it has `"confident": False`, and `problems` says why. `clip_problems="raise"` refuses doubtful clips; a face
    that cannot be used is refused unless `face_problems="flag"`, which adds what is wrong to `problems`, and the key to
    every answer.

    It differs from `VideoClassificationPipeline` on purpose: there `top_k` is 5 by default and `frame_sampling_rate`
    and `num_frames` choose frames; here all labels come and all frames are used, in their own time, `fps` corrects the
    rate that a file states, and a list may be the images of one video (the rules are those of `as_batch`).
    """

    model: "RcnForVideoClassification"
    video_processor: "RcnVideoProcessor"
    _load_video_processor = True
    _load_processor = False
    _load_image_processor = False
    _load_feature_extractor = False
    _load_tokenizer = False

    def __init__(self, *args: object, **kwargs: object) -> None:
        """Take what `transformers.Pipeline` takes, and the options of a call as their defaults."""
        given: list[Any] = [*args]
        options: dict[str, Any] = kwargs
        super().__init__(*given, **options)
        # Pipeline makes batches only for those that have a tokenizer, a feature extractor or an image processor
        self.image_processor = self.video_processor
        config = self.model.config
        if config.trained_on:
            logger.warning_once(f"{config.name_and_version or self.model.name_or_path}: {config.trained_on}")

    def _sanitize_parameters(
        self,
        top_k: int | None = None,
        fps: float | None = None,
        start: float | None = None,
        end: float | None = None,
        align: str | None = None,
        face_problems: str | None = None,
        clip_problems: str | None = None,
        budget: Budget | None = None,
        return_action_units: bool = False,
        on_error: str | None = None,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        if top_k is not None and (not isinstance(top_k, int) or top_k < 1):
            raise MerHfError(f"top_k is {top_k}; it must be the number of labels wanted, 1 or more (all: leave it out)")
        if on_error not in (None, "raise", "return"):
            raise MerHfError(f"on_error is {on_error!r}; it must be 'raise' or 'return'")
        if return_action_units and not self.model.config.action_units:
            raise MerHfError("return_action_units needs a model that knows action units; its config lists none")
        preparation = {"fps": fps, "start": start, "end": end, "align": align, "budget": budget}
        preparation |= {"face_problems": face_problems, "clip_problems": clip_problems}
        answer = {"top_k": top_k, "return_action_units": return_action_units or None, "on_error": on_error}
        return _given(preparation), {}, _given(answer)

    def __call__(
        self, inputs: VideoSource | Sequence[VideoSource] | Generator[VideoSource] | Dataset, **kwargs: object
    ) -> Answer | list[Answer] | Iterator[Answer]:
        """Classify one video or several.

        Args:
            inputs: A video: path, URL, bytes, open file, uint8 array (T, H, W[, C]), or the list of its images (PIL
                images, arrays, paths, or the `frames` of a clip out of `load_corpus`), or their folder. Or a list of
                videos. Or a generator or a `KeyDataset` of videos, which is answered by an iterator.
            top_k: How many labels, the likeliest first; all by default.
            fps: Frames per second, where the video does not tell, or tells it wrong, as the files of high-speed cameras
                often do.
            start, end: Seconds from where to where the expression lasts, from a face at rest to a face at rest; all of
                the video by default.
            align: How the face is found, `"mesh"`, `"box"` or `"none"`; as the model was trained by default.
            face_problems: `"raise"` refuses a video whose face cannot be used; `"flag"` classifies what there is.
            clip_problems: `"flag"` (default) classifies a doubtful clip, and says what is doubtful; `"raise"` refuses.
            budget: What one video may ask of the machine, a `Budget`, for those that need more.
            return_action_units: Whether to tell which facial action units moved, where the model knows them.
            on_error: `"raise"` (default) ends at the first video that cannot be classified; `"return"` puts its error
                in the place of its answer, and goes on.
            batch_size: Videos that go through the model at once (1 by default).
            num_workers: Processes that decode and prepare videos, beside this one (0 by default).

        Returns:
            A list of `{"label", "score"}`, scores descending; over all labels they sum to 1. For several videos, a
            list of such lists in the order of the videos. Where the answer is doubtful, or with `face_problems="flag"`,
            every dictionary has `problems` too, a list of texts, empty where nothing is wrong, and where the first
            score is below `config.abstain_below` also `"confident": False`; with `return_action_units` it has
            `action_units`, their probabilities by name, as `{"AU12": 0.81, ...}`.

        Raises:
            VideoError: a video cannot be read.
            FaceError: its face cannot be used.
            MerHfError: an option is out of its range.
        """
        if isinstance(inputs, types.GeneratorType):
            return iter(super().__call__(_numbered(inputs, "the generator"), **kwargs))
        if isinstance(inputs, Dataset):
            return iter(super().__call__(inputs, **kwargs))
        sources, is_one = as_batch(cast(VideoSource | Sequence[VideoSource], inputs))
        sources = sources if is_one else list(_numbered(sources, str(len(sources))))
        results = super().__call__(sources, **kwargs)
        return results[0] if is_one else results

    def preprocess(
        self,
        source: "VideoSource | _Numbered",
        fps: float | None = None,
        start: float | None = None,
        end: float | None = None,
        **options: object,
    ) -> Prepared:
        """One video in any form -> `pixel_values_videos`, (1, T, C, H, W), and what is wrong with it.

        `problems` is [None] where there is nothing to say; `failure` is [error], beside an empty input, where the video
        cannot be prepared: it is raised or returned in `postprocess`, so that the others of its batch go on.
        """
        processor, name = self.video_processor.with_options(**options), name_of(source)
        if isinstance(source, _Numbered):
            source, name = source.source, source.name
        try:
            with naming(name):
                clip = processor.clip_sequence(source, fps=fps, start=start, end=end)
        except MerHfError as error:
            size = processor.size["height"], processor.size["width"]
            empty = torch.zeros(1, processor.num_frames, processor.num_channels, *size, dtype=self.dtype)
            return {"pixel_values_videos": empty, "problems": [None], "failure": [error]}
        pixels = processor.clip_inputs([clip]).to(self.dtype)
        problems = list(clip.problems)
        if not problems and processor.face_problems != "flag":
            problems = None
        return {"pixel_values_videos": pixels, "problems": [problems], "failure": [None]}

    def _forward(self, model_inputs: Prepared) -> Predicted:
        outputs = self.model(model_inputs["pixel_values_videos"])
        return {
            "logits": outputs.logits,
            "action_unit_logits": outputs.get("action_unit_logits"),
            "problems": model_inputs["problems"],
            "failure": model_inputs["failure"],
        }

    def postprocess(
        self,
        outputs: Predicted,
        top_k: int | None = None,
        return_action_units: bool = False,
        on_error: str = "raise",
    ) -> Answer:
        """Logits of one video, (1, labels) -> labels and scores, the likeliest first; or its error."""
        (problems,), (failure,) = outputs["problems"], outputs["failure"]
        if failure is not None and on_error == "raise":
            raise failure
        if failure is not None:
            return failure
        scores = outputs["logits"][0].double().softmax(-1).tolist()  # double: they sum to 1 for half precision too
        beside: dict[str, Any] = {} if problems is None else {"problems": problems}
        doubt = self.model.config.doubt(max(scores))
        if doubt is not None:
            beside = {"confident": False, "problems": [*(problems or []), doubt]}
        if return_action_units and outputs["action_unit_logits"] is not None:
            probabilities = outputs["action_unit_logits"][0].double().sigmoid().tolist()
            units = self.model.config.action_units or ()
            beside["action_units"] = {f"AU{unit}": p for unit, p in zip(units, probabilities, strict=True)}
        labels = self.model.config.class_names()
        ranked = sorted(enumerate(scores), key=lambda item: -item[1])
        return [Label(label=labels[index], score=score, **beside) for index, score in ranked[:top_k]]

    def save_pretrained(
        self,
        save_directory: str | os.PathLike,
        push_to_hub: bool = False,
        repo_id: str | None = None,
        max_shard_size: int | str = "50GB",
        **kwargs: object,
    ) -> None:
        """Save the model, the video processor, and the code that loads them where mer_hf is not installed.

        Args:
            save_directory: Created where it does not exist; files of the same names are overwritten.
            push_to_hub: Whether to push all of it too, in one commit, as the method `push_to_hub` does.
            repo_id: Where to; by default the name of the folder, in the namespace of the user.
            max_shard_size: Of a file of weights.
            kwargs: Further ones of `push_to_hub`, or, without that, of the model's `save_pretrained`.
        """
        options: dict[str, Any] = kwargs
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        config = self.model.config
        config.custom_pipelines = {
            TASK: {"impl": f"pipeline_rcn.{type(self).__name__}", "pt": ["AutoModelForVideoClassification"]}
        }
        # each class enters itself when it is saved; nobody saves the bare model, which loads from the same weights
        config.auto_map = {**(getattr(config, "auto_map", None) or {}), "AutoModel": "modeling_rcn.RcnModel"}
        custom_object_save(self, folder)
        of_the_model = {} if push_to_hub else options
        self.model.save_pretrained(folder, max_shard_size=max_shard_size, **of_the_model)
        del config.custom_pipelines  # who saves the model alone has no pipeline_rcn.py to lead to
        self.video_processor.save_pretrained(folder)
        if push_to_hub:
            self.push_to_hub(repo_id or folder.name, max_shard_size=max_shard_size, **options)


def _numbered(sources: Iterable[VideoSource], whole: str) -> Generator[VideoSource | _Numbered]:
    """Sources, those without a name with one."""
    for number, source in enumerate(sources, 1):
        yield source if name_of(source) else _Numbered(source, f"video {number} of {whole}")


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


__all__ = ["TASK", "MicroExpressionClassificationPipeline"]
