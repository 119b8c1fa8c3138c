"""A page that classifies the micro-expression in a clip, and finds those of a long video: the Gradio app of the Space.

    pip install -e ".[space]" && python hub_cards/space/app.py
    MER_HF_MODEL=user/name python hub_cards/space/app.py  # not the model in the package: one of the Hub, or a folder

a clip and its seconds -> part -> examine, classify -> analyse -> labels, action units, problems, pictures
a long video -> find -> the page of `mer-hf analyze`
"""

import base64
import html
import os
from itertools import takewhile
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from matplotlib.figure import Figure
from transformers import pipeline

from mer_hf.action_units import ACTION_UNITS
from mer_hf.analysis.page import page as page_of
from mer_hf.analysis.results import load_spotter
from mer_hf.analysis.watching import Options, watch
from mer_hf.inspection import draw_curve, draw_flow, draw_picture, examine
from mer_hf.rcn.configuration_rcn import rule_of_confidence
from mer_hf.rcn.decoding_rcn import Video, VideoError, stream_video
from mer_hf.rcn.pipeline_rcn import TASK

MODEL = os.environ.get("MER_HF_MODEL")
MOVED = 0.5  # the probability from which an action unit counts as moved, says the same card
BRIEF = 1.0  # seconds; twice as long as a micro-expression takes
LONGEST = 4.0  # seconds of a part, which is held in memory; overt expressions take no longer
LONGEST_VIDEO = 600.0  # seconds that are watched for events; about a third of it is the time that this takes

classify = pipeline(TASK, model=MODEL, device="cpu")
spot = load_spotter(device="cpu")
CONFIG = classify.model.config
KNOWS_UNITS = bool(CONFIG.action_units)
RULE = "" if CONFIG.abstain_below is None else rule_of_confidence(CONFIG.abstain_below, CONFIG.abstain_because)

TEXT = f"""
# Micro-expressions in a video

A micro-expression is an involuntary movement of the face by a pixel or two, over in half a second. Upload or record a
video of one face that looks into the camera, say from which second to which the expression lasts, and see which class
the motion is put into. Or have the moments of a longer video found: what moved, when, and in whose face.

**This is no lie detector.** A micro-expression is no proof of a feeling, let alone of a lie. Do not judge people by it,
in hiring, policing, teaching or care, and analyse people only with their consent.

- **A clip must be cut to the expression**, from a face at rest to a face at rest. In a longer video it is some other
  movement, a blink or a word, that is classified: have its moments found instead, of {LONGEST_VIDEO / 60:g} minutes at
  most. Many are missed, and some that are found are none.
- Browsers record 30 frames a second and compress them. That leaves at most 15 of a micro-expression, where the corpora
  of the field have up to a hundred.
- A face that does not move has no class, and gets scores all the same. {RULE}
- The corpora of the field are small and recorded in laboratories. Scores do not carry over to other people, cameras or
  situations.
- **Nothing is kept.** The video is deleted from the server within twenty minutes, and passed on to nobody.

**The model** is {f"`{MODEL}`" if MODEL else "the one in the package mer_hf"}. {CONFIG.trained_on or ""}
"""


def part(data: bytes, start: float, end: float) -> bytes | Video:
    """The part of a video file from `start` to `end` in seconds, 0 for its end; no more than `LONGEST` of it."""
    is_whole = not start and not end
    end = end or float("inf")
    if end <= start:
        raise VideoError(f"the clip cannot end at {end:g} s, for it starts at {start:g} s")
    frames, times = [], []
    for frame, time in takewhile(lambda item: item[1] <= end, stream_video(data)):
        if time > start + LONGEST:
            raise VideoError(f"the clip is longer than {LONGEST:g} s; choose the seconds of a single expression")
        if time >= start:
            frames.append(frame)
            times.append(time)
    if not frames:
        raise VideoError(f"the video has no frame from {start:g} s on")
    return data if is_whole else Video(np.stack(frames), np.array(times) - times[0])


def drawn(draw: Any, size: tuple[float, float], *what: Any) -> Figure:
    """What a function of `mer_hf.inspection` draws, on a figure of its own; size in inches."""
    figure = Figure(size, dpi=200, layout="constrained")
    draw(figure.subplots(), *what)
    return figure


