"""What is written for the tools of annotators, read again by other people's parsers and by the tools' own rules."""

import csv
import html
import io
import itertools
import json
import xml.etree.ElementTree as ElementTree
from urllib.parse import unquote, urlparse

import pympi
import pytest
import textgrids
import webvtt

from mer_hf.exports import FORMATS, Span, tiers

VIDEO = 'Gespräch mit Jörg & "Änne" <1>.mp4'
SECONDS = 3725.5
SPANS = [
    Span("face 0", "micro", 3661.2504, 3661.5, "negative, AU4, AU9", (109837, 109845)),
    Span("face 0", "micro", 12.4, 12.83, 'überrascht "sehr" & <laut> --> ja', (372, 385)),
    Span("face 0", "micro", 12.6, 12.9, "positive", (378, 387)),  # overlaps the one before
    Span("face 1", "macro", 12.5, 14.0, "", (375, 420)),
    Span("face 0", "blink", 13.0, 13.3),
    Span("", "unwatched", 20.0, 31.0, "no face is seen"),
]
NAMES = ["face 0 blink", "face 0 micro", "face 0 micro (2)", "face 1 macro", "unwatched"]


def text_of(name, spans=SPANS):
    return FORMATS[name][1](spans, VIDEO, SECONDS)


@pytest.fixture
def written(tmp_path):
    def write(name, spans=SPANS):
        path = tmp_path / f"{VIDEO}{FORMATS[name][0]}"
        path.write_text(text_of(name, spans), encoding="utf-8")
        return path

    return write


def test_what_overlaps_gets_a_tier_of_its_own():
    named = tiers(SPANS)
    assert sorted(named) == NAMES
    assert [span.start for span in named["face 0 micro"]] == [12.4, 3661.2504]
    assert all(a.end <= b.start for members in named.values() for a, b in itertools.pairwise(members))


def test_elan_opens_with_pympi(written):
    document = pympi.Elan.Eaf(str(written("eaf")))
    assert sorted(document.get_tier_names()) == NAMES
    assert document.get_annotation_data_for_tier("face 0 micro") == [
        (12400, 12830, 'micro überrascht "sehr" & <laut> --> ja'),
        (3661250, 3661500, "micro negative, AU4, AU9"),
    ]
    assert document.get_annotation_data_for_tier("unwatched") == [(20000, 31000, "unwatched no face is seen")]
    (media,) = document.get_linked_files()
    assert unquote(urlparse(media["MEDIA_URL"]).path).endswith(f"/{VIDEO}")


def test_elan_holds_what_its_schema_asks_for():
    document = ElementTree.fromstring(text_of("eaf"))
    assert [child.tag for child in document][:2] == ["HEADER", "TIME_ORDER"]
    slots = {slot.get("TIME_SLOT_ID"): int(slot.get("TIME_VALUE")) for slot in document.iter("TIME_SLOT")}
    annotations = list(document.iter("ALIGNABLE_ANNOTATION"))
    assert len({each.get("ANNOTATION_ID") for each in annotations}) == len(SPANS) == len(slots) / 2
    for each in annotations:
        assert slots[each.get("TIME_SLOT_REF1")] < slots[each.get("TIME_SLOT_REF2")]
    kinds = {kind.get("LINGUISTIC_TYPE_ID") for kind in document.iter("LINGUISTIC_TYPE")}
    assert {tier.get("LINGUISTIC_TYPE_REF") for tier in document.iter("TIER")} <= kinds


def test_praat_opens_with_textgrids(written):
    grid = textgrids.TextGrid(str(written("textgrid")))
    assert sorted(grid) == NAMES
    assert (grid.xmin, grid.xmax) == (0, SECONDS)
    said = [(each.xmin, each.xmax, each.text) for each in grid["face 0 micro"] if each.text]
    assert said[1] == (3661.2504, 3661.5, "micro negative, AU4, AU9")
    assert said[0][:2] == (12.4, 12.83) and said[0][2].startswith("micro überrascht")


