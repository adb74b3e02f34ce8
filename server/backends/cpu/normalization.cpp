// RMSNorm and LayerNorm; the weights may be float32 beside bfloat16 rows.

#include <cmath>

#include "kernels.h"
#include "pool.h"
#include "vector.h"

namespace kelvin {
namespace {

template <typename T, typename W>
void normalize_row(const T* x, const W* weight, const W* bias, int64_t width, float eps, bool centred, T* out) {
  float mean = 0;
  if (centred) {
    Floats total{};
    for (int64_t i = 0; i < width; i += kLanes) total += load(x + i);
    mean = sum(total) / width;
  }
  Floats squares{};
  for (int64_t i = 0; i < width; i += kLanes) {
    const Floats d = load(x + i) - mean;
    squares += d * d;
  }
  const float scale = 1.0f / std::sqrt(sum(squares) / width + eps);
  for (int64_t i = 0; i < width; i += kLanes) {
    Floats y = (load(x + i) - mean) * scale * load(weight + i);
    if (bias) y += load(bias + i);
    store(out + i, y);
  }
}

}  // namespace

Tensor normalize(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias, double eps, bool centred) {
  const int64_t rows = x.size(0), width = x.size(1);
  Tensor out = empty(x.sizes(), x.scalar_type());
  for_type_of(x, [&](auto type) {
    using T = decltype(type);
    for_type_of(weight, [&](auto weight_type) {
      using W = decltype(weight_type);
      parallel_for(rows, 8, [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row)
          normalize_row(data<T>(x) + row * x.stride(0), data<W>(weight), bias ? data<W>(*bias) : nullptr, width,
                        static_cast<float>(eps), centred, mutable_data<T>(out) + row * width);
      });
    });
  });
  return out;
}

}  // namespace kelvin
