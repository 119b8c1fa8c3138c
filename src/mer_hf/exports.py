"""What was found in a video, for the tools in which people annotate and count; the standard library only.

spans with their tiers -> one of FORMATS -> the text of a file: UTF-8, whatever is in names and labels

ELAN (.eaf, schema 3.0), Praat (.TextGrid, long text format), subtitles (.srt, .vtt), BORIS (events to paste: time,
subject, code, modifier, comment), INTERACT (Level, start time, Offset, Memo, then classes) and Label Studio (a task and
its predictions).
"""

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path, PurePath

LABEL_STUDIO_NAMES = ("timeline", "video")
"""Of the TimelineLabels and of the Video in the labelling configuration."""


@dataclass(frozen=True)
class Span:
    """Something that lasts for a while.

    Attributes:
        subject: whom it is of, such as "face 0"; empty where it is of nobody.
        code: what it is, such as "micro".
        start, end: seconds.
        text: more about it, such as a label; may be empty.
        frames: first and last frame, from 0, of an event; None of what is only known about a time, such as speech.
    """

    subject: str
    code: str
    start: float
    end: float
    text: str = ""
    frames: tuple[int, int] | None = None

    @property
    def caption(self) -> str:
        """What it is, and more about it, on one line."""
        return " ".join(part for part in (self.code, *self.text.split()) if part)


def tiers(spans: Sequence[Span]) -> dict[str, list[Span]]:
    """Spans by tier, a tier for each subject and code; what overlaps in time gets a further one: "face 0 micro (2)"."""
    named: dict[str, list[Span]] = {}
    for span in sorted(spans, key=lambda span: (span.subject, span.code, span.start, span.end)):
        name = f"{span.subject} {span.code}".strip()
        place, number = name, 1
        while place in named and named[place][-1].end > span.start:
            number += 1
            place = f"{name} ({number})"
        named.setdefault(place, []).append(span)
    return named


def elan(spans: Sequence[Span], video: str | Path, seconds: float) -> str:
    """An annotation document of ELAN that names the video next to it, times in milliseconds."""
    del seconds
    document = ElementTree.Element(
        "ANNOTATION_DOCUMENT",
        {
            "AUTHOR": "mer_hf",
            "DATE": "1970-01-01T00:00:00+00:00",  # the same events make the same file
            "FORMAT": "3.0",
            "VERSION": "3.0",
            "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
            "xsi:noNamespaceSchemaLocation": "http://www.mpi.nl/tools/elan/EAFv3.0.xsd",
        },
    )
    header = ElementTree.SubElement(document, "HEADER", {"MEDIA_FILE": "", "TIME_UNITS": "milliseconds"})
    address = Path(video).resolve().as_uri()
    media = {"MEDIA_URL": address, "MIME_TYPE": _mime(address), "RELATIVE_MEDIA_URL": ""}
    ElementTree.SubElement(header, "MEDIA_DESCRIPTOR", media)
    order = ElementTree.SubElement(document, "TIME_ORDER")
    slots = count = 0
    for name, members in tiers(spans).items():
        tier = ElementTree.SubElement(document, "TIER", {"LINGUISTIC_TYPE_REF": "default-lt", "TIER_ID": name})
        for span in members:
            start = round(1000 * span.start)
            end = max(round(1000 * span.end), start + 1)  # an annotation lasts
            for slot, value in ((slots + 1, start), (slots + 2, end)):
                time = {"TIME_SLOT_ID": f"ts{slot}", "TIME_VALUE": str(value)}
                ElementTree.SubElement(order, "TIME_SLOT", time)
            count += 1
            annotation = ElementTree.SubElement(ElementTree.SubElement(tier, "ANNOTATION"), "ALIGNABLE_ANNOTATION")
            annotation.set("ANNOTATION_ID", f"a{count}")
            annotation.set("TIME_SLOT_REF1", f"ts{slots + 1}")
            annotation.set("TIME_SLOT_REF2", f"ts{slots + 2}")
            ElementTree.SubElement(annotation, "ANNOTATION_VALUE").text = _printable(span.caption)
            slots += 2
    kind = {"GRAPHIC_REFERENCES": "false", "LINGUISTIC_TYPE_ID": "default-lt", "TIME_ALIGNABLE": "true"}
    ElementTree.SubElement(document, "LINGUISTIC_TYPE", kind)
    ElementTree.indent(document)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(document, encoding="unicode")}\n'


def praat(spans: Sequence[Span], video: str | Path, seconds: float) -> str:
    """A TextGrid of Praat: an interval tier for each of `tiers`, empty intervals between."""
    del video
    seconds = max(seconds, *(span.end for span in spans), 0.001) if spans else max(seconds, 0.001)
    named = tiers(spans)
    head = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {seconds:.6f}"]
    lines = [*head, "tiers? <exists>", f"size = {max(len(named), 1)}", "item []:"]
    for number, (name, members) in enumerate((named or {"events": []}).items(), start=1):
        intervals, reached = [], 0.0
        for span in members:
            end = min(max(span.end, span.start + 0.001), seconds)
            if span.start > reached:
                intervals.append((reached, span.start, ""))
            intervals.append((max(span.start, reached), end, span.caption))
            reached = end
        if reached < seconds:
            intervals.append((reached, seconds, ""))
        lines += [f"    item [{number}]:", '        class = "IntervalTier"', f"        name = {_quoted(name)}"]
        lines += ["        xmin = 0", f"        xmax = {seconds:.6f}", f"        intervals: size = {len(intervals)}"]
        for place, (start, end, text) in enumerate(intervals, start=1):
            lines += [
                f"        intervals [{place}]:",
                f"            xmin = {start:.6f}",
                f"            xmax = {end:.6f}",
            ]
            lines.append(f"            text = {_quoted(text)}")
    return "\n".join(lines) + "\n"


