"""The TensorFlow engine: one `tf.function` runs many steps per call through `strategy.run`.

`fit` cannot train under `MultiWorkerMirroredStrategy` nor run several steps per call under any strategy in Keras 3, so
the loop is here. The data set lies on the device as uint8; shuffling, augmentation, forward, backward and update of a
step are one graph. The global batch and its order do not depend on the number of replicas.
"""

import contextlib
import functools
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cifarzoo.augment.random import Draws
from cifarzoo.data import Dataset
from cifarzoo.errors import ExperimentError
from cifarzoo.keras_internals.fast_paths import fast_paths
from cifarzoo.keras_internals.precision import arithmetic
from cifarzoo.training.engines import connect
from cifarzoo.training.engines.batches import check_shares, evaluation_indices, padded
from cifarzoo.training.engines.channel import Channel
from cifarzoo.training.engines.cluster import has_workers, read_cluster
from cifarzoo.training.engines.interface import SUMS, named_sums
from cifarzoo.training.engines.strategies import get_strategy
from cifarzoo.training.engines.tensorflow_teacher import TensorFlowTeacher
from cifarzoo.training.parts import Parts
from cifarzoo.training.state import State, VariableOrder
from cifarzoo.training.step import Batch, TrainStep


def join_cluster(distribution: str) -> None:
    """Join the other workers: a multi-worker strategy has to exist before TensorFlow runs anything."""
    if not has_workers(distribution):
        get_strategy(distribution)
        return
    cluster = read_cluster()
    with connect.joining(cluster):
        strategy = get_strategy(distribution)
        connect.connect(cluster, functools.partial(_from_chief, strategy))


def _from_chief(strategy, values):
    """Return the chief's int32 array on every worker; the chief is the first replica."""

    def of_first():
        replica = tf.distribute.get_replica_context()
        is_first = tf.equal(tf.cast(replica.replica_id_in_sync_group, tf.int32), 0)
        return replica.all_reduce(tf.distribute.ReduceOp.SUM, tf.where(is_first, values, 0))

    reduce = tf.function(lambda: strategy.run(of_first), autograph=False)
    return strategy.experimental_local_results(reduce())[0].numpy()


def workers(distribution: str) -> Channel:
    """Return the channel to the other workers."""
    return connect.current(has_workers(distribution))


def replica_count(distribution: str) -> int:
    """Return the number of devices that share a batch."""
    strategy = get_strategy(distribution)
    return strategy.num_replicas_in_sync if strategy else 1


def is_chief(distribution: str) -> bool:
    """Whether this process writes files: in a multi-worker run the chief, or worker 0 where there is none."""
    strategy = get_strategy(distribution)
    resolver = strategy and strategy.cluster_resolver
    if not resolver or not resolver.task_type:
        return True
    has_chief = "chief" in resolver.cluster_spec().jobs
    return resolver.task_type == "chief" or (not has_chief and resolver.task_id == 0)


