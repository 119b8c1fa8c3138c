"""Cards of one real run, and of its results with something changed or missing."""

import ast
import copy
import json
import re
import time
from pathlib import Path

import evaluate
import pytest
import yaml
from huggingface_hub import ModelCard, metadata_load
from huggingface_hub.repocard_data import model_index_to_eval_results
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from hostile import TEXTS
from mer_hf.commands import main
from mer_hf.errors import MerHfError
from mer_hf.escaping import one_line
from mer_hf.hub import cards
from mer_hf.hub.cards import without_paths, write_card
from mer_hf.rcn.modeling_rcn import RcnForVideoClassification
from mer_hf.training.drawn import score_drawn
from mer_hf.training.outcome import circumstances, recipe_record
from mer_hf.training.plan import drawn_config
from mer_hf.training.recipe import parse_recipe

HUB_CARDS = Path(__file__).parents[2] / "hub_cards"
CLASSES = ["negative", "positive", "surprise"]
SCORES = ("uf1", "uar", "accuracy")
GATED = "Research only, by a signed licence agreement; frames and anything made from them may not be passed on."
OPTIONS = {
    "seeds": 2,
    "control": True,
    "num_train_epochs": 1,
    "use_cpu": True,
    "learning_rate": 1e-5,
    "model": {"image_size": [12, 12], "backbone_kwargs": {"width": 4}, "grid_size": 2},
}
DRAWN = {"dataset": "action-units", "protocol": "none", "drawn_fields": 100, "model": {"image_size": [12, 12]}}


def argv_of(**options):
    return [f"--{name}={json.dumps(value) if isinstance(value, dict) else value}" for name, value in options.items()]


@pytest.fixture(scope="module")
def run_folder(make_clips, tmp_path_factory):
    """A run of two seeds over two corpora: `odd` has one subject, `even` has three."""
    folder = tmp_path_factory.mktemp("secret")
    make_clips("flow", subjects=("s1", "s2", "s3", "s4"), repeats=2).save_to_disk(folder / "clips")
    options = {**OPTIONS, "dataset": folder / "clips", "output_dir": folder / "out"}
    assert main(["train", *argv_of(**options)]) == 0
    return folder / "out"


@pytest.fixture
def results(run_folder):
    return json.loads((run_folder / "results.json").read_text())


@pytest.fixture
def config(run_folder):
    return json.loads((run_folder / "model" / "config.json").read_text())


@pytest.fixture
def card_of(tmp_path):
    """Write results, configuration and notes into a folder, and the card from them; its text, without metadata."""

    def card_of(results, config, notes=None):
        (tmp_path / "results.json").write_text(json.dumps(results))
        (tmp_path / "config.json").write_text(json.dumps(config))
        if notes is not None:
            (tmp_path / "notes.md").write_text(notes)
        card = write_card(tmp_path)
        assert card == tmp_path / "README.md"
        return ModelCard.load(card).text

    return card_of


def tables_of(text):
    """Every table of a card: lists of rows, each a list of cells."""
    found = [[]]
    for line in text.splitlines():
        if line.startswith("|"):
            found[-1].append([cell.strip() for cell in line[1:-1].split("|")])
        elif found[-1]:
            found.append([])
    return [table for table in found if table]


def table_of(text, column):
    """The table that has a column of this name: row name -> column name -> cell."""
    (table,) = [table for table in tables_of(text) if column in table[0]]
    return {row[0]: dict(zip(table[0][1:], row[1:], strict=True)) for row in table[2:]}


def without(content, path):
    """A copy of nested dicts without what lies at the path."""
    content = copy.deepcopy(content)
    inner = content
    for name in path[:-1]:
        inner = inner[name]
    del inner[path[-1]]
    return content


def paths_in(content, path=()):
    """The paths of all entries of nested dicts."""
    if isinstance(content, dict):
        for name, value in content.items():
            yield (*path, name)
            yield from paths_in(value, (*path, name))


def numbers_in(text):
    return set(re.findall(r"(?<![\w.])\d+(?:\.\d+)*(?![\w])", text))


