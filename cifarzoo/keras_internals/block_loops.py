"""Repeated blocks of a deep network as one loop, so that it starts sooner; docs/performance.md says by how much.

A deep network is the same few layers many times over. Unrolled, tracing, differentiating and compiling it takes time in
proportion to its depth, minutes for a thousand layers. Here consecutive copies of a block are found in a functional
model's graph, whatever its family, and run as a loop over their stacked weights. The model itself is not changed.
"""

import contextlib
import json
from dataclasses import dataclass

import keras
from keras.src.backend.common import stateless_scope

LONGEST_BLOCK = 64  # operations
FEWEST_COPIES = 12  # fewer are quick to compile one by one, and run a little faster so
# From here on the loop keeps every copy's input only and computes it again for the gradient, a third more work: what a
# batch of 128 leaves behind in ResNet-1001 would take 30 GB.
FEWEST_RECOMPUTED = 64


@dataclass(frozen=True)
class Repeat:
    """Consecutive copies of a block.

    Attributes:
        copies: The graph's nodes, [copies][operations of a block]; each copy's input is the output of the one before.
    """

    copies: list[list]

    @property
    def input(self):
        """The symbolic tensor that the first copy starts from."""
        inside = {id(tensor) for node in self.copies[0] for tensor in node.outputs}
        return next(t for node in self.copies[0] for t in node.input_tensors if id(t) not in inside)

    def variables(self, copy: int) -> list:
        """The Keras variables of one copy, in the same order for all."""
        return [v for node in self.copies[copy] for v in getattr(node.operation, "variables", [])]


def graph_nodes(model) -> list:
    """The nodes of a functional model in the order in which Keras runs them, without inputs."""
    depths = sorted(model._nodes_by_depth, reverse=True)
    return [node for depth in depths for node in model._nodes_by_depth[depth] if node.operation and not node.is_input]


def plan(model, fewest: int | None = None) -> list:
    """The nodes of a functional model in order, with `Repeat`s in place of those that repeat.

    Args:
        model: A functional Keras model.
        fewest: Copies from which on a block counts as repeating; `FEWEST_COPIES` if None.
    """
    fewest = fewest or FEWEST_COPIES
    nodes = graph_nodes(model)
    place = {id(tensor): number for number, node in enumerate(nodes) for tensor in node.outputs}
    signatures = [_signature(node, number, place) for number, node in enumerate(nodes)]
    last_use = {}
    for number, node in enumerate(nodes):
        for tensor in node.input_tensors:
            last_use[place.get(id(tensor), -1)] = number
    for tensor in keras.tree.flatten(model._outputs_struct):
        last_use[place.get(id(tensor), -1)] = len(nodes)
    parts, first = [], 0
    while first < len(nodes):
        length, copies = _longest_repeat(signatures, nodes, place, last_use, first, fewest)
        if copies:
            ends = range(first, first + length * copies, length)
            parts.append(Repeat([nodes[start : start + length] for start in ends]))
            first += length * copies
        else:
            parts.append(nodes[first])
            first += 1
    return parts


def _signature(node, number, place):
    """Equal for nodes that compute the same from inputs at the same distance; None for those that cannot repeat."""
    layer = node.operation
    if not isinstance(layer, keras.Layer) or len(layer._inbound_nodes) != 1 or len(node.outputs) != 1:
        return None
    if not type(layer).__module__.startswith("keras.") or layer.activity_regularizer is not None:
        return None  # may have losses of its own, which would be lost in a loop
    if layer.non_trainable_variables and not isinstance(layer, keras.layers.BatchNormalization):
        return None  # random layers and whatever else keeps a state of its own
    config = {key: value for key, value in layer.get_config().items() if key != "name"}
    call = keras.tree.map_structure(
        lambda value: "tensor" if isinstance(value, keras.KerasTensor) else repr(value),
        (node.arguments.args, node.arguments.kwargs),
    )
    return (
        type(layer),
        json.dumps((config, call), sort_keys=True, default=repr),
        tuple((number - place.get(id(tensor), -1), tensor.shape) for tensor in node.input_tensors),
        node.outputs[0].shape,
    )


