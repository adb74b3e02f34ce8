// What matrix products for few rows share: outputs in tiles of 32, rows by twelve.
#pragma once

#include <algorithm>

#include "epilogue.h"

namespace kelvin {

constexpr int64_t kRows = 12;   // rows at once: 24 accumulators fit the 32 vector registers
constexpr int64_t kSweep = 96;  // rows that share one sweep over the weights

// The weights of one step over the inputs, for each half of a tile.
template <typename T>
struct Step {
  typename Arithmetic<T>::Weights half[2];
};

// A tile's weights as numbers, step by step. While they are read, other weights are asked for, which would be waited for
// when their turn comes: `next`, as many bytes of them a step as `kNextBytes`.
template <typename T, int64_t kNextBytes>
struct Numbers {
  const T* weights;
  const void* next;

  static constexpr int64_t span(int64_t in) { return in; }
  Numbers from(int64_t) const { return *this; }

  Step<T> operator()(int64_t k) const {
    constexpr int64_t kStep = Arithmetic<T>::kStep, kLine = 64;
    for (int64_t line = 0; line < kNextBytes; line += kLine)
      __builtin_prefetch(static_cast<const char*>(next) + k * (kNextBytes / kStep) + line, 0, 2);
    return {Arithmetic<T>::load(weights + k * kTile), Arithmetic<T>::load(weights + k * kTile + kLanes * kStep)};
  }
};

// Where a step's inputs lie: a pointer for every third row, since processors add a stride once or twice by themselves, and
// a pointer for each of twelve would not fit the registers beside all else.
template <typename T, int64_t kCount>
struct Inputs {
  static constexpr int64_t kEach = 3;

  Inputs(const T* x, int64_t stride) : stride(stride * sizeof(T)) {
#pragma GCC unroll 4
    for (int64_t i = 0; i * kEach < kCount; ++i) rows[i] = reinterpret_cast<const char*>(x + i * kEach * stride);
  }
  const T* row(int64_t r) const { return reinterpret_cast<const T*>(rows[r / kEach] + r % kEach * stride); }
  void advance() {
#pragma GCC unroll 4
    for (int64_t i = 0; i * kEach < kCount; ++i) {
      rows[i] += Arithmetic<T>::kStep * sizeof(T);
      asm("" : "+r"(rows[i]));  // else the compiler computes all twelve beforehand
    }
  }

  const char* rows[(kCount + kEach - 1) / kEach];
  int64_t stride;
};

// Weights come in spans of inputs: `weights.from(first)` reads one, a step at a time.
template <typename T, int64_t kCount, typename Weights>
void tile_rows(const T* x, int64_t stride, int64_t in, const Weights& weights, int64_t row, int64_t column,
               const Finish& finish) {
  Floats acc[kCount][2] = {};
  for (int64_t first = 0; first < in; first += weights.span(in)) {
    const auto part = weights.from(first);
    const int64_t count = std::min(weights.span(in), in - first);
    Inputs<T, kCount> inputs(x + first, stride);
    for (int64_t k = 0; k < count; k += Arithmetic<T>::kStep) {
      const Step<T> w = part(k);
#pragma GCC unroll 12
      for (int64_t r = 0; r < kCount; ++r)
#pragma GCC unroll 2
        for (int64_t half = 0; half < 2; ++half)
          acc[r][half] = Arithmetic<T>::multiply_add(acc[r][half], inputs.row(r), w.half[half]);
      inputs.advance();
    }
  }
  finish(row, kCount, column, reinterpret_cast<const float*>(acc));
}

// Multiply `count` rows, twelve at most, by one tile.
template <typename T, int64_t kCount = kRows, typename... Args>
void tile(int64_t count, Args&&... args) {
  if constexpr (kCount > 1)
    if (count < kCount) return tile<T, kCount - 1>(count, args...);
  tile_rows<T, kCount>(args...);
}

}  // namespace kelvin
