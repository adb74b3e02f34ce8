// How float32 and bfloat16 multiply: always accumulated in float32.
#pragma once

#include "vector.h"

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

namespace kelvin {

// How a type multiplies: `kStep` elements of x at a time, those of 16 columns packed side by side.
template <typename T>
struct Arithmetic;

template <>
struct Arithmetic<float> {
  using Weights = Floats;  // of 16 columns
  static constexpr int64_t kStep = 1;
  static Weights load(const float* w) { return kelvin::load(w); }
  static Floats multiply_add(Floats acc, const float* x, Weights w) { return acc + *x * w; }
  static Floats multiply_add(Floats acc, const float* x, const float* w) { return multiply_add(acc, x, load(w)); }
};

template <>
struct Arithmetic<BFloat16> {
  using Weights = Words;
  static constexpr int64_t kStep = 2;
  static Weights load(const BFloat16* w) { return *reinterpret_cast<const Words*>(w); }
  static Floats multiply_add(Floats acc, const BFloat16* x, Weights w) {
    uint32_t pair;
    std::memcpy(&pair, x, sizeof pair);
#if defined(__AVX512BF16__)
    return (Floats)_mm512_dpbf16_ps((__m512)acc, (__m512bh)w, (__m512bh)_mm512_set1_epi32(pair));
#else
    const Floats low = (Floats)(w << 16), high = (Floats)(w & 0xFFFF0000);
    float x0, x1;
    const uint32_t first = pair << 16, second = pair & 0xFFFF0000;
    std::memcpy(&x0, &first, sizeof x0);
    std::memcpy(&x1, &second, sizeof x1);
    return acc + x0 * low + x1 * high;
#endif
  }
  static Floats multiply_add(Floats acc, const BFloat16* x, const BFloat16* w) { return multiply_add(acc, x, load(w)); }
};

inline float value_of(float x) { return x; }
inline float value_of(BFloat16 x) {
  const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

}  // namespace kelvin
