"""Drive OpenVINO GenAI's continuous batching for `peers.py`, on a GGUF file of float16 (it reads no bfloat16)."""

import numpy as np
import openvino as ov
import openvino_genai
from rounds import TEMPERATURE, TOP_K, TOP_P, arguments_of, measure


def main() -> None:
    """Measure."""
    arguments = arguments_of(__doc__, ("--inference-precision", ""), ("--kv-cache-precision", ""))
    properties = {"INFERENCE_NUM_THREADS": arguments.threads}
    if arguments.inference_precision:
        properties["INFERENCE_PRECISION_HINT"] = arguments.inference_precision
    if arguments.kv_cache_precision:
        properties["KV_CACHE_PRECISION"] = arguments.kv_cache_precision
    scheduler = openvino_genai.SchedulerConfig()
    scheduler.cache_size, scheduler.max_num_batched_tokens = 2, 2048
    scheduler.enable_prefix_caching = False
    pipeline = openvino_genai.ContinuousBatchingPipeline(arguments.model, scheduler, "CPU", properties)

    def generate(prompts, new_tokens):
        inputs = [ov.Tensor(np.array([prompt], np.int64)) for prompt in prompts]
        outputs = pipeline.generate(inputs, [config_of(row, new_tokens) for row in range(len(prompts))])
        assert all(len(output.m_generation_ids[0]) == new_tokens for output in outputs)

    default = {
        name: str(ov.Core().get_property("CPU", name)) for name in ("INFERENCE_PRECISION_HINT", "KV_CACHE_PRECISION")
    }
    precision = f"float16 weights, asked for {properties}, defaults {default}"
    measure(generate, arguments, version=openvino_genai.__version__, precision=precision)


def config_of(row, new_tokens):
    """Return the settings of one row."""
    config = openvino_genai.GenerationConfig()
    config.max_new_tokens = config.min_new_tokens = new_tokens
    config.ignore_eos = config.do_sample = True
    config.temperature, config.top_k, config.top_p, config.rng_seed = TEMPERATURE, TOP_K, TOP_P, row
    return config


if __name__ == "__main__":
    main()
