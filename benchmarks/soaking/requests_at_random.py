"""Requests at random: sampler settings of all kinds, good bodies and bad ones."""

import json
import random

WORDS = ["time", "way", "year", "work", "water", "house", "light", "sound", "stone", "river", "night", "story", "road"]
# How clients behave, and how often.
BEHAVIOURS = {"reads": 0.72, "leaves": 0.13, "dawdles": 0.02, "sleeps": 0.01, "bad": 0.12}
BAD = [
    b"", b"null", b"[]", b'{"prompt": ', b'{"prompt": "a", "temperature": NaN}', b'{"prompt": "a", "n": 0}',
    b'{"prompt": "a", "temprature": 1}', b'{"prompt": "a", "temperature": -1}', b'{"prompt": ""}', b"\xff\xfe",
    b'{"prompt": "a", "max_tokens": 1000000}', b'{"prompt": "a", "top_p": 0}', b'{"prompt": "a", "model": "none"}',
    b'{"prompt": [99999999]}', b'{"prompt": "a", "seed": 18446744073709551616}', b'{"prompt": "a", "prompt": "b"}',
    b'{"prompt": "a", "logit_bias": {"-1": 1}}', b'{"prompt": "\\ud800"}', b'{"prompt": "a", "stop": [""]}',
    b"[" * 5000, b'{"prompt": "a", "n": "2"}', b'{"prompt": "a", "min_tokens": 9, "max_tokens": 3}',
]  # fmt: skip


def behaviour(choose):
    """Draw how a client behaves."""
    return choose.choices(list(BEHAVIOURS), list(BEHAVIOURS.values()))[0]


def request(choose, kind, *, tokens):
    """Draw a path and a body.

    Args:
        choose: draws.
        kind: the behaviour of the client.
        tokens: of a prompt and an answer at most.
    """
    if kind == "bad":
        return choose.choice(["/generate", "/v1/completions", "/distribution"]), choose.choice(BAD)
    body = {"prompt": prompt(choose, tokens), "max_tokens": choose.randint(1, tokens), "stream": choose.random() < 0.5}
    if kind in ("dawdles", "sleeps"):  # streams that no buffer between two machines takes whole
        body |= {"stream": True, "logprobs": 20 if choose.random() < 0.5 else None, "max_tokens": tokens, "n": 2}
    body |= {"ignore_eos": choose.random() < 0.5, "seed": choose.choice([None, choose.randrange(2**53)])}
    if kind in ("dawdles", "sleeps") or choose.random() < 0.8:
        return "/generate", json.dumps(body | settings(choose)).encode()
    if choose.random() < 0.3:
        return "/distribution", json.dumps({"prompt": body["prompt"], "top": choose.randint(1, 50)}).encode()
    return "/v1/completions", json.dumps(body | {"temperature": choose.uniform(0, 2)}).encode()


def plain(choose, *, tokens):
    """Draw the body of a stream of one sample, as most clients send it, for timing."""
    body = {"prompt": prompt(choose, tokens), "max_tokens": tokens, "stream": True, "ignore_eos": True}
    return json.dumps(body | {"temperature": 0.8, "top_p": 0.95, "seed": choose.randrange(2**53)}).encode()


def prompt(choose, tokens):
    """Make up a prompt that shares no beginning with others."""
    count = choose.randint(3, max(3, tokens // 2))
    return f"{choose.random()} " + " ".join(choose.choices(WORDS, k=count))


def settings(choose):
    """Draw sampling fields: some requests set none, some several."""
    fields = {
        "temperature": lambda: choose.choice([0.0, choose.uniform(0.1, 3.0)]),
        "top_p": lambda: choose.uniform(0.1, 1.0),
        "top_k": lambda: choose.randint(0, 100),
        "min_p": lambda: choose.uniform(0, 0.3),
        "typical_p": lambda: choose.uniform(0.2, 1.0),
        "xtc_probability": lambda: choose.random(),
        "repetition_penalty": lambda: choose.uniform(0.9, 1.5),
        "presence_penalty": lambda: choose.uniform(-1, 1),
        "frequency_penalty": lambda: choose.uniform(-1, 1),
        "no_repeat_ngram_size": lambda: choose.randint(0, 4),
        "dry_multiplier": lambda: choose.uniform(0, 1),
        "logit_bias": lambda: {str(choose.randint(0, 200)): choose.uniform(-5, 5)},
        "stop": lambda: [choose.choice(WORDS)],
        "min_tokens": lambda: 1,
        "n": lambda: choose.randint(1, 3),
        "order": lambda: choose.choice(["hf", "vllm", "llamacpp"]),
        "logprobs": lambda: choose.randint(0, 5),
    }
    picked = choose.sample(sorted(fields), choose.choice([0, 0, 1, 2, 4]))
    return {name: fields[name]() for name in picked}


def seeded(number):
    """Return what draws the request of this number, the same in every run."""
    return random.Random(f"soak {number}")
