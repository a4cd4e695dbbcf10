"""The files of one run: checkpoints, weights kept along the way, the final weights and the results."""

import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from cifarzoo.checksum import sha256
from cifarzoo.data.classes import CLASS_NAMES, are_numbers
from cifarzoo.experiment.schema import Experiment
from cifarzoo.pretrained.description import Description, description_of, save_weights
from cifarzoo.runs import checkpoint
from cifarzoo.runs.provenance import joined, provenance
from cifarzoo.runs.results import Results
from cifarzoo.training.meters import Meters
from cifarzoo.training.run_callbacks import RunCallbacks
from cifarzoo.training.run_state import RunState
from cifarzoo.training.sources import Sources
from cifarzoo.training.training_data import count_changes
from cifarzoo.training.watch import Watch


class RunFiles:
    """Writes the files of one run, as the chief, and reads its checkpoint. Create it when the run has its engine.

    Args:
        run: The run.
        sources: What it depends on outside its document.
        meters: Its meters, whose state is part of a checkpoint.
        watch: What it knows of its validations; part of a checkpoint, too.
        callbacks: Its callbacks, which write the log.
    """

    def __init__(self, run: RunState, sources: Sources, meters: Meters, watch: Watch, callbacks: RunCallbacks):
        self._run, self._sources = run, sources
        self._meters, self._watch, self._callbacks = meters, watch, callbacks
        self._provenance = provenance(run.engine.replicas)  # now, because the code may be edited during a long run

    def restore(self, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> int:
        """Continue the run from a checkpoint; return the length of the log when it was written.

        Raises:
            CheckpointError: it was made for another model.
        """
        run, watch = self._run, self._watch
        best = watch.expected_arrays(run.engine.model) if (meta.get("watch") or {}).get("best") else {}
        checkpoint.check_state(run.folder.checkpoint_path, arrays, run.engine.state() | best)
        watch.restore(meta, arrays)
        run.engine.restore({name: array for name, array in arrays.items() if name not in best})
        run.step = meta["step"]
        self._meters.restore(meta)
        self._sources |= meta.get("sources", {})  # keep those with which the run began
        self._provenance = joined(meta["provenance"], self._provenance)
        return meta["log_length"]

    def save(self, with_others: bool = False) -> None:
        """Write the checkpoint; with several seeds, it is accepted only when all have written theirs.

        Raises:
            TrainingError: the weights are not finite.
        """
        run = self._run
        state = run.engine.state() | self._watch.arrays()
        if not all(np.isfinite(array).all() for array in state.values()):
            raise run.not_finite(f"the weights are not finite after {run.step} steps")
        if not run.job.is_chief:
            return
        meta = {
            "step": run.step,
            "log_length": self._callbacks.flush_log(),
            "fingerprint": run.job.experiment.fingerprint(),
            "sources": self._sources,
            "provenance": self._provenance,
        }
        meta |= self._meters.state() | self._watch.meta()
        run.folder.save_checkpoint(state, meta, is_next=with_others)

    def keep(self) -> None:
        """Keep the measured weights if this step is one of those; before a checkpoint that relies on them."""
        run = self._run
        if run.step in run.job.plan.kept and run.job.is_chief:
            run.folder.kept.folder.mkdir(exist_ok=True)
            self._save_weights(run.folder.kept.path(run.step))

    def finish(self, metrics: dict[str, float]) -> Results:
        """Write the measured weights, then the results, which mark the run as finished.

        Args:
            metrics: Of the measured weights on the validation split.
        """
        run, experiment = self._run, self._run.job.experiment
        seconds, images = self._meters.seconds, run.step * run.job.plan.batch_size
        results = Results(
            name=experiment.name,
            seed=run.seed,
            model=experiment.model,
            dataset=experiment.dataset_name,
            train_split=experiment.train_split,
            steps=run.step,
            images=images,
            weights=self._watch.description(experiment.train_parameters.averages),
            parameters=int(run.engine.model.count_params()),
            seconds=round(seconds, 1),
            images_per_second=round(images / max(seconds, 1e-9), 1),
            fingerprint=experiment.fingerprint(),
            **measured(experiment.val_split, metrics),
            **self._provenance,
            **({"sources": self._sources} if self._sources else {}),
            **({"best_step": self._watch.best["step"]} if self._watch.best else {}),
            **count_changes(experiment, run.job.arrays),
        )
        if run.job.is_chief:
            path = run.folder.weights_path
            self._save_weights(path)
            update: dict[str, Any] = {"weights_sha256": sha256(path)}
            if experiment.train_parameters.pruning:
                with run.engine.averaged_weights() as model:
                    update["pruning"] = measure_sparsity(model, path)
            results = results.model_copy(update=update)
            self._callbacks.show_results(results)
            run.folder.write_results(results)
        return results

    def _save_weights(self, path: Path) -> None:
        """Write the measured weights; the file says what they are."""
        with self._callbacks.without_optimizer(), self._run.engine.averaged_weights() as model:
            job = self._run.job
            save_weights(model, path, describe(job.experiment, model, job.arrays.class_names))


def measure_sparsity(model: keras.Model, path: Path) -> dict[str, float | int]:
    """Measure a pruned model and its weight file.

    Returns:
        `sparsity`, the share of zeros among all weights in percent; `bytes` of the file, and `compressed_bytes` of it
        compressed by zlib.
    """
    zeros = sum(int(np.count_nonzero(value == 0)) for value in model.get_weights())
    content = path.read_bytes()
    return {
        "sparsity": round(100 * zeros / model.count_params(), 3),
        "bytes": len(content),
        "compressed_bytes": len(zlib.compress(content, 9)),
    }


def measured(split: str, metrics: dict[str, float]) -> dict[str, Any]:
    """Return the keys of `Results` for the metrics of a split."""
    return {split: metrics} if split in ("test", "validation") else {"validation": metrics, "val_split": split}


def describe(experiment: Experiment, model: keras.Model, class_names: Sequence[str] = ()) -> Description:
    """Describe the model of a run on a data set with these classes, for the attributes of its weight file."""
    are_known = experiment.dataset_name in CLASS_NAMES or are_numbers(class_names)
    data: dict[str, Any] = {
        "dataset": experiment.dataset_name,
        "train_split": experiment.train_split,
        "class_names": None if are_known else list(class_names),
    }
    if description := description_of(model):
        return replace(description, **data)
    return Description(
        module=experiment.module,
        function=experiment.model,
        arguments=experiment.model_parameters,
        classes=model.output_shape[-1],
        **data,
    )
