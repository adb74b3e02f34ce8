"""NotYet: fields of the contract that this version cannot honour, and so takes at their neutral value alone."""

import json
from typing import Any

from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from server.api.schemas.strict import StrictModel


def _neutral(value: Any) -> Any:
    return Field(value, json_schema_extra={"const": value}, description="Not supported yet: this value alone.")


class NotYet(StrictModel):
    """Knows the names, so that they are neither misspelt nor ignored; a field moves out when its sampler arrives."""

    typical_p: float = _neutral(1.0)
    top_n_sigma: float = _neutral(0.0)
    epsilon_cutoff: float = _neutral(0.0)
    eta_cutoff: float = _neutral(0.0)
    xtc_probability: float = _neutral(0.0)
    xtc_threshold: float = _neutral(0.1)
    dynamic_temperature: dict[str, float] | None = _neutral(None)
    repetition_penalty: float = _neutral(1.0)
    presence_penalty: float = _neutral(0.0)
    frequency_penalty: float = _neutral(0.0)
    no_repeat_ngram_size: int = _neutral(0)
    dry_multiplier: float = _neutral(0.0)
    dry_base: float = _neutral(1.75)
    dry_allowed_length: int = _neutral(2)
    allowed_token_ids: list[int] | None = _neutral(None)
    bad_words: list[str] = _neutral([])

    @field_validator("*")
    @classmethod
    def _refuse_what_would_be_ignored(cls, value: Any, info: ValidationInfo) -> Any:
        field = NotYet.model_fields.get(info.field_name or "")
        if field is not None and value != field.default:
            neutral = json.dumps(field.default)
            raise PydanticCustomError(
                "not_yet", "Input should be {neutral}: this version does not support it yet", {"neutral": neutral}
            )
        return value
