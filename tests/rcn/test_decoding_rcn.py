import http.server
import io
import socket
import struct
import threading
import tracemalloc
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from mer_hf.rcn import decoding_rcn
from mer_hf.rcn.decoding_rcn import Video, VideoError, as_batch, load_video, stream_video

HEIGHT, WIDTH = 48, 64


def scene(index):
    """Brightness counts the frames, and the top left corner is red: which frame it is and how it lies can be read."""
    frame = np.full((HEIGHT, WIDTH, 3), 4 * index % 256, np.uint8)
    frame[:12, :12] = (250, 0, 0)
    return frame


def encode(path, codec="libx264", frames=10, fps=30, milliseconds=None, **container_options):
    options = {"crf": "0"} if codec == "libx264" else {}
    with av.open(str(path), "w", options=container_options) as container:
        stream = container.add_stream(codec, rate=fps, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        if milliseconds is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(scene(index), format="rgb24")
            if milliseconds is not None:
                frame.pts, frame.time_base = milliseconds[index], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def frame_numbers(video):
    return np.round(video.frames[:, HEIGHT // 2 :, WIDTH // 2 :].mean((1, 2, 3)) / 4).astype(int).tolist()


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    folder = tmp_path_factory.mktemp("media")
    encode(folder / "clip.mp4")
    encode(folder / "long.mp4", frames=60, movflags="faststart")
    with av.open(str(folder / "sound.m4a"), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 16000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    (folder / "text.mp4").write_text("This is not a video.\n" * 50)
    (folder / "empty.mp4").touch()
    for index in range(3):
        Image.fromarray(scene(index)).save(folder / f"img{index}.png")
    return folder


# --- files ---


@pytest.mark.parametrize(
    ("name", "codec", "fps"),
    [("a.mp4", "libx264", 30), ("a.webm", "libvpx-vp9", 30), ("a.mkv", "ffv1", 120), ("a.avi", "ffv1", 200)],
)
def test_every_frame_is_decoded_with_its_time(tmp_path, name, codec, fps):
    video = load_video(encode(tmp_path / name, codec, fps=fps))
    assert video.frames.shape == (10, HEIGHT, WIDTH, 3)
    assert video.frames.dtype == np.uint8
    assert video.times.dtype == np.float64
    assert frame_numbers(video) == list(range(10))
    np.testing.assert_allclose(video.times, np.arange(10) / fps, atol=1e-3)
    assert video.fps == pytest.approx(fps, rel=0.01)  # although Matroska rounds 1/120 s to 8 ms


def test_colour_is_red_green_blue(media):
    red, green, blue = load_video(media / "clip.mp4").frames[0, 4, 4]
    assert red > 200 > 50 > max(green, blue)


def test_variable_frame_rate_is_honoured(tmp_path):
    milliseconds = [100, 105, 110, 115, 315, 320, 325, 330, 335, 1335]
    video = load_video(encode(tmp_path / "v.mkv", milliseconds=milliseconds))
    np.testing.assert_allclose(video.times, (np.array(milliseconds) - 100) / 1000, atol=1e-9)


def test_a_name_with_a_colon_is_a_file(tmp_path, monkeypatch, media):
    (tmp_path / "12:30.mp4").write_bytes((media / "clip.mp4").read_bytes())
    monkeypatch.chdir(tmp_path)
    assert len(load_video("12:30.mp4").frames) == 10


def test_fps_replaces_the_times_of_the_container(media):
    video = load_video(media / "clip.mp4", fps=200)
    np.testing.assert_allclose(video.times, np.arange(10) / 200)
    assert video.fps == pytest.approx(200)


def test_the_same_video_comes_from_path_bytes_file_and_row(media):
    path = media / "clip.mp4"
    expected = load_video(path)
    with path.open("rb") as file:
        sources = [str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), file]
        sources += [{"path": str(path), "bytes": None}, {"path": "gone.mp4", "bytes": path.read_bytes()}, expected]
        for source in sources:
            video = load_video(source)
            np.testing.assert_array_equal(video.frames, expected.frames)
            np.testing.assert_array_equal(video.times, expected.times)


def turned(data):
    """An MP4 file with the display matrix (ISO 14496-12, 8.3.2) that phones held upright write: turned clockwise."""
    at = data.index(b"tkhd") + 4 + 40
    one = 1 << 16
    return data[:at] + struct.pack(">9i", 0, one, 0, -one, 0, 0, HEIGHT * one, 0, 1 << 30) + data[at + 36 :]


def test_rotation_of_the_container_is_carried_out(media):
    data = (media / "clip.mp4").read_bytes()
    expected = np.rot90(load_video(data).frames, -1, axes=(1, 2))
    np.testing.assert_array_equal(load_video(turned(data)).frames, expected)


def test_a_truncated_video_yields_its_frames_and_a_warning(media):
    data = (media / "long.mp4").read_bytes()
    with pytest.warns(UserWarning, match=r"ends early.*of 2.00 s"):
        video = load_video(data[: int(0.7 * len(data))])
    assert 1 < len(video.frames) < 60
    assert frame_numbers(video)[:5] == [0, 1, 2, 3, 4]


def test_a_video_that_was_cut_before_its_index_is_an_error(media):
    data = (media / "clip.mp4").read_bytes()
    with pytest.raises(VideoError, match="the video"):
        load_video(data[: int(0.6 * len(data))])


def test_a_container_without_a_frame_is_an_error(tmp_path):
    data = encode(tmp_path / "a.mkv", "ffv1").read_bytes()
    with pytest.raises(VideoError, match=r"holds no frames|cannot be decoded"):
        load_video(data[: data.index(b"\x1f\x43\xb6\x75")])  # where the first cluster of frames begins


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.mp4", "does not exist"),
        ("", "is a folder; pass a video file, or the list of its images"),
        ("empty.mp4", "is empty"),
        ("text.mp4", "cannot be decoded as a video"),
        ("sound.m4a", r"no video stream \(streams found: audio\)"),
    ],
)
def test_a_file_that_is_no_video_is_an_error_that_names_it(media, name, message):
    with pytest.raises(VideoError, match=message) as raised:
        load_video(media / name)
    assert str(media / name) in str(raised.value)


def test_an_open_file_that_gives_no_bytes_is_an_error(media):
    with pytest.raises(VideoError, match="nothing to read"):
        load_video(io.BytesIO())
    with (media / "text.mp4").open() as file, pytest.raises(VideoError, match="opened as text"):
        load_video(file)


@pytest.mark.parametrize("source", [None, 3, {"path": None, "bytes": None}, b"", [], [1, 2], iter([])])
def test_what_is_no_source_at_all_is_an_error(source):
    with pytest.raises(VideoError):
        load_video(source)


# --- frame by frame ---


def texture(index):
    blurred = cv2.GaussianBlur(np.random.default_rng(index).random((HEIGHT, WIDTH, 3)), (0, 0), 3)
    return (128 + (blurred - blurred.mean()) * 600).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("codec", "pixels", "options"),
    [
        ("libx264", "yuv420p", {"crf": "0"}),
        ("libx264", "yuvj420p", {"crf": "0"}),
        ("libx264", "yuv444p", {"crf": "0"}),
        ("libx264", "yuv420p10le", {"crf": "0"}),
        ("libx264", "gray", {"crf": "0"}),
        ("ffv1", "bgr0", {}),
        ("ffv1", "gray", {}),
        ("libvpx-vp9", "yuva420p", {"lossless": "1"}),
    ],
)
def test_the_luma_of_a_file_is_the_grey_of_its_colours(tmp_path, codec, pixels, options):
    with av.open(str(tmp_path / "clip.mkv"), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixels
        for index in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(texture(index), format="rgb24")))
        container.mux(stream.encode())
    greys = [frame for frame, _ in stream_video(tmp_path / "clip.mkv", grey=True)]
    assert len(greys) == 3
    for grey, colour in zip(greys, load_video(tmp_path / "clip.mkv").frames, strict=True):
        assert grey.shape == (HEIGHT, WIDTH)
        assert grey.dtype == np.uint8
        expected = cv2.cvtColor(colour, cv2.COLOR_RGB2GRAY).astype(int)
        assert expected.std() > 5
        assert np.abs(grey - expected).mean() < 1.5  # chroma is rounded on the way to RGB


