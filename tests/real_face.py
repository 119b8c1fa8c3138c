"""A photograph of a person that an installed package brings along, for tests that need a real face."""

from importlib.metadata import files

import cv2

from mer_hf.rcn.decoding_rcn import load_video


def astronaut():
    """A woman from the waist up, (512, 512, 3) RGB."""
    (file,) = (file for file in files("scikit-image") if file.name == "astronaut.png")
    return load_video([file.locate()]).frames[0]


def portrait(side):
    """Her head, (side, side) grey."""
    picture = cv2.cvtColor(astronaut(), cv2.COLOR_RGB2GRAY)
    return cv2.resize(picture[0:220, 115:335], (side, side), interpolation=cv2.INTER_AREA)
