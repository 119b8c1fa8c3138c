"""The page of a video: a line of time to click on, the events that were found, and what could not be judged.

Watched -> page -> NAME.html: no network, no script, no file next to it. Every text from outside is escaped.
"""

import base64
import math
from collections import Counter
from collections.abc import Sequence
from importlib.resources import files

from mer_hf.action_units import ACTION_UNITS
from mer_hf.analysis.pictures import SIDE, Pictures
from mer_hf.analysis.watching import UNWATCHED, Entry, Watched, seconds_text
from mer_hf.escaping import html

LIMITS = (
    "A micro-expression is no proof of a feeling, let alone of a lie. Do not use this as a lie detector, nor to judge "
    "people in hiring, policing, teaching or care."
)
MORE_LIMITS = (
    "What was found are movements; many are missed, and some that are listed are none. The corpora of the field are "
    "small and recorded in laboratories: scores do not carry over to other people, cameras or situations. Record and "
    "analyse people only with their consent."
)
SLOWER = 4  # than it was, a film is shown
TICKS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200)
LONGEST_TABLE = 200  # rows of spans on a page; the rest is in spans.csv


def page(name: str, watched: Watched) -> str:
    """The page.

    Args:
        name: of the video.
        watched: what was found in it, with pictures or without.

    Returns:
        HTML.
    """
    css = files("mer_hf.analysis").joinpath("page.css").read_text(encoding="utf-8")
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    head = (
        f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html(name)}</title><style>{css}</style>"
    )
    events = list(enumerate(watched.events, start=1))
    parts = [
        f"<h1>{html(name)}</h1>",
        f"<p>{_summary(watched)}</p>",
        f'<p class="limits"><strong>{html(LIMITS)}</strong> {html(MORE_LIMITS)}</p>',
        *(f'<p class="problem">{html(problem)}</p>' for problem in watched.problems),
        _timeline(watched),
        '<div class="shown">',
        *(_event(number, event, pictures) for (number, event), pictures in zip(events, watched.pictures, strict=True)),
        "</div>",
        _events_table(events),
        _spans_table([span for span in watched.spans if span["kind"] == UNWATCHED]),
        "<footer>Times are those of the file, in seconds from its first frame; frames count from 0. Made by mer_hf; "
        "nothing of the video has left this machine.</footer>",
    ]
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n' + "\n".join(parts) + "\n</body></html>\n"


def _summary(watched: Watched) -> str:
    counts = Counter(event["kind"] for event in watched.events)
    found = ", ".join(f"{count} {html(kind)}" for kind, count in sorted(counts.items(), reverse=True))
    unwatched = sum(span["end"] - span["start"] for span in watched.spans if span["kind"] == UNWATCHED)
    length = f"{watched.frames} frames, up to {seconds_text(watched.seconds)}"
    gaps = f" Faces could not be judged for {seconds_text(unwatched)} in all." if unwatched else ""
    return f"{length}. Events: {found or 'none'}.{gaps}"


# --- the line of time ---


def _timeline(watched: Watched) -> str:
    faces = {entry["face"] for entry in (*watched.events, *watched.spans)}
    lanes = [_lane(face, watched) for face in sorted(faces, key=lambda face: math.inf if face is None else face)]
    step = next((step for step in TICKS if watched.seconds / step <= 6), 3600 * math.ceil(watched.seconds / 6 / 3600))
    ticks = "".join(
        f'<span style="left:{_percent(place, watched)}">{_tick(place)}</span>'
        for place in range(0, math.floor(watched.seconds) + 1, step)
    )
    legend = "".join(
        f'<li><span class="mark {kind}"></span>{text}</li>'
        for kind, text in (
            *(("micro", "micro-expression"), ("macro", "longer expression"), ("blink", "blink"), ("speech", "speech")),
            ("unwatched", "could not be judged"),
        )
    )
    axis = f'<div class="lane"><span></span><div class="axis">{ticks}</div></div>'
    hint = "Choose an event to see the face." if watched.events else "No event was found."
    return (
        f'<h2>Time</h2><p>{hint}</p><div class="timeline">{"".join(lanes)}</div>{axis}<ul class="legend">{legend}</ul>'
    )


def _lane(face: int | None, watched: Watched) -> str:
    marks = []
    for span in watched.spans:
        if span["face"] == face:
            title = f"{span['reason'] or span['kind']}, {_period(span)}"
            marks.append(
                f'<span class="{html(span["kind"])}" title="{html(title)}" style="{_place(span, watched)}"></span>'
            )
    for number, event in enumerate(watched.events, start=1):
        if event["face"] == face:
            title = f"event {number}: {event['kind']} {event['label'] or ''}, {_period(event)}"
            marks.append(
                f'<a class="{html(event["kind"])}" href="#event-{number}" title="{html(title)}" '
                f'aria-label="{html(title)}" style="{_place(event, watched)}"></a>'
            )
    name = "no face" if face is None else f"face {face}"
    return f'<div class="lane"><span>{name}</span><div class="track">{"".join(marks)}</div></div>'