def test_grey_frames_come_from_every_kind_of_source(media):
    colours = [scene(index) for index in range(3)]
    paths = [media / f"img{index}.png" for index in range(3)]
    expected = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(int) for frame in colours]
    for source in (paths, colours, np.stack(colours), torch.from_numpy(np.stack(colours)), load_video(paths)):
        greys = [frame for frame, _ in stream_video(source, grey=True)]
        assert [grey.shape for grey in greys] == [(HEIGHT, WIDTH)] * 3
        assert np.abs(np.stack(greys) - np.stack(expected)).max() <= 1


def test_a_grey_picture_stays_as_it_is():
    frames = np.arange(2 * 4 * 5, dtype=np.uint8).reshape(2, 4, 5)
    np.testing.assert_array_equal([frame for frame, _ in stream_video(frames, grey=True)], frames)


def test_a_rotated_video_is_upright_in_grey_too(media, tmp_path):
    (tmp_path / "turned.mp4").write_bytes(turned((media / "clip.mp4").read_bytes()))
    colour = load_video(tmp_path / "turned.mp4").frames
    greys = np.stack([frame for frame, _ in stream_video(tmp_path / "turned.mp4", grey=True)])
    assert greys.shape == colour.shape[:3] == (10, WIDTH, HEIGHT)
    expected = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in colour])
    assert np.abs(greys - expected.astype(int)).mean() < 1  # the red corner differs where its edge is smoothed


