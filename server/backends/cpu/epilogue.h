// What happens to the sums of a product: the end of every tile of 32 outputs.
#pragma once

#include <algorithm>

#include "activation.h"
#include "arithmetic.h"

namespace kelvin {

constexpr int64_t kTile = 2 * kLanes;  // outputs that one pass over the inputs computes

// What is done with sums; no template of the products, which would be compiled once for each.
class Finish {
 public:
  explicit Finish(int64_t out_features) : out_features(out_features) {}
  virtual ~Finish() = default;

  // Take the sums [count, 32] of some rows' tile, whose first output is `column`.
  virtual void operator()(int64_t row, int64_t count, int64_t column, const float* sums) const = 0;

  const int64_t out_features;  // of the product
};

// Bias and residual are added in float32, then one rounding.
template <typename T, typename Out>
struct Epilogue : Finish {
  Epilogue(const T* bias, const T* residual, int64_t residual_stride, Out* out, int64_t out_features)
      : Finish(out_features), bias(bias), residual(residual), residual_stride(residual_stride), out(out) {}

  const T *bias, *residual;
  int64_t residual_stride;
  Out* out;

  void operator()(int64_t row, int64_t count, int64_t column, const float* sums) const override {
    for (int64_t r = 0; r < count; ++r)
      for (int64_t half = 0; half < 2; ++half)
        finish(row + r, column + half * kLanes, load(sums + r * kTile + half * kLanes));
  }

 private:
  void finish(int64_t row, int64_t column, Floats sum) const {
    const int64_t count = std::min(kLanes, out_features - column);
    if (count < kLanes) return tail(row, column, sum, count);
    if (bias) sum += load(bias + column);
    if (residual) sum += load(residual + row * residual_stride + column);
    store(out + row * out_features + column, sum);
  }

  void tail(int64_t row, int64_t column, Floats sum, int64_t count) const {
    Out lanes[kLanes];
    for (int64_t i = 0; i < count; ++i) {
      if (bias) sum[i] += value_of(bias[column + i]);
      if (residual) sum[i] += value_of(residual[row * residual_stride + column + i]);
    }
    store(lanes, sum);
    if (count > 0) std::memcpy(out + row * out_features + column, lanes, count * sizeof(Out));
  }
};

// The bias is added, the activation applied, then one rounding. gated: the outputs are gate and up by turns of 16, so that
// a tile holds both of the same place, and what is kept is activation(gate) · up. All widths are multiples of 16.
template <typename T>
struct Activated : Finish {
  Activated(const T* bias, T* out, int64_t out_features, Activation activation, bool gated)
      : Finish(out_features), bias(bias), out(out), activation(activation), gated(gated) {}

  const T* bias;
  T* out;
  Activation activation;
  bool gated;

  void operator()(int64_t row, int64_t count, int64_t column, const float* sums) const override {
    for (int64_t r = 0; r < count; ++r) finish(row + r, column, {load(sums + r * kTile), load(sums + r * kTile + kLanes)});
  }

 private:
  void finish(int64_t row, int64_t column, const Floats (&sums)[2]) const {
    if (gated)
      return store(out + row * (out_features / 2) + column / 2,
                   activation(biased(column, sums[0])) * biased(column + kLanes, sums[1]));
    for (int64_t half = 0, at = column; half < 2 && at < out_features; ++half, at += kLanes)
      store(out + row * out_features + at, activation(biased(at, sums[half])));
  }

  Floats biased(int64_t column, Floats sum) const { return bias ? sum + load(bias + column) : sum; }
};

}  // namespace kelvin
