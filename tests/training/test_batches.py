"""What a batch holds: clips on the device, drawn fields, and both at once."""

import cv2
import numpy as np
import pytest
import torch

from mer_hf.action_units import ACTION_UNITS
from mer_hf.drawn.courses import CourseSettings, draw_courses
from mer_hf.drawn.fields import DrawingSettings, as_published_picture, draw_fields
from mer_hf.drawn.images import ImageSettings, draw_images
from mer_hf.rcn.motion_rcn import flow_picture, flow_sequence, optical_strain
from mer_hf.rcn.video_processing_rcn import FramesBatch, MotionBatch, RcnVideoProcessor, collate
from mer_hf.training import batches
from mer_hf.training.batches import (
    REST,
    DrawnClips,
    DrawnFields,
    JointClips,
    Packed,
    ResidentClips,
    drawn_source,
    faces_in,
)
from mer_hf.training.clips import DatasetError, load_clips
from mer_hf.training.plan import drawn_config
from mer_hf.training.runs import record_of
from mer_hf.training.trainer import training_source
from real_face import astronaut
from tiny import CLASSES, CPU, DRAWN, OPTIONS, SEQUENCE, plan_of, planned, recipe_of, saved_model

# --- clips ---


def test_packed_arrays_are_taken_out_as_they_went_in():
    generator = np.random.default_rng(0)
    arrays = [generator.normal(size=(length, 2, 3)).astype(np.float32) for length in (3, 1, 5, 2)]
    values, lengths = Packed(arrays, CPU).take(torch.tensor([3, 0, 3]))
    assert lengths.tolist() == [2, 3, 2]
    assert values.shape == (3, 3, 2, 3)
    for found, row in zip(values, (3, 0, 3), strict=True):
        array = arrays[row]
        np.testing.assert_array_equal(found[: len(array)], array)
        np.testing.assert_array_equal(found[len(array) :], array[-1:].repeat(3 - len(array), 0))


@pytest.mark.parametrize("jittered", [True, False])
@pytest.mark.parametrize("connectivity", ["geometric", "sequence"])
def test_a_resident_batch_holds_what_its_clips_hold(make_clips, tmp_path, connectivity, jittered):
    windows = {"processor": {**OPTIONS["processor"], "onset_window": 0.01}}  # of the few frames there are
    options = windows if connectivity == "geometric" else SEQUENCE
    plan, clips = planned(tmp_path, make_clips("frames"), **options)
    resident = ResidentClips(clips, plan.processor, CPU, jittered)
    rows = [7, 0, 3]
    batch = resident.__getitems__(rows)
    contents = [clips[row].content for row in rows]
    assert len(resident) == 9
    assert batch.pop("labels").tolist() == [clips[row].label for row in rows]
    expected = collate(contents)
    if not jittered:
        torch.testing.assert_close(batch["pixel_values_videos"], plan.processor.model_input(expected))
        return
    found = batch["clips"]
    assert type(found) is type(expected) is (MotionBatch if connectivity == "geometric" else FramesBatch)
    for name, value in found._asdict().items():
        same = getattr(expected, name)
        assert value.shape == same.shape
        if name not in ("frames", "motion", "onsets"):
            assert torch.equal(value, same)
            continue
        for part, content in zip(value, contents, strict=True):
            array = getattr(content, name)
            np.testing.assert_array_equal(part[: len(array)], array)
    torch.testing.assert_close(plan.processor.model_input(found), plan.processor.model_input(expected))


def test_lone_pictures_of_flow_are_finished_once_though_jitter_is_asked_for(make_clips, tmp_path):
    plan, clips = planned(tmp_path, make_clips("flow"))
    batch = ResidentClips(clips, plan.processor, CPU, jittered=True).__getitems__([4, 1])
    expected = plan.processor.model_input(collate([clips[row].content for row in (4, 1)]))
    torch.testing.assert_close(batch["pixel_values_videos"], expected)


def test_clips_of_each_class_are_counted(make_clips, tmp_path):
    plan, clips = planned(tmp_path, make_clips("video"), **SEQUENCE)
    resident = ResidentClips([clips[row] for row in (0, 1, 3, 6)], plan.processor, CPU)
    assert resident.class_counts(4) == [3, 1, 0, 0]


# --- drawn motion ---


@pytest.fixture
def config():
    return drawn_config(recipe_of("nowhere", **DRAWN)[0])


def test_half_of_a_batch_is_signed_flow_and_half_has_the_form_of_published_pictures(config):
    batch = DrawnFields(100, config, 5, CPU).__getitems__(list(range(8)))
    drawn = draw_fields(8, (16, 16), torch.Generator().manual_seed(5), DrawingSettings(rest=REST))
    for row, pixels in enumerate(batch["pixel_values_videos"]):
        flow = drawn.flow[row]
        if row < 4:
            flow = as_published_picture(torch.cat([flow, optical_strain(flow)]))
        torch.testing.assert_close(pixels[0], flow_picture(flow, 3))
    assert torch.equal(batch["labels"], drawn.label)
    assert torch.equal(batch["action_units"], (drawn.units > 0).float())
    assert batch["action_units"].shape == (8, len(ACTION_UNITS))


def test_no_field_is_drawn_twice_and_a_seed_draws_the_same(config):
    def batches(seed):
        fields = DrawnFields(8, config, seed, CPU)
        return [fields.__getitems__([0, 1])["pixel_values_videos"] for _ in range(2)]

    (first, second), (again, _), (other, _) = batches(1), batches(1), batches(2)
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    assert not torch.equal(first, other)


def sequence_config(**changes):
    model = {**DRAWN["model"], "connectivity": "sequence", "num_channels": 2, "num_frames": 4, **changes}
    return drawn_config(recipe_of("nowhere", **{**DRAWN, "model": model})[0])


