// Blocks of the decoder in one call: what a framework does between their kernels costs more than some of these.

#include "kernels.h"
#include "pool.h"
#include "workspace.h"

namespace kelvin {
namespace {

bool has_codes(const Tensor& matrix) { return matrix.scalar_type() == ScalarType::Byte; }

Tensor multiply(const Tensor& x, const Tensor& matrix, int64_t out_features, const std::optional<Tensor>& bias,
                const std::optional<Tensor>& residual) {
  return (has_codes(matrix) ? linear_int8 : linear)(x, matrix, out_features, bias, residual, false);
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

// A tensor as room for the one result of a kernel.
class Given : public Room {
 public:
  explicit Given(const Tensor& target) : target_(target) {}

 protected:
  Tensor place(const Sizes&, ScalarType) override { return target_; }

 private:
  Tensor target_;
};

struct Block {
  Tensor attention_norm;
  std::optional<Tensor> attention_norm_bias;
  Tensor qkv;
  std::optional<Tensor> qkv_bias, query_norm, key_norm;
  Tensor out;
  std::optional<Tensor> out_bias, post_attention_norm;
  Tensor mlp_norm;
  std::optional<Tensor> mlp_norm_bias;
  Tensor up;
  std::optional<Tensor> up_bias;
  Tensor down;
  std::optional<Tensor> down_bias, post_mlp_norm, cos, sin;
  int64_t heads, kv_heads, head_dim, intermediate_size;
  Activation activation;
  bool gated, centred, parallel_residual;
  double eps, scale;
  int64_t window;
  double softcap;

  // Where tokens are, and the caches that they write to and read.
  struct Places {
    const Tensor &slots, &positions, &keys, &values;
    const std::optional<Tensor>&sources, &lengths;
  };

  void run(const Tensor& x, const Places& places, const Tensor& result) const {
    const Workspace workspace;
    const Tensor y = empty(x.sizes(), x.scalar_type());
    add_product(x, attend_to(x, places), out, out_bias, post_attention_norm, y);
    const Tensor h = normalize(parallel_residual ? x : y, mlp_norm, mlp_norm_bias, eps, centred);
    const auto activated = has_codes(up) ? linear_int8_activated : linear_activated;
    const Tensor u = activated(h, up, intermediate_size, up_bias, activation, gated);
    add_product(y, u, down, down_bias, post_mlp_norm, result);
  }

 private:
  Tensor attend_to(const Tensor& x, const Places& places) const {
    const int64_t tokens = x.size(0), all_heads = heads + 2 * kv_heads;
    const Tensor h = normalize(x, attention_norm, attention_norm_bias, eps, centred);
    const Tensor projected = multiply(h, qkv, all_heads * head_dim, qkv_bias, {}).view({tokens, all_heads, head_dim});
    Tensor query = projected.narrow(1, 0, heads), key = projected.narrow(1, heads, kv_heads);
    const Tensor value = projected.narrow(1, heads + kv_heads, kv_heads);
    if (query_norm) query = normalize_heads(query, *query_norm, eps, centred);
    if (key_norm) key = normalize_heads(key, *key_norm, eps, centred);
    return attend(query, key, value, cos, sin, places.keys, places.values, places.slots, places.positions, scale, window,
                  softcap, places.sources, places.lengths)
        .view({tokens, heads * head_dim});
  }

  // Add h · matrixᵀ to the residual stream, normalised before where the model does that.
  void add_product(const Tensor& stream, const Tensor& h, const Tensor& matrix, const std::optional<Tensor>& bias,
                   const std::optional<Tensor>& post_norm, const Tensor& result) const {
    const int64_t width = stream.size(1);
    if (post_norm) {
      const Tensor product = normalize(multiply(h, matrix, width, bias, {}), *post_norm, {}, eps, centred);
      const Given room(result);
      add(stream, product);
    } else {
      const Given room(result);
      multiply(h, matrix, width, bias, stream);
    }
  }
};

static_assert(std::is_trivially_copyable_v<Block>, "plans are memory");

}  // namespace

Tensor plan_block(const Tensor& attention_norm, const std::optional<Tensor>& attention_norm_bias, const Tensor& qkv,
                  const std::optional<Tensor>& qkv_bias, const std::optional<Tensor>& query_norm,
                  const std::optional<Tensor>& key_norm, const Tensor& out, const std::optional<Tensor>& out_bias,
                  const std::optional<Tensor>& post_attention_norm, const Tensor& mlp_norm,
                  const std::optional<Tensor>& mlp_norm_bias, const Tensor& up, const std::optional<Tensor>& up_bias,
                  const Tensor& down, const std::optional<Tensor>& down_bias,
                  const std::optional<Tensor>& post_mlp_norm, const std::optional<Tensor>& cos,
                  const std::optional<Tensor>& sin, int64_t heads, int64_t kv_heads, int64_t head_dim,
                  int64_t intermediate_size, std::string activation, bool gated, double eps, bool centred,
                  bool parallel_residual, double scale, int64_t window, double softcap) {
  const Block block{attention_norm, attention_norm_bias, qkv, qkv_bias, query_norm, key_norm, out, out_bias,
                    post_attention_norm, mlp_norm, mlp_norm_bias, up, up_bias, down, down_bias, post_mlp_norm, cos, sin,
                    heads, kv_heads, head_dim, intermediate_size, activation_named(activation), gated, centred,
                    parallel_residual, eps, scale, window, softcap};
  const Tensor plan = empty({sizeof block}, ScalarType::Byte);
  std::memcpy(plan.memory(), &block, sizeof block);
  return plan;
}

Tensor run_blocks(const Tensor& x, const Tensor& slots, const Tensor& positions, std::vector<Tensor> keys,
                  std::vector<Tensor> values, const Tensor& plans, const std::optional<Tensor>& sources,
                  const std::optional<Tensor>& lengths) {
  const size_t count = keys.size();
  if (static_cast<size_t>(plans.size(0)) != count || values.size() != count || plans.size(1) != sizeof(Block))
    throw std::invalid_argument("there must be a plan, keys and values for every block");
  const Tensor result = empty(x.sizes(), x.scalar_type()), other = empty(x.sizes(), x.scalar_type());
  Tensor stream = x;
  for (size_t i = 0; i < count; ++i) {
    const Tensor& next = (count - i) % 2 == 1 ? result : other;  // so that the last is the result
    data<Block>(plans)[i].run(stream, {slots, positions, keys[i], values[i], sources, lengths}, next);
    stream = next;
  }
  return result;
}

}  // namespace kelvin
