"""Register model factories, and find them by name.

The decorator also gives every factory the arguments that all of them share, so that a family file holds architecture
and nothing else.
"""

import fnmatch
import functools
import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cifarzoo.errors import ModelError
from cifarzoo.keras_internals.model_building import fast_model_building
from cifarzoo.keras_internals.model_graph import mark_as_called
from cifarzoo.models.catalogue import catalogue, find
from cifarzoo.pretrained.description import Description, attach_description

if TYPE_CHECKING:
    import keras

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
    classes: Number of outputs. 100 normalises with CIFAR-100's statistics, anything else with CIFAR-10's, unless the
        description of a loaded weight file names others.
    load_weights: False for fresh weights; True for the default published file of this architecture; a tag of the
        manifest; or the path of a `.weights.h5` or `.keras` file. True with 10 or 100 `classes` needs weights published
        for that many classes, and raises WeightsError if there are none; with any other number it loads the backbone of
        either. With a tag or path of another number of classes, only the backbone is loaded. The classifier is fresh
        then; without top, there is none. A `.keras` file whose input normalisation differs is refused.
    include_top: With False the model ends with the last feature map, before pooling.
    include_preprocessing: With True the model takes raw pixels, uint8 or float in 0-255, and normalises inside.
    classifier_activation: None for logits, else an activation such as "softmax".
    name: The Keras model's name; by default the factory's.

Returns:
    A functional `keras.Model` from [batch, 32, 32, 3] to [batch, classes] float32, or to a feature map.

Raises:
    ModelError: an argument does not fit.
    WeightsError: the weights do not exist, are damaged, or are those of another network.

Reference: {paper} ({year}).
"""


@dataclass(frozen=True)
class Entry:
    """A registered factory; `register` documents the fields."""

    name: str
    factory: Callable
    build: Callable
    family: str
    paper: str
    year: int
    aliases: tuple[str, ...]
    training_only: tuple[str, ...]
    special_case_of: tuple[str, dict[str, Any]] | None

    def architecture(self, arguments: dict) -> dict:
        """Return the arguments of a call that are not common to all factories, defaults filled in."""
        parameters = inspect.signature(self.factory).parameters
        return {
            name: arguments.get(name, parameter.default)
            for name, parameter in parameters.items()
            if name not in COMMON_ARGUMENTS
        }


_ENTRIES: dict[str, Entry] = {}
_ALIASES: dict[str, str] = {}


def register(
    paper: str,
    year: int,
    aliases: tuple[str, ...] = (),
    training_only: tuple[str, ...] = (),
    special_case_of: tuple[str, dict[str, Any]] | None = None,
) -> Callable[[Callable], Callable]:
    """Decorate a factory: make it known by its name and aliases, and give it the common arguments.

    The factory takes its architecture arguments and `**options`; it returns the model without loading weights.

    Args:
        paper: Title of the paper or code that the architecture comes from.
        year: Year of its first publication.
        aliases: Other names, for example those of other zoos.
        training_only: Arguments that change neither the variables nor the outputs at inference. Models that differ only
            in these share weights.
        special_case_of: A more general factory and the arguments with which it builds the same network, layer names
            included. Both share weights.

    Raises:
        ModelError: a name is registered already, or `training_only` has a name that is not an argument.
    """

    def decorate(build: Callable) -> Callable:
        name = build.__name__
        signature = _full_signature(build)
        if unknown := set(training_only) - set(signature.parameters):
            raise ModelError(f"{name}: training_only has {', '.join(sorted(unknown))}, which is not an argument")

        @functools.wraps(build)
        def factory(*args: Any, **kwargs: Any) -> "keras.Model":
            return _build(entry, _bind(name, signature, args, kwargs))

        # What `inspect` shows, which mypy does not know.
        factory.__signature__ = signature  # type: ignore[attr-defined]
        factory.__doc__ = inspect.cleandoc(str(build.__doc__)) + "\n" + COMMON_DOC.format(paper=paper, year=year)
        family = build.__module__.rsplit(".", 1)[-1]
        entry = Entry(name, factory, build, family, paper, year, aliases, training_only, special_case_of)
        for known in (name, *aliases):
            if known in _ENTRIES or known in _ALIASES:
                raise ModelError(f"model {known!r} is registered twice")
        _ENTRIES[name] = entry
        _ALIASES.update(dict.fromkeys(aliases, name))
        return factory

    return decorate


def _bind(name: str, signature: inspect.Signature, args: tuple, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return all arguments of a factory's call by name, defaults filled in."""
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        raise ModelError(f"{name}: {error}; it takes {', '.join(signature.parameters)}") from None
    bound.apply_defaults()
    classes = bound.arguments["classes"]
    if isinstance(classes, bool) or not isinstance(classes, int) or classes < 1:
        raise ModelError(f"{name}: classes is a positive whole number, got {classes!r}")
    return dict(bound.arguments)