def floats_in(content):
    if isinstance(content, dict | list):
        for value in content.values() if isinstance(content, dict) else content:
            yield from floats_in(value)
    elif isinstance(content, float):
        yield content


def known_numbers(*contents):
    """The numbers that may stand in a card: those of the files as they are, and with three decimals."""
    return numbers_in(json.dumps(contents)) | {f"{number:.3f}" for number in floats_in(list(contents))}


# --- the card of a run ---


def test_a_run_leaves_its_results_and_a_card_in_the_model_folder(run_folder, results):
    model = run_folder / "model"
    beside = (model / "results.json").read_text()
    assert json.loads(beside) == without_paths(results)
    assert "secret" in json.dumps(results)
    assert "secret" not in beside, "the way to a folder is nobody else's concern"
    text = (model / "README.md").read_text()
    assert write_card(model) == model / "README.md"
    assert (model / "README.md").read_text() == text


def test_notes_by_hand_outlive_another_start_of_the_run(run_folder, results):
    (run_folder / "model" / "notes.md").write_text("Nobody has tried it outdoors.")
    options = {**OPTIONS, "dataset": run_folder.parent / "clips", "output_dir": run_folder}
    assert main(["train", *argv_of(**options)]) == 0
    assert "\n\nNobody has tried it outdoors.\n\n" in (run_folder / "model" / "README.md").read_text()
    (run_folder / "model" / "notes.md").unlink()


def test_the_table_has_scores_and_intervals_of_each_corpus_and_of_all(results, config, card_of):
    table = table_of(card_of(results, config), "UF1")
    headline = results["headline"]
    assert list(table) == ["even", "odd", "all"]
    for name, scored in {**headline["per_corpus"], "all": headline}.items():
        assert (table[name]["clips"], table[name]["subjects"]) == (str(scored["clips"]), str(scored["subjects"]))
        for key, column in (("uf1", "UF1"), ("uar", "UAR"), ("accuracy", "accuracy")):
            assert table[name][column].split(" [")[0] == f"{scored[key]:.3f}"
            if name != "odd":  # of one subject
                low, high = scored["interval"][key]
                assert table[name][column] == f"{scored[key]:.3f} [{low:.3f}, {high:.3f}]"
    assert {table["odd"]["subjects"], table["even"]["subjects"]} == {"1", "3"}
    assert "[" not in table["odd"]["UF1"]


def test_the_confusion_matrix_is_that_of_all_clips(results, config, card_of):
    table = table_of(card_of(results, config), "surprise")
    expected = zip(CLASSES, results["pooled"]["confusion"], strict=True)
    assert table == {name: dict(zip(CLASSES, map(str, row), strict=True)) for name, row in expected}


def test_seeds_control_classes_and_counts_are_told(results, config, card_of):
    text = card_of(results, config)
    mean, sd = results["mean"], results["sd"]
    assert f"over seeds: UF1 {mean['uf1']:.3f} ({sd['uf1']:.3f}), UAR {mean['uar']:.3f}" in text
    assert f"flow and folds: UF1 {results['control']['uf1']:.3f}, UAR {results['control']['uar']:.3f}" in text
    assert "| classes | negative, positive, surprise |" in text
    assert "Clips: 24, of 4 subjects; negative 8, positive 8, surprise 8; even 18, odd 6" in text
    assert f"{results['wall_time_s']} s, processes: 1" in text
    assert f"torch {results['versions']['torch']}" in text
    assert "Leave one subject out" in text


def test_the_metadata_has_the_scores_as_the_hub_reads_them(run_folder, results):
    metadata = metadata_load(run_folder / "model" / "README.md")
    assert metadata["library_name"] == "transformers"
    assert metadata["pipeline_tag"] == "video-classification"
    assert "datasets" not in metadata
    name, measured = model_index_to_eval_results(metadata["model-index"])
    assert name == "rcn-clips"
    headline = results["headline"]
    assert {(each.dataset_type, each.metric_type): each.metric_value for each in measured} == {
        (corpus, metric): scored[metric]
        for corpus, scored in {**headline["per_corpus"], "clips": headline}.items()
        for metric in SCORES
    }
    assert {(each.task_type, each.dataset_config, each.verified) for each in measured} == {
        ("video-classification", None, None)  # saved clips have the classes they were saved with
    }


