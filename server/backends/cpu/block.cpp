// A whole block of the decoder in one call: what torch does between eight kernels costs more than some of them.

#include <torch/csrc/stable/ops.h>

#include "kernels.h"
#include "pool.h"
#include "vector.h"

namespace kelvin {
namespace {

Tensor multiply(const Tensor& x, const Tensor& matrix, int64_t out_features, const std::optional<Tensor>& bias,
                const std::optional<Tensor>& residual) {
  const bool codes = matrix.scalar_type() == ScalarType::Byte;
  return (codes ? linear_int8 : linear)(x, matrix, out_features, bias, residual, false);
}

// Normalise every head of x [tokens, heads, head_dim] by itself.
Tensor normalize_heads(const Tensor& x, const Tensor& weight, double eps, bool centred) {
  const int64_t tokens = x.size(0), heads = x.size(1), head_dim = x.size(2);
  const Tensor rows = torch::stable::reshape(x, {tokens * heads, head_dim});
  return torch::stable::view(normalize(rows, weight, std::nullopt, eps, centred), {tokens, heads, head_dim});
}

Tensor add(const Tensor& x, const Tensor& y) {
  const int64_t count = x.numel();
  Tensor out = new_empty(x, x.sizes());
  for_type_of(x, [&](auto type) {
    using T = decltype(type);
    const T *a = data<T>(x), *b = data<T>(y);
    T* target = mutable_data<T>(out);
    parallel_for(count / kLanes, 1024, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin * kLanes; i < end * kLanes; i += kLanes) store(target + i, load(a + i) + load(b + i));
    });
  });
  return out;
}

}  // namespace

Tensor block(const Tensor& x, const Tensor& slots, const Tensor& positions, Tensor keys, Tensor values,
             const std::optional<Tensor>& cos, const std::optional<Tensor>& sin, const Tensor& attention_norm,
             const std::optional<Tensor>& attention_norm_bias, const Tensor& qkv, const std::optional<Tensor>& qkv_bias,
             const std::optional<Tensor>& query_norm, const std::optional<Tensor>& key_norm, const Tensor& out,
             const std::optional<Tensor>& out_bias, const std::optional<Tensor>& post_attention_norm,
             const Tensor& mlp_norm, const std::optional<Tensor>& mlp_norm_bias, const Tensor& up,
             const std::optional<Tensor>& up_bias, const Tensor& down, const std::optional<Tensor>& down_bias,
             const std::optional<Tensor>& post_mlp_norm, int64_t heads, int64_t kv_heads, int64_t head_dim,
             int64_t intermediate_size, std::string activation, bool gated, double eps, bool centred,
             bool parallel_residual, double scale, int64_t window, double softcap) {
  const int64_t tokens = x.size(0), width = x.size(1), all_heads = heads + 2 * kv_heads;
  const auto add_product = [&](const Tensor& stream, const Tensor& h, const Tensor& matrix,
                               const std::optional<Tensor>& bias, const std::optional<Tensor>& post_norm) {
    if (!post_norm) return multiply(h, matrix, width, bias, stream);
    return add(stream, normalize(multiply(h, matrix, width, bias, {}), *post_norm, {}, eps, centred));
  };
  const Tensor h = normalize(x, attention_norm, attention_norm_bias, eps, centred);
  const Tensor projected = torch::stable::view(multiply(h, qkv, all_heads * head_dim, qkv_bias, {}),
                                               {tokens, all_heads, head_dim});
  Tensor narrowed = projected;  // `narrow` wants one that may be written
  Tensor query = torch::stable::narrow(narrowed, 1, 0, heads);
  Tensor key = torch::stable::narrow(narrowed, 1, heads, kv_heads);
  const Tensor value = torch::stable::narrow(narrowed, 1, heads + kv_heads, kv_heads);
  if (query_norm) query = normalize_heads(query, *query_norm, eps, centred);
  if (key_norm) key = normalize_heads(key, *key_norm, eps, centred);
  const Tensor attended = torch::stable::view(
      attend(query, key, value, cos, sin, keys, values, slots, positions, scale, window, softcap),
      {tokens, heads * head_dim});
  const Tensor y = add_product(x, attended, out, out_bias, post_attention_norm);
  const Tensor m = normalize(parallel_residual ? x : y, mlp_norm, mlp_norm_bias, eps, centred);
  const Tensor u = multiply(m, up, intermediate_size * (1 + gated), up_bias, {});
  return add_product(y, activate(u, activation, gated), down, down_bias, post_mlp_norm);
}

}  // namespace kelvin
