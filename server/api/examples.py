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

METRICS = (
    "# HELP kelvin_num_requests_running Samples that hold a slot.\n# TYPE kelvin_num_requests_running gauge\n"
    'kelvin_num_requests_running{model_name="smollm2"} 4.0\n'
)
COMPARE: dict[str, Any] = {
    "prompts": ["The lighthouse keeper", "My favourite food is"],
    "arms": [{"name": "cold", "temperature": 0.5}, {"name": "hot", "temperature": 1.2}],
    "samples_per_prompt": 4,
    "max_tokens": 8,
    "seed": 7,
}
COMPARE_ANSWER: dict[str, Any] = {
    "id": "cmp-0d9b1f6c3a5e47728c14a6b2",
    "object": "comparison",
    "status": "queued",
    "progress": 0.0,
    "eta_s": None,
    "created_at": 1795516800.25,
    "started_at": None,
    "finished_at": None,
    "plan": {
        "arms": [
            {"name": name, "model": "smollm2", "prompt_template": None, "seed": 7, "replica": False, "given": given}
            for name, given in (("cold", {"temperature": 0.5}), ("hot", {"temperature": 1.2}))
        ],
        "baseline": "cold",
        "samples_per_prompt": 4,
        "max_tokens": 8,
        "seed": 7,
        "common_random_numbers": True,
        "equivalence_margins": {},
    },
    "error": None,
    "report": None,
}
COMPARE_ENDED: dict[str, Any] = COMPARE_ANSWER | {
    "status": "cancelled",
    "progress": 0.33,
    "started_at": 1795516800.31,
    "finished_at": 1795516801.07,
}
COMPARE_LIST: dict[str, Any] = {"data": [COMPARE_ANSWER], "has_more": False}
COMPARE_DELETED: dict[str, Any] = {"id": COMPARE_ANSWER["id"], "deleted": True}
COMPARE_EVENTS = (
    'id: 1\ndata: {"number":1,"created_at":1795516800.25,"type":"status","level":"info",'
    '"message":"the job is queued","data":{"status":"queued"}}\n\n'
    'data: {"type":"progress","status":"running","progress":0.33,"eta_s":0.8}\n\n'
    "data: [DONE]\n\n"
)
COMPARE_LINE = json.dumps(
    {
        "arm": "cold",
        "prompt_index": 0,
        "sample_index": 0,
        "text": ", a",
        "token_ids": [28, 253],
        "finish_reason": "length",
        "surprise": [1.1422, 1.7095],
        "logprob": [-0.2116, -0.3402],
        "entropy": [0.6721, 0.9013],
        "kl": [0.8114, 1.0402],
        "kept": [49152, 49152],
        "kept_mass": [1.0, 1.0],
        "top_mass": [0.8093, 0.7116],
    }
)
