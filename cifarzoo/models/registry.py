"""Which models there are: filled by a decorator, asked by name.

The decorator also gives every factory the arguments that all of them share, so that a family file holds architecture
and nothing else.
"""

import difflib
import fnmatch
import functools
import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass

from cifarzoo.errors import ModelError
from cifarzoo.keras_internals.model_building import fast_model_building
from cifarzoo.models.catalogue import catalogue

FAMILIES = (
    "resnet",
    "resnet18",
    "vgg",
    "wide_resnet",
    "resnext",
    "resnet9",
    "airbench",
    "shake_shake",
    "pyramidnet",
    "skipnet",
)

COMMON_ARGUMENTS = {
    "classes": 10,
    "load_weights": False,
    "include_top": True,
    "include_preprocessing": True,
    "classifier_activation": None,
    "name": None,
}

COMMON_DOC = """
Args:
    classes: Number of outputs. 100 normalises with CIFAR-100's statistics, anything else with CIFAR-10's.
    load_weights: False for fresh weights; True for the published file of exactly these architecture arguments and
        `classes` (with another number of classes, or without top, the backbone of the published file and a fresh
        head); a tag of the manifest; or the path of a `.weights.h5` file.
    include_top: With False the model ends with the last feature map, before pooling.
    include_preprocessing: With True the model takes raw pixels, uint8 or float in 0-255, and normalises inside.
    classifier_activation: None for logits, else an activation such as "softmax".
    name: The Keras model's name; by default the factory's.

Returns:
    A functional `keras.Model` from [batch, 32, 32, 3] to [batch, classes] float32, or to a feature map.

Raises:
    ModelError: an argument does not fit.
    WeightsError: the wanted weights do not exist or are damaged.

Reference: {paper} ({year}).
"""


@dataclass(frozen=True)
class Entry:
    """One factory and where its architecture comes from."""

    name: str
    factory: Callable
    family: str
    paper: str
    year: int
    aliases: tuple[str, ...] = ()

    def architecture(self, arguments: dict) -> dict:
        """The arguments that shape the backbone, defaults filled in: what a weight file is published for."""
        parameters = inspect.signature(self.factory).parameters
        return {
            name: arguments.get(name, parameter.default)
            for name, parameter in parameters.items()
            if name not in COMMON_ARGUMENTS
        }


_ENTRIES: dict[str, Entry] = {}
_ALIASES: dict[str, str] = {}


def register(paper: str, year: int, aliases: tuple[str, ...] = ()):
    """Decorate a factory: make it known by its name and aliases, and give it the common arguments.

    The factory takes its architecture arguments and `**options`; it returns the model without loading weights.
    """

    def decorate(build):
        name = build.__name__
        signature = _full_signature(build)

        @functools.wraps(build)
        def factory(*args, **kwargs):
            try:
                bound = signature.bind(*args, **kwargs)
            except TypeError as error:
                raise ModelError(f"{name}: {error}; it takes {', '.join(signature.parameters)}") from None
            bound.apply_defaults()
            arguments = dict(bound.arguments)
            return _build(entry, build, arguments)

        factory.__signature__ = signature
        factory.__doc__ = inspect.cleandoc(build.__doc__) + "\n" + COMMON_DOC.format(paper=paper, year=year)
        entry = Entry(name, factory, build.__module__.rsplit(".", 1)[-1], paper, year, aliases)
        for known in (name, *aliases):
            if known in _ENTRIES or known in _ALIASES:
                raise ModelError(f"model {known!r} is registered twice")
        _ENTRIES[name] = entry
        _ALIASES.update(dict.fromkeys(aliases, name))
        return factory

    return decorate


def _full_signature(build):
    own = [p for p in inspect.signature(build).parameters.values() if p.kind is not p.VAR_KEYWORD]
    common = [
        inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default)
        for name, default in COMMON_ARGUMENTS.items()
    ]
    return inspect.Signature(own + common)


def _build(entry, build, arguments):
    classes = arguments["classes"]
    if isinstance(classes, bool) or not isinstance(classes, int) or classes < 1:
        raise ModelError(f"{entry.name}: classes is a positive whole number, got {classes!r}")
    load_weights = arguments.pop("load_weights")
    name = arguments.pop("name") or entry.name

    def model(statistics="cifar100" if classes == 100 else "cifar10", **overrides):
        try:
            with fast_model_building():
                return build(**arguments | {"name": name, "statistics": statistics} | overrides)
        except ModelError as error:
            raise ModelError(f"{entry.name}: {error}") from None

    if load_weights is False:
        return model()
    from cifarzoo.pretrained.loading import load_pretrained

    return load_pretrained(entry, arguments, load_weights, model)


def entries() -> dict[str, Entry]:
    """Every model of this package by name, families in the order of `FAMILIES`."""
    for family in FAMILIES:
        importlib.import_module(f"cifarzoo.models.{family}")
    return {name: entry for family in FAMILIES for name, entry in _ENTRIES.items() if entry.family == family}


def get(name: str) -> Entry:
    """The entry of a model's name or alias.

    Raises:
        ModelError: no such model; the message lists the nearest names.
    """
    entries()
    full_name = _ALIASES.get(name, name)
    if full_name not in _ENTRIES:
        near = difflib.get_close_matches(str(name), [*_ENTRIES, *_ALIASES], n=3) or sorted(_ENTRIES)
        raise ModelError(f"unknown model {name!r}; did you mean {', '.join(near)}? `cifarzoo list` shows all")
    return _ENTRIES[full_name]


def create_model(model: str, /, **arguments):
    """Build a model by name or alias: `create_model("cifar_resnet20", classes=100)`.

    Raises:
        ModelError: no such model, or an argument that its factory does not take.
    """
    return get(model).factory(**arguments)


def list_models(pattern: str = "*", pretrained: bool = False) -> list[str]:
    """Names of the models that match a shell pattern; with `pretrained`, those with published weights only.

    Costs no Keras: the names come from the catalogue.
    """
    names = [name for name in catalogue() if fnmatch.fnmatch(name, pattern)]
    if pretrained:
        from cifarzoo.pretrained.loading import manifest

        published = {entry.model for entry in manifest()}
        names = [name for name in names if name in published]
    return names
