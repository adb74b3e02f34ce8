"""A model folder of a few kilobytes with all that a real one has, written without a framework."""

import json

import numpy as np
import tokenizers
from safetensors.numpy import save_file
from tokenizers import decoders, models, pre_tokenizers, trainers

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
LENGTH = 128  # of the context
VOCAB_SIZE = 261  # odd, and two ids more than the tokenizer has: the width of the logits is what counts
_WIDTH, _INNER, _HEADS, _LAYERS = 32, 48, 2, 2
_CHAT = (
    "{% for turn in messages %}{{ '<|im_start|>' + turn.role + '\n' + turn.content + '<|im_end|>\n' }}{% endfor %}"
    "{{ '<|im_start|>assistant\n' }}"
)


def write_model(folder):
    """Write a random llama of 2 layers with a tokenizer of bytes and a chat template, and return the folder."""
    folder.mkdir(parents=True)
    _write_tokenizer(folder)
    (folder / "chat_template.jinja").write_text(_CHAT)
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": VOCAB_SIZE, "hidden_size": _WIDTH,
        "intermediate_size": _INNER, "num_hidden_layers": _LAYERS, "num_attention_heads": _HEADS,
        "num_key_value_heads": 1, "max_position_embeddings": LENGTH, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "hidden_act": "silu", "tie_word_embeddings": True, "bos_token_id": 0, "eos_token_id": 2,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    save_file(_weights(), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def _write_tokenizer(folder):
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        [], trainers.BpeTrainer(special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    )
    tokenizer.save(str(folder / "tokenizer.json"))


def _weights():
    generator = np.random.default_rng(5)

    def random(*shape):
        return generator.normal(0, 0.2, shape).astype(np.float32)

    weights = {"model.embed_tokens.weight": random(VOCAB_SIZE, _WIDTH), "model.norm.weight": np.ones(_WIDTH, "f4")}
    head = _WIDTH // _HEADS
    for layer in range(_LAYERS):
        weights |= {
            f"model.layers.{layer}.{name}.weight": value
            for name, value in {
                "input_layernorm": np.ones(_WIDTH, "f4"),
                "post_attention_layernorm": np.ones(_WIDTH, "f4"),
                "self_attn.q_proj": random(_WIDTH, _WIDTH),
                "self_attn.k_proj": random(head, _WIDTH),
                "self_attn.v_proj": random(head, _WIDTH),
                "self_attn.o_proj": random(_WIDTH, _WIDTH),
                "mlp.gate_proj": random(_INNER, _WIDTH),
                "mlp.up_proj": random(_INNER, _WIDTH),
                "mlp.down_proj": random(_WIDTH, _INNER),
            }.items()
        }
    return weights