class TensorFlowEngine:
    """Trains one run on TensorFlow; see `cifarzoo.training.engines.interface.Engine`.

    The state lives in variables, so that the model's weights are always current.
    """

    def __init__(self, parts: Parts, dataset: Dataset, seed: int):
        self._parts, self._dataset, self.seed = parts, dataset, seed
        self._strategy: Any = get_strategy(parts.distribution)
        self.replicas = replica_count(parts.distribution)
        check_shares(parts.batch_size, parts.accumulate, self.replicas)
        self.images_at_once = parts.batch_size // (self.replicas * parts.accumulate)
        if parts.jit_compile and self.replicas > 1:
            raise ExperimentError("xla: works on one device; a TPU compiles by itself, and so needs no xla: true")
        with self._strategy.scope() if self._strategy else contextlib.nullcontext():
            self.model = parts.build_model(seed)
            with arithmetic(parts.precision):
                optimizer = parts.optimizer.bind(self.model.trainable_variables, self.model)
            pruning = parts.pruning.bind(self.model) if parts.pruning else None
            self._variables = State(
                trainable=list(self.model.trainable_variables),
                others=list(self.model.non_trainable_variables),
                slots=[_slot(value) for value in optimizer.slots.values()],
                averages=[_slot(v.value) for v in self.model.weights] if parts.averaging else [],
                masks=[_slot(mask) for mask in pruning.masks] if pruning else [],
            )
        self._order = VariableOrder(self.model, optimizer.slots)
        self._one_step = TrainStep(parts, self.model, optimizer, self._order, pruning, self._differentiate, _after)
        self._spread_random_states()
        self._splits: dict[str, tuple] = {}
        # Nothing here is for autograph, which would only convert it all again in every process.
        # `partial`, because TensorFlow takes another engine's method for this one, traced again, and warns.
        self._compiled_train = tf.function(functools.partial(self._train_steps), autograph=False)
        self._compiled_predict = tf.function(functools.partial(self._predict_batch), autograph=False)
        self.teacher = TensorFlowTeacher(self, parts, parts.teacher, dataset) if parts.teacher else None

    # ------------------------------------------------------------------------------------------------ training

    def train(self, first_step: int, indices: np.ndarray, learning_rates: np.ndarray) -> dict[str, float]:
        """Train `len(indices)` steps in one compiled call; see `Engine.train`."""
        images, labels = self.on_devices(self._parts.train_split)
        longest = self._parts.max_steps_per_call
        with fast_paths(self.model, training=True, synchronized=self.replicas > 1):
            sums = self._compiled_train(
                images,
                labels,
                tf.constant(first_step, tf.int32),
                tf.constant(len(indices), tf.int32),
                tf.constant(padded(indices, longest)),
                tf.constant(padded(learning_rates, longest), self.model.trainable_variables[0].dtype),
                self._parts.image_size(first_step),
                self.teacher and self.teacher.lessons(),
            )
        return named_sums(sums)

    def _train_steps(self, images, labels, first_step, steps, indices, learning_rates, size, lessons):
        one_step = functools.partial(self._train_step, size)

        def body(k, sums):
            values = self._run(one_step, images, labels, first_step + k, indices[k], learning_rates[k], lessons)
            return k + 1, sums + values

        start = tf.constant(0), tf.zeros([len(SUMS)], learning_rates.dtype)
        return tf.while_loop(lambda k, sums: k < steps, body, start)[1]

    def _run(self, step, *args):
        """Run one replicated step; its results are equal on all replicas, so the first one's are returned."""
        function = tf.function(step, jit_compile=True, autograph=False) if self._parts.jit_compile else step
        if self._strategy is None:
            return function(*args)
        results = self._strategy.run(function, args=args)
        return tf.nest.map_structure(lambda value: self._strategy.experimental_local_results(value)[0], results)

    def _train_step(self, size, images, labels, step, indices, learning_rate, lessons):
        slots, indices = self.share(indices)
        epoch = (step * self._parts.batch_size + slots[:, None]) // images.shape[0]
        draws = Draws(self.seed, step, slots, epoch, indices)
        batch = Batch(tf.gather(images, indices), tf.gather(labels, indices), size)
        state, sums = self._one_step(_values(self._variables), batch, draws, step, learning_rate, lessons)
        for variables, values in zip(self._variables, state, strict=True):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)
        return sums

    def _differentiate(self, objective, trainable, others, *batch):
        """Compute the gradients of an objective, and its second result, as means over all replicas."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(trainable)
            total, (loss, error, others) = objective(trainable, others, *batch)
        gradients = tape.gradient(total, trainable)
        if self.replicas > 1:
            replica = tf.distribute.get_replica_context()
            mean, error = tf.distribute.ReduceOp.MEAN, tf.cast(error, loss.dtype)  # workers reduce one type at a time
            gradients, loss, error = replica.all_reduce(mean, [gradients, loss, error])
        return gradients, (loss, error, others)

    # ------------------------------------------------------------------------------------------------ evaluation

    def predict(self, split: str) -> np.ndarray:
        """Compute the logits of a whole split; see `Engine.predict`."""
        count = self._dataset.size(split)
        images, _ = self.on_devices(split)
        batches = evaluation_indices(count, self._parts.eval_batch_size, self.replicas)
        with self.averaged_weights(), fast_paths(self.model, training=False):
            logits = [self._compiled_predict(images, tf.constant(batch)).numpy() for batch in batches]
        return np.concatenate(logits)[:count].astype(np.float32)

    def _predict_batch(self, images, indices):
        if self._strategy is None:
            return self._predict_step(images, indices)
        logits = self._strategy.run(self._predict_step, args=(images, indices))
        return self._strategy.gather(logits, axis=0)

    def _predict_step(self, images, indices):
        _, indices = self.share(indices)
        return self.model(tf.cast(tf.gather(images, indices), self.model.inputs[0].dtype), training=False)

    @contextlib.contextmanager
    def averaged_weights(self):
        """Inside the block, the model holds the averaged weights; see `Engine.averaged_weights`."""
        averages = self._variables.averages
        shown = [average.numpy() for average in averages]
        weights = [v.numpy() for v in self.model.weights] if averages else []
        for variable, value in zip(self.model.weights, shown, strict=False):
            variable.assign(value)
        try:
            yield self.model
        finally:
            for variable, average, before, value in zip(self.model.weights, averages, shown, weights, strict=False):
                assigned = variable.numpy()
                if assigned.tobytes() == before.tobytes():
                    variable.assign(value)
                else:
                    average.assign(assigned)

    # ------------------------------------------------------------------------------------------------ state

    def sync_model(self) -> None:
        """Do nothing: the model's weights are always current."""

    def state(self) -> dict[str, np.ndarray]:
        """Return everything the next step depends on; see `Engine.state`."""
        return {name: variable.numpy() for name, variable in self._order.named(self._variables).items()}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Set what `state` returned."""
        for name, variable in self._order.named(self._variables).items():
            variable.assign(state[name])
        self._spread_random_states()

    # ------------------------------------------------------------------------------------------------ replicas

    def on_devices(self, split: str) -> tuple:
        """Return images and labels of a split as tensors, one copy for every replica."""
        if split not in self._splits:
            arrays = self._dataset.split(split)
            pair = arrays.images, arrays.targets
            self._splits[split] = tuple(map(self.spread, pair))
        return self._splits[split]

    def spread(self, array: Any) -> Any:
        """Return a tensor, or one copy of it for every replica."""
        if self._strategy is None:
            return tf.convert_to_tensor(array)
        return self._strategy.experimental_distribute_values_from_function(functools.partial(self._copy, array))

    def _copy(self, array, context):
        """Return a tensor on the device of one replica."""
        devices = self._strategy.extended.worker_devices
        with tf.device(devices[context.replica_id_in_sync_group % len(devices)]):
            return tf.constant(array)

    def _spread_random_states(self):
        """Give the random layers of every replica their own state.

        With equal states they would drop the same units in every share of a batch.
        """
        random_states = self._order.random_states(self._variables)
        if self.replicas == 1 or not random_states:
            return

        def spread():
            replica = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.int64)
            for state in random_states:
                offset = tf.stack([replica * 7919, tf.zeros((), tf.int64)])
                state.assign(state.value + tf.cast(offset, state.value.dtype))

        self._strategy.run(spread)

    def share(self, indices: Any) -> tuple:
        """Return this replica's slots in the global batch, and the indices of these slots."""
        size = indices.shape[0] // self.replicas
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group if self._strategy else 0
        first = tf.cast(replica, tf.int32) * size
        return first + tf.range(size), tf.slice(indices, [first], [size])


def create_engine(parts: Parts, dataset: Dataset, seed: int) -> TensorFlowEngine:
    """Create the engine of one run."""
    return TensorFlowEngine(parts, dataset, seed)


def create_group(engines):
    """Refuse: TensorFlow has no `vmap` over whole training steps."""
    raise ExperimentError("seeds_at_once: several seeds in one program need backend: jax")


def _slot(value):
    return tf.Variable(value, trainable=False)


def _values(variables: State) -> State:
    """Return the variables' current values, which the step computes with and later assignments do not change."""
    return State(
        *([tf.convert_to_tensor(v.value if isinstance(v, keras.Variable) else v) for v in group] for group in variables)
    )


def _after(values, earlier):
    """Return the values, with a control dependency on the earlier ones."""
    with tf.control_dependencies(earlier):
        return [tf.identity(value) for value in values]
