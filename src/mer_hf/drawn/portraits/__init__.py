"""Faces drawn from nothing, so that they belong to nobody and may be passed on.

A height field is lit as skin, then eyes, lips, brows and hair are painted on it. A portrait has two layers, skin with
openings for the eyes and the eyeballs behind them, so that lids close over an eye that stays where it is. Everything
is placed in face coordinates (see `mer_hf.action_units`): unit the distance between the eye centres, origin midway
between them, y down. In the order of drawing: `sitters` who, `canvas` on what, `flesh`, `hairs`, `portrait` the whole.
"""

from mer_hf.drawn.portraits.portrait import STORED_SCALE, Portrait, draw_portrait
from mer_hf.drawn.portraits.sitters import MARGIN, Sitter, canonical, draw_sitter, lid_edges, mouth_lines, on_canvas

__all__ = [
    "MARGIN",
    "STORED_SCALE",
    "Portrait",
    "Sitter",
    "canonical",
    "draw_portrait",
    "draw_sitter",
    "lid_edges",
    "mouth_lines",
    "on_canvas",
]
