// A whole block of the decoder in one call: what a framework does between eight kernels costs more than some of them.

#include "kernels.h"
#include "pool.h"
#include "workspace.h"

namespace kelvin {
namespace {

Tensor multiply(const Tensor& x, const Tensor& matrix, int64_t out_features, const std::optional<Tensor>& bias,
                const std::optional<Tensor>& residual) {
  const bool codes = matrix.scalar_type() == ScalarType::Byte;
  return (codes ? linear_int8 : linear)(x, matrix, out_features, bias, residual, false);
}

Tensor multiply_activated(const Tensor& x, const Tensor& matrix, int64_t width, const std::optional<Tensor>& bias,
                          const std::string& activation, bool gated) {
  const bool codes = matrix.scalar_type() == ScalarType::Byte;
  return (codes ? linear_int8_activated : linear_activated)(x, matrix, width, bias, activation, gated);
}

// Normalise every head of x [tokens, heads, head_dim], a part of a wider tensor, by itself.
Tensor normalize_heads(const Tensor& x, const Tensor& weight, double eps, bool centred) {
  const int64_t heads = x.size(1), head_dim = x.size(2), bytes = heads * head_dim * bytes_of(x.scalar_type());
  const Tensor rows = empty({x.size(0) * heads, head_dim}, x.scalar_type());
  for (int64_t token = 0; token < x.size(0); ++token)
    std::memcpy(rows.narrow(0, token * heads, heads).memory(), x.narrow(0, token, 1).memory(), bytes);
  return normalize(rows, weight, std::nullopt, eps, centred).view(x.sizes());
}

Tensor add(const Tensor& x, const Tensor& y) {
  Tensor out = empty(x.sizes(), x.scalar_type());
  for_type_of(x, [&](auto type) {
    using T = decltype(type);
    const T *a = data<T>(x), *b = data<T>(y);
    T* target = mutable_data<T>(out);
    parallel_for(x.sizes().count() / kLanes, 1024, [&](int64_t begin, int64_t end) {
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
  std::optional<Workspace> workspace(std::in_place);
  const Tensor h = normalize(x, attention_norm, attention_norm_bias, eps, centred);
  const Tensor projected =
      multiply(h, qkv, all_heads * head_dim, qkv_bias, {}).view({tokens, all_heads, head_dim});
  Tensor query = projected.narrow(1, 0, heads), key = projected.narrow(1, heads, kv_heads);
  const Tensor value = projected.narrow(1, heads + kv_heads, kv_heads);
  if (query_norm) query = normalize_heads(query, *query_norm, eps, centred);
  if (key_norm) key = normalize_heads(key, *key_norm, eps, centred);
  const Tensor attended = attend(query, key, value, cos, sin, keys, values, slots, positions, scale, window, softcap)
                              .view({tokens, heads * head_dim});
  const Tensor y = add_product(x, attended, out, out_bias, post_attention_norm);
  const Tensor m = normalize(parallel_residual ? x : y, mlp_norm, mlp_norm_bias, eps, centred);
  const Tensor u = multiply_activated(m, up, intermediate_size, up_bias, activation, gated);
  workspace.reset();  // what it holds stays; the result is the caller's
  return add_product(y, u, down, down_bias, post_mlp_norm);
}

}  // namespace kelvin
