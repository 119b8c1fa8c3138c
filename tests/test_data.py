import datasets
import pytest

import mer_hf
from mer_hf.data import DataError, joined, load_dataset
from mer_hf.drawn.embedded import synthesize
from mer_hf.errors import MerHfError
from mer_hf.training.folds import folds_of
from mer_hf.training.recipe import read_recipe
from replicas import replicate
from tiny import plan_of


def test_a_saved_dataset_is_had_by_its_folder(make_clips, tmp_path):
    make_clips("flow").save_to_disk(tmp_path / "clips")
    for name in (tmp_path / "clips", str(tmp_path / "clips")):
        assert load_dataset(name).to_dict() == make_clips("flow").to_dict()
    assert mer_hf.load_dataset is load_dataset


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data_dir": "x"}, "data_dir is for corpora, and .* is none of"),
        ({"label_set": "5class"}, "label_set is for corpora"),
        ({"fps": 50.0}, "fps is for corpora"),
    ],
)
def test_options_of_a_corpus_are_refused_for_a_saved_dataset(make_clips, tmp_path, options, message):
    make_clips("flow").save_to_disk(tmp_path / "clips")
    with pytest.raises(DataError, match=message):
        load_dataset(tmp_path / "clips", **options)


def test_what_is_no_dataset_is_explained(make_clips, tmp_path):
    with pytest.raises(DataError, match=r"'nonsense' is no corpus \(smic, .*\), no folder, and no user/name on"):
        load_dataset("nonsense")
    with pytest.raises(DataError, match=r"holds neither metadata\.csv nor a saved datasets\.Dataset"):
        load_dataset(tmp_path)
    make_clips("flow").select([]).save_to_disk(tmp_path / "empty")
    with pytest.raises(DataError, match="empty or damaged"):
        load_dataset(tmp_path / "empty")
    datasets.DatasetDict({"a": make_clips("flow")}).save_to_disk(tmp_path / "splits")
    with pytest.raises(DataError, match="holds the splits a; name the folder of one"):
        load_dataset(tmp_path / "splits")


