"""Register model factories, and find them by name.

The decorator also gives every factory the arguments that all of them share, so that a family file holds architecture
and nothing else.
"""

import functools
import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cifarzoo.errors import ModelError
from cifarzoo.keras_internals.model_building import fast_model_building
from cifarzoo.models.arguments import COMMON_ARGUMENTS, IMAGE_SIZE, activation_name, bind, documentation, full_signature
from cifarzoo.models.catalogue import catalogue, find, matching
from cifarzoo.pretrained.description import Description, attach_description

if TYPE_CHECKING:
    import keras


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
        """Return the arguments of a call that say which network it is.

        Returns:
            The factory's own arguments, defaults filled in, and `image_size` unless it is that of CIFAR's images, so
            that files of these need not mention it.
        """
        parameters = inspect.signature(self.factory).parameters
        own = {
            name: arguments.get(name, parameter.default)
            for name, parameter in parameters.items()
            if name not in COMMON_ARGUMENTS
        }
        size = arguments.get("image_size", IMAGE_SIZE)
        return own if size == IMAGE_SIZE else own | {"image_size": size}


_ENTRIES: dict[str, Entry] = {}
_ALIASES: dict[str, str] = {}


def register(
    paper: str,
    year: int,
    aliases: tuple[str, ...] = (),
    training_only: tuple[str, ...] = (),
    special_case_of: tuple[str, dict[str, Any]] | None = None,
    arguments: dict[str, str] | None = None,
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
        arguments: Values and meaning of architecture arguments, for the documentation. Names that the factory does not
            have are ignored, so a family can share one dictionary.

    Raises:
        ModelError: a name is registered already, or `training_only` has a name that is not an argument.
    """

    def decorate(build: Callable) -> Callable:
        name = build.__name__
        signature = full_signature(build)
        if unknown := set(training_only) - set(signature.parameters):
            raise ModelError(f"{name}: training_only has {', '.join(sorted(unknown))}, which is not an argument")

        @functools.wraps(build)
        def factory(*args: Any, **kwargs: Any) -> "keras.Model":
            return _build(entry, *bind(name, signature, args, kwargs))

        # What `inspect` shows, which mypy does not know.
        factory.__signature__ = signature  # type: ignore[attr-defined]
        factory.__doc__ = documentation(build, signature, arguments or {}, {"paper": paper, "year": year})
        family = build.__module__.rsplit(".", 1)[-1]
        entry = Entry(name, factory, build, family, paper, year, aliases, training_only, special_case_of)
        for known in (name, *aliases):
            if known in _ENTRIES or known in _ALIASES:
                raise ModelError(f"model {known!r} is registered twice")
        _ENTRIES[name] = entry
        _ALIASES.update(dict.fromkeys(aliases, name))
        return factory

    return decorate


def _build(entry: Entry, arguments: dict[str, Any], explicit: set[str]) -> "keras.Model":
    """Return the model of a factory's call; weights fill in the arguments that are not `explicit`."""
    load_weights = arguments.pop("load_weights")
    if load_weights is False:
        return _fresh_model(entry, arguments)
    from cifarzoo.pretrained.loading import load_pretrained
    from cifarzoo.pretrained.selection import find_source

    source = find_source(entry.name, entry.architecture(arguments), arguments["classes"], load_weights, build_described)
    if load_weights is not True and source.description is not None:
        left_out = {*entry.architecture({}), "classes", "image_size"} - explicit
        arguments |= source.description.arguments_of(entry.name, left_out)

    def fresh(statistics: Any = None) -> "keras.Model":
        left_out = arguments["statistics"] is None
        return _fresh_model(entry, arguments | {"statistics": statistics} if left_out else arguments)

    return load_pretrained(source, fresh)


def _fresh_model(entry: Entry, arguments: dict[str, Any]) -> "keras.Model":
    """Build the model with fresh weights and its description, from all arguments except `load_weights`."""
    from cifarzoo.data.statistics import statistics_from  # here, because listing models must not import NumPy
    from cifarzoo.keras_internals.model_graph import mark_as_called  # here, because it imports Keras

    usual = "cifar100" if arguments["classes"] == 100 else "cifar10"
    try:
        statistics = usual if arguments["statistics"] is None else statistics_from(arguments["statistics"])
        options = arguments | {"name": arguments["name"] or entry.name, "statistics": statistics}
        description = _describe(entry, options)
        with fast_model_building():
            model = entry.build(**options)
    except ModelError as error:
        raise ModelError(f"{entry.name}: {error}") from None
    mark_as_called(model)
    attach_description(model, description)
    return model


def _describe(entry: Entry, arguments: dict[str, Any]) -> Description:
    return Description(
        factory=entry.name,
        arguments=entry.architecture(arguments),
        classes=arguments["classes"] if arguments["include_top"] else None,
        activation=activation_name(arguments["classifier_activation"]) if arguments["include_top"] else None,
        statistics=arguments["statistics"] if arguments["include_preprocessing"] else None,
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
        "statistics": description.statistics,
    }
    if description.classes is not None:
        arguments["classes"] = description.classes
    arguments, _ = bind(entry.name, inspect.signature(entry.factory), (), arguments)
    del arguments["load_weights"]
    return _fresh_model(entry, arguments)


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
    """Build a model by name, alias or tag.

        create_model("cifar_resnet20", classes=100)
        create_model("resnet20_v2_cifar10_brief_s0")  # the model of published weights, with the weights loaded

    Args:
        model: A name from `list_models`, in any case and with or without "cifar_", a tag of published weights, or the
            name of another project's checkpoint, such as "osmr/wrn28_10_cifar10".
        arguments: Arguments of the model's factory.

    Raises:
        ModelError: no such model, or an argument that its factory does not take.
        WeightsError: an argument contradicts the tag, or its file is missing or damaged.
    """
    from cifarzoo.pretrained.manifest import find_entry, manifest
    from cifarzoo.pretrained.selection import foreign_entry

    if foreign := foreign_entry(str(model)):
        return get(foreign.factory).factory(
            **foreign.arguments | {"classes": foreign.classes, "load_weights": model} | arguments
        )
    if entry := find_entry(model, manifest()):
        return get(entry.model).factory(
            **entry.architecture | {"classes": entry.classes, "load_weights": model} | arguments
        )
    return get(model).factory(**arguments)


def list_models(pattern: str = "*", pretrained: bool = False) -> list[str]:
    """List the names of the models that match a shell pattern, without importing Keras.

    Args:
        pattern: Shell pattern of names, in any case and with or without "cifar_".
        pretrained: List only models with weights: published here, or other projects' that can be imported.
    """
    names = matching(pattern)
    if pretrained:
        from cifarzoo.conversion.entries import entries as checkpoints
        from cifarzoo.pretrained.manifest import manifest

        available = {entry.model for entry in manifest()} | {entry.factory for entry in checkpoints().values()}
        names = [name for name in names if name in available]
    return names
