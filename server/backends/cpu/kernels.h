// Kelvin's CPU kernels. Every row is computed by itself, in an order that depends on nothing but the row: its bits are
// the same alone, in any batch, at any length of its neighbours and with any number of threads.
#pragma once

#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "activation.h"
#include "tensors.h"

namespace kelvin {

// Multiply by a packed matrix: x [rows, in] · weightᵀ + bias + residual, accumulated in float32 and rounded once.
// packed: see `pack`; bias [out]; residual [rows, out]; as_float: float32 results, else x's type.
Tensor linear(const Tensor& x, const Tensor& packed, int64_t out_features, const std::optional<Tensor>& bias,
              const std::optional<Tensor>& residual, bool as_float);

// Lay a weight [out, in] out as `linear` reads it: 1-D, by tiles of 32 outputs.
Tensor pack(const Tensor& weight);

// The same with a matrix that `pack_int8` made: the numbers are scale · code, never rounded.
Tensor linear_int8(const Tensor& x, const Tensor& packed, int64_t out_features, const std::optional<Tensor>& bias,
                   const std::optional<Tensor>& residual, bool as_float);

// Round a weight [out, in] to codes from -127 to 127, with a bfloat16 scale for each 32 inputs of an output; laid out as
// `linear_int8` reads it for x of the weight's type: uint8, 1-D, by tiles of 32 outputs.
Tensor pack_int8(const Tensor& weight);

// Scale each row of x [rows, width] to unit root mean square; centred: subtract its mean first (LayerNorm). The weight
// and bias are float32 or of x's type.
Tensor normalize(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias, double eps, bool centred);

// Store each token's key and value at its slot and position, then attend from it to all positions up to its own.
// query [tokens, heads, head_dim]; key, value [tokens, kv_heads, head_dim]; cos, sin float32 [max_length, half], the
// rotary angles of query and key, or none; keys, values [slots, kv_heads, max_length, head_dim], max_length a multiple of
// 16, laid out by tiles of 16 positions as this kernel alone reads them; slots, positions int64 [tokens]; window 0: all
// positions; softcap 0: none. sources, lengths int64 [slots], or neither: the first positions of a slot, as many as its
// length, a multiple of 16, lie in its source; the last 16 of them in the slot as well. Returns the shape of query.
Tensor attend(const Tensor& query, const Tensor& key, const Tensor& value, const std::optional<Tensor>& cos,
              const std::optional<Tensor>& sin, Tensor keys, Tensor values, const Tensor& slots,
              const Tensor& positions, double scale, int64_t window, double softcap,
              const std::optional<Tensor>& sources, const std::optional<Tensor>& lengths);

// Apply the feed-forward layer's activation: silu, gelu, gelu_tanh or relu; or tanh, for caps on logits. gated: x
// [rows, 2 · width] holds gate and up side by side and the result is activation(gate) · up, [rows, width]; else every
// element is activated.
Tensor activate(const Tensor& x, std::string name, bool gated);

// Multiply and activate at once: x [rows, in] · weightᵀ + bias, then as `activate`, rounded once. Returns [rows, width].
// gated: the matrix and the bias hold gate and up by turns of 16 outputs.
Tensor linear_activated(const Tensor& x, const Tensor& packed, int64_t width, const std::optional<Tensor>& bias,
                        Activation activation, bool gated);

// The same with a matrix that `pack_int8` made.
Tensor linear_int8_activated(const Tensor& x, const Tensor& packed, int64_t width, const std::optional<Tensor>& bias,
                             Activation activation, bool gated);

// Write down a block of a decoder for `run_blocks`: its weights (matrices packed by `pack` or `pack_int8`; up as
// `linear_activated` wants it), rotary angles as for `attend`, and its shape. The plan, bytes, says where these tensors
// lie, and is good for nothing when they are gone.
Tensor plan_block(const Tensor& attention_norm, const std::optional<Tensor>& attention_norm_bias, const Tensor& qkv,
                  const std::optional<Tensor>& qkv_bias, const std::optional<Tensor>& query_norm,
                  const std::optional<Tensor>& key_norm, const Tensor& out, const std::optional<Tensor>& out_bias,
                  const std::optional<Tensor>& post_attention_norm, const Tensor& mlp_norm,
                  const std::optional<Tensor>& mlp_norm_bias, const Tensor& up, const std::optional<Tensor>& up_bias,
                  const Tensor& down, const std::optional<Tensor>& down_bias,
                  const std::optional<Tensor>& post_mlp_norm, const std::optional<Tensor>& cos,
                  const std::optional<Tensor>& sin, int64_t heads, int64_t kv_heads, int64_t head_dim,
                  int64_t intermediate_size, std::string activation, bool gated, double eps, bool centred,
                  bool parallel_residual, double scale, int64_t window, double softcap);

// Run tokens through blocks, one after the other, as `Decoder.block` of torch_decoder.py says: x [tokens, hidden size];
// slots, positions, sources, lengths and, for each block, keys and values as for `attend`; plans [blocks, bytes].
// Returns the shape of x.
Tensor run_blocks(const Tensor& x, const Tensor& slots, const Tensor& positions, std::vector<Tensor> keys,
                  std::vector<Tensor> values, const Tensor& plans, const std::optional<Tensor>& sources,
                  const std::optional<Tensor>& lengths);

// Compute the Gumbel noise of every token: key0, key1, step int32 [rows]. Returns float32 [rows, vocab_size].
Tensor gumbel_noise(const Tensor& key0, const Tensor& key1, const Tensor& step, int64_t vocab_size);

// Do to each row of logits [rows, n], float32, what `process` of samplers/chain.py does; the other arguments are the arrays
// of SamplingState that it reads, in their order. Returns their shape.
Tensor process(const Tensor& logits, const Tensor& step, const Tensor& bias_ids, const Tensor& bias,
               const Tensor& allowed, const Tensor& bad_words, const Tensor& min_tokens, const Tensor& stop_ids,
               const Tensor& repetition_penalty, const Tensor& presence_penalty, const Tensor& frequency_penalty,
               const Tensor& no_repeat_ngram_size, const Tensor& dry_multiplier, const Tensor& dry_base,
               const Tensor& dry_allowed_length, const Tensor& tokens, const Tensor& length, const Tensor& counts,
               const Tensor& matches);

// Add a token to each row's history as `append` of samplers/history.py does. Returns tokens, length, counts, matches.
std::tuple<Tensor, Tensor, Tensor, Tensor> append(const Tensor& tokens, const Tensor& length, const Tensor& counts,
                                                  const Tensor& matches, const Tensor& token_ids);

// Draw a token for each row of logits [rows, n], float32, as `draw` of samplers/chain.py does; the other arguments are
// the arrays of SamplingState that it reads, in their order. Those from temperature_span on may hold no rows: then no
// row truncates. Returns Sampled: token_ids int32 [rows], finite bool [rows]; before, after, low, high float32 [rows, 1].
std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> draw(
    const Tensor& logits, const Tensor& temperature, const Tensor& key0, const Tensor& key1, const Tensor& step,
    const Tensor& temperature_span, const Tensor& temperature_exponent, const Tensor& temperature_last,
    const Tensor& top_n_sigma, const Tensor& early_min_p, const Tensor& top_k, const Tensor& early_typical_p,
    const Tensor& top_p, const Tensor& min_p, const Tensor& typical_p, const Tensor& epsilon_cutoff,
    const Tensor& eta_cutoff, const Tensor& xtc_probability, const Tensor& xtc_threshold);

// Measure the draw of each row as `measure` of samplers/measures.py does. logits and processed [rows, n], float32;
// before, after, low, high as `draw` returned them. Returns float32 [rows, 7].
Tensor measure(const Tensor& logits, const Tensor& processed, const Tensor& temperature, const Tensor& token_ids,
               const Tensor& before, const Tensor& after, const Tensor& low, const Tensor& high);

}  // namespace kelvin
