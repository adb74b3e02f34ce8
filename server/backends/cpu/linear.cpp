// Matrix products for few rows: weights packed once, every output accumulated over the inputs in one fixed order.

#include <algorithm>

#include "arithmetic.h"
#include "kernels.h"
#include "pool.h"

namespace kelvin {
namespace {

constexpr int64_t kTile = 2 * kLanes;  // outputs that one pass over the inputs computes
constexpr int64_t kRows = 12;          // rows at once: 24 accumulators fit the 32 vector registers
constexpr int64_t kLine = 64;          // bytes of a cache line
constexpr int64_t kSweep = 96;         // rows that share one sweep over the weights

// What happens to a finished tile: bias and residual are added in float32, then one rounding.
template <typename T, typename Out>
struct Epilogue {
  const T *bias, *residual;
  int64_t residual_stride;
  Out* out;
  int64_t out_features;

  void operator()(int64_t row, int64_t column, Floats acc) const {
    const int64_t count = std::min(kLanes, out_features - column);
    if (count < kLanes) return tail(row, column, acc, count);
    if (bias) acc += load(bias + column);
    if (residual) acc += load(residual + row * residual_stride + column);
    store(out + row * out_features + column, acc);
  }

  void tail(int64_t row, int64_t column, Floats acc, int64_t count) const {
    Out lanes[kLanes];
    for (int64_t i = 0; i < count; ++i) {
      if (bias) acc[i] += value_of(bias[column + i]);
      if (residual) acc[i] += value_of(residual[row * residual_stride + column + i]);
    }
    store(lanes, acc);
    if (count > 0) std::memcpy(out + row * out_features + column, lanes, count * sizeof(Out));
  }
};

// While it computes, it asks for the next tile's weights, which the first rows to use them would wait for.
template <typename T, int64_t kCount, typename E>
void tile_rows(const T* x, int64_t stride, int64_t in, const T* weights, int64_t row, int64_t column, const E& finish) {
  constexpr int64_t kStep = Arithmetic<T>::kStep;
  Floats acc[kCount][2] = {};
  for (int64_t k = 0; k < in; k += kStep) {
    const T* w = weights + k * kTile;
    for (int64_t line = 0; line < kStep * kTile; line += kLine / sizeof(T))
      __builtin_prefetch(w + in * kTile + line, 0, 2);
#pragma GCC unroll 12
    for (int64_t r = 0; r < kCount; ++r)
#pragma GCC unroll 2
      for (int64_t half = 0; half < 2; ++half)
        acc[r][half] = Arithmetic<T>::multiply_add(acc[r][half], x + r * stride + k, w + half * kLanes * kStep);
  }
  for (int64_t r = 0; r < kCount; ++r)
    for (int64_t half = 0; half < 2; ++half) finish(row + r, column + half * kLanes, acc[r][half]);
}

template <typename T, int64_t kCount = kRows, typename... Args>
void tile(int64_t count, Args&&... args) {
  if constexpr (kCount > 1)
    if (count < kCount) return tile<T, kCount - 1>(count, args...);
  tile_rows<T, kCount>(args...);
}

template <typename T, typename Out>
void multiply(const T* x, int64_t rows, int64_t stride, int64_t in, const T* packed, const Epilogue<T, Out>& finish) {
  const int64_t tiles = (finish.out_features + kTile - 1) / kTile;
  parallel_for(tiles, 1, [&](int64_t begin, int64_t end) {
    for (int64_t sweep = 0; sweep < rows; sweep += kSweep)
      for (int64_t t = begin; t < end; ++t)
        for (int64_t row = sweep; row < std::min(rows, sweep + kSweep); row += kRows)
          tile<T>(std::min(kRows, std::min(rows, sweep + kSweep) - row), x + row * stride, stride, in,
                  packed + t * kTile * in, row, t * kTile, finish);
  });
}

}  // namespace

Tensor pack(const Tensor& weight) {
  const int64_t out = weight.size(0), in = weight.size(1), tiles = (out + kTile - 1) / kTile;
  Tensor packed = torch::stable::new_empty(weight, {tiles * kTile * in});
  for_type_of(weight, [&](auto type) {
    using T = decltype(type);
    constexpr int64_t kStep = Arithmetic<T>::kStep;
    const T* source = data<T>(weight);
    T* target = mutable_data<T>(packed);
    parallel_for(tiles, 1, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t)
        for (int64_t k = 0; k < in; k += kStep)
          for (int64_t lane = 0; lane < kTile; ++lane)
            for (int64_t i = 0; i < kStep; ++i) {
              const int64_t row = t * kTile + lane;
              target[(t * in + k) * kTile + lane * kStep + i] = row < out ? source[row * in + k + i] : T{};
            }
    });
  });
  return packed;
}

Tensor linear(const Tensor& x, const Tensor& packed, int64_t out_features, const std::optional<Tensor>& bias,
              const std::optional<Tensor>& residual, bool as_float) {
  const int64_t rows = x.size(0), in = x.size(1);
  Tensor out = as_float ? torch::stable::new_empty(x, {rows, out_features}, ScalarType::Float)
                        : torch::stable::new_empty(x, {rows, out_features});
  for_type_of(x, [&](auto type) {
    using T = decltype(type);
    auto run = [&](auto* target) {
      using Out = std::remove_pointer_t<decltype(target)>;
      const Epilogue<T, Out> finish{bias ? data<T>(*bias) : nullptr, residual ? data<T>(*residual) : nullptr,
                                    residual ? residual->stride(0) : 0, target, out_features};
      multiply(data<T>(x), rows, x.stride(0), in, data<T>(packed), finish);
    };
    if (as_float)
      run(mutable_data<float>(out));
    else
      run(mutable_data<T>(out));
  });
  return out;
}

}  // namespace kelvin
