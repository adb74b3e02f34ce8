"""The card of a classifier: what it must say, and that labels are no markup."""

import re

from server.finetuning.reporting.card import model_card
from tests.finetuning.example import outcome, plan, search
from tests.page import EVIL


def test_a_card_says_what_it_is_how_good_and_served_at_what():
    found = outcome(rows=4000, warnings=["rows were few"], search=search())
    card = model_card(found, plan(), "ft:smollm2:topics:ab12")
    assert card.startswith("# ft:smollm2:topics:ab12\n")
    assert f"Logits are divided by {found.temperature_served:.4g} before the softmax: the fitted one" in card
    assert f"{found.after.figures.ece:.4f} ({found.after.intervals['ece'].low:.4f} to" in card
    assert f"| all | {sum(found.counts['train']):,} |" in card
    assert "rows were few" in card
    assert "the first 256 tokens" in card
    assert "TF-IDF" in card


def test_a_card_says_why_a_temperature_is_what_it_is():
    found = outcome(temperature_fitted=None, temperature_served=1.0)
    assert "no temperature improved on 1" in model_card(found, plan(), "ft:x")
    assert "as was asked for" in model_card(found, plan(method="none"), "ft:x")  # the calibration's method
    assert "the number that was asked for" in model_card(found, plan(serving_temperature=1.0), "ft:x")
    assert "the last one of training" in model_card(found, plan(serving_temperature="final"), "ft:x")


def test_labels_are_no_markup_and_break_no_table():
    names = [f"a|b\n# {EVIL}", "[x](http://y)", "c"]
    card = model_card(outcome(classes=3, names=names), plan(suffix=EVIL), EVIL)
    assert not re.search(r"(?<!\\)[<\[]", card)
    assert not re.search(r"^# .*\n.*^# ", card, re.M | re.S)
    rows = [line for line in card.splitlines() if line.startswith("| a")]
    assert len(re.findall(r"(?<!\\)\|", rows[0])) == 6


def test_classes_with_few_test_rows_are_named():
    card = model_card(outcome(classes=3, rows=60), plan(), "ft:x")
    assert "little is known of atheism, graphics, ms-windows" in card.replace("\\", "")
    assert "little is known" not in model_card(outcome(classes=3, rows=4000), plan(), "ft:x")
