"""Failing: a method that raises at one of its calls, and works at all others."""

from contextlib import ExitStack, contextmanager
from unittest.mock import patch


class Fault:
    """Counts calls, and raises at one of them.

    Attributes:
        at: number of the call that fails, from 1; None: none does.
        error: what it raises.
        calls: so far.
    """

    def __init__(self, at, error):
        self.at = at
        self.error = error
        self.calls = 0

    def call(self):
        self.calls += 1
        if self.calls == self.at:
            raise self.error

    @property
    def struck(self):
        return self.at is not None and self.calls >= self.at


@contextmanager
def injected(target, names, fault):
    """Have methods of an object, or of all objects of a class, call `fault` before they work."""

    def failing(method):
        def called(*arguments, **options):
            fault.call()
            return method(*arguments, **options)

        return called

    with ExitStack() as patches:
        for name in names:
            patches.enter_context(patch.object(target, name, failing(getattr(target, name))))
        yield fault