def test_the_metadata_names_the_label_set_of_a_corpus(results, config, card_of, tmp_path):
    results["recipe"] |= {"dataset": "casme2", "label_set": "5class"}
    card_of(results, config)
    _, measured = model_index_to_eval_results(metadata_load(tmp_path / "README.md")["model-index"])
    assert {each.dataset_config for each in measured} == {"5class"}


def test_the_recipe_runs_again_and_no_path_of_the_machine_is_told(run_folder, results, config, card_of, tmp_path):
    text = card_of(results, config)
    assert "secret" not in (tmp_path / "README.md").read_text()
    (recipe,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "recipe.yaml").write_text(recipe)
    again = recipe_record(*parse_recipe([str(tmp_path / "recipe.yaml")]))
    assert again.pop("dataset") == "clips"
    told = {name: value for name, value in results["recipe"].items() if name not in ("dataset", "use_cpu", "bf16")}
    assert {name: value for name, value in again.items() if name != "bf16"} == told


def test_scores_prints_the_intervals_of_the_results(run_folder, results, capsys):
    assert main(["scores", str(run_folder / "predictions.csv")]) == 0
    lines = capsys.readouterr().out.splitlines()
    printed = lines[lines.index("95 % intervals over resampled subjects") + 1 :]
    pooled = results["pooled"]
    for line, name, scored in zip(
        printed, ("pooled", "corpus even"), (pooled, pooled["per_corpus"]["even"]), strict=False
    ):
        told = [f"{key} {low:.4f} to {high:.4f}" for key, (low, high) in scored["interval"].items()]
        assert line.split() == f"{name} {scored['subjects']} subjects {' '.join(told)}".split()
    assert printed[2] == ""  # a corpus of one subject has no interval


# --- numbers come from the results alone ---


def test_every_number_of_scores_and_training_stands_in_the_results(results, config, card_of):
    text = card_of(results, config)
    told = text[text.index("## Scores") : text.index("## Intended use")].replace("95 %", "")
    told = told.replace("1.0e-05", "")  # how YAML writes a number that JSON writes as 1e-05
    assert len(numbers_in(told)) > 30
    assert numbers_in(told) - known_numbers(results, config) == set()


def test_a_card_without_something_shows_no_number_in_its_place(results, config, card_of):
    unseen = ("seeds", "pooled", "ensemble")  # of which the card shows nothing where there is a headline
    removed = [(path, without(results, path), config) for path in paths_in(results) if path[0] not in unseen]
    removed += [(path, results, without(config, path)) for path in paths_in(config)]
    removed += [("all results", {}, config), ("all of the configuration", results, {})]
    assert len(removed) > 150
    for path, some_results, some_config in removed:
        text = card_of(some_results, some_config)
        told = text[text.index("## Scores") : text.index("## Intended use")].replace("95 %", "").replace("1.0e-05", "")
        assert numbers_in(told) - known_numbers(some_results, some_config) == set(), path
        assert not re.search(r"\bNone\b|\bnan\b|Undefined", text), path
        assert not re.search(r"^#+ [^\n]*\n+(?=#+ |\Z)", text, re.MULTILINE), (path, "an empty heading")
        assert not re.search(r"^- [^\n]*\n\n- ", text, re.MULTILINE), (path, "a list with a hole")
        for table in tables_of(text):
            assert {len(row) for row in table} == {len(table[0])}, path


def test_a_score_that_was_not_measured_is_said_to_be_so(results, config, card_of):
    del results["headline"]["per_corpus"]["even"]["uf1"]
    del results["mean"]["uar"]
    text = card_of(results, config)
    assert table_of(text, "UF1")["even"]["UF1"] == "not measured"
    assert "UAR not measured" in text


# --- other runs ---


