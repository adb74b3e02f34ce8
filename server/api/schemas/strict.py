"""Strict: the base of every request's schema."""

from pydantic import BaseModel, ConfigDict


class StrictModel(BaseModel):
    """Takes what is named, of the type it has in JSON, and finite; an integer may stand for a float."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, frozen=True)