def test_a_praat_tier_has_no_gaps_and_doubles_quotes():
    text = text_of("textgrid")
    grid = textgrids.TextGrid()
    grid.parse(text.encode())
    for tier in grid.values():
        assert tier[0].xmin == 0 and tier[-1].xmax == SECONDS
        assert all(a.xmax == b.xmin and a.xmin < a.xmax for a, b in itertools.pairwise(tier))
    assert 'text = "micro überrascht ""sehr"" & <laut> --> ja"' in text


def test_subtitles_open_with_webvtt(written):
    for name, read in (("srt", webvtt.from_srt), ("vtt", webvtt.read)):
        cues = list(read(str(written(name))))
        assert [(cue.start, cue.end) for cue in cues] == [
            ("00:00:12.400", "00:00:12.830"),
            ("00:00:12.500", "00:00:14.000"),
            ("00:00:12.600", "00:00:12.900"),
            ("01:01:01.250", "01:01:01.500"),
        ]
        assert cues[3].text == "face 0: micro negative, AU4, AU9"
        assert html.unescape(cues[0].raw_text) == 'face 0: micro überrascht "sehr" & <laut> -> ja'
    # of WebVTT, what would be a mark is an entity; an arrow would end the text
    assert "&amp; &lt;laut&gt; -&gt; ja" in text_of("vtt")


def rows_of(name, spans=SPANS):
    return list(csv.reader(io.StringIO(text_of(name, spans)), delimiter="\t", quoting=csv.QUOTE_NONE))


def test_boris_rows_are_time_subject_code_modifier_comment_and_each_state_starts_and_stops():
    rows = rows_of("boris")
    assert all(len(row) == 5 for row in rows)
    times = [float(row[0]) for row in rows]
    assert times == sorted(times)
    for subject, code in {(span.subject, span.code) for span in SPANS}:
        mine = [span for span in SPANS if (span.subject, span.code) == (subject, code)]
        assert sum(row[1:3] == [subject, code] for row in rows) == 2 * len(mine)
    assert ["3661.250", "face 0", "micro", "", "negative, AU4, AU9"] in rows
    assert ["3661.500", "face 0", "micro", "", ""] in rows


def test_an_interact_table_begins_with_its_four_columns_in_their_order():
    head, *rows = rows_of("interact")
    assert head[:4] == ["Level", "start time", "Offset", "Memo"]
    assert all(len(row) == len(head) and row[0] == "3" for row in rows)
    assert ["3", "01:01:01.250", "01:01:01.500", "negative, AU4, AU9", "face 0", "micro"] in rows


def test_label_studio_takes_a_list_of_tasks_with_predictions_over_frames_from_1():
    (task,) = json.loads(text_of("label-studio"))
    assert task["data"] == {"video": VIDEO}
    (prediction,) = task["predictions"]
    assert len({region["id"] for region in prediction["result"]}) == 4
    first = prediction["result"][0]
    assert (first["type"], first["from_name"], first["to_name"]) == ("timelinelabels", "timeline", "video")
    assert first["value"] == {"ranges": [{"start": 373, "end": 386}], "timelinelabels": ["micro"]}


@pytest.mark.parametrize("name", FORMATS)
def test_a_video_without_events_makes_a_file_that_opens(name, written):
    path = written(name, [])
    opened = {"eaf": lambda: pympi.Elan.Eaf(str(path)), "textgrid": lambda: textgrids.TextGrid(str(path))}
    opened |= {"vtt": lambda: webvtt.read(str(path)), "label-studio": lambda: json.loads(path.read_text())}
    opened.get(name, path.read_text)()


@pytest.mark.parametrize("name", FORMATS)
def test_an_event_of_one_frame_lasts_for_a_moment(name, written):
    path = written(name, [Span("face 0", "micro", 2.0, 2.0, "", (50, 50))])
    if name == "eaf":
        assert pympi.Elan.Eaf(str(path)).get_annotation_data_for_tier("face 0 micro") == [(2000, 2001, "micro")]
    if name == "textgrid":
        assert [each.dur for each in textgrids.TextGrid(str(path))["face 0 micro"] if each.text] == [
            pytest.approx(0.001)
        ]
    if name in ("srt", "vtt"):
        assert path.read_text().replace(",", ".").count("00:00:02.000 --> 00:00:02.001") == 1
