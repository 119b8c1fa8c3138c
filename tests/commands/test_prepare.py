import datasets
import pytest

from mer_hf.commands import main
from mer_hf.rcn.video_processing_rcn import RcnVideoProcessor
from mer_hf.training.runs import train_parsed
from tiny import OPTIONS, argv_of, recipe_of, run_in


@pytest.fixture
def clips(make_clips, tmp_path, monkeypatch):
    """The folder of a dataset, none of whose clips is prepared."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    make_clips("frames").save_to_disk(tmp_path / "clips")
    return tmp_path / "clips"


@pytest.fixture
def none_anew(monkeypatch):
    """From its call on no clip is prepared."""

    def prepared_anew(*args, **kwargs):
        raise AssertionError("what was prepared is not found")

    return lambda: monkeypatch.setattr(RcnVideoProcessor, "clip_sequence", prepared_anew)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"model": {**OPTIONS["model"], "image_size": [24, 20]}},
        {"preset": "strcn-a", "model": {"image_size": [12, 12], "backbone_kwargs": {"width": 4}, "num_frames": 6}},
        {"average_with": "default", "model": None},
        {"drawn_per_clip": 1},
    ],
    ids=["size of the test", "another size", "another preset", "inputs of a saved model", "joint"],
)
def test_what_was_prepared_is_what_training_of_the_same_recipe_reads(clips, tmp_path, capsys, none_anew, options):
    argv = argv_of(tmp_path / "out", dataset=clips, folds="s1", num_proc=1, **options)
    assert main(["prepare", *argv]) == 0
    said = capsys.readouterr().out
    assert f"9 clips of {clips} are prepared" in said
    none_anew()
    assert main(["prepare", *argv]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == said.splitlines()[1:]
    recipe, arguments = recipe_of(tmp_path / "out", dataset=clips, folds="s1", num_proc=1, **options)
    assert len(train_parsed(recipe, arguments).predictions) == 3
    with pytest.raises(AssertionError, match="not found"):
        other = {**OPTIONS["processor"], "margin": 0.2}
        run_in(tmp_path / "other", datasets.load_from_disk(clips), **{**options, "processor": other})


def test_prepare_names_the_clips_with_problems(make_clips, tmp_path, capsys):
    folder = tmp_path / "clips"
    dataset = make_clips("frames").select([4])
    dataset.save_to_disk(folder)
    argv = ["prepare", "--dataset", str(folder), "--num_proc", "1", "--output_dir", str(tmp_path / "out")]
    assert main(argv) == 2
    error = capsys.readouterr().err
    assert f"clip {dataset['clip_id'][0]}: no face" in error
    assert main([*argv, "--processor", '{"face_problems": "flag"}']) == 0
    assert f"{dataset['clip_id'][0]}: no face" in capsys.readouterr().out


def test_prepare_takes_a_recipe_and_explains_what_it_cannot_prepare(make_clips, tmp_path, capsys):
    make_clips("flow").save_to_disk(tmp_path / "flow")
    (tmp_path / "recipe.yaml").write_text(f"dataset: {tmp_path / 'flow'}\n")
    assert main(["prepare", str(tmp_path / "recipe.yaml")]) == 2
    assert "ready inputs" in capsys.readouterr().err
    assert main(["prepare", "--dataset", str(tmp_path / "nothing")]) == 2
    assert "no folder, and no user/name on the Hub" in capsys.readouterr().err
    assert main(["prepare", "--dataset", "action-units", "--protocol", "none"]) == 2
    assert "there is nothing to prepare" in capsys.readouterr().err
    assert main(["prepare"]) == 2
    assert main(["prepare", "--help"]) == 0
    assert "example:" in capsys.readouterr().out
