"""The report of a fine-tune: it says what was found, holds its numbers, asks for nothing, and no text is markup."""

import json
import re

import numpy as np
import pytest

from server.finetuning.data import load_splits
from server.finetuning.outcome import Diagnosis, Ensembled, Member
from server.finetuning.reporting.card import model_card
from server.finetuning.reporting.figures import wilson
from server.finetuning.reporting.report import report_html
from server.finetuning.reporting.verdict import verdict
from server.finetuning.training.train import train
from server.finetuning.wording import NAMES
from tests.finetuning.digits import Heard
from tests.finetuning.example import epochs, outcome, plan, search, search_plan
from tests.page import EVIL, Page

DIAGNOSIS = Diagnosis(
    code="ignored_classes", level="warn", message="nothing was taken for sci", evidence={"rows": [12, 7], "share": 0.5}
)


def searched():
    return outcome(search=search(), diagnoses=[DIAGNOSIS], warnings=["few rows"])


@pytest.fixture(scope="module")
def page():
    return Page(report_html(searched(), plan(search=search_plan())))


def test_the_page_holds_verdict_diagnoses_figures_and_parameters(page):
    for said in (*verdict(searched()), "nothing was taken for sci", "few rows", *NAMES.values(), "lr_coupling"):
        assert said in page.text
    assert len(page.figures) == 2 + 1 + 6 + 1 + 1  # reliability, confusion, curves, search, classes


def test_every_figure_has_its_numbers_in_a_table(page):
    assert page.tags.count("summary") >= len(page.figures) - 6 + 1  # the six curves share one
    found = searched()
    for own in (found.before, found.after):
        for mean, hit, count in own.reliability:
            assert f"{mean:.3f}" in page.text
            assert f"{hit:.3f}" in page.text
            assert f"{count:,}" in page.text
    for epoch in found.epochs:
        assert f"{epoch.loss_at_one:.4f}" in page.text
        assert f"{epoch.validation_nll_at_training:.4f}" in page.text
    for trial in found.search.trials[2:]:
        assert f"{trial.value:.4f}" in page.text
    assert "given up" in page.text


def test_a_report_says_once_that_calibration_rows_are_few(tmp_path):
    rows = "".join(f'{{"features": [{n % 2 + n / 50}, 1], "label": "{n % 2}"}}\n' for n in range(200))
    (tmp_path / "rows").write_text(rows)
    asked = plan(training_file="rows", n_epochs=1).model_copy(update={"method": "mlp"})
    found = train(asked, load_splits(asked, lambda name: tmp_path / name), tmp_path, Heard())
    assert [own.code for own in found.diagnoses].count("few_calibration_rows") == 1
    page = Page(report_html(found, asked))
    assert len(re.findall("fitted to 2[0-9] rows", page.text)) == 1, page.text
    assert len(re.findall("fitted to 2[0-9] rows", model_card(found, asked, "ft:x"))) == 1


def test_figures_and_tables_say_the_same(page):
    found = searched()
    heat = [own for figure in page.figures for own in figure["data"] if own["type"] == "heatmap"]
    hits, errors = heat
    first = found.confusion[0]
    assert hits["z"][0][0] == pytest.approx(first[0] / sum(first))
    assert errors["z"][0][1] == pytest.approx(first[1] / sum(first))
    assert hits["z"][0][1] is None
    assert errors["z"][0][0] is None


def test_the_page_asks_for_nothing(page):
    assert page.links == []
    assert not {"link", "iframe", "img", "object", "embed", "base", "form"} & set(page.tags)


def test_no_text_becomes_markup():
    evil = Diagnosis(code="x", level="info", message=EVIL, evidence={EVIL: [EVIL]})
    found = outcome(names=[EVIL, f"{EVIL}2", "c"], classes=3, diagnoses=[evil], warnings=[EVIL], search=search())
    asked = plan(suffix=EVIL, model=EVIL, class_weight={EVIL: 2.0})
    page = Page(report_html(found, asked))
    plain = Page(report_html(outcome(classes=3, search=search()), plan()))
    assert page.tags.count("script") == plain.tags.count("script")
    assert "img" not in page.tags
    assert page.text.count("alert(1)") > 10
    for figure in page.figures:  # Plotly reads some markup in its texts
        assert "<img" not in json.dumps(figure)


