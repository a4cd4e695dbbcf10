"""Compare learning rates with numbers worked out by hand and with the descriptions in papers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from cifarzoo.experiment.schedules import AnySchedule, Constant, Cosine, Duration, PiecewiseLinear, Pyramid, Stepped


def lengths(duration):
    return duration.in_steps(50_000, 128)


def test_default_is_the_warmed_up_schedule_of_he_2015():
    schedule = Stepped()
    at = np.array([0, 399, 400, 31_999, 32_000, 47_999, 48_000, 63_999])
    assert schedule.rates(at, lengths).tolist() == [0.01, 0.01, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001]
    assert schedule.total(lengths) == 64_000


def test_factors_of_a_rate():
    """The form of google/flax's examples: a rate, and the factor from each epoch on."""
    ends = [{"epochs": epochs} for epochs in (60, 120, 160, 200)]
    parameters = {"learning_rate": 0.1, "factors": [1, 0.2, 0.04, 0.008], "boundaries": ends}
    absolute = Stepped(values=[0.1, 0.02, 0.004, 0.0008], boundaries=ends)
    at = np.arange(0, absolute.total(lengths), 500)
    np.testing.assert_allclose(Stepped.model_validate(parameters).rates(at, lengths), absolute.rates(at, lengths))
    as_text = parameters | {"learning_rate": "1e-1", "factors": ["1", "2e-1", ".04", 0.008]}  # as YAML 1.1 reads 1e-1
    assert Stepped.model_validate(as_text) == Stepped.model_validate(parameters)
    for wrong in (
        {"learning_rate": 0.1},
        {"factors": [1]},
        parameters | {"values": [1]},
        parameters | {"factors": "many"},
    ):
        with pytest.raises(ValidationError, match="learning_rate"):
            Stepped.model_validate(wrong | {"boundaries": ends})


def test_durations_in_all_units_agree():
    for duration in (Duration(steps=391), Duration(epochs=1), Duration(images=50_000)):
        assert lengths(duration) == 391  # 390.6 rounded
    for number in (391, 391.0, "391", "3.91e2", "391 steps"):
        assert lengths(Cosine(duration=number).duration) == 391


@pytest.mark.parametrize("wrong", [{}, {"steps": 1, "epochs": 1}, {"hours": 3}, {"steps": -1}, {"epochs": "many"}])
def test_a_duration_has_exactly_one_known_unit(wrong):
    with pytest.raises(ValidationError):
        Duration.model_validate(wrong)


def test_cosine_by_hand():
    schedule = Cosine(peak=0.2, warmup=4, duration=12)
    rates = schedule.rates(np.arange(12), lengths)
    np.testing.assert_allclose(rates[:4], [0.05, 0.1, 0.15, 0.2])
    np.testing.assert_allclose(rates[4], 0.2)
    np.testing.assert_allclose(rates[8], 0.1)  # half way
    assert np.all(np.diff(rates[4:]) < 0) and 0 < rates[-1] < 0.01


def test_cosine_ends_at_final():
    schedule = Cosine(peak=0.2, duration=10, final=0.01)
    assert schedule.rates(np.array([10]), lengths)[0] == pytest.approx(0.01)


def test_piecewise_linear_is_cifar10_fast():
    """0 -> 0.4 at epoch 5 -> 0 at epoch 24."""
    schedule = PiecewiseLinear(points=[({"epochs": 0}, 0), ({"epochs": 5}, 0.4), ({"epochs": 24}, 0)])
    assert schedule.total(lengths) == 9375
    middle = schedule.rates(np.array([0, 1953, 9375]), lengths)
    np.testing.assert_allclose(middle, [0, 0.4, 0], atol=1e-12)
    assert schedule.rates(np.array([976]), lengths)[0] == pytest.approx(0.4 * 976 / 1953)


def test_pyramid_is_the_product_over_epochs():
    """Compare with the formula per epoch in Python, for 40 epochs of 391 steps."""
    schedule = Pyramid(peak=0.5, duration={"steps": 40 * 391})
    for epoch in range(40):
        expected = 0.5 * 0.1 ** (epoch // 10) * 0.2 ** (epoch // 20) * 0.2 ** (epoch // 25) * 0.2 ** (epoch // 30)
        rates = schedule.rates(np.array([391 * epoch, 391 * epoch + 390]), lengths)
        np.testing.assert_allclose(rates, expected, rtol=1e-12)
    assert schedule.total(lengths) == 15_640


def test_pyramid_by_hand():
    rates = Pyramid(peak=1.0, duration=8).rates(np.arange(8), lengths)
    np.testing.assert_allclose(rates, [1, 1, 0.1, 0.1, 2e-3, 4e-4, 8e-6, 8e-6], rtol=1e-12)


def test_boundaries_must_increase_and_fit_the_values():
    with pytest.raises(ValidationError, match="equal lengths"):
        Stepped(values=[0.1, 0.01], boundaries=[10])
    with pytest.raises(ValueError, match="increase"):
        Stepped(values=[0.1, 0.01], boundaries=[10, 10]).total(lengths)
    with pytest.raises(ValueError, match="start at 0"):
        PiecewiseLinear(points=[(5, 0.1), (10, 0.0)]).total(lengths)


def test_kinds_come_from_yaml_and_unknown_ones_do_not():
    parse = TypeAdapter(AnySchedule).validate_python
    assert parse({"kind": "constant", "learning_rate": "1e-3", "duration": 5}) == Constant(
        learning_rate=1e-3, duration=5
    )
    for wrong in ({"kind": "linear"}, {"kind": "cosine", "duration": 5, "warm_up": 3}, {"kind": "cosine"}):
        with pytest.raises(ValidationError):
            parse(wrong)


@given(st.integers(1, 500), st.integers(0, 400), st.floats(1e-4, 10))
def test_cosine_stays_between_zero_and_peak(total, warmup, peak):
    rates = Cosine(peak=peak, warmup=warmup, duration=total).rates(np.arange(total), lengths)
    assert np.all(rates >= 0) and np.all(rates <= peak * (1 + 1e-12))