def test_drawn_flow_sequences_are_as_the_processor_makes_them():
    source = drawn_source(100, sequence_config(), 5, CPU)
    assert isinstance(source, DrawnClips)
    assert len(source) == 100
    batch = source.__getitems__([3, 1, 2])
    drawn = draw_courses(3, 4, (16, 16), torch.Generator().manual_seed(5), CourseSettings(rest=REST))
    torch.testing.assert_close(batch["pixel_values_videos"], flow_sequence(drawn.flow))
    assert torch.equal(batch["labels"], drawn.label)
    assert torch.equal(batch["action_units"], (drawn.units > 0).float())


def test_models_of_one_channel_are_drawn_pictures_of_the_faces_given():
    faces = torch.randint(0, 256, (5, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    batch = DrawnClips(100, sequence_config(num_channels=1), 5, CPU, faces=faces).draw(3)
    drawn = draw_images(3, 4, faces, torch.Generator().manual_seed(5), ImageSettings(rest=REST))
    torch.testing.assert_close(batch["pixel_values_videos"], drawn.frames / 255)
    assert torch.equal(batch["labels"], drawn.label)


def test_a_folder_of_pictures_gives_the_faces_in_them_as_the_front_end_cuts_them_out(tmp_path, caplog):
    picture = cv2.cvtColor(astronaut(), cv2.COLOR_RGB2BGR)
    (tmp_path / "below").mkdir()
    cv2.imwrite(str(tmp_path / "below" / "a.png"), picture)
    cv2.imwrite(str(tmp_path / "b.jpg"), np.full_like(picture, 127))
    (tmp_path / "notes.txt").write_text("no picture")
    faces = faces_in(str(tmp_path), 32, 24)
    processor = RcnVideoProcessor(connectivity="appearance", num_channels=1, size={"height": 64, "width": 48})
    assert torch.equal(faces, torch.from_numpy(processor.aligned_clip([picture[..., ::-1]] * 2).frames[:1]))
    assert "1 of 2 pictures" in caplog.text
    assert "no face" in caplog.text


def test_training_draws_image_sequences_of_the_faces_that_the_recipe_names(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), cv2.cvtColor(astronaut(), cv2.COLOR_RGB2BGR))
    model = {**DRAWN["model"], "connectivity": "sequence", "num_channels": 1, "num_frames": 4}
    plan = plan_of(tmp_path / "out", None, **{**DRAWN, "model": model, "faces": str(tmp_path)})
    source = training_source(plan, [], 5)
    assert torch.equal(source.faces, faces_in(str(tmp_path), 16, 16))
    assert record_of(plan, 0)["data"]["license"] == "that of the pictures"


def test_a_folder_without_a_face_is_refused_with_what_was_found(tmp_path):
    with pytest.raises(DatasetError, match=r"holds no picture; give a folder of \.jpg"):
        faces_in(str(tmp_path), 32, 24)
    cv2.imwrite(str(tmp_path / "b.png"), np.full((90, 90, 3), 127, np.uint8))
    with pytest.raises(DatasetError, match=r"1 pictures, and no face that can be used: .*b\.png: no face"):
        faces_in(str(tmp_path), 16, 16)


# --- clips and drawn motion in one batch ---


def test_a_joint_batch_has_clips_of_unknown_units_and_fields_of_known_ones(make_clips):
    saved, dataset = saved_model(), make_clips("flow")
    clips = ResidentClips(load_clips(dataset, saved.processor), saved.processor, CPU)
    drawn = DrawnFields(0, saved.model.config, 5, CPU)
    joint = JointClips(clips, drawn, 2, ["surprise", "others", "positive", "negative"])
    batch = joint.__getitems__([3, 1])
    alone = DrawnFields(0, saved.model.config, 5, CPU).draw(4)
    assert len(joint) == 9
    assert torch.equal(batch["pixel_values_videos"], clips.__getitems__([3, 1])["pixel_values_videos"])
    assert torch.equal(batch["drawn"], alone["pixel_values_videos"])
    numbers = {"negative": 3, "positive": 2, "surprise": 0}
    expected = [-1 if label < 0 else numbers[CLASSES[label]] for label in alone["labels"].tolist()]
    assert batch["labels"].tolist() == [dataset["label"][3], dataset["label"][1], *expected]
    assert batch["action_units"][:2].isnan().all()
    assert torch.equal(batch["action_units"][2:], alone["action_units"])
    assert joint.class_counts(4) == [3 + 6, 3, 3 + 6, 0 + 6]


def test_a_plan_of_joint_training_is_of_geometric_models_and_their_classes(make_clips, tmp_path):
    plan = plan_of(tmp_path, make_clips("flow"), drawn_per_clip=2)
    assert list(plan.config.action_units) == list(ACTION_UNITS)


def test_batches_out_of_a_block_are_its_fields_each_once_and_half_of_them_published(tmp_path, monkeypatch):
    monkeypatch.setattr(batches, "BLOCK", 20)
    config = drawn_config(recipe_of(tmp_path, **DRAWN)[0])
    fields, twin = (DrawnFields(100, config, 3, CPU) for _ in range(2))
    whole = [row.numpy().tobytes() for row in twin.draw(24)["pixel_values_videos"]]
    fields.device = torch.device("cuda")
    monkeypatch.setattr(fields, "draw", lambda count: DrawnFields(100, config, 3, CPU).draw(count))
    given = [fields.next_batch(8)["pixel_values_videos"] for _ in range(3)]
    numbers = [[whole.index(row.numpy().tobytes()) for row in batch] for batch in given]
    assert sorted(number for batch in numbers for number in batch) == list(range(24))
    assert [sum(number < 12 for number in batch) for batch in numbers] == [4, 4, 4]
