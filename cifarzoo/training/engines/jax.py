"""The JAX engine: an epoch, or any number of steps, is one loop in one compiled call.

Small networks on a fast accelerator are bound by what happens between steps. Here the data set lies on the device as
uint8, and shuffled reading, augmentation, forward, backward, update, moving average and BatchNormalization's statistics
of many steps are one XLA program with donated state. (On processors it is one program a step, as dispatch costs little
there and XLA's loops are no faster.) Several devices share the batch by sharding; BatchNormalization then sees the
whole global batch, so their number does not change the result. Nothing here needs TensorFlow.
"""

import contextlib
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from cifarzoo.augment.random import Draws
from cifarzoo.augment.resize import resize_down
from cifarzoo.errors import ExperimentError
from cifarzoo.hardware import accelerator_name
from cifarzoo.keras_internals.fast_paths import fast_paths
from cifarzoo.keras_internals.precision import arithmetic
from cifarzoo.training import build
from cifarzoo.training.engines.batches import check_shares, evaluation_places, padded
from cifarzoo.training.engines.cluster import is_described, read_cluster
from cifarzoo.training.step import objective, step_gradients

ENABLE_X64 = jax.config.jax_enable_x64  # as whoever started the process wants it


def device_count(experiment) -> int:
    """Over how many devices a batch is spread: with `none` one, else all, of other processes too.

    The first call of a process that TF_CONFIG makes a worker joins the others; nothing may have used JAX before.

    Raises:
        ExperimentError: a distribution that this engine does not have, or a malformed TF_CONFIG.
    """
    if experiment.distribution == "tpu":
        raise ExperimentError("distribution: tpu is the TensorFlow engine's; with JAX `auto` takes all devices")
    if experiment.distribution == "none":
        return 1
    if experiment.distribution == "multi_worker" or (experiment.distribution == "auto" and is_described()):
        _join()
    return jax.device_count()


@functools.cache
def _join():
    cluster = read_cluster()
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(cluster.addresses[0], len(cluster.addresses), cluster.index)


def train_steps(step, state, images, labels, seed, first_step, steps, indices, learning_rates, sums, *, size, whole):
    """Any number of steps, to be traced: the state after them, and what they add to `sums`.

    `step` is `JaxEngine.step`, or the same over several seeds; what it takes is given on. The seed is no constant of
    the program, so that one serves all. Of `indices` and `learning_rates` the first `steps` count; if they are all,
    `whole` says so: a loop whose length the compiler knows does not ask the host after each step whether to go on.
    """

    def body(k, carry):
        state, sums = carry
        state, found = step(state, images, labels, first_step + k, indices[k], learning_rates[k], seed, size=size)
        return state, sums + found

    return jax.lax.fori_loop(0, len(indices) if whole else steps, body, (state, sums))


