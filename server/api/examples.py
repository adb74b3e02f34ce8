"""Examples for the documentation; tests send the bodies and hold the answers to their schemas."""

import json
from typing import Any

from server.api.sampling import resolve_sampling
from server.api.schemas.generate import GenerateRequest

GENERATE: dict[str, Any] = {
    "prompt": "The lighthouse keeper",
    "max_tokens": 3,
    "temperature": 0.8,
    "min_p": 0.05,
    "seed": 7,
    "logprobs": 1,
}
_SAMPLING = resolve_sampling(GenerateRequest(**GENERATE), vocab_size=49152, max_timeout_s=600.0)
GENERATE_ANSWER: dict[str, Any] = {
    "id": "gen-cc67bb2bf6d375cad0310fe2",
    "model": "smollm2",
    "framework": "torch",
    "device": "cpu",
    "choices": [
        {
            "index": 0,
            "prompt_index": 0,
            "text": ", a seasoned",
            "token_ids": [28, 253, 22553],
            "finish_reason": "length",
            "logprobs": {
                "token_logprobs": [-1.1422, -1.7095, -1.2841],
                "top": [
                    {"ids": [28], "logprobs": [-1.1422]},
                    {"ids": [253], "logprobs": [-1.7095]},
                    {"ids": [22553], "logprobs": [-1.2841]},
                ],
                "entropy": [3.9656, 5.1224, 4.0001],
                "kept": [4, 7, 4],
            },
        }
    ],
    "usage": {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6},
    "sampling": {
        "seed": 7,
        "reproducible": "bitwise",
        "order": "hf",
        "resolved": _SAMPLING.resolved,
        "sources": _SAMPLING.sources,
    },
    "timings": {"queue_s": 0.0002, "prefill_s": 0.0161, "decode_s": 0.0494},
}
EVENTS = "".join(
    f"data: {line}\n\n"
    for line in (
        json.dumps(
            {
                "id": "gen-cc67bb2bf6d375cad0310fe2",
                "choices": [{"index": 0, "prompt_index": 0, "text": ",", "token_ids": [28], "finish_reason": None}],
            }
        ),
        json.dumps(GENERATE_ANSWER | {"choices": []}),
        "[DONE]",
    )
)
DISTRIBUTION: dict[str, Any] = {"prompt": "The lighthouse keeper", "top": 2}
DISTRIBUTION_ANSWER: dict[str, Any] = {
    "tokens": [{"id": 28, "text": ",", "logit": 12.9267}, {"id": 506, "text": "'s", "logit": 11.9577}],
    "tail": {
        "count": 49150,
        "logsumexp": 13.4887,
        "histogram": {
            "edges": [round(-19.3654 + 0.95687 * edge, 4) for edge in range(33)],
            "counts": [
                3, 5, 9, 20, 41, 75, 139, 238, 370, 762, 1094, 1781, 2572, 3653, 4478, 5493, 5688, 5483, 4766, 3808,
                2876, 2101, 1446, 1016, 592, 369, 161, 62, 29, 10, 4, 6,
            ],
        },
    },
}  # fmt: skip
TOKENIZE: dict[str, Any] = {"text": "lighthouse keeper"}
TOKENIZE_ANSWER: dict[str, Any] = {"tokens": [92, 24638, 40061], "texts": ["l", "ighthouse", " keeper"], "count": 3}
DETOKENIZE: dict[str, Any] = {"tokens": [92, 24638, 40061]}
DETOKENIZE_ANSWER: dict[str, Any] = {"text": "lighthouse keeper"}
READY_ANSWER: dict[str, Any] = {"status": "ready", "models": ["smollm2"]}
LIVE_ANSWER: dict[str, Any] = {"status": "live"}
VERSION_ANSWER: dict[str, Any] = {"kelvin": "0.1.0", "python": "3.11.15", "torch": "2.13.0", "tensorflow": None}