def test_a_long_video_is_never_held_whole(tmp_path):
    encode(tmp_path / "long.mkv", codec="ffv1", frames=400)
    tracemalloc.start()
    total = sum(1 for _ in stream_video(tmp_path / "long.mkv"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert total == 400
    assert peak < 40 * HEIGHT * WIDTH * 3


def test_frames_come_before_a_damaged_one_is_met(media):
    stream = stream_video([media / "img0.png", media / "img1.png", {"bytes": b"no picture", "path": None}])
    assert [seconds for _, seconds in (next(stream), next(stream))] == [0.0, 1 / 25]
    with pytest.raises(VideoError, match="frame 2"):
        next(stream)


def test_times_always_grow(tmp_path):
    """Damaged containers repeat times, or go back; what follows needs a rate."""
    path = encode(tmp_path / "odd.mkv", codec="ffv1", frames=6, milliseconds=[0, 40, 41, 42, 300, 340])
    times = [seconds for _, seconds in stream_video(path)]
    assert np.diff(times).min() > 0


@pytest.mark.parametrize("fps", [0, -25, float("nan"), float("inf")])
def test_an_impossible_frame_rate_is_an_error(fps):
    with pytest.raises(VideoError, match="fps"):
        load_video(np.zeros((2, 8, 8), np.uint8), fps=fps)


# --- addresses ---


class Server(http.server.BaseHTTPRequestHandler):
    folder = None

    def do_GET(self):
        clip = (self.folder / "clip.mp4").read_bytes()
        pages = {
            "/clip.mp4": (200, "video/mp4", clip, len(clip)),
            "/nothing": (200, "video/mp4", b"", 0),
            "/page": (200, "text/html", b"<!doctype html>", 15),
            "/broken": (200, "video/mp4", clip[:100], len(clip)),
        }
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/clip.mp4")
            self.end_headers()
            return
        status, kind, body, length = pages.get(self.path, (404, "text/html", b"no", 2))
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def address(media, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(Server, "folder", media)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("page", ["/clip.mp4", "/moved"])
def test_a_video_is_downloaded_from_its_address(address, media, page):
    np.testing.assert_array_equal(load_video(address + page).frames, load_video(media / "clip.mp4").frames)


@pytest.mark.parametrize(
    ("page", "message"),
    [("/gone.mp4", "404"), ("/page", "web page"), ("/nothing", "is empty"), ("/broken", "broke off after 100 of")],
)
def test_an_address_without_a_video_is_an_error_that_names_it(address, page, message):
    with pytest.raises(VideoError, match=message) as raised:
        load_video(address + page)
    assert address + page in str(raised.value)


def test_a_download_is_limited_in_size_and_time(address, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(VideoError, match="larger than"):
        patch.setattr(decoding_rcn, "DOWNLOAD_LIMIT", 1000)
        load_video(address + "/clip.mp4")
    monkeypatch.setattr(decoding_rcn, "DOWNLOAD_DEADLINE", -1)
    with pytest.raises(VideoError, match="takes longer than"):
        load_video(address + "/clip.mp4")


def test_a_server_that_refuses_or_says_nothing_is_an_error(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(decoding_rcn, "DOWNLOAD_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/clip.mp4"
        with pytest.raises(VideoError, match="timed out"):
            load_video(url)
    with pytest.raises(VideoError, match="refused"):
        load_video(url)


@pytest.mark.parametrize(
    "url", ["http://", "http://127.0.0.1:port/a.mp4", "http://127.0.0.1/a b.mp4", "http://a/ü.mp4"]
)
def test_an_improper_address_is_an_error(url):
    with pytest.raises(VideoError, match="cannot be downloaded"):
        load_video(url)


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
        assert frame_numbers(video) == [0, 1, 2]
        np.testing.assert_allclose(video.times, [0, 0.005, 0.01])
    for image in opened:
        image.close()


def test_grey_palette_and_transparent_images_become_rgb():
    image = Image.fromarray(scene(5))
    for mode in ("L", "P", "RGBA", "CMYK", "1"):
        assert load_video([image.convert(mode)]).frames.shape == (1, HEIGHT, WIDTH, 3)


def test_images_of_more_than_8_bits_are_refused():
    with pytest.raises(VideoError, match="more than 8 bits"):
        load_video([Image.fromarray(np.full((8, 8), 3000, np.uint16))])


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
