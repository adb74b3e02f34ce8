import numpy as np
import pytest
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.gpt_neox.modeling_gpt_neox import GPTNeoXConfig, GPTNeoXRotaryEmbedding

from server.models.rope import Rope, inverse_frequencies


def test_the_first_pair_turns_by_one_radian_and_the_last_hardly():
    frequencies = inverse_frequencies(Rope(theta=10000.0, width=4))
    assert frequencies.dtype == np.float32
    np.testing.assert_allclose(frequencies, [1.0, 0.01], rtol=1e-7)


@pytest.mark.parametrize("theta", [100.0, 10000.0, 500000.0])
@pytest.mark.parametrize("factor", [1.0, 0.25, 0.3, 0.7])
def test_part_of_a_head_turns_as_in_transformers(theta: float, factor: float):
    rope = {"rope_type": "default", "rope_theta": theta, "partial_rotary_factor": factor}
    config = GPTNeoXConfig(hidden_size=160, num_attention_heads=2, rope_parameters=rope)
    expected = GPTNeoXRotaryEmbedding.compute_default_rope_parameters(config)[0].numpy()
    found = inverse_frequencies(Rope(theta, width=int(80 * factor)))
    np.testing.assert_allclose(found, expected, rtol=5e-7)


@pytest.mark.parametrize("theta", [100.0, 500000.0])
@pytest.mark.parametrize("kind", ["linear", "llama3"])
def test_scaled_frequencies_are_those_of_transformers(theta: float, kind: str):
    rope = {"rope_type": kind, "rope_theta": theta, "factor": 8.0}
    if kind == "llama3":
        rope |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
    config = LlamaConfig(head_dim=128, max_position_embeddings=131072, rope_parameters=rope)
    expected = ROPE_INIT_FUNCTIONS[kind](config)[0].numpy()
    found = inverse_frequencies(Rope(theta, 128, kind, 8.0, 1.0, 4.0, 8192.0))
    np.testing.assert_allclose(found, expected, rtol=5e-7)
