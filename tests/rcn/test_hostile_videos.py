"""No video kills the process or hangs it: each gives an input or one of the package's errors."""

import io
import json
import socket
import struct
import subprocess
import sys

import av
import numpy as np
import pytest
from PIL import Image

from mer_hf.drawn.rendering import render_clip
from mer_hf.rcn.decoding_rcn import CONTAINERS, VideoError, load_video

SIZE = 64

PREPARE_EACH = """
import json, sys, warnings
import numpy as np
from mer_hf import RcnVideoProcessor
from mer_hf.rcn.decoding_rcn import VideoError

warnings.simplefilter("ignore")
processors = [
    RcnVideoProcessor(align="none"),
    RcnVideoProcessor(face_problems="flag"),
    RcnVideoProcessor(),
    RcnVideoProcessor(connectivity="sequence", num_channels=3, num_frames=4, face_problems="flag"),
]
for path in sys.argv[1:]:
    for processor in processors:
        try:
            pixels = processor(path)["pixel_values_videos"]
            result = "input" if np.isfinite(pixels.numpy()).all() else "not finite"
        except VideoError as error:
            result = "VideoError" if str(error) else "VideoError without a message"
        except Exception as error:
            result = f"{type(error).__name__}: {error}"
        print(json.dumps([path, result]), flush=True)
"""


