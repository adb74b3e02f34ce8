"""ConfigFields: the fields of a config.json, found where its family keeps them and checked as they are read."""

import math
from typing import Any

from server.errors import ModelError
from server.models.families import Family


class ConfigFields:
    """A config in the spelling of its family; a field that the config does not give has the family's default.

    Attributes:
        config: the contents of config.json.
        family: says where each field is.
    """

    def __init__(self, config: dict[str, Any], family: Family) -> None:
        self.config = config
        self.family = family

    def key(self, field: str) -> str:
        """Return the key of a field, for messages: the field's own name where the family has no key for it."""
        return self.family.keys.get(field, field)

    def given(self, field: str) -> Any:
        """Return a field for which null means something other than its absence: null is None, absence the default."""
        default = self.family.defaults.get(field)
        return self.config.get(self.family.keys[field], default) if field in self.family.keys else default

    def value(self, field: str) -> Any:
        """Return a field for which null means the default."""
        value = self.given(field)
        return self.family.defaults.get(field) if value is None else value

    def count(self, field: str, default: int | None = None) -> int:
        """Read a positive integer; `default` stands in where neither config nor family has one."""
        value = self.value(field)
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ModelError(f"config.json: {self.key(field)} must be a positive integer; it is {short(value)}")
        return value

    def flag(self, field: str) -> bool:
        """Read true or false."""
        value = self.value(field)
        if not isinstance(value, bool):
            raise ModelError(f"config.json: {self.key(field)} must be true or false; it is {short(value)}")
        return value

    def number(self, field: str, default: float | None = None) -> float:
        """Read a positive number; `default` stands in where neither config nor family has one."""
        value = self.value(field)
        return positive(self.key(field), default if value is None else value)

    def softcap(self, field: str) -> float:
        """Read a positive number, or 0 for null."""
        value = self.given(field)
        return 0.0 if value is None else positive(self.key(field), value)


def positive(key: str, value: Any) -> float:
    """Check a positive, finite number; `key` names it in the message."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not (0 < value < math.inf):
        raise ModelError(f"config.json: {key} must be a positive number; it is {short(value)}")
    return float(value)


def short(value: Any) -> str:
    """Write a value for a message, in 60 characters or fewer."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
