"""Everything that Kelvin refuses or fails at.

KelvinError
├── InvalidRequestError        a field or the body is wrong; names the field and the remedy
│   └── ContextLengthError     prompt and max_tokens do not fit the model's context
├── NotFoundError              a model or a route that is not there
├── OverloadedError            the queue is full; says when to try again
│   └── QueueTimeoutError      it waited too long for a slot
├── UnavailableError           starting, draining or stopped
├── ModelError                 a model that cannot be loaded; names the file and what is supported
├── SlowReaderError            the client fell too far behind the tokens of its stream
├── OutOfMemoryError           there was no memory for this request; others go on
└── NumericalError             a row's logits were not finite; that row alone fails

HTTP status codes live in `server/api/failures.py`, in one table.
"""


class KelvinError(Exception):
    """Base of every error whose message is written for the person who caused it."""

    code = "internal_error"

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class InvalidRequestError(KelvinError):
    """A field of the request is wrong; `param` names it."""

    code = "invalid_request"


class ContextLengthError(InvalidRequestError):
    """The prompt and the tokens asked for do not fit the model's context."""

    code = "context_length_exceeded"


class NotFoundError(KelvinError):
    """The thing named does not exist here."""

    code = "not_found"


class OverloadedError(KelvinError):
    """The queue is full; `retry_after_s` says when to try again."""

    code = "queue_full"

    def __init__(self, message: str, *, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class QueueTimeoutError(OverloadedError):
    """The request has waited for a slot for as long as one may."""

    code = "queue_timeout"


class SlowReaderError(KelvinError):
    """The client took its stream so slowly that what waited for it had to be thrown away."""

    code = "client_too_slow"


class OutOfMemoryError(KelvinError):
    """Memory was short, and this request was the newest."""

    code = "out_of_memory"


class UnavailableError(KelvinError):
    """The server is starting, draining or stopped."""

    code = "unavailable"


class ModelError(KelvinError):
    """A model cannot be loaded: the message names the file, the problem and what is supported."""

    code = "model_error"


class NumericalError(KelvinError):
    """The model produced logits that are not finite for this row."""

    code = "numerical_error"
