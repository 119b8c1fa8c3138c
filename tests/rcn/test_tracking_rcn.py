"""Faces with numbers: kept through a blink of the detector and an absence, given anew after a cut."""

import cv2
import numpy as np
import pytest

import real_face
from mer_hf.rcn.decoding_rcn import VideoError
from mer_hf.rcn.faces_rcn import face_transform, find_faces
from mer_hf.rcn.tracking_rcn import FaceTracker

RATE = 25.0


@pytest.fixture(scope="module")
def portrait():
    """A real face, (200, 200) grey, its eyes about 45 pixels apart."""
    return real_face.portrait(200)


def scene(*faces, size=(240, 480)):
    """A grey wall with pictures in it, each given with its left top corner."""
    y, x = np.indices(size)
    frame = (90 + 20 * np.sin(x / 40) + 20 * np.cos(y / 30 + x / 90)).astype(np.uint8)
    for picture, left, top in faces:
        frame[top : top + len(picture), left : left + picture.shape[1]] = picture
    return frame


def covered(portrait):
    """The same picture with a hand before the face."""
    return cv2.ellipse(portrait.copy(), (100, 105), (50, 75), 0, 0, 360, 150, -1)


def numbers(tracker, frame, first, count):
    """The numbers of the faces in each of some equal frames."""
    return [[view.number for view in tracker.update(frame, (first + index) / RATE)] for index in range(count)]


def test_a_face_keeps_its_number_and_its_place(portrait):
    tracker, frame = FaceTracker(), scene((portrait, 100, 20))
    views = [tracker.update(frame, index / RATE) for index in range(12)]
    assert [[view.number for view in seen] for seen in views] == [[0]] * 12
    true = face_transform(find_faces(frame)[0].landmarks)
    assert np.abs(views[-1][0].face_to_frame - true).max() < 1
    assert views[-1][0].reason == "" and views[-1][0].since == 0


def test_a_face_that_drifts_across_the_picture_is_followed(portrait):
    tracker = FaceTracker()
    lefts = np.linspace(20, 260, 60).astype(int)
    seen = [tracker.update(scene((portrait, left, 20)), index / RATE) for index, left in enumerate(lefts)]
    assert all([view.number for view in views] == [0] for views in seen)
    true = face_transform(find_faces(scene((portrait, 260, 20)))[0].landmarks)
    assert abs(seen[-1][0].face_to_frame[0, 2] - true[0, 2]) < 15, "the mean over a quarter of a second lags behind"


def test_a_face_that_is_covered_for_a_moment_is_held_and_one_that_goes_is_not(portrait):
    tracker, there, gone = FaceTracker(), scene((portrait, 100, 20)), scene((covered(portrait), 100, 20))
    assert numbers(tracker, there, 0, 5) == [[0]] * 5
    assert numbers(tracker, gone, 5, 4) == [[0]] * 4, "a blink of the detector"
    assert numbers(tracker, there, 9, 3) == [[0]] * 3
    assert numbers(tracker, gone, 12, 20)[-1] == []


def test_a_face_that_comes_back_has_its_number_and_begins_anew(portrait):
    tracker, there, gone = FaceTracker(), scene((portrait, 100, 20)), scene((covered(portrait), 100, 20))
    numbers(tracker, there, 0, 5)
    numbers(tracker, gone, 5, 30)
    back = [tracker.update(scene((portrait, 110, 20)), (35 + index) / RATE) for index in range(20)]
    assert [view.number for view in back[-1]] == [0]
    assert back[-1][0].since >= 35 / RATE, "what lies between cannot have been watched"


def test_a_face_that_stays_away_is_forgotten(portrait):
    tracker, there, gone = FaceTracker(), scene((portrait, 100, 20)), scene((covered(portrait), 100, 20))
    numbers(tracker, there, 0, 5)
    for index in range(14):
        tracker.update(gone, 1 + index / 2)
    assert [view.number for view in tracker.update(there, 9.0)] == [1]


def test_two_people_have_a_number_each(portrait):
    tracker = FaceTracker()
    both = scene((portrait, 10, 20), (portrait[:, ::-1], 260, 20))
    places = {view.number: view.face_to_frame[0, 2] for view in tracker.update(both, 0.0)}
    assert sorted(places) == [0, 1]
    for index in range(1, 10):
        views = tracker.update(both, index / RATE)
        assert {view.number for view in views} == {0, 1}
        assert all(abs(view.face_to_frame[0, 2] - places[view.number]) < 2 for view in views)


def test_somebody_who_joins_is_noticed(portrait):
    tracker = FaceTracker()
    numbers(tracker, scene((portrait, 10, 20)), 0, 5)
    both = scene((portrait, 10, 20), (portrait[:, ::-1], 260, 20))
    assert numbers(tracker, both, 5, 45)[-1] == [0, 1]


def test_after_a_cut_all_faces_are_new(portrait):
    tracker = FaceTracker()
    numbers(tracker, scene((portrait, 10, 20)), 0, 5)
    assert not tracker.was_cut
    views = tracker.update(255 - scene((255 - portrait, 12, 22)), 5 / RATE)
    assert tracker.was_cut and [view.number for view in views] == [1]


def test_flickering_light_and_noise_are_no_cut(portrait):
    tracker, rng = FaceTracker(), np.random.default_rng(0)
    for index in range(12):
        light = scene((portrait, 100, 20)) * (1 - 0.3 * (index % 2)) + rng.normal(0, 4, (240, 480))
        tracker.update(np.clip(light, 0, 255).astype(np.uint8), index / RATE)
        assert not tracker.was_cut


def test_a_face_that_is_too_small_is_named_with_its_reason(portrait):
    small = cv2.resize(portrait, (70, 70), interpolation=cv2.INTER_AREA)
    (view,) = FaceTracker().update(scene((small, 60, 20), size=(120, 190)), 0.0)
    assert "pixels apart" in view.reason and "at least 20" in view.reason


def test_a_face_that_the_border_cuts_off_is_named_with_its_reason(portrait):
    (view,) = FaceTracker().update(np.ascontiguousarray(scene((portrait, 100, 20))[:153]), 0.0)
    assert "border" in view.reason


def test_a_frame_that_is_none_is_refused():
    with pytest.raises(VideoError, match="uint8"):
        FaceTracker().update(np.zeros((20, 20)), 0.0)
