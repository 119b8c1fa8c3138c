import json

import pytest

from mer_hf.errors import MerHfError
from mer_hf.evaluation.published import EPOCHS, figures_of, protocol_of_run, protocols, published_lines


def test_every_figure_says_who_published_it_and_how_its_epoch_was_chosen():
    assert {"megc2019-cde", "megc2021-spotting"} < protocols().keys()
    for protocol in protocols().values():
        for figure in protocol.figures:
            assert figure.epoch in EPOCHS
            assert figure.source and figure.checked and figure.scores
            values = [value for part in figure.scores.values() for value in part.values()]
            assert values and all(0 <= value <= 1 for value in values)


def test_figures_are_those_of_the_field():
    rows = {(figure.system, figure.epoch): figure.scores for figure in figures_of("megc2019-cde").figures}
    assert rows["RCN-A", "fixed"]["all"] == {"uf1": 0.743, "uar": 0.719}
    assert rows["STSTNet", "test"]["all"] == {"uf1": 0.774}
    assert rows["HTNet", "test"]["samm"] == {"uf1": 0.813, "uar": 0.812}


def test_figures_chosen_on_the_test_subject_are_marked_so():
    lines = published_lines(figures_of("megc2019-cde"))
    assert [("TEST" in line) for line in lines if "HTNet" in line] == [True]
    assert [("TEST" in line) for line in lines if "RCN-A" in line] == [False]
    assert any("macro precision" in line for line in lines if "STSTNet" in line)


@pytest.mark.parametrize(
    ("recipe", "name"),
    [
        ({"dataset": "megc2019", "label_set": "3class", "protocol": "loso", "seeds": 5}, "megc2019-cde"),
        ({"dataset": "megc2019", "label_set": "3class", "protocol": "loso", "folds": "smic/s01"}, None),
        ({"dataset": "megc2019", "label_set": "3class", "protocol": "kfold"}, None),
        ({"dataset": "casme2", "label_set": "3class", "protocol": "loso"}, None),
    ],
)
def test_a_run_is_compared_with_figures_of_its_own_protocol_only(tmp_path, recipe, name):
    (tmp_path / "results.json").write_text(json.dumps({"recipe": recipe}))
    assert protocol_of_run(tmp_path) == name
    assert protocol_of_run(tmp_path / "predictions.csv") == name


def test_a_table_without_a_run_has_no_protocol(tmp_path):
    assert protocol_of_run(tmp_path / "predictions.csv") is None


def test_an_unknown_protocol_is_refused_with_the_known_ones():
    with pytest.raises(MerHfError, match="megc2019-cde"):
        figures_of("megc2018")
