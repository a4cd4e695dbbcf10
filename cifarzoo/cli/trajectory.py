"""What `cifarzoo evaluate --kept` prints and draws."""

import json
from pathlib import Path

from cifarzoo.cli.output import Column, print_rows
from cifarzoo.cli.progress import progress_bar
from cifarzoo.errors import ExperimentError
from cifarzoo.user_code import find_modules


def print_trajectory(
    names: list[str],
    dataset: str | None,
    split: str | None,
    flip: bool,
    curves: Path | None,
    data_dir: str | None,
    form: str,
) -> None:
    """Print one row per file that a run kept, and draw them; without `split`, on the split of the run's validations.

    Raises:
        ExperimentError: `names` is not the folder of one run. CifarzooError: as `trajectory`.
    """
    from cifarzoo.evaluation import figures
    from cifarzoo.runs.folder import RunFolder

    if len(names) != 1 or not Path(names[0]).is_dir():
        raise ExperimentError(f"--kept: expected the folder of one run, logdir/run_name/seed0, got {' '.join(names)}")
    if curves:
        figures.check()
    find_modules(Path())
    with progress_bar() as show:
        show("start", 0)
        from cifarzoo.data import load
        from cifarzoo.data.own_data import source_from_text
        from cifarzoo.evaluation.trajectory import trajectory

        data = load(source_from_text(dataset), data_dir) if dataset else None
        rows = trajectory(RunFolder(names[0]), split, data, data_dir, flip, show)
    split = split or RunFolder(names[0]).experiment().val_split
    if form == "json":
        print(json.dumps(rows, indent=2))
    else:
        columns = [Column("step", spec=",d"), Column("epoch", spec=",.4g"), Column("error", "error %", ".2f")]
        columns += [Column("nll", "NLL", ".4f"), Column("ece", "ECE", ".4f"), Column("weights", rank=1)]
        print_rows(rows, columns, form, f"On {split}")
    if curves:
        figures.save(figures.trajectory({split: rows}), curves)
