"""A model arrives on the Hub whole or not at all, in one commit, and a run or a class can send it."""

import shutil

import pytest
from client import assert_refused
from local_hub import ALICE
from parts import PARTS, contents
from safetensors.torch import load_file, save_file

from mer_hf.hub.folder import FRAMES, check_whole, pack
from mer_hf.rcn.pipeline_rcn import TASK


def commits(hub, repo_id, branch="main"):
    return [commit.message for commit in hub.repos[repo_id].branches[branch]]


def requested(hub, method, path):
    return [request for request in hub.requests if request.method == method and path in request.path]


# --- mer-hf push ---


def test_an_incomplete_folder_is_refused_before_anything_is_sent(hub, client, folder):
    (folder / "pipeline_rcn.py").unlink()
    for options in ([], ["--dry-run"]):
        answer = client.mer_hf("push", folder, "alice/incomplete", *options, token=ALICE)
        assert_refused(answer, "pipeline_rcn.py is missing", ".save_pretrained(NEW_FOLDER)")
    assert hub.requests == []


def test_a_dry_run_tells_what_would_go_and_asks_nobody(hub, client, folder):
    (folder / "frames").mkdir()
    (folder / "frames" / "img1.png").touch()
    answer = client.mer_hf("push", folder, "alice/dry", "--dry-run")
    assert answer.value == 0
    for name in [*PARTS, "README.md"]:
        assert f"{(folder / name).stat().st_size:>12,}  {name}\n" in answer.out
    assert f"frames/ stays: {FRAMES}" in answer.out
    assert hub.requests == [] and hub.repos.get("alice/dry") is None


def test_a_push_is_one_commit_of_exactly_the_parts(hub, client, folder):
    (folder / "results.json").write_text("{}")
    for name in ("optimizer.pt", "predictions.csv", "face.png"):
        (folder / name).touch()
    answer = client.mer_hf("push", folder, "alice/rcn", "--message", "The first", token=ALICE)
    assert answer.value == 0
    assert hub.repos["alice/rcn"].at("main").sha in answer.out
    assert all(f"{name} stays" in answer.out for name in ("optimizer.pt", "predictions.csv", "face.png"))
    assert commits(hub, "alice/rcn") == ["initial commit", "The first"]
    there = hub.files("alice/rcn")
    assert set(there) == PARTS | {"README.md", "results.json", ".gitattributes"}
    assert {name: there[name] for name in there if name != ".gitattributes"} == {
        name: data for name, data in contents(folder).items() if name in there
    }
    assert all("Authorization" not in request.headers for request in requested(hub, "PUT", "/storage/"))


def test_a_second_push_commits_what_has_changed_and_nothing_else(hub, client, folder):
    client.mer_hf("push", folder, "alice/twice", token=ALICE)
    hub.requests.clear()
    answer = client.mer_hf("push", folder, "alice/twice", token=ALICE)
    assert answer.value == 0 and "nothing has changed since" in answer.out
    assert commits(hub, "alice/twice") == ["initial commit", "Upload a model of mer_hf"]
    assert requested(hub, "PUT", "") == [] and requested(hub, "POST", "/commit/") == []
    (folder / "README.md").write_text("# Another card\n")
    assert client.mer_hf("push", folder, "alice/twice", token=ALICE).value == 0
    assert len(commits(hub, "alice/twice")) == 3
    assert hub.files("alice/twice")["README.md"] == b"# Another card\n"


def test_a_model_without_a_card_goes_with_one_from_its_configuration(hub, client, saved):
    answer = client.mer_hf("push", saved, "alice/cardless", token=ALICE)
    assert answer.value == 0
    assert "has no README.md: its card is written from config.json" in answer.out
    card = hub.files("alice/cardless")["README.md"].decode()
    assert "| classes | negative, positive, surprise |" in card
    assert "geometric: optical flow from onset to apex, 60 x 60 pixels, channels: 3" in card
    assert "What it was trained on is not stated." in card and "No results of a run came with this model." in card
    assert "library_name: transformers" in card and "model-index" not in card
    assert not (saved / "README.md").exists(), "the folder is not written to"
    assert "nothing has changed" in client.mer_hf("push", saved, "alice/cardless", token=ALICE).out


