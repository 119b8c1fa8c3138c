"""The app of the Space in a browser, and the card and requirements that it is built from."""

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import av
import numpy as np
import pytest
import yaml
from transformers import pipeline

import mer_hf
from browsing import open_browser
from mer_hf.analysis.results import load_spotter
from mer_hf.analysis.watching import Options, watch
from mer_hf.drawn.embedded import write_example
from mer_hf.drawn.videos import RenderedVideo
from mer_hf.rcn.decoding_rcn import Video, load_video
from mer_hf.rcn.faces_rcn import FaceError
from mer_hf.rcn.pipeline_rcn import TASK

SPACE = Path(__file__).parents[2] / "hub_cards" / "space"
LOCAL_ONLY = "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
WAIT = 30  # seconds, on a busy machine


def written(path, frames, fps):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "10"})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    write_example(folder / "smile.mp4")
    noise = np.random.default_rng(0).integers(0, 256, (6, 64, 64, 3), np.uint8)
    written(folder / "nobody.mp4", noise, 30)
    written(folder / "slow.mp4", load_video(folder / "smile.mp4").frames, 10)
    (folder / "text.mp4").write_text("no video at all")
    return folder


@pytest.fixture(scope="module")
def classify():
    return pipeline(TASK, device="cpu")


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    """The address of the running app; after it, that the uploads are gone."""
    if importlib.util.find_spec("gradio") is None:
        pytest.skip('the app needs Gradio: pip install -e ".[space]"')
    uploads = tmp_path_factory.mktemp("uploads")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {"GRADIO_SERVER_PORT": str(port), "GRADIO_TEMP_DIR": str(uploads), "HF_HUB_OFFLINE": "1"}
    log = uploads.with_suffix(".log")
    with log.open("wb") as output:
        program = (
            "import runpy, signal\n"
            "signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it\n"
            f"runpy.run_path({str(SPACE / 'app.py')!r}, run_name='__main__')\n"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", program], env={**os.environ, **settings}, stdout=output, stderr=output
        )
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for(address, process, log)
        yield address
        process.send_signal(signal.SIGINT)
        process.wait(WAIT)
    finally:
        process.kill()
        process.wait()
    assert not [path for path in uploads.rglob("*") if path.is_file()]


def wait_for(address, process, log):
    deadline = time.monotonic() + 2 * WAIT
    while True:
        try:
            urllib.request.urlopen(address, timeout=WAIT).close()
            return
        except urllib.error.URLError:
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with open_browser(tmp_path_factory.mktemp("profile"), LOCAL_ONLY) as driver:
        yield driver


class Page:
    """The app as a person uses it."""

    def __init__(self, browser, address):
        self.browser = browser
        browser.get(address)
        self.until(lambda: self.seen("button"))

    def seen(self, selector, what="element.innerText"):
        """A property of every element that a person can see."""
        script = "elements = [...document.querySelectorAll(arguments[0])].filter(element => element.checkVisibility());"
        return self.browser.execute_script(f"{script} return elements.map(element => {what})", selector)

    def until(self, condition):
        deadline = time.monotonic() + WAIT
        while not (found := condition()):
            assert time.monotonic() < deadline, self.seen("body")
            time.sleep(0.05)
        return found

    def upload(self, path):
        self.browser.find_element("css selector", "input[type=file]").send_keys(str(path))
        self.until(lambda: self.seen("[data-testid=video] [aria-label=Clear]"))

    def fill(self, label, value):
        field = self.browser.find_element("css selector", f"input[aria-label='{label}']")
        field.clear()
        field.send_keys(value)

    def classify(self):
        (button,) = self.seen("button.primary", "element")
        button.click()

    def answer(self):
        """The label, and every bar: scores and probabilities by name."""
        (label,) = self.until(lambda: self.seen("[data-testid=label-output-value]"))
        return label, dict(self.seen("meter", "[element.ariaLabel, element.value]"))

    def errors(self):
        return self.until(lambda: self.seen("[data-testid=toast-text]"))


def expected(result):
    scores = {item["label"]: item["score"] for item in result}
    return {name: pytest.approx(score, abs=1e-6) for name, score in scores.items()}


def test_a_video_has_the_label_that_the_pipeline_gives_it(browser, app, videos, classify):
    page = Page(browser, app)
    assert "no lie detector" in page.seen("body")[0]
    assert not page.seen("[data-testid=matplotlib]")
    page.upload(videos / "smile.mp4")
    page.classify()
    label, bars = page.answer()
    result = classify(videos / "smile.mp4", return_action_units=True)
    moved = {name for name, probability in result[0]["action_units"].items() if probability >= 0.5}
    assert label == result[0]["label"]
    assert expected(result).items() <= bars.items()
    assert {name.split()[0] for name in set(bars) - {item["label"] for item in result}} == moved > set()
    sizes = page.until(lambda: page.seen("[data-testid=matplotlib] img", "[element.naturalWidth, element.clientWidth]"))
    assert len(sizes) == 4
    assert np.min(sizes) > 200
    assert "Nothing is wrong with the clip." in page.seen("body")[0]
    fetched = browser.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert [name for name in fetched if not name.startswith((app, "data:", "blob:"))] == []


