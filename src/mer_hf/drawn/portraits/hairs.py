"""Hair, brows and lashes, hair by hair."""

import cv2
import numpy as np

from mer_hf.drawn.portraits.canvas import Canvas, fractal, smooth_step, to_srgb
from mer_hf.drawn.portraits.sitters import EYE, Sitter, canonical, lid_edges, on_canvas


def hair_behind(canvas: Canvas) -> np.ndarray:
    """Opacity of the hair behind head and neck."""
    c, style = canvas, canvas.sitter.style
    inside = np.where(c.y < 0.15, _above_skull(c), -1)
    if style.end is not None:
        outer = c.sitter.jaw[0] + 0.16 + 0.05 * np.sin(2.1 * c.y + c.sitter.parting)
        inside = np.maximum(inside, np.minimum(np.minimum(outer - c.across, style.end - 0.05 - c.y), c.y + 0.4))
    return c.edge(inside, 0.03)


def hair_in_front(canvas: Canvas) -> np.ndarray:
    """Opacity of the hair in front of forehead, temples and ears."""
    c = canvas
    inside = np.minimum(_above_hairline(c), _above_skull(c))
    if c.sitter.style.end is None:
        sideburn = 0.12 + 0.25 * c.sitter.masculinity
        inside = np.minimum(inside, sideburn - c.y)
    else:
        inside = np.maximum(inside, _beside_face(c))
    return c.edge(inside, 0.06)


def _above_hairline(canvas: Canvas) -> np.ndarray:
    """Signed distance above the hairline of forehead and temples."""
    c, style = canvas, canvas.sitter.style
    drop = 0.30 if style.flow == "crown" else 0.52 + 0.1 * c.sitter.masculinity
    line = style.hairline + drop * (c.across / 0.92) ** 3.2
    if style.flow == "parting" and style.end is None:
        line = line - 0.10 * np.sign(c.sitter.parting) * c.x
    if style.flow == "back" and c.sitter.masculinity > 0.5:
        line = line - 0.07 * np.exp(-(((c.across - 0.55) / 0.16) ** 2))  # receding temples
    return line - c.y


def _above_skull(canvas: Canvas) -> np.ndarray:
    """Depth inside the outline of the hair on the skull, positive within."""
    c, lift = canvas, canvas.sitter.style.lift
    wide, tall = c.sitter.jaw[0] + 0.55 * lift, 1.55 + lift
    return 1 - (c.across / wide) ** 2.3 - (np.abs(c.y + 0.1) / tall) ** 2.3


def _beside_face(canvas: Canvas) -> np.ndarray:
    """Signed distance inside hair that falls beside the face."""
    c, s = canvas, canvas.sitter
    outer = s.jaw[0] - 0.25 + 0.45 * smooth_step((c.y + 1.3) / 1.3)
    outer = outer + 0.05 * np.sin(2.1 * c.y + s.parting) * smooth_step(c.y + 0.6)
    inner = 1.02 - 0.10 * np.clip(c.y + 0.2, 0, 1.2) ** 0.7
    inside = np.minimum(c.across - inner, outer - c.across)
    return np.minimum(np.minimum(inside, s.style.end - c.y), c.y + 0.75)


def hair_colour(canvas: Canvas, brightness: float) -> np.ndarray:
    """Flat linear colour that lies under the single hairs."""
    return (canvas.sitter.hair * brightness).astype(np.float32)


