"""What is known of an image's decoding, and what is only guessed."""

import pytest

from serving.engine.decode_latency import FEWEST_TO_KNOW, OUTLIER, DecodeLatency
from serving.engine.latency import FRESH_S
from serving.engine.sources import Size

PHOTO, BOMB, TINY = Size("JPEG", 12_000_000, 4_800_000), Size("PNG", 50_000_000, 6_000), 800
NOW = 100.0


def observe(latency: DecodeLatency, size: Size, *times: float, now: float = NOW) -> None:
    for seconds in times:
        latency.observe(size, seconds, seconds, now)


def test_the_first_image_is_only_guessed() -> None:
    guess = DecodeLatency().estimate(PHOTO, NOW)
    assert not guess.is_known
    assert guess.known_s == 0.0
    assert 0.03 < guess.usual_s < 0.15
    assert DecodeLatency().estimate(BOMB, NOW).longest_s > 0.1
    assert DecodeLatency().estimate(Size("PNG", TINY, TINY), NOW).longest_s < 0.001


def test_images_of_about_one_size_make_it_known() -> None:
    latency = DecodeLatency()
    for _ in range(FEWEST_TO_KNOW):
        assert not latency.estimate(PHOTO, NOW).is_known
        observe(latency, PHOTO, 0.06)
    known = latency.estimate(PHOTO, NOW)
    assert known.is_known
    assert known.known_s == pytest.approx(0.06)
    smaller = latency.estimate(Size("JPEG", 9_000_000, 3_600_000), NOW)
    assert smaller.known_s == pytest.approx(0.045, rel=0.01)


def test_images_of_another_size_or_kind_make_only_a_guess() -> None:
    latency = DecodeLatency()
    observe(latency, Size("JPEG", 200_000, 90_000), *[0.003] * 20)
    guess, other = latency.estimate(PHOTO, NOW), latency.estimate(BOMB, NOW)
    assert not guess.is_known
    assert guess.usual_s == pytest.approx(0.16, rel=0.2)  # twice the prior, as they took
    assert not other.is_known
    assert other == DecodeLatency().estimate(BOMB, NOW)


def test_a_tiny_image_that_took_long_at_first_says_nothing_of_large_ones() -> None:
    latency, fresh = DecodeLatency(), DecodeLatency()
    tiny = Size("PNG", TINY, TINY)
    observe(latency, tiny, 0.3)
    large = Size("PNG", 12_000_000, 4_000_000)
    assert latency.estimate(large, NOW) == fresh.estimate(large, NOW)
    assert latency.estimate(tiny, NOW).longest_s < 0.01
    observe(latency, tiny, 0.0002, 0.0002)
    assert latency.estimate(tiny, NOW).known_s == pytest.approx(0.0002)


def test_one_stall_is_not_what_the_next_image_takes() -> None:
    latency = DecodeLatency()
    observe(latency, PHOTO, *[0.06] * 20, 30.0)
    assert latency.estimate(PHOTO, NOW).usual_s == pytest.approx(0.06)


def test_decoding_that_slows_down_is_noticed() -> None:
    latency = DecodeLatency()
    observe(latency, PHOTO, *[0.06] * 50, *[0.18] * 9)
    assert latency.estimate(PHOTO, NOW).usual_s == pytest.approx(0.18)


def test_what_was_not_decoded_for_long_is_a_guess_again() -> None:
    latency = DecodeLatency()
    observe(latency, PHOTO, 0.6, 0.6, 0.6)
    assert latency.estimate(PHOTO, NOW + FRESH_S).is_known
    assert not latency.estimate(PHOTO, NOW + FRESH_S + 1).is_known
    observe(latency, PHOTO, 0.06, now=NOW + FRESH_S + 1)
    assert not latency.estimate(PHOTO, NOW + FRESH_S + 1).is_known  # one alone
    assert latency.estimate(PHOTO, NOW + FRESH_S + 1).usual_s == pytest.approx(0.06)


def test_one_slow_image_makes_those_like_it_look_slow_until_many_were_not() -> None:
    latency = DecodeLatency()
    observe(latency, PHOTO, *[0.06] * 20, 1.0)
    assert latency.estimate(PHOTO, NOW).longest_s == pytest.approx(1.0)
    assert latency.estimate(PHOTO, NOW + 1000).longest_s == pytest.approx(1.0)
    observe(latency, PHOTO, *[0.06] * 16)
    assert latency.estimate(PHOTO, NOW).longest_s == pytest.approx(0.06)


def test_a_thread_that_waits_for_a_core_makes_no_image_slow() -> None:
    latency = DecodeLatency()
    latency.observe(PHOTO, 1.0, 0.06, NOW)
    assert latency.estimate(PHOTO, NOW).longest_s < 0.1


def test_broken_images_make_slow_ones_of_their_size_no_quicker() -> None:
    latency = DecodeLatency()
    observe(latency, PHOTO, 1.0)
    for _ in range(20):
        latency.observe_failure(PHOTO, 0.0001)
    assert latency.estimate(PHOTO, NOW).longest_s == pytest.approx(1.0)


def test_a_slow_image_that_breaks_at_its_end_is_remembered() -> None:
    latency = DecodeLatency()
    latency.observe_failure(PHOTO, 1.0)
    assert latency.estimate(PHOTO, NOW).longest_s == pytest.approx(1.0)
    assert not latency.estimate(PHOTO, NOW).is_known


def test_an_image_counts_as_no_more_than_it_can_be_worth() -> None:
    latency = DecodeLatency()
    prior_s = latency.estimate(PHOTO, NOW).usual_s
    observe(latency, PHOTO, 1e6)
    assert latency.estimate(PHOTO, NOW).longest_s == pytest.approx(OUTLIER * prior_s)
