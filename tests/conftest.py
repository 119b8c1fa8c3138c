import io
import os
from pathlib import Path

# Two processes test on two cores: more threads, theirs or of what they start, would only wait for each other.
# Before the first import of torch and OpenCV, which read it once.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENCV_FOR_THREADS_NUM", "1")

import datasets
import numpy as np
import pytest
from datasets import Array3D, Array4D, ClassLabel, Dataset, Features, Image, List, Value
from PIL import Image as Picture

CLASSES = ["negative", "positive", "surprise"]
SIZE = 12


def _bump(label):
    """Where a class shows itself, (SIZE, SIZE) in [0, 1]."""
    centre = SIZE * (1 + label) / 4
    x = np.arange(SIZE) + 0.5
    return np.exp(-((x[:, None] - centre) ** 2 + (x - centre) ** 2) / 6)


def _png(image):
    file = io.BytesIO()
    Picture.fromarray(image).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


def _flow(label, generator):
    return (generator.normal(0, 0.1, (2, SIZE, SIZE)) + _bump(label)).astype(np.float32)


def _picture(label, generator):
    u, v = _flow(label, generator)
    return Picture.fromarray(((np.stack([u, v, u], 2).clip(-1, 1) + 1) * 127.5).astype(np.uint8))


def _video(label, generator):
    growth = np.linspace(0, 1, 4)[:, None, None, None]
    return (generator.normal(0, 0.1, (4, 1, SIZE, SIZE)) + growth * _bump(label)).astype(np.float32)


def _frames(label, generator):
    face = generator.integers(60, 120, (SIZE, SIZE))
    count = int(generator.integers(5, 8))
    return [_png((face + 100 * step / count * _bump(label)).astype(np.uint8)) for step in range(count)]


KINDS = {
    "flow": ("flow", Array3D((2, SIZE, SIZE), "float32"), _flow),
    "picture": ("flow", Image(), _picture),
    "video": ("pixel_values_videos", Array4D((4, 1, SIZE, SIZE), "float32"), _video),
    "frames": ("frames", List(Image(decode=False)), _frames),
}


@pytest.fixture(scope="session", autouse=True)
def a_cache_of_their_own(tmp_path_factory):
    """Clips that tests prepare are not kept; the embedded corpus is, for to render it takes minutes."""
    kept, cache = Path(datasets.config.HF_DATASETS_CACHE).expanduser(), tmp_path_factory.mktemp("datasets")
    (kept / "mer_hf-synthetic").mkdir(parents=True, exist_ok=True)
    (cache / "mer_hf-synthetic").symlink_to(kept / "mer_hf-synthetic")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
        patch.setitem(os.environ, "HF_DATASETS_CACHE", str(cache))  # of processes that tests start
        yield


@pytest.fixture(scope="session")
def make_clips():
    """Datasets that can be learnt in a second: each class has its own place on a picture of 12 x 12 pixels."""

    def make(kind, subjects=("s1", "s2", "s3"), repeats=1, seed=0):
        column, feature, draw = KINDS[kind]
        generator = np.random.default_rng(seed)
        rows = [
            {
                "clip_id": f"{subject}/{CLASSES[label]}@{repeat}",
                "subject": subject,
                "corpus": "odd" if subject == subjects[0] else "even",
                "label": label,
                column: draw(label, generator),
            }
            for subject in subjects
            for repeat in range(repeats)
            for label in range(len(CLASSES))
        ]
        text = dict.fromkeys(("clip_id", "subject", "corpus"), Value("string"))
        features = {**text, "label": ClassLabel(names=CLASSES), column: feature}
        if kind == "frames":  # as the sheets of a corpus write them
            rows = [{**row, "fps": 100.0, "onset": "40", "apex": "43"} for row in rows]
            features |= {"fps": Value("float64"), "onset": Value("string"), "apex": Value("string")}
        return Dataset.from_list(rows, features=Features(features))

    return make
