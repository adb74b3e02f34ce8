"""Drive CTranslate2 for `peers.py`; on CPU it computes in float32, or in int8 and float32."""

import json
from pathlib import Path

import ctranslate2
from rounds import TEMPERATURE, TOP_K, TOP_P, arguments_of, measure


def main() -> None:
    """Measure."""
    arguments = arguments_of(__doc__, ("--compute-type", "float32"))
    generator = ctranslate2.Generator(
        arguments.model, device="cpu", compute_type=arguments.compute_type, intra_threads=arguments.threads
    )
    vocabulary = json.loads(Path(arguments.model, "vocabulary.json").read_text())

    def generate(prompts, new_tokens):
        tokens = [[vocabulary[token_id] for token_id in prompt] for prompt in prompts]
        options = {"sampling_topk": TOP_K, "sampling_topp": TOP_P, "sampling_temperature": TEMPERATURE}
        options |= {"max_length": new_tokens, "min_length": new_tokens, "include_prompt_in_result": False}
        results = generator.generate_batch(tokens, **options)
        assert all(len(result.sequences_ids[0]) == new_tokens for result in results)

    precision = f"{generator.compute_type}, {arguments.threads} thread(s)"
    measure(generate, arguments, version=ctranslate2.__version__, precision=precision)


if __name__ == "__main__":
    main()