def test_a_branch_is_created_and_leaves_main_alone(hub, client, folder):
    assert client.mer_hf("push", folder, "alice/branches", "--revision", "wide/one", token=ALICE).value == 0
    assert commits(hub, "alice/branches") == ["initial commit"]
    assert len(commits(hub, "alice/branches", "wide/one")) == 2


def test_a_private_model_never_goes_to_a_public_repository(hub, client, folder):
    assert client.mer_hf("push", folder, "alice/secret", "--private", token=ALICE).value == 0
    assert hub.repos["alice/secret"].private
    hub.put("alice/open", {})
    answer = client.mer_hf("push", folder, "alice/open", "--private", token=ALICE)
    assert_refused(answer, "is there already and public", "/alice/open/settings")
    assert hub.files("alice/open") == {} and requested(hub, "PUT", "") == []


def test_parts_of_the_model_before_are_removed_and_other_files_stay(hub, client, saved, folder):
    old = {"model-00001-of-00002.safetensors": b"1", "model.safetensors.index.json": b"{}", "results.json": b"{}"}
    kept = {"README.md": b"# By hand\n", "figure.svg": b"<svg/>", ".gitattributes": b""}
    hub.put("alice/older", {**old, **kept})
    assert client.mer_hf("push", saved, "alice/older", token=ALICE).value == 0
    assert len(commits(hub, "alice/older")) == 2
    there = hub.files("alice/older")
    assert set(there) == PARTS | set(kept)
    assert {name: there[name] for name in kept} == kept


# --- a push that breaks off ---


def test_a_push_that_broke_off_goes_on_where_it_was(hub, client, saved, folder):
    weights = load_file(folder / "model.safetensors")
    weights["classifier.bias"] += 1  # nobody has these yet
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    hub.storage.clear()
    hub.fail("PUT", f"/{(folder / 'model.safetensors').stat().st_size}$", status=403)
    answer = client.mer_hf("push", folder, "alice/resumed", token=ALICE)
    assert_refused(answer, "the token may not do that to alice/resumed")
    assert commits(hub, "alice/resumed") == ["initial commit"]
    assert len(hub.storage) == 2
    hub.faults.clear()
    hub.requests.clear()
    assert client.mer_hf("push", folder, "alice/resumed", token=ALICE).value == 0
    assert len(requested(hub, "PUT", "/storage/")) == 1
    assert hub.files("alice/resumed")["model.safetensors"] == (folder / "model.safetensors").read_bytes()


def test_an_upload_that_is_cut_is_sent_again(hub, client, folder):
    hub.storage.clear()
    hub.fail("PUT", "/storage/", cut=1000, times=1)
    assert client.mer_hf("push", folder, "alice/cut", token=ALICE).value == 0
    assert len(requested(hub, "PUT", "/storage/")) == 4
    there = hub.files("alice/cut")
    assert all(there[name] == data for name, data in contents(folder).items())


def test_a_commit_that_fails_leaves_the_model_before(hub, client, folder):
    assert client.mer_hf("push", folder, "alice/failing", token=ALICE).value == 0
    before = hub.files("alice/failing")
    shutil.copy(folder / "NOTICE", folder / "README.md")
    hub.fail("POST", "/commit/", status=500)
    assert_refused(client.mer_hf("push", folder, "alice/failing", token=ALICE), "has a fault of its own (HTTP 500)")
    assert hub.files("alice/failing") == before


