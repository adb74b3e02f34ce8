"""Plan: its price, its names, whose noise is whose, and that a restart reads the same one."""

import pytest

from server.comparison.local import read_request
from server.comparison.metrics import METRICS
from server.comparison.plan import SEED_BITS, Plan, plan_of
from server.errors import InvalidRequestError

ARMS = [{"name": "cold", "temperature": 0.5}, {"name": "hot", "temperature": 1.2, "top_k": 5}]


def planned(limit=2_000_000, **body):
    given = {"prompts": ["one", "two"], "arms": ARMS, "samples_per_prompt": 4, "max_tokens": 10, "seed": 7} | body
    return plan_of(read_request(**given), first_model="first", max_tokens=limit)


def refusal(**body):
    with pytest.raises(InvalidRequestError) as refused:
        planned(**body)
    return refused.value


@pytest.mark.parametrize(("more", "price"), [({}, 160), ({"aa": True}, 240), ({"prompts": ["one"] * 5}, 400)])
def test_the_price_is_what_may_be_drawn_and_may_reach_the_limit(more, price):
    planned(limit=price, **more)
    error = refusal(limit=price - 1, **more)
    assert f" are {price} tokens; this server draws at most {price - 1} in one comparison" in error.message
    assert error.param == "samples_per_prompt"


def test_a_price_over_the_limit_says_what_it_is_made_of_and_the_way_out():
    assert refusal(limit=2_000_000, prompts=["x"] * 1000, samples_per_prompt=256, max_tokens=64).message == (
        "2 arms x 1,000 prompts x 256 samples x 64 tokens are 32,768,000 tokens; this server draws at most 2,000,000 "
        "in one comparison: lower samples_per_prompt or max_tokens, or send fewer prompts"
    )


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompts": ["x"] * 1001}, "prompts"),
        ({"prompts": []}, "prompts"),
        ({"arms": [{"name": str(number)} for number in range(17)]}, "arms"),
        ({"arms": []}, "arms"),
        ({"samples_per_prompt": 257}, "samples_per_prompt"),
        ({"samples_per_prompt": 0}, "samples_per_prompt"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"seed": 2**53}, "seed"),
        ({"seed": -1}, "seed"),
        ({"arms": [{"name": "a\nb"}, {"name": "c"}]}, "arms"),
        ({"arms": [{"name": "n" * 65}, {"name": "c"}]}, "arms"),
        ({"arms": [{"name": "a", "prompt_template": "{prompt} {prompt}"}, {"name": "c"}]}, "arms"),
        ({"equivalence_margins": {"surprise": 0}}, "equivalence_margins"),
        ({"equivalence_margins": {"speed": 1}}, "equivalence_margins"),
        ({"baseline": "nobody"}, "baseline"),
        ({"arms": ARMS[:1]}, "arms"),
        ({"arms": [ARMS[0], ARMS[0]]}, "arms"),
        ({"arms": [ARMS[0], {"name": "cold again"}], "aa": True}, "arms"),
    ],
)
def test_what_is_out_of_bounds_is_refused_by_name(body, param):
    assert refusal(**body).param == param


def test_by_default_arms_share_their_noise_and_the_first_is_the_baseline():
    plan = planned()
    assert plan.names == ("cold", "hot")
    assert (plan.baseline, [arm.seed for arm in plan.arms], plan.seed) == ("cold", [7, 7], 7)
    assert planned(baseline="hot").baseline == "hot"


def test_an_arm_has_what_it_was_given_and_the_first_model():
    arms = [{"name": "plain"}, {"name": "other", "model": "second", "top_p": 0.9, "prompt_template": "Q: {prompt}"}]
    plain, other = planned(arms=arms).arms
    assert (plain.model, plain.given, plain.prompt_template) == ("first", {}, None)
    assert (other.model, other.given, other.prompt_template) == ("second", {"top_p": 0.9}, "Q: {prompt}")


def test_noise_of_its_own_is_another_for_each_arm_and_for_the_baseline_again():
    plan = planned(common_random_numbers=False, aa=True)
    seeds = [arm.seed for arm in plan.arms]
    assert len(set(seeds)) == 3
    assert [arm.replica for arm in plan.arms] == [False, False, True]
    again = plan.arms[2]
    assert (again.name, again.given) == ("cold again", {"temperature": 0.5})


def test_the_baseline_again_is_that_of_the_baseline_asked_for():
    plan = planned(aa=True, baseline="hot")
    assert (plan.arms[2].name, plan.arms[2].given) == ("hot again", {"temperature": 1.2, "top_k": 5})
    assert plan.arms[2].seed not in {arm.seed for arm in plan.arms[:2]}
    assert planned(arms=ARMS[:1], aa=True).names == ("cold", "cold again")


def test_seeds_stay_below_what_readers_of_json_keep():
    plan = planned(seed=2**53 - 1, common_random_numbers=False, aa=True)
    assert all(0 <= arm.seed < 2**SEED_BITS for arm in plan.arms)
    assert len({arm.seed for arm in plan.arms}) == 3


def test_without_a_seed_one_is_drawn_and_kept():
    first, second = planned(seed=None), planned(seed=None)
    assert first.seed != second.seed  # equal once in 2**53 runs
    assert {arm.seed for arm in first.arms} == {first.seed}


def test_a_restart_reads_the_same_plan():
    plan = planned(aa=True, equivalence_margins={"surprise": 0.1}, baseline="hot")
    assert Plan.model_validate(plan.model_dump(mode="json")) == plan
    assert Plan.model_validate_json(plan.model_dump_json()) == plan


def test_a_margin_may_name_any_metric():
    margins = dict.fromkeys(METRICS, 0.5)
    assert planned(equivalence_margins=margins).equivalence_margins == margins
