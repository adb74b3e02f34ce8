// Sixteen floats at a time, in the vector types of GCC and Clang: the compiler lowers them to what the processor has.
#pragma once

#include <cstdint>
#include <cstring>
#include <limits>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace kelvin {

constexpr int64_t kLanes = 16;
constexpr float kInf = std::numeric_limits<float>::infinity();

typedef float Floats __attribute__((vector_size(64), aligned(4)));
typedef uint32_t Words __attribute__((vector_size(64), aligned(4)));
typedef int32_t Ints __attribute__((vector_size(64), aligned(4)));
typedef uint16_t Halves __attribute__((vector_size(32), aligned(2)));

struct BFloat16 {
  uint16_t bits;
};

inline Floats load(const float* p) { return *reinterpret_cast<const Floats*>(p); }

inline Floats load(const BFloat16* p) {
  return (Floats)(__builtin_convertvector(*reinterpret_cast<const Halves*>(p), Words) << 16);
}

inline void store(float* p, Floats x) { *reinterpret_cast<Floats*>(p) = x; }

inline void store(BFloat16* p, Floats x) {  // to nearest, ties to even; NaN stays NaN
#if defined(__AVX512BF16__)
  *reinterpret_cast<Halves*>(p) = (Halves)_mm512_cvtneps_pbh((__m512)x);  // what is below the least normal number is 0
#else
  Words bits = (Words)x;
  Words rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
  Words result = (x == x) ? rounded : (Words{} + 0x7FC0);
  *reinterpret_cast<Halves*>(p) = __builtin_convertvector(result, Halves);
#endif
}

// Store the first lanes, as many as there is room for.
inline void store_up_to(float* target, int64_t count, Floats x) {
  if (count >= kLanes)
    store(target, x);
  else if (count > 0)
    std::memcpy(target, &x, count * sizeof(float));
}

inline float sum(Floats x) {
  float lanes[kLanes];
  std::memcpy(lanes, &x, sizeof lanes);
  for (int64_t width = kLanes / 2; width > 0; width /= 2)
    for (int64_t i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  return lanes[0];
}

inline float greatest(Floats x) {
#if defined(__AVX512F__)
  return _mm512_reduce_max_ps((__m512)x);
#else
  float most = x[0];
  for (int64_t lane = 1; lane < kLanes; ++lane) most = x[lane] > most ? x[lane] : most;
  return most;
#endif
}

// A sum in two levels, so that small terms do not drown in a large total.
struct Accumulator {
  Floats inner{}, outer{};
  int64_t count = 0;

  void add(Floats x) {
    inner += x;
    if (++count % 64 == 0) {
      outer += inner;
      inner = Floats{};
    }
  }
  float sum() const { return kelvin::sum(outer + inner); }
};

inline int32_t bits_of(float x) {
  int32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

inline float float_of(int32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

constexpr Ints kLane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

// Whether any lane of a comparison's answer is true.
inline bool any(Ints mask) {
#if defined(__AVX512F__)
  return _mm512_test_epi32_mask((__m512i)mask, (__m512i)mask) != 0;
#else
  Words lanes = (Words)mask;
  uint32_t found = 0;
  for (int64_t lane = 0; lane < kLanes; ++lane) found |= lanes[lane];
  return found != 0;
#endif
}

// e^x for x ≤ 0, within 2 units in the last place; 0 below the smallest normal number.
inline Floats exp_negative(Floats x) {
  Floats clamped = (x < -87.0f) ? (Floats{} - 87.0f) : x;
  Floats shifted = clamped * 1.44269504088896341f + 12582912.0f;  // adding 1.5 · 2^23 rounds to an integer
  Floats n = shifted - 12582912.0f;
  Floats r = clamped - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  Floats y = r * 1.9875691500e-4f + 1.3981999507e-3f;
  y = y * r + 8.3334519073e-3f;
  y = y * r + 4.1665795894e-2f;
  y = y * r + 1.6666665459e-1f;
  y = y * r + 5.0000001201e-1f;
  y = y * r * r + r + 1.0f;
  Ints exponent = (__builtin_convertvector(n, Ints) + 127) << 23;
  Floats result = y * (Floats)exponent;
  return (x < -87.0f) ? Floats{} : result;
}

}  // namespace kelvin
