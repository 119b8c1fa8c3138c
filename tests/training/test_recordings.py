"""Recordings as the network learns from them: motion that is kept, targets of what is coded, pieces."""

import numpy as np
import pytest
import torch
from datasets import Dataset

from mer_hf.drawn.sequences import RATE, TARGETS, draw_sequences
from mer_hf.rcn.motion_rcn import grid_places, residual_motion
from mer_hf.rcn.pipeline_spotting_rcn import FaceMotion
from mer_hf.rcn.spotting_rcn import moment_input
from mer_hf.training.recordings import (
    PIECE,
    Side,
    input_of,
    load_motion,
    moments_of,
    motion_path,
    spans_of,
    targets_of,
)
from mer_hf.training.spotting import SpottingRecipe
from recorded import EASY, recorded_people, row_of
from recordings_replicas import smic_e

CPU = torch.device("cpu")
SPEECH, BLINK, MACRO = (TARGETS.index(name) for name in ("speech", "blink", "macro"))
TIMES = np.arange(250) / RATE


@pytest.fixture(scope="module")
def people():
    return recorded_people(3, 20.0)


def event(onset, apex, offset, units=None, kind="micro"):
    return {"onset": onset, "apex": apex, "offset": offset, "action_units": units, "kind": kind, "emotion": None}


def test_what_is_coded_is_what_the_drawn_sequence_says_of_itself():
    drawn = draw_sequences(6, 16.0, grid_places(CPU), torch.Generator().manual_seed(3), EASY)
    times = np.arange(drawn.targets.shape[1]) / RATE
    for number in range(6):
        row = row_of(drawn, number, fps=1e5)  # so fine that no moment is on the other side of an end
        told = targets_of(row, times, codes_macro=True)
        assert np.isnan(told[:, [SPEECH, BLINK]]).all() and not told[:, MACRO].any()
        assert np.abs(told[:, :8] - drawn.targets[number, :, :8].numpy()).max() < 0.02


def test_an_event_is_of_the_parts_that_its_units_move():
    for units, parts in (("4", [0]), ("R12+25", [1]), ("4+12", [0, 1]), ("9", [0, 1]), (None, [0, 1]), ("45", [0, 1])):
        row = {"numbers": [1, 300], "fps": 25.0, "events": [event(51, 54, 63, units)], "blinks": []}
        told = targets_of(row, TIMES, codes_macro=False)
        assert [part for part in (0, 1) if told[:, 4 * part].any()] == parts
        for part in parts:
            assert np.flatnonzero(told[:, 4 * part]).tolist() == list(range(50, 63))
            assert told[:, 4 * part + 1 : 4 * part + 4].argmax(0).tolist() == [50, 53, 62]
        assert np.isnan(told[:, MACRO]).all()


def test_what_nobody_has_coded_is_not_told():
    no_apex, no_offset = event(51, None, 63, "4"), event(151, 154, 154, "4", "macro")
    row = {"numbers": [1, 300], "fps": 25.0, "events": [no_apex, no_offset], "blinks": [{"onset": 201, "offset": 206}]}
    told = targets_of(row, TIMES, codes_macro=True)
    assert np.flatnonzero(np.isnan(told[:, 2])).tolist() == list(range(50, 63))  # somewhere there is its apex
    after = list(range(154, 229))
    assert np.flatnonzero(np.isnan(told[:, 0])).tolist() == np.flatnonzero(np.isnan(told[:, 3])).tolist() == after
    assert told[150:154, [0, MACRO]].all() and told[153, 2] == 1 and not told[:, MACRO].all()
    assert np.flatnonzero(told[:, BLINK] == 1).tolist() == list(range(200, 206))
    assert np.flatnonzero(told[:, BLINK] == 0).tolist() == [*range(188, 200), *range(206, 218)]
    assert not told[:, 4:8].any()


def test_motion_is_kept_span_by_span_as_well_as_half_precision_can():
    fields = 0.02 * torch.randn(90, 2, 16, 9, generator=torch.Generator().manual_seed(0))
    motion = residual_motion(fields)
    parts = [type(motion)(*(value[cut] for value in motion)) for cut in (slice(0, 60), slice(60, 90))]
    seconds = (np.arange(60) / RATE, 4 + np.arange(30) / RATE)
    kept = moments_of([FaceMotion(7, *each) for each in zip(seconds, parts, strict=True)])
    assert [len(span) for span in spans_of(kept)] == [60, 30]
    assert kept["seconds"].tolist() == [*seconds[0], *seconds[1]]
    torch.testing.assert_close(input_of(kept), moment_input(motion), rtol=2e-3, atol=2e-3)
    assert spans_of(moments_of([])) == []