def test_averaged_seeds_are_scored_as_they_are_saved(results, config, card_of, tmp_path):
    results["recipe"]["average_seeds"] = True
    results["headline"] = {**results["ensemble"], "uf1": 0.4321}
    text = card_of(results, {**config, "members": [{}, {}]})
    assert table_of(text, "UF1")["all"]["UF1"].startswith("0.432 ")
    assert "A prediction is the mean of 2 networks" in text
    assert "| averaged networks | 2 |" in text
    _, measured = model_index_to_eval_results(metadata_load(tmp_path / "README.md")["model-index"])
    assert 0.4321 in [each.metric_value for each in measured if each.dataset_type == "clips"]


def test_one_seed_and_one_corpus_make_one_row_and_no_spread(results, config, card_of):
    results["recipe"] |= {"seeds": 1, "dataset": "synthetic"}
    results["headline"]["per_corpus"] = {"synthetic": results["pooled"].copy()}
    del results["control"]
    text = card_of(results, config)
    assert list(table_of(text, "UF1")) == ["synthetic"]
    assert "over seeds" not in text
    assert "control" not in text.replace("control: true", "")
    assert "The faces are drawn" in text


def test_a_run_that_held_nobody_out_measured_nothing(results, config, card_of, tmp_path):
    kept = ("counts", "data", "recipe", "versions", "num_processes", "wall_time_s")
    results = {"folds": 0, **{name: results[name] for name in kept}}
    results["recipe"]["protocol"] = "none"
    text = card_of(results, config)
    assert "was not measured. Nobody was held out." in text
    assert "UF1" not in text
    assert "model-index" not in metadata_load(tmp_path / "README.md")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"protocol": "kfold", "num_folds": 2}, "Subjects in 2 parts"),
        ({"protocol": "lovo"}, "scores say little about people"),
        ({"protocol": "hde"}, "Hold one corpus out"),
        ({"protocol": "balanced", "num_folds": 3}, "each class, in 3 parts"),
        ({"protocol": "of tomorrow"}, "Protocol: of tomorrow."),
        ({"folds": "s1,s2"}, "Only some of the folds were run: s1,s2."),
        ({"model": "/home/somebody/model"}, "begun with the weights of the saved model `model`"),
        ({"drawn_per_clip": 1}, "motion drawn from facial action units, fields: 1\n"),
        ({"average_with": "default"}, "averaged with | the saved model `default`"),
    ],
)
def test_what_is_special_of_a_run_is_told_in_words(options, told, results, config, card_of):
    text = card_of({**results, "recipe": {**results["recipe"], **options}}, config)
    assert told in text
    assert "/home" not in text


@pytest.mark.parametrize(
    ("preset", "papers"),
    [
        ("rcn-a", {"xia2018spontaneous", "xia2020revealing"}),
        ("strcn-g", {"xia2018spontaneous", "xia2020spatiotemporal"}),
        ("mer-rcnn", {"xia2018spontaneous", "xia2020spatiotemporal"}),
    ],
)
def test_the_papers_of_the_preset_are_cited(preset, papers, results, config, card_of):
    results["recipe"]["preset"] = preset
    assert set(re.findall(r"@\w+\{(\w+),", card_of(results, config))) == papers


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        ({"connectivity": "appearance", "num_frames": 30}, "30 grey frames as one matrix"),
        ({"connectivity": "sequence", "num_frames": 16, "num_channels": 1}, "sequence: 16 frames, 12 x 12 pixels"),
    ],
)
def test_the_input_is_described(shape, told, results, config, card_of):
    assert told in card_of(results, {**config, **shape})


def test_the_terms_of_a_gated_corpus_hold_for_the_model(results, config, card_of, tmp_path):
    results["data"] = {"license": GATED, "homepage": "https://corpus.org", "citation": "A. Author", "description": ""}
    results["recipe"]["data_dir"] = "/home/somebody/corpus"
    text = card_of(results, config)
    assert f"{GATED} No frame of it is in here." in text
    assert "Please cite: A. Author" in text
    assert "--data_dir" in text
    assert "somebody" not in text
    metadata = metadata_load(tmp_path / "README.md")
    assert (metadata["license"], metadata["license_link"]) == ("other", "https://corpus.org")
    results["data"]["license"] = "Apache-2.0"
    assert "Apache-2.0: code, weights" in card_of(results, config)
    assert metadata_load(tmp_path / "README.md")["license"] == "apache-2.0"