@pytest.mark.parametrize(
    ("name", "token", "fault", "expected"),
    [
        ("alice/x", None, None, ["nobody is logged in", "hf auth login"]),
        ("alice/x", "hf_wrong", None, ["does not accept the token", "/settings/tokens"]),
        ("bob/taken", ALICE, None, ["the token may not do that to bob/taken", "choose a name of your own"]),
        ("bob/new", ALICE, None, ["the token may not do that to bob/new", "choose a name of your own"]),
        ("justaname", ALICE, None, ["'justaname' is no folder here, and no name on the Hub", "USER/NAME"]),
        ("alice/a/b", ALICE, None, ["'alice/a/b' is no folder here, and no name on the Hub"]),
        ("alice/../bob", ALICE, None, ["no name on the Hub"]),
        ("alice/x y", ALICE, None, ["no name on the Hub"]),
        ("alice/x", ALICE, {"status": 429, "headers": {"Retry-After": "300"}}, ["HTTP 429", "in 300 seconds"]),
        ("alice/x", ALICE, {"status": 503}, ["a fault of its own (HTTP 503)", "try again later"]),
        ("alice/x", ALICE, {"status": 402}, ["refused (HTTP 402)", "as the test asked for"]),
        ("alice/x", ALICE, {"cut": 10}, ["cannot be reached, or the connection broke off", "try again"]),
    ],
)
def test_a_push_that_cannot_be_says_why_and_what_to_do(hub, client, folder, name, token, fault, expected):
    hub.put("bob/taken", {"README.md": b"# Bob's"})
    if fault:
        hub.fail("POST", "/api/repos/create", **fault)
    assert_refused(client.mer_hf("push", folder, name, token=token), *expected)
    assert "alice/x" not in hub.repos
    assert hub.files("bob/taken") == {"README.md": b"# Bob's"}


def test_a_card_that_the_hub_refuses_is_told_before_anything_is_uploaded(hub, client, folder):
    hub.fail("POST", "/api/validate-yaml", status=400)
    answer = client.mer_hf("push", folder, "alice/card", token=ALICE)
    assert_refused(answer, "refused (HTTP 400) (as the test asked for)")
    assert requested(hub, "PUT", "") == []


def test_a_hub_that_is_gone_is_told(hub, client, folder):
    hub.stop()
    try:
        answer = client.mer_hf("push", folder, "alice/offline", token=ALICE)
    finally:
        hub.start()
    assert_refused(answer, f"{hub.url} cannot be reached", "check it, and try again")


# --- push_to_hub of the classes ---


def test_a_pipeline_pushes_all_of_itself_in_one_commit(hub, client, saved, tmp_path):
    program = f"""
from transformers import pipeline
import mer_hf
pipe = pipeline({TASK!r}, model=saved, device="cpu")
pipe.push_to_hub("alice/pipe", commit_message="by push")
pipe.push_to_hub("alice/pipe", commit_message="by push again")
pipe.save_pretrained(other, push_to_hub=True, repo_id="alice/saved-pipe", private=True, commit_message="by save")
"""
    client.run(program, ALICE, saved=saved, other=tmp_path / "other")
    assert commits(hub, "alice/pipe") == ["initial commit", "by push"]
    assert commits(hub, "alice/saved-pipe") == ["initial commit", "by save"]
    assert hub.repos["alice/saved-pipe"].private and not hub.repos["alice/pipe"].private
    for repo_id in ("alice/pipe", "alice/saved-pipe"):
        there = hub.files(repo_id)
        assert {name: there[name] for name in PARTS} == contents(saved)
        assert set(there) == PARTS | {"README.md", ".gitattributes"}
    assert contents(tmp_path / "other") == contents(saved)


def test_a_model_and_its_processor_pushed_one_by_one_are_a_whole(hub, client, saved, tmp_path):
    program = """
import numpy as np
from transformers import AutoModelForVideoClassification, AutoVideoProcessor, pipeline
import mer_hf
AutoModelForVideoClassification.from_pretrained(saved).push_to_hub("alice/parts")
AutoVideoProcessor.from_pretrained(saved).save_pretrained(folder, push_to_hub=True, repo_id="alice/parts")
AutoVideoProcessor.from_pretrained(saved).push_to_hub("alice/processor")
frames = np.random.default_rng(0).integers(0, 256, (6, 72, 80, 3), dtype=np.uint8)
task = "micro-expression-classification"
answer = [pipeline(task, model=name, device="cpu")(frames) for name in (saved, "alice/parts")]
"""
    here, there = client.run(program, ALICE, saved=saved, folder=tmp_path / "processor").value
    assert here == there
    assert len(commits(hub, "alice/parts")) == 3
    models = {"face_detection_short_range.tflite", "face_landmark.tflite", "NOTICE"}
    for repo_id in ("alice/parts", "alice/processor"):
        assert models <= set(hub.files(repo_id))
        assert "video_processing_rcn.py" in hub.files(repo_id)


