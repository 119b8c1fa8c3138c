import datasets
import numpy as np
import pytest
from datasets import Array3D, ClassLabel, Dataset, DatasetDict, Image, List, Value

from mer_hf.corpora import CORPORA, LicenceError, check_publishable, licence, load_corpus
from replicas import replicate

GATED_NAMES = frozenset({"casme2"})


@pytest.fixture(scope="module")
def gated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gated")
    replicate("casme2", folder / "data", subjects=2, clips=2, frames=3)
    return load_corpus("casme2", folder / "data", "native", cache_dir=folder / "cache")


def flow(row):
    return {"flow": np.zeros((2, 3, 3), np.float32)}


LASTING = {
    "as loaded": lambda table: table,
    "map": lambda table: table.map(flow),
    "map that replaces all columns": lambda table: table.map(flow, remove_columns=table.column_names),
    "filter": lambda table: table.filter(lambda row: row["label"] >= 0),
    "select": lambda table: table.select([0, 2]),
    "shuffle": lambda table: table.shuffle(seed=0),
    "without names": lambda table: table.remove_columns(["corpus", "clip_id", "subject"]),
    "split": lambda table: table.train_test_split(0.5)["test"],
    "concatenated": lambda table: datasets.concatenate_datasets([table, table]),
    "renamed": lambda table: table.rename_column("frames", "pictures"),
    "numpy": lambda table: table.with_format("numpy"),
    "made anew": lambda table: Dataset.from_dict(table.to_dict()),
    "from pandas": lambda table: Dataset.from_pandas(table.to_pandas()),
    "iterable": lambda table: table.to_iterable_dataset(),
    "splits": lambda table: DatasetDict({"train": table}),
    "decoded": lambda table: table.cast_column("frames", List(Image())),
    "one picture": lambda table: table.map(
        lambda row: {"frames": None, "onset_frame": row["frames"][0]}, features=None, remove_columns=["frames"]
    ),
}


@pytest.mark.parametrize("change", LASTING)
def test_whatever_is_made_of_a_gated_corpus_is_refused(gated, change):
    with pytest.raises(LicenceError, match=r"must not be published: .*may not be passed on"):
        check_publishable(LASTING[change](gated))


def test_the_licence_outlives_the_disk(gated, tmp_path):
    gated.map(flow).save_to_disk(tmp_path / "saved")
    with pytest.raises(LicenceError, match=r"flow, frames may hold frames.* of casme2"):
        check_publishable(datasets.load_from_disk(tmp_path / "saved"))


def test_names_labels_and_scores_may_be_published(gated):
    check_publishable(gated.select_columns(["clip_id", "subject", "label", "onset"]))


def test_other_datasets_may_be_published(small, load):
    own = Dataset.from_dict({"frames": [[[1, 2], [3, 4]]], "subject": ["me/1"]})
    synthetic = load("synthetic", small("casme2", "2019-raw"))
    assert "Apache" in synthetic.info.license
    for table in (own, synthetic, DatasetDict({"train": own})):
        check_publishable(table)


def test_loading_leaves_datasets_as_it_is(gated):
    assert Dataset.push_to_hub.__module__ == "datasets.arrow_dataset"
    assert gated.info.license == licence.GATED


@pytest.mark.parametrize(
    ("feature", "plain"),
    [
        *((Value("string"), True), (Value("float64"), True), (Value("bool"), True), (ClassLabel(names=["a"]), True)),
        *((Value("binary"), False), (Value("large_binary"), False), (Image(), False), (List(Image()), False)),
        *((List(Value("float32")), False), (Array3D((1, 2, 3), "float32"), False), ({"a": Value("string")}, False)),
        (datasets.Video(), False),
    ],
)
def test_only_single_texts_numbers_and_classes_are_plain(feature, plain):
    table = Dataset.from_dict({"clip_id": ["casme2/x"]}).add_column("x", [None], feature=feature)
    if plain:
        check_publishable(table, GATED_NAMES)
    else:
        with pytest.raises(LicenceError, match="published: x may hold"):
            check_publishable(table, GATED_NAMES)


def test_every_corpus_but_the_synthetic_one_is_gated():
    assert [name for name, corpus in CORPORA.items() if licence.MARK not in corpus.license] == ["synthetic"]
