"""Training a network on drawn sequences, the threshold of a stated rate, and scores."""

import dataclasses

import numpy as np
import pytest
import torch

import recorded
from mer_hf.rcn.configuration_spotting_rcn import RcnSpottingConfig
from mer_hf.rcn.events_rcn import SpottedEvent
from mer_hf.rcn.spotting_rcn import RcnForSpotting
from mer_hf.training.spotting import (
    SpottingRecipe,
    Watched,
    drawn_batches,
    score_watched,
    threshold_at,
    train_spotter,
    watch_drawn,
)

TINY = RcnSpottingConfig(
    backbone_kwargs={"width": 8}, moment_size=8, hidden_size=12, offsets=[-4, -2, -1, 0, 1, 2, 4, 8]
)
EASY = dataclasses.replace(recorded.EASY, without=0.2)


def event(apex, score, length=0.5):
    return SpottedEvent(apex - 0.15, apex, apex - 0.15 + length, score, ("upper",))


def trained(steps, seed=0):
    torch.manual_seed(0)
    model = RcnForSpotting(TINY)
    # so few sequences a step need more steps until the statistics of batches can be fixed
    recipe = SpottingRecipe(
        steps=steps, batch_size=4, seconds=6.0, learning_rate=1e-2, pieces=1, warm_up=150, seed=seed
    )
    return model, train_spotter(model, recipe, EASY)


def test_training_is_a_function_of_its_seed():
    (first, losses), (again, others), (_, different) = trained(3), trained(3), trained(3, seed=1)
    assert losses == others and losses != different
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not first.training


def test_pieces_are_those_of_the_whole_sequences_one_after_the_other():
    recipe = SpottingRecipe(steps=2, batch_size=3, seconds=4.0, pieces=1)
    whole = drawn_batches(recipe, EASY, torch.device("cpu"))
    pieces = drawn_batches(dataclasses.replace(recipe, pieces=2), EASY, torch.device("cpu"))
    for (inputs, targets), (cut, cut_targets) in zip(whole, pieces, strict=True):
        assert len(cut) == 6 and cut.shape[1] == 50
        assert torch.equal(inputs[1], torch.cat([cut[2], cut[3]])) and torch.equal(targets[2, 50:], cut_targets[5])


def test_norms_keep_their_statistics_after_the_warm_up():
    model = RcnForSpotting(TINY)
    norm, seen = model.layer.recurrent_norm[0], []
    train_spotter(
        model,
        SpottingRecipe(steps=6, batch_size=2, seconds=2.0, warm_up=3),
        EASY,
        report=lambda step, loss: seen.append(norm.running_mean.clone()),
    )
    assert not torch.equal(seen[0], seen[2])
    assert torch.equal(seen[3], seen[5])


def test_weights_are_the_mean_of_those_of_the_steps_late_ones_counting_most():
    torch.manual_seed(0)
    model, seen = RcnForSpotting(TINY), []
    recipe = SpottingRecipe(steps=20, batch_size=2, seconds=4.0, pieces=1)
    train_spotter(model, recipe, EASY, report=lambda *_: seen.append([w.detach().clone() for w in model.parameters()]))
    mean = seen[0]
    for weights in seen[1:]:
        mean = [0.5 * before + 0.5 * now for before, now in zip(mean, weights, strict=True)]  # 1 - 1 / (.1 x 20)
    for weight, expected in zip(model.parameters(), mean, strict=True):
        torch.testing.assert_close(weight.detach(), expected)
    assert not torch.equal(seen[-1][0], mean[0])


@pytest.mark.slow
def test_a_small_network_learns_to_find_plain_expressions():
    model, losses = trained(300)
    assert np.mean(losses[-20:]) < 0.6 * np.mean(losses[5:25])
    watched = watch_drawn(model, 24, seed=5, settings=EASY, seconds=6.0)
    chosen = threshold_at(watch_drawn(model, 24, seed=6, settings=EASY, seconds=6.0), 2.0)
    assert score_watched(watched, chosen)["apex_recall"] > 0.5


def test_the_threshold_lets_as_many_false_ones_through_as_stated():
    truth = np.array([[3.0, 3.15, 3.5]])
    watched = [Watched((event(3.2, 0.95), event(7.0, 0.1 * number)), truth, 12.0) for number in range(1, 10)]
    for rate in (0.0, 1.0, 2.0):
        threshold = threshold_at(watched, rate)
        false = [e for one in watched for e in one.found if e.score >= threshold and not one.is_true(e)]
        assert len(false) == int(rate * 9 * 12 / 60)
    assert threshold_at(watched[:1], 60.0) == 0.05


def test_scores_are_those_of_a_count_by_hand():
    truth = np.array([[3.0, 3.15, 3.5], [6.0, 6.2, 6.6], [9.0, 9.2, 9.6]])
    found = (event(3.17, 0.9), event(6.15, 0.8, length=2.0), event(10.5, 0.7), event(1.0, 0.2))
    scores = score_watched([Watched(found, truth, 60.0)], 0.5)
    assert scores["precision"] == pytest.approx(1 / 3) and scores["recall"] == pytest.approx(1 / 3)
    assert scores["apex_recall"] == pytest.approx(2 / 3) and scores["false_a_minute"] == 1
    assert scores["apex_error"] == pytest.approx(0.035) and scores["events"] == 3
    assert scores["onset_error"] == pytest.approx(0.01) and scores["minutes"] == 1


def test_what_the_end_of_a_sequence_cuts_off_is_left_out():
    model = RcnForSpotting(TINY).eval()
    settings = dataclasses.replace(EASY, without=0.0)
    watched = watch_drawn(model, 3, seed=0, settings=settings, seconds=4.0)
    assert len(watched) == 3 and all((one.truth[:, 1] < 3.4).all() for one in watched)
    assert all(event.apex < 3.4 for one in watched for event in one.found)
