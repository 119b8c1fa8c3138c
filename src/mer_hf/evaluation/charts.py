"""Pictures of scores as inline SVG: they need no library, no network, and grow with the page.

counts, intervals, curves -> text that goes into a page as it is; every name in it is escaped
"""

from collections.abc import Sequence
from html import escape

from mer_hf.evaluation.confidence import Calibration, RiskCoverage

WIDTH = 360
"""Width of a picture in its units: about the pixels of a phone."""


def confusion_picture(classes: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """A confusion matrix: a row for each true class, a column for each prediction, shaded by the share of its row."""
    side, left, top = 200 / len(classes), 120, 34
    parts = [_text(left + 100, 12, "predicted", "middle", "faint")]
    for column, name in enumerate(classes):
        parts.append(_text(left + (column + 0.5) * side, top - 6, _short(name, side / 6.5), "middle", title=name))
    for row, (name, values) in enumerate(zip(classes, counts, strict=True)):
        y = top + row * side
        parts.append(_text(left - 8, y + side / 2 + 4, _short(name, 15), "end", title=name))
        for column, count in enumerate(values):
            share, x = count / max(sum(values), 1), left + column * side
            said = escape(f"{count} of {sum(values)} {name} were taken for {classes[column]}")
            tone = "on" if share > 0.7 else ""
            parts.append(
                f'<g class="cell"><title>{said}</title><rect x="{x:.1f}" y="{y:.1f}" width="{side - 2:.1f}" '
                f'height="{side - 2:.1f}" fill-opacity="{share:.3f}"/>'
            )
            parts.append(_text(x + side / 2 - 1, y + side / 2 + 1, str(count), "middle", tone))
            if side > 44:
                parts.append(_text(x + side / 2 - 1, y + side / 2 + 16, f"{share:.0%}", "middle", tone or "faint"))
            parts.append("</g>")
    return _picture("confusion matrix, true classes in rows", top + 204, parts)


def interval_picture(rows: Sequence[tuple[str, float, Sequence[float] | None]], axis: str) -> str:
    """Scores in [0, 1] as dots with their intervals, a row each.

    Args:
        rows: name, score, and [low, high] where there is an interval.
        axis: what the scores are.
    """
    left, right, step = 120, WIDTH - 44, 24
    height = step * len(rows) + 40

    def x(value: float) -> float:
        return left + value * (right - left)

    parts = _grid(left, right, 4, height - 34, axis)
    for place, (name, value, interval) in enumerate(rows):
        y = 16 + place * step
        parts.append(_text(left - 8, y + 4, _short(name, 15), "end", title=name))
        if interval is not None:
            parts.append(f'<line class="bar" x1="{x(interval[0]):.1f}" x2="{x(interval[1]):.1f}" y1="{y}" y2="{y}"/>')
        parts.append(f'<circle class="dot" cx="{x(value):.1f}" cy="{y}" r="4"/>')
        parts.append(_text(right + 8, y + 4, f"{value:.3f}", "start"))
    return _picture(f"{axis} with 95 % intervals", height, parts)


def calibration_picture(found: Calibration) -> str:
    """How often clips were right, against how sure the model was; on the diagonal it knows what it does not know."""
    parts, x, y = _axes("score of the prediction", "share that was right")
    parts.append(f'<line class="diagonal" x1="{x(0)}" y1="{y(0)}" x2="{x(1)}" y2="{y(1)}"/>')
    most = max(found.clips.max(), 1)
    points = []
    for place, clips in enumerate(found.clips):
        if not clips:
            continue
        low, high = found.edges[place], found.edges[place + 1]
        said = f"scored {low:.1f} to {high:.1f}: {clips} clips, {found.accuracy[place]:.0%} right"
        width = x(high) - x(low) - 2
        height = 30 * clips / most
        parts.append(
            f'<rect class="count" x="{x(low) + 1:.1f}" y="{y(0) - height:.1f}" width="{width:.1f}" '
            f'height="{height:.1f}"><title>{said}</title></rect>'
        )
        points.append((x(found.confidence[place]), y(found.accuracy[place]), said))
    parts.append(_line([point[:2] for point in points]))
    parts += [
        f'<circle class="dot" cx="{a:.1f}" cy="{b:.1f}" r="4"><title>{said}</title></circle>' for a, b, said in points
    ]
    return _picture("calibration", 262, parts)


def risk_picture(curve: RiskCoverage) -> str:
    """The share of wrong answers against the share of clips that are answered, the surest first."""
    parts, x, y = _axes("share of clips answered", "share wrong")
    parts.append(_line([(x(c), y(r)) for c, r in zip(curve.coverages, curve.risks, strict=True)]))
    parts.append(f'<circle class="dot" cx="{x(1):.1f}" cy="{y(curve.risks[-1]):.1f}" r="4"/>')
    return _picture("risk against coverage", 262, parts)


def training_picture(curves: Sequence[Sequence[tuple[float, float]]]) -> str:
    """The loss of several trainings: their mean at each epoch, and a band from the least to the most.

    Args:
        curves: of each training, (epoch, loss) as they were logged; one point at least among them.
    """
    losses: dict[float, list[float]] = {}
    for curve in curves:
        for epoch, loss in curve:
            losses.setdefault(round(epoch, 3), []).append(loss)
    epochs = sorted(losses)
    most = max(max(found) for found in losses.values()) or 1.0
    parts, x, y = _axes("epoch", "training loss", (epochs[-1], most))
    ends = [(x(epoch), y(max(losses[epoch]))) for epoch in epochs]
    ends += [(x(epoch), y(min(losses[epoch]))) for epoch in reversed(epochs)]
    parts.append(f'<polygon class="count" points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in ends)}"/>')
    parts.append(_line([(x(epoch), y(sum(losses[epoch]) / len(losses[epoch]))) for epoch in epochs]))
    return _picture("training loss", 262, parts)


def _axes(across: str, up: str, ends: tuple[float, float] = (1, 1)):
    """A rectangle from 0 to its ends with its axes, and the functions that place a point in it."""
    left, right, top, bottom = 46, WIDTH - 16, 18, 222

    def x(value: float) -> float:
        return left + value / ends[0] * (right - left)

    def y(value: float) -> float:
        return bottom - value / ends[1] * (bottom - top)

    parts = _grid(left, right, top, bottom, across, ends[0])
    for tick in (0, ends[1] / 2, ends[1]):
        parts.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{y(tick)}" y2="{y(tick)}"/>')
        parts.append(_text(left - 6, y(tick) + 4, f"{tick:.3g}", "end", "faint"))
    parts.append(_text(left, 11, up, "start", "faint"))
    return parts, x, y


def _grid(left: float, right: float, top: float, bottom: float, axis: str, end: float = 1) -> list[str]:
    parts = []
    for tick in (0, 0.25, 0.5, 0.75, 1):
        at = left + tick * (right - left)
        parts.append(f'<line class="grid" x1="{at}" x2="{at}" y1="{top}" y2="{bottom}"/>')
        parts.append(_text(at, bottom + 14, f"{tick * end:.3g}", "middle", "faint"))
    parts.append(_text((left + right) / 2, bottom + 28, axis, "middle", "faint"))
    return parts


def _line(points: Sequence[tuple[float, float]]) -> str:
    return f'<polyline class="curve" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>'


def _text(x: float, y: float, text: str, anchor: str, kind: str = "", title: str = "") -> str:
    hint = f"<title>{escape(title)}</title>" if title else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{hint}{escape(text)}</text>'


def _short(name: str, letters: float) -> str:
    letters = max(int(letters), 3)
    return name if len(name) <= letters else name[: letters - 1] + "…"


def _picture(label: str, height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(label)}">' + "".join(parts) + "</svg>"
    )


__all__ = ["calibration_picture", "confusion_picture", "interval_picture", "risk_picture", "training_picture"]
