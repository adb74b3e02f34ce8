"""Part of a channel: what a part of the work reports, as a share of the whole."""

from typing import Any

from server.finetuning.channel import Channel, Level


class PartChannel:
    """A channel whose progress is a part of another one's."""

    def __init__(self, channel: Channel, start: float, share: float, *, quiet: bool = False) -> None:
        """Report to a channel.

        Args:
            channel: of the whole.
            start: where the part begins, in [0, 1].
            share: of the whole, in [0, 1].
            quiet: whether events of level info are kept from the whole: those of a fold would be mistaken for the
                training's.
        """
        self._channel, self._start, self._share, self._quiet = channel, start, share, quiet

    def part(self, start: float, share: float) -> "PartChannel":
        """Return a part of this part, as quiet."""
        return PartChannel(self, start, share, quiet=self._quiet)

    def progress(self, fraction: float, *, epoch: int, step: int, eta_s: float | None) -> None:
        """Report progress of the part; what is left of the whole is reckoned at the pace of the part."""
        whole, left = min(1.0, self._start + self._share * fraction), self._share * (1 - fraction)
        if eta_s is not None:
            eta_s = eta_s * (1 - whole) / left if left > 0 else None if whole < 1 else 0.0
        self._channel.progress(whole, epoch=epoch, step=step, eta_s=eta_s)

    def event(self, type: str, message: str, *, level: Level = "info", data: dict[str, Any] | None = None) -> None:
        """Report an event, unless it is quiet and all is well."""
        if not self._quiet or level != "info":
            self._channel.event(type, message, level=level, data=data)

    @property
    def should_stop(self) -> bool:
        """Whether the whole should."""
        return self._channel.should_stop
