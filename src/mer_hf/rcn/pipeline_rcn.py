"""A video in, labels out: the pipeline of the task "micro-expression-classification"."""

import os
import types
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset
from transformers import BatchFeature, Pipeline
from transformers.dynamic_module_utils import custom_object_save
from transformers.utils import logging

from .decoding_rcn import as_batch
from .errors_rcn import MerHfError

TASK = "micro-expression-classification"
logger = logging.get_logger(__name__)


class MicroExpressionClassificationPipeline(Pipeline):
    """Classify the micro-expression in a video.

    ```python
    classify = pipeline("micro-expression-classification", model=folder_or_hub_id)
    classify("clip.mp4")  # [{"label": "surprise", "score": 0.71}, {"label": "negative", "score": 0.2}, ...]
    classify(["one.mp4", "two.mp4"], batch_size=2, top_k=1)  # [[{...}], [{...}]]
    ```
    """

    _load_video_processor = True
    _load_processor = False
    _load_image_processor = False
    _load_feature_extractor = False
    _load_tokenizer = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take what `transformers.Pipeline` takes, and the options of a call as their defaults."""
        super().__init__(*args, **kwargs)
        # Pipeline makes batches only for those that have a tokenizer, a feature extractor or an image processor
        self.image_processor = self.video_processor
        if self.model.config.trained_on:
            logger.warning_once(f"{self.model.name_or_path}: {self.model.config.trained_on}")

    def _sanitize_parameters(
        self,
        top_k: int | None = None,
        fps: float | None = None,
        align: str | None = None,
        face_problems: str | None = None,
        return_action_units: bool = False,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        if top_k is not None and top_k < 1:
            raise MerHfError(f"top_k is {top_k}; it must be the number of labels wanted, 1 or more (all: leave it out)")
        given = {"fps": fps, "align": align, "face_problems": face_problems}
        preparation = {name: value for name, value in given.items() if value is not None}
        if return_action_units and not self.model.config.action_units:
            raise MerHfError("return_action_units needs a model that knows action units; its config lists none")
        answer = {"return_action_units": True} if return_action_units else {}
        return preparation, {}, answer if top_k is None else {"top_k": top_k, **answer}

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:
        """Classify one video or several.

        Args:
            inputs: A video: path, URL, bytes, open file, uint8 array (T, H, W[, C]), or the list of its images (PIL
                images, arrays, paths, or the `frames` of a clip out of `load_corpus`). Or a list of videos. Or a
                generator or a `KeyDataset` of videos, which is answered by an iterator.
            top_k: How many labels, the likeliest first; all by default.
            fps: Frames per second, where the video does not tell, or tells it wrong, as the files of high-speed cameras
                often do.
            align: How the face is found, `"mesh"`, `"box"` or `"none"`; as the model was trained by default.
            face_problems: `"raise"` refuses a video whose face cannot be used; `"flag"` classifies what there is.
            return_action_units: Whether to tell which facial action units moved, where the model knows them.
            batch_size: Videos that go through the model at once (1 by default).
            num_workers: Processes that decode and prepare videos, beside this one (0 by default).

        Returns:
            A list of `{"label", "score"}`, scores descending; over all labels they sum to 1. For several videos, a
            list of such lists in the order of the videos. With `face_problems="flag"` every dictionary has `problems`
            too, a list of texts, empty where nothing is wrong with the face; with `return_action_units` it has
            `action_units`, their probabilities by name, as `{"AU12": 0.81, ...}`.

        Raises:
            VideoError: a video cannot be read.
            FaceError: its face cannot be used.
            ValueError: an option is out of its range.
        """
        if isinstance(inputs, types.GeneratorType | Dataset):
            return super().__call__(inputs, **kwargs)
        sources, is_one = as_batch(inputs)
        results = super().__call__(sources, **kwargs)
        return results[0] if is_one else results

    def preprocess(self, source: Any, **options: Any) -> BatchFeature:
        """One video in any form -> `pixel_values_videos`, (1, T, C, H, W); `problems` where they are flagged."""
        return self.video_processor([source], return_tensors="pt", **options).to(self.dtype)

    def _forward(self, model_inputs: dict[str, Any]) -> dict[str, Any]:
        flagged = {"problems": model_inputs.pop("problems")} if "problems" in model_inputs else {}
        outputs = self.model(**model_inputs)
        return {"logits": outputs.logits, "action_unit_logits": outputs.get("action_unit_logits"), **flagged}

    def postprocess(
        self, outputs: dict[str, Any], top_k: int | None = None, return_action_units: bool = False
    ) -> list[dict[str, Any]]:
        """Logits of one video, (1, labels) -> labels and scores, the likeliest first."""
        scores = outputs["logits"][0].double().softmax(-1).tolist()  # double: they sum to 1 for half precision too
        beside = {"problems": outputs["problems"][0]} if "problems" in outputs else {}
        if return_action_units:
            probabilities = outputs["action_unit_logits"][0].double().sigmoid().tolist()
            units = self.model.config.action_units
            beside["action_units"] = {f"AU{unit}": p for unit, p in zip(units, probabilities, strict=True)}
        labels = self.model.config.id2label
        ranked = sorted(enumerate(scores), key=lambda item: -item[1])
        return [{"label": labels[index], "score": score, **beside} for index, score in ranked[:top_k]]

    def save_pretrained(
        self,
        save_directory: str | os.PathLike,
        push_to_hub: bool = False,
        repo_id: str | None = None,
        max_shard_size: int | str = "50GB",
        **kwargs: Any,
    ) -> None:
        """Save the model, the video processor, and the code that loads them where mer_hf is not installed.

        Args:
            save_directory: Created where it does not exist; files of the same names are overwritten.
            push_to_hub: Whether to push all of it too, in one commit, as the method `push_to_hub` does.
            repo_id: Where to; by default the name of the folder, in the namespace of the user.
            max_shard_size: Of a file of weights.
            kwargs: Further ones of `push_to_hub`, or, without that, of the model's `save_pretrained`.
        """
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        config = self.model.config
        config.custom_pipelines = {
            TASK: {"impl": f"pipeline_rcn.{type(self).__name__}", "pt": ["AutoModelForVideoClassification"]}
        }
        # each class enters itself when it is saved; nobody saves the bare model, which loads from the same weights
        config.auto_map = {**(getattr(config, "auto_map", None) or {}), "AutoModel": "modeling_rcn.RcnModel"}
        custom_object_save(self, folder)
        self.model.save_pretrained(folder, max_shard_size=max_shard_size, **({} if push_to_hub else kwargs))
        del config.custom_pipelines  # who saves the model alone has no pipeline_rcn.py to lead to
        self.video_processor.save_pretrained(folder)
        if push_to_hub:
            self.push_to_hub(repo_id or folder.name, max_shard_size=max_shard_size, **kwargs)


__all__ = ["TASK", "MicroExpressionClassificationPipeline"]
