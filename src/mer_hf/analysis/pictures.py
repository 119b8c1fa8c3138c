"""Pictures of an event: the face as a strip of film, as it is and magnified, and where it moved.

crops from onset to offset -> event_pictures: JPEG files
"""

from dataclasses import dataclass

import cv2
import numpy as np

from mer_hf.rcn.motion_rcn import magnify, optical_flow

SIDE = 144  # pixels of a crop
MOST_FRAMES = 60  # of a strip
GAIN = 6.0  # by which motion is magnified, beyond itself
FASTEST = 6.0  # Hz; faster changes are noise to the eye
WAVELENGTH = 24.0  # pixels; finer structures are magnified less
QUALITY = 80  # of the JPEG files


@dataclass(frozen=True)
class Pictures:
    """What there is to see of an event.

    Attributes:
        film: a JPEG file of `frames` pictures side by side in two rows, the face, and the face with motion magnified.
        frames: how many pictures a row has.
        seconds: how long they last.
        flow: a JPEG file of the motion from onset to apex as colours; None where the apex is the onset.
        largest: pixels of the crop, the motion that is the fullest colour.
    """

    film: bytes
    frames: int
    seconds: float
    flow: bytes | None = None
    largest: float = 0.0


def event_pictures(crops: np.ndarray, times: np.ndarray, apex: float) -> Pictures:
    """The pictures of an event.

    Args:
        crops: (T, side, side) uint8, from onset to offset.
        times: (T,) seconds.
        apex: seconds.
    """
    lasting = float(times[-1] - times[0])
    chosen = np.unique(np.linspace(0, len(crops) - 1, min(len(crops), MOST_FRAMES)).round().astype(int))
    shown, rate = crops[chosen], (len(chosen) - 1) / lasting if lasting > 0 else 25.0
    large = shown
    if len(shown) > 1:
        # one order of the filter at least, however short the event
        large = magnify(shown, rate, GAIN, (0.0, max(FASTEST, 0.51 * rate / len(shown))), WAVELENGTH)
    film = np.concatenate([np.concatenate(list(row), axis=1) for row in (shown, large)])
    place = int(np.abs(times - apex).argmin())
    if place == 0:
        return Pictures(_jpeg(film), len(shown), lasting)
    flow = optical_flow(crops[0], crops[place])
    flow -= np.median(flow, axis=(1, 2), keepdims=True)  # that of the head
    largest = float(np.percentile(np.hypot(*flow), 99))
    colours = cv2.cvtColor(flow_colours(flow, largest), cv2.COLOR_RGB2BGR)
    return Pictures(_jpeg(film), len(shown), lasting, _jpeg(colours), round(largest, 2))


def flow_colours(flow: np.ndarray, largest: float) -> np.ndarray:
    """Flow as colour: the hue is the direction, the saturation the length, white is still.

    Args:
        flow: (2, H, W), u to the right and v downwards.
        largest: the length that is fully saturated; longer vectors look alike.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    u, v = flow.astype(np.float32)
    hue = np.degrees(np.arctan2(v, u)) % 360
    length = np.clip(np.hypot(u, v) / max(largest, 1e-6), 0, 1)
    hsv = np.stack([hue, length, np.ones_like(length)], -1).astype(np.float32)
    return (cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255).round().astype(np.uint8)


def _jpeg(picture: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


__all__ = ["SIDE", "Pictures", "event_pictures", "flow_colours"]
