"""Check, describe and hash a model and arrays that the user passes from Python."""

import hashlib
import inspect
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import keras

from cifarzoo.data import Dataset
from cifarzoo.data.classes import CLASS_NAMES
from cifarzoo.errors import ModelError
from cifarzoo.keras_internals.without_tensorflow import without_tensorflow
from cifarzoo.models import registry
from cifarzoo.training.build import check_is_functional
from cifarzoo.training.checks import kind_of_probabilities
from cifarzoo.training.teacher_files import FROM_PYTHON
from cifarzoo.user_code import no_exit

# Images for which outputs are computed, to see whether they are probabilities.
IMAGES = 10


def own_model_of(model: Any, dataset: Dataset, seed: int, arguments: dict[str, Any]) -> keras.Model | None:
    """Return the user's own model, None if the zoo builds it.

    Raises:
        ModelError: it cannot be trained on the data set's images and labels.
    """
    if isinstance(model, str):
        return None
    if not isinstance(model, keras.Model):
        if not callable(model):
            raise ModelError(f"model: expected a name, a function or a Keras model, got {type(model).__name__}")
        entry = registry.entries().get(getattr(model, "__name__", ""))
        if entry is not None and entry.factory is model:
            return None
        _check_takes(model, {"classes": dataset.classes, **arguments})
        keras.utils.set_random_seed(seed)
        with no_exit(f"model: {getattr(model, '__name__', model)}"):
            model = model(classes=dataset.classes, **arguments)
        if not isinstance(model, keras.Model):
            raise ModelError(f"model: the function returns {type(model).__name__}, not a Keras model")
    check_is_functional(model, model.name)
    images = (None, *dataset.train.images.shape[1:])
    shape = tuple(model.inputs[0].shape)
    fits = len(shape) == 4 and all(size in (None, image) for size, image in zip(shape, images, strict=True))
    if not fits or tuple(model.output_shape) != (None, dataset.classes):
        raise ModelError(
            f"{model.name}: takes {shape} and returns {tuple(model.output_shape)}; expected {images} and "
            f"(None, {dataset.classes}), as {dataset.name} has {dataset.classes} classes"
        )
    if not model.trainable_variables:
        raise ModelError(f"{model.name}: has no trainable variables")
    last = model.layers[-1]
    activation = getattr(getattr(last, "activation", None), "__name__", "")
    if activation in ("softmax", "sigmoid") or isinstance(last, keras.layers.Softmax):
        activation = activation or "softmax"
        raise ModelError(f"{model.name}: returns probabilities; it must return logits, without {activation}")
    few = dataset.train.images[:IMAGES].astype(model.inputs[0].dtype)
    with without_tensorflow(), no_exit(model.name):
        outputs = keras.ops.convert_to_numpy(model(few, training=False))
    if kind := kind_of_probabilities(outputs.astype("float32")):
        raise ModelError(f"{model.name}: returns probabilities, like a {kind}; it must return logits")
    return model


def _check_takes(function: Callable[..., Any], arguments: dict[str, Any]) -> None:
    """Check that a function takes these keyword arguments.

    Raises:
        ModelError: it does not.
    """
    try:
        signature = inspect.signature(function, follow_wrapped=False)  # a wrapper may pass more arguments on
    except ValueError:  # written in C
        return
    try:
        signature.bind(**arguments)
    except TypeError as failure:
        raise ModelError(f"model: the function takes other arguments ({failure})") from None


def name_of(model: Any) -> str:
    """Name a run after the user's function or model, unless Keras or Python made the name up."""
    name = getattr(model, "__name__", None) or getattr(model, "name", None) or "own_model"
    name = re.sub(r"[^A-Za-z0-9._+-]", "_", str(name))
    made_up = re.fullmatch(r"(functional|sequential|model)(_\d+)?|_lambda_", name)
    return "own_model" if made_up or not name[0].isalnum() else name


def own_teachers_of(document: dict[str, Any]) -> list[keras.Model]:
    """Return the user's own models that `teacher` holds, and write their names there instead.

    Args:
        document: Keys of an experiment. A `teacher` that is not a mapping becomes one.

    Raises:
        ModelError: own models and names are mixed.
    """
    if document.get("teacher") is None:
        return []
    section = document["teacher"]
    section = dict(section) if isinstance(section, Mapping) else {"model": section}
    teachers = section.get("model")
    several = list(teachers) if isinstance(teachers, list | tuple) else [teachers]
    models = [teacher for teacher in several if isinstance(teacher, keras.Model)]
    if models:
        if len(models) < len(several):
            raise ModelError("teacher: your own models and names cannot be mixed; cifarzoo.load(NAME) loads a name")
        counted = [f" {number}" if len(models) > 1 else "" for number in range(1, len(models) + 1)]
        names = [f"{name_of(model)}{count}{FROM_PYTHON}" for model, count in zip(models, counted, strict=True)]
        section["model"] = names if isinstance(teachers, list | tuple) else names[0]
    document["teacher"] = section
    return models


def precision_of(model: keras.Model) -> str:
    """Return the precision that a model's own layers compute in: "float32", "float64" or "bfloat16".

    Raises:
        ModelError: a layer has another dtype policy.
    """
    names = {layer.dtype_policy.name for layer in model.layers}
    if unknown := names - {"float32", "float64", "mixed_bfloat16"}:
        raise ModelError(
            f"{model.name}: has layers in {', '.join(sorted(unknown))}; "
            "float32, float64 and mixed_bfloat16 can be trained"
        )
    return "float64" if "float64" in names else "bfloat16" if "mixed_bfloat16" in names else "float32"


def hashes_of(model: keras.Model | None, dataset: Dataset | None) -> dict[str, str]:
    """Return hashes of the user's own model and data set, so that a folder is resumed with the same only.

    Args:
        model: The model; None if the experiment names it.
        dataset: The data set; None if the experiment says where it is, and the job hashes it.
    """
    hashes = {}
    if model is not None:
        hashes["model"] = _architecture_hash(model)
    if dataset is not None and dataset.name not in CLASS_NAMES:
        # Models of the zoo normalize with the data set's statistics; earlier versions took CIFAR-10's.
        own = "" if model is not None else json.dumps(dataset.inputs.statistics)
        hashes["dataset"] = hashlib.sha256((dataset.digest + own).encode()).hexdigest() if own else dataset.digest
    return hashes


def _architecture_hash(model: keras.Model) -> str:
    """Hash a model's architecture. Names count by their order, as Keras numbers them through within a process."""
    with without_tensorflow():  # Keras imports it to serialize, on every backend
        config = json.loads(model.to_json())
    names: dict[str, str] = {}

    def number(value: Any) -> None:
        for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            number(inner)
        if isinstance(value, dict) and isinstance(value.get("name"), str):
            names.setdefault(value["name"], f"layer {len(names)}")

    def normalized(value: Any) -> Any:
        if isinstance(value, dict):
            kept = {key: inner for key, inner in value.items() if key not in ("seed", "build_config", "keras_version")}
            return {key: normalized(inner) for key, inner in kept.items()}
        if isinstance(value, list):
            return [normalized(inner) for inner in value]
        return names.get(value, value) if isinstance(value, str) else value

    number(config)
    return hashlib.sha256(json.dumps(normalized(config), sort_keys=True).encode()).hexdigest()
