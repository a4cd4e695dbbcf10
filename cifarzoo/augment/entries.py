"""Read an experiment's `augmentation`: the name of a pipeline, or a list of entries.

An entry is a name (`crop`), one name with its parameters (`{cutout: {size: 8}}`), a function of the user's module
(`{module: my_augmentations, name: shift, pixels: 4}`) or a layer of Keras (`{keras: RandomRotation, factor: 0.1}`).
"""

from typing import TYPE_CHECKING, Annotated, Union

from pydantic import AfterValidator, BeforeValidator, Discriminator, PlainSerializer, Tag, ValidationError

from cifarzoo.augment.base import Entry, Spec, form
from cifarzoo.augment.own_spec import OWN_SPECS, own_entry
from cifarzoo.augment.spec import PIPELINES, SPECS
from cifarzoo.strict_errors import plain_error
from cifarzoo.strict_model import Strict
from cifarzoo.strict_yaml import excerpt


def _split_entry(value):
    """Split an entry of the list into its name and parameters; leave a `Spec` as it is."""
    if isinstance(value, Spec):
        return value
    name, parameters = value, None
    if isinstance(value, dict) and (entry := own_entry(value)):
        return entry
    if isinstance(value, dict) and len(value) == 1:
        ((name, parameters),) = value.items()
    if not isinstance(name, str):
        raise ValueError(
            "expected a name or one name with its parameters, such as crop, {cutout: {size: 8}} or "
            f"{{policies: {{file: NAME}}}}, got {excerpt(value)}"
        )
    if name not in SPECS:
        raise ValueError(f"unknown augmentation {excerpt(name)}; known are {', '.join(SPECS)}")
    if parameters is not None and not isinstance(parameters, dict):
        raise ValueError(f"{name}: expected a mapping of parameters, got {excerpt(parameters)}")
    return Entry(value, name, parameters or {})


def _known_pipeline(name):
    if name not in PIPELINES:
        raise ValueError(f"expected a list or one of {', '.join(PIPELINES)}")
    return name


if TYPE_CHECKING:
    AnySpec = Spec
else:
    AnySpec = Annotated[
        Union[tuple(Annotated[spec, Tag(name)] for name, spec in (SPECS | OWN_SPECS).items())],  # noqa: UP007 (from a table)
        Discriminator(lambda entry: entry.name),
        BeforeValidator(_split_entry),
        PlainSerializer(Spec.as_entry),
    ]

# The type of `Experiment.augmentation`. It is written as it was read, so that defaults added later change no
# experiment's fingerprint.
Augmentation = Annotated[
    Annotated[str, AfterValidator(_known_pipeline), Tag("str")] | Annotated[list[AnySpec], Tag("list")],
    Discriminator(
        form,
        custom_error_type="augmentation",
        custom_error_message="expected a name such as standard, or a list such as [crop, flip]",
    ),
]


class _Document(Strict):
    augmentation: Augmentation


def specs_of(augmentation: str | list) -> tuple[Spec, ...]:
    """Return the specs of a pipeline's name, or of a list of entries or specs.

    Raises:
        ExperimentError: an unknown name, or parameters that do not fit; the message says which entry of the list.
    """
    document = {"augmentation": augmentation}
    try:
        checked = _Document.model_validate(document).augmentation
    except ValidationError as failure:
        raise plain_error(failure, _Document, document) from None
    return tuple(SPECS[name]() for name in PIPELINES[checked]) if isinstance(checked, str) else tuple(checked)
