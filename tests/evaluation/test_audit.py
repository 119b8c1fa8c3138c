import io
import json

import cv2
import numpy as np
import pandas as pd
import pytest
from datasets import Array3D, ClassLabel, Dataset, Features, Image, List, Value
from PIL import Image as Picture

from mer_hf.corpora import load_corpus
from mer_hf.drawn.embedded import synthesize
from mer_hf.errors import MerHfError
from mer_hf.evaluation.audit import audit_dataset, audit_lines, audit_names, person, warning_line
from replicas import REPLICAS, replicate

CLASSES = ["negative", "positive", "surprise"]
FEATURES = {
    **dict.fromkeys(("clip_id", "corpus", "subject"), Value("string")),
    **dict.fromkeys(("onset", "offset"), Value("int64")),
    "label": ClassLabel(names=CLASSES),
}


def face(subject, clip):
    """A film of a head of its own that drifts and moves its mouth, (12, 48, 48) uint8."""
    head = cv2.resize(np.random.default_rng(subject).normal(120, 50, (7, 7)), (64, 64), interpolation=cv2.INTER_CUBIC)
    generator = np.random.default_rng((subject, clip))
    drift = np.cumsum(generator.normal(0, 0.35, (12, 2)), axis=0) + generator.normal(8, 2, 2)
    frames = []
    for time, (x, y) in enumerate(drift):
        moved = head.copy()
        moved[40:48, 20:44] += 25 * np.sin(np.pi * time / 11) * np.sign(generator.normal())
        frames.append(cv2.warpAffine(moved, np.array([[1, 0, -x], [0, 1, -y]]), (48, 48)))
    return np.clip(frames, 0, 255).astype(np.uint8)


def encoded(frame, ending=".png", quality=95):
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if ending == ".jpg" else []
    return {"bytes": cv2.imencode(ending, frame, options)[1].tobytes(), "path": None}


def row(subject, clip, corpus="casme2"):
    return {
        "clip_id": f"{corpus}/s{subject}/EP{clip}@{10 + 100 * clip}",
        "corpus": corpus,
        "subject": f"{corpus}/s{subject}",
        "onset": 10 + 100 * clip,
        "offset": 21 + 100 * clip,
        "label": clip % 3,
        "frames": [encoded(frame) for frame in face(subject, clip)],
    }


@pytest.fixture
def rows():
    return [row(subject, clip) for subject in range(1, 4) for clip in range(3)]


def audited(rows, **features):
    pictures = features or {"frames": List(Image(decode=False))}
    return audit_dataset(Dataset.from_list(rows, features=Features({**FEATURES, **pictures})))


def copy(rows, change=lambda film: film, ending=".png", quality=95, **names):
    """One more clip: the film of the first clip under other names."""
    film = [cv2.imdecode(np.frombuffer(frame["bytes"], np.uint8), 0) for frame in rows[0]["frames"]]
    other = {**rows[8], "clip_id": "casme2/s3/EP9@900", "onset": 900, "offset": 911, "label": rows[0]["label"]}
    return [*rows, {**other, **names, "frames": [encoded(f, ending, quality) for f in change(film)]}]


def noisy(film):
    generator = np.random.default_rng(0)
    return [np.clip(frame + generator.normal(0, 3, frame.shape), 0, 255).astype(np.uint8) for frame in film]


def smaller(film):
    return [cv2.resize(frame, (32, 32), interpolation=cv2.INTER_AREA) for frame in film]


SAME_PERSON = {"clip_id": "casme2/s1/EP9@900", "subject": "casme2/s1"}
INSIDE = {"clip_id": "casme2/s1/EP0@12", "onset": 12, "offset": 18}
SUBJECTS, NAMES = "one clip under two subjects", "one clip under two names"
SPELLINGS, SHARED = "one subject in two spellings", "subject shared by corpora"
PLANTED = {
    "a copy under another subject": (lambda r: copy(r), SUBJECTS),
    "a copy as JPEG": (lambda r: copy(r, ending=".jpg", quality=60), SUBJECTS),
    "a mirrored copy": (lambda r: copy(r, lambda film: [frame[:, ::-1] for frame in film]), SUBJECTS),
    "a copy that is cut": (lambda r: copy(r, lambda film: film[2:-2]), SUBJECTS),
    "a copy of other contrast": (lambda r: copy(r, lambda film: [(f * 0.8 + 30).astype("u1") for f in film]), SUBJECTS),
    "a small copy": (lambda r: copy(r, smaller), SUBJECTS),
    "a noisy copy": (lambda r: copy(r, noisy), SUBJECTS),
    "a copy under another name": (lambda r: copy(r, **SAME_PERSON), NAMES),
    "a copy under another label": (lambda r: copy(r, label=1), SUBJECTS),
    "a clip id twice": (lambda r: [*r, {**row(5, 5), "clip_id": r[0]["clip_id"]}], "clip id twice"),
    "a subject in two spellings": (lambda r: [*r, {**row(7, 1), "subject": "casme2/S01"}], SPELLINGS),
    "a subject as a number": (lambda r: [*r, {**row(7, 1), "subject": "casme2/1"}], SPELLINGS),
    "a corpus in two spellings": (lambda r: [*r, row(8, 1, "CASME2"), row(8, 2, "CASME2")], "corpus in two spellings"),
    "people of two corpora": (lambda r: [*r, row(7, 1, "smic"), row(7, 0, "smic-vis")], SHARED),
    "a name in two corpora": (lambda r: [*r, {**row(7, 1, "samm"), "subject": "casme2/s1"}], SHARED),
    "a clip in another": (lambda r: [*r, {**row(1, 7), **INSIDE}], "clip in another's interval"),
    "a class of one": (lambda r: [x for x in r if x["label"] != 2 or "s1" in x["subject"]], "class of one subject"),
}


