"""Threads: what each framework gets of a machine's cores."""

import logging
import os
from collections.abc import Sequence

from server.settings import Settings

log = logging.getLogger(__name__)


def share_threads(settings: Settings, frameworks: Sequence[str]) -> dict[str, int]:
    """Share the CPU threads out among frameworks, each of which would take every core for itself.

    Args:
        settings: `threads` is what there is to share; 0: as many as this process has cores.
        frameworks: of each model.

    Returns:
        Threads of each framework, at least 1; for a framework that is alone, `settings.threads` as it stands.
    """
    names = list(dict.fromkeys(frameworks))
    if len(names) < 2:
        return dict.fromkeys(names, settings.threads)
    whole = settings.threads or len(os.sched_getaffinity(0))
    each, left = divmod(whole, len(names))
    shares = {name: max(1, each + (number < left)) for number, name in enumerate(names)}
    log.info("%d CPU threads are shared out: %s", whole, ", ".join(f"{name} {share}" for name, share in shares.items()))
    return shares
