"""What a source is: one video or several, its frames and their order, in every form, within the budget."""

import io
import os

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from mer_hf.rcn.decoding_rcn import load_video, stream_video
from mer_hf.rcn.sources_rcn import ORIENTATION_TAG, Budget, Video, VideoError, as_batch, as_shown, numbers_of

HEIGHT, WIDTH = 48, 64


def scene(index):
    """Brightness counts the frames, and the top left corner is red: which frame it is and how it lies can be read."""
    frame = np.full((HEIGHT, WIDTH, 3), 4 * index % 256, np.uint8)
    frame[:12, :12] = (250, 0, 0)
    return frame


def frame_numbers(frames):
    return [round(frame[HEIGHT // 2 :, WIDTH // 2 :].mean() / 4) for frame in frames]


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    folder = tmp_path_factory.mktemp("media")
    for index in range(3):
        Image.fromarray(scene(index)).save(folder / f"img{index}.png")
    (folder / "clip.mp4").write_bytes(b"not looked into")
    return folder


# --- arrays ---


def test_arrays_and_tensors_of_any_layout_become_rgb():
    grey = np.random.default_rng(0).integers(0, 256, (5, 20, 30), dtype=np.uint8)
    colour = np.repeat(grey[..., None], 3, axis=-1)
    alpha = np.concatenate([colour, np.zeros_like(grey)[..., None]], axis=-1)
    tensor = torch.from_numpy(colour)
    for source in (grey, grey[..., None], colour, alpha, tensor, tensor.permute(0, 3, 1, 2), list(grey), list(colour)):
        video = load_video(source)
        np.testing.assert_array_equal(video.frames, colour)
        np.testing.assert_allclose(video.times, np.arange(5) / 25)


@pytest.mark.parametrize("shape", [(20, 30), (0, 20, 30), (5, 20, 30, 2), (5, 3, 20, 30), (1, 5, 20, 30, 3)])
def test_an_array_that_is_no_video_is_an_error(shape):
    with pytest.raises(VideoError, match="expected"):
        load_video(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.uint16, bool])
def test_values_are_not_guessed_at(dtype):
    with pytest.raises(VideoError, match="expected uint8"):
        load_video(np.ones((2, 8, 8, 3), dtype))


# --- images ---


def test_images_in_any_form_are_the_frames_of_one_video(media):
    paths = [media / f"img{index}.png" for index in range(3)]
    opened = [Image.open(path) for path in paths]
    forms = [
        paths,
        [str(path) for path in paths],
        tuple(paths),
        opened,
        [scene(index) for index in range(3)],
        [{"path": str(path), "bytes": None} for path in paths],
        [{"path": None, "bytes": path.read_bytes()} for path in paths],
    ]
    for form in forms:
        assert as_batch(form) == ([list(form)], True) or isinstance(form[0], np.ndarray)
        video = load_video(form, fps=200)
        assert frame_numbers(video.frames) == [0, 1, 2]
        np.testing.assert_allclose(video.times, [0, 0.005, 0.01])
    for image in opened:
        image.close()


def test_grey_palette_and_transparent_images_become_rgb():
    image = Image.fromarray(scene(5))
    for mode in ("L", "P", "RGBA", "CMYK", "1"):
        assert load_video([image.convert(mode)]).frames.shape == (1, HEIGHT, WIDTH, 3)


def test_a_frame_of_another_size_is_named():
    with pytest.raises(VideoError, match="frame 2 is 30 x 20 and frame 0 is 64 x 48"):
        load_video([scene(0), scene(1), np.zeros((20, 30, 3), np.uint8)])


def test_an_unreadable_frame_is_named(media, tmp_path):
    cut, text = tmp_path / "cut.png", tmp_path / "text.jpg"
    whole = (media / "img0.png").read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])
    text.write_text("no image")
    for bad in (cut, text, tmp_path / "missing.png", {"path": str(text), "bytes": None}):
        with pytest.raises(VideoError, match="frame 1") as raised:
            load_video([media / "img0.png", bad])
        assert str(bad["path"] if isinstance(bad, dict) else bad) in str(raised.value)


# --- one or many ---


def test_one_video_is_told_from_a_batch(media):
    clip, image = str(media / "clip.mp4"), str(media / "img0.png")
    array = np.zeros((4, HEIGHT, WIDTH, 3), np.uint8)
    row = {"path": None, "bytes": (media / "clip.mp4").read_bytes()}
    one = [clip, media / "clip.mp4", row["bytes"], row, array, torch.from_numpy(array), "http://x.org/a.mp4", image]
    one += [Video(array, np.arange(4.0)), io.BytesIO()]
    for source in one:
        sources, is_one = as_batch(source)
        assert is_one
        assert sources[0] is source
        assert as_batch([source, source])[1] is (source is image)  # two images are one video
    assert as_batch([[image, image], [image]]) == ([[image, image], [image]], False)
    assert as_batch([clip]) == ([clip], False)
    assert as_batch("http://x.org/a.png") == (["http://x.org/a.png"], True)
    grey = np.zeros((4, HEIGHT, WIDTH), np.uint8)  # four frames are not four channels
    assert as_batch([grey])[1] is False
    batch, is_one = as_batch(np.zeros((3, 4, HEIGHT, WIDTH, 3), np.uint8))
    assert (len(batch), batch[0].shape, is_one) == (3, array.shape, False)