def test_clean_clips_have_nothing_to_be_found(rows):
    audit = audited(rows)
    assert (audit.findings, audit.clips, audit.compared) == ((), 9, 9)
    assert audit_lines(audit) == ["9 clips, the pictures of 9 compared: nothing found"]


@pytest.mark.parametrize("name", PLANTED)
def test_every_planted_leak_is_found_and_called_by_its_kind(rows, name):
    plant, kind = PLANTED[name]
    audit = audited(plant(rows))
    assert {finding.kind for finding in audit.findings} == {kind}
    assert len(audit.findings) == 1 or name == "people of two corpora"
    assert json.loads(json.dumps(audit.to_dict()))["findings"][0]["kind"] == kind


def test_a_run_can_say_in_one_line_what_its_data_may_leak(rows):
    table = pd.DataFrame([{**each, "label": "x"} for each in rows])
    spelt = pd.concat([table, table[:2].assign(subject="casme2/S01", clip_id=["b", "c"])], ignore_index=True)
    assert warning_line(audit_names(table)) == ""
    line = "the data may leak: one subject in two spellings (1); `mer-hf audit` tells more"
    assert warning_line(audit_names(spelt)) == line


def test_a_copy_is_reported_with_both_names_subjects_and_labels(rows):
    (finding,) = audited(copy(rows, label=1)).findings
    assert finding.clips == (rows[0]["clip_id"], "casme2/s3/EP9@900")
    assert "of casme2/s1 and casme2/s3, called negative and positive" in finding.text


def flow(seed):
    return cv2.GaussianBlur(np.random.default_rng(seed).normal(0, 1, (28, 28, 2)), (0, 0), 3).astype(np.float32)


def flow_rows(kind):
    def picture(field):
        if kind == "array":
            return field.transpose(2, 0, 1)
        image = (np.dstack([field, np.hypot(*field.T).T]) * 150 + 128).clip(0, 255).astype(np.uint8)
        file = io.BytesIO()
        Picture.fromarray(image).save(file, "PNG")
        return {"bytes": file.getvalue(), "path": None}

    rows = [{**row(s, c), "flow": picture(flow(10 * s + c))} for s in range(1, 4) for c in range(3)]
    turned = flow(10)[:, ::-1] * np.float32([-1, 1])
    copies = {"same": flow(10) * 0.95 + flow(99) * 0.02, "mirrored": turned}
    planted = {name: {**row(3, 9), "label": 0, "flow": picture(field)} for name, field in copies.items()}
    for each in (*rows, *planted.values()):
        del each["frames"]
    return rows, planted, {"flow": Array3D((2, 28, 28), "float32") if kind == "array" else Image()}


@pytest.mark.parametrize("kind", ["array", "picture"])
@pytest.mark.parametrize("planted", ["same", "mirrored"])
def test_flow_of_one_clip_under_two_subjects_is_found(kind, planted):
    rows, leaks, feature = flow_rows(kind)
    assert audited(rows, **feature).findings == ()
    (finding,) = audited([*rows, leaks[planted]], **feature).findings
    assert finding.kind == "one clip under two subjects"
    assert ("mirrored" in finding.text) == (planted == "mirrored")


def test_files_of_frames_in_two_clips_are_found(tmp_path, rows):
    for number, frame in enumerate(face(1, 0)):
        cv2.imwrite(str(tmp_path / f"{number}.png"), frame)
    paths = [{"path": str(tmp_path / f"{number}.png"), "bytes": None} for number in range(12)]
    shared = [{**row(5, 0), "frames": paths[:8]}, {**row(5, 1), "frames": paths[4:]}]
    kinds = [finding.kind for finding in audited([*rows[3:], *shared]).findings]
    assert "frames of another clip" in kinds


def test_folds_that_split_a_subject_are_found(make_predictions):
    table = make_predictions(seeds=2)
    assert audit_names(table) == ()
    (finding,) = audit_names(table.assign(fold=table.clip_id))  # one video left out
    assert finding.kind == "subject on both sides"
    with pytest.raises(MerHfError, match="subject is not there"):
        audit_names(pd.DataFrame({"clip_id": ["a"]}))


@pytest.mark.parametrize("spelt", ["s1", "S01", "1", "casme2/sub01", "001", "spNO.1", "Subject 1"])
def test_spellings_of_one_person_are_one(spelt):
    assert person(spelt) == "1"


def test_different_people_are_not_one():
    assert len({person(name) for name in ("s1", "s2", "s10", "anna", "anna2", "1a")}) == 6


@pytest.mark.slow
@pytest.mark.parametrize("corpus", REPLICAS)
def test_replicas_of_all_corpora_have_nothing_to_be_found(corpus, tmp_path):
    folder = replicate(corpus, tmp_path / corpus, frames=3)
    clips = load_corpus(corpus, folder, cache_dir=tmp_path / "cache")
    assert audit_dataset(clips).findings == ()


@pytest.mark.slow
def test_drawn_people_have_nothing_to_be_found(tmp_path):
    folder = synthesize(tmp_path / "synthetic", subjects=2, clips=3, fps=30.0, size=64, progress=False)
    audit = audit_dataset(load_corpus("synthetic", folder, "native", cache_dir=tmp_path / "cache"))
    assert (audit.findings, audit.compared) == ((), 6)
