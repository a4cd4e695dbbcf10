"""Two workers on loopback that disagree, fail, stop or die, on both engines; two_workers.py has the scenarios."""

import json

import pytest
from two_workers import SCENARIOS, run_scenarios

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["tensorflow", "jax"])
def happened(request, tmp_path_factory):
    """What happened in every scenario: statuses, outcomes and output of both workers."""
    found = run_scenarios(tmp_path_factory.mktemp(f"workers_{request.param}"), request.param)
    print(json.dumps(found, indent=1))
    assert found.keys() == SCENARIOS.keys()
    return found


def errors(scenario, worker):
    """The error of every run of a worker, None if it finished."""
    return [error for *_, error in scenario["outcomes"][worker]]


def states(scenario, worker):
    return [state for *_, state, _ in scenario["outcomes"][worker]]


def test_no_worker_waits_forever_or_ends_in_the_backend(happened):
    def check(scenario):
        if "codes" not in scenario:
            return [check(one) for one in scenario.values() if isinstance(one, dict)]
        assert set(scenario["codes"]) <= {0, 1, -9} and None not in scenario["seconds"]
        for text in scenario["texts"]:
            assert "Traceback" not in text and "stack trace" not in text and "terminate called" not in text
        return None

    for scenario in happened.values():
        check(scenario)


def test_a_run_that_the_chief_may_not_begin_begins_nowhere(happened):
    """The second seed's folder is locked. Experiment b never trains with the gradients of a."""
    scenario = happened["locked"]
    for worker in range(2):
        assert states(scenario, worker) == ["finished", "failed", "failed"]
        assert "seed1: another process" in errors(scenario, worker)[1]
    assert errors(scenario, 1)[1].startswith("worker 0 failed: ") and "worker 0" not in errors(scenario, 0)[1]
    assert scenario["finished"] == ["a/seed0"]
    scenario = happened["locked, checked"]
    assert states(scenario, 0) == states(scenario, 1) == ["failed", "failed"]
    assert scenario["finished"] == []


def test_experiments_that_differ_are_refused_with_the_key(happened):
    scenario = happened["edited"]
    for text in scenario["texts"]:
        key = "a.train_parameters.schedule.learning_rate: 0.05 on worker 0, 0.4 on worker 1"
        assert f"the workers do not agree on the experiments: {key}; give all workers" in text
    assert scenario["codes"] == [1, 1] and scenario["step"] is None


@pytest.mark.parametrize("name", ["missing", "missing, checked"])
def test_an_archive_that_one_host_lacks_ends_the_batch_on_all(happened, name):
    scenario = happened[name]
    assert states(scenario, 1) == ["failed", "failed"] and errors(scenario, 1)[0] == "no archive here"
    assert "worker 1 failed: a: check failed: no archive here" in errors(scenario, 0)[0]
    assert scenario["codes"] == [1, 1] and scenario["step"] is None and scenario["finished"] == []


def test_data_sets_that_differ_are_refused(happened):
    scenario = happened["other data"]
    for worker in range(2):
        assert "do not agree on the run of a, seed 0: data set: " in errors(scenario, worker)[0]
    assert scenario["step"] is None


def test_all_stop_at_the_step_that_the_chief_saves(happened):
    """SIGTERM reaches the other worker first, and the chief 200 ms later."""
    scenario = happened["stopped"]["stop"]
    step = scenario["step"]
    assert states(scenario, 0) == states(scenario, 1) == ["stopped", "not started"] and step >= 24
    assert f"stopped and saved at step {step} of 4000; the same commands resume it" in errors(scenario, 0)[0]
    assert f"stopped, as all workers did, at step {step} of 4000" in errors(scenario, 1)[0]


def test_a_folder_that_is_not_shared_is_refused(happened):
    scenario, step = happened["stopped"]["apart"], happened["stopped"]["stop"]["step"]
    for worker in range(2):
        assert f"on the run of a, seed 0: step: {step} on worker 0, 0 on worker 1" in errors(scenario, worker)[0]
    assert scenario["step"] == step


def test_a_callback_of_one_worker_stops_all_at_one_step(happened):
    scenario = happened["resumed"]["stops"]
    assert states(scenario, 0) == states(scenario, 1) == ["finished"]
    assert happened["resumed"]["steps"][0] == 12
    scenario = happened["resumed"]["refuses"]
    assert states(scenario, 0) == states(scenario, 1) == ["finished"]
    assert happened["resumed"]["refused step"] == 0


def test_a_failure_of_one_worker_fails_all_and_both_resume_to_the_same_bits(happened):
    scenario = happened["resumed"]
    assert errors(scenario["fails"], 0) == ["worker 1 failed: ValueError: my own fault"]
    assert scenario["fails"]["codes"] == [1, 1] and scenario["failed step"] == 8
    assert scenario["again"]["codes"] == scenario["whole"]["codes"] == [0, 0]
    assert scenario["same"]


@pytest.mark.parametrize("name, gone, line", [
    ("worker killed", 1, "worker 1 is gone; start all workers again to resume"),
    ("chief killed", 0, "worker 0 is gone; start all workers again to resume"),
    ("worker stands still", 1, "worker 1 has been silent for 2 s; start all workers again to resume"),
])  # fmt: skip
def test_a_dead_worker_ends_the_other_with_one_line(happened, name, gone, line):
    scenario = happened[name]
    assert scenario["codes"][1 - gone] == 1 and scenario["seconds"][1 - gone] < 20
    assert scenario["texts"][1 - gone].strip().splitlines()[-1] == line
