"""Events out of moments: their times, their parts, one of each, at once and as they come."""

import numpy as np
import pytest

from mer_hf.rcn.events_rcn import LONGEST_FALL, SEEN, UNSEEN, EventDecoder, decode

TIMES = np.arange(300) / 25


def moments(*events, count=300):
    """What a network that is always right says: events are (part, onset, apex, offset), or with a score after it."""
    told = np.zeros((count, 11))
    times = np.arange(count) / 25
    for part, onset, apex, offset, *score in events:
        strength = score[0] if score else 1.0
        told[(times >= onset) & (times <= offset), 4 * part] = strength
        for place, moment in enumerate((onset, apex, offset), start=1):
            near = strength * np.exp(-(((times - moment) / 0.06) ** 2) / 2)
            told[:, 4 * part + place] = np.maximum(told[:, 4 * part + place], near)
    return told


def test_an_event_has_its_times_and_its_part():
    (event,) = decode(TIMES, moments((0, 3.0, 3.2, 3.6)), 0.5)
    assert (event.onset, event.apex, event.offset) == pytest.approx((3.0, 3.2, 3.6))
    assert event.parts == ("upper",) and event.kind == "micro" and event.score > 0.9


def test_a_face_that_rests_has_none():
    assert decode(TIMES, moments(), 0.1) == []


def test_a_long_fall_is_an_event_and_still_brief():
    (event,) = decode(TIMES, moments((1, 3.0, 3.2, 5.8)), 0.5)
    assert event.offset == pytest.approx(5.8) and event.kind == "micro"


def test_it_ends_where_its_end_is_likeliest_however_slowly_the_doubt_goes():
    told = moments((1, 3.0, 3.1, 3.4))
    fades = (TIMES > 3.4) & (TIMES <= 3.8)
    told[fades, 4] = np.linspace(0.9, 0.4, fades.sum())
    told[fades, 7] = np.maximum(told[fades, 7], 0.5)
    (event,) = decode(TIMES, told, 0.5)
    assert event.offset == pytest.approx(3.4)


def without_ends(*events, sure=0.0):
    """What it says where it sees the face come to rest, but no expression end."""
    told = moments(*events)
    told[:, [3, 7]] *= sure
    return told


def test_a_fall_that_nobody_saw_takes_its_time():
    (event,) = decode(TIMES, without_ends((0, 3.0, 3.2, 3.4), sure=0.9 * SEEN), 0.5)
    assert event.offset == pytest.approx(3.2 + UNSEEN / 25) and event.kind == "micro"
    (event,) = decode(TIMES, without_ends((0, 3.0, 3.2, 3.4), sure=1.1 * SEEN), 0.5)
    assert event.offset == pytest.approx(3.4)


def test_a_fall_that_nobody_saw_ends_with_the_next_expression_and_with_what_is_watched():
    first, _ = decode(TIMES, without_ends((0, 3.0, 3.2, 3.3), (0, 3.4, 3.6, 3.9)), 0.5)
    assert first.offset == pytest.approx(3.4)
    (event,) = decode(TIMES[:88], without_ends((0, 3.0, 3.2, 3.3))[:88], 0.5)
    assert event.offset == pytest.approx(TIMES[87])


def test_a_slow_rise_and_a_long_stay_is_no_micro_expression():
    (event,) = decode(TIMES, moments((1, 3.0, 3.36, 5.0)), 0.5)
    assert event.kind == "macro"


def test_a_fall_without_an_end_is_cut_after_three_seconds():
    (event,) = decode(TIMES, moments((1, 3.0, 3.2, 11.0)), 0.5)
    assert event.offset == pytest.approx(3.2 + LONGEST_FALL / 25, abs=0.1)


def test_both_parts_at_once_are_one_event():
    (event,) = decode(TIMES, moments((0, 3.0, 3.2, 3.6), (1, 3.0, 3.28, 3.7, 0.8)), 0.5)
    assert event.parts == ("upper", "lower") and event.apex == pytest.approx(3.2)


def test_parts_one_after_the_other_are_two_events():
    upper, lower = decode(TIMES, moments((0, 3.0, 3.2, 3.6), (1, 4.0, 4.2, 4.6)), 0.5)
    assert (upper.parts, lower.parts) == (("upper",), ("lower",))


def test_a_second_expression_ends_the_first():
    first, second = decode(TIMES, moments((0, 3.0, 3.2, 4.2), (0, 4.1, 4.3, 4.8)), 0.5)
    assert first.apex == pytest.approx(3.2) and second.onset == pytest.approx(4.1, abs=0.03)


def test_scores_below_the_threshold_are_left_out():
    told = moments((0, 3.0, 3.2, 3.6, 0.4), (0, 6.0, 6.2, 6.6))
    assert [event.apex for event in decode(TIMES, told, 0.6)] == pytest.approx([6.2])
    assert len(decode(TIMES, told, 0.2)) == 2


def test_a_threshold_leaves_events_out_and_changes_no_other():
    rng, blur = np.random.default_rng(3), np.exp(-(np.linspace(-2, 2, 9) ** 2))
    for _ in range(20):
        noise = rng.uniform(0, 1, (300, 11)) ** 3
        told = np.clip([np.convolve(column, blur / 2, "same") for column in noise.T], 0, 1).T
        everything = decode(TIMES, told, 0.05)
        for threshold in (0.2, 0.4, 0.6):
            assert decode(TIMES, told, threshold) == [event for event in everything if event.score >= threshold]


def test_an_event_comes_as_soon_as_it_is_over():
    decoder, told = EventDecoder(0.5), moments((0, 3.0, 3.2, 3.6))
    for tick, row in enumerate(told):
        if decoder.push(tick / 25, row):
            break
    assert 3.6 < tick / 25 <= 4.0


def test_what_is_open_when_the_face_goes_is_ended():
    (event,) = decode(TIMES[:85], moments((0, 3.0, 3.2, 5.0))[:85], 0.5)
    assert event.apex == pytest.approx(3.2) and event.offset <= TIMES[84]


def test_an_apex_in_the_last_moments_is_found():
    (event,) = decode(TIMES[:82], moments((0, 3.0, 3.2, 5.0))[:82], 0.3)
    assert event.apex == pytest.approx(3.2)


def test_noise_never_breaks_it_and_its_memory_does_not_grow():
    rng, decoder = np.random.default_rng(0), EventDecoder(0.05)
    found = []
    for tick in range(5000):
        found += decoder.push(tick / 25, rng.uniform(0, 1, 11) ** 3)
        assert len(decoder.times) < 500 and len(decoder.open) < 50
    found += decoder.finish()
    assert len(found) > 100
    assert all(event.onset <= event.apex <= event.offset for event in found)
    apexes = sorted(event.apex for event in found)
    assert np.diff(apexes).min() > 0, "no moment is the apex of two events"
