"""Time KerasHub's generate on a model of the same shape: tokens a second at several batch sizes, as a line of JSON.

`decode.py` runs this beside Kelvin's TensorFlow backend; it needs `keras_hub` on the path and KERAS_BACKEND=tensorflow.
The model is KerasHub's own Llama with the shape of a Hugging Face checkpoint and random weights in float32, which take
as long as real ones; generate is compiled by XLA, draws with temperature and top-p, and runs on to its full length. Its
prefill is subtracted. Medians over repeats.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import keras
import keras_hub
import numpy as np

REPEATS = 3


def main() -> None:
    """Print the tokens a second at each number of rows, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="of the checkpoint whose shape is taken")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--prompt-length", type=int, default=22)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--top-p", type=float, default=0.95)
    arguments = parser.parse_args()
    model = build(json.loads((arguments.folder / "config.json").read_text()), arguments)
    print(json.dumps([tokens_per_s(model, count, arguments) for count in arguments.rows]))


def build(config, arguments):
    """Make KerasHub's Llama of a checkpoint's shape."""
    keras.utils.set_random_seed(0)
    backbone = keras_hub.models.Llama3Backbone(
        vocabulary_size=config["vocab_size"],
        num_layers=config["num_hidden_layers"],
        num_query_heads=config["num_attention_heads"],
        num_key_value_heads=config["num_key_value_heads"],
        hidden_dim=config["hidden_size"],
        intermediate_dim=config["intermediate_size"],
        tie_word_embeddings=config.get("tie_word_embeddings", False),
        dtype="float32",
    )
    model = keras_hub.models.Llama3CausalLM(backbone, preprocessor=None)
    sampler = keras_hub.samplers.TopPSampler(p=arguments.top_p, temperature=arguments.temperature, seed=0)
    model.compile(sampler=sampler, jit_compile=True)
    return model


def tokens_per_s(model, count, arguments) -> float:
    """Measure generating less reading the prompt; the median of several runs."""
    generate_s(model, count, arguments, arguments.new_tokens + 1)  # compiles, like the next
    generate_s(model, count, arguments, 1)
    seconds = [
        generate_s(model, count, arguments, arguments.new_tokens + 1) - generate_s(model, count, arguments, 1)
        for _ in range(REPEATS)
    ]
    return count * arguments.new_tokens / statistics.median(seconds)


def generate_s(model, count, arguments, new_tokens) -> float:
    """Time generating, without a stop token, in a cache as long as prompt and answer together."""
    length = arguments.prompt_length + new_tokens
    token_ids = np.zeros((count, length), np.int32)
    token_ids[:, : arguments.prompt_length] = np.arange(100, 100 + arguments.prompt_length)
    mask = np.zeros((count, length), bool)
    mask[:, : arguments.prompt_length] = True
    start = time.perf_counter()
    model.generate({"token_ids": token_ids, "padding_mask": mask}, stop_token_ids=None)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
