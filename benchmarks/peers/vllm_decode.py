"""Drive vLLM's CPU build for `peers.py`, in this process: bfloat16, its step compiled."""

import os

os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_KVCACHE_SPACE": "2",  # GB
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # where it bound them itself, it did not end loading
    "VLLM_NO_USAGE_STATS": "1",
}

import vllm
from rounds import TEMPERATURE, TOP_K, TOP_P, arguments_of, measure


def main() -> None:
    """Measure."""
    arguments = arguments_of(__doc__)
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    model = vllm.LLM(
        model=arguments.model,
        dtype="bfloat16",
        skip_tokenizer_init=True,
        max_model_len=2048,
        max_num_seqs=max(arguments.rows),
        enable_prefix_caching=False,
    )

    def generate(prompts, new_tokens):
        params = vllm.SamplingParams(
            temperature=TEMPERATURE,
            top_k=TOP_K,
            top_p=TOP_P,
            min_tokens=new_tokens,
            max_tokens=new_tokens,
            ignore_eos=True,
            detokenize=False,
        )
        model.generate([{"prompt_token_ids": prompt} for prompt in prompts], params, use_tqdm=False)

    measure(generate, arguments, version=vllm.__version__, precision="bfloat16, keys and values too")


if __name__ == "__main__":
    main()