@pytest.mark.parametrize("name", ["dataset_info.json", "state.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"_data_files": 3, "features": 3}'])
def test_a_damaged_dataset_is_explained(make_clips, tmp_path, name, content):
    make_clips("flow").save_to_disk(tmp_path / "clips")
    (tmp_path / "clips" / name).write_bytes(content)
    with pytest.raises(MerHfError, match="clips"):
        load_dataset(tmp_path / "clips")


def test_a_dataset_whose_rows_were_cut_off_is_explained(make_clips, tmp_path):
    make_clips("flow").save_to_disk(tmp_path / "clips")
    (path,) = (tmp_path / "clips").glob("*.arrow")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(MerHfError, match="clips"):
        load_dataset(tmp_path / "clips")


@pytest.mark.parametrize("char", "\n\x1b\u202e", ids=ascii)
@pytest.mark.parametrize("column", ["label", "corpus", "subject", "clip_id"])
def test_a_name_of_several_lines_or_with_control_characters_is_refused_at_the_door(make_clips, tmp_path, column, char):
    clips = make_clips("flow")
    if column == "label":
        names = ["negative", f"a{char}license: mit", "surprise"]
        clips = clips.cast_column("label", datasets.ClassLabel(names=names))
    else:
        clips = clips.remove_columns(set(clips.column_names) & {column})
        clips = clips.add_column(column, [f"a{char}{row}" for row in range(len(clips))])
    clips.save_to_disk(tmp_path / "clips")
    with pytest.raises(MerHfError, match=f"column '{column}' of the dataset: .* has a line break or a control"):
        load_dataset(tmp_path / "clips")
    with pytest.raises(MerHfError, match="has a line break or a control character"):
        plan_of(tmp_path / "run", clips)


@pytest.mark.parametrize("cells", ["joy\x1b[2J,anna,lab", "joy,an\x07na,lab", "joy,anna,l\u202eab"], ids=ascii)
def test_names_in_the_table_of_a_folder_of_videos_are_text_in_one_line(tmp_path, cells):
    (tmp_path / "a.mp4").write_bytes(b"never opened")
    (tmp_path / "metadata.csv").write_text(f"file_name,label,subject,corpus\na.mp4,{cells}\n", encoding="utf-8")
    with pytest.raises(MerHfError, match="has a line break or a control character"):
        load_dataset(tmp_path)


def test_a_corpus_is_had_at_the_frame_rate_that_is_named(tmp_path):
    folder = synthesize(tmp_path / "corpus", subjects=1, clips=3, fps=50.0, size=64)
    assert set(load_dataset("synthetic", folder)["fps"]) == {200.0}
    clips = load_dataset("synthetic", folder, fps=50.0)
    assert set(clips["fps"]) == {50.0}
    assert clips.features["label"].names == ["negative", "positive", "surprise"]
    with pytest.raises(MerHfError):
        load_dataset("synthetic", folder, label_set="9class")
    with pytest.raises(MerHfError):
        load_dataset("samm", folder)


# --- corpora that are joined ---


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """Folders of three corpora, by name."""
    folder = tmp_path_factory.mktemp("three")
    return {name: replicate(name, folder / name, subjects=2, clips=6, frames=3) for name in ("smic", "casme2", "samm")}


def test_corpora_are_joined_under_one_label_set_with_a_folder_each_or_one_for_all(three):
    name = "+".join(three)
    clips = load_dataset(name, three)
    alone = [load_dataset(each, folder) for each, folder in three.items()]
    assert clips["clip_id"][:] == [clip for part in alone for clip in part["clip_id"]]
    assert clips["label"][:] == [label for part in alone for label in part["label"]]
    assert set(clips["corpus"]) == {*three}
    assert clips.features["label"].names == ["negative", "positive", "surprise"]
    assert "may not be passed on" in clips.info.license
    assert "\n" not in clips.info.homepage
    text = ",".join(f"{each}={folder}" for each, folder in three.items())
    whole = next(iter(three.values())).parent
    for data_dir in (text, whole, str(whole)):
        assert load_dataset(name, data_dir)["clip_id"][:] == clips["clip_id"][:]
    folds = folds_of(read_recipe(dataset=name, protocol="hde")[0], clips)
    assert [fold.name for fold in folds] == ["smic", "casme2", "samm"]


def test_all_clips_of_corpora_are_joined_in_one_class_for_action_units(three):
    clips = load_dataset("casme2+samm", {name: three[name] for name in ("casme2", "samm")}, label_set="any")
    assert clips.features["label"].names == ["expression"]
    assert len(clips) == 24
    assert len(load_dataset("casme2+samm", {name: three[name] for name in ("casme2", "samm")})) < 24


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("smic+smic", {}, "joins a corpus with itself"),
        ("casme2+samm", {"label_set": "native"}, "the classes of casme2 are happiness, .* those of samm are anger, "),
        ("casme2+samm", {"label_set": "5class"}, "the classes of casme2 are .*, those of samm are "),
        ("casme2+samm", {"fps": 100.0}, "fps is of one corpus"),
        ("casme2+samm", {"data_dir": "casme2=there"}, "has folders for casme2; expected one for each of casme2, samm"),
        ("casme2+nonsense", {"data_dir": None}, "'casme2\\+nonsense' is no corpus"),
        ("casme2+samm", {"data_dir": None}, "is not downloaded for you"),
    ],
)
def test_what_cannot_be_joined_is_explained(three, name, options, message):
    folders = {each: three[each] for each in name.split("+") if each in three}
    with pytest.raises(MerHfError, match=message):
        load_dataset(name, **{"data_dir": folders, **options})


def test_a_clip_that_two_of_the_corpora_have_is_found(make_clips):
    with pytest.raises(DataError, match="9 clips are in two of one, two, such as s1/negative@0; name each once"):
        joined({"one": make_clips("flow"), "two": make_clips("flow")})
