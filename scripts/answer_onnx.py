"""Name the micro-expression between two aligned crops of a face, without mer_hf: numpy, OpenCV and onnxruntime alone.

    mer-hf export default --to onnx --out default.onnx
    python scripts/answer_onnx.py default.onnx onset.png apex.png

The crops are grey and show a face from the brows to the chin as the model in the package sees it, both cut out by one
transform. To find the face and the apex is the caller's part. `flow_input` is what RcnVideoProcessor makes of a clip.
"""

import argparse
import json

import cv2
import numpy as np
import onnxruntime


def flow_input(onset: np.ndarray, apex: np.ndarray, crop: int = 128, side: int = 28) -> np.ndarray:
    """Two grey crops (H, W) uint8 -> (1, 1, 3, side, side): u, v and strain, each on a scale of its own."""
    onset, apex = (cv2.resize(picture, (crop, crop), interpolation=cv2.INTER_AREA) for picture in (onset, apex))
    estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    estimator.setFinestScale(0)
    estimator.setVariationalRefinementIterations(5)
    flow = cv2.resize(estimator.calc(onset, apex, None), (side, side), interpolation=cv2.INTER_AREA)
    flow = np.moveaxis(flow, 2, 0)
    middle = (side * side - 1) // 2  # the lower of the two in the middle
    flow = flow - np.partition(flow.reshape(2, -1), middle)[:, middle, None, None]  # the head's motion
    (uy, ux), (vy, vx) = (np.gradient(part) for part in flow)
    strain = np.sqrt(ux**2 + vy**2 + (uy + vx) ** 2 / 2)[None]
    scaled = [part / max(np.sqrt((part**2).mean()), 1e-6) for part in (flow, strain)]
    return np.concatenate(scaled).astype(np.float32)[None, None]


def answer(session: onnxruntime.InferenceSession, pixel_values_videos: np.ndarray) -> list[dict[str, float]]:
    """The scores of each clip by class, the likeliest first."""
    about = json.loads(session.get_modelmeta().custom_metadata_map["mer_hf.json"])
    scores = session.run(["scores"], {"pixel_values_videos": pixel_values_videos})[0]
    named = [zip(about["classes"], row.tolist(), strict=True) for row in scores]
    return [dict(sorted(row, key=lambda item: -item[1])) for row in named]


def main() -> None:
    """Read, answer, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", help="what `mer-hf export default` wrote")
    parser.add_argument("onset", help="picture of the aligned face at rest")
    parser.add_argument("apex", help="picture of the same face at the height of the expression")
    arguments = parser.parse_args()
    session = onnxruntime.InferenceSession(arguments.network, providers=["CPUExecutionProvider"])
    onset, apex = (cv2.imread(path, cv2.IMREAD_GRAYSCALE) for path in (arguments.onset, arguments.apex))
    if onset is None or apex is None:
        parser.error(f"{arguments.onset if onset is None else arguments.apex} is no picture that OpenCV can read")
    print(json.dumps(answer(session, flow_input(onset, apex))[0]))


if __name__ == "__main__":
    main()
