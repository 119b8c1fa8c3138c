import hashlib
import itertools

import cv2
import openpyxl
import pytest

from mer_hf.commands import main
from mer_hf.corpora import check, load_corpus
from mer_hf.corpora.replicas import REPLICAS, replicate


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


def test_drawn_faces_take_the_place_of_plain_images(tmp_path):
    folder = replicate("smic", tmp_path / "smic", "cropped", subjects=2, clips=2, size=64, faces=True)
    clips = load_corpus("smic", folder, cache_dir=tmp_path / "cache")
    assert len(clips) == 4
    for row in clips:
        frame = cv2.imread(row["frames"][0]["path"])
        assert frame.shape == (64, 64, 3) and frame.std() > 10
        assert 0.1 < len(row["frames"]) / row["fps"] < 0.55


@pytest.mark.parametrize("corpus", REPLICAS)
def test_faces_can_be_drawn_in_every_corpus(corpus, tmp_path):
    folder = replicate(corpus, tmp_path / corpus, subjects=1, clips=2, size=64, faces=True)
    problems = [problem for problem in check.check_corpus(corpus, folder)["problems"] if problem["kind"] != "counts"]
    assert problems == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"release": "2020"}, r"casme2 has no release '2020'; it has 2019-raw, 2014-raw, 2019-cropped"),
        ({"subjects": 0}, "subjects is 0; expected 1"),
        ({"clips": 0}, "clips is 0; expected 1"),
        ({"frames": 1}, "frames is 1; expected 2"),
        ({"size": 0}, "size is 0; expected 1"),
        ({"size": 63, "faces": True}, "size is 63; expected 64"),
        ({"seed": -1}, "seed is -1; expected 0"),
    ],
)
def test_wrong_arguments_are_named_before_anything_is_written(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        replicate("casme2", tmp_path / "new", **options)
    assert not any(tmp_path.iterdir())


def test_nothing_is_written_over(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError, match="not an empty folder"):
        replicate("samm", tmp_path)


def test_an_unknown_corpus_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match="no replica of 'synthetic'; there are smic"):
        replicate("synthetic", tmp_path / "new")


def test_the_command_writes_a_replica_that_the_check_reads(tmp_path, capsys):
    folder = str(tmp_path / "copy")
    options = ["--corpus", "casme_squared", "--release", "cropped", "--subjects", "2", "--clips", "2"]
    assert main(["synthesize", folder, *options]) == 0
    assert capsys.readouterr().out == f"a replica of casme_squared is in {folder}\n"
    assert main(["corpora", "check", "casme_squared", "--data-dir", folder]) == 1
    assert "4 clips, not 57" in capsys.readouterr().out
    assert main(["synthesize", folder, *options]) == 2
    assert "exists" in capsys.readouterr().err
    for wrong, message in (
        (["--corpus", "casme9"], "no replica of 'casme9'"),
        (["--corpus", "casme", "--fps", "50"], "--fps is not for replicas"),
        (["--release", "raw"], "say with --corpus of which"),
        (["--faces"], "say with --corpus of which"),
    ):
        assert main(["synthesize", str(tmp_path / "new"), *wrong]) == 2
        assert message in capsys.readouterr().err
