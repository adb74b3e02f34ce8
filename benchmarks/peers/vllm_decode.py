"""Drive vLLM's CPU build for `peers.py`: in process, bfloat16, no prefix cache."""

import os

os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")  # its threads are those of this process
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")  # GB
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import vllm
from rounds import TEMPERATURE, TOP_K, TOP_P, arguments_of, measure


def main() -> None:
    """Measure."""
    arguments = arguments_of(__doc__)
    options = {"max_model_len": 512, "max_num_seqs": max(arguments.rows), "enable_prefix_caching": False}
    engine = vllm.LLM(arguments.model, dtype="bfloat16", skip_tokenizer_init=True, **options)

    def generate(prompts, new_tokens):
        sampling = {"temperature": TEMPERATURE, "top_k": TOP_K, "top_p": TOP_P}
        length = {"max_tokens": new_tokens, "min_tokens": new_tokens, "ignore_eos": True, "detokenize": False}
        asked = [{"prompt_token_ids": prompt} for prompt in prompts]
        engine.generate(asked, vllm.SamplingParams(**sampling, **length), use_tqdm=False)

    measure(generate, arguments, version=vllm.__version__, precision="bfloat16, keys and values too")


if __name__ == "__main__":
    main()
