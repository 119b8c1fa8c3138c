"""Where the face is in a video, and the crops that show it: one transform a clip, never one a frame.

    frame -> find_faces -> Face -> track_face, in later frames -> face_transform -> crop_matrix -> warp
    the frames of a clip, as they are decoded -> align_clip, which does all of that -> crops, ClipFace

Face coordinates are those of the action units: the origin is midway between the eye centres, the unit is their
distance, x points to the right of the picture and y down. The centre of a pixel has whole coordinates. Transforms are
(2, 3) matrices, as OpenCV takes them.

The detector is BlazeFace (Bazarevsky et al., 2019, arXiv:1907.05047), the mesh that of Kartynnik et al. (2019,
arXiv:1907.06724). Their models lie beside this file (see NOTICE there), or in another folder that is named; every
thread reads them when it first needs them.
"""

import hashlib
import math
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import cast

import cv2
import numpy as np

from .errors_rcn import MerHfError
from .sources_rcn import BUDGET, VideoError

FOLDER = Path(__file__).parent
"""Where the models lie unless another folder is named."""
DETECTOR, MESH = "face_detection_short_range.tflite", "face_landmark.tflite"
MODELS = {
    DETECTOR: "3bc182eb9f33925d9e58b5c8d59308a760f4adea8f282370e428c51212c26633",
    MESH: "c603fa6149219a3e9487dc9abd7a0c24474c77263273d24868378cdf40aa26d1",
}
"""The model files and their sha256."""
DETECTOR_SIZE, MESH_SIZE = 128, 192  # pixels of their square inputs
ANCHOR_GRIDS = ((16, 2), (8, 6))  # of the detector: cells a side, anchors a cell
OVERLAP = 0.3  # intersection over union from which two detections are one face, as in MediaPipe
DETECTABLE = 1 / 16  # eye distance over the side of the picture; from there on it found every face that we tried
PRESENCE = (
    14.0  # logit of the mesh: 14.4 and more on whole faces; 13.5 and less on masked ones, profiles, anything else
)
STAYS = 13.0  # the same of a face that was whole a moment ago in the same place: lids that close take .5 off it
SEARCHED = 1920  # pixels of the longer side at most on which a face is searched; in larger frames faces are larger too

# Landmarks that stay where they are while a face moves, by their numbers in the mesh, and where they lie in face
# coordinates; left is left in the picture. The two heights are means over two real faces, the template of the mesh and
# the rendered faces of mer_hf.
LEFT_EYE = (33, 133, 144, 145, 153, 158, 159, 160)
RIGHT_EYE = (263, 362, 373, 374, 380, 385, 386, 387)
NOSE = (1, 2, 98, 327)
MOUTH_CORNERS = (61, 291)
PLACES = np.array([(-0.5, 0.0), (0.5, 0.0), (0.0, 0.65), (0.0, 1.0)])
# Nose and mouth take a fifth off the jitter that eyes alone have; heavier, they would follow a smile.
WEIGHTS = (4, 4, 1, 1)
MEANS = np.stack(
    [np.bincount(group, minlength=468) / len(group) for group in (LEFT_EYE, RIGHT_EYE, NOSE, MOUTH_CORNERS)]
)
"""(4, 468), of the landmarks of the groups whose means are to lie at `PLACES`."""
REGION_CENTRE, REGION_SIDE = (0.0, 0.44), 3.7  # of the square that the mesh looks at: 1.5 times the face

CROP_SIDE, CROP_EYE_LINE = 1.85, 0.23  # eye distances, and the part above the eyes: the crop behind the action units
ACTIVE_PART = np.array([(-0.65, -0.36), (0.65, -0.36), (0.65, 1.27), (-0.65, 1.27)])  # spans their bumps
BLUR_FROM = 1.4  # times smaller than life; up to there, linear interpolation keeps flow as well

ALIGNMENTS = ("mesh", "box", "none")
PROBLEMS = ("raise", "flag")  # what may be done about them
LOOK_SECONDS = 0.5  # the longest micro-expression (Yan et al., 2013): its frames wait until the face is measured
WAITING = 150  # frames at most that wait, whatever a damaged container says of its rate; fewer, if they are very large
LOOKS = 3  # frames that are measured; five take 5 ms more, for a jitter of .21 instead of .28 % of the eye distance
CHECK_SECONDS = 0.5  # between the frames that are checked later
SMALLEST = 20.0  # pixels between the eyes; a pixel is then 3 of a crop of 128, of which micro-expressions move 1 or 2
COMPARABLE = 0.5  # a face that is this part of the largest is not in the background
DRIFT = 0.2  # eye distances; brows are then where eyes were


