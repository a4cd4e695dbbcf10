"""The JAX engine: an epoch, or any number of steps, is one loop in one compiled call.

Small networks on a fast accelerator are bound by what happens between steps. Here the data set lies on the device as
uint8, and shuffled reading, augmentation, forward, backward, update, moving average and BatchNormalization's statistics
of many steps are one XLA program with donated state. (On processors it is one program per step, as dispatch costs
little there and XLA's loops are no faster.) Several devices share the batch by sharding; BatchNormalization then sees
the whole global batch, so their number does not change the result. Nothing here needs TensorFlow.
"""

import contextlib
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.multihost_utils import broadcast_one_to_all
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from cifarzoo.augment.random import Draws
from cifarzoo.data import Dataset
from cifarzoo.errors import ExperimentError
from cifarzoo.hardware import accelerator_name
from cifarzoo.keras_internals.fast_paths import fast_paths
from cifarzoo.keras_internals.precision import arithmetic
from cifarzoo.training.engines import connect
from cifarzoo.training.engines.batches import check_shares, evaluation_indices
from cifarzoo.training.engines.channel import Channel, timeout_seconds
from cifarzoo.training.engines.cluster import has_workers, read_cluster
from cifarzoo.training.engines.interface import named_sums
from cifarzoo.training.engines.jax_program import Program
from cifarzoo.training.engines.jax_teacher import JaxTeacher
from cifarzoo.training.engines.seeds import SeedGroup
from cifarzoo.training.parts import Parts
from cifarzoo.training.state import State, VariableOrder
from cifarzoo.training.step import Batch, TrainStep

# As whoever started the process set it. JAX adds the attributes of its configuration while it runs.
ENABLE_X64 = jax.config.jax_enable_x64  # type: ignore[attr-defined]


def join_cluster(distribution: str) -> None:
    """Join the other processes that TF_CONFIG names; nothing may have used JAX's devices before."""
    if has_workers(distribution):
        _join()


@functools.cache
def _join():
    cluster = read_cluster()
    seconds = round(timeout_seconds())
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # Longer than the channel's timeouts, because JAX ends the process with a C++ stack at its own timeouts.
    limits: dict[str, Any] = {"initialization_timeout": 10 * seconds, "heartbeat_timeout_seconds": 10 * seconds}
    with connect.joining(cluster):
        jax.distributed.initialize(cluster.addresses[0], len(cluster.addresses), cluster.index, **limits)
        connect.connect(cluster, broadcast_one_to_all)


def workers(distribution: str) -> Channel:
    """Return the channel to the other workers."""
    return connect.current(has_workers(distribution))


def replica_count(distribution: str) -> int:
    """Return the number of devices that share a batch: one with `none`, else all, including other processes'.

    Raises:
        ExperimentError: this engine does not have the distribution, or `join_cluster` has not been called.
    """
    if distribution == "tpu":
        raise ExperimentError("distribution: tpu is the TensorFlow engine's; with JAX `auto` takes all devices")
    if distribution == "none":
        return 1
    if has_workers(distribution) and not _join.cache_info().currsize:
        raise ExperimentError("distribution: this process has not joined the other workers; call join_cluster first")
    return jax.device_count()


def is_chief(distribution: str) -> bool:
    """Whether this process writes the files of a run: the first one of a cluster does."""
    return not has_workers(distribution) or jax.process_index() == 0