def srt(spans: Sequence[Span], video: str | Path, seconds: float) -> str:
    """Subtitles of the events, SubRip."""
    del video, seconds
    cues = [
        f"{number}\n{_clock(span.start, ',')} --> {_clock(_seen_end(span), ',')}\n{_subtitle(span)}\n"
        for number, span in enumerate(_events(spans), start=1)
    ]
    return "\n".join(cues)


def vtt(spans: Sequence[Span], video: str | Path, seconds: float) -> str:
    """Subtitles of the events, WebVTT."""
    del video, seconds
    cues = [
        f"{_clock(span.start)} --> {_clock(_seen_end(span))}\n{escape(_subtitle(span), quote=False)}\n"
        for span in _events(spans)
    ]
    return "\n".join(["WEBVTT\n", *cues])


def boris(spans: Sequence[Span], video: str | Path, seconds: float) -> str:
    """Events to paste into an observation of BORIS, tab-separated: time, subject, code, modifier, comment.

    A state event has two rows, its start and its end; the codes are to be in the ethogram, as state events.
    """
    del video, seconds
    rows = [
        (time, place, (f"{time:.3f}", span.subject, span.code, "", span.text if place == 1 else ""))
        for span in spans
        for time, place in ((span.start, 1), (max(span.end, span.start + 0.001), 0))
    ]
    return _rows([row for _, _, row in sorted(rows)])


def interact(spans: Sequence[Span], video: str | Path, seconds: float) -> str:
    """A table to paste into Mangold INTERACT: Level 3, an event, times as hh:mm:ss.milliseconds; then classes."""
    del video, seconds
    rows = [
        ("3", _clock(span.start), _clock(_seen_end(span)), span.text, span.subject, span.code)
        for span in sorted(spans, key=lambda span: span.start)
    ]
    return _rows([("Level", "start time", "Offset", "Memo", "Subject", "Code"), *rows])


def label_studio(spans: Sequence[Span], video: str | Path, seconds: float) -> str:
    """A list of one task of Label Studio with predictions: TimelineLabels over frames, which count from 1 there."""
    del seconds
    control, shown = LABEL_STUDIO_NAMES
    result = [
        {
            "id": f"event-{number}",
            "from_name": control,
            "to_name": shown,
            "type": "timelinelabels",
            "value": {
                "ranges": [{"start": span.frames[0] + 1, "end": span.frames[1] + 1}],
                "timelinelabels": [span.code],
            },
            "meta": {"text": [span.caption, span.subject]},
        }
        for number, span in enumerate(_events(spans))
        if span.frames is not None
    ]
    task = {"data": {"video": str(video)}, "predictions": [{"model_version": "mer_hf", "result": result}]}
    return json.dumps([task], indent=1, ensure_ascii=False) + "\n"


Writer = Callable[[Sequence[Span], str | Path, float], str]
FORMATS: dict[str, tuple[str, Writer]] = {
    "eaf": (".eaf", elan),
    "textgrid": (".TextGrid", praat),
    "srt": (".srt", srt),
    "vtt": (".vtt", vtt),
    "boris": (".boris.tsv", boris),
    "interact": (".interact.txt", interact),
    "label-studio": (".label-studio.json", label_studio),
}
"""Name -> the end of a file's name, and who writes it: spans, the video, its length in seconds -> text."""


def _events(spans: Sequence[Span]) -> list[Span]:
    return sorted((span for span in spans if span.frames is not None), key=lambda span: span.start)


def _seen_end(span: Span) -> float:
    """The end of a span that lasts for a millisecond at least."""
    return max(span.end, span.start + 0.001)


def _subtitle(span: Span) -> str:
    return _printable(f"{span.subject}: {span.caption}" if span.subject else span.caption).replace("-->", "->")


def _clock(seconds: float, mark: str = ".") -> str:
    total = round(1000 * seconds)
    rest, milliseconds = divmod(total, 1000)
    return f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}{mark}{milliseconds:03}"


def _rows(rows: Sequence[tuple[str, ...]]) -> str:
    return "".join("\t".join(" ".join(cell.split()) for cell in row) + "\n" for row in rows)


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _printable(text: str) -> str:
    """Without what XML 1.0 cannot hold."""
    return "".join(letter for letter in text if letter >= " " and letter not in "\ufffe\uffff")


def _mime(address: str) -> str:
    kinds = {".mp4": "video/mp4", ".mov": "video/quicktime", ".mpg": "video/mpeg", ".mpeg": "video/mpeg"}
    return kinds.get(PurePath(address).suffix.lower(), "video/*")


__all__ = ["FORMATS", "LABEL_STUDIO_NAMES", "Span", "tiers"]
