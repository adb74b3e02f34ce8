"""CUDA without a device: nothing in a step waits for the host or comes from it, and attention is driven rightly."""

import math

import numpy as np
import pytest
import torch

from samplers.params import SamplingParams
from server.backends import torch as torch_backend
from server.backends import torch_cuda, torch_plain
from server.backends.base import PromptPiece
from server.backends.torch_cuda import CudaOperators, pick_attention
from server.models.load import load_spec
from server.models.weights import read_weights
from tests.backends.checkpoints import MAX_LENGTH, write_checkpoint
from tests.backends.conftest import VOCAB_SIZE
from tests.backends.fake_cuda import OnDevice, fake_cuda
from tests.backends.test_graphs import EVERYTHING

SLOTS = 9
PLAIN = SamplingParams(temperature=0.8)
ASKED = {"draws alone": PLAIN, "truncates": SamplingParams(top_p=0.9), "everything": EVERYTHING}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Return folders of tiny models: one that any attention fits, one with windows, one with softcaps."""
    made = {}
    for case in ("llama", "mistral sliding", "gemma2"):
        made[case] = tmp_path_factory.mktemp("checkpoint")
        write_checkpoint(case, made[case])
    return made


@pytest.fixture
def on_fake_cuda(folders, cache_dir, monkeypatch):
    """Return a maker of backends on a CUDA device of shapes alone."""
    weights = {case: (load_spec(folder), read_weights(folder, load_spec(folder))) for case, folder in folders.items()}

    def make(case, dtype):
        options = {"num_slots": SLOTS, "max_length": MAX_LENGTH, "compile": False, "cache_dir": cache_dir}
        return torch_backend.TorchBackend(*weights[case], dtype=dtype, device="cuda:0", **options)

    with fake_cuda(monkeypatch, capability=(9, 0)):
        yield make


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("case", ["llama", "mistral sliding", "gemma2"])
def test_a_step_is_on_the_device_throughout_and_nobody_waits_for_it(on_fake_cuda, case, dtype):
    """Forward pass and sampling, at every size, with whatever a request may ask for; the copy of tokens after it too.

    A tensor without contents raises where its contents are asked for, so what passes here never waits.
    """
    backend = on_fake_cuda(case, dtype)
    static = backend._decoding
    backend.prefill([PromptPiece(0, [5, 6, 7], 0), PromptPiece(3, [8, 9], 4)])
    for slot in range(SLOTS):
        backend.admit(slot, [5, 6, 7, 8], PLAIN)
    with torch.no_grad():
        for count in (1, 2, 3, SLOTS):
            for params in ASKED.values():
                rows = static.place(range(count))
                with OnDevice() as mode:
                    outcome = static.step(rows, processes=params.processes, truncates=params.truncates)
                assert mode.operations > 100
                static._mailboxes[0].post(outcome.drawn)
                assert outcome.logits.shape == (len(rows.slots), VOCAB_SIZE)
                assert len(rows.slots) >= count


def test_the_fake_device_refuses_what_a_graph_may_not_hold(on_fake_cuda):
    device = on_fake_cuda("llama", "float32").device
    x = torch.zeros(4, device=device)
    with pytest.raises(Exception, match="_local_scalar_dense"):
        x.sum().item()
    with pytest.raises(Exception, match="device"):
        x + torch.ones(4)
    with pytest.raises(AssertionError, match="on cpu"), OnDevice():
        x.copy_(torch.ones(4))
    with pytest.raises(AssertionError, match="on cpu"), OnDevice():
        x[torch.tensor([1], device=device)] = torch.tensor(1.0)


@pytest.mark.parametrize(
    ("case", "dtype", "capability", "attention"),
    [
        ("llama", torch.bfloat16, (9, 0), "flash"),
        ("mistral sliding", torch.float16, (8, 0), "flash"),
        ("llama", torch.bfloat16, (7, 5), "sdpa"),
        ("llama", torch.float32, (9, 0), "sdpa"),
        ("gemma2", torch.bfloat16, (9, 0), "plain"),
    ],
)
def test_attention_is_what_the_device_and_the_model_allow(folders, case, dtype, capability, attention):
    assert pick_attention(load_spec(folders[case]), dtype, capability) == attention


def varlen_reference(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, scale, window_size, enable_gqa, seqused_k):
    """Attend as `varlen_attn` documents it, one query at a time in float64; the last query sees the last key."""
    assert cu_seq_q.dtype == cu_seq_k.dtype == seqused_k.dtype == torch.int32
    assert query.is_contiguous()
    assert key.stride(-1) == value.stride(-1) == 1
    group = query.shape[1] // key.shape[1]
    assert enable_gqa == (group > 1)
    attended = torch.empty_like(query)
    for sequence, length in enumerate(seqused_k.tolist()):
        first, beyond = cu_seq_q[sequence : sequence + 2].tolist()
        start = int(cu_seq_k[sequence])
        assert beyond - first <= max_q
        assert length <= max_k
        for token in range(first, beyond):
            place = length - (beyond - token)
            left, right = window_size
            seen = range(
                max(0, place - left) if left >= 0 else 0, min(length, place + right + 1) if right >= 0 else length
            )
            for head in range(query.shape[1]):
                stretch = slice(start + seen.start, start + seen.stop)
                k, v = key[stretch, head // group].double(), value[stretch, head // group].double()
                weights = torch.softmax(k @ query[token, head].double() * scale, 0)
                attended[token, head] = weights @ v
    return attended


@pytest.mark.parametrize("window", [0, 3])
@pytest.mark.parametrize("attention", ["flash", "sdpa", "plain"])
def test_attention_of_prompts_and_steps_is_that_of_plain_torch(monkeypatch, attention, window):
    monkeypatch.setattr(torch_cuda, "varlen_attn", varlen_reference)
    operators = CudaOperators(attention)
    generator = torch.Generator().manual_seed(3)

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    slots, heads, kv_heads, length, head_dim = 5, 6, 2, 32, 8
    caches = [draw(slots, length, kv_heads, head_dim).transpose(1, 2) for _ in range(2)]
    expected_caches = [cache.clone() for cache in caches]
    angles = draw(length, head_dim // 2)
    pieces = [PromptPiece(3, [1] * 6, 0), PromptPiece(1, [1], 9), PromptPiece(4, [1] * 3, 5)]
    prompt = [piece.slot for piece in pieces for _ in piece.token_ids]
    places = [piece.position + i for piece in pieces for i in range(len(piece.token_ids))]
    for reads, at, positions in ((pieces, prompt, places), ((), [4, 0, 3, 1], [8, 0, 6, 10])):
        if reads:
            operators.read(reads, torch.device("cpu"))
        else:
            operators = CudaOperators(attention)
        tokens = [draw(len(at), count, head_dim) for count in (heads, kv_heads, kv_heads)]
        rest = (torch.tensor(at), torch.tensor(positions), 1 / math.sqrt(head_dim), window, 0.0)
        ours = operators.attend(*tokens, angles.cos(), angles.sin(), *caches, *rest)
        plain = torch_plain.attend(*tokens, angles.cos(), angles.sin(), *expected_caches, *rest)
        np.testing.assert_allclose(ours, plain, atol=2e-6)
        for cache, expected in zip(caches, expected_caches, strict=True):
            assert torch.equal(cache, expected)