def test_an_empty_or_mixed_list_is_an_error(media):
    with pytest.raises(VideoError, match="empty"):
        as_batch([])
    with pytest.raises(VideoError, match="item 1 of the list is an image and item 0 is not"):
        as_batch([media / "clip.mp4", media / "img0.png"])


def test_a_single_frame_has_no_rate():
    assert np.isnan(load_video([scene(0)]).fps)


@pytest.mark.parametrize("channels", [3, 4])
def test_a_tensor_that_can_be_read_in_two_ways_is_refused(channels):
    grey_videos = [torch.zeros((channels, HEIGHT, WIDTH), dtype=torch.uint8)] * 5
    with pytest.raises(VideoError, match=r"a colour picture, .* or as a grey video"):
        as_batch(grey_videos)
    for shape in ((3, channels, HEIGHT, WIDTH), (channels, 3, HEIGHT, WIDTH)):
        with pytest.raises(VideoError, match=r"\(frames, channels, height, width\), or as \(channels, frames"):
            load_video(torch.zeros(shape, dtype=torch.uint8))
    assert load_video(torch.zeros((channels, HEIGHT, WIDTH, 3), dtype=torch.uint8)).frames.shape[0] == channels


def test_a_picture_is_one_frame_however_its_channels_lie():
    for picture in (np.zeros((HEIGHT, WIDTH, 3), np.uint8), torch.zeros((1, HEIGHT, WIDTH), dtype=torch.uint8)):
        assert load_video(picture).frames.shape == (1, HEIGHT, WIDTH, 3)
        assert as_batch([picture] * 4)[1] is True


ANIMATED = {"webp": {"lossless": True, "duration": 50}, "png": {"duration": 50}, "tiff": {}, "gif": {"duration": 50}}


def animation(kind, count=5):
    file = io.BytesIO()
    pictures = [Image.fromarray(scene(6 * index)) for index in range(count)]
    pictures[0].save(file, kind, save_all=True, append_images=pictures[1:], **ANIMATED[kind])
    return file.getvalue()


@pytest.mark.parametrize("kind", ANIMATED)
def test_an_image_of_several_pictures_is_a_video_and_two_of_them_are_two(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    path.write_bytes(animation(kind))
    with Image.open(path) as opened:
        data = path.read_bytes()
        forms = [path, str(path), data, bytearray(data), memoryview(data), {"path": None, "bytes": data}, opened]
        for form in forms:
            assert as_batch(form)[1] is True
            assert as_batch([form, form])[1] is False
            video = load_video(form)
            assert frame_numbers(video.frames) == [0, 6, 12, 18, 24]
            np.testing.assert_allclose(video.times, np.arange(5) * (0.04 if kind == "tiff" else 0.05), atol=1e-6)
    greys = [frame for frame, _ in stream_video(path, grey=True)]
    assert [frame.shape for frame in greys] == [(HEIGHT, WIDTH)] * 5


def test_the_jpeg_of_a_phone_with_a_preview_behind_it_is_one_picture(tmp_path):
    picture = Image.fromarray(scene(3))
    picture.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[picture.resize((16, 12))])
    assert as_batch([tmp_path / "a.jpg"] * 2)[1] is True
    assert len(load_video([tmp_path / "a.jpg"]).frames) == 1


# --- order ---


@pytest.fixture
def frames(tmp_path):
    """Frames 90 to 119 of a clip, named as CASME II names them."""
    for number in range(90, 120):
        Image.fromarray(scene(number - 90)).save(tmp_path / f"reg_img{number}.png")
    return tmp_path


def test_files_are_taken_in_the_order_of_their_numbers(frames):
    as_text = sorted(str(path) for path in frames.iterdir())
    assert as_text[0].endswith("reg_img100.png")
    rows = [{"path": path, "bytes": None} for path in as_text]
    for source in (as_text, rows, frames, str(frames)):
        assert frame_numbers(load_video(source).frames) == list(range(30))
    (ordered,), _ = as_batch(as_text)
    assert (ordered[0], ordered[-1]) == (str(frames / "reg_img90.png"), str(frames / "reg_img119.png"))
    (nested, _), _ = as_batch([as_text, as_text])
    assert nested == ordered


@pytest.mark.parametrize("turn", [lambda paths: paths[::-1], lambda paths: paths[5:] + paths[:5]])
def test_files_that_are_sorted_in_no_way_are_refused(frames, turn):
    paths = turn([str(frames / f"reg_img{number}.png") for number in range(90, 120)])
    for take in (as_batch, load_video):
        with pytest.raises(VideoError, match=r"run backwards: reg_img\d+.png comes after reg_img\d+.png; sort them"):
            take(paths)


def test_missing_numbers_are_told(frames):
    for number in range(100, 110):
        (frames / f"reg_img{number}.png").unlink()
    problems = []
    assert len(list(stream_video(frames, problems=problems))) == 20
    assert problems == [
        "frames are missing between reg_img99.png and reg_img110.png; what the face did there is not seen"
    ]


