import gc
import http.server
import io
import os
import re
import socket
import struct
import threading
import tracemalloc
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from mer_hf.rcn import decoding_rcn
from mer_hf.rcn.decoding_rcn import Budget, VideoError, load_video, stream_video

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


def packets_of(data):
    with av.open(io.BytesIO(data)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


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
    (folder / "sub").mkdir()
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
    with pytest.warns(UserWarning, match="no frames for 1.00 s from 0.24 s on"):
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
        ("sub", "is a folder without images; pass a video file"),
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


def test_the_decoder_s_frames_are_gone_without_a_collection_of_garbage(tmp_path):
    encode(tmp_path / "long.mp4", frames=40)
    gc.collect()
    gc.disable()
    try:
        assert sum(1 for _ in stream_video(tmp_path / "long.mp4")) == 40
        assert sum(type(kept) is av.VideoFrame for kept in gc.get_objects()) <= 1
    finally:
        gc.enable()


def test_frames_come_before_a_damaged_one_is_met(media):
    stream = stream_video([media / "img0.png", media / "img1.png", {"bytes": b"no picture", "path": None}])
    assert [seconds for _, seconds in (next(stream), next(stream))] == [0.0, 1 / 25]
    with pytest.raises(VideoError, match="frame 2"):
        next(stream)


def test_times_always_grow(tmp_path):
    """Damaged containers repeat times, or go back; what follows needs a rate."""
    path = encode(tmp_path / "odd.mkv", codec="ffv1", frames=6, milliseconds=[0, 40, 41, 42, 300, 340])
    times = [seconds for _, seconds in stream_video(path, problems=[])]
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
    with pytest.raises(VideoError, match="larger than"):
        load_video(address + "/clip.mp4", budget=Budget(bytes=1000))
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


# --- as the file asks to be shown ---


def write(path, codec="libx264", ratio=None, matrix=None, small=None, picture=scene, **options):
    """Forty frames of a scene; before them, where `small` is given, one of 16 x 16 in a stream of that kind."""
    with av.open(str(path), "w") as container:
        if small is not None:
            thumbnail = container.add_stream("mjpeg", rate=25)
            thumbnail.width, thumbnail.height, thumbnail.pix_fmt = 16, 16, "yuvj420p"
            thumbnail.disposition = small
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        if ratio is not None:
            stream.codec_context.sample_aspect_ratio = ratio
        if matrix is not None:
            stream.set_display_matrix(matrix)
        if small is not None:
            black = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
            container.mux(thumbnail.encode(black))
            container.mux(thumbnail.encode())
        for index in range(40):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(index), format="rgb24")))
        container.mux(stream.encode())
    return path


def shown(path, **arguments):
    """The frames of a video, and what was noticed in it."""
    problems = []
    return [frame for frame, _ in stream_video(path, problems=problems, **arguments)], problems


ONE = 1 << 16
MATRICES = {  # rows of the display matrix of ISO 14496-12, 8.3.2, and what they do to a picture
    "mirrored": ((-1, 0, 0, 1), lambda p: p[:, ::-1]),
    "upside down": ((1, 0, 0, -1), lambda p: p[::-1]),
    "half a turn": ((-1, 0, 0, -1), lambda p: p[::-1, ::-1]),
    "clockwise": ((0, 1, -1, 0), lambda p: np.rot90(p, -1)),
    "counterclockwise": ((0, -1, 1, 0), lambda p: np.rot90(p)),
    "clockwise and mirrored": ((0, 1, 1, 0), lambda p: np.swapaxes(p, 0, 1)),
}


@pytest.mark.parametrize("name", MATRICES)
def test_a_video_is_turned_and_mirrored_as_its_matrix_says(tmp_path, name):
    (a, b, c, d), change = MATRICES[name]
    plain, _ = shown(write(tmp_path / "plain.mp4"))
    frames, problems = shown(
        write(tmp_path / "m.mp4", matrix=[a * ONE, b * ONE, 0, c * ONE, d * ONE, 0, 0, 0, 1 << 30])
    )
    np.testing.assert_array_equal(frames[5], change(plain[5]))
    assert problems == []


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is counted as Linux does")
def test_of_files_that_were_read_nothing_stays_in_memory(tmp_path):
    """Also of those that Python does not count: a frame of each was 270 MB here."""
    path, pages = tmp_path / "large.mkv", []
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 2048, 1024, "yuvj420p"
        for _ in range(2):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((1024, 2048, 3), np.uint8))))
        container.mux(stream.encode())
    for _ in range(50):
        assert len(list(stream_video(path, grey=True))) == 2
        pages.append(int(Path("/proc/self/statm").read_text().split()[1]))
    assert (pages[-1] - pages[9]) * os.sysconf("SC_PAGE_SIZE") < 30e6


