"""Keras callbacks by name: the section `callbacks` of an experiment."""

from typing import Any

from pydantic import ConfigDict, model_validator

from cifarzoo.strict_model import FunctionName, ModuleName, Strict


class CallbackEntry(Strict):
    """A callback of Keras, or of the user's `module`, with its arguments as further keys; a bare name has none."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: FunctionName
    module: ModuleName | None = None

    @model_validator(mode="before")
    @classmethod
    def _bare_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of the callback's constructor."""
        return self.model_extra or {}

    def __str__(self) -> str:
        return f"{self.module}.{self.name}" if self.module else self.name
