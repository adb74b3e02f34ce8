"""Examples for the documentation; tests send the bodies and hold the answers to their schemas."""

import json
from typing import Any

GENERATE: dict[str, Any] = {
    "prompt": "The lighthouse keeper",
    "max_tokens": 3,
    "temperature": 0.8,
    "min_p": 0.05,
    "seed": 7,
    "logprobs": 1,
}
GENERATE_ANSWER: dict[str, Any] = {
    "id": "gen-9d1c64b0a87f4f0c2e5b7a13",
    "model": "smollm2",
    "framework": "torch",
    "device": "cpu",
    "choices": [
        {
            "index": 0,
            "prompt_index": 0,
            "text": " was a man",
            "token_ids": [436, 253, 1048],
            "finish_reason": "length",
            "logprobs": {
                "token_logprobs": [-1.25, -1.5, -2.75],
                "top": [
                    {"ids": [436], "logprobs": [-1.25]},
                    {"ids": [253], "logprobs": [-1.5]},
                    {"ids": [1528], "logprobs": [-2.5]},
                ],
                "entropy": [3.5, 4.25, 5.0],
                "kept": [4, 5, 11],
            },
        }
    ],
    "usage": {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8},
    "sampling": {
        "seed": 7,
        "reproducible": "bitwise",
        "order": "hf",
        "resolved": {"temperature": 0.8, "top_p": 1.0, "seed": 7},
        "sources": {"temperature": "request", "top_p": "default", "seed": "request"},
    },
    "timings": {"queue_s": 0.0004, "prefill_s": 0.021, "decode_s": 0.034},
}
EVENTS = "".join(
    f"data: {line}\n\n"
    for line in (
        json.dumps(
            {
                "id": "gen-9d1c64b0a87f4f0c2e5b7a13",
                "choices": [{"index": 0, "prompt_index": 0, "text": " was", "token_ids": [436], "finish_reason": None}],
            }
        ),
        json.dumps(GENERATE_ANSWER | {"choices": []}),
        "[DONE]",
    )
)
DISTRIBUTION: dict[str, Any] = {"prompt": "The lighthouse keeper", "top": 2}
DISTRIBUTION_ANSWER: dict[str, Any] = {
    "tokens": [{"id": 436, "text": " was", "logit": 17.25}, {"id": 28, "text": ",", "logit": 16.5}],
    "tail": {
        "count": 4,
        "logsumexp": 16.75,
        "histogram": {"edges": [11.0, 13.0, 15.0], "counts": [1, 3]},
    },
}
TOKENIZE: dict[str, Any] = {"text": "lighthouse keeper"}
TOKENIZE_ANSWER: dict[str, Any] = {"tokens": [3429, 6907, 30482], "texts": ["light", "house", " keeper"], "count": 3}
DETOKENIZE: dict[str, Any] = {"tokens": [3429, 6907, 30482]}
DETOKENIZE_ANSWER: dict[str, Any] = {"text": "lighthouse keeper"}
READY_ANSWER: dict[str, Any] = {"status": "ready", "models": ["smollm2"]}
LIVE_ANSWER: dict[str, Any] = {"status": "live"}
VERSION_ANSWER: dict[str, Any] = {"kelvin": "0.1.0", "python": "3.11.15", "torch": "2.13.0", "tensorflow": None}
