"""Attention in bfloat16, which some processors compute in matrix registers: heads of every width, windows, chunks."""

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from samplers.params import SamplingParams
from server.backends.base import PromptPiece
from server.backends.torch_kernels import load_kernels
from tests.backends.conftest import LLAMA, VOCAB_SIZE, fill

LENGTH = 300


@pytest.fixture(autouse=True)
def _kernels(cache_dir):
    if not load_kernels(cache_dir):
        pytest.skip("no C++ compiler here")


def write_model(folder, *, window=None, **shape):
    fields = LLAMA | {"num_hidden_layers": 2, "max_position_embeddings": 640} | shape
    torch.manual_seed(4)
    if window is None:
        model = LlamaForCausalLM(LlamaConfig(**fields))
    else:
        model = MistralForCausalLM(MistralConfig(sliding_window=window, **fields))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_((torch.randn(parameter.shape) * 0.2).bfloat16())
    model.save_pretrained(folder)
    return model.eval()


@pytest.mark.parametrize("window", [None, 40, 200])
@pytest.mark.parametrize(("head_dim", "heads", "kv_heads"), [
    (16, 6, 2), (32, 3, 3), (48, 6, 1), (64, 12, 4), (80, 2, 1), (96, 4, 2), (128, 3, 1), (256, 2, 2),
])  # fmt: skip
def test_logits_after_a_prompt_are_those_of_transformers(head_dim, heads, kv_heads, window, make_backend, tmp_path):
    """Of the last token, which attends to what the kernels made of all others, and of what these attended to."""
    shape = {"head_dim": head_dim, "num_attention_heads": heads, "num_key_value_heads": kv_heads}
    model = write_model(tmp_path, window=window, **shape)
    prompt = np.random.default_rng(head_dim).integers(3, VOCAB_SIZE, LENGTH).tolist()
    with torch.no_grad():
        exact = model(torch.tensor([prompt])).logits[0, -1]
        rounded = model.bfloat16()(torch.tensor([prompt])).logits[0, -1].float()
    backend = make_backend(folder=tmp_path, dtype="bfloat16")
    fill(backend, 0, prompt)
    backend.admit(0, prompt, SamplingParams())
    logits = torch.tensor(backend.logits(0))
    # no further from float32 than transformers itself is in bfloat16, whose roundings come at other places
    assert (logits - exact).norm() < 2 * (rounded - exact).norm()
    for chunk in (1, 7, 128):
        fill(backend, 1, prompt, chunk)
        backend.admit(1, prompt, SamplingParams())
        assert torch.equal(torch.tensor(backend.logits(1)), logits)


@pytest.mark.parametrize("window", [None, 40, 200])
@pytest.mark.parametrize(("head_dim", "heads", "kv_heads"), [(16, 4, 4), (48, 6, 2), (64, 12, 3), (32, 24, 1)])
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_slots_that_begin_alike_draw_together_what_each_draws_alone(
    dtype, head_dim, heads, kv_heads, window, make_backend, tmp_path
):
    """A matrix register takes 1, 4, 5 or 16 of them; they are of two kinds, and share less and more than blocks."""
    write_model(tmp_path, window=window, head_dim=head_dim, num_attention_heads=heads, num_key_value_heads=kv_heads)
    backend = make_backend(folder=tmp_path, dtype=dtype, num_slots=20, max_length=640)
    assert backend.max_length == 640
    random = np.random.default_rng(heads)
    kinds = [random.integers(3, VOCAB_SIZE, 600).tolist() for _ in range(2)]
    for slot, kind in enumerate(kinds):
        fill(backend, slot, kind)
    prompts = {}
    lengths = 5, 16, 40, 256, 260, 288, 300, 310, 511, 512, 520, 512, 512, 270, 33, 599, 570
    for slot, shared in enumerate(lengths, 2):
        prompts[slot] = kinds[slot % 2][:shared] + random.integers(3, VOCAB_SIZE, 1 + slot % 4).tolist()
        backend.copy(slot % 2, slot, shared)
        own = prompts[slot][shared:-1]
        if own:
            backend.prefill([PromptPiece(slot, own, shared)])
        backend.admit(slot, prompts[slot], SamplingParams(seed=slot))
    together = [backend.decode(list(prompts)).token_ids for _ in range(3)]
    logits = {slot: backend.logits(slot) for slot in prompts}
    for row, (slot, prompt) in enumerate(prompts.items()):
        fill(backend, 19, prompt)
        backend.admit(19, prompt, SamplingParams(seed=slot))
        assert [backend.decode([19]).token_ids[0] for _ in range(3)] == [step[row] for step in together]
        assert backend.logits(19) == logits[slot]
