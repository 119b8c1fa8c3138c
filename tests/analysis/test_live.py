"""Live: events as they happen, fewer frames where there is no time, and no frame kept unless that is wished."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from mer_hf.analysis.live import Live, LiveError, open_source
from mer_hf.commands import main
from mer_hf.rcn.decoding_rcn import VideoError, load_video

FRAME = np.zeros((4, 4), np.uint8)


def paced(count, rate):
    begun = time.monotonic()
    for index in range(count):
        time.sleep(max(begun + index / rate - time.monotonic(), 0))
        yield FRAME, index / rate


def test_who_is_fast_enough_sees_every_frame():
    said = []
    live = Live(paced(40, 200), said.append)
    assert [round(200 * seconds) for _, seconds in live] == list(range(40))
    assert (live.taken, live.dropped, live.step, said) == (40, 0, 1, [])


def test_who_is_too_slow_sees_fewer_frames_and_never_old_ones():
    said, late = [], []
    live = Live(paced(150, 100), said.append)
    for _, seconds in live:
        late.append(time.monotonic() - live.begun - seconds)
        time.sleep(0.025)  # 40 a second of 100
    assert live.step >= 2 and live.taken + live.dropped <= 150 and live.dropped > 30
    assert said and said[0].startswith("this machine is too slow for all frames; from here on every second")
    assert max(late) < 0.8  # half a second waits at most, and some for a busy machine


def test_stop_ends_it_and_errors_of_the_source_arrive():
    live = Live(paced(10_000, 500), print)
    seen = 0
    for _ in live:
        seen += 1
        if seen == 5:
            live.stop()
    assert 5 <= seen < 500

    def breaks():
        yield FRAME, 0.0
        raise VideoError("the cable is out")

    with pytest.raises(VideoError, match="the cable is out"):
        list(Live(breaks(), print))


def test_a_file_is_played_at_its_pace(tmp_path, scene, encoded):
    path = encoded(tmp_path / "a.mp4", [scene(shake=index) for index in range(12)])
    begun = time.monotonic()
    times = [seconds for _, seconds in open_source(str(path))]
    assert len(times) == 12 and times[-1] == pytest.approx(11 / 25) and time.monotonic() - begun >= 11 / 25


@pytest.mark.parametrize(
    ("name", "said"),
    [("file:///etc/passwd", "is no address that is read"), ("97", "the camera 97 cannot be opened")],
)
def test_what_cannot_be_opened_is_said(name, said):
    with pytest.raises(LiveError, match=said):
        next(open_source(name))


@pytest.fixture(scope="module")
def video(tmp_path_factory, scene, encoded):
    frames = [scene((40, 160), shake=index) for index in range(60)]
    return str(encoded(tmp_path_factory.mktemp("live") / "face.mp4", frames))


def test_events_are_lines_of_json_and_the_end_says_how_late_they_were(video, network, capsys, tmp_path):
    assert main(["watch", video, "--model", network, "--save-clips", str(tmp_path / "clips")]) == 0
    said = capsys.readouterr()
    events = [event for line in said.out.splitlines() if (event := json.loads(line))["kind"] != "unwatched"]
    assert events and all({"start", "apex", "end", "label", "face"} <= set(event) for event in events)
    assert f"{len(events)} events, told " in said.err and "s after their end" in said.err
    clips = sorted((tmp_path / "clips").iterdir())
    assert [clip.name for clip in clips] == [f"event-{number:04}.mp4" for number in range(1, len(events) + 1)]
    for clip, event in zip(clips, events, strict=True):
        saved = load_video(clip)
        assert saved.frames.shape[1:3] == (256, 256)
        assert saved.times[-1] == pytest.approx(event["end"] - event["start"], abs=0.02)


def test_without_a_folder_nothing_is_kept(video, network, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["watch", video, "--model", network, "--min-score", "1"]) == 0
    assert list(tmp_path.iterdir()) == [] and "0 events" in capsys.readouterr().err


def test_without_a_window_system_the_way_to_one_is_said(video, network, capsys):
    assert main(["watch", video, "--model", network, "--window"]) == 2
    assert "opencv-python in the place of opencv-python-headless" in capsys.readouterr().err


@pytest.mark.slow
def test_ctrl_c_ends_it_in_order(tmp_path, network, scene, encoded):
    path = encoded(tmp_path / "long.mp4", [scene((40, 160), shake=index) for index in range(30)] * 20)
    code = "import sys; from mer_hf.commands import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "watch", str(path), "--model", network]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    killer = threading.Timer(120, process.kill)
    killer.start()
    first = process.stdout.readline()  # flushed while it goes on
    assert json.loads(first) and process.poll() is None
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    killer.cancel()
    assert process.returncode == 0 and "frames watched" in said and "Traceback" not in said
