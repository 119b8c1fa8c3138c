"""Drawn long video: what is true of it, and that it moves as that says."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from mer_hf.drawn.expression import ExpressionStatistics
from mer_hf.drawn.sequences import (
    LOWER_SETS,
    LOWER_UNITS,
    NEAR,
    RATE,
    TARGETS,
    UPPER_SETS,
    UPPER_UNITS,
    SequenceSettings,
    draw_sequences,
    held_back_sequences,
)
from mer_hf.errors import MerHfError

PLACES = torch.stack(torch.meshgrid(torch.linspace(-0.8, 0.8, 9), torch.linspace(-0.5, 1.3, 16), indexing="xy"))
NOTHING = (0.0, 0.5)
STILL = SequenceSettings(
    speakers=0.0,
    macro=0.0,
    blinks=NOTHING,
    glances=NOTHING,
    chewing=0.0,
    swallowing=0.0,
    head_speed=NOTHING,
    shifts=0.0,
    noise=NOTHING,
    noise_of_motion=NOTHING,
    keyframe_shift=NOTHING,
    flat=0.0,
    outliers=0.0,
    lost=0.0,
    without=0.0,
    stays=0.0,
    expression=ExpressionStatistics(remainder=(0.0, 0.0)),
    frame_rates=(25.0, 25.0),
)


def draw(count=8, seconds=12.0, settings=None, seed=0):
    return draw_sequences(count, seconds, PLACES, torch.Generator().manual_seed(seed), settings)


@pytest.fixture(scope="module")
def drawn():
    return draw(64)


def test_shapes_and_ranges(drawn):
    assert drawn.motion.shape == (64, 300, 2, 16, 9) and drawn.targets.shape == (64, 300, len(TARGETS))
    assert drawn.motion.isfinite().all() and drawn.motion.abs().max() < 3
    assert drawn.targets.min() == 0 and drawn.targets.max() == 1


def test_a_seed_gives_the_same_and_another_does_not():
    first, again, other = draw(2), draw(2), draw(2, seed=1)
    assert torch.equal(first.motion, again.motion) and torch.equal(first.targets, again.targets)
    assert not torch.equal(first.motion, other.motion)


def test_two_fifths_hold_no_micro_expression(drawn):
    empty = drawn.events[..., 0].isnan().all(1).float().mean()
    assert 0.2 < empty < 0.6


def test_times_of_micro_expressions_are_those_of_the_settings(drawn):
    onset, apex, offset = (drawn.events[..., index][~drawn.events[..., 0].isnan()] for index in range(3))
    settings = SequenceSettings()
    assert (apex - onset).min() >= settings.rise[0] - 1e-4 and (apex - onset).max() <= settings.rise[1] + 1e-4
    assert (offset - apex).min() >= settings.fall[0] - 1e-4


def test_targets_are_what_the_events_say(drawn):
    """The twin goes event by event and moment by moment."""
    for index in range(12):
        expected = np.zeros((300, 8))
        for (onset, apex, offset), parts in zip(drawn.events[index].tolist(), drawn.parts[index].tolist(), strict=True):
            if math.isnan(onset):
                assert not any(parts)
                continue
            assert any(parts)
            for part in np.flatnonzero(parts):
                for tick in range(300):
                    now = tick / RATE
                    column = 4 * part
                    expected[tick, column] = max(expected[tick, column], float(onset <= now <= offset))
                    for place, moment in enumerate((onset, apex, offset), start=1):
                        near = math.exp(-(((now - moment) / NEAR) ** 2) / 2)
                        expected[tick, column + place] = max(expected[tick, column + place], near)
        assert np.abs(drawn.targets[index, :, :8].numpy() - expected).max() < 1e-3


def test_a_still_face_moves_only_in_its_expressions():
    drawn = draw(16, settings=STILL)
    moving = drawn.motion.abs().amax((2, 3, 4)) > 1e-6
    times = torch.arange(300) / RATE
    onset, _, offset = drawn.events.nan_to_num(math.inf).unbind(2)
    # a pair spans .2 s, so it sees an expression for as long after its end
    may = ((times > onset[..., None]) & (times < offset[..., None] + 0.25)).any(1)
    assert not (moving & ~may).any()
    assert moving.any(1).all()


def test_what_rises_falls_again():
    """The motion of pairs that follow one another, .2 s each, is the way from the first frame to the last."""
    settings = dataclasses.replace(STILL, fall=(0.1, 0.5), most_micro=1)
    drawn = draw(16, settings=settings)
    over = drawn.events[..., 2].nan_to_num(0).amax(1) < 11.5
    way = drawn.motion[over][:, ::5].sum(1)
    assert over.sum() > 8 and way.abs().max() < 1e-5 < drawn.motion[over].abs().max()


def test_what_is_left_at_an_offset_goes_in_as_long_as_the_expression_took():
    left = ExpressionStatistics(remainder=(0.2, 0.2))
    drawn = draw(16, settings=dataclasses.replace(STILL, fall=(0.3, 0.5), most_micro=1, expression=left))
    onset, _, offset = drawn.events[:, 0].unbind(1)
    over = offset + (offset - onset)
    whole = over < 11.5
    times, moving = torch.arange(300) / RATE, drawn.motion.abs().amax((2, 3, 4)) > 1e-6
    after = (times > offset[:, None] + 0.25) & (times < over[:, None])
    assert whole.sum() > 8 and (moving | ~after)[whole].all() and after[whole].any(1).all()
    assert not (moving & (times > over[:, None] + 0.25))[whole].any()


def test_an_expression_moves_the_part_of_the_face_that_it_is_said_to_move():
    settings = dataclasses.replace(STILL, most_micro=1, upper_sets={(1, 2): 1.0}, lower_sets={(17,): 1.0})
    drawn = draw(24, settings=settings)
    energy = drawn.motion.square().sum((1, 2, 4))  # (B, rows)
    above = PLACES[1, :, 0] < 0.3
    upper = energy[:, above].sum(1) > energy[:, ~above].sum(1)
    assert torch.equal(upper, drawn.parts[:, 0, 0])
    assert torch.equal(~upper, drawn.parts[:, 0, 1])


def test_speech_moves_the_mouth_and_is_marked():
    settings = dataclasses.replace(STILL, speakers=1.0, lively=0.0, accents=NOTHING, without=1.0)
    drawn = draw(16, settings=settings)
    speaks = drawn.targets[..., TARGETS.index("speech")] > 0
    energy = drawn.motion.square().sum(2)
    assert energy[speaks][:, PLACES[1, :, 0] > 0.7].mean() > 20 * energy[speaks][:, PLACES[1, :, 0] < 0.2].mean()
    assert energy[~speaks].mean() < 0.05 * energy[speaks].mean()


def test_blinks_move_the_lids_most_and_are_marked():
    settings = dataclasses.replace(STILL, blinks=(40.0, 0.1), hard_blink=0.0, without=1.0)
    drawn = draw(16, settings=settings)
    shut = drawn.targets[..., TARGETS.index("blink")] > 0
    energy = drawn.motion.square().sum((2, 4))
    assert 0.02 < shut.float().mean() < 0.6
    assert PLACES[1, energy[shut].mean(0).argmax(), 0].abs() < 0.2


@pytest.mark.parametrize("renewed", [1.0, 0.3, 0.03])
def test_noise_shows_once_and_inverted_a_fifth_of_a_second_later_and_fades_as_fast_as_it_is_renewed(renewed):
    settings = dataclasses.replace(STILL, noise=(0.002, 0.0), noise_renewed=(renewed, renewed), without=1.0)
    noise, fresh = (
        draw(16, settings=each).motion for each in (settings, dataclasses.replace(settings, noise_renewed=(1.0, 1.0)))
    )
    stays = 1 - renewed

    def between(lag):  # of two frames
        return stays ** abs(lag)

    for lag in range(8):
        correlation = (noise[:, lag:] * noise[:, : 300 - lag]).mean() / noise.square().mean()
        expected = (2 * between(lag) - between(lag - 5) - between(lag + 5)) / (2 - 2 * between(5))
        assert correlation == pytest.approx(expected, abs=0.03)
    assert noise.std().item() == pytest.approx(fresh.std().item(), rel=0.08), "however fast it is renewed"


def test_what_a_coder_repeats_in_plain_skin_comes_and_goes_in_a_few_cells():
    drawn = draw(16, settings=dataclasses.replace(STILL, flat=1.0, flat_shift=(0.01, 0.0), without=1.0))
    cells = drawn.motion.square().sum(2).mean(1).flatten(1).sort(1, descending=True).values
    assert (cells[:, :36].sum(1) > 0.7 * cells.sum(1)).all()  # a quarter of the face
    frames = drawn.motion.unflatten(1, (60, 5)).cumsum(1)  # off in a frame, less what was off in the first
    assert frames.abs().max() < 2.5 * drawn.motion.abs().max()
    assert (drawn.motion[:, 1:] * drawn.motion[:, :-1]).mean() > 0.1 * drawn.motion.square().mean()


def test_nobody_makes_a_micro_expression_in_lively_speech():
    settings = SequenceSettings(speakers=1.0, lively=1.0, without=0.0)
    drawn = draw(32, settings=settings)
    speaks = drawn.targets[..., TARGETS.index("speech")] > 0
    apexes = drawn.events[..., 1].nan_to_num(-1)
    rows, _ = torch.nonzero((apexes > 0) & (apexes < 11), as_tuple=True)
    at = (RATE * apexes[(apexes > 0) & (apexes < 11)]).round().long()
    assert len(rows) > 8 and not speaks[rows, at].any()


def test_the_head_is_in_the_motion():
    drawn = draw(8, settings=dataclasses.replace(STILL, head_speed=(0.2, 0.1), without=1.0))
    assert drawn.motion.mean((3, 4)).abs().mean() > 0.003


def test_a_head_that_is_put_elsewhere_is_fast_for_a_while():
    drawn = draw(32, settings=dataclasses.replace(STILL, shifts=2.0, shift_reach=(0.3, 0.3001), without=1.0))
    speed = drawn.motion.norm(dim=2).mean((2, 3))  # (B, T), over .2 s
    assert 0.05 < (speed > 0.03).float().mean() < 0.5 and (speed < 1e-6).float().mean() > 0.3


def test_every_unit_belongs_to_a_part():
    units = set(SequenceSettings().action_units)
    assert units == UPPER_UNITS | LOWER_UNITS
    assert {unit for members in UPPER_SETS for unit in members} <= UPPER_UNITS
    assert {16, 18, 38} <= {unit for members in LOWER_SETS for unit in members}


def test_held_back_settings_are_shifted():
    held_back = held_back_sequences()
    assert held_back["table"].action_units != SequenceSettings().action_units
    assert set(held_back["table"].action_units) == set(SequenceSettings().action_units)
    assert all(settings != SequenceSettings() for settings in held_back.values())


def test_nothing_to_draw_is_refused():
    with pytest.raises(MerHfError, match="nothing to draw"):
        draw(0)
    with pytest.raises(MerHfError, match="nothing to draw"):
        draw(1, seconds=1.0)


def test_calm_speakers_accent_with_their_brows_less_often_than_lively_ones_and_further():
    """What moves above the eyes while they speak with a mouth that keeps still."""
    settings = dataclasses.replace(STILL, speakers=1.0, without=1.0, speech_reach=NOTHING, visible=(0.5, 0.5))
    settings = dataclasses.replace(settings, accents=(40.0, 0.0))
    above = PLACES[1, :, 0] < -0.1
    mute, calm, lively = (
        draw(48, settings=dataclasses.replace(settings, **other)).motion[..., above, :].abs().amax((1, 2, 3, 4))
        for other in ({"lively": 0.0, "accents": NOTHING}, {"lively": 0.0}, {"lively": 1.0})
    )
    assert mute.max() < 1e-6 and lively.median() > 0.008
    accented = calm > 0.001
    assert 0.2 < accented.float().mean() < (lively > 0.001).float().mean()
    assert calm[accented].min() > 0.2 * settings.quick_amplitude[0]


def test_a_quick_expression_rises_as_a_micro_expression_and_goes_further_than_any():
    settings = dataclasses.replace(STILL, without=1.0, macro=2.0, quick=1.0, visible=(0.5, 0.5))
    drawn = draw(32, settings=settings)
    going_on = drawn.targets[..., TARGETS.index("macro")] > 0
    length = drawn.motion.norm(dim=2).amax((2, 3))  # (B, T), over .2 s
    assert length[~going_on].median() < 1e-6  # but for what is left of one
    fastest = torch.stack([length[index][going_on[index]].max() for index in range(32) if going_on[index].any()])
    assert fastest.median() > 0.5 * settings.amplitude[1]
    slow = draw(32, settings=dataclasses.replace(settings, quick=0.0)).motion.norm(dim=2).amax((1, 2, 3))
    assert fastest.median() > 3 * slow[slow > 0].median()


def test_where_flow_is_lost_it_finds_much_and_nothing_that_lasts():
    drawn = draw(32, settings=dataclasses.replace(STILL, lost=2.0, lost_shift=(0.1, 0.0), without=1.0))
    lost = drawn.motion.abs().amax((2, 3, 4)) > 0
    assert 0.02 < lost.float().mean() < 0.3
    both = lost[:, 1:] & lost[:, :-1]
    before, after = drawn.motion[:, :-1][both], drawn.motion[:, 1:][both]
    assert before.square().mean().sqrt() > 0.03
    assert (before * after).mean().abs() < 0.1 * before.square().mean()


def test_the_head_of_a_lively_speaker_moves_more_than_that_of_a_silent_one():
    settings = dataclasses.replace(STILL, without=1.0, head_speed=(0.1, 0.1), speech_reach=NOTHING, accents=NOTHING)
    silent, lively = (
        draw(32, settings=one).motion.mean((3, 4)).norm(dim=2).mean()
        for one in (settings, dataclasses.replace(settings, speakers=1.0, lively=1.0))
    )
    assert 1.6 < lively / silent < 4