def draw_hair(picture: np.ndarray, canvas: Canvas, rng: np.random.Generator) -> None:
    """Single hairs that run from the parting over the skull, lighter where the lamp glances off."""
    c, s = canvas, canvas.sitter
    count = 7000
    roots = _scattered(hair_in_front(c), count, rng)
    length = s.style.length
    steps = 8
    at = canonical(s, roots.astype(np.float32), c.width)
    path = [at]
    if s.style.end is None:
        length = length * np.interp(np.abs(at[:, 0]), (0.75, 0.95), (1, 0.35))
    reach = (length * rng.uniform(0.5, 1.2, count) / steps)[:, None]
    wave = fractal(rng, c.width, 7, 3)[tuple(np.clip(roots.round().astype(int), 0, c.width - 1).T[::-1])]
    swirl = 0.09 * wave + rng.normal(0, 0.06, count)
    for _ in range(steps):
        at = (at + reach * _hair_flow(s, at, swirl)).astype(np.float32)
        path.append(at)
    path = np.stack(path, axis=1)
    middle = path[:, steps // 2]
    around = np.clip(middle[:, 0] / 1.25, -0.98, 0.98)
    facing = around * s.light[0] + np.sqrt(1 - around**2) * 0.6 - 0.25 * middle[:, 1] * s.light[1] * -1
    band = np.exp(-(((np.hypot(middle[:, 0] * 0.8, middle[:, 1] + 0.2) - 1.12) / 0.12) ** 2))
    tone = 0.35 + 0.65 * np.clip(facing, 0.1, 1) + 0.8 * band * rng.uniform(0, 1, count)
    tone *= rng.lognormal(0, 0.28, count)
    colours = 255 * to_srgb(s.hair * tone[:, None] + 0.012 * band[:, None])
    order = np.argsort(tone + rng.normal(0, 0.3, count))  # darker hairs tend to lie below
    _strokes(picture, on_canvas(s, path[order], c.width), colours[order], max(1, round(0.006 * float(c.unit))))


def _hair_flow(sitter: Sitter, at: np.ndarray, swirl: np.ndarray) -> np.ndarray:
    """Unit directions (N, 2) in which hairs at canonical points run from root to tip, turned by `swirl` radians."""
    x, y = at.T
    if sitter.style.flow == "parting":  # from the parting to the sides, then down
        away = x - sitter.parting * (1.0 if sitter.style.end is None else 0.3)
        steep = np.pi / 2 * np.clip(np.abs(away) / 0.95, 0, 1) ** 1.8 - 0.04
        flow = np.column_stack([np.tanh(away / 0.05) * np.cos(steep), np.sin(steep)])
    elif sitter.style.flow == "crown":  # from the crown, over the forehead
        flow = np.column_stack([x, y + 2.2])
    else:  # combed back, over the ears
        flow = -np.column_stack([x, y + 2.2])
        beside = np.clip((np.abs(x) - 0.7) / 0.3, 0, 1)[:, None]
        flow = (1 - beside) * flow + beside * np.column_stack([0.6 * np.sign(x), np.full_like(x, -0.8)])
    if sitter.style.end is not None:
        fall = (np.clip((np.abs(x) - 0.80) / 0.25, 0, 1) * np.clip((y + 0.9) / 0.4, 0, 1))[:, None]
        flow = (1 - fall) * flow / np.linalg.norm(flow, axis=1, keepdims=True) + fall * [0.0, 1.0]
    flow = flow / np.linalg.norm(flow, axis=1, keepdims=True)
    cos, sin = np.cos(swirl), np.sin(swirl)
    flow = np.column_stack([cos * flow[:, 0] - sin * flow[:, 1], sin * flow[:, 0] + cos * flow[:, 1]])

    # On the outer edge hair lies along the skull.
    outward = np.column_stack([x / 1.15, np.minimum(y + 0.1, 0) / 1.7])
    radius = np.linalg.norm(outward, axis=1, keepdims=True)
    outward = outward / np.maximum(radius, 1e-6)
    leaving = np.maximum((flow * outward).sum(axis=1, keepdims=True), 0)
    flow = flow - 0.95 * np.clip((radius - 0.75) / 0.15, 0, 1) * leaving * outward
    return flow / np.maximum(np.linalg.norm(flow, axis=1, keepdims=True), 0.3)


def draw_brows(picture: np.ndarray, canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw the brows into an 8-bit sRGB picture."""
    s = canvas.sitter
    height, arch, thick, density = s.brow
    count = int(800 * density)
    dark = 255 * to_srgb(0.5 * s.hair + 0.03 * s.skin)
    steps = np.linspace(0, 1, 5)[:, None]
    for side in (-1, 1):
        t = rng.beta(1.0, 1.2, count)
        x = 0.18 + 0.66 * t
        spine = -0.215 + height - 0.10 * np.sin(np.pi * np.clip(t * 0.82 + 0.05, 0, 1)) + 0.085 * t**2
        spine -= arch * np.exp(-(((t - 0.62) / 0.22) ** 2))
        width = thick * np.interp(t, (0, 0.12, 0.55, 1), (0.70, 1.1, 0.85, 0.12))
        y = spine + width * np.clip(rng.normal(0, 0.55, count), -1.1, 1.1)
        rise = np.interp(t, (0, 0.2, 0.55, 1), (1.25, 0.65, 0.15, -0.5)) + np.where(y < spine, -0.25, 0.3)
        rise += rng.normal(0, 0.12, count)
        length = rng.uniform(0.06, 0.12, count) * np.interp(t, (0, 0.1, 0.8, 1), (0.6, 1, 1, 0.6))
        bend = rise * (1 - 0.5 * steps)
        path = np.stack([side * (x + length * steps * np.cos(bend)), y - length * steps * np.sin(bend)], axis=-1)
        path = on_canvas(s, path.transpose(1, 0, 2), canvas.width)
        under = picture[tuple(np.clip(path[:, 0].round().astype(int), 0, canvas.width - 1).T[::-1])]
        mix = rng.uniform(0.45, 0.95, (count, 1)) * np.interp(t, (0, 0.12, 0.8, 1), (0.55, 1, 1, 0.8))[:, None]
        _strokes(picture, path, (1 - mix) * under + mix * dark, 1)


def draw_lashes(picture: np.ndarray, canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw the lids' dark edges and lashes into an 8-bit sRGB picture."""
    s = canvas.sitter
    dark = 255 * to_srgb(s.hair * 0.25 + 0.01 * s.skin)
    for side in (-1, 1):
        u = np.linspace(-0.97, 1.02, 60)
        x = EYE + s.eye[0] * u
        top, bottom = lid_edges(s, x)
        line = on_canvas(s, np.column_stack([side * x, top - 0.004]), canvas.width)
        for part in range(0, 60, 4):  # thicker towards the outer corner
            thickness = (0.010 + 0.006 * part / 60) * float(canvas.unit)
            _strokes(picture, line[None, part : part + 5], dark[None], max(1, round(thickness)))
        count = 46
        u = rng.uniform(-0.8, 1.0, count)
        x = EYE + s.eye[0] * u
        top, bottom = lid_edges(s, x)
        length = (0.014 + 0.03 * (u + 1) / 2 * (1.3 - s.masculinity)) * rng.uniform(0.5, 1.1, count)
        lean = 0.9 * u + rng.normal(0, 0.12, count)
        steps = np.linspace(0, 1, 4)[:, None]
        bent = lean * (0.6 + 0.4 * steps)
        path = np.stack(
            [x + length * steps * np.sin(bent), top - 0.002 - length * (steps**1.3) * np.cos(bent) * 0.8], axis=-1
        )
        path[..., 0] *= side
        _strokes(picture, on_canvas(s, path.transpose(1, 0, 2), canvas.width), np.tile(dark, (count, 1)), 1)
        length = 0.018 * rng.uniform(0.5, 1, count)
        path = np.stack([x + 0.5 * length * u * steps, bottom + 0.012 + length * steps], axis=-1)
        path[..., 0] *= side
        path = on_canvas(s, path.transpose(1, 0, 2), canvas.width)
        under = picture[tuple(path[:, 0].round().astype(int).T[::-1])]
        _strokes(picture, path, 0.75 * under + 0.25 * dark, 1)


def _strokes(picture: np.ndarray, paths: np.ndarray, colours: np.ndarray, thickness: int) -> None:
    """Draw hairs into an 8-bit picture; paths (N, P, 2) in pixels, colours (N, 3) in 0..255."""
    fixed = np.round(paths * 16).astype(np.int32)
    for path, colour in zip(fixed, np.clip(colours, 0, 255).tolist(), strict=True):
        cv2.polylines(picture, [path], False, colour, thickness, cv2.LINE_AA, 4)


def _scattered(mask: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw `count` positions (x, y) in pixels, with density in proportion to the mask."""
    total = np.cumsum(mask.ravel(), dtype=np.float64)
    flat = np.searchsorted(total, rng.uniform(0, total[-1], count))
    return np.column_stack([flat % mask.shape[1], flat // mask.shape[1]]) + rng.uniform(-0.5, 0.5, (count, 2))
