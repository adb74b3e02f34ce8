"""Measure llama.cpp on a model of bfloat16 and of Q8_0, made from one GGUF file: its rates, or what Q8_0 loses.

Runs in an environment of its own (`pip install llama-cpp-python`), with as many threads as there are cores; called by
`decode.py` and by `quantization.py`. The last line of its output is JSON.

    python llama_quantized.py rates FILE.gguf --prompt-length 22 --new-tokens 64 --repeats 5 --rows 1 8 32
    python llama_quantized.py distances FILE.gguf < TOKENS.json
"""

import argparse
import contextlib
import ctypes
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import llama_cpp
import numpy as np

KINDS = {"f32": 0, "bf16": 32, "q8_0": 7}  # llama.cpp's numbers for whole files
TEMPERATURE, TOP_K, TOP_P = 0.8, 50, 0.95


def main() -> None:
    """Convert the file to each kind, and measure it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["rates", "distances"])
    parser.add_argument("gguf", type=Path)
    parser.add_argument("--prompt-length", type=int)
    parser.add_argument("--new-tokens", type=int)
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--rows", type=int, nargs="+")
    arguments = parser.parse_args()
    llama_cpp.llama_backend_init()
    llama_cpp.llama_log_set(silent, ctypes.c_void_p())
    print(json.dumps(rates(arguments) if arguments.what == "rates" else distances(arguments, json.load(sys.stdin))))


@llama_cpp.llama_log_callback
def silent(level, text, data) -> None:
    """Keep llama.cpp's own lines out of the output."""


@contextlib.contextmanager
def context_of(gguf, kind, **options):
    """Convert a file to a kind, and open it."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, f"{kind}.gguf")
        how = llama_cpp.llama_model_quantize_default_params()
        how.ftype, how.allow_requantize, how.nthread = KINDS[kind], True, os.cpu_count()
        if llama_cpp.llama_model_quantize(str(gguf).encode(), str(target).encode(), ctypes.byref(how)):
            raise RuntimeError(f"llama.cpp could not convert {gguf} to {kind}")
        model = llama_cpp.llama_model_load_from_file(str(target).encode(), llama_cpp.llama_model_default_params())
        settings = llama_cpp.llama_context_default_params()
        for name, value in ({"n_threads": os.cpu_count(), "n_threads_batch": os.cpu_count()} | options).items():
            setattr(settings, name, value)
        context = llama_cpp.llama_init_from_model(model, settings)
        yield model, context
        llama_cpp.llama_free(context)
        llama_cpp.llama_model_free(model)


def feed(context, batch, tokens) -> None:
    """Run tokens, each an id, a position, a sequence, and whether its logits are wanted."""
    batch.n_tokens = len(tokens)
    for i, (token_id, position, sequence, wanted) in enumerate(tokens):
        batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token_id, position, 1, wanted
        batch.seq_id[i][0] = sequence
    if llama_cpp.llama_decode(context, batch):
        raise RuntimeError("llama.cpp could not decode")


def rates(arguments) -> dict:
    """Return the tokens a second that bfloat16 and Q8_0 decode at each number of rows, prompts read beforehand."""
    measured = {}
    for kind in ("bf16", "q8_0"):
        sequences = max(arguments.rows)
        with context_of(arguments.gguf, kind, n_ctx=512 * sequences, n_seq_max=sequences, kv_unified=False) as (
            _,
            context,
        ):
            measured[kind] = []
            for count in arguments.rows:
                decode_s(context, count, arguments)
                seconds = [decode_s(context, count, arguments) for _ in range(arguments.repeats)]
                measured[kind].append(count * arguments.new_tokens / statistics.median(seconds))
    return measured


def decode_s(context, count, arguments) -> float:
    """Time the tokens of so many sequences, each drawn by a sampler with a seed of its own."""
    length, samplers = arguments.prompt_length, [sampler(seed) for seed in range(count)]
    batch = llama_cpp.llama_batch_init(512, 0, 1)
    llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
    for sequence in range(count):
        feed(context, batch, [(100 + i, i, sequence, False) for i in range(length - 1)])
    last = [100 + length - 1] * count
    start = time.perf_counter()
    for step in range(arguments.new_tokens):
        feed(context, batch, [(last[row], length - 1 + step, row, True) for row in range(count)])
        last = [llama_cpp.llama_sampler_sample(samplers[row], context, row) for row in range(count)]
    seconds = time.perf_counter() - start
    llama_cpp.llama_batch_free(batch)
    for each in samplers:
        llama_cpp.llama_sampler_free(each)
    return seconds


def sampler(seed):
    """Chain top-k, which saves llama.cpp from sorting the vocabulary, top-p and temperature."""
    chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
    parts = (
        llama_cpp.llama_sampler_init_top_k(TOP_K),
        llama_cpp.llama_sampler_init_top_p(TOP_P, 1),
        llama_cpp.llama_sampler_init_temp(TEMPERATURE),
        llama_cpp.llama_sampler_init_dist(seed),
    )
    for part in parts:
        llama_cpp.llama_sampler_chain_add(chain, part)
    return chain


def distances(arguments, pages) -> list[dict]:
    """Say how far bfloat16 and Q8_0 are from float32 after every token of the pages; see `quantization.py`."""
    logprobs = {kind: read_pages(arguments.gguf, kind, pages) for kind in KINDS}
    pairs = (("f32", "bf16"), ("f32", "q8_0"), ("bf16", "q8_0"))
    return [compare(f"llama.cpp: {other} to {kind}", logprobs[kind], logprobs[other], pages) for kind, other in pairs]


def read_pages(gguf, kind, pages) -> np.ndarray:
    """Return the log-probabilities after every token, float32 [tokens, vocab]."""
    longest = max(map(len, pages))
    options = {"n_ctx": longest, "n_batch": longest, "n_ubatch": longest, "n_seq_max": 1}
    options |= {"type_k": 0, "type_v": 0} if kind == "f32" else {}  # the cache of keys and values too
    with context_of(gguf, kind, **options) as (model, context):
        vocab_size = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
        batch, after = llama_cpp.llama_batch_init(longest, 0, 1), []
        for page in pages:
            llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
            feed(context, batch, [(token_id, i, 0, True) for i, token_id in enumerate(page)])
            rows = [llama_cpp.llama_get_logits_ith(context, i) for i in range(len(page))]
            logits = np.stack([np.ctypeslib.as_array(row, (vocab_size,)) for row in rows]).astype(np.float64)
            logits -= logits.max(-1, keepdims=True)
            after.append((logits - np.log(np.exp(logits).sum(-1, keepdims=True))).astype(np.float32))
        llama_cpp.llama_batch_free(batch)
    return np.concatenate(after)


def compare(name, reference, other, pages) -> dict:
    """Compare as `quantization.py` does."""
    divergences = [
        np.exp(a.astype(np.float64)) @ (a.astype(np.float64) - b) for a, b in zip(reference, other, strict=True)
    ]
    ends = np.cumsum([len(page) for page in pages]) - 1
    inner = np.delete(np.arange(len(other)), ends)
    following = [token_id for page in pages for token_id in page[1:]]
    return {
        "name": name,
        "mean_kl": float(np.mean(divergences)),
        "largest_kl": float(np.max(divergences)),
        "same_top_token": float((reference.argmax(-1) == other.argmax(-1)).mean()),
        "perplexity": float(np.exp(-other[inner, following].astype(np.float64).mean())),
    }


if __name__ == "__main__":
    main()
