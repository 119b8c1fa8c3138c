from PIL import Image

from mer_hf.commands import main


def test_synthesize_writes_a_corpus(tmp_path, capsys):
    folder = tmp_path / "corpus"
    options = ["--subjects", "1", "--clips", "1", "--fps", "50", "--size", "64", "--seed", "3", "--num-proc", "1"]
    assert main(["synthesize", str(folder), *options]) == 0
    assert str(folder) in capsys.readouterr().out
    pictures = sorted(folder.rglob("*.jpg"))
    assert pictures
    with Image.open(pictures[0]) as picture:
        assert picture.size == (64, 64)
    assert main(["synthesize", str(folder), *options]) == 2  # it is not written over
    assert "exists" in capsys.readouterr().err


def test_synthesize_explains_a_wrong_number(tmp_path, capsys):
    assert main(["synthesize", str(tmp_path / "corpus"), "--subjects", "0"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("mer-hf: ")
    assert "subjects" in error
