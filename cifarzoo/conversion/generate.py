"""Generate sizes.json, the sizes of the networks of all entries: `python -m cifarzoo.conversion.generate`.

Networks are built without values, so this takes about a minute and little memory. A test compares the file with the
entries, and the counts with those that sources report.
"""

import json
import math

import keras

from cifarzoo.conversion.entries import entries
from cifarzoo.conversion.sizes import PATH, network
from cifarzoo.models import registry
from cifarzoo.models.macs import macs


def measure(factory: str, arguments: dict) -> list[int]:
    """Return trainable parameters, all parameters, and multiply-accumulates of a network, without giving it values."""
    with keras.StatelessScope(initialize_variables=False):
        model = registry.get(factory).factory(**arguments)
        trainable = sum(math.prod(weight.shape) for weight in model.trainable_weights)
        sizes = [trainable, model.count_params(), macs(model)]
    keras.utils.clear_session()
    return sizes


def main() -> None:
    """Write sizes.json."""
    networks = {
        network(entry): (entry.factory, entry.arguments | {"classes": entry.classes}) for entry in entries().values()
    }
    lines = [f"{json.dumps(key)}: {json.dumps(measure(*networks[key]))}" for key in sorted(networks)]
    PATH.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
