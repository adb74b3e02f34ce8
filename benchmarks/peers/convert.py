"""Write a checkpoint in the formats of peers: GGUF for llama.cpp and OpenVINO, CTranslate2's own folder.

    python benchmarks/peers/convert.py MODEL FOLDER [--ctranslate2 SITE_PACKAGES]

Runs in Kelvin's environment, which has what reads the checkpoint; CTranslate2's converter is taken from its own. A
Llama with a byte-level BPE in the manner of SmolLM is all that this knows: the benchmark's model.
"""

import argparse
import json
import sys
from pathlib import Path

import gguf
import numpy as np
from safetensors import safe_open

_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "model.layers.": "blk.",
}
KINDS = ("BF16", "F16", "Q8_0")


def main() -> None:
    """Convert."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ctranslate2", type=Path, metavar="SITE_PACKAGES")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    config = json.loads((arguments.model / "config.json").read_text())
    for kind in KINDS:
        write_gguf(arguments.model, config, kind, arguments.folder / f"model-{kind.lower()}.gguf")
    if arguments.ctranslate2:
        sys.path.append(str(arguments.ctranslate2))
        from ctranslate2.converters import TransformersConverter

        TransformersConverter(str(arguments.model)).convert(str(arguments.folder / "ctranslate2"), force=True)


def write_gguf(model, config, kind, path) -> None:
    """Write all matrices in one type, and norms in float32, in the layout of llama.cpp's own converter."""
    writer = gguf.GGUFWriter(path, "llama")
    write_metadata(writer, config, json.loads((model / "tokenizer.json").read_text()))
    with safe_open(model / "model.safetensors", "pt") as checkpoint:
        for name in checkpoint.keys():  # noqa: SIM118 - not a dict
            values = checkpoint.get_tensor(name).float().numpy()
            for ours, theirs in _NAMES.items():
                name = name.replace(ours, theirs)
            heads = {"attn_q": "num_attention_heads", "attn_k": "num_key_value_heads"}.get(name.split(".")[-2])
            if heads:
                values = side_by_side(values, config[heads])
            quantisation = gguf.GGMLQuantizationType[kind if values.ndim > 1 else "F32"]
            writer.add_tensor(name, gguf.quantize(values, quantisation), raw_dtype=quantisation)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_metadata(writer, config, tokenizer) -> None:
    """Write the shape and the tokenizer."""
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    bpe, special = tokenizer["model"], {added["content"] for added in tokenizer["added_tokens"]}
    tokens = sorted(bpe["vocab"], key=bpe["vocab"].get)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in special else 1 for token in tokens])
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in bpe["merges"]])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_chat_template("{% for message in messages %}{{ message.content }}{% endfor %}")


def side_by_side(rows, num_heads) -> np.ndarray:
    """Put the two halves of a rotary pair side by side, as llama.cpp turns them."""
    halves = rows.reshape(num_heads, 2, rows.shape[0] // num_heads // 2, *rows.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(rows.shape)


if __name__ == "__main__":
    main()