def test_every_second_frame_is_not_a_gap(frames):
    problems = []
    list(stream_video([frames / f"reg_img{number}.png" for number in range(90, 120, 2)], problems=problems))
    assert problems == []


def test_frames_without_numbers_stay_as_they_are_given_and_make_no_folder(tmp_path):
    names = ["onset.png", "apex.png", "offset.png"]
    for index, name in enumerate(names):
        Image.fromarray(scene(index)).save(tmp_path / name)
    assert frame_numbers(load_video([tmp_path / name for name in names]).frames) == [0, 1, 2]
    with pytest.raises(VideoError, match=r"are not numbered; pass them as a list"):
        load_video(tmp_path)


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["a9.png", "a10.png"], [9, 10]),
        (["006_1_0001.jpg", "006_1_0002.jpg"], [1, 2]),
        (["img1_v2.png", "img2_v2.png"], [1, 2]),
        (["a.png", "b.png"], None),
        (["a1.png", "b.png"], None),
        (["x/a1.png", "y/a1.png"], None),
    ],
)
def test_the_number_of_a_frame_is_the_last_by_which_names_differ(names, numbers):
    assert numbers_of(names) == numbers


# --- depth and orientation ---


def deep(peak, shape=(HEIGHT, WIDTH)):
    return np.linspace(0, peak, int(np.prod(shape))).reshape(shape).astype(np.uint16)


@pytest.mark.parametrize("suffix", ["png", "tiff"])
@pytest.mark.parametrize(("peak", "bits"), [(65535, 16), (4095, 12), (1023, 10), (300, 10)])
def test_deep_pictures_are_scaled_by_the_bits_of_the_camera(tmp_path, suffix, peak, bits):
    grey, colour = deep(peak), deep(peak, (HEIGHT, WIDTH, 3))
    for name, picture in (("grey", grey), ("colour", colour)):
        path = str(tmp_path / f"{name}.{suffix}")
        cv2.imwrite(path, picture[..., ::-1] if picture.ndim == 3 else picture)
        expected = np.rint(picture * (255 / (2**bits - 1))).astype(np.uint8)
        expected = expected if expected.ndim == 3 else np.repeat(expected[..., None], 3, -1)
        np.testing.assert_array_equal(load_video([path]).frames[0], expected)
        (first, _) = next(stream_video([path], grey=True))
        assert first.shape == (HEIGHT, WIDTH)
    with Image.open(tmp_path / f"grey.{suffix}") as opened:
        np.testing.assert_array_equal(load_video([opened]).frames, load_video([tmp_path / f"grey.{suffix}"]).frames)


def test_frames_of_different_depth_are_refused(tmp_path):
    for index, peak in enumerate((1000, 60000)):
        cv2.imwrite(str(tmp_path / f"{index}.png"), deep(peak))
    with pytest.raises(VideoError, match="values up to 60000, while those of the first frame fit 10 bits"):
        load_video(tmp_path)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_upright_as_their_camera_says(tmp_path, orientation):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    image.save(tmp_path / "a.png", exif=exif)
    from PIL import ImageOps

    with Image.open(tmp_path / "a.png") as opened:
        expected = np.asarray(ImageOps.exif_transpose(opened))
    np.testing.assert_array_equal(load_video([tmp_path / "a.png"]).frames[0], expected)


def test_a_matrix_that_is_no_quarter_turn_is_taken_as_the_nearest():
    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3)
    np.testing.assert_array_equal(as_shown(pixels, 60000, 20000, -20000, 60000), pixels)
    np.testing.assert_array_equal(as_shown(pixels, 20000, 60000, -60000, 20000), np.rot90(pixels, -1))


# --- budget ---


def test_a_large_picture_is_refused_before_its_pixels_are_read(tmp_path):
    Image.new("L", (7000, 7000)).save(tmp_path / "0.png")
    os.link(tmp_path / "0.png", tmp_path / "1.png")
    with pytest.raises(VideoError, match=r"frame 0 .* is 7000 x 7000 pixels, more than 33,177,600; .*budget="):
        load_video(tmp_path)
    assert next(stream_video(tmp_path, grey=True, budget=Budget(pixels=50_000_000)))[0].shape == (7000, 7000)


def test_a_bomb_of_pillows_is_an_error_of_the_package(tmp_path):
    Image.new("1", (12000, 12000)).save(tmp_path / "0.png")
    with pytest.raises(VideoError, match="frame 0"):
        load_video([tmp_path / "0.png"])


def test_a_long_list_is_refused_before_a_picture_is_opened(tmp_path):
    with pytest.raises(VideoError, match="more than 4,096 frames"):
        list(stream_video([tmp_path / f"{number}.png" for number in range(5000)], most=4096))


def test_formats_that_run_programs_or_refer_to_files_are_no_pictures(tmp_path):
    (tmp_path / "0.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n")
    with pytest.raises(VideoError, match="cannot be read as an image"):
        load_video([tmp_path / "0.png"])
