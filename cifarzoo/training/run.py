"""One seed of a job: its work before, during and after the training loop in `cifarzoo.training.trainer`."""

import contextlib
from collections.abc import Callable

from cifarzoo.errors import CheckpointError
from cifarzoo.notebook import say
from cifarzoo.runs import atomic
from cifarzoo.runs.results import Results
from cifarzoo.training.agreement import agree_on_run
from cifarzoo.training.checks import check_model
from cifarzoo.training.job import Job
from cifarzoo.training.kept_size import check_kept_size
from cifarzoo.training.meters import Meters
from cifarzoo.training.named_callbacks import build_callbacks
from cifarzoo.training.run_callbacks import RunCallbacks
from cifarzoo.training.run_files import RunFiles
from cifarzoo.training.run_measurements import Measurements
from cifarzoo.training.run_state import RunState
from cifarzoo.training.sources import check_sources
from cifarzoo.training.stopping import Interrupted
from cifarzoo.training.teacher_views import measure_teacher, view_logits
from cifarzoo.training.training_data import describe_changes, part_positions
from cifarzoo.training.user_callbacks import CallbackFailed, Callbacks
from cifarzoo.training.watch import Watch
from cifarzoo.user_code import no_exit


class Run(RunState):
    """One seed of a job, while it trains.

    Args:
        job: What to train.
        seed: The seed.
        callbacks: The user's callbacks.

    Attributes:
        outcome: None while training, then the `Results` or the exception that ended the run.
    """

    def __init__(self, job: Job, seed: int, callbacks: Callbacks):
        super().__init__(job, seed)
        self.outcome: Results | Exception | None = None
        self._lock = contextlib.ExitStack()
        self._callbacks = RunCallbacks(self, callbacks)
        self._measurements = Measurements(self)
        self._meters = Meters(job.plan)
        self._watch = Watch(job.experiment.train_parameters, job.plan)

    # ------------------------------------------------------------------------------------------------ start and end

    def lock(self) -> None:
        """Lock the folder, as the chief, unless the run is finished: its folder may be read-only."""
        if self.job.is_chief and not self.folder.is_finished:
            self._lock.enter_context(self.folder.locked())
            for folder in (self.folder.path, self.folder.kept.folder):
                atomic.remove_temporary(folder, "weights.h5")

    def start(self) -> None:
        """Build the engine and restore the checkpoint, if any; a finished run ends with its stored results."""
        job, folder = self.job, self.folder
        folder.check_belongs_to(job.experiment)
        sources = job.sources(self.seed)
        for line in check_sources(folder, sources):
            say(line)
        is_finished = folder.is_finished
        saved = None if is_finished else folder.load_checkpoint()
        step = saved[1]["step"] if saved else 0
        agree_on_run(self.workers, job, self.seed, finished=is_finished, step=step, sources=sources)
        if is_finished:
            self.end(folder.results())
            return
        if changes := describe_changes(job.experiment, job.arrays):
            say(f"{self}: {changes}")
        self._callbacks.users += build_callbacks(job.experiment, self.seed, job.is_chief)
        with no_exit(job.experiment.model):
            self.engine = job.create_engine(self.seed)
        self._files = RunFiles(self, sources, self._meters, self._watch, self._callbacks)
        check_model(job.experiment, self.engine.model, self.engine.images_at_once)
        check_kept_size(job.experiment, job.plan, self.engine.model)
        log_length = self._files.restore(*saved) if saved else 0
        if not saved and job.is_chief:
            folder.parts.write(part_positions(job.experiment, job.arrays))
            folder.write_config(job.experiment)
        self._callbacks.begin(log_length, self._watch.stops)
        if self.step == 0:
            self._files.keep()
            self.save()
        self._finish_if_done()

    def prepare_teacher(self, stop_requested: Callable[[], bool]) -> None:
        """Have the teacher, if there is one, ready to teach; see `cifarzoo.training.teacher_views`.

        Args:
            stop_requested: Whether the process was asked to stop.
        """
        job, teacher = self.job, self.engine.teacher
        if teacher is None or job.parts.teacher is None:
            return
        if self.step == 0 and self.seed == job.seeds[0]:
            line = measure_teacher(job, self.engine)
            if job.is_chief:
                say(line)
        if job.parts.teacher.views:
            teacher.keep(view_logits(job, self.engine, self.workers, stop_requested))

    def attempt(self, action: Callable[..., None], *arguments: object) -> None:
        """Call a method of this run unless it has ended; an exception ends this run only."""
        if self.outcome is not None:
            return
        try:
            action(*arguments)
        except Exception as failure:
            self.end(self._cause(failure))

    def _cause(self, failure: Exception) -> Exception:
        """Return the exception to report: the one that a callback raised, or one line about a failed write."""
        if isinstance(failure, CallbackFailed):
            return failure.failure
        if isinstance(failure, OSError):
            path, reason = failure.filename or self.folder, failure.strerror or failure
            return CheckpointError(f"{path}: {reason}; what the last checkpoint holds is safe")
        return failure

    def end(self, outcome: Results | Exception) -> None:
        """End the run with its results, or with the exception that stopped it."""
        if isinstance(outcome, Exception):
            outcome = self.workers.explain(outcome)
        self.outcome = outcome
        try:
            self.close()
        except Exception as failure:  # raised by a callback's on_train_end
            if not isinstance(outcome, Exception):
                self.outcome = self._cause(failure)
        if isinstance(self.outcome, Exception) and not isinstance(self.outcome, Interrupted):
            self.workers.fail(self.outcome)

    def close(self) -> None:
        """End the callbacks and unlock the folder."""
        with self._lock:
            self._callbacks.end(isinstance(self.outcome, Results))

    # ------------------------------------------------------------------------------------------------ the loop's parts

    def before_call(self) -> None:
        """Tell the callbacks that a compiled call begins."""
        self._callbacks.before_call()

    def after_call(self, end: int, sums: dict[str, float], seconds: float) -> None:
        """Account for a compiled call: check, log, validate.

        Args:
            end: Number of steps done after it.
            sums: Sums of loss, error and gradient norm over its steps.
            seconds: Its duration.
        """
        plan = self.job.plan
        rate = float(plan.rates(end - 1, end)[0])
        self._measurements.check_finite(end, sums, rate)
        self._meters.add(self.step, end, sums, seconds)
        self.step = end
        logs = self._meters.means() | {"learning_rate": rate}
        validates = plan.is_due(plan.val, end)
        if validates:
            logs |= self._measurements.validation_logs()
            self._watch.see(end, self._measurements.validate(), self.copy_measured)
            if self._watch.stops:
                self.engine.model.stop_training = True
        self._callbacks.after_call(logs, validates)
        if self._callbacks.may_assign:
            self._measurements.forget()
        if plan.is_due(plan.log, end):
            self._meters.clear()
        self._files.keep()

    def save(self, with_others: bool = False) -> None:
        """Write the checkpoint; see `RunFiles.save`."""
        self._files.save(with_others)

    def stop_or_finish(self, stops: bool) -> None:
        """End the run if it was asked to stop (it is saved already) or is done."""
        total = self.job.plan.total
        if stops and self.step < total:
            how = "stopped and saved" if self.job.is_chief else "stopped, as all workers did,"
            again = "the same command resumes it" if self.workers.count == 1 else "the same commands resume it"
            raise Interrupted(f"{self}: {how} at step {self.step} of {total}; {again}")
        self._finish_if_done()

    def _finish_if_done(self) -> None:
        total = self.job.plan.total
        if self.step < total and self._watch.stops and self.job.is_chief:
            say(f"{self}: stops at step {self.step} of {total}: {self._watch.reason}")
        if self.step >= total or self.engine.model.stop_training:
            self.end(self._results())

    def _results(self) -> Results:
        """Measure the final weights and write them with the results."""
        if self._watch.best:
            self.engine.restore(self._watch.with_best(self.engine.state(), bool(self.job.parts.averaging)))
            self._measurements.forget()
        if (pruning := self.job.plan.pruning) and self.step < pruning.end:
            say(f"{self}: stopped after {self.step} steps, before pruning ends after {pruning.end}")
        results = self._files.finish(self._measurements.validate())
        self.workers.exchange(f"{self}: results")
        return results
