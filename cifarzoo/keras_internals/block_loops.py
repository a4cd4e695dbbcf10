"""Run the repeated blocks of a deep network as one loop, so that training starts sooner.

A deep network is the same few layers many times over. Unrolled, its tracing, differentiation and compilation take time
in proportion to its depth: minutes for a thousand layers. This module finds consecutive copies of a block in the graph
of any functional model and runs them as a loop over their stacked weights. The model itself does not change.
docs/performance.md has the times.
"""

import contextlib
import functools
import json
from dataclasses import dataclass

import keras

from cifarzoo.keras_internals.support import internal, parameters, private_module

MAX_BLOCK_LENGTH = 64  # operations
MIN_COPIES = 12  # fewer copies compile fast one by one, and run slightly faster that way
# From this many copies on, the loop keeps only each copy's input and computes the copy again for the gradient, a third
# more work. Without it, a batch of 128 in ResNet-1001 would leave 30 GB of activations.
MIN_RECOMPUTED_COPIES = 64


@internal("loops over repeated blocks", without="deep networks take much longer to compile")
def supported() -> bool:
    """Whether models, nodes, variables and scopes have the private parts that this module uses."""
    scopes = private_module("backend.common.stateless_scope")
    model = _sample_model()
    (node,) = graph_nodes(model)
    args, kwargs = node.arguments.fill_in({id(model.inputs[0]): 0})
    return (
        parameters(type(model)._run_through_graph) == ["self", "inputs", "operation_fn", "call_fn"]
        and (args, kwargs) == ((0,), {})
        and node.operation._inbound_nodes == [node]
        and (node.input_tensors[0] is model.inputs[0] and node.outputs[0] is model._outputs_struct)
        and callable(scopes.get_stateless_scope)
        and "_value" in keras.Variable.value.fget.__code__.co_names
    )


@functools.cache
def _sample_model():
    # Named, because automatic names would change those of the user's layers; without variables, because these draw.
    inputs = keras.Input((1,), name="sample_input")
    return keras.Model(inputs, keras.layers.Identity(name="sample_layer")(inputs), name="sample_model")


@dataclass(frozen=True)
class RepeatedBlock:
    """Consecutive copies of a block.

    Attributes:
        copies: The graph's nodes, [copies][operations of a block]. Each copy's input is the previous copy's output.
    """

    copies: list[list]

    @property
    def input(self):
        """The symbolic tensor that the first copy starts from."""
        inside = {id(tensor) for node in self.copies[0] for tensor in node.outputs}
        return next(t for node in self.copies[0] for t in node.input_tensors if id(t) not in inside)

    @property
    def output(self):
        """The symbolic tensor that the last copy ends in."""
        return self.copies[-1][-1].outputs[0]

    def variables(self, copy: int) -> list:
        """Return the Keras variables of one copy, in the same order for all copies."""
        return [v for node in self.copies[copy] for v in getattr(node.operation, "variables", [])]


def graph_nodes(model) -> list:
    """Return the nodes of a functional model except its inputs, in the order in which Keras runs them."""
    depths = sorted(model._nodes_by_depth, reverse=True)
    return [node for depth in depths for node in model._nodes_by_depth[depth] if node.operation and not node.is_input]


def find_repeats(model, min_copies: int | None = None) -> list:
    """Return the nodes of a functional model in order, with a `RepeatedBlock` in place of the copies of a block.

    Args:
        model: A functional Keras model.
        min_copies: The fewest copies that count as a repeated block; `MIN_COPIES` if None.
    """
    min_copies = min_copies or MIN_COPIES
    nodes = graph_nodes(model)
    producer = {id(tensor): number for number, node in enumerate(nodes) for tensor in node.outputs}
    signatures = [_signature(node, number, producer) for number, node in enumerate(nodes)]
    last_use = {}
    for number, node in enumerate(nodes):
        for tensor in node.input_tensors:
            last_use[producer.get(id(tensor), -1)] = number
    for tensor in keras.tree.flatten(model._outputs_struct):
        last_use[producer.get(id(tensor), -1)] = len(nodes)
    parts, first = [], 0
    while first < len(nodes):
        length, copies = _longest_repeat(signatures, nodes, producer, last_use, first, min_copies)
        if copies:
            starts = range(first, first + length * copies, length)
            parts.append(RepeatedBlock([nodes[start : start + length] for start in starts]))
            first += length * copies
        else:
            parts.append(nodes[first])
            first += 1
    return parts


