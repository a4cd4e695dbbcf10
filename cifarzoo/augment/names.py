"""The type of an experiment's `augmentation:` key; checked without importing Keras."""

from typing import Any

Description = str | list[str | dict[str, Any]]