def test_a_model_of_drawn_motion_has_its_scores_and_units_and_no_held_out_ones(card_of, tmp_path):
    recipe, arguments = parse_recipe(argv_of(**DRAWN, use_cpu=True))
    model = RcnForVideoClassification(drawn_config(recipe)).eval()
    model.config.trained_on = "No face was seen."
    results = {
        "drawn_motion": dict(score_drawn(model, count=30)),
        "data": {"license": "Apache-2.0"},
        "recipe": recipe_record(recipe, arguments),
        **circumstances(time.monotonic()),
    }
    text = card_of(results, model.config.to_dict())
    table = table_of(text, "UF1")
    assert list(table) == list(results["drawn_motion"])
    assert all(row["UF1"] == f"{results['drawn_motion'][name]['uf1']:.3f}" for name, row in table.items())
    assert "**No face was seen.**" in text
    assert "AU1, AU2, AU4" in text
    assert "Fields of motion, for each network: 100" in text
    assert "not measured" not in text
    metadata = metadata_load(tmp_path / "README.md")
    assert "facial-action-units" in metadata["tags"]
    assert "model-index" not in metadata


def test_scores_on_further_clips_are_shown_by_name(results, config, card_of, tmp_path):
    scored = results["pooled"]["per_corpus"]["even"]
    results["evaluations"] = {"rendered clips": {**scored, "action_unit_f1": 0.631}, "another": {"uf1": 0.5}}
    text = card_of(results, config)
    table = table_of(text, "F1 of action units")
    assert table["rendered clips"]["F1 of action units"] == "0.631"
    assert table["rendered clips"]["UF1"].startswith(f"{scored['uf1']:.3f} [")
    assert (table["another"]["UF1"], table["another"]["UAR"]) == ("0.500", "not measured")
    _, measured = model_index_to_eval_results(metadata_load(tmp_path / "README.md")["model-index"])
    assert [each.metric_value for each in measured if each.dataset_name == "another"] == [0.5]


# --- without results, and from others ---


def test_a_folder_without_results_gets_a_card_of_its_configuration_without_scores(config, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({**config, "training_subjects": ["s1", "s2"]}))
    card = ModelCard.load(write_card(tmp_path))
    assert "| classes | negative, positive, surprise |" in card.text
    assert "geometric: optical flow from onset to apex, 12 x 12 pixels" in card.text
    assert "What it was trained on is not stated." in card.text
    assert "Subjects whose clips it was trained on: 2\n" in card.text
    assert "No results of a run came with this model." in card.text
    assert "UF1" not in card.text and "unknown" not in card.text
    assert set(card.data.to_dict()) == {"library_name", "license", "license_name", "pipeline_tag", "tags"}
    (tmp_path / "config.json").write_text(json.dumps({**config, "trained_on": "On no recording of a face."}))
    assert "**On no recording of a face.**" in ModelCard.load(write_card(tmp_path)).text


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("config.json", None, "cannot be read (No such file or directory)"),
        ("results.json", b"{", "is not JSON"),
        ("results.json", b"[" * 100_000, "is not JSON"),
        ("results.json", b"[]", "results.json must give values by name, found []"),
        ("results.json", b'{"recipe": 3}', "results.json: recipe must give values by name, found 3"),
        ("results.json", b'{"pooled": {"uf1": "high"}}', 'results.json: pooled: uf1 must give a number, found "high"'),
        ("results.json", b'{"pooled": {"uf1": NaN}}', "results.json: pooled: uf1 must give a number, found NaN"),
        ("results.json", b'{"classes": [1]}', "results.json: classes[0] must give a text, found 1"),
        ("results.json", b'{"recipe": {"seeds": true}}', "recipe: seeds must give a whole number, found true"),
        ("results.json", b'{"recipe": {"a": {"b": "c\\nd"}}}', "recipe: a: b: 'c\\nd' has a line break"),
        ("results.json", b'{"pooled": {"interval": {"uf1": [1]}}}', "interval: uf1 must have 2 entries, found 1"),
        (
            "results.json",
            b'{"classes": ["a"], "pooled": {"uf1": 1, "confusion": [[1, 2]]}}',
            "must have 1 rows and columns",
        ),
        ("config.json", b'{"image_size": 60}', "config.json: image_size must give a list, found 60"),
        ("config.json", b'{"id2label": ["a"]}', "config.json: id2label must give values by name"),
        ("notes.md", b"caf\xe9", "notes.md is not UTF-8 text: "),
        ("results.json", b"\xff\xfe{}", "results.json is not UTF-8 text: "),
        ("notes.md", b"x" * (2**24 + 1), "notes.md has 16777217 bytes"),
    ],
)
def test_what_others_wrote_is_refused_with_file_and_field(name, content, told, tmp_path):
    for each in ("config.json", "results.json"):
        (tmp_path / each).write_text("{}")
    (tmp_path / name).write_bytes(content or b"")
    if content is None:
        (tmp_path / name).unlink()
    with pytest.raises(MerHfError) as refused:
        write_card(tmp_path)
    assert told in str(refused.value)
    assert not (tmp_path / "README.md").exists()