def _longest_repeat(signatures, nodes, place, last_use, first, fewest):
    """Operations of a block and number of its copies from node `first` on: those that cover most; (0, 0) if none."""
    best = 0, 0
    if signatures[first] is None:
        return best
    for length in range(1, LONGEST_BLOCK + 1):
        equal = 0
        while first + equal + length < len(nodes) and (
            signatures[first + equal] is not None and signatures[first + equal] == signatures[first + equal + length]
        ):
            equal += 1
        copies = 1 + equal // length
        if copies < fewest or length * copies <= best[0] * best[1]:
            continue
        if _stands_alone(nodes, place, last_use, first, length, copies):
            best = length, copies
    return best


def _stands_alone(nodes, place, last_use, first, length, copies):
    """Whether one tensor enters each copy, and nothing but its last operation's output leaves it, to the next copy."""
    end = first + length * copies
    for start in range(first, end, length):
        for number in range(start, start + length):
            if any(not start - 1 <= place.get(id(t), -1) for t in nodes[number].input_tensors):
                return False
            # The last operation's output goes to the next copy, that of the last copy anywhere.
            reach = start + length if number < start + length - 1 else start + 2 * length
            if number < end - 1 and last_use.get(number, number) >= reach:
                return False
    return True


@contextlib.contextmanager
def looped(model, loop, fewest: int | None = None):
    """While active, a functional model that is called runs its repeated blocks through `loop`.

    Args:
        model: A functional Keras model; without repeated blocks it runs as ever.
        loop: Called as `loop(copies, moving, x, call)`: values of the variables, [copies][variables]; the places of
            those that training moves, such as moving statistics; the input of the first copy; and a function that runs
            one copy, of its input and the values of its variables to its output and the new values of `moving`.
            Returns the output of the last copy and the new values, [moving][copies].
        fewest: As `plan` takes it.
    """
    parts = plan(model, fewest) if hasattr(model, "_nodes_by_depth") else []
    if not any(isinstance(part, Repeat) for part in parts):
        yield
        return

    def run_through_graph(inputs, operation_fn=lambda operation: operation, call_fn=None):
        tensors = {id(x): y for x, y in zip(model.inputs, keras.tree.flatten(inputs), strict=True)}
        for part in parts:
            if not isinstance(part, Repeat):
                _run_node(part, tensors, operation_fn)
                continue
            output, new = _run_repeat(part, tensors[id(part.input)], loop, operation_fn)
            tensors[id(part.copies[-1][-1].outputs[0])] = output
            if stateless_scope.in_stateless_scope():
                for copy, values in enumerate(zip(*new, strict=True)):
                    moving = [v for v in part.variables(copy) if not v.trainable]
                    for variable, value in zip(moving, values, strict=True):
                        variable.assign(value)
        return keras.tree.map_structure(lambda x: tensors[id(x)], model._outputs_struct)

    model.__dict__["_run_through_graph"] = run_through_graph
    try:
        yield
    finally:
        del model.__dict__["_run_through_graph"]


def _run_repeat(repeat, x, loop, operation_fn):
    copies = [repeat.variables(copy) for copy in range(len(repeat.copies))]
    moving = [place for place, variable in enumerate(copies[0]) if not variable.trainable]

    def call(x, values):
        inside = {id(repeat.input): x}
        with stateless_scope.StatelessScope(state_mapping=list(zip(copies[0], values, strict=True))) as scope:
            for node in repeat.copies[0]:
                _run_node(node, inside, operation_fn)
        new = [scope.get_current_value(copies[0][place]) for place in moving]
        return inside[id(repeat.copies[0][-1].outputs[0])], new

    return loop([[_raw_value(variable) for variable in copy] for copy in copies], moving, x, call)


def _run_node(node, tensors, operation_fn):
    args, kwargs = node.arguments.fill_in(tensors)
    outputs = operation_fn(node.operation)(*args, **kwargs)
    for symbolic, value in zip(node.outputs, keras.tree.flatten(outputs), strict=True):
        tensors[id(symbolic)] = value


def _raw_value(variable):
    """A variable's value as stored or mapped, not cast to the precision of the layer that is running."""
    if stateless_scope.in_stateless_scope():
        value = stateless_scope.get_stateless_scope().get_current_value(variable)
        if value is not None:
            return value
    return variable._value