class JaxEngine:
    """Trains one run of an experiment; the same interface as `TensorFlowEngine`.

    Args:
        experiment: What to train (`cifarzoo.experiment.schema.Experiment`).
        dataset: Arrays of images and labels (`cifarzoo.data.Dataset`).
        seed: Of initial weights, order of images, augmentation and random layers.

    Attributes:
        share: Images of a batch that BatchNormalization sees at once, on all devices together.
        model: The Keras model. Its weights are the current ones after `predict` and inside
            `averaged_weights`; while training goes on the current ones are on the device only.
    """

    def __init__(self, experiment, dataset, seed):
        # Not left on for the next experiment of a file, whose random layers would draw otherwise.
        jax.config.update("jax_enable_x64", experiment.precision == "float64" or ENABLE_X64)
        self.experiment, self.parameters, self.seed = experiment, experiment.train_parameters, seed
        self.replicas = device_count(experiment)
        check_shares(self.parameters, self.replicas)
        self.share = self.parameters.batch_size // self.parameters.accumulate  # devices see all of it
        mesh = Mesh(np.array(jax.devices()[: self.replicas]), ("batch",))
        self._whole, self._shared = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("batch"))
        self._augment = build.build_augmentation(experiment, dataset.classes)
        self._optimizer = build.build_optimizer(experiment)
        train_images = len(dataset.split(experiment.train_split))
        self._averaging = build.build_averaging(experiment, train_images)
        self._sizes = experiment.image_sizes(train_images)
        self._dataset, self._splits = dataset, {}
        self.model = build.build_model(experiment, dataset.classes, seed)
        self._trainable = list(self.model.trainable_variables)
        self._others = list(self.model.non_trainable_variables)
        weights = {id(v) for v in self.model.weights}
        self._random_states = [v for v in self._others if id(v) not in weights]
        trainable = [self._put(v.value) for v in self._trainable]
        self._state = {
            "trainable": trainable,
            "others": [self._put(v.value) for v in self._others],
            "velocities": [self._put(np.zeros(v.shape, v.dtype)) for v in trainable],
            "averages": [self._put(v.value) for v in self.model.weights] if self._averaging else [],
        }
        self._model_is_current = True
        self.loops_on_device = accelerator_name() is not None
        if self.loops_on_device and not jax.config.jax_compilation_cache_dir:
            # Every seed and every start would compile the same program again.
            jax.config.update("jax_compilation_cache_dir", str(Path(self.parameters.logdir).resolve() / "compiled"))
        options = {"donate_argnums": 0, "out_shardings": self._whole}
        self._compiled_train = jax.jit(
            functools.partial(train_steps, self.step), static_argnames=("size", "whole"), **options
        )
        self._compiled_step = jax.jit(self.step, static_argnames="size", **options)
        self._compiled_predict = jax.jit(self._predict_batch, out_shardings=self._whole)

    # ------------------------------------------------------------------------------------------------ training

    def train(self, first_step: int, indices: np.ndarray, learning_rates: np.ndarray) -> dict[str, float]:
        """Train `len(indices)` steps in one compiled call; see `TensorFlowEngine.train`."""
        images, labels = self.training_arrays()
        steps, longest = len(indices), self.parameters.longest_call
        size = self.image_size(first_step)
        self._model_is_current = False
        if self.loops_on_device:
            self._state, sums = self._compiled_train(
                self._state,
                images,
                labels,
                np.int32(self.seed),
                np.int32(first_step),
                np.int32(steps),
                padded(indices, longest),
                padded(learning_rates, longest),
                np.zeros(3, self._trainable[0].dtype),
                size=size,
                whole=steps == longest,
            )
        else:
            sums = 0
            for k in range(steps):
                self._state, found = self._compiled_step(
                    self._state,
                    images,
                    labels,
                    np.int32(first_step + k),
                    indices[k],
                    learning_rates[k],
                    self.seed,
                    size=size,
                )
                sums = sums + found
        return dict(zip(("loss", "error", "gradient_norm"), map(float, np.asarray(sums)), strict=True))

    def step(self, *args, size):
        """One training step on images of a size, to be traced; see `_step`."""
        with arithmetic(self.experiment.precision):
            return self._step(*args, size)

    def image_size(self, step: int) -> int:
        """Height and width of the training images at a step."""
        return self._sizes.at(step)

    def training_arrays(self):
        """Images and labels to train on, on the device."""
        return self._on_device(self.experiment.train_split)

    def _step(self, state, images, labels, step, indices, learning_rate, seed, size):
        place = jax.lax.with_sharding_constraint(jnp.arange(len(indices), dtype=jnp.int32), self._shared)
        indices = jax.lax.with_sharding_constraint(indices, self._shared)
        epoch = (step * self.parameters.batch_size + place[:, None]) // len(images)
        draws = Draws(seed, step, place, epoch, indices)
        batch_images, batch_labels = self._augment(images[indices], labels[indices], draws)
        batch_images = resize_down(self._as_input(batch_images), size)

        gradients, loss, wrong, others = step_gradients(
            self.parameters,
            self._differentiate,
            _after,
            state["trainable"],
            state["others"],
            batch_images,
            batch_labels,
        )
        trainable, velocities, norm = self._optimizer.update(
            state["trainable"], gradients, state["velocities"], learning_rate
        )
        new = {"trainable": list(trainable), "others": list(others), "velocities": velocities, "averages": []}
        if self._averaging:
            new["averages"], values = self._averaging.update(state["averages"], self._weights(new), step)
            for variable, value in zip(self.model.weights, values, strict=True):
                group, number = self._slots[id(variable)]
                new[group][number] = value
        return new, jnp.stack([jnp.asarray(v, loss.dtype) for v in (loss, wrong, norm)])

    def _differentiate(self, weights, others, images, labels):
        """Gradients of `objective` and what it returns beside the loss."""
        function = functools.partial(objective, self.model, self.parameters)
        with fast_paths(self.model, training=True):
            return jax.grad(function, has_aux=True)(weights, others, images, labels)

    # ------------------------------------------------------------------------------------------------ evaluation

    def predict(self, split: str, average: bool = False) -> np.ndarray:
        """Logits of a whole split, float32 [images, classes]; of the averaged weights if `average`."""
        images, _ = self._on_device(split)
        count = len(images)
        places = evaluation_places(count, self.parameters.eval_batch_size, self.replicas)
        trainable, others = self._state["trainable"], self._state["others"]
        if average and self._state["averages"]:
            trainable, others = self._averaged()
        logits = jax.device_get([self._compiled_predict(trainable, others, images, part) for part in places])
        self._make_model_current()
        return np.concatenate(logits)[:count].astype(np.float32)

    def _predict_batch(self, trainable, others, images, indices):
        indices = jax.lax.with_sharding_constraint(indices, self._shared)
        with arithmetic(self.experiment.precision), fast_paths(self.model, training=False):
            return self.model.stateless_call(trainable, others, self._as_input(images[indices]), training=False)[0]

    @contextlib.contextmanager
    def averaged_weights(self):
        """While active, the model holds the averaged weights; without averaging it changes nothing."""
        self._make_model_current()
        for variable, average in zip(self.model.weights, self._state["averages"], strict=False):
            variable.assign(np.array(average))
        try:
            yield self.model
        finally:
            self._model_is_current = False
            self._make_model_current()

    # ------------------------------------------------------------------------------------------------ state

    def state(self) -> dict[str, np.ndarray]:
        """Everything that the next step depends on, but its number, named as by `TensorFlowEngine.state`."""
        groups = {
            "weights": self._weights(self._state),
            "velocities": self._state["velocities"],
            "averages": self._state["averages"],
            "random_states": [self._value_of(v, self._state) for v in self._random_states],
        }
        return {f"{group}/{n:04d}": np.array(v) for group, values in groups.items() for n, v in enumerate(values)}

    def restore(self, state: dict[str, np.ndarray]):
        """Set what `state` returned, of this engine or of TensorFlow's."""
        named = {id(v): f"weights/{n:04d}" for n, v in enumerate(self.model.weights)}
        named |= {id(v): f"random_states/{n:04d}" for n, v in enumerate(self._random_states)}

        def like(name, value):
            return self._put(np.asarray(state[name]).astype(value.dtype))

        old = self._state
        self._state = {
            "trainable": [like(named[id(v)], x) for v, x in zip(self._trainable, old["trainable"], strict=True)],
            "others": [like(named[id(v)], x) for v, x in zip(self._others, old["others"], strict=True)],
            "velocities": [like(f"velocities/{n:04d}", x) for n, x in enumerate(old["velocities"])],
            "averages": [like(f"averages/{n:04d}", x) for n, x in enumerate(old["averages"])],
        }
        self._model_is_current = False
        self._make_model_current()

    def take_state(self):
        """The state on the device; the engine is not to be used until `put_state`."""
        return self._state

    def put_state(self, state):
        """Set what `take_state` returned, trained further."""
        self._state, self._model_is_current = state, False

    def share_with(self, other):
        """Use the data on the device and the compiled functions of an engine of the same network."""
        self._splits, self._compiled_predict = other._splits, other._compiled_predict

    @functools.cached_property
    def _slots(self):
        """Variable -> where its value is in the state."""
        slots = {id(v): ("trainable", n) for n, v in enumerate(self._trainable)}
        return slots | {id(v): ("others", n) for n, v in enumerate(self._others)}

    def _value_of(self, variable, state):
        group, number = self._slots[id(variable)]
        return state[group][number]

    def _weights(self, state):
        return [self._value_of(v, state) for v in self.model.weights]

    def _averaged(self):
        """The averaged weights in the two groups that `stateless_call` takes."""
        averages = {id(v): a for v, a in zip(self.model.weights, self._state["averages"], strict=True)}
        others = [averages.get(id(v), x) for v, x in zip(self._others, self._state["others"], strict=True)]
        return [averages[id(v)] for v in self._trainable], others

    def _make_model_current(self):
        if self._model_is_current:
            return
        # Copies, because the next call donates the state's buffers.
        for variables, group in ((self._trainable, "trainable"), (self._others, "others")):
            for variable, value in zip(variables, jax.device_get(self._state[group]), strict=True):
                variable.assign(np.array(value))
        self._model_is_current = True

    # ------------------------------------------------------------------------------------------------ devices

    def _put(self, value):
        return jax.device_put(np.array(value), self._whole)

    def _as_input(self, images):
        return jnp.asarray(images, self.model.inputs[0].dtype)

    def _on_device(self, split):
        if split not in self._splits:
            arrays = self._dataset.split(split)
            self._splits[split] = self._put(arrays.images), self._put(arrays.labels.astype(np.int32))
        return self._splits[split]


def _after(values, earlier):
    """The values, not to be had before the earlier ones are computed."""
    return jax.lax.optimization_barrier((values, earlier))[0]