def test_a_part_of_a_video_is_classified_by_itself(browser, app, videos, classify):
    page = Page(browser, app)
    page.upload(videos / "smile.mp4")
    page.fill("From (seconds)", "0.05")
    page.fill("To (0: the end)", "0.2")
    page.classify()
    _, bars = page.answer()
    whole = load_video(videos / "smile.mp4")
    part = classify(Video(whole.frames[5:21], whole.times[5:21] - whole.times[5]))  # of 100 frames a second
    assert expected(part).items() <= bars.items()
    assert part[0]["score"] != pytest.approx(classify(videos / "smile.mp4")[0]["score"], abs=1e-4)


def test_a_long_clip_is_classified_with_a_warning(browser, app, videos):
    page = Page(browser, app)
    page.upload(videos / "slow.mp4")
    page.classify()
    page.answer()
    assert "Beware: the clip lasts 2.9 s" in page.seen("body")[0]


def test_a_video_without_a_face_is_refused_in_the_words_of_the_pipeline(browser, app, videos, classify):
    with pytest.raises(FaceError) as refusal:
        classify((videos / "nobody.mp4").read_bytes())  # without its name, which the page does not tell
    page = Page(browser, app)
    page.upload(videos / "nobody.mp4")
    page.classify()
    assert page.errors() == [str(refusal.value)]
    assert not page.seen("[data-testid=matplotlib]")
    assert not page.seen("[data-testid=label-output-value]")


def test_a_cropped_video_needs_no_face_to_be_found(browser, app, videos, classify):
    page = Page(browser, app)
    page.upload(videos / "nobody.mp4")
    browser.find_element("css selector", "input[type=checkbox]").click()
    page.classify()
    label, bars = page.answer()
    result = classify(videos / "nobody.mp4", align="none")
    assert label == result[0]["label"]
    assert expected(result).items() <= bars.items()


def test_the_moments_of_a_longer_video_are_found_and_shown(browser, app, videos, tmp_path):
    """Whatever is found, the page is that of the package, and a click in it shows the face."""
    video = RenderedVideo(203, 8.0, 3, seed=11, size=192)
    frames = np.stack([frame for frame, _ in video.frames()])
    watched = watch(str(written(tmp_path / "long.mp4", frames, 30)), load_spotter(device="cpu"), Options())
    assert watched.events
    page = Page(browser, app)
    page.upload(tmp_path / "long.mp4")
    (button,) = [each for each in browser.find_elements("css selector", "button") if each.text == "Find the moments"]
    button.click()
    (frame,) = page.until(lambda: browser.find_elements("css selector", "iframe.events"))
    browser.switch_to.frame(frame)
    try:
        marks = page.until(lambda: browser.find_elements("css selector", ".track a"))
        assert len(marks) == len(watched.events)
        assert "lie detector" in browser.find_element("css selector", "body").text
        marks[0].click()
        (film, _) = page.until(lambda: browser.find_elements("css selector", "#event-1 .film"))
        assert film.is_displayed()
    finally:
        browser.switch_to.default_content()


def test_a_file_that_is_no_video_is_refused_without_a_path_of_the_server(browser, app, videos):
    page = Page(browser, app)
    page.upload(videos / "text.mp4")
    (button,) = [each for each in browser.find_elements("css selector", "button") if each.text == "Find the moments"]
    button.click()
    said = page.until(lambda: [text for text in page.errors() if "cannot be decoded as a video" in text])
    assert "/" not in said[0]


@pytest.mark.parametrize(
    ("name", "start", "end", "message"),
    [
        (None, "0", "0", "there is no video"),
        ("text.mp4", "0", "0", "cannot be decoded as a video"),
        ("smile.mp4", "0.2", "0.1", "the clip cannot end at 0.1 s, for it starts at 0.2 s"),
        ("smile.mp4", "7", "0", "the video has no frame from 7 s on"),
        ("smile.mp4", "0.1", "0.105", "at least 2 frames"),
    ],
)
def test_what_cannot_be_classified_is_said(browser, app, videos, name, start, end, message):
    page = Page(browser, app)
    if name:
        page.upload(videos / name)
    page.fill("From (seconds)", start)
    page.fill("To (0: the end)", end)
    page.classify()
    said = page.until(lambda: [text for text in page.errors() if message in text])
    assert "/" not in said[0]  # no path of the server


# --- the card ---


def test_the_card_names_what_the_space_is_built_from():
    _, front, text = (SPACE / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    card = yaml.safe_load(front)
    constraints = (SPACE.parents[1] / "constraints.txt").read_text(encoding="utf-8").split()
    assert f"gradio=={card['sdk_version']}" in constraints
    assert card["sdk"] == "gradio"
    assert (SPACE / card["app_file"]).is_file()
    assert card["license"] == "apache-2.0"
    assert len(card["short_description"]) <= 60  # what the Hub takes
    assert "lie detector" in text


def test_the_requirements_name_the_wheel_of_this_version():
    (requirement,) = (
        line for line in (SPACE / "requirements.txt").read_text(encoding="utf-8").splitlines() if line[0] != "#"
    )
    assert requirement.startswith("mer-hf[space] @ https://huggingface.co/spaces/USER/")
    assert requirement.endswith(f"/mer_hf-{mer_hf.__version__}-py3-none-any.whl")