def _signature(node, number, producer):
    """Return what is equal for nodes that compute the same from equally distant inputs; None if it cannot repeat."""
    layer = node.operation
    if not isinstance(layer, keras.Layer) or len(layer._inbound_nodes) != 1 or len(node.outputs) != 1:
        return None
    if not type(layer).__module__.startswith("keras.") or layer.activity_regularizer is not None:
        return None  # it may add losses, which a loop would lose
    if layer.non_trainable_variables and not isinstance(layer, keras.layers.BatchNormalization):
        return None  # random layers, and others with a state of their own
    config = {key: value for key, value in layer.get_config().items() if key != "name"}
    call = keras.tree.map_structure(
        lambda value: "tensor" if isinstance(value, keras.KerasTensor) else repr(value),
        (node.arguments.args, node.arguments.kwargs),
    )
    return (
        type(layer),
        json.dumps((config, call), sort_keys=True, default=repr),
        tuple((number - producer.get(id(tensor), -1), tensor.shape) for tensor in node.input_tensors),
        node.outputs[0].shape,
    )


def _longest_repeat(signatures, nodes, producer, last_use, first, min_copies):
    """Return length and number of the copies from node `first` on that cover most nodes; (0, 0) if there are none."""
    best = 0, 0
    if signatures[first] is None:
        return best
    for length in range(1, MAX_BLOCK_LENGTH + 1):
        equal = 0
        while first + equal + length < len(nodes) and (
            signatures[first + equal] is not None and signatures[first + equal] == signatures[first + equal + length]
        ):
            equal += 1
        copies = 1 + equal // length
        if copies < min_copies or length * copies <= best[0] * best[1]:
            continue
        if _is_chain(nodes, producer, last_use, first, length, copies):
            best = length, copies
    return best


def _is_chain(nodes, producer, last_use, first, length, copies):
    """Return whether only one tensor enters each copy, and only the last operation's output leaves it, to the next."""
    end = first + length * copies
    for start in range(first, end, length):
        for number in range(start, start + length):
            if any(not start - 1 <= producer.get(id(t), -1) for t in nodes[number].input_tensors):
                return False
            # The output of a copy may be used in the next copy; that of the last copy, anywhere.
            limit = start + length if number < start + length - 1 else start + 2 * length
            if number < end - 1 and last_use.get(number, number) >= limit:
                return False
    return True


@contextlib.contextmanager
def looped_blocks(model, loop, min_copies: int | None = None):
    """Run the repeated blocks of a functional model through `loop` when the model is called in the context.

    Without repeated blocks, or where this Keras version does not support it, the model runs as usual.

    Args:
        model: A Keras model.
        loop: Called as `loop(copies, moving, x, call)` with the values of the variables, [copies][variables]; the
            indices of the variables that the forward pass changes, such as moving statistics; the input of the first
            copy; and a function that runs one copy, from its input and the values of its variables to its output and
            the new values of the `moving` variables. Returns the last copy's output and the new values,
            [moving][copies].
        min_copies: See `find_repeats`.
    """
    parts = []
    if isinstance(model, type(_sample_model())) and supported.or_warn():
        parts = find_repeats(model, min_copies)
    if not any(isinstance(part, RepeatedBlock) for part in parts):
        yield
        return
    scope = private_module("backend.common.stateless_scope").get_stateless_scope

    def run_through_graph(inputs, operation_fn=lambda operation: operation, call_fn=None):
        tensors = {id(x): y for x, y in zip(model.inputs, keras.tree.flatten(inputs), strict=True)}
        for part in parts:
            if not isinstance(part, RepeatedBlock):
                _run_node(part, tensors, operation_fn)
                continue
            tensors[id(part.output)], new = _run_block(part, tensors[id(part.input)], loop, operation_fn)
            if scope() is not None:
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


def _run_block(block, x, loop, operation_fn):
    copies = [block.variables(copy) for copy in range(len(block.copies))]
    moving = [index for index, variable in enumerate(copies[0]) if not variable.trainable]

    def call(x, values):
        tensors = {id(block.input): x}
        with keras.StatelessScope(state_mapping=list(zip(copies[0], values, strict=True))) as scope:
            for node in block.copies[0]:
                _run_node(node, tensors, operation_fn)
        new = [scope.get_current_value(copies[0][index]) for index in moving]
        return tensors[id(block.copies[0][-1].outputs[0])], new

    return loop([[_stored_value(variable) for variable in copy] for copy in copies], moving, x, call)


def _run_node(node, tensors, operation_fn):
    args, kwargs = node.arguments.fill_in(tensors)
    outputs = operation_fn(node.operation)(*args, **kwargs)
    for symbolic, value in zip(node.outputs, keras.tree.flatten(outputs), strict=True):
        tensors[id(symbolic)] = value


def _stored_value(variable):
    """Return a variable's value as stored or mapped, not cast to the precision of the layer that is running."""
    scope = private_module("backend.common.stateless_scope").get_stateless_scope()
    value = None if scope is None else scope.get_current_value(variable)
    return variable._value if value is None else value
