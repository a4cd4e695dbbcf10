"""Look into a built model: all its layers, their connections, its output for another image size, its readiness."""

import contextlib

import keras

from cifarzoo.keras_internals.support import internal


@internal("listing nested layers", without="layers inside custom layers are not checked")
def supported_layers() -> bool:
    """Whether a model lists the layers inside its layers."""
    return callable(keras.Model._flatten_layers)


@internal("reading a model's graph", without="TensorBoard shows a model's layers without their connections")
def supported_connections() -> bool:
    """Whether an operation knows the calls that it is the result of."""
    return isinstance(_Call(None)._inbound_nodes, list)


@internal("finding a model's last layers", without="Muon takes a network's last matrix for the classifier")
def supported_sources() -> bool:
    """Whether a tensor of a model's graph knows the call that it is the result of."""
    tensor, call = keras.KerasTensor((1,)), _Call(lambda inputs: inputs)
    operation, inputs = source_of(call.symbolic_call(tensor))
    return operation is call and inputs[0] is tensor


@internal("export of fresh models", without="call a model once before you export it to ONNX")
def supported_export() -> bool:
    """Whether Keras records in a layer that it was called, as an export to ONNX requires."""
    return keras.layers.Layer()._called is False


def all_layers(model) -> list:
    """Return the model and every layer in it, including those inside other layers and models."""
    if supported_layers.or_warn():
        return list(model._flatten_layers())
    inner = [child for layer in getattr(model, "layers", []) for child in all_layers(layer)]
    return [model, *inner]


def computes_in(model, dtype: str) -> bool:
    """Return whether any layer of the model computes in a dtype, such as "bfloat16"."""
    return any(layer.compute_dtype == dtype for layer in all_layers(model))


def input_operations(operation) -> list:
    """Return the layers and operations whose outputs go into an operation of a functional model."""
    if not supported_connections.or_warn():
        return []
    return [parent.operation for node in operation._inbound_nodes for parent in node.parent_nodes]


def source_of(tensor: keras.KerasTensor) -> tuple:
    """Return the layer or operation that a tensor of a functional model is the result of, and that call's inputs.

    Only where `supported_sources`.
    """
    history = tensor._keras_history
    return history.operation, history.operation._inbound_nodes[history.node_index].input_tensors


def input_tensors(operation) -> list:
    """Return the tensors that go into an operation of a functional model; into its first call, if there are several.

    Of a model inside a model these are the tensors that it is called with, and not its own inputs.
    """
    if not supported_connections.or_warn():
        return keras.tree.flatten(operation.input)
    return list(operation._inbound_nodes[0].input_tensors)


def output_tensors(operation) -> list:
    """Return what an operation of a functional model gives in its first call; of a model inside a model see above."""
    if not supported_connections.or_warn():
        return keras.tree.flatten(operation.output)
    return list(operation._inbound_nodes[0].output_tensors)


def part_between(start, end):
    """Return the part of a functional model between two of its tensors as a model that shares its layers.

    Keras notes the calls of the part in the shared layers. Here they are forgotten again, so that the model itself
    stays as it was.

    Raises:
        ValueError: `end` depends on more than `start`.
    """
    if not supported_sources.or_warn():
        return keras.Model(start, end)
    operations = {}
    reached = [end]
    while reached:
        operation = reached.pop()._keras_history.operation
        if id(operation) not in operations:
            operations[id(operation)] = operation
            reached += [tensor for node in operation._inbound_nodes for tensor in node.input_tensors]
    calls = [(op, list(op._inbound_nodes), list(op._outbound_nodes)) for op in operations.values()]
    try:
        return keras.Model(start, end)
    finally:
        for operation, inbound, outbound in calls:
            operation._inbound_nodes, operation._outbound_nodes = inbound, outbound


def mark_as_called(model) -> None:
    """Let Keras export a functional model to ONNX before its first call; its shapes are known without one."""
    if supported_export.or_warn():
        model._called = True


class _Call(keras.Operation):
    """A model's call as an operation of its own, so that trying it leaves no trace in the model's graph."""

    def __init__(self, model):
        super().__init__(name="call")
        self._model, self.failure = model, None

    def call(self, inputs):
        try:
            return self._model(inputs)
        except Exception as failure:  # Keras wraps it in advice that does not fit here
            self.failure = failure
            raise


def output_spec(model, inputs: keras.KerasTensor) -> keras.KerasTensor:
    """Return the shape and dtype of a model's output, without computing it.

    Raises:
        Exception: whatever the model's layers raise if they do not take such inputs.
    """
    operation = _Call(model)
    try:
        return operation.compute_output_spec(inputs)
    except Exception:
        if operation.failure is not None:
            raise operation.failure from None
        raise


@contextlib.contextmanager
def any_image_size(model):
    """Let a model, and the models in it, take images of another height and width than those of their inputs."""
    layers = all_layers(model)
    models = [layer for layer in layers if isinstance(layer, keras.Model) and layer.input_spec]
    specs = [inner.input_spec for inner in models]
    size_checks = [layer for layer in layers if _only_checks_size(layer)]
    for inner, spec in zip(models, specs, strict=True):
        inner.input_spec = [_of_any_size(part) for part in keras.tree.flatten(spec)]
    for layer in size_checks:
        layer.call = _unchanged
    try:
        yield
    finally:
        for inner, spec in zip(models, specs, strict=True):
            inner.input_spec = spec
        for layer in size_checks:
            del layer.call


def _only_checks_size(layer) -> bool:
    """Whether a layer reshapes images to their own shape; the zoo's models use such layers to refuse other sizes."""
    return (
        isinstance(layer, keras.layers.Reshape)
        and len(layer.target_shape) == 3
        and isinstance(source := getattr(layer, "input", None), keras.KerasTensor)
        and source.shape[1:] == layer.target_shape
    )


def _unchanged(inputs):
    return inputs


def _of_any_size(spec):
    """Return the specification of an input without the height and width of images."""
    if spec.shape is None or len(spec.shape) != 4:
        return spec
    return keras.InputSpec(shape=(spec.shape[0], None, None, spec.shape[3]))
