// The feed-forward layer's activations, and the tangent that caps logits: torch's own has other bits in other batches.

#include <cmath>
#include <cstring>
#include <stdexcept>

#include "activation.h"
#include "kernels.h"
#include "pool.h"
#include "vector.h"

namespace kelvin {
namespace {

Floats silu(Floats x) {
  const Floats e = exp_negative((x < 0.0f) ? x : -x);  // e^-|x|
  return x * ((x < 0.0f) ? e : Floats{} + 1.0f) / (1.0f + e);
}

Floats tanh(Floats x) {
  const Floats e = exp_negative((x < 0.0f) ? 2.0f * x : -2.0f * x);  // e^-2|x|
  const Floats y = (1.0f - e) / (1.0f + e);
  return (x < 0.0f) ? -y : y;
}

Floats gelu_tanh(Floats x) { return 0.5f * x * (1.0f + tanh(0.7978845608028654f * (x + 0.044715f * x * x * x))); }

Floats gelu(Floats x) {
  for (int64_t i = 0; i < kLanes; ++i) x[i] = 0.5f * x[i] * (1.0f + std::erf(x[i] * 0.7071067811865476f));
  return x;
}

Floats relu(Floats x) { return (x < 0.0f) ? Floats{} : x; }

template <typename T>
Floats load_up_to(int64_t count, const T* p) {
  if (count >= kLanes) return load(p);
  T lanes[kLanes] = {};
  std::memcpy(lanes, p, count * sizeof(T));
  return load(lanes);
}

template <typename T>
void store_up_to(int64_t count, T* p, Floats x) {
  if (count >= kLanes) return store(p, x);
  T lanes[kLanes];
  store(lanes, x);
  std::memcpy(p, lanes, count * sizeof(T));
}

Tensor activate_rows(const Tensor& x, bool gated, Activation function) {
  const int64_t rows = x.size(0), width = gated ? x.size(1) / 2 : x.size(1);
  Tensor out = empty({rows, width}, x.scalar_type());
  for_type_of(x, [&](auto type) {
    using T = decltype(type);
    parallel_for(rows, 4, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const T* in = data<T>(x) + row * x.stride(0);
        T* target = mutable_data<T>(out) + row * width;
        for (int64_t i = 0; i < width; i += kLanes) {
          const int64_t left = width - i;
          const Floats y = function(load_up_to(left, in + i));
          store_up_to(left, target + i, gated ? y * load_up_to(left, in + width + i) : y);
        }
      }
    });
  });
  return out;
}

}  // namespace

Tensor activate(const Tensor& x, std::string name, bool gated) {
  return activate_rows(x, gated, activation_named(name));
}

Activation activation_named(const std::string& name) {
  if (name == "silu") return silu;
  if (name == "gelu") return gelu;
  if (name == "gelu_tanh") return gelu_tanh;
  if (name == "relu") return relu;
  if (name == "tanh") return tanh;
  throw std::invalid_argument("no activation named " + name);
}

}  // namespace kelvin
