import hashlib
import itertools

import cv2
import openpyxl

from mer_hf.corpora import load_corpus
from replicas import replicate


def digests(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def cells(folder):
    book = openpyxl.load_workbook(next(folder.rglob("*.xlsx")))
    return [list(page.iter_rows(values_only=True)) for page in book]


def test_the_same_seed_writes_the_same_replica(tmp_path):
    first, again, other = (
        replicate("casme", tmp_path / str(number), subjects=2, clips=3, seed=seed)
        for number, seed in enumerate((0, 0, 1))
    )
    images = {name: digest for name, digest in digests(first).items() if name.endswith(".jpg")}
    assert images.items() <= digests(again).items()
    assert cells(first) == cells(again) != cells(other)


def test_neighbouring_images_differ(tmp_path):
    folder = replicate("samm", tmp_path / "samm", subjects=1, clips=1, frames=4)
    images = sorted(folder.rglob("*.jpg"))
    contents = [image.read_bytes() for image in images]
    assert len(images) == 6
    assert all(one != other for one, other in itertools.pairwise(contents))
    assert cv2.imread(str(images[0])).shape == (8, 8, 3)


def test_lengths_are_those_of_the_corpus_where_none_is_asked_for(tmp_path):
    folder = replicate("smic", tmp_path / "smic", subjects=3)
    lengths = [len(list(clip.iterdir())) for clip in folder.glob("SMIC/SMIC_all_raw/HS/*/micro/*/*")]
    assert 11 <= min(lengths) < max(lengths) <= 58


def test_a_few_clips_of_a_subject_show_several_emotions(tmp_path):
    replicate("casme2", tmp_path / "data", subjects=2, clips=4, frames=3)
    clips = load_corpus("casme2", tmp_path / "data", "native", cache_dir=tmp_path / "cache")
    assert len(clips) == 8
    assert len(set(clips["emotion"][:4])) == 4