def results_with(texts):
    """Results whose every text is another one of these."""
    name = iter(texts)
    scored = {"uf1": 0.5, "uar": 0.5, "accuracy": 0.5, "clips": 2, "subjects": 2, "interval": {"uf1": [0, 1]}}
    classes = [next(name), next(name)]
    pooled = {**scored, "confusion": [[1, 0], [0, 1]], "per_corpus": {next(name): scored, next(name): scored}}
    return {
        "classes": classes,
        "pooled": pooled,
        "mean": scored,
        "sd": scored,
        "control": scored,
        "drawn_motion": {next(name): scored},
        "evaluations": {next(name): scored},
        "counts": {
            "clips": 2,
            "subjects": 2,
            "per_class": dict.fromkeys(classes, 1),
            "per_corpus": {next(name): 1, next(name): 1},
        },
        "data": {key: next(name) for key in ("description", "license", "citation", "homepage")},
        "recipe": {
            **{key: next(name) for key in ("dataset", "data_dir", "preset", "folds", "average_with", "label_set")},
            **{"protocol": "loso", "seeds": 2, next(name): next(name), "processor": {next(name): [next(name)]}},
        },
        "versions": {next(name): next(name)},
        "wall_time_s": 1.5,
        "num_processes": 1,
    }


def config_with(texts):
    name = iter(texts)
    shape = {"connectivity": "geometric", "num_channels": 3, "num_frames": 1, "image_size": [28, 28]}
    return {"id2label": {"0": next(name), "1": next(name)}, "trained_on": next(name), "action_units": [1], **shape}


NUM_TEXTS = 24
RENDERER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
SECTIONS = ["How to use", "Scores", "Training", "Intended use", "Limits and misuse", "Citation", "Licence"]
NAMED = {"model-index", "license_link"}