def test_twenty_classes_are_written_into_their_cells_and_sixty_are_not():
    def texts(classes):
        page = Page(
            report_html(outcome(classes, rows=60 * classes, names=[f"class {n}" for n in range(classes)]), plan())
        )
        return [own for figure in page.figures for own in figure["data"] if own.get("mode") == "text"]

    assert len(texts(20)) == 1
    assert texts(60) == []


def test_what_was_not_done_is_not_drawn():
    found = outcome(reference=None, temperature_fitted=None, temperature_served=1.0)
    found = found.model_copy(update={"after": found.before, "epochs": epochs(1), "best_epoch": 1})
    page = Page(report_html(found, plan(start=1.0, end=1.0, schedule="constant")))
    assert "TF-IDF" not in page.text
    assert "The search" not in page.text
    assert "What to look at" not in page.text
    assert len(page.figures) == 1 + 1 + 6 + 1
    assert "served at temperature 1" in page.text
    assert not re.search(r"\bnan\b|\bNone\b", page.text)


@pytest.mark.parametrize(
    ("accuracy", "claim"),
    [(0.95, "It loses to TF-IDF"), (0.05, "It beats TF-IDF"), (None, "It does not beat TF-IDF")],
)
def test_the_reference_is_judged_by_the_interval(accuracy, claim):
    found = outcome()
    accuracy = found.after.figures.accuracy if accuracy is None else accuracy
    reference = found.reference.model_copy(update={"accuracy": accuracy})
    said = verdict(found.model_copy(update={"reference": reference}))
    assert any(sentence.startswith(claim) for sentence in said)


def test_calibration_that_harms_is_said_to():
    found = outcome()
    turned = found.model_copy(update={"before": found.after, "after": found.before, "temperature_served": 3.0})
    assert any("makes its probabilities worse" in sentence for sentence in verdict(turned))
    assert any("more honest" in sentence for sentence in verdict(found))


def test_what_a_search_has_chosen_is_drawn_instead_of_what_was_asked_for():
    page = Page(report_html(searched(), plan(search=search_plan())))
    assert "T from 1.7 to 0.5, cosine" in page.text
    assert "T from 2 to 0.5" not in page.text


@pytest.mark.parametrize(("nll", "claim"), [(9.0, "do better than"), (0.0, "do no better than")])
def test_an_ensemble_is_told_beside_its_first_network_alone(nll, claim):
    alone = outcome().after.figures.model_copy(update={"nll": nll})
    members = [Member(best_epoch=epoch, validation_nll=0.3) for epoch in (8, 5, 6)]
    found = outcome(ensemble=Ensembled(members=members, alone=alone))
    [said] = [sentence for sentence in verdict(found) if sentence.startswith("3 networks together")]
    assert claim in said
    assert ("Train one." in said) == (nll == 0)
    shown = report_html(found, plan(ensemble=3))
    assert "best epochs of the others are 5, 6" in shown
    assert "An ensemble of 3 networks, each a deep averaging network, that tells texts" in model_card(
        found, plan(), "ft"
    )


def test_cross_fitted_networks_are_told_as_such():
    members = [Member(best_epoch=epoch, validation_nll=0.3) for epoch in (8, 5, 6)]
    ensemble = Ensembled(members=members, alone=outcome().after.figures, cross_fitted_rows=1234)
    found, asked = outcome(ensemble=ensemble), plan(ensemble=3, cross_fitted=True)
    shown = report_html(found, asked)
    assert "3 cross-fitted networks" in shown
    assert "what each network says of its fold chooses the temperature" in shown
    assert "calibration the temperature" not in shown
    card = model_card(found, asked, "ft")
    assert "3 networks, each a deep averaging network, cross-fitted, that" in card
    assert "on 1,234 training rows, each as the network that had left it out tells it" in card
    assert "never saw" not in card


def test_a_gain_inside_the_noise_is_no_gain():
    assert verdict(outcome(search=search(noise=0.1)))[-1].startswith("The search gained nothing that can be told from")
    assert verdict(outcome(search=search(noise=0.001)))[-1].startswith("The search gained 0.03")
    only = search().model_copy(update={"best": 0, "gain": 0.0, "inside_noise": True})
    assert verdict(outcome(search=only))[-1].startswith("The search found nothing better")


def test_wilson_against_scipy():
    from scipy.stats import binomtest

    for count in (1, 7, 60):
        for hits in {0, 1, count // 2, count}:
            ends = binomtest(hits, count).proportion_ci(method="wilson")
            assert np.allclose(wilson(hits / count, count), (ends.low, ends.high), atol=1e-6)
