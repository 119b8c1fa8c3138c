"""The classical control: what principal components and a support vector machine make of the same flow and folds.

    flow (N, C, H, W) -> normalised -> with mirrored copies -> 100 principal components -> RBF machine -> class numbers

On real onset-to-apex flow it is as good as the networks and takes seconds, so a score says little without it beside it.
Needs scikit-learn: `pip install mer_hf[control]`.
"""

import numpy as np


def normalised(flow: np.ndarray) -> np.ndarray:
    """Each channel of each field less its median, over its median absolute deviation where that is above 0.

    Args:
        flow: (N, C, H, W), u and v, and perhaps strain.
    """
    centred = flow - np.median(flow, (2, 3), keepdims=True)
    deviation = np.median(np.abs(centred), (2, 3), keepdims=True)
    return centred / np.where(deviation > 0, deviation, 1)


def mirrored_flow(flow: np.ndarray) -> np.ndarray:
    """Flow (N, C, H, W) in a mirror: left is right, and u runs the other way."""
    flipped = flow[..., ::-1].copy()
    flipped[:, 0] *= -1
    return flipped


def control_predictions(
    flow: np.ndarray, labels: np.ndarray, held_out: np.ndarray, components: int = 100
) -> np.ndarray:
    """Fit the control on one side of a fold, and name the classes of the other.

    Args:
        flow: (N, C, H, W) of the training side.
        labels: (N,) its class numbers, two classes or more.
        held_out: (M, C, H, W) of the other side.
        components: principal components, fewer where there are not so many.

    Returns:
        (M,) class numbers.
    """
    from sklearn.decomposition import PCA
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import SVC

    learnt = normalised(np.concatenate([flow, mirrored_flow(flow)])).reshape(2 * len(flow), -1)
    components = min(components, *learnt.shape)
    machine = make_pipeline(PCA(components, random_state=0), SVC())  # scikit-learn's defaults: C = 1, gamma = scale
    machine.fit(learnt, np.tile(labels, 2))
    return machine.predict(normalised(held_out).reshape(len(held_out), -1))


__all__ = ["control_predictions", "mirrored_flow", "normalised"]