def analyse(path: str | None, start: float | None, end: float | None, is_cropped: bool) -> list[Any]:
    """A video file and the choices of the page -> its results, in their order."""
    options = {"face_problems": "flag"} | ({"align": "none"} if is_cropped else {})
    try:
        if not Path(path or "").is_file():
            raise VideoError("there is no video, or no longer; upload or record one")
        clip = part(Path(path).read_bytes(), start or 0.0, end or 0.0)
        seen = examine(clip, classify.video_processor.with_options(**options))
        problems = tuple(seen.clip.face.problems)
        if problems and seen.clip.face.face is None:
            raise VideoError(problems[0])  # what is there to classify has no face
        answer = classify(clip, return_action_units=KNOWS_UNITS, **options)
    except ValueError as error:  # VideoError, FaceError, and options that do not suit the clip
        raise gr.Error(html.escape(str(error)), duration=None, print_exception=False) from None
    problems += tuple(text for text in answer[0].get("problems", ()) if text not in problems)
    seconds = (len(seen.curve) - 1) / seen.clip.fps
    if seconds > BRIEF:
        problems += (f"the clip lasts {seconds:.1f} s, and a micro-expression at most half of one; cut it",)
    units = {name: p for name, p in answer[0].get("action_units", {}).items() if p >= MOVED}
    return [
        gr.Column(visible=True),
        {item["label"]: item["score"] for item in answer},
        {f"{name} {ACTION_UNITS[int(name[2:])].name}": p for name, p in units.items()} or "none",
        "\n".join(f"- **Beware**: {problem}" for problem in problems) or "Nothing is wrong with the clip.",
        drawn(draw_curve, (5.6, 1.9), seen),
        drawn(draw_picture, (3, 3.2), seen.clip.frames[0], "face at the onset, aligned"),
        drawn(draw_picture, (3, 3.2), seen.clip.frames[seen.apex], "face at the apex, aligned"),
        drawn(draw_flow, (3, 3.2), seen),
    ]


def find(path: str | None) -> gr.HTML:
    """A video file -> the page of its events, in a frame that may load nothing."""
    try:
        if not Path(path or "").is_file():
            raise VideoError("there is no video, or no longer; upload or record one")
        watched = watch(str(path), spot, Options(end=LONGEST_VIDEO))
    except ValueError as error:
        said = str(error).replace(str(path), "the video")
        raise gr.Error(html.escape(said), duration=None, print_exception=False) from None
    # not srcdoc, whose links to its own parts lead to the page around it
    shown = base64.b64encode(page_of("Events", watched).encode()).decode()
    address = f"data:text/html;charset=utf-8;base64,{shown}"
    return gr.HTML(f'<iframe src="{address}" sandbox="" title="events" class="events"></iframe>', visible=True)


CAMERA = gr.WebcamOptions(mirror=False, constraints={"video": {"frameRate": {"ideal": 60}}, "audio": False})
THEME = gr.themes.Soft(font=("system-ui", "sans-serif"), font_mono=("monospace",))  # others are fetched from the web
STYLE = """
video {max-height: 24rem}
iframe.events {width: 100%; height: 60rem; border: 0}
button[aria-label="Trim video to selection"] {display: none}  /* fetches its program from the web */
"""

with gr.Blocks(title="Micro-expressions", analytics_enabled=False, delete_cache=(600, 600)) as page:
    with gr.Row():
        with gr.Column():
            gr.Markdown(TEXT)
        with gr.Column():
            video = gr.Video(label="Video", webcam_options=CAMERA)
            with gr.Row():
                start = gr.Number(0, label="From (seconds)", minimum=0, step=0.01, min_width=120)
                end = gr.Number(0, label="To (0: the end)", minimum=0, step=0.01, min_width=120)
            is_cropped = gr.Checkbox(label="The video is cropped to a face already (align='none')")
            with gr.Row():
                button = gr.Button("Classify", variant="primary")
                finder = gr.Button("Find the moments")
    with gr.Column(visible=False) as results:
        with gr.Row():
            labels = gr.Label(label="Class of the motion", min_width=300)
            units = gr.Label(label="Action units that moved", show_heading=False, min_width=300, visible=KNOWS_UNITS)
        problems = gr.Markdown()
        timeline = gr.Plot(show_label=False)
        with gr.Row():
            onset, apex, flow = (gr.Plot(show_label=False, min_width=220) for _ in range(3))

    events = gr.HTML(visible=False)

    def hidden() -> list[Any]:
        """No results, of a clip or of a long video."""
        return [gr.Column(visible=False), gr.HTML("", visible=False)]

    video.change(hidden, outputs=[results, events])
    finder.click(hidden, outputs=[results, events]).then(find, inputs=video, outputs=events, show_progress_on=finder)
    button.click(hidden, outputs=[results, events]).then(
        analyse,
        inputs=[video, start, end, is_cropped],
        outputs=[results, labels, units, problems, timeline, onset, apex, flow],
        show_progress_on=button,
    )

if __name__ == "__main__":
    page.launch(theme=THEME, css=STYLE, max_file_size="100mb", run_history=False, footer_links=[])
