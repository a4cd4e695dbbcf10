"""The graph of one block, from the Keras model of a family, with the operations that matter to a reader."""

from dataclasses import dataclass, field

# Operations that a reader does not think of: they change no value, or belong to the convolution after them.
_UNSEEN = {"Reshape", "ZerosLike"}
_NAMES = {
    "BatchNormalization": "BatchNorm",
    "ReLU": "ReLU",
    "Gelu": "GELU",
    "Add": "+",
    "Multiply": "×",
    "Subtract": "1 − gate",
    "Concatenate": "concatenate",
    "Dropout": "dropout",
    "Cropping2D": "shift by a pixel",
    "ShakeShake": "Shake-Shake",
    "ShakeDrop": "ShakeDrop",
    "Pad": "append zeros",
    "LSTMCell": "LSTM, shared",
    "StraightThroughGate": "gate: 0 or 1",
}


@dataclass
class Node:
    """An operation of a block: its label, and the operations whose results it takes."""

    label: str
    kind: str
    inputs: list[str] = field(default_factory=list)


def block(model, first: str, last: str) -> dict[str, Node]:
    """Return the operations between two, by name, from the input on.

    Args:
        model: A functional model.
        first: The operation whose result is the block's input.
        last: The block's last operation.
    """
    operations = {operation.name: operation for operation in model.operations}
    nodes: dict[str, Node] = {first: Node("", "input")}

    def visit(name: str) -> list[str]:
        """Add an operation and those before it; return the names that stand for it."""
        if name in nodes:
            return [name]
        operation = operations[name]
        tensors = operation._inbound_nodes[0].input_tensors
        inputs = [before for tensor in tensors for before in visit(_producer(tensor))]
        inputs = list(dict.fromkeys(inputs))
        kind = type(operation).__name__
        if kind == "ZerosLike":
            return []
        if kind in _UNSEEN or (kind == "ZeroPadding2D" and "conv" in name):
            return inputs
        nodes[name] = Node(_label(operation, kind), kind, inputs)
        return [name]

    visit(last)
    # Another part of the model may feed the block, such as a shared state: keep what the first operation reaches.
    reached = {first}
    for name, node in nodes.items():
        if reached & set(node.inputs):
            reached.add(name)
    for node in nodes.values():
        node.inputs = [before for before in node.inputs if before in reached]
    return {name: node for name, node in nodes.items() if name in reached}


def _producer(tensor) -> str:
    return tensor._keras_history.operation.name


def _label(operation, kind: str) -> str:
    match kind:
        case "Conv2D":
            size = "×".join(map(str, operation.kernel_size))
            stride = f", stride {operation.strides[0]}" if operation.strides[0] > 1 else ""
            groups = f", {operation.groups} groups" if operation.groups > 1 else ""
            return f"{size} conv, {operation.filters}{groups}{stride}"
        case "MaxPooling2D" | "AveragePooling2D":
            if operation.pool_size[0] == 1:
                return f"every {operation.strides[0]}nd pixel"
            name = "max" if kind.startswith("Max") else "average"
            return f"{operation.pool_size[0]}×{operation.pool_size[1]} {name} pooling"
        case "ZeroPadding2D":
            return "pad"
        case "Dense":
            return f"linear, {operation.units}"
        case "Functional":
            return "pooling, linear, 10" if "gate" in operation.name else "block"
    return _NAMES.get(kind, kind)
