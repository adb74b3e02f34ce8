"""LoadedModel: a model that is served, and what a route needs of it."""

from dataclasses import dataclass

from server.backends.base import Backend
from server.engine.engine import Engine
from server.models.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model whose engine runs.

    Attributes:
        name: what requests call it.
        tokenizer: its tokenizer.
        engine: its engine, started.
        framework: `torch` or `tensorflow`.
        device: `cpu`, `cuda:0`, …
        dtype: of weights and cache.
    """

    name: str
    tokenizer: Tokenizer
    engine: Engine
    framework: str
    device: str
    dtype: str

    @property
    def backend(self) -> Backend:
        """The backend under the engine, whose thread alone may use it while it runs."""
        return self.engine.backend

    def close(self) -> None:
        """Stop the engine, whose requests fail, and free the device's memory."""
        self.engine.stop()
        self.backend.close()
