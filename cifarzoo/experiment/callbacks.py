"""Keras callbacks by name: the section `callbacks` of an experiment."""

from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict

from cifarzoo.strict_model import Argument, FunctionName, ModuleName, Strict


class CallbackEntry(Strict):
    """A callback of Keras, or of the user's `module`, with its arguments as further keys."""

    model_config = ConfigDict(extra="allow", frozen=True)

    __pydantic_extra__: dict[str, Argument]
    name: FunctionName
    module: ModuleName | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of the callback's constructor."""
        return self.model_extra or {}

    def __str__(self) -> str:
        return f"{self.module}.{self.name}" if self.module else self.name


# A bare name is a callback without arguments.
CallbackSetting = Annotated[
    CallbackEntry,
    BeforeValidator(
        lambda value: {"name": value} if isinstance(value, str) else value, json_schema_input_type=CallbackEntry | str
    ),
]
