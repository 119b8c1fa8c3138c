"""The files that a pushed model is made of."""

from mer_hf.hub.folder import CODE

PARTS = {
    *("config.json", "model.safetensors", "video_preprocessor_config.json", "NOTICE"),
    *("face_detection_short_range.tflite", "face_landmark.tflite", *CODE),
}


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}
