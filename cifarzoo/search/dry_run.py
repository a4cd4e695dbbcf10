"""Print what a search would do: resolved settings, arithmetic and hours. Needs no built-in data set."""

from collections.abc import Sequence

from cifarzoo.data.dataset import facts
from cifarzoo.search.plan import Objective, SearchPlan, without_keys_set_here
from cifarzoo.search.space import Space
from cifarzoo.training.dry_run import describe, duration_text, yaml_text
from cifarzoo.training.estimate import Costs, without_others
from cifarzoo.training.job import prepare


def print_plan(plan: SearchPlan, objectives: Sequence[Objective]) -> None:
    """Print a plan with all defaults filled in, and what its networks and its table cost on this machine.

    Time is estimated for stages that run one after another, from nothing; the selection takes little.

    Raises:
        CifarzooError: the networks cannot be built, or do not fit the plan.
    """
    experiment = plan.experiment(1)
    document = plan.model_dump(mode="json") | {"networks": without_keys_set_here(experiment.resolved())}
    if not set(objectives) - {"uniform"}:
        print(f"{yaml_text(document)}# lists: {', '.join(objectives)}; no networks and no table")
        return
    here = experiment.model_copy(update={"distribution": without_others(experiment.distribution)})
    job, costs = prepare(here, facts(experiment.dataset, experiment.data_dir)), Costs()
    cost = costs.of(job)
    training = plan.folds * cost.hours(job)
    print(f"{yaml_text(document)}# {plan.folds} networks, about {duration_text(training)}; the first is")
    print(describe(experiment, job, cost))
    cells = len(Space(plan.operations, plan.levels, job.dataset.inputs.size))
    images = min(plan.images, job.dataset.size(str(experiment.val_split)))
    predictions = plan.folds * cells**2 * images
    operations = 2 * cost.macs * predictions
    rate = costs.of(prepare(here.model_copy(update={"precision": plan.precision}), job.dataset)).rate
    measuring = operations / rate / 3600
    print(
        f"# table: {plan.folds} networks x {cells} x {cells} sub-policies x {images} images = {predictions:,} "
        f"predictions, {operations / 1e15:.3g} PFLOP; about {duration_text(measuring)}, estimated here in "
        f"{plan.precision}"
    )
    print(f"# lists: {', '.join(objectives)}")
    print(f"# total: about {duration_text(training + measuring)} one after another")