def test_motion_is_computed_once_and_named_after_the_frames(tmp_path, monkeypatch):
    copy = smic_e(tmp_path / "SMIC", count=2)
    frames = [sorted(folder.glob("*.jpg")) for folder in sorted(copy.rglob("s*_01")) if folder.is_dir()]
    rows = [
        {
            "recording_id": f"smic-e/{number}",
            "subject": "smic/s01",
            "frames": [{"path": str(path), "bytes": None} for path in paths],
            "numbers": list(range(100, 130)),
            "fps": 100.0,
            "events": [],
            "blinks": [],
        }
        for number, paths in enumerate(frames)
    ]
    first = load_motion(Dataset.from_list(rows))
    assert [len(each.moments) for each in first] == [0, 0]  # in pictures of 8 x 8 pixels nobody is seen
    assert first[0].row["numbers"] == [100, 129] and first[0].row["frames"] == []
    monkeypatch.setattr("mer_hf.training.recordings._watch", None)
    again = load_motion(Dataset.from_list(rows))
    assert [each.key for each in again] == [each.key for each in first]
    faster = rows[0] | {"fps": 50.0}
    assert motion_path(faster).stem != first[0].key
    frames[0][0].write_bytes(frames[0][0].read_bytes() + b" ")
    assert motion_path(rows[0]).stem != first[0].key


def test_pieces_are_cut_from_the_recordings_and_half_of_them_around_what_is_coded(people):
    recipe = SpottingRecipe(steps=12, batch_size=16, seed=5)
    side = Side(people[:2])
    whole = [input_of(each.moments) for each in people[:2]]
    place_of = {at.numpy().tobytes(): (n, t) for n, each in enumerate(whole) for t, at in enumerate(each)}
    with_event = 0
    for inputs, targets in side.pieces(recipe, CPU):
        assert inputs.shape == (16, PIECE, 4, 16, 9) and targets.shape == (16, PIECE, 11)
        for piece, told in zip(inputs, targets, strict=True):
            number, begin = place_of[piece[0].numpy().tobytes()]
            assert torch.equal(piece, whole[number][begin : begin + PIECE])
            assert torch.equal(told.nan_to_num(), torch.from_numpy(side.targets[number]).nan_to_num()[begin:][:PIECE])
            with_event += bool(told[:, [0, 4]].any())
    assert 12 * 16 / 2 < with_event < 12 * 16
    again = Side(people[:2]).pieces(recipe, CPU)
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(again, side.pieces(recipe, CPU), strict=True))


def test_a_span_that_is_shorter_than_a_piece_is_not_told_beyond_its_end(people):
    short = people[0]._replace(moments=people[0].moments[:40])
    ((inputs, targets),) = Side([short]).pieces(SpottingRecipe(steps=1, batch_size=3), CPU)
    assert not inputs[:, 40:].any() and targets[:, 40:].isnan().all() and not targets[:, :40, 0].isnan().any()


def test_drawn_pieces_stand_beside_the_recorded_ones_and_contradict_no_macro(people):
    recipe = SpottingRecipe(steps=2, batch_size=5)
    plain = list(Side(people).pieces(recipe, CPU))
    macro = people[0].row | {"events": [each | {"kind": "macro"} for each in people[0].row["events"]]}
    for recorded, codes in ((people, False), ([people[0]._replace(row=macro), *people[1:]], True)):
        told = []
        for (inputs, targets), (own, _) in zip(Side(recorded).batches(recipe, 2, CPU), plain, strict=True):
            assert inputs.shape == (15, PIECE, 4, 16, 9) and torch.equal(inputs[:5], own) != codes
            told.append(targets[5:])
        drawn = torch.cat(told)
        longer = drawn[..., MACRO] > 0
        assert longer.any() and not drawn[~longer].isnan().any()
        assert drawn[longer][:, :8].isnan().any() == codes and not drawn[..., 8:].isnan().any()
