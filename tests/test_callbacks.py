"""A callback is asked as SciPy asks it, by whatever solver."""

import pytest
from scipy.optimize import OptimizeResult, minimize

from lib.callbacks import asks_to_stop

STATE = OptimizeResult(x=[1.0, 2.0], nit=3)


def test_the_name_of_the_argument_says_what_it_gets():
    given = []
    assert not asks_to_stop(lambda intermediate_result: given.append(intermediate_result), STATE)
    assert not asks_to_stop(lambda x: given.append(x), STATE)
    assert given == [STATE, STATE.x]


@pytest.mark.parametrize(("answer", "stops"), [(True, True), (1, True), (None, False), (False, False), (0, False)])
def test_a_true_answer_stops(answer, stops):
    assert asks_to_stop(lambda x: answer, STATE) is stops


def test_stop_iteration_stops_and_other_errors_pass():
    def stop(x):
        raise StopIteration

    def broken(x):
        raise ZeroDivisionError

    assert asks_to_stop(stop, STATE)
    with pytest.raises(ZeroDivisionError):
        asks_to_stop(broken, STATE)


def test_a_callback_that_scipy_has_wrapped_gets_the_state():
    told = []

    def solver(fun, x0, args=(), callback=None, **options):
        assert not asks_to_stop(callback, OptimizeResult(x=x0, fun=0.0))
        return OptimizeResult(x=x0, success=True)

    minimize(lambda x: 0.0, [1.0], method=solver, callback=lambda intermediate_result: told.append(intermediate_result.fun))
    assert told == [0.0]