@pytest.mark.parametrize(("ratio", "shape"), [(Fraction(4, 3), (48, 85)), (Fraction(3, 4), (64, 64)), (1, (48, 64))])
def test_pixels_become_square(tmp_path, ratio, shape):
    frames, problems = shown(write(tmp_path / "clip.mp4", ratio=ratio))
    assert frames[0].shape[:2] == shape
    red = frames[0][..., 0] > 125
    assert red.any(0).sum() == pytest.approx(12 * shape[1] / WIDTH, abs=2)
    assert red.any(1).sum() == pytest.approx(12 * shape[0] / HEIGHT, abs=2)
    assert problems == []


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [("a.mkv", "libx264", {"x264-params": "tff=1"}), ("a.mpg", "mpeg2video", {"flags": "+ildct+ilme"})],
)
def test_an_interlaced_video_is_told_and_shows_one_moment(tmp_path, name, codec, options):
    frames, problems = shown(write(tmp_path / name, codec, **options))
    assert len(problems) == 1
    assert "40 of 40 frames are interlaced" in problems[0]
    assert len(frames) == 40


def test_of_two_half_pictures_one_is_shown():
    woven = np.zeros((9, 4, 3), np.uint8)
    woven[::2], woven[1::2] = 20 * np.arange(5)[:, None, None], 255
    np.testing.assert_array_equal(decoding_rcn._upper_field(woven)[:, 0, 0], np.arange(0, 90, 10))


@pytest.mark.parametrize(
    ("name", "kind"), [("a.mkv", "none"), ("a.mp4", "attached_pic"), ("a.mkv", "timed_thumbnails")]
)
def test_a_thumbnail_is_not_taken_for_the_video(tmp_path, name, kind):
    disposition = av.stream.Disposition(0) if kind == "none" else av.stream.Disposition[kind]
    frames, problems = shown(write(tmp_path / name, small=disposition))
    assert (len(frames), frames[0].shape) == (40, (HEIGHT, WIDTH, 3))
    assert problems in ([], ["the file holds 2 videos; the largest (64 x 48) is taken"])


# --- parts ---


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.avi", "mpeg4")])
@pytest.mark.parametrize(("start", "end"), [(None, None), (0.8, 1.2), (0.5, None), (None, 0.3), (1.56, 9.0)])
def test_a_part_is_what_lies_between_its_seconds(tmp_path, name, codec, start, end):
    path = write(tmp_path / name, codec, g="10")
    every = [(frame, seconds) for frame, seconds in stream_video(path)]
    wanted = [f for f, t in every if (start or 0) - 1e-3 <= t <= (9 if end is None else end) + 1e-3]
    part = list(stream_video(path, start=start, end=end))
    np.testing.assert_array_equal([frame for frame, _ in part], wanted)
    np.testing.assert_allclose([seconds for _, seconds in part], np.arange(len(wanted)) / 25, atol=1e-3)


def test_a_part_is_told_in_the_time_of_the_rate_that_is_given(tmp_path):
    path = write(tmp_path / "a.mp4")
    part = list(stream_video(path, fps=100, start=0.1, end=0.2))
    np.testing.assert_array_equal([frame for frame, _ in part], load_video(path).frames[10:21])
    np.testing.assert_allclose([seconds for _, seconds in part], np.arange(11) / 100)


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ({"start": 5}, "has no frame from 5 s on"),
        ({"start": -1}, "start is -1"),
        ({"end": 0}, "end is 0"),
        ({"start": "2"}, "start is '2'; it must be a number of seconds"),
        ({"start": 1, "end": 1}, "the end comes after the start"),
        ({"fps": "50"}, "fps is '50'; it must be a number of frames per second"),
    ],
)
def test_a_part_that_cannot_be_meant_is_an_error(media, part, says):
    with pytest.raises(VideoError, match=says):
        list(stream_video(media / "clip.mp4", **part))


# --- damage and gaps ---