def _full_signature(build: Callable) -> inspect.Signature:
    own = [p for p in inspect.signature(build).parameters.values() if p.kind is not p.VAR_KEYWORD]
    common = [
        inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default)
        for name, default in COMMON_ARGUMENTS.items()
    ]
    return inspect.Signature(own + common)


def _build(entry: Entry, arguments: dict[str, Any]) -> "keras.Model":
    """Return the model of a factory's call."""
    classes, load_weights = arguments["classes"], arguments.pop("load_weights")
    usual_statistics = "cifar100" if classes == 100 else "cifar10"

    def fresh(statistics: str = usual_statistics) -> "keras.Model":
        return _fresh_model(entry, arguments, statistics)

    if load_weights is False:
        return fresh()
    from cifarzoo.pretrained.loading import load_pretrained

    return load_pretrained(entry.name, entry.architecture(arguments), classes, load_weights, fresh)


def _fresh_model(entry: Entry, arguments: dict[str, Any], statistics: str) -> "keras.Model":
    """Build the model with fresh weights and its description, from all arguments except `load_weights`."""
    options = arguments | {"name": arguments["name"] or entry.name, "statistics": statistics}
    try:
        with fast_model_building():
            model = entry.build(**options)
    except ModelError as error:
        raise ModelError(f"{entry.name}: {error}") from None
    mark_as_called(model)
    attach_description(model, _describe(entry, arguments, statistics))
    return model


def _describe(entry: Entry, arguments: dict[str, Any], statistics: str) -> Description:
    return Description(
        factory=entry.name,
        arguments=entry.architecture(arguments),
        classes=arguments["classes"] if arguments["include_top"] else None,
        activation=arguments["classifier_activation"] if arguments["include_top"] else None,
        statistics=statistics if arguments["include_preprocessing"] else None,
    )


def build_described(description: Description) -> "keras.Model":
    """Build the model of a weight file's description, with fresh weights.

    Raises:
        ModelError: there is no such factory, or it does not take these arguments.
    """
    entry = get(str(description.factory))
    arguments = description.arguments | {
        "include_top": description.classes is not None,
        "include_preprocessing": description.statistics is not None,
        "classifier_activation": description.activation,
    }
    if description.classes is not None:
        arguments["classes"] = description.classes
    arguments = _bind(entry.name, inspect.signature(entry.factory), (), arguments)
    del arguments["load_weights"]
    return _fresh_model(entry, arguments, description.statistics or "cifar10")


def entries() -> dict[str, Entry]:
    """Return the entry of every model of the catalogue by name, in its order."""
    return {name: get(name) for name in catalogue()}


def registered() -> dict[str, Entry]:
    """Return the entry of every factory of the modules imported so far, by name, in the order of registration."""
    return dict(_ENTRIES)


def get(name: str) -> Entry:
    """Return the entry of a model's name or alias; import the module of its family.

    Raises:
        ModelError: no such model; the message lists the nearest names.
    """
    record = find(name)
    importlib.import_module(f"cifarzoo.models.{record.family}")
    return _ENTRIES[record.name]


def create_model(model: str, /, **arguments: Any) -> "keras.Model":
    """Build a model by name or alias: `create_model("cifar_resnet20", classes=100)`.

    Raises:
        ModelError: no such model, or an argument that its factory does not take.
    """
    return get(model).factory(**arguments)


def list_models(pattern: str = "*", pretrained: bool = False) -> list[str]:
    """List the names of the models that match a shell pattern, without importing Keras.

    Args:
        pattern: Shell pattern of names.
        pretrained: List only models with published weights.
    """
    names = [name for name in catalogue() if fnmatch.fnmatch(name, pattern)]
    if pretrained:
        from cifarzoo.pretrained.manifest import manifest

        published = {entry.model for entry in manifest()}
        names = [name for name in names if name in published]
    return names
