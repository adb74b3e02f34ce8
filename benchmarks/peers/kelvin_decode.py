"""Drive Kelvin's torch backend for `peers.py`: in process, compiled, prompts of several rows in one prefill."""

from pathlib import Path

from rounds import TEMPERATURE, TOP_K, TOP_P, arguments_of, measure

from samplers.params import SamplingParams
from server.backends import load_backend
from server.backends.base import PromptPiece
from server.models.load import load_spec
from server.models.weights import read_weights
from server.settings import load_settings


def main() -> None:
    """Measure."""
    arguments = arguments_of(__doc__, ("--quantization", "none"))
    folder = Path(arguments.model)
    spec = load_spec(folder)
    options = {"num_slots": max(arguments.rows), "max_length": 512, "cache_dir": load_settings().cache_dir}
    options |= {"threads": arguments.threads, "quantization": arguments.quantization}
    backend = load_backend("torch", spec, read_weights(folder, spec), **options)
    if not backend.wait_until_compiled():
        raise SystemExit("the step could not be compiled; see the log")

    def generate(prompts, new_tokens):
        for chunk in chunks(prompts, backend.prefill_chunk):
            backend.prefill([PromptPiece(row, prompts[row][:-1], 0) for row in chunk])
        for row, prompt in enumerate(prompts):
            options = {"temperature": TEMPERATURE, "top_k": TOP_K, "top_p": TOP_P, "seed": row, "ignore_eos": True}
            backend.admit(row, prompt, SamplingParams(**options, max_tokens=new_tokens))
        for _ in range(new_tokens):
            backend.decode(range(len(prompts)))

    weights = backend.dtype if backend.quantization == "none" else backend.quantization
    measure(generate, arguments, version="this", precision=f"{weights} weights, {backend.dtype} keys and values")
    backend.close()


def chunks(prompts, budget):
    """Divide prompts into as many as one prefill takes."""
    each = max(1, budget // max(1, len(prompts[0]) - 1))
    return [range(start, min(start + each, len(prompts))) for start in range(0, len(prompts), each)]


if __name__ == "__main__":
    main()
