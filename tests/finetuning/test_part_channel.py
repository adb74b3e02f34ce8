"""Parts of a channel: progress is a share of the whole, what is left is reckoned at the part's pace, warnings pass."""

import pytest

from server.finetuning.part_channel import PartChannel
from tests.finetuning.digits import Heard


@pytest.mark.parametrize(
    ("fraction", "eta_s", "whole", "left_s"),
    [
        (0.5, 10.0, 0.375, 50.0),  # an eighth of the whole takes 10 s, and five of them are left
        (0.0, None, 0.25, None),
        (1.0, 0.0, 0.5, None),  # the part is over, and has no pace any more
    ],
)
def test_what_is_left_of_the_whole_goes_at_the_pace_of_the_part(fraction, eta_s, whole, left_s):
    heard = Heard()
    PartChannel(heard, 0.25, 0.25).progress(fraction, epoch=1, step=2, eta_s=eta_s)
    assert heard.reports == [(whole, 1, 2, left_s)]


def test_the_end_of_the_last_part_is_the_end_of_the_whole():
    heard = Heard()
    PartChannel(heard, 0.5, 0.5).part(0.5, 0.5).progress(1.0, epoch=1, step=2, eta_s=0.0)
    assert heard.reports == [(1.0, 1, 2, 0.0)]


def test_a_quiet_part_keeps_what_is_well_to_itself():
    heard = Heard()
    part = PartChannel(heard, 0.0, 0.5, quiet=True).part(0.0, 0.5)
    part.event("metrics", "all is well")
    part.event("message", "a checkpoint is damaged", level="warn")
    assert heard.messages() == ["a checkpoint is damaged"]
