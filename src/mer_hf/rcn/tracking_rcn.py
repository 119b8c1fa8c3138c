"""Faces in a stream of frames: each with a number that it keeps while it blinks, turns, or is covered for a moment.

    frame -> a cut? -> the mesh on every known face, ten times a second -> lost ones, and new ones, by detection
      -> FaceView: number, transform, and why it cannot be watched where it cannot

A face is searched, tracked, lost, and then tracked again or forgotten; after a cut all are new.
"""

import math
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from .faces_rcn import FOLDER, SMALLEST, Face, face_transform, find_faces, track_face

MEASURE_SECONDS = 0.1  # between two meshes of a face; two or three are averaged over a pair of frames
SEARCH_SECONDS = 0.5  # between detections where no face is tracked
LOOK_ROUND_SECONDS = 1.5  # between detections where one is: another may have come
HOLD_SECONDS = 0.25  # a face that the mesh misses for so long has not left its place
FORGET_SECONDS = 5.0  # a lost face that comes back within is the same
NEAR, ALIKE = 1.5, 1.5  # eye distances from where it was lost, and the factor of its size, within which it is the same
AVERAGED_SECONDS = 0.25  # over which a transform is averaged: a pair of frames, and a frame's rounding
TURNED = 0.30  # eye distances of the nose's tip from the line between eyes and mouth; about 25 degrees
OUTSIDE = 0.1  # eye distances by which brows, cheeks or chin may leave the picture
CUT = 0.5  # correlation of neighbouring frames, of their walls, below which they show different scenes
LEAST_WALL = 0.2  # of the picture; where faces leave less, they count as well
HEAD = np.array([(-1.2, -1.1), (1.2, -1.1), (1.2, 1.8), (-1.2, 1.8)])  # spans a head, in face coordinates
THUMBNAIL = (32, 18)
SKIN = np.array([(-0.65, -0.36), (0.65, -0.36), (0.65, 1.27), (-0.65, 1.27)])  # spans what is watched, face coordinates
NOSE_TIP = 1


@dataclass(frozen=True)
class FaceView:
    """A face in a frame.

    Attributes:
        number: of the face, from 0.
        face_to_frame: (2, 3), face coordinates -> pixels of the frame, the mean over the last `AVERAGED_SECONDS`.
        since: seconds; the time since when it has been followed without a gap.
        reason: why its motion cannot be watched here; empty where it can.
    """

    number: int
    face_to_frame: np.ndarray
    since: float
    reason: str = ""


@dataclass
class _Track:
    number: int
    face: Face
    since: float
    seen: float  # when the mesh last held
    measured: float  # when it was last laid, well or not
    history: deque[tuple[float, np.ndarray]] = field(default_factory=deque)

    @property
    def place(self) -> np.ndarray:
        return face_transform(self.face.landmarks)

    def take(self, face: Face, seconds: float) -> None:
        self.face, self.seen, self.measured = face, seconds, seconds
        self.history.append((seconds, face.landmarks))