def _percent(seconds: float, watched: Watched) -> str:
    return f"{100 * seconds / max(watched.seconds, 1e-3):.3f}%"


def _place(entry: Entry, watched: Watched) -> str:
    return f"left:{_percent(entry['start'], watched)};width:{_percent(entry['end'] - entry['start'], watched)}"


def _tick(seconds: int) -> str:
    return seconds_text(seconds).removesuffix(".00")


def _period(entry: Entry) -> str:
    return f"{seconds_text(entry['start'])} to {seconds_text(entry['end'])}"


# --- events ---


def _event(number: int, event: Entry, pictures: Pictures | None) -> str:
    rows = [("time", f"{_period(event)}, frames {event['start_frame']} to {event['end_frame']}")]
    if event["apex"] is not None:
        rows.append(("apex", f"{seconds_text(event['apex'])}, frame {event['apex_frame']}"))
    rows += [("score", _number(event["score"])), ("moves in", ", ".join(event["parts"]) or "not told")]
    rows += [("class of the motion", _labelled(event)), ("action units", _units(event))]
    rows.append(("beware", "; ".join(event["flags"]) or "nothing is known to be wrong"))
    table = "".join(f"<tr><th>{html(name)}</th><td>{html(value)}</td></tr>" for name, value in rows)
    title = f"Event {number}: {event['kind']}, face {event['face']}"
    head = f'<section class="event" id="event-{number}"><h3>{html(title)}</h3>'
    return f"{head}{_film(pictures)}<table>{table}</table></section>"


def _film(pictures: Pictures | None) -> str:
    if pictures is None:
        return '<p class="faint">No pictures are kept of this video.</p>'
    lasting = max(SLOWER * pictures.seconds, 0.4)
    style = f"--film:url({_address(pictures.film)});--frames:{pictures.frames};--lasting:{lasting:.2f}s"
    windows = "".join(
        f'<figure><div class="film {kind}" role="img" aria-label="{text}"></div>'
        f"<figcaption>{text}</figcaption></figure>"
        for kind, text in (("plain", f"onset to offset, {SLOWER} times slower"), ("large", "motion magnified"))
    )
    flow = ""
    if pictures.flow is not None:
        colours = "right red, down green, left cyan, up violet"
        text = f"motion, onset to apex: {colours}; full at {pictures.largest} px"
        image = f'<img src="{_address(pictures.flow)}" alt="{text}" width="{SIDE}" height="{SIDE}">'
        flow = f"<figure>{image}<figcaption>{text}</figcaption></figure>"
    return f'<div class="pictures" style="{style}">{windows}{flow}</div>'


def _address(picture: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}"


def _number(score: float | None) -> str:
    return "" if score is None else f"{score:.2f}"


def _labelled(event: Entry) -> str:
    return "none" if event["label"] is None else f"{event['label']} ({event['label_score']:.2f})"


def _units(event: Entry) -> str:
    units = event["action_units"] or {}
    named = {unit: ACTION_UNITS.get(int(unit[2:])) for unit in units}
    said = (f"{unit} {known.name if (known := named[unit]) else ''} ({p:.2f})" for unit, p in units.items())
    return ", ".join(said) or "none"


def _events_table(events: Sequence[tuple[int, Entry]]) -> str:
    if not events:
        return ""
    names = ("", "from", "lasts", "face", "kind", "score", "class of the motion", "action units", "beware")
    rows = []
    for number, event in events:
        lasting = f"{event['end'] - event['start']:.2f}\N{NO-BREAK SPACE}s"
        cells = (seconds_text(event["start"]), lasting, event["face"], event["kind"])
        cells += (_number(event["score"]), _labelled(event), " ".join(event["action_units"] or ()))
        cells += ("; ".join(event["flags"]),)
        link = f'<td><a href="#event-{number}">{number}</a></td>'
        rows.append(f"<tr>{link}{''.join(f'<td>{html(cell)}</td>' for cell in cells)}</tr>")
    return f"<h2>Events</h2>{_table(names, rows)}"


def _spans_table(spans: Sequence[Entry]) -> str:
    if not spans:
        return "<h2>What could not be judged</h2><p>All of the faces could be, all of the time.</p>"
    rows = [
        f"<tr><td>{seconds_text(span['start'])}</td><td>{seconds_text(span['end'])}</td>"
        f"<td>{'' if span['face'] is None else span['face']}</td><td>{html(span['reason'])}</td></tr>"
        for span in spans[:LONGEST_TABLE]
    ]
    more = len(spans) - LONGEST_TABLE
    rest = f"<p>{more} more are in spans.csv.</p>" if more > 0 else ""
    return f"<h2>What could not be judged</h2>{_table(('from', 'to', 'face', 'why'), rows)}{rest}"


def _table(names: Sequence[str], rows: Sequence[str]) -> str:
    head = "".join(f"<th>{html(name)}</th>" for name in names)
    return f'<div class="wide"><table><tr>{head}</tr>{"".join(rows)}</table></div>'


__all__ = ["LIMITS", "page"]
