"""Skin, eyes, clothes and wall: the height field of a face is lit, its colours are painted. All in linear RGB."""

import cv2
import numpy as np

from mer_hf.drawn.portraits.canvas import Canvas, fractal, over, smooth_step
from mer_hf.drawn.portraits.sitters import EYE, lid_edges, mouth_lines, on_canvas


def wall(canvas: Canvas, rng: np.random.Generator) -> np.ndarray:
    """A plain wall, lit unevenly, a little out of focus."""
    blotches = 1 + 0.03 * fractal(rng, canvas.width, 3, 3)
    slope = 1 + 0.10 * canvas.sitter.light[0] * canvas.x - 0.05 * canvas.y
    return (canvas.sitter.wall * (blotches * slope)[..., None]).astype(np.float32)


def clothe(picture: np.ndarray, canvas: Canvas, body: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shoulders and a garment over the lower corners of the picture."""
    c, s = canvas, canvas.sitter
    dip = 1.90 + 0.25 * s.collar
    neckline = np.where(c.across < 0.8, dip - (dip - 1.72) * (c.across / 0.8) ** 2.2, 1.72 + 0.42 * (c.across - 0.8))
    below = c.y - neckline
    weave = 1 + 0.05 * cv2.GaussianBlur(rng.standard_normal(c.x.shape, np.float32), (0, 0), 0.8)
    folds = 1 + 0.10 * fractal(rng, c.width, 5, 3)
    shade = 0.75 - 0.2 * c.across + 0.25 * s.light[0] * c.x - 0.25 * np.exp(-(((below - 0.075) / 0.012) ** 2))
    colour = s.cloth * (weave * folds * np.clip(shade, 0.2, 1.2))[..., None]
    picture = picture * (1 - 0.4 * np.exp(-((np.minimum(below, 0) / 0.07) ** 2)) * body)[..., None]
    return over(picture, colour, c.edge(below, 0.02))


def lit_skin(canvas: Canvas, hair: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Shaded skin of head, ears and neck as linear RGB, and its opacity."""
    height, body, head = _height(canvas)
    albedo = _albedo(canvas, rng)
    pores = cv2.GaussianBlur(rng.standard_normal(height.shape, np.float32), (0, 0), 0.0045 * canvas.unit)
    pores /= pores.std()
    grain = 0.0009 * pores * (0.6 + 0.4 * canvas.sitter.age)
    normal = _normals(canvas, height + grain)
    lamp = np.asarray(canvas.sitter.light, np.float32)

    facing = normal @ lamp
    lit = np.clip((facing + 0.15) / 1.15, 0, None) * _cast_shadow(canvas, height)
    sky = 0.8 - 0.3 * normal[..., 1] + 0.2 * normal[..., 2]
    sky = sky * (1 - 0.45 * canvas.blur(hair, 0.09) * (1 - hair))
    ambient = canvas.sitter.ambient
    light = lit[..., None] * canvas.sitter.lamp * (1 - 0.55 * ambient) * 1.15 + (ambient * sky)[..., None]

    half = lamp + np.array([0, 0, 1], np.float32)
    gloss = np.clip(normal @ (half / np.linalg.norm(half)), 0, 1)
    oily = 0.35 + 0.5 * canvas.bump(0, 0.45, 0.12, 0.28) + 0.35 * canvas.bump(0.1, -0.6, 0.4, 0.2)
    oily += 0.3 * canvas.bump(0.58, 0.38, 0.2, 0.13) + 0.8 * canvas.bump(0, 1.08, 0.2, 0.035)
    shine = (0.10 * gloss**14 + 0.16 * gloss**48) * oily * (1 + 0.35 * pores) * _cast_shadow(canvas, height)
    face = head * np.exp(-((canvas.x / 0.8) ** 2) - ((canvas.y - 0.4) / 0.9) ** 2)
    exposure = face.sum() / (face[..., None] * light).sum(axis=(0, 1)).mean()
    return albedo * light * exposure * 0.95 + np.clip(shine, 0, 1)[..., None] * canvas.sitter.lamp, body


def _height(canvas: Canvas) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Height towards the viewer in eye distances; opacity of all skin, and of the head alone."""
    c, s, bump = canvas, canvas.sitter, canvas.bump
    half, chin, across, down = s.jaw
    bridge, breadth, tip = s.nose

    depth_y = np.where(c.y > 0, np.abs(c.y / chin) ** 5.0, np.abs(c.y / 1.62) ** 2.6)
    edge_x = half * np.clip(1 - np.where(c.y > 0, np.abs(c.y / chin) ** down, np.abs(c.y / 1.62) ** 2.4), 1e-3, 1) ** (
        1 / np.where(c.y > 0, across, 2.2)
    )
    round_x = np.clip(1 - np.minimum(c.across / edge_x, 1) ** 2.5, 0, 1)
    head = 1.18 * np.sqrt(round_x) * np.sqrt(np.clip(1 - depth_y, 0, 1))

    head += (0.035 + 0.03 * s.masculinity) * bump(0.46, -0.20, 0.28, 0.08) + 0.03 * bump(0, -0.2, 0.14, 0.12)
    head -= 0.105 * bump(0.46, 0.02, 0.21, 0.13) + 0.07 * bump(0.19, 0.0, 0.08, 0.11)
    head += 0.085 * bump(0.50, 0.0, 0.155, 0.10)
    head += 0.05 * bump(0.72, 0.42, 0.24, 0.17) + 0.05 * bump(0.52, 0.62, 0.2, 0.2)
    head -= 0.035 * bump(0.34, 0.24, 0.12, 0.06)  # tear trough
    head -= 0.04 * bump(0.98, -0.35, 0.14, 0.3) + 0.03 * bump(0.72, 0.92, 0.2, 0.22)

    # The nose: a ridge that rises to the tip, wings beside it, all cut off at the base.
    run = np.clip((c.y + 0.12) / 0.66, 0, 1)
    ridge = bridge * (0.07 + 0.24 * run**1.3) * np.exp(-((c.across / (breadth * (0.095 + 0.05 * run))) ** 2) / 1.6)
    ridge *= smooth_step((c.y + 0.30) / 0.3)
    ball = tip * 0.14 * bump(0, 0.575, 0.095 * breadth, 0.075)
    wings = 0.17 * bump(0.188 * breadth, 0.612, 0.058, 0.062) + 0.06 * bump(0.1 * breadth, 0.62, 0.1, 0.07)
    droop = 0.050 * np.exp(-((c.across / 0.07) ** 2)) + 0.018 * np.exp(-(((c.across - 0.19 * breadth) / 0.05) ** 2))
    base = 1 - smooth_step((c.y - (0.620 + droop)) / 0.11)
    head += (ridge + ball + wings) * base
    head -= 0.05 * bump(0.105 * breadth, 0.675, 0.038, 0.018)

    # Folds beside the mouth, deeper with age.
    fold_x = 0.28 + 0.22 * np.clip((c.y - 0.58) / 0.42, 0, 1.2) ** 0.8
    along = smooth_step((c.y - 0.58) / 0.15) * (1 - smooth_step((c.y - 0.86) / 0.22))
    fold = np.exp(-(((c.across - fold_x) / 0.028) ** 2)) - 0.8 * np.exp(-(((c.across - fold_x - 0.08) / 0.07) ** 2))
    head -= (0.004 + 0.018 * s.age) * fold * along

    # Mouth: the dental arch, philtrum, two lips, their parting, the hollow above the chin.
    rim_top, parting, rim_bottom = mouth_lines(s, c.across)
    inside = smooth_step((s.mouth[0] - c.across) / 0.07)
    head += 0.075 * bump(0, 0.98, 0.34, 0.22)
    head -= 0.016 * bump(0, 0.81, 0.028, 0.07) - 0.010 * bump(0.06, 0.81, 0.026, 0.07)
    mid_top, mid_bottom = (rim_top + parting) / 2, (parting + rim_bottom) / 2
    half_top, half_bottom = (parting - rim_top) / 2 + 0.012, (rim_bottom - parting) / 2 + 0.012
    head += 0.050 * inside * np.exp(-(((c.y - mid_top - 0.012) / half_top) ** 2))
    head += 0.072 * inside * np.exp(-(((c.y - mid_bottom + 0.006) / half_bottom) ** 2))
    head -= 0.040 * inside * np.exp(-(((c.y - parting) / 0.014) ** 2))
    head -= 0.022 * bump(s.mouth[0] + 0.015, 0.985, 0.030, 0.035)
    head -= 0.045 * bump(0, 1.225, 0.17, 0.040)
    head += 0.085 * bump(0, 1.37, 0.19 + 0.05 * s.masculinity, 0.11)

    # Lines of the forehead, and the crease of the upper lid.
    for y in (-0.55, -0.68, -0.82):
        head -= 0.004 * s.age * np.exp(-(((c.y - y - 0.05 * c.across) / 0.012) ** 2)) * bump(0, y, 0.4, 0.1)
    top, bottom = lid_edges(s, c.across)
    u = (c.across - EYE) / s.eye[0]
    near = np.exp(-(np.maximum(np.abs(u) - 0.85, 0) ** 2) / 0.02)
    head -= 0.020 * s.crease * near * np.exp(-(((c.y - top + 0.047) / 0.014) ** 2))
    head -= (0.008 + 0.014 * s.age) * near * np.exp(-(((c.y - bottom - 0.085) / 0.02) ** 2))
    head += 0.012 * near * np.exp(-(((c.y - bottom - 0.03) / 0.025) ** 2))

    outside = c.outline()
    in_head = c.edge(outside, 0.03)
    neck_half = 0.60 + 0.17 * s.masculinity + 0.12 * np.clip(c.y - 1.5, 0, 1) ** 2
    neck = -0.45 + 0.62 * np.sqrt(np.clip(1 - (c.across / neck_half) ** 2, 0, 1)) - 0.04 * bump(0.12, 2.1, 0.1, 0.2)
    in_neck = c.edge(neck_half - c.across, 0.02) * (c.y > 0.6)
    ear_x, ear_y = (c.across - half - 0.045 + 0.12 * (c.y - 0.2)), c.y - 0.22
    ear_r = (ear_x / 0.135) ** 2 + (ear_y / (0.36 - 0.10 * (ear_y > 0))) ** 2
    ear = -0.10 + 0.12 * np.exp(-(((np.sqrt(ear_r) - 0.8) / 0.16) ** 2)) - 0.5 * np.maximum(ear_r - 0.7, 0)
    ear -= 0.10 * np.exp(-(((ear_x + 0.01) / 0.05) ** 2) - ((ear_y - 0.02) / 0.12) ** 2)
    in_ear = c.edge(1 - ear_r, 0.1)

    height = np.where(in_neck > 0.5, neck, -0.8)
    height = np.where(in_ear > 0.5, np.maximum(ear, height), height)
    height = np.where(in_head > 0.5, np.maximum(head, height), height)
    return height.astype(np.float32), np.maximum(np.maximum(in_head, in_neck), in_ear).astype(np.float32), in_head


def _albedo(canvas: Canvas, rng: np.random.Generator) -> np.ndarray:
    """Colour of the skin before shading, linear RGB."""
    c, s, bump = canvas, canvas.sitter, canvas.bump
    melanin = 0.055 * fractal(rng, c.width, 5, 5) + 0.030 * fractal(rng, c.width, 60, 3)
    melanin += (
        0.20 * bump(0.5, 0.0, 0.2, 0.11)
        + 0.14 * bump(0.38, 0.14, 0.14, 0.06)
        + 0.10 * s.age * bump(0.4, 0.17, 0.16, 0.06)
    )
    blood = 0.06 * fractal(rng, c.width, 9, 4)
    blood += s.redness * (
        0.22 * bump(0.6, 0.5, 0.2, 0.17) + 0.24 * bump(0, 0.58, 0.14, 0.1) + 0.1 * bump(0.2, 0.62, 0.1, 0.08)
    )
    blood += s.redness * (
        0.10 * bump(0, 1.4, 0.2, 0.12) + 0.25 * bump(1.1, 0.2, 0.1, 0.3) + 0.12 * bump(0.28, 0.05, 0.05, 0.05)
    )
    albedo = s.skin * np.exp(-melanin[..., None] * [0.8, 1.0, 1.25] - blood[..., None] * [0.25, 1.0, 0.85])

    spots, grid = np.zeros_like(c.x), np.arange(-8, 9)
    places = np.column_stack([rng.normal(0, 0.5, s.freckles), rng.normal(0.32, 0.32, s.freckles)])
    for place, radius, strength in zip(
        on_canvas(s, places, c.width),
        rng.uniform(0.004, 0.010, s.freckles),
        rng.beta(1.2, 4, s.freckles),
        strict=True,
    ):
        column, row = np.round(place).astype(int)
        if min(column, row) < 8 or max(column, row) >= c.width - 9:
            continue
        spot = strength * np.exp(-(grid[:, None] ** 2 + grid**2) / (2 * (radius * c.unit) ** 2))
        spots[row - 8 : row + 9, column - 8 : column + 9] += spot
    albedo *= np.exp(-spots[..., None] * [0.7, 1.1, 1.5])

    # Lips: redder and darker than the skin they grow from, with fine vertical lines.
    rim_top, parting, rim_bottom = mouth_lines(s, c.across)
    lips = c.edge(np.minimum(c.y - rim_top, rim_bottom - c.y), 0.035) * smooth_step(
        (s.mouth[0] - c.across) / 0.03 + 0.5
    )
    lines = cv2.GaussianBlur(rng.standard_normal((1, c.width), np.float32), (0, 0), 0.007 * float(c.unit))
    lines = np.repeat(lines / lines.std(), c.width, axis=0)
    tint = np.array([0.80, 0.50, 0.52]) if s.masculinity < 0.5 else np.array([0.82, 0.60, 0.58])
    colour = s.skin**0.85 * tint * (1 + 0.05 * lines[..., None]) * np.where(c.y < parting, 0.85, 1.0)[..., None]
    albedo = over(albedo, colour, 0.85 * lips)
    slit = np.exp(-(((c.y - parting) / 0.009) ** 2)) * smooth_step((s.mouth[0] + 0.01 - c.across) / 0.05)
    albedo *= 1 - 0.80 * slit[..., None] * [0.85, 1, 1]
    albedo *= 1 - 0.30 * bump(s.mouth[0] + 0.01, 0.982, 0.022, 0.018)[..., None]

    breadth = s.nose[1]
    nostril = ((c.across - 0.108 * breadth) / 0.052) ** 2 + ((c.y - 0.672 - 0.25 * (c.across - 0.11)) / 0.021) ** 2
    albedo *= 1 - 0.86 * np.exp(-(nostril**1.5))[..., None] * [0.92, 1, 1]
    groove = (np.hypot((c.across - 0.17 * breadth) / 1.05, c.y - 0.610) - 0.098) / 0.012
    groove = np.exp(-(groove**2)) * smooth_step((c.across - 0.21 * breadth) / 0.06) * (c.y < 0.70) * (c.y > 0.52)
    albedo *= 1 - 0.25 * groove[..., None] * [0.7, 1, 1]

    # Lids: the crease, a pink wet rim below.
    top, bottom = lid_edges(s, c.across)
    u = (c.across - EYE) / s.eye[0]
    near = np.exp(-(np.maximum(np.abs(u) - 0.80, 0) ** 2) / 0.02)
    crease = near * np.exp(-(((c.y - top + 0.046) / 0.008) ** 2))
    albedo *= 1 - 0.42 * s.crease * crease[..., None] * [0.75, 1, 1]
    rim = (np.abs(u) < 1) * np.exp(-(((c.y - bottom - 0.008) / 0.009) ** 2))
    albedo = over(albedo, s.skin**0.8 * [1.0, 0.78, 0.76], 0.55 * rim)
    return np.clip(albedo, 0.002, 1).astype(np.float32)


def _normals(canvas: Canvas, height: np.ndarray) -> np.ndarray:
    """Unit normals (right, down, to the viewer) of a height field."""
    slope_x = np.clip(cv2.Sobel(height, cv2.CV_32F, 1, 0, scale=float(canvas.unit) / 8), -4, 4)
    slope_y = np.clip(cv2.Sobel(height, cv2.CV_32F, 0, 1, scale=float(canvas.unit) / 8), -4, 4)
    normal = np.stack([-slope_x, -slope_y, np.ones_like(slope_x)], axis=-1)
    return normal / np.linalg.norm(normal, axis=-1, keepdims=True)


def _cast_shadow(canvas: Canvas, height: np.ndarray) -> np.ndarray:
    """Soft shadow of the height field on itself: 1 in full light. Marched at a quarter of the resolution."""
    right, down, toward = canvas.sitter.light
    small = cv2.resize(height, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    blocked = np.zeros_like(small)
    for distance in np.linspace(0.03, 0.6, 20):
        pixels = distance * float(canvas.unit) / 4
        move = np.array([[1, 0, -pixels * right], [0, 1, -pixels * down]], np.float32)
        toward_lamp = cv2.warpAffine(small, move, small.shape[::-1], borderMode=cv2.BORDER_CONSTANT, borderValue=-0.8)
        over = toward_lamp - small - distance * toward
        blocked = np.maximum(blocked, np.clip(over / (0.04 + 0.15 * distance), 0, 1))
    shadow = cv2.resize(blocked, height.shape[::-1], interpolation=cv2.INTER_CUBIC)
    return 1 - 0.75 * np.clip(canvas.blur(shadow, 0.012), 0, 1)


def eyeballs(canvas: Canvas, rng: np.random.Generator) -> np.ndarray:
    """Both eyeballs with what lies over them: the lid's shadow and the reflected lamp. Linear RGB."""
    c, s = canvas, canvas.sitter
    radius = 0.093
    top, bottom = lid_edges(s, c.across)
    x, y = c.across - EYE, c.y + 0.010
    r = np.hypot(x, y) / radius
    angle = np.arctan2(y, x)

    ball = np.clip(1 - (x / 0.30) ** 2 - (y / 0.26) ** 2, 0.15, 1)
    white = np.array([0.64, 0.595, 0.56]) * (ball[..., None] ** [0.7, 0.9, 0.9])
    vessels = np.clip(fractal(rng, c.width, 40, 3), 0, None) * np.clip(np.abs(x) / 0.2 - 0.3, 0, 1)
    white *= 1 - 0.12 * vessels[..., None] * [0.3, 1, 1]
    spokes = rng.standard_normal((1, 72)).astype(np.float32)
    spokes = cv2.resize(np.tile(spokes, (1, 2)), (1440, 1), interpolation=cv2.INTER_CUBIC)[0, 720:]
    rays = spokes[(np.nan_to_num((angle + np.pi) / (2 * np.pi)) * 719).astype(int)]
    tint = s.iris * np.clip(1 + 0.22 * rays * (r < 1), 0.3, 2)[..., None]
    tint = (
        tint * (1.25 - 0.75 * np.clip(r - 0.72, 0, 1) / 0.28 + 0.6 * np.exp(-(((r - 0.5) / 0.1) ** 2)) * 0.5)[..., None]
    )
    tint = tint * (1 + 0.5 * np.clip(y / radius, -0.4, 1))[..., None]  # the lower half catches the light from above
    picture = over(white, np.clip(tint, 0.004, 1), c.edge(1 - r, 0.16))
    picture = over(picture, np.array([0.006, 0.005, 0.005]), c.edge(0.42 - r, 0.10))
    caruncle = np.exp(-(((c.across - EYE + s.eye[0] - 0.022) / 0.022) ** 2) - (((c.y - 0.012) / 0.03) ** 2))
    picture = over(picture, np.array([0.50, 0.25, 0.22]), 0.8 * np.clip(caruncle, 0, 1))

    depth = c.y - top
    picture *= (0.42 + 0.58 * smooth_step(depth / 0.075))[..., None]
    picture *= (0.75 + 0.25 * smooth_step((bottom - c.y) / 0.03))[..., None]
    tone = 0.55 + 0.45 * s.skin.mean() ** 0.3  # dark skin is exposed brighter; keep the whites from glowing
    lamp_x, lamp_y, _ = s.light
    side = np.where(c.x < 0, -1, 1)
    glint = np.hypot(x * side - 0.040 * np.sign(lamp_x), y + 0.036 - 0.01 * lamp_y)
    picture = picture * tone
    return np.clip(over(picture, 0.95 * s.lamp, 0.95 * c.edge(0.017 - glint, 0.012)), 0, 1).astype(np.float32)
