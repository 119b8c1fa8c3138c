"""All of hub_cards/ goes to a namespace, each part of it whole, and comes back from there."""

from pathlib import Path

import pytest
from datasets import Dataset
from local_hub import ALICE, BOB

from mer_hf.drawn.embedded import synthesize
from mer_hf.hub.packaged import PACKAGED, SPOTTER

CHECKOUT = Path(__file__).parents[2]
MODELS = {**PACKAGED, "spotter": SPOTTER}
PUBLISH = """
import runpy, sys
sys.argv = ["publish.py", *arguments]
try:
    runpy.run_path(script, run_name="__main__")
    answer = 0
except SystemExit as ended:
    answer = 2
    print(ended, file=sys.stderr)
"""


@pytest.fixture(scope="module")
def publish(client, tmp_path_factory):
    corpus = synthesize(tmp_path_factory.mktemp("corpus") / "synthetic", subjects=1, clips=3, size=64, fps=50.0)
    wheel = tmp_path_factory.mktemp("wheel") / "mer_hf-9.8.7-py3-none-any.whl"
    wheel.write_bytes(b"a wheel")
    given = ["--corpus", str(corpus), "--wheel", str(wheel)]

    def run(*arguments, token=None):
        return client.run(PUBLISH, token, script=CHECKOUT / "scripts" / "publish.py", arguments=[*arguments, *given])

    return run


def test_a_dry_run_names_every_file_and_asks_nobody(hub, publish):
    answer = publish("alice", "--dry-run")
    assert answer.value == 0, answer.err
    for name in ("model alice/mer-hf-spotter", "space alice/micro-expressions", "dataset alice/mer-hf-drawn-faces"):
        assert f"{name}\n" in answer.out
    assert "spotting_rcn.py" in answer.out and answer.out.endswith("nothing was sent\n")
    assert hub.requests == []


def test_everything_arrives_in_one_commit_each_and_is_used_from_there(hub, publish, client, tmp_path):
    answer = publish("alice", token=ALICE)
    assert answer.value == 0, answer.err
    for name, folder in MODELS.items():
        there = hub.files(f"alice/mer-hf-{name}")
        assert {"README.md", "results.json", "config.json", "configuration_rcn.py"} <= set(there)
        assert there["README.md"] == (folder / "README.md").read_bytes()
        assert there["model.safetensors"] == (folder / "model.safetensors").read_bytes()
        assert len(hub.repos[f"alice/mer-hf-{name}"].branches["main"]) == 2
    metric, space = (hub.files(f"spaces/alice/{name}") for name in ("micro_expression_scores", "micro-expressions"))
    assert {"README.md", "micro_expression_scores.py"} <= set(metric)
    assert space["mer_hf-9.8.7-py3-none-any.whl"] == b"a wheel"
    assert b"/spaces/alice/micro-expressions/resolve/main/mer_hf-9.8.7-py3" in space["requirements.txt"]

    shards = hub.files("datasets/alice/mer-hf-drawn-faces")
    assert b"license: apache-2.0" in shards["README.md"]
    (tmp_path / "clips.parquet").write_bytes(shards["data/train-00000-of-00001.parquet"])
    clips = Dataset.from_parquet(str(tmp_path / "clips.parquet"), cache_dir=str(tmp_path), keep_in_memory=True)
    assert len(clips) == 3 and clips.features["label"].names == ["negative", "positive", "surprise"]
    assert all(frame["bytes"] for frame in clips[0]["frames"])

    program = (
        "import mer_hf; from transformers import pipeline\n"
        "spot = pipeline('micro-expression-spotting', model='alice/mer-hf-spotter', classifier=None)\n"
        "answer = [mer_hf.open_model('alice/mer-hf-default').model.config.name_and_version,\n"
        "          spot.model.config.name_and_version]"
    )
    assert [name.split()[0] for name in client.run(program).value] == ["default", "spotter"]


@pytest.mark.slow
def test_what_has_not_changed_is_no_new_commit(hub, publish):
    assert publish("alice", token=ALICE).value == 0  # where the tests above did not
    before = {name: repo.at("main").sha for name, repo in hub.repos.items()}
    assert publish("alice", token=ALICE).value == 0
    assert {name: repo.at("main").sha for name, repo in hub.repos.items()} == before


@pytest.mark.slow
def test_a_namespace_of_somebody_else_is_refused_in_words(hub, publish):
    answer = publish("alice", token=BOB)
    assert answer.value == 2 and "publish: the token may not do that" in answer.err
    assert "Traceback" not in answer.err