def distinct(texts):
    """Texts that are different also once they are on one line."""
    return [f"{text}{number}" for number, text in enumerate(texts)]


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(TEXTS, min_size=NUM_TEXTS, max_size=NUM_TEXTS).map(distinct))
def test_no_text_of_others_becomes_metadata_a_heading_a_link_or_html(texts, tmp_path):
    lines = [one_line(text) for text in texts]
    results = results_with(lines)
    results["data"] = {key: text for key, text in zip(results["data"], texts, strict=False) if key != "homepage"}
    results["data"]["homepage"] = lines[-1]
    config = {**config_with(lines), "trained_on": texts[0]}
    for name, content in (("results.json", results), ("config.json", config)):
        (tmp_path / name).write_text(json.dumps(content))
    source = write_card(tmp_path).read_text()
    _, front, body = source.split("---\n", 2)
    metadata = yaml.safe_load(front)
    assert set(metadata) - NAMED == {"library_name", "license", "license_name", "pipeline_tag", "tags"}
    assert (metadata["license"], metadata["library_name"]) == ("other", "transformers")
    (index,) = metadata["model-index"]
    named = {each["dataset"]["name"] for each in index["results"]}
    kind, dataset = results["recipe"]["preset"], cards.without_paths(results)["recipe"]["dataset"]
    assert index["name"] == f"{kind}-{dataset}"
    assert named == {*results["pooled"]["per_corpus"], *results["evaluations"], dataset}

    tokens = RENDERER.parse(body)
    inline = [child for token in tokens if token.type == "inline" for child in token.children]
    kinds = {token.type for token in [*tokens, *inline]}
    assert not kinds & {"html_block", "html_inline", "link_open", "image", "s_open", "em_open", "code_block"}
    headings = [tokens[at + 1].content for at, token in enumerate(tokens) if token.type == "heading_open"]
    assert len(headings) == 8 and headings[1:] == SECTIONS
    assert [token.info for token in tokens if token.type == "fence"] == ["python", "python", "yaml", "bibtex"]
    (recipe,) = [yaml.safe_load(token.content) for token in tokens if token.info == "yaml"]
    assert recipe["processor"] == results["recipe"]["processor"]
    plain = "".join(child.content for child in inline if child.type != "code_inline")
    assert not any(mark in plain for mark in ("://", "www.evil", "@"))
    read = " ".join("".join(child.content for child in inline).split())
    for name in [*results["classes"], *results["counts"]["per_corpus"], *results["evaluations"]]:
        assert " ".join(name.split()) in read


@pytest.mark.parametrize("char", "\n\x1b\u2028\u202e")
@pytest.mark.parametrize("place", range(NUM_TEXTS))
def test_names_of_several_lines_or_with_control_characters_are_refused(char, place, tmp_path):
    texts = [f"name {number}" for number in range(NUM_TEXTS)]
    prose = [texts.index(results_with(texts)["data"][key]) for key in ("description", "license", "citation")]
    texts[place] = f"a{char}## b"
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "results.json").write_text(json.dumps(results_with(texts)))
    if place in prose:
        assert "\n## b" not in write_card(tmp_path).read_text()
        return
    with pytest.raises(MerHfError, match=r"results\.json: .* has a line break or a control character"):
        write_card(tmp_path)


WRONG = [None, True, 10**400, float("nan"), "x", [], [[]], {"x": {}}, [1, 2], ["x"]]


@pytest.mark.parametrize("name", ["results.json", "config.json"])
def test_a_value_of_another_type_gives_a_card_or_an_error_of_the_package(name, tmp_path):
    texts = [f"name {number}" for number in range(NUM_TEXTS)]
    contents = {"results.json": results_with(texts), "config.json": config_with(texts)}
    refused = 0
    for path in [(), *paths_in(contents[name])]:
        for value in WRONG:
            (tmp_path / "README.md").unlink(missing_ok=True)
            for each, content in contents.items():
                changed = replaced(content, path, value) if each == name else content
                (tmp_path / each).write_text(json.dumps(changed))
            try:
                write_card(tmp_path)
            except MerHfError as error:
                refused += 1
                assert name in str(error)
                assert not (tmp_path / "README.md").exists()
    assert refused > 50


def replaced(content, path, value):
    """A copy of nested dicts with another value at the path."""
    if not path:
        return value
    return {**content, path[0]: replaced(content[path[0]], path[1:], value)}


# --- hub_cards ---


def test_the_template_is_the_one_in_hub_cards():
    assert (HUB_CARDS / "model_card.md").is_symlink()
    assert (HUB_CARDS / "model_card.md").read_bytes() == cards.TEMPLATE.read_bytes()


def test_the_example_of_the_metric_card_gives_what_the_card_says(monkeypatch):
    monkeypatch.chdir(HUB_CARDS.parent)
    card = (HUB_CARDS / "metric" / "README.md").read_text()
    example, told = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    *steps, last = example.strip().splitlines()
    names = {}
    exec("\n".join(steps), names)
    assert eval(last, names) == ast.literal_eval(told)
    assert isinstance(names["metric"], evaluate.Metric)
    assert {"evaluate", "metric"} <= set(yaml.safe_load(card.split("---\n")[1])["tags"])