class FaceError(VideoError):
    """A video whose face cannot be aligned; the message says what was found, where, and what to do."""


@dataclass(frozen=True)
class Face:
    """A face in a frame.

    Attributes:
        landmarks: (468, 2) float32, the mesh in pixels of the frame.
        box: (4,) float32, left, top, right, bottom of the detector's box in pixels; a tracked face keeps its first.
        presence: logit by which the mesh tells a face from anything else.
    """

    landmarks: np.ndarray
    box: np.ndarray
    presence: float

    @property
    def eye_distance(self) -> float:
        """Pixels between the eye centres."""
        return _scale(face_transform(self.landmarks))


@dataclass(frozen=True)
class ClipFace:
    """How a clip was cropped.

    Attributes:
        face_to_frame: (2, 3), face coordinates -> pixels of the frames; None where no face was found or looked for.
        frame_to_crop: (2, 3), pixels of the frames -> pixels of the crops.
        face: the face in the first frame, or in the first that shows it.
        problems: why the crops may be wrong, one text each; empty where nothing is.
    """

    face_to_frame: np.ndarray | None
    frame_to_crop: np.ndarray
    face: Face | None
    problems: tuple[str, ...]


# --- transforms ---


def similarity(places: np.ndarray, points: np.ndarray, weights: Sequence[float] | np.ndarray) -> np.ndarray:
    """The similarity transform from places to points with the least weighted squares (Umeyama, PAMI 1991).

    In the plane it is a complex factor and a complex summand, which leave no room for reflections.
    Places and points (N, 2), weights (N,) -> (2, 3).
    """
    places, points, weights = places @ (1, 1j), points @ (1, 1j), np.asarray(weights) / np.sum(weights)
    place, point = weights @ places, weights @ points
    turn = (weights * (places - place).conj()) @ (points - point) / (weights @ np.abs(places - place) ** 2)
    shift = point - turn * place
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def face_transform(landmarks: np.ndarray) -> np.ndarray:
    """The transform from face coordinates to the pixels in which a mesh, (468, 2), is given: (2, 3)."""
    return similarity(PLACES, MEANS @ landmarks, WEIGHTS)


def crop_matrix(face_to_frame: np.ndarray, height: int, width: int, margin: float) -> np.ndarray:
    """The transform from pixels of a frame to pixels of a crop around its face: (2, 3).

    Args:
        face_to_frame: (2, 3), face coordinates -> pixels of the frame.
        height, width: of the crop. The larger spans the square around the face; along the other, its middle is seen.
        margin: part of the side of the square by which it is wider on every side.
    """
    square = _square((0, (0.5 - CROP_EYE_LINE) * CROP_SIDE), (1 + 2 * margin) * CROP_SIDE, height, width)
    return compose(square, cv2.invertAffineTransform(face_to_frame))


def _square(centre: tuple[float, float], side: float, height: int, width: int) -> np.ndarray:
    """The transform to the pixels of a picture of an upright square, whose larger side spans it."""
    scale = max(height, width) / side
    return np.array([[scale, 0, (width - 1) / 2 - scale * centre[0]], [0, scale, (height - 1) / 2 - scale * centre[1]]])


def _apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:, :2].T + matrix[:, 2]


