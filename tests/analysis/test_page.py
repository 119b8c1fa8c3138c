"""The page of a video: whole, without network or script, and in a browser a face to look at for every event."""

from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from browsing import open_browser, show
from mer_hf.analysis.page import LIMITS, page
from mer_hf.analysis.pictures import event_pictures
from mer_hf.analysis.watching import Watched

VOID = {"meta", "link", "img", "br"}


class Reader(HTMLParser):
    """Elements of a page with their attributes and text; unclosed ones are an error."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.text = [], [], ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def event(start, end, face=0, **more):
    frames = {"start_frame": int(25 * start), "apex_frame": int(25 * start) + 3, "end_frame": int(25 * end)}
    told = {"label": "negative", "label_score": 0.91, "action_units": {"AU4": 0.9}, "flags": [], "parts": ["upper"]}
    return (
        {"start": start, "apex": start + 0.12, "end": end, "score": 0.95, "kind": "micro", "face": face}
        | frames
        | told
        | more
    )


def span(kind, start, end, face=0, reason=""):
    return {"face": face, "start": start, "end": end, "kind": kind, "reason": reason}


@pytest.fixture(scope="module")
def pictures(portrait):
    crops = np.stack([np.roll(portrait[:144, :144], index // 2, axis=0) for index in range(9)])
    return event_pictures(crops, np.arange(9) / 25 + 12.4, 12.56)


@pytest.fixture(scope="module")
def watched(pictures):
    events = [event(12.4, 12.72), event(300.0, 300.4, 1, kind="macro", flags=["speech"]), event(598.0, 598.3, 1)]
    spans = [
        span("blink", 20.0, 20.3),
        span("speech", 290.0, 310.0, 1),
        span("unwatched", 100.0, 160.0, None, "no face is seen"),
    ]
    return Watched(600.0, 15000, events, spans, ["the file ends early"], [pictures, pictures, None])


@pytest.fixture(scope="module")
def text(watched):
    return page("Gespräch <1>.mp4", watched)


def test_the_page_needs_nothing_else(text):
    read = Reader(text)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in read.elements}
    addresses = [value for _, given in read.elements for name, value in given.items() if name in ("src", "href")]
    assert addresses and all(address.startswith(("data:image/jpeg;base64,", "#event-")) for address in addresses)
    assert "url(http" not in text and "@import" not in text
    (policy,) = [given["content"] for tag, given in read.elements if tag == "meta" and "http-equiv" in given]
    assert policy.startswith("default-src 'none'")


def test_every_event_is_on_the_line_of_time_at_its_place(text):
    read = Reader(text)
    marks = [given for tag, given in read.elements if tag == "a" and given.get("class") in ("micro", "macro")]
    assert [given["href"] for given in marks] == ["#event-1", "#event-2", "#event-3"]
    assert [given["style"].split(";")[0] for given in marks] == ["left:2.067%", "left:50.000%", "left:99.667%"]
    ids = {given.get("id") for tag, given in read.elements if tag == "section"}
    assert ids == {"event-1", "event-2", "event-3"}
    for kind in ("blink", "speech", "unwatched"):
        assert any(given.get("class") == kind and "style" in given for tag, given in read.elements if tag == "span")


def test_it_says_what_it_is_not_and_what_could_not_be_judged(text):
    said = Reader(text).text
    assert "no proof of a feeling, let alone of a lie" in said and "lie detector" in said
    assert "no face is seen" in said and "the file ends early" in said
    assert "could not be judged for 1:00.00 in all" in said
    assert "AU4 brow lowerer (0.90)" in said and "No pictures are kept" in said


def test_its_words_are_those_of_the_limits_in_the_front_page():
    readme = " ".join((Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8").split())
    assert LIMITS in readme


def test_names_and_reasons_from_outside_are_escaped():
    hostile = "<img src=x onerror=alert(1)>\"'"
    spans = [span("unwatched", 0.0, 1.0, None, hostile)]
    text = page(hostile, Watched(2.0, 50, [event(0.2, 0.5, label=hostile, flags=[hostile])], spans, [hostile], [None]))
    assert "<img" not in text and not [1 for tag, given in Reader(text).elements if "onerror" in given]


def test_a_video_without_events_says_so():
    said = Reader(page("a.mp4", Watched(2.0, 50))).text
    assert "No event was found." in said and "All of the faces could be" in said


# --- in a browser ---


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with open_browser(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 400])
def test_a_click_on_an_event_shows_the_face_in_motion(browser, text, tmp_path, width):
    show(browser, tmp_path / "page.html", text, width)

    def shown():
        script = "return [...document.querySelectorAll('.event')].filter(e => e.checkVisibility()).map(e => e.id)"
        return browser.execute_script(script)

    assert shown() == []
    for number, mark in enumerate(browser.find_elements("css selector", ".track a"), start=1):
        assert min(mark.size["width"], mark.size["height"]) >= 7  # can be hit
        mark.click()
        assert shown() == [f"event-{number}"]
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    browser.find_elements("css selector", ".track a")[0].click()
    films = browser.find_elements("css selector", "#event-1 .film")
    assert [film.size for film in films] == [{"width": 144, "height": 144}] * 2
    places = "return [...document.querySelectorAll('#event-1 .film')].map(e => getComputedStyle(e).backgroundPosition)"
    at = set()
    for _ in range(200):
        at.add(tuple(browser.execute_script(places)))
        if len(at) > 3:
            break
    assert len(at) > 3  # it moves, in steps of one picture
    assert {float(place.split("px")[0]) % 144 for pair in at for place in pair} == {0}
    assert {pair[1].split()[1] for pair in at} == {"-144px"}
    film = browser.execute_script("return getComputedStyle(document.querySelector('#event-1 .film')).backgroundImage")
    script = "const i = new Image(); i.src = arguments[0]; return i.decode().then(() => [i.width, i.height])"
    assert browser.execute_script(script, film[5:-2]) == [144 * 9, 288]
    assert browser.get_log("browser") == []