def prepare_each(paths, seconds):
    """What becomes of each video, in a process of its own, since the worst would end it."""
    command = [sys.executable, "-c", PREPARE_EACH, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"ended by {done.returncode} after {results[-1:]}: {done.stderr[-2000:]}"
    assert len(results) == 4 * len(paths)
    return results


def encode(path, frames, codec="libx264", pixels="yuv420p", times=None, **options):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=50, options=options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixels
        for index, frame in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(frame, format="rgb24")
            if times is not None:
                frame.pts = times[index]
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def face():
    clip = render_clip(subject=3, clip=0, emotion_class="surprise", size=SIZE, fps=50.0)
    return list(clip.frames)


def test_odd_but_whole_videos_are_prepared_and_one_of_one_frame_is_refused(tmp_path, face):
    noise = np.random.default_rng(0).integers(0, 256, (5, 37, 53, 3), dtype=np.uint8)
    upright = encode(tmp_path / "turned.mp4", face)
    data = upright.read_bytes()
    at = data.index(b"tkhd") + 4 + 40  # the display matrix of ISO 14496-12, 8.3.2: turned by a quarter
    one = 1 << 16
    upright.write_bytes(data[:at] + struct.pack(">9i", 0, one, 0, -one, 0, 0, SIZE * one, 0, 1 << 30) + data[at + 36 :])
    videos = [
        upright,
        encode(tmp_path / "odd size.mkv", list(noise), "ffv1", "bgr0"),
        encode(tmp_path / "odd luma.mkv", list(noise), "ffv1", "yuv420p"),
        encode(tmp_path / "wide.mkv", [np.zeros((2, 900, 3), np.uint8)] * 4, "ffv1", "bgr0"),
        encode(tmp_path / "high.mkv", [np.zeros((900, 2, 3), np.uint8)] * 4, "ffv1", "bgr0"),
        encode(tmp_path / "pixel.mkv", [np.zeros((1, 1, 3), np.uint8)] * 4, "ffv1", "bgr0"),
        encode(tmp_path / "two frames.mp4", face[:2]),
        encode(tmp_path / "uneven.mkv", face, times=np.cumsum(np.arange(len(face)) % 7 + 1).tolist()),
        encode(tmp_path / "alpha.webm", face, "libvpx-vp9", "yuva420p"),
        encode(tmp_path / "ten bits.mp4", face, pixels="yuv420p10le"),
        encode(tmp_path / "grey.mkv", face, "ffv1", "gray"),
        encode(tmp_path / "sixteen bits.mkv", face, "ffv1", "gray16le"),
        encode(tmp_path / "palette.gif", face, "gif", "rgb8"),
        encode(tmp_path / "pictures.avi", face, "mjpeg", "yuvj444p"),
    ]
    found = prepare_each([*videos, encode(tmp_path / "one.mp4", face[:1])], seconds=300)
    results, of_one_frame = found[:-4], found[-4:]
    assert {result for _, result in results} <= {"input", "VideoError"}
    cropped = [result for _, result in results[0::4]]
    flagged = [result for _, result in results[1::4]]
    assert cropped == flagged == ["input"] * len(videos)
    assert {result for _, result in of_one_frame} == {"VideoError"}


def test_damaged_videos_are_prepared_as_far_as_they_go_or_refused(tmp_path, face):
    whole = {
        "mp4": encode(tmp_path / "whole.mp4", face).read_bytes(),
        "webm": encode(tmp_path / "whole.webm", face, "libvpx-vp9").read_bytes(),
        "avi": encode(tmp_path / "whole.avi", face, "mjpeg", "yuvj420p").read_bytes(),
        "mkv": encode(tmp_path / "whole.mkv", face, "ffv1", "bgr0").read_bytes(),
    }
    rng = np.random.default_rng(0)
    videos = []
    for kind, data in whole.items():
        for number in range(10):
            spoilt = bytearray(data)
            if number % 3 == 0:
                del spoilt[int(rng.integers(len(data))) :]
            else:  # a few bytes or many, anywhere or in the header
                places = len(data) if number % 3 == 1 else 600
                for place in rng.integers(0, places, int(rng.choice([3, 30, 300]))):
                    spoilt[place] = rng.integers(256)
            videos.append(tmp_path / f"{number}.{kind}")
            videos[-1].write_bytes(spoilt)
    results = {result for _, result in prepare_each(videos, seconds=400)}
    assert results == {"input", "VideoError"}


# --- what refers to something else ---

REFERRING = {  # what of FFmpeg reads other files, opens sockets or devices, or makes pictures of text
    *("concat", "concatf", "dash", "hls", "imf", "image2", "mlv", "vobsub", "webm_dash_manifest", "ism"),
    *("rtp", "rtsp", "sap", "sdp", "msnwctcp", "data", "tty", "bin", "xbin", "adf", "idf", "lavfi", "live_flv"),
    *("alsa", "oss", "fbdev", "kmsgrab", "x11grab", "video4linux2", "v4l2", "avfoundation", "dshow", "gdigrab"),
}
SCRIPTS = {
    "concat": b"ffconcat version 1.0\nfile 'secret0.png'\nfile 'secret1.png'\n",
    "hls": b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.ts\n#EXT-X-ENDLIST\n",
    "sdp": b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=video {port} RTP/AVP 96\r\n"
    b"a=rtpmap:96 H264/90000\r\n",
    "rtsp": b"[Reference]\r\nRef1=http://127.0.0.1:{port}/a.asf\r\n",
    "dash": b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period><AdaptationSet><Representation>'
    b"<BaseURL>http://127.0.0.1:{port}/a.mp4</BaseURL></Representation></AdaptationSet></Period></MPD>",
    "asx": b'<asx version="3.0"><entry><ref href="http://127.0.0.1:{port}/a.avi"/></entry></asx>',
    "vobsub": b"# VobSub index file, v7 (do not modify this line!)\nid: en, index: 0\n"
    b"timestamp: 00:00:01:000, filepos: 000000000\n",
    "mlv": b"MLVI" + struct.pack("<I", 52) + b"v2.0" + bytes(240),
    "svg_pipe": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><image href="secret0.png"/></svg>',
    "ffmetadata": b";FFMETADATA1\ntitle=x\n",
    "webvtt": b"WEBVTT\n\n00:00.000 --> 00:01.000\nx\n",
    "tty": b"\x1b[2J\x1b[1;1Hhello\x1b[0m\r\n" * 200,
}


def test_no_container_that_is_read_refers_to_something_else():
    assert set(CONTAINERS) <= av.formats_available
    assert not set(CONTAINERS) & REFERRING
    assert {"concat", "hls", "sdp", "image2", "vobsub", "mlv", "tty"} <= av.formats_available & REFERRING


def test_ffmpeg_alone_reads_other_files_for_a_script(tmp_path, monkeypatch):
    """What the next test is about: without it, the script below is a video of two secrets."""
    monkeypatch.chdir(tmp_path)
    for index in range(2):
        Image.fromarray(np.full((16, 16, 3), 200, np.uint8)).save(f"secret{index}.png")
    with av.open(io.BytesIO(SCRIPTS["concat"])) as container:
        assert len(list(container.decode(video=0))) == 2
    for name in ("mlv", "svg_pipe", "ffmetadata", "webvtt"):
        with av.open(io.BytesIO(SCRIPTS[name])) as container:
            assert container.format.name == name


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize("suffix", [None, ".mp4", ".txt", ".m3u8", ".sdp", ".idx", ".ffconcat"])
def test_a_script_reads_no_file_and_opens_no_socket(tmp_path, monkeypatch, name, suffix):
    monkeypatch.chdir(tmp_path)
    for index in range(2):
        Image.fromarray(np.full((16, 16, 3), 200, np.uint8)).save(f"secret{index}.png")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        data = SCRIPTS[name].replace(b"{port}", str(server.getsockname()[1]).encode())
        source = data
        if suffix is not None:
            source = tmp_path / f"clip{suffix}"
            source.write_bytes(data)
        with pytest.raises(VideoError):
            load_video(source)
        with pytest.raises(TimeoutError):
            server.accept()


def test_a_movie_that_names_another_file_shows_its_own_frames_or_is_refused(tmp_path, face):
    """The data reference of ISO 14496-12, 8.7.2: with an address in it, and without the flag of the file itself."""
    data = encode(tmp_path / "a.mp4", face[:4]).read_bytes()
    at = data.index(b"url \x00\x00\x00\x01")
    elsewhere = data[: at + 4] + bytes(4) + data[at + 8 :]
    (tmp_path / "a.mp4").write_bytes(elsewhere)
    for source in (elsewhere, tmp_path / "a.mp4"):
        try:
            video = load_video(source)
        except VideoError:
            continue
        assert len(video.frames) == 4  # of the file itself