def test_from_python_a_folder_is_pushed_by_its_name(hub, client, folder):
    program = """
import mer_hf
pushed = mer_hf.push(str(folder), "alice/python")
answer = [pushed.is_new, pushed.url]
"""
    is_new, url = client.run(program, ALICE, folder=folder).value
    assert is_new and "alice/python" in url
    assert "model.safetensors" in hub.files("alice/python")


def test_a_model_in_memory_goes_as_its_folder_does(hub, client, saved):
    program = """
from mer_hf import open_model
from mer_hf.hub.push import push_model
pushed = push_model(*open_model(saved), "alice/memory", private=True, message="from memory")
again = push_model(*open_model(saved), "alice/memory", message="again")
answer = [pushed.is_new, again.is_new, again.url]
"""
    first, again, url = client.run(program, ALICE, saved=saved).value
    assert (first, again) == (True, False)
    assert hub.repos["alice/memory"].at("main").sha in url
    assert commits(hub, "alice/memory") == ["initial commit", "from memory"]
    there = hub.files("alice/memory")
    assert {name: there[name] for name in PARTS} == contents(saved)
    assert set(there) == PARTS | {"README.md", ".gitattributes"}
    assert hub.repos["alice/memory"].private


# --- a run that ends on the Hub ---


@pytest.fixture(scope="module")
def clips(make_clips, tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips") / "flow"
    make_clips("flow").save_to_disk(folder)
    return folder


def train(clips, output_dir, *options):
    settings = {"dataset": clips, "output_dir": output_dir, "num_train_epochs": 1, "use_cpu": True, "push_to_hub": True}
    return ["train", *(f"--{name}={value}" for name, value in settings.items()), *options]


def test_a_run_pushes_its_model_once_at_the_end(hub, client, clips, tmp_path):
    options = ["--hub_model_id=alice/run", "--hub_private_repo=true"]
    answer = client.mer_hf(*train(clips, tmp_path / "run", *options), f"--hub_token={ALICE}")
    assert answer.value == 0
    assert len(requested(hub, "POST", "/api/repos/create")) == 1
    assert commits(hub, "alice/run") == ["initial commit", "Upload a model of mer_hf"]
    assert hub.repos["alice/run"].private
    there = hub.files("alice/run")
    assert PARTS <= set(there) <= PARTS | {"README.md", "results.json", ".gitattributes"}
    assert there["model.safetensors"] == (tmp_path / "run" / "model" / "model.safetensors").read_bytes()
    written = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert {"results.json", "predictions.csv"} <= {path.name for path in written}
    assert not [path for path in written if ALICE.encode() in path.read_bytes()]
    # where the model goes makes it no other run
    again = client.mer_hf(*train(clips, tmp_path / "run", "--hub_model_id=alice/x"), token=ALICE)
    assert again.value == 0 and "alice/x/commit" in again.out


@pytest.mark.parametrize(
    ("options", "token", "expected"),
    [
        ([], ALICE, "push_to_hub needs to know where: hub_model_id USER/NAME"),
        (["--hub_model_id=alice/late"], "hf_wrong", "does not accept the token"),
        (["--hub_model_id=alice/late"], None, "nobody is logged in"),
        (["--hub_model_id=late"], ALICE, "no name on the Hub"),
    ],
)
def test_a_run_that_could_not_push_does_not_begin(hub, client, clips, tmp_path, options, token, expected):
    assert_refused(client.mer_hf(*train(clips, tmp_path / "run", *options), token=token), expected)
    assert not (tmp_path / "run").exists()


def test_a_run_whose_push_fails_says_where_its_model_is(hub, client, clips, tmp_path):
    hub.fail("POST", "/commit/", status=500)
    answer = client.mer_hf(*train(clips, tmp_path / "run", "--hub_model_id=alice/late"), token=ALICE)
    assert_refused(answer, f"the model is whole in {tmp_path / 'run' / 'model'}", "`mer-hf push`", "HTTP 500")
    check_whole(pack(tmp_path / "run"))
