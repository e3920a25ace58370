"""Learning rates against numbers worked out by hand."""

from pathlib import Path

import numpy as np
import pytest

from training.schedules import draw, learning_rates
from training.settings.train_config import TrainConfig

HALF = np.sqrt(0.5)


def test_cosine_is_stepped_per_epoch_and_not_shifted_by_the_warm_up() -> None:
    config = TrainConfig(lr=0.8, max_epoch=4, T_max=4, warmup_epochs=1)
    rates = learning_rates(config, steps_per_epoch=4)
    warm_up = [0.2, 0.4, 0.6, 0.8]
    cosine = [0.4 * (1 + HALF)] * 4 + [0.4] * 4 + [0.4 * (1 - HALF)] * 4
    np.testing.assert_allclose(rates, warm_up + cosine, rtol=1e-6)
    assert rates.dtype == np.float32


def test_a_cosine_per_step_falls_with_every_step_and_is_not_shifted_either() -> None:
    config = TrainConfig(lr=2.0, max_epoch=2, T_max=2, warmup_epochs=1, lr_per_step=True)
    rates = learning_rates(config, steps_per_epoch=4)
    eighths = 1 + np.cos(np.pi * np.arange(8) / 8)
    np.testing.assert_allclose(rates, [0.5, 1, 1.5, 2, *eighths[4:]], rtol=1e-6)
    assert rates[4] == pytest.approx(1.0)
    assert rates[6] == pytest.approx(1 - HALF)


def test_cosine_ends_at_eta_min() -> None:
    config = TrainConfig(lr=1.0, eta_min=0.5, max_epoch=3, T_max=2, warmup_epochs=0)
    np.testing.assert_allclose(learning_rates(config, 1), [1.0, 0.75, 0.5])


@pytest.mark.parametrize("name", ["multistep", "exponential"])
def test_multistep_decays_at_each_milestone(name: str) -> None:
    config = TrainConfig(
        lr=1.0, lr_scheduler=name, lr_epochs=(1, 3), lr_gamma=0.5, max_epoch=4, warmup_epochs=0
    )
    np.testing.assert_allclose(learning_rates(config, 2), [1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25])


def test_the_reference_run_starts_and_ends_where_it_should() -> None:
    rates = learning_rates(TrainConfig(), steps_per_epoch=10)
    assert len(rates) == 1500
    assert rates[0] == pytest.approx(0.005)
    assert rates[9] == pytest.approx(0.05)
    assert rates[10] == pytest.approx(0.05 * (1 + np.cos(np.pi / 150)) / 2)
    assert rates[-1] == pytest.approx(0.05 * (1 + np.cos(np.pi * 149 / 150)) / 2)


def test_a_cosine_longer_than_t_max_rises_again_as_the_upstreams_does() -> None:
    config = TrainConfig(lr=1.0, max_epoch=5, T_max=2, warmup_epochs=0)
    np.testing.assert_allclose(learning_rates(config, 1), [1, 0.5, 0, 0.5, 1], atol=1e-7)


def test_warm_up_lasts_whole_epochs_and_hides_what_the_schedule_says_of_them() -> None:
    config = TrainConfig(
        lr=0.6, lr_scheduler="multistep", lr_epochs=(1, 3), max_epoch=4, warmup_epochs=2
    )
    expected = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.06, 0.06, 0.06, 0.006, 0.006, 0.006]
    np.testing.assert_allclose(learning_rates(config, 3), expected, rtol=1e-6)


def test_the_drawing_is_the_same_each_time(tmp_path: Path) -> None:
    for name in ("one.svg", "two.svg"):
        draw(tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    assert "<svg" in (tmp_path / "one.svg").read_text()
