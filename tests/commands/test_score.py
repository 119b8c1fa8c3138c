import pandas as pd

from mer_hf.commands import main
from mer_hf.training import runs
from mer_hf.training.drawn import score_drawn
from mer_hf.training.runs import score
from tiny import folder_of, results_of, saved_model


def test_a_folder_is_scored_printed_and_written_and_nothing_is_trained(make_clips, tmp_path, capsys):
    folder = folder_of(tmp_path / "saved", saved_model(training_subjects=["s1"]))
    dataset = make_clips("picture")
    dataset.save_to_disk(tmp_path / "clips")
    argv = ["score", folder, "--dataset", str(tmp_path / "clips")]
    assert main([*argv, "--output-dir", str(tmp_path / "out")]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"predictions.csv", "results.json", "recipe.json"}
    printed = capsys.readouterr().out
    assert f"{results_of(tmp_path / 'out')['pooled']['uf1']:.4f}" in printed
    assert "3 of the clips show subjects that the model was trained on" in printed
    assert main([*argv, "--output_dir", str(tmp_path / "out")]) == 0, "a scoring may be made again"
    outcome = score(folder, dataset)
    pd.testing.assert_frame_equal(
        outcome.predictions, pd.read_csv(tmp_path / "out" / "predictions.csv"), check_exact=False
    )


def test_without_a_folder_nothing_is_written(make_clips, tmp_path, capsys, monkeypatch):
    make_clips("picture").save_to_disk(tmp_path / "clips")
    monkeypatch.chdir(tmp_path)
    assert main(["score", "default", "--dataset", "clips"]) == 0
    assert "pooled" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["clips"]


def test_the_model_in_the_package_is_scored_on_drawn_motion(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(runs, "score_drawn", lambda model: score_drawn(model, 100))
    assert main(["score", "default", "--dataset", "action-units", "--output-dir", str(tmp_path)]) == 0
    found = results_of(tmp_path)["drawn_motion"]
    assert f"{found['all, picture']['uf1']:.3f}" in capsys.readouterr().out
    assert min(scored["uf1"] for scored in found.values()) > 0.8


def test_what_cannot_be_scored_is_explained_with_status_2(make_clips, tmp_path, capsys):
    make_clips("flow").save_to_disk(tmp_path / "clips")
    capsys.readouterr()
    for argv, says in [
        ([str(tmp_path / "clips"), "--dataset", str(tmp_path / "clips")], "is no model that can be loaded"),
        (["default", "--dataset", str(tmp_path / "none")], "no folder, and no user/name on the Hub"),
        (["default", "--dataset", str(tmp_path / "clips"), "--processor", "{x"], "processor must be JSON"),
        (["default", "--dataset", str(tmp_path / "clips"), "--processor", '{"x": 1}'], "x is no option of"),
        (["default", "--dataset", str(tmp_path / "clips"), "--fps", "50"], "fps is for corpora"),
    ]:
        assert main(["score", *argv, "--output-dir", str(tmp_path / "out")]) == 2
        error = capsys.readouterr().err
        (line,) = [line for line in error.splitlines() if line.startswith("mer-hf: ")]
        assert "Traceback" not in error
        assert says in line
        assert not (tmp_path / "out").exists()
