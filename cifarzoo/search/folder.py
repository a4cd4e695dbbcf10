"""The folder of one search: its files, each named here alone."""

import json
from pathlib import Path

from cifarzoo import strict_yaml
from cifarzoo.errors import DataError, ExperimentError
from cifarzoo.experiment.differences import differing_keys, named_keys
from cifarzoo.experiment.schema import Experiment
from cifarzoo.runs import atomic
from cifarzoo.runs.folder import RunFolder
from cifarzoo.search.plan import SET_HERE, SearchPlan

PLAN, NETWORKS, TABLES = "plan.yaml", "networks", "tables"
# Settings of networks that follow from other settings of the plan, so that messages do not name them.
DERIVED = {f"networks.{key}" for key in SET_HERE}


class SearchFolder:
    """What a search keeps on disk.

    Attributes:
        path: The folder.
        plan_path: The settings that networks and tables depend on, written first.
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self.plan_path = self.path / PLAN

    def table(self, fold: int) -> Path:
        """Return the folder of a fold's table."""
        return self.path / TABLES / f"fold{fold}"

    def list_path(self, objective: str) -> Path:
        """Return the file of an objective's list."""
        return self.path / "lists" / f"{objective}.yaml"

    def has_network(self, experiment: Experiment) -> bool:
        """Return whether the network of a fold has been trained to its end."""
        return RunFolder.of(experiment, experiment.seeds[0]).is_finished

    def network(self, experiment: Experiment) -> RunFolder:
        """Return the folder of the run that trained a fold's network.

        Raises:
            DataError: it has not finished. CheckpointError: it holds a run of another experiment, such as another data
                set.
        """
        run = RunFolder.of(experiment, experiment.seeds[0])
        if not run.is_finished:
            raise DataError(f"{run}: missing: the network of this fold has not been trained to its end")
        run.check_belongs_to(experiment)
        return run

    def adopt(self, plan: SearchPlan) -> None:
        """Write the plan, or, if the folder has networks or tables, compare it with theirs.

        Raises:
            ExperimentError: the folder belongs to another plan; the message names settings that differ.
            DataError: the file is damaged, or the folder cannot be written.
        """
        now = json.loads(json.dumps(plan.decisive()))  # tuples become lists, as in the file
        has_results = any((self.path / name).exists() for name in (NETWORKS, TABLES))
        if self.plan_path.is_file():
            try:
                earlier = strict_yaml.read_mapping(self.plan_path, "the settings of a search")
            except ExperimentError as failure:
                raise DataError(f"{failure}; delete it, and the same command writes it again") from None
            if earlier == now:
                return
            if has_results:
                different = named_keys([key for key in differing_keys(earlier, now) if key not in DERIVED])
                raise ExperimentError(
                    f"{self.path}: holds a search with other settings{different}; set another folder, or delete this "
                    "one"
                )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            atomic.write_text(self.plan_path, strict_yaml.dump(now))
        except FileExistsError:
            raise DataError(f"{self.path}: is a file; set another folder") from None
        except OSError as failure:
            raise DataError(f"{self.path}: cannot be written ({failure.strerror or failure})") from None