@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "libx264"), ("a.avi", "mpeg4"), ("a.mpg", "mpeg2video")])
def test_what_the_decoder_makes_up_is_told(tmp_path, name, codec):
    data = bytearray(write(tmp_path / name, codec, g="40", picture=texture).read_bytes())
    late = len(data) * 3 // 4
    data[late : late + len(data) // 8] = bytes(len(data) // 8)
    frames, problems = shown(bytes(data))
    assert 5 < len(frames) < 41
    assert re.search("the file is damaged|there are no frames for|the file ends early", "".join(problems))


@pytest.mark.parametrize(
    ("name", "codec", "options", "zeros", "count"),
    [("a.mkv", "ffv1", {}, 2, 40), ("a.avi", "ffv1", {}, 2, 40), ("a.avi", "mjpeg", {"strict": "-1"}, 8, 39)],
)
def test_changed_bytes_inside_of_a_picture_are_told_where_the_codec_can_tell(
    tmp_path, name, codec, options, zeros, count
):
    data = bytearray(write(tmp_path / name, codec, picture=texture, **options).read_bytes())
    assert shown(bytes(data))[1] == []
    packets = packets_of(bytes(data))
    middle = data.find(packets[20]) + len(packets[20]) // 2
    data[middle : middle + zeros] = bytes(zeros)
    frames, problems = shown(bytes(data))
    assert (len(frames), len(problems)) == (count, 1)
    assert problems[0].startswith("the file is damaged")


def test_a_slice_contradicts_its_checksum_where_the_naive_division_has_a_rest(tmp_path):
    """RFC 9043, 4.9.3: polynomial 0x104C11DB7, beginning with 0, from the highest bit on."""

    def rest(content):
        value = 0
        for byte in content:
            value ^= byte << 24
            for _ in range(8):
                value = (value << 1 ^ (0x104C11DB7 if value >> 31 else 0)) & 0xFFFFFFFF
        return value

    def contradicts(packet):
        slices = []
        while len(packet) >= 8 and (size := 8 + int.from_bytes(packet[-8:-5])) <= len(packet):
            slices.append(packet[-size:])
            packet = packet[:-size]
        return packet == b"" and any(map(rest, slices))

    rng = np.random.default_rng(0)
    packets = packets_of(write(tmp_path / "a.mkv", "ffv1").read_bytes())[:3]
    assert [decoding_rcn._contradicts_checksums(packet) for packet in packets] == [False] * 3
    found = set()
    for packet in packets:
        for place in (*rng.integers(len(packet), size=4), len(packet) - 8, len(packet) - 2):
            spoilt = bytearray(packet)
            spoilt[place] ^= 1 << rng.integers(8)
            found.add(contradicts(spoilt))
            assert decoding_rcn._contradicts_checksums(bytes(spoilt)) == contradicts(bytes(spoilt))
    assert found == {True, False}  # of a wrong size there is no chain, which FFmpeg refuses
    assert not any(map(decoding_rcn._contradicts_checksums, (b"", bytes(7), bytes(range(99)))))


def test_a_file_of_fewer_frames_than_its_header_says_is_told(tmp_path):
    data = write(tmp_path / "a.avi", "ffv1", picture=texture).read_bytes()
    frames, problems = shown(data[: len(data) // 2])
    assert 5 < len(frames) < 30
    assert re.search(r"ends early.*of 1.60 s|ends early.*of 40 frames", problems[-1])


def test_a_hole_in_time_is_told(tmp_path):
    milliseconds = [40 * index + (60_000 if index > 20 else 0) for index in range(40)]
    _, problems = shown(encode(tmp_path / "a.mkv", frames=40, milliseconds=milliseconds))
    assert problems == ["there are no frames for 60.04 s from 0.80 s on; what the face did then is not seen"]


def test_a_whole_video_has_no_problem(media):
    assert shown(media / "long.mp4")[1] == []


# --- how much it may ask for ---


def test_large_frames_are_refused_before_they_are_decoded(tmp_path):
    with av.open(str(tmp_path / "large.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 4096, 4096, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((4096, 4096, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode())
    tracemalloc.start()
    with pytest.raises(VideoError, match=r"is 4096 x 4096 pixels, more than 1,000,000.*budget="):
        list(stream_video(tmp_path / "large.mp4", budget=Budget(pixels=10**6)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10**6
    assert len(list(stream_video(tmp_path / "large.mp4", grey=True))) == 1


def test_long_videos_are_refused_by_their_header(media, monkeypatch):
    monkeypatch.setattr(decoding_rcn, "_shown", None)  # no frame is brought to pixels
    with pytest.raises(VideoError, match=r"more than 50 frames.*start= and end="):
        list(stream_video(media / "long.mp4", most=50))


def test_a_part_of_a_long_video_is_not_long(media):
    assert len(list(stream_video(media / "long.mp4", most=50, start=0.5, end=1.0))) == 16


def test_what_is_longer_than_its_header_says_is_refused_on_the_way(tmp_path):
    path = encode(tmp_path / "a.mkv", "ffv1", frames=30)  # Matroska does not count its frames
    given = []
    with pytest.raises(VideoError, match="more than 20 frames"):
        given.extend(frame for frame, _ in stream_video(open_without_header(path), most=20))
    assert len(given) in (0, 20)


def open_without_header(path):
    """The same video as a live stream writes it: without a duration."""
    data = bytearray(path.read_bytes())
    at = data.index(b"\x44\x89")  # the element Duration
    data[at : at + 2] = b"\xec\x83"[:1] + data[at + 2 - 1 : at + 2 - 1] + b"\x88"  # Void, of the same size
    return bytes(data)


def test_a_decoded_video_is_held_within_the_budget(media):
    with pytest.raises(VideoError, match="takes more than 0 MiB, decoded"):
        load_video(media / "clip.mp4", budget=Budget(bytes=5 * HEIGHT * WIDTH * 3))


# --- what is no file ---


def test_names_that_no_file_can_have_are_errors_of_the_package():
    for name in (
        "a" * 300 + ".mp4",
        "a\0b.mp4",
        "rtsp://127.0.0.1/a",
        "ftp://127.0.0.1/a.mp4",
        "data:video/mp4;base64,A",
    ):
        with pytest.raises(VideoError):
            load_video(name)


def test_a_file_address_is_its_path(media):
    np.testing.assert_array_equal(
        load_video((media / "clip.mp4").as_uri()).frames, load_video(media / "clip.mp4").frames
    )


def test_a_capture_of_opencv_is_named(media):
    with pytest.raises(VideoError, match="is a VideoCapture; pass the path of the video"):
        load_video(cv2.VideoCapture(str(media / "clip.mp4")))
