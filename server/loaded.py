"""LoadedModel: a model that is served, and what a route needs of it."""

import gc
import time
from dataclasses import dataclass, field

from server.backends.base import Backend
from server.engine.engine import Engine
from server.models.chat_template import ChatTemplate
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
        chat: how it reads a conversation; None: it was not made for one.
        loaded_at: Unix seconds.
    """

    name: str
    tokenizer: Tokenizer
    engine: Engine
    framework: str
    device: str
    dtype: str
    chat: ChatTemplate | None = None
    loaded_at: float = field(default_factory=time.time)

    @property
    def backend(self) -> Backend:
        """The backend under the engine, whose thread alone may use it while it runs."""
        return self.engine.backend

    def close(self) -> None:
        """Stop the engine, whose requests fail, and free the device's memory."""
        self.engine.stop()
        if self.chat is not None:
            self.chat.close()
        self.backend.close()


def keep_out_of_collections() -> None:
    """Have the garbage collector never look again at what is there now, which stays as long as the process.

    A full collection goes through every object and stops all threads: a quarter of a second for the half million of
    torch and its compiler, in the midst of requests, whenever compiling has made enough new ones.
    """
    gc.collect()
    gc.freeze()