class FaceTracker:
    """Follows the faces of a stream.

    Args:
        folder: where the models of `faces_rcn` lie.

    Attributes:
        was_cut: whether the last frame began another scene.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        self.folder = folder
        self.was_cut = False
        self._tracks: list[_Track] = []
        self._numbers = 0
        self._looked = -math.inf
        self._thumbnail: np.ndarray | None = None

    def update(self, frame: np.ndarray, seconds: float) -> list[FaceView]:
        """Take the next frame.

        Args:
            frame: (H, W) grey, uint8.
            seconds: its time, later than that of the frame before.

        Returns:
            The faces that are there, by number. A face that has just been missed is held at its place for a moment.

        Raises:
            VideoError: for a frame of another shape or type.
            OSError: if a model is missing or altered.
        """
        self.was_cut = self._is_cut(frame)
        if self.was_cut:
            self._tracks.clear()
            self._looked = -math.inf
        for track in self._tracks:
            lost_long = seconds - track.seen > HOLD_SECONDS
            if seconds - track.measured >= MEASURE_SECONDS - 1e-6 and not lost_long:
                self._measure(track, frame, seconds)
        present = [track for track in self._tracks if seconds - track.seen <= HOLD_SECONDS]
        wait = LOOK_ROUND_SECONDS if present else SEARCH_SECONDS
        if seconds - self._looked >= wait - 1e-6:
            self._look_round(frame, seconds)
        self._tracks = [track for track in self._tracks if seconds - track.seen <= FORGET_SECONDS]
        present = [track for track in self._tracks if seconds - track.seen <= HOLD_SECONDS]
        return [self._view(track, frame, seconds) for track in sorted(present, key=lambda track: track.number)]

    def _is_cut(self, frame: np.ndarray) -> bool:
        """Whether the wall behind the faces is another; a hand before a face changes no scene."""
        half = cv2.pyrDown(frame)  # first, which is faster than to average over fractions of all pixels
        thumbnail = cv2.resize(half, THUMBNAIL, interpolation=cv2.INTER_AREA).astype(np.float32)
        before, self._thumbnail = self._thumbnail, thumbnail
        if before is None:
            return False
        wall = np.ones(thumbnail.shape, bool)
        scale = np.divide(THUMBNAIL, frame.shape[1::-1])
        for track in self._tracks:
            corners = (HEAD @ track.place[:, :2].T + track.place[:, 2]) * scale
            (left, top), (right, bottom) = np.maximum(np.floor(corners.min(0)), 0), np.ceil(corners.max(0))
            wall[int(top) : int(max(bottom, 0)), int(left) : int(max(right, 0))] = False
        if wall.mean() < LEAST_WALL:
            wall[:] = True
        before, thumbnail = before[wall] - before[wall].mean(), thumbnail[wall] - thumbnail[wall].mean()
        power = float(before @ before) * float(thumbnail @ thumbnail)
        # a deviation of one grey level: there is nothing to see in either
        return float(before @ thumbnail) < CUT * math.sqrt(power) if power > wall.sum() ** 2 else False

    def _measure(self, track: _Track, frame: np.ndarray, seconds: float) -> None:
        track.measured = seconds
        face = track_face(frame, track.face, self.folder)
        if face is not None and _is_near(track.face, face):
            track.take(face, seconds)

    def _look_round(self, frame: np.ndarray, seconds: float) -> None:
        """Find faces anew: go on with lost ones, number those that nobody has seen."""
        self._looked = seconds
        for face in find_faces(frame, self.folder):
            near = [track for track in self._tracks if _is_near(track.face, face)]
            if not near:
                self._tracks.append(_Track(self._numbers, face, seconds, seconds, seconds))
                self._tracks[-1].take(face, seconds)
                self._numbers += 1
                continue
            track = min(near, key=lambda track: _distance(track.face, face))
            if seconds - track.seen > HOLD_SECONDS:
                track.history.clear()
                track.since = seconds
                track.take(face, seconds)

    def _view(self, track: _Track, frame: np.ndarray, seconds: float) -> FaceView:
        while len(track.history) > 1 and track.history[0][0] < seconds - AVERAGED_SECONDS:
            track.history.popleft()
        landmarks = np.mean([landmarks for _, landmarks in track.history], axis=0)
        transform = face_transform(landmarks)
        return FaceView(track.number, transform, track.since, _reason(landmarks, transform, frame.shape))


def _distance(one: Face, other: Face) -> float:
    """Between the places of two faces, in eye distances of the first."""
    places = [face_transform(face.landmarks) @ (0, 0.4, 1) for face in (one, other)]
    return float(np.linalg.norm(places[1] - places[0])) / one.eye_distance


def _is_near(one: Face, other: Face) -> bool:
    size = other.eye_distance / one.eye_distance
    return _distance(one, other) < NEAR and 1 / ALIKE < size < ALIKE


def _reason(landmarks: np.ndarray, transform: np.ndarray, shape: tuple[int, ...]) -> str:
    scale = math.hypot(transform[0, 0], transform[1, 0])
    if scale < SMALLEST:
        return f"a face with eyes {scale:.0f} pixels apart; at least {SMALLEST:g} show a micro-expression"
    inverse = cv2.invertAffineTransform(transform)
    nose = inverse[:, :2] @ landmarks[NOSE_TIP] + inverse[:, 2]
    if abs(nose[0]) > TURNED:
        return "a face that is turned away from the camera"
    corners = SKIN @ transform[:, :2].T + transform[:, 2]
    beyond = max((-0.5 - corners).max(), (corners - shape[1::-1] + 0.5).max()) / scale
    if beyond > OUTSIDE:
        return "a face that the border of the picture cuts off"
    return ""


__all__ = ["FaceTracker", "FaceView"]
