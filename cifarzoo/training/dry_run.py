"""Print what `cifarzoo train` would do: resolved settings, steps, arithmetic and hours. Needs no built-in data set."""

import sys
from typing import Any

import yaml

from cifarzoo.data.dataset import facts
from cifarzoo.errors import summarize
from cifarzoo.experiment.keeping import size_text
from cifarzoo.experiment.schedules import Duration
from cifarzoo.experiment.schema import Experiment
from cifarzoo.training.checks import average_warning
from cifarzoo.training.estimate import Cost, Costs, without_others
from cifarzoo.training.job import Job, prepare
from cifarzoo.training.kept_size import kept_size_problem
from cifarzoo.training.teacher_files import is_yet_to_be_trained

# Longer lists, such as the sub-policies of an augmentation, are printed in part: their first items and how many follow.
MAX_ITEMS, FIRST_ITEMS = 32, 3


def print_plan(experiments: list[Experiment]) -> int:
    """Print every experiment with all defaults filled in, its steps, arithmetic and estimated time, and the total time.

    Settings that all experiments share are printed once. An experiment that cannot be built gives one line on stderr;
    the others are printed.

    Returns:
        The number of experiments that cannot be built.
    """
    costs = Costs()
    planned: list[tuple[Experiment, Job, Cost]] = []
    for experiment in experiments:
        distribution = without_others(experiment.distribution)
        try:
            job = prepare(
                experiment.model_copy(update={"distribution": distribution}),
                facts(experiment.dataset, experiment.data_dir),
            )
            planned.append((experiment, job, costs.of(job)))
        except Exception as failure:  # a user's own module may raise anything
            reason = summarize(failure).removeprefix(f"{experiment.location}: ")
            print(f"{experiment.location}: {reason}", file=sys.stderr, flush=True)
    documents = [
        job.experiment.model_copy(update={"distribution": experiment.distribution}).resolved()
        for experiment, job, _ in planned
    ]
    shared = _shared(documents) if len(documents) > 1 else {}
    if shared:
        print(f"# Settings that all {len(documents)} experiments share:\n{yaml_text(shared)}", end="")
    total = 0.0
    for (experiment, job, cost), document in zip(planned, documents, strict=True):
        own = _without(document, shared)
        print(f"---\n{yaml_text(own) if own else ''}{describe(experiment, job, cost)}")
        total += len(experiment.seeds) * cost.hours(job)
    runs = sum(len(experiment.seeds) for experiment, *_ in planned)
    if runs > 1:
        print(f"# total: {runs} runs, about {duration_text(total)} one after another")
    return len(experiments) - len(planned)


def describe(experiment: Experiment, job: Job, cost: Cost) -> str:
    """Describe the size, cost and faults of an experiment in YAML comments."""
    plan, seeds = job.plan, len(experiment.seeds)
    images = plan.total * plan.batch_size
    own, teachers = cost.operations(job)
    operations = own + teachers
    of_teacher = f" ({teachers / 1e15:.3g} of them the teacher's)" if teachers else ""
    size = (
        f"{experiment.name}: {seeds} run{'s' * (seeds > 1)} of {plan.total:,} steps = {images:,} images "
        f"({images / plan.images:.1f} epochs), {cost.parameters:,} parameters"
    )
    time = (
        f"{operations / 1e15:.3g} PFLOP per run{of_teacher}; about {duration_text(cost.hours(job))} each at "
        f"{cost.rate / 1e9:,.0f} GFLOP/s, estimated here in {job.experiment.precision}"
    )
    lines = [size, time]
    if plan.kept:
        each, count = cost.file_size, len(plan.kept)
        lines.append(f"keeps {count} files of about {size_text(each)}, {size_text(count * each)} per run")
        if problem := kept_size_problem(experiment, plan, each):
            lines.append(f"warning: will not be trained: {problem}")
    if warning := average_warning(experiment, plan):
        lines.append("warning: " + warning.removeprefix(f"{experiment.location}: "))
    if is_yet_to_be_trained(experiment):
        lines.append(f"warning: the teacher {job.teacher_names()} does not exist yet; its cost is not counted")
    return "\n".join(f"# {line}" for line in lines)


def duration_text(hours: float) -> str:
    """Format a duration with two digits; from two days, also in days."""
    text = f"{hours:,.0f} h" if hours >= 10 else f"{hours:.2g} h" if hours >= 0.1 else f"{60 * hours:.2g} min"
    return f"{text} ({hours / 24:,.0f} days)" if hours >= 48 else text


def yaml_text(document: dict[str, Any]) -> str:
    """Write YAML with one line per setting, so that a grid stays readable."""
    return yaml.safe_dump(
        _brief(document), sort_keys=False, allow_unicode=True, default_flow_style=None, width=sys.maxsize
    )


def _brief(tree: Any) -> Any:
    """Omit the units of a duration that are not set and most items of a long list."""
    if isinstance(tree, list):
        if len(tree) > MAX_ITEMS:
            return [*map(_brief, tree[:FIRST_ITEMS]), f"and {len(tree) - FIRST_ITEMS} more"]
        return [_brief(item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if set(tree) == set(Duration.model_fields):
        return {unit: value for unit, value in tree.items() if value is not None}
    return {key: _brief(value) for key, value in tree.items()}


def _shared(documents: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the keys, and the keys of sections, that have the same value in all documents."""
    first, *others = documents
    shared = {}
    for key, value in first.items():
        if all(key in other and other[key] == value for other in others):
            shared[key] = value
        elif all(isinstance(other.get(key), dict) for other in documents):
            shared[key] = _shared([document[key] for document in documents])
    return shared


def _without(document: dict[str, Any], shared: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a document that are not shared."""
    own = {}
    for key, value in document.items():
        if key not in shared:
            own[key] = value
        elif value != shared[key]:
            own[key] = _without(value, shared[key])
    return own
