import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.svm import SVC

from mer_hf.training.control import control_predictions, mirrored_flow, normalised


def flow_of(labels, seed, noise=0.5):
    """Motion to one side or the other, in the upper or in the lower half, by class."""
    rng = np.random.default_rng(seed)
    flow = rng.normal(0, noise, (len(labels), 2, 8, 8))
    flow[:, 1, :4] += np.where(labels == 0, 1, 0)[:, None, None]
    flow[:, 1, 4:] += np.where(labels == 1, 1, 0)[:, None, None]
    return flow


def test_each_channel_is_taken_off_its_median_and_put_on_its_own_scale():
    flow = np.random.default_rng(0).normal(3, 7, (3, 2, 5, 5))
    flow[2, 1] = 4  # a still channel
    found = normalised(flow)
    for clip in range(3):
        for channel in range(2):
            values = sorted(flow[clip, channel].ravel())
            centred = flow[clip, channel] - values[12]
            deviation = sorted(np.abs(centred).ravel())[12]
            np.testing.assert_allclose(found[clip, channel], centred / (deviation or 1))
    np.testing.assert_allclose(normalised(5 * flow[:2] + 1), found[:2])


def test_a_mirror_shows_the_columns_reversed_and_u_inverted():
    flow = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    found = mirrored_flow(flow)
    for column in range(5):
        np.testing.assert_array_equal(found[:, 0, :, column], -flow[:, 0, :, 4 - column])
        np.testing.assert_array_equal(found[:, 1:, :, column], flow[:, 1:, :, 4 - column])


def test_the_control_learns_what_can_be_learnt_and_is_what_its_parts_make_of_the_same_clips():
    labels = np.arange(60) % 2
    flow, held_out = flow_of(labels, 0), flow_of(labels, 1)
    found = control_predictions(flow, labels, held_out, components=10)
    assert (found == labels).mean() > 0.9
    copies = np.concatenate([normalised(flow), normalised(mirrored_flow(flow))]).reshape(120, -1)
    pca = PCA(10, random_state=0).fit(copies)
    machine = SVC(kernel="rbf", C=1, gamma="scale").fit(pca.transform(copies), np.concatenate([labels, labels]))
    assert found.tolist() == machine.predict(pca.transform(normalised(held_out).reshape(60, -1))).tolist()


def test_a_mirrored_clip_is_of_the_same_class():
    labels = np.arange(60) % 2
    flow, held_out = flow_of(labels, 0), flow_of(labels, 1)
    straight, reversed_ = (control_predictions(flow, labels, part) for part in (held_out, mirrored_flow(held_out)))
    assert (straight == reversed_).mean() > 0.9


@pytest.mark.parametrize("clips", [3, 8])
def test_fewer_clips_than_components_are_enough(clips):
    labels = np.arange(clips) % 2
    assert len(control_predictions(flow_of(labels, 0), labels, flow_of(labels, 1))) == clips
