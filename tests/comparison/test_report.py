"""The report's page: everything is in it, nothing else is asked for, and no text of a model becomes markup."""

import base64
import hashlib
import re
import shutil
import subprocess
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.comparison.first_divergence import first_divergence, shared_text
from server.comparison.metrics import METRICS
from server.comparison.report import report_html
from server.reports.page import policy
from tests.comparison.example import example
from tests.page import EVIL, Page

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def page():
    return Page(report_html(*example(prompts=8)))


def test_the_page_holds_the_verdict_every_metric_and_six_figures(page):
    report, _ = example(prompts=8)
    assert report.verdict[0] in page.text
    for description in METRICS.values():
        assert description.label.name in page.text
    assert len(page.figures) == 6
    assert [own["name"] for own in page.figures[0]["data"] if own["mode"] == "markers+text"] == ["cold", "hot"]
    assert "prompt 7 <b>&" in page.text
    assert "differs from token" in page.text


def test_the_page_asks_for_nothing(page):
    assert page.links == []
    assert not {"link", "iframe", "img", "object", "embed", "base", "form"} & set(page.tags)


def test_no_text_becomes_markup():
    report, completions = example(prompts=6, change=lambda own: replace(own, text=EVIL))
    named = report.model_copy(update={"prompts": [EVIL] * 6, "warnings": [EVIL], "verdict": [EVIL]})
    page = Page(report_html(named, completions))
    plain = Page(report_html(*example(prompts=6)))
    assert page.tags.count("script") == plain.tags.count("script")
    assert "img" not in page.tags
    assert page.text.count("alert(1)") == 8 + 6 + 6 * 3 * 2  # two of the words before, a list of prompts, all texts


def test_arms_that_differ_by_temperature_alone_are_joined():
    sweep = tuple((f"T={t}", t) for t in (1.5, 0.5, 1.0))
    joined = Page(report_html(*example(temperatures=sweep))).figures[0]["data"]
    [line] = [own for own in joined if own["mode"] == "lines"]
    assert list(line["x"]) == sorted(line["x"])


def test_an_arm_that_failed_is_said_to_have_and_the_page_is_drawn():
    report, completions = example(temperatures=(("cold", 0.5), ("hot", 1.5), ("broken", 1.0)), failed=("broken",))
    page = Page(report_html(report, completions))
    assert "broken gave no completion: the model failed" in page.text
    assert "failed" in page.text
    assert "nan" not in re.sub(r"[a-z]*nan[a-z]+|[a-z]+nan[a-z]*", "", page.text.lower())


def test_without_common_noise_nothing_is_marked():
    report, completions = example()
    page = report_html(report.model_copy(update={"common_random_numbers": False}), completions)
    assert "<mark>" not in page
    assert "<mark>" in report_html(report, completions)


def test_only_the_first_prompts_and_samples_are_shown():
    report, completions = example(prompts=45, samples=6)
    page = Page(report_html(report, completions))
    assert "4 of 6 samples of 40 of 45 prompts" in page.text
    assert page.text.count("24 tokens, length") == 40 * 4 * 2


@pytest.mark.parametrize(
    ("baseline", "other", "place"), [((1, 2), (1, 2), None), ((1, 2), (1, 3), 1), ((1,), (1, 2), 1), ((), (), None)]
)
def test_first_divergence_by_hand(baseline, other, place):
    assert first_divergence(baseline, other) == place


@given(st.lists(st.integers(0, 2)), st.lists(st.integers(0, 2)))
def test_up_to_the_divergence_all_is_shared(baseline, other):
    place = first_divergence(baseline, other)
    assert (place is None) == (baseline == other)
    if place is not None:
        assert baseline[:place] == other[:place]
        assert baseline[place : place + 1] != other[place : place + 1]


def test_what_two_texts_share_ends_before_a_word_that_they_share_a_part_of():
    assert shared_text("the old man", "the older man") == 4
    assert shared_text("the old man", "the old man") == 11
    assert shared_text("the old man", "the old woman") == 8
    assert shared_text("abc", "abd") == 0


def test_a_browser_may_run_the_pages_own_scripts_and_no_other():
    """The policy names them by their hashes, which are computed here once more from what is in the page."""
    text = report_html(*example(prompts=4))
    own = re.findall("<script>(.*?)</script>", text, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in own]
    assert len(hashes) == 2
    allowed = policy().split("script-src ")[1].split(";")[0].split()
    assert allowed == [f"'sha256-{known}'" for known in hashes]
    assert f'content="{policy()}"' in text
    assert "'unsafe-inline'" not in allowed


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here to open the page in")
def test_a_browser_draws_the_figures_and_runs_nothing_that_was_slipped_in(tmp_path):
    slipped = '<script>document.title = "slipped in"</script><img src=x onerror="document.title=1">'
    page = tmp_path / "report.html"
    page.write_text(report_html(*example(prompts=4)).replace("<main>", f"<main>{slipped}"), encoding="utf-8")
    shown = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", f"--user-data-dir={tmp_path}/profile", "--virtual-time-budget=10000",
         "--dump-dom", page.as_uri()],
        capture_output=True, text=True, timeout=60, check=True,
    ).stdout  # fmt: skip
    assert shown.count('class="main-svg"') >= 6
    assert "<title>slipped in" not in shown
    assert "<title>1</title>" not in shown