class JaxEngine:
    """Trains one run on JAX; see `cifarzoo.training.engines.interface.Engine`.

    While it trains, the current weights are in the state on the device, and the model's are older.

    Attributes:
        loops_on_device: Whether a call is one program with a loop over its steps, instead of one program per step.
    """

    def __init__(self, parts: Parts, dataset: Dataset, seed: int):
        # Not left on for the next experiment of a file, whose random layers would draw other numbers.
        jax.config.update("jax_enable_x64", parts.precision == "float64" or ENABLE_X64)
        self.parts, self.seed = parts, seed
        self.replicas = replica_count(parts.distribution)
        check_shares(parts.batch_size, parts.accumulate, self.replicas)
        self.images_at_once = parts.batch_size // parts.accumulate  # of all devices together
        mesh = Mesh(np.array(jax.devices()[: self.replicas]), ("batch",))
        self._replicated = NamedSharding(mesh, PartitionSpec())
        self._sharded = NamedSharding(mesh, PartitionSpec("batch"))
        self._dataset = dataset
        self._splits: dict[str, tuple[jax.Array, jax.Array]] = {}
        self.model = parts.build_model(seed)
        with arithmetic(parts.precision):
            optimizer = parts.optimizer.bind(self.model.trainable_variables, self.model)
        self._order = VariableOrder(self.model, optimizer.slots)
        pruning = parts.pruning.bind(self.model) if parts.pruning else None
        self._one_step = TrainStep(parts, self.model, optimizer, self._order, pruning, self._differentiate, _after)
        trainable = [self._put(v.value) for v in self.model.trainable_variables]
        self._state = State(
            trainable=trainable,
            others=[self._put(v.value) for v in self.model.non_trainable_variables],
            slots=[self._put(value) for value in optimizer.slots.values()],
            averages=[self._put(v.value) for v in self.model.weights] if parts.averaging else [],
            masks=[self._put(mask) for mask in pruning.masks] if pruning else [],
        )
        self._synced: list | None = None
        self._mark_synced()
        self.loops_on_device = accelerator_name() is not None
        cache = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
        if self.loops_on_device and not cache:
            # Every seed and every start would compile the same program again.
            jax.config.update("jax_compilation_cache_dir", str(parts.compilation_cache.resolve()))
        self.program = Program(self.step, parts.max_steps_per_call, self._replicated)
        self._compiled_predict = jax.jit(self._predict_batch, out_shardings=self._replicated)
        self.teacher = JaxTeacher(self, parts.teacher, self._replicated, self._sharded) if parts.teacher else None

    # ------------------------------------------------------------------------------------------------ training

    def train(self, first_step: int, indices: np.ndarray, learning_rates: np.ndarray) -> dict[str, float]:
        """Train `len(indices)` steps in one compiled call; see `Engine.train`."""
        arrays, size = self.training_arrays(), self.parts.image_size(first_step)
        train = self.program.by_loop if self.loops_on_device else self.program.by_step
        lessons = self.teacher and self.teacher.lessons()
        state, sums = train(self.take_state(), arrays, self.seed, first_step, indices, learning_rates, size, lessons)
        self.put_state(state)
        return named_sums(sums)

    def training_arrays(self) -> tuple[jax.Array, jax.Array]:
        """Return images and labels to train on, on the device."""
        return self.on_device(self.parts.train_split)

    def step(self, state: State, images, labels, step, indices, learning_rate, seed, lessons=None, *, size):
        """Train one step on images of a size; a function to be traced. Returns the new state and sums [3]."""
        slots = jax.lax.with_sharding_constraint(jnp.arange(len(indices), dtype=jnp.int32), self._sharded)
        indices = jax.lax.with_sharding_constraint(indices, self._sharded)
        epoch = (step * self.parts.batch_size + slots[:, None]) // len(images)
        draws = Draws(seed, step, slots, epoch, indices)
        batch = Batch(images[indices], labels[indices], size)
        with arithmetic(self.parts.precision):
            return self._one_step(state, batch, draws, step, learning_rate, lessons)

    def _differentiate(self, objective, trainable, others, *batch):
        """Compute the gradients of an objective, and its second result."""
        with fast_paths(self.model, training=True):
            return jax.grad(objective, has_aux=True)(trainable, others, *batch)

    # ------------------------------------------------------------------------------------------------ evaluation

    def predict(self, split: str) -> np.ndarray:
        """Compute the logits of a whole split; see `Engine.predict`."""
        self._adopt_assignments()
        images, _ = self.on_device(split)
        batches = evaluation_indices(len(images), self.parts.eval_batch_size, self.replicas)
        state = self._state
        if state.averages:
            state = self._order.with_weights(state, state.averages)
        logits = jax.device_get(
            [self._compiled_predict(state.trainable, state.others, images, batch) for batch in batches]
        )
        return np.concatenate(logits)[: len(images)].astype(np.float32)

    def _predict_batch(self, trainable, others, images, indices):
        indices = jax.lax.with_sharding_constraint(indices, self._sharded)
        inputs = jnp.asarray(images[indices], self.model.inputs[0].dtype)
        with arithmetic(self.parts.precision), fast_paths(self.model, training=False):
            return self.model.stateless_call(trainable, others, inputs, training=False)[0]

    @contextlib.contextmanager
    def averaged_weights(self):
        """Inside the block, the model holds the averaged weights; see `Engine.averaged_weights`."""
        self._adopt_assignments()
        self.sync_model()
        if not self._state.averages:
            yield self.model
            return
        for variable, average in zip(self.model.weights, self._state.averages, strict=True):
            variable.assign(np.array(average))
        shown = [variable.value for variable in self.model.weights]
        try:
            yield self.model
        finally:
            weights, averages = self._order.weights(self._state), list(self._state.averages)
            for n, (variable, before) in enumerate(zip(self.model.weights, shown, strict=True)):
                if variable.value is not before:
                    weights[n], averages[n] = self._put(variable.value), self._put(variable.value)
            self._state = self._order.with_weights(self._state._replace(averages=averages), weights)
            self._copy_to_model()

    # ------------------------------------------------------------------------------------------------ state

    def sync_model(self) -> None:
        """Copy the current weights into the model, unless it has them."""
        if self._synced is None:
            self._copy_to_model()

    def _copy_to_model(self):
        # Copies, because the next call donates the state's buffers.
        for variables, values in self._model_variables():
            for variable, value in zip(variables, jax.device_get(values), strict=True):
                variable.assign(np.array(value))
        self._mark_synced()

    def _mark_synced(self):
        """Remember the model's values, to recognize those that a callback assigns."""
        self._synced = [v.value for variables, _ in self._model_variables() for v in variables]

    def _model_variables(self):
        """Return the model's two groups of variables, each with its values in the state."""
        return (
            (self.model.trainable_variables, self._state.trainable),
            (self.model.non_trainable_variables, self._state.others),
        )

    def _adopt_assignments(self):
        """Take over values that were assigned to the model's variables since `sync_model`."""
        synced = iter(self._synced or [])
        for variables, values in self._model_variables() if self._synced else ():
            for n, variable in enumerate(variables):
                if variable.value is not next(synced):
                    values[n] = self._put(variable.value)
        if self._synced:
            self._mark_synced()

    def state(self) -> dict[str, np.ndarray]:
        """Return everything the next step depends on; see `Engine.state`."""
        self._adopt_assignments()
        return {name: np.array(value) for name, value in self._order.named(self._state).items()}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Set what `state` returned."""
        names = self._order.named(self._state)
        values = iter([self._put(np.asarray(state[name]).astype(value.dtype)) for name, value in names.items()])
        weights = [next(values) for _ in self.model.weights]
        slots = [next(values) for _ in self._state.slots]
        averages = [next(values) for _ in self._state.averages]
        random_states = [next(values) for _ in self._order.random_states(self._state)]
        new = self._state._replace(slots=slots, averages=averages, masks=list(values))
        self._state = self._order.with_random_states(self._order.with_weights(new, weights), random_states)
        self._copy_to_model()

    def take_state(self) -> State:
        """Hand over the state on the device; do not use the engine until `put_state`."""
        self._adopt_assignments()
        self._synced = None
        return self._state

    def put_state(self, state: State) -> None:
        """Set what `take_state` returned, trained further."""
        self._state = state

    def share_with(self, other: "JaxEngine") -> None:
        """Use the data on the device and the compiled prediction of an engine of the same parts."""
        self._splits, self._compiled_predict = other._splits, other._compiled_predict
        if self.teacher and other.teacher:
            self.teacher.share_with(other.teacher)

    # ------------------------------------------------------------------------------------------------ devices

    def _put(self, value):
        return jax.device_put(np.array(value), self._replicated)

    def on_device(self, split: str) -> tuple[jax.Array, jax.Array]:
        """Return images and labels of a split on the device."""
        if split not in self._splits:
            arrays = self._dataset.split(split)
            self._splits[split] = self._put(arrays.images), self._put(arrays.targets)
        return self._splits[split]


def create_engine(parts: Parts, dataset: Dataset, seed: int) -> JaxEngine:
    """Create the engine of one run."""
    return JaxEngine(parts, dataset, seed)


def create_group(engines: list[JaxEngine]) -> SeedGroup:
    """Combine engines that differ in their seed only."""
    return SeedGroup(engines)


def _after(values, earlier):
    """Return the values, with a control dependency on the earlier ones."""
    return jax.lax.optimization_barrier((values, earlier))[0]