def compose(second: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The affine transform that does the second after the first; all of them (2, 3)."""
    return np.column_stack([second[:, :2] @ first[:, :2], _apply(second, first[:, 2])])


def _scale(matrix: np.ndarray) -> float:
    return math.hypot(matrix[0, 0], matrix[1, 0])


def warp(frame: np.ndarray, matrix: np.ndarray, height: int, width: int) -> np.ndarray:
    """A picture of a part of a frame, free of aliasing; beyond the frame, its border is repeated.

    Args:
        frame: (H, W) or (H, W, 3) uint8.
        matrix: (2, 3), pixels of the frame -> pixels of the picture; a similarity.
        height, width: of the picture.

    Returns:
        (height, width) or (height, width, 3) uint8.
    """
    if _scale(matrix) * BLUR_FROM < 1:
        frame, matrix = _reduce(frame, matrix, height, width)
    return cv2.warpAffine(frame, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _reduce(frame: np.ndarray, matrix: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """The part of a frame that a picture needs, shrunk by a whole number and blurred for the rest; its transform.

    Optical flow then came as near to a known motion as after a Gaussian alone, which takes several times as long.
    """
    shrink = 1 / _scale(matrix)
    step = int(shrink + 1e-6)
    sigma = math.sqrt(max((shrink / step) ** 2 - 1, 0)) / 2
    inverse, half = cv2.invertAffineTransform(matrix), np.array([(width - 1) / 2, (height - 1) / 2])
    centre, reach = _apply(inverse, half), np.abs(inverse[:, :2]) @ half + (2 + 3 * sigma) * step
    size = frame.shape[1::-1]
    left, top = np.clip(centre - reach, 0, np.subtract(size, 1)).astype(int).tolist()
    right, bottom = np.clip(centre + reach + 2, (left + 1, top + 1), size).astype(int).tolist()
    frame = frame[top:bottom, left:right]
    if step > 1:
        rows, columns = (math.ceil(length / step) for length in frame.shape[:2])
        missing = rows * step - frame.shape[0], columns * step - frame.shape[1]
        frame = cv2.copyMakeBorder(frame, 0, missing[0], 0, missing[1], cv2.BORDER_REPLICATE)
        frame = cv2.resize(frame, (columns, rows), interpolation=cv2.INTER_AREA)
    if shrink / step > BLUR_FROM:
        frame = cv2.GaussianBlur(frame, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    # a shrunk pixel lies in the middle of its step x step pixels
    return frame, compose(matrix, np.array([[step, 0, left + (step - 1) / 2], [0, step, top + (step - 1) / 2]]))


# --- networks ---

_THREAD = threading.local()  # a network of OpenCV serves one thread at a time; a lock might be held during a fork


def _forward(folder: Path, name: str, outputs: tuple[str, str], picture: np.ndarray, black: float) -> list[np.ndarray]:
    """Outputs of a network for a grey or RGB picture, uint8, whose levels it takes from `black` to 1."""
    nets: dict[tuple[Path, str], cv2.dnn.Net] = cast(dict, vars(_THREAD))
    if (folder, name) not in nets:
        nets[folder, name] = _read_net(folder / name)
    if picture.ndim == 2:
        picture = cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB)
    nets[folder, name].setInput(cv2.dnn.blobFromImage(picture, (1 - black) / 255) + np.float32(black))
    return [output[0] for output in nets[folder, name].forward(outputs)]


def _read_net(path: Path) -> cv2.dnn.Net:
    advice = f"every model folder that mer_hf saves has the original, as has mer_hf itself in {FOLDER.name}/"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; {advice}")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != MODELS[path.name]:
        raise OSError(f"{path} is not the original: its sha256 is {found}, expected {MODELS[path.name]}; {advice}")
    # By path, because OpenCV 5.0 ignores the engine for buffers; its new engine loses outputs, and 4.x has no choice.
    engine = [cv2.dnn.ENGINE_CLASSIC] if hasattr(cv2.dnn, "ENGINE_CLASSIC") else []
    return cv2.dnn.readNetFromTFLite(str(path), *engine)


ANCHORS = DETECTOR_SIZE * np.concatenate(
    [np.repeat((np.argwhere(np.ones((n, n)))[:, ::-1] + 0.5) / n, anchors, axis=0) for n, anchors in ANCHOR_GRIDS]
)
"""(896, 2), x and y of their centres in the detector's input, row by row."""


def _detect(frame: np.ndarray, centre: tuple[float, float], side: float, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Detections in a square of a frame, many of each face.

    Returns:
        (N,) probabilities, and (N, 6, 2) pixels of the frame: left top and right bottom of the box, left eye, right
        eye, tip of the nose, middle of the mouth.
    """
    matrix = _square(centre, side, DETECTOR_SIZE, DETECTOR_SIZE)
    picture = warp(frame, matrix, DETECTOR_SIZE, DETECTOR_SIZE)
    places, logits = _forward(folder, DETECTOR, ("regressors", "classificators"), picture, -1)
    seen = logits[:, 0] > 0
    middle, size, *points = places[seen].reshape(-1, 8, 2).swapaxes(0, 1)  # eight pairs: six points, of which two ears
    places = np.stack([middle - size / 2, middle + size / 2, *points[:4]], 1) + ANCHORS[seen][:, None]
    # networks count from the edge of the first pixel
    return 1 / (1 + np.exp(-logits[seen, 0])), _apply(cv2.invertAffineTransform(matrix), places - 0.5)


def _merge(scores: np.ndarray, places: np.ndarray) -> list[np.ndarray]:
    """One (6, 2) a face: the mean of the detections that overlap its best, weighted by score (BlazeFace, section 3.4).

    Keeping the best alone would double the jitter of the box, from 2.8 to 5.6 % of the eye distance.
    """
    merged, rest = [], np.argsort(-scores)
    while len(rest):
        low, high = places[rest, 0], places[rest, 1]
        shared = np.clip(np.minimum(high, high[0]) - np.maximum(low, low[0]), 0, None).prod(1)
        areas = (high - low).prod(1)
        same = shared >= OVERLAP * (areas + areas[0] - shared)
        same[0] = True
        merged.append(np.average(places[rest[same]], 0, scores[rest[same]]))
        rest = rest[~same]
    return merged


def _mesh(frame: np.ndarray, face_to_frame: np.ndarray, folder: Path) -> tuple[np.ndarray, float]:
    """The mesh, (468, 2) pixels of the frame, of a face that lies about where a transform has it; its presence."""
    matrix = compose(
        _square(REGION_CENTRE, REGION_SIDE, MESH_SIZE, MESH_SIZE), cv2.invertAffineTransform(face_to_frame)
    )
    picture = warp(frame, matrix, MESH_SIZE, MESH_SIZE)
    landmarks, presence = _forward(folder, MESH, ("conv2d_21", "conv2d_31"), picture, 0)
    landmarks = _apply(cv2.invertAffineTransform(matrix), landmarks.reshape(-1, 3)[:, :2] - 0.5)
    return landmarks.astype(np.float32), presence.item()


# --- faces ---


def find_faces(frame: np.ndarray, folder: Path = FOLDER) -> list[Face]:
    """The faces in a frame, largest first.

    The detector sees 128 pixels, however large the frame is. Where nothing is found, it looks again at overlapping
    squares of half the side, down to those in which it would find the smallest face of use; frames of more than
    `SEARCHED` pixels a side are made smaller for that, the mesh is laid on the frame as it is. It is laid twice: its
    jitter is 40 % less where it looks at a region that a mesh gave.

    Args:
        frame: (H, W) grey or (H, W, 3) RGB, uint8.
        folder: where the models lie.

    Raises:
        VideoError: for a frame of another shape or type.
        OSError: if a model is missing or altered.
    """
    _check_frame(frame)
    small = _searchable(frame)
    larger = np.divide(frame.shape[1::-1], small.shape[1::-1])
    faces, side = [], float(max(small.shape[:2]))
    while not faces:
        rows, columns = (_centres(length, side) for length in small.shape[:2])
        scores, places = zip(*(_detect(small, (x, y), side, folder) for y in rows for x in columns), strict=True)
        for place in _merge(np.concatenate(scores), (np.concatenate(places) + 0.5) * larger - 0.5):
            landmarks, _ = _mesh(frame, similarity(PLACES, place[2:], WEIGHTS), folder)
            landmarks, presence = _mesh(frame, face_transform(landmarks), folder)
            if presence >= PRESENCE:
                faces.append(Face(landmarks, place[:2].ravel().astype(np.float32), presence))
        side /= 2
        if side * DETECTABLE < SMALLEST:
            break
    return sorted(faces, key=lambda face: -face.eye_distance)


def _searchable(frame: np.ndarray) -> np.ndarray:
    """A frame, made smaller where it is larger than is searched."""
    shrink = max(frame.shape[:2]) / SEARCHED
    if shrink <= 1:
        return frame
    width, height = (max(1, round(length / shrink)) for length in frame.shape[1::-1])
    return cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)


def _centres(length: int, side: float) -> np.ndarray:
    """Centres of squares along a length; each covers half of the one before."""
    if length <= side:
        return np.array([(length - 1) / 2])
    return np.linspace(side / 2, length - side / 2, math.ceil(2 * (length - side) / side) + 1) - 0.5


def _check_frame(frame: np.ndarray) -> None:
    if frame.dtype != np.uint8 or frame.shape[2:] not in ((), (3,)) or frame.ndim < 2 or 0 in frame.shape:
        raise VideoError(f"a frame is {frame.dtype} of shape {frame.shape}; expected uint8, (H, W) or (H, W, 3)")


def track_face(frame: np.ndarray, face: Face, folder: Path = FOLDER, presence: float = PRESENCE) -> Face | None:
    """The same face in a frame from about the same time; None where it is not near its old place.

    One pass of the mesh, and no detection. Arguments and errors are those of `find_faces`; `presence` is the least
    logit of the mesh.
    """
    _check_frame(frame)
    landmarks, found = _mesh(frame, face_transform(face.landmarks), folder)
    return replace(face, landmarks=landmarks, presence=found) if found >= presence else None


# --- clips ---


class _Problems:
    """What is wrong with a clip: raised at once, or kept, the first of its kind."""

    def __init__(self, action: str, fps: float) -> None:
        self.action, self.fps, self.texts = action, fps, {}

    def add(self, what: str, index: int, advice: str) -> None:
        text = f"{what} in frame {index} ({index / self.fps:.2f} s): {advice}"
        if self.action == "raise":
            raise FaceError(text)
        self.texts.setdefault(advice, text)


def _look(frame: np.ndarray, known: Face | None, folder: Path) -> list[Face]:
    """The known face in a frame; all of them, where it is not near its old place."""
    followed = track_face(frame, known, folder, STAYS) if known else None
    return [followed] if followed else find_faces(frame, folder)


def _largest(faces: list[Face], frame: np.ndarray, index: int, problems: _Problems) -> Face | None:
    """The face of a clip among those in a frame."""
    if not faces:
        problems.add(
            f"no face found ({frame.shape[1]} x {frame.shape[0]} pixels)",
            index,
            "it must look into the camera, sharp and uncovered; the detector is weak on small faces. Cut the video to "
            "where the face is seen, or pass align='none' if it is cropped to a face already",
        )
        return None
    distances = [face.eye_distance for face in faces]
    if len(faces) > 1 and distances[1] > COMPARABLE * distances[0]:
        problems.add(
            f"{len(faces)} faces (eyes {', '.join(f'{distance:.0f}' for distance in distances)} pixels apart)",
            index,
            f"the largest must be {1 / COMPARABLE:g} times as large as the next; cut the video to one person",
        )
    return faces[0]


def _check(face: Face, frame: np.ndarray, index: int, clip: np.ndarray, problems: _Problems) -> None:
    """Whether a face is large enough, inside of its frame, and where the transform of its clip has it."""
    own = face_transform(face.landmarks)
    if _scale(own) < SMALLEST:
        problems.add(
            f"a face with eyes {_scale(own):.1f} pixels apart",
            index,
            f"at least {SMALLEST:g} show a micro-expression; record or export the video larger",
        )
    corners = _apply(own, ACTIVE_PART)
    beyond = max((-0.5 - corners).max(), (corners - frame.shape[1::-1] + 0.5).max())
    if beyond > 0:
        problems.add(
            f"a face that the border cuts off ({beyond:.1f} pixels are missing)",
            index,
            "brows, cheeks and chin must be inside of the picture; record or cut the video wider",
        )
    moved = np.linalg.norm(_apply(own, PLACES[:2]) - _apply(clip, PLACES[:2]), axis=1).max() / _scale(clip)
    if moved > DRIFT:
        problems.add(
            f"a face that has moved by {moved:.2f} eye distances",
            index,
            f"all frames are cropped alike, so its eyes may move by {DRIFT:g}; cut the video to the expression (start, "
            "end), or let mer-hf analyze find it in a longer one",
        )


def _alike(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    first = None
    for index, frame in enumerate(frames):
        _check_frame(frame)
        first = frame.shape if first is None else first
        if frame.shape != first:
            raise VideoError(f"frame {index} has the shape {frame.shape}, frame 0 {first}; all must be equally large")
        yield frame


def _measure(opening: Sequence[np.ndarray], align: str, problems: _Problems, folder: Path) -> dict[int, Face]:
    """The face in a few of the first frames, by their indices, spread evenly."""
    seen: dict[int, list[Face]] = {}
    known = None
    for index in np.unique(np.linspace(0, len(opening) - 1, LOOKS).round().astype(int)).tolist():
        seen[index] = _look(opening[index], known, folder)
        if seen[index] and align == "mesh":
            known = seen[index][0]
    faces: dict[int, Face] = {}
    for index, found in seen.items():
        if not found and known:  # its eyes may be closed before they are open
            found = _look(opening[index], known, folder)
        if face := _largest(found, opening[index], index, problems):
            faces[index] = face
    return faces


def _box_crop(faces: Iterable[Face], height: int, width: int, margin: float) -> np.ndarray:
    """As `crop_matrix`, around the detector's boxes."""
    left, top, right, bottom = np.median([face.box for face in faces], axis=0)
    side = (1 + 2 * margin) * max(right - left, bottom - top)
    return _square(((left + right) / 2, (top + bottom) / 2), side, height, width)


def _opening(frames: Iterator[np.ndarray], fps: float, held: int) -> list[np.ndarray]:
    """The frames of the first half second, or as many of them as may be held."""
    first = next(frames, None)
    if first is None:
        raise VideoError("the video has no frames")
    waiting = min(math.ceil(LOOK_SECONDS * fps), WAITING, max(1, held // first.nbytes))
    return [first, *islice(frames, waiting - 1)]


def _watched(
    frames: Iterator[np.ndarray],
    looked: int,
    known: Face,
    clip: np.ndarray,
    fps: float,
    problems: _Problems,
    folder: Path,
) -> Iterator[np.ndarray]:
    """Frames as they come; the face is looked at about twice a second, and in the last of them.

    `looked` is the index of the frame before the first, `known` the face there, `clip` the transform of the clip.
    """
    index, period = looked, math.ceil(CHECK_SECONDS * fps)
    following = next(frames, None)
    while following is not None:
        frame, following, index = following, next(frames, None), index + 1
        if index - looked == period or following is None:
            looked = index
            if face := _largest(_look(frame, known, folder), frame, index, problems):
                _check(face, frame, index, clip, problems)
                known = face
        yield frame


def align_clip(
    frames: Iterable[np.ndarray],
    fps: float,
    height: int,
    width: int,
    align: str = "mesh",
    margin: float = 0.1,
    problems: str = "raise",
    folder: Path = FOLDER,
    held: int = BUDGET.bytes,
) -> tuple[np.ndarray, ClipFace]:
    """Crop a clip to its face, all frames alike.

    The face is measured in a few frames of the first half second, and looked at about twice a second from there to
    the last frame. Of full-size frames, only those of the first half second are held.

    Args:
        frames: (H, W) grey or (H, W, 3) RGB, uint8; at least one, the onset first where it is known.
        fps: frames per second.
        height, width: of the crops; see `crop_matrix`.
        align: `mesh`: upright, by eyes, nose and mouth; `box`: the detector's box, not rotated; `none`: the centred
            square of the frames, for videos that are cropped already, in which no face is looked for.
        margin: part of the side of the crop by which it is wider on every side (mesh and box).
        problems: `raise` them, or `flag` them: then the crops are the best there are, the centred square where there
            is no face, and `ClipFace.problems` says what is wrong.
        folder: where the models lie.
        held: bytes of full-size frames that may be held; for less than half a second, the face is measured in fewer.

    Returns:
        The crops, (T, height, width) or (T, height, width, 3) uint8, and how they were made.

    Raises:
        FaceError: no face, or another of comparable size; it is too small, cut off by the border, or moves too far.
        VideoError: there are no frames, or not of one shape, or not of the above.
        MerHfError, OSError: for any other argument outside of the above; if a model is missing or altered.
    """
    if align not in ALIGNMENTS or problems not in PROBLEMS:
        raise MerHfError(f"align is mesh, box or none, got {align!r}; problems is raise or flag, got {problems!r}")
    if not (0 < fps < math.inf and 0 <= margin < math.inf and min(height, width) >= 1):
        raise MerHfError(f"fps is above 0, margin 0 or more, a size 1 or more; got {fps}, {margin}, {height, width}")
    found = _Problems(problems, fps)
    frames = _alike(frames)
    opening = _opening(frames, fps, held)
    faces = {} if align == "none" else _measure(opening, align, found, folder)
    if faces:
        clip = face_transform(np.median([face.landmarks for face in faces.values()], axis=0))
        if align == "mesh":
            crop = crop_matrix(clip, height, width, margin)
        else:
            crop = _box_crop(faces.values(), height, width, margin)
        for index, face in faces.items():
            _check(face, opening[index], index, clip, found)
        frames = _watched(frames, len(opening) - 1, [*faces.values()][-1], clip, fps, found, folder)
    else:
        rows, columns = opening[0].shape[:2]
        clip, crop = None, _square(((columns - 1) / 2, (rows - 1) / 2), min(rows, columns), height, width)
    crops = [warp(frame, crop, height, width) for frame in opening]
    opening.clear()  # from here on, frames are cropped as they come
    crops += [warp(frame, crop, height, width) for frame in frames]
    return np.stack(crops), ClipFace(clip, crop, next(iter(faces.values()), None), tuple(found.texts.values()))


__all__ = ["ClipFace", "Face", "FaceError", "align_clip", "crop_matrix", "find_faces", "track_face"]
