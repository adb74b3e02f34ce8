// Weights as int8 codes with a scale for each 32 inputs of an output, and how they become numbers of x's type: scale ·
// code, rounded to that type.
#pragma once

#include "tile.h"

namespace kelvin {

constexpr int64_t kGroup = 32;         // inputs that share a scale
constexpr int64_t kLargestCode = 127;  // codes are symmetric: -127 to 127
constexpr int64_t kScaleBytes = kTile * sizeof(BFloat16);
constexpr int64_t kGroupBytes = kScaleBytes + kGroup * kTile;  // of a tile: the scales, then the codes step by step

inline int64_t groups_of(int64_t in) { return (in + kGroup - 1) / kGroup; }

inline Floats widen(const uint8_t* codes) {
#if defined(__AVX512F__)
  return (Floats)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes))));
#else
  typedef int8_t Bytes __attribute__((vector_size(16), aligned(1)));
  const Ints whole = __builtin_convertvector(*reinterpret_cast<const Bytes*>(codes), Ints);
  return __builtin_convertvector(whole, Floats);
#endif
}

// The numbers of one group. The codes of a step lie as the numbers do: output by output, the step's inputs side by side.
template <typename T>
struct Group;

template <>
struct Group<float> {
  explicit Group(const uint8_t* group) : codes(group + kScaleBytes) {
    const BFloat16* scales = reinterpret_cast<const BFloat16*>(group);
    for (int64_t half = 0; half < 2; ++half) scale[half] = load(scales + half * kLanes);
  }
  Step<float> operator()(int64_t k) const {
    const uint8_t* step = codes + k * kTile;
    return {widen(step) * scale[0], widen(step + kLanes) * scale[1]};
  }

  const uint8_t* codes;
  Floats scale[2];
};

template <>
struct Group<BFloat16> {
  explicit Group(const uint8_t* group) : codes(group + kScaleBytes) {
    const BFloat16* scales = reinterpret_cast<const BFloat16*>(group);
    for (int64_t half = 0; half < 2; ++half) {
      const Floats each = load(scales + half * kLanes);
      scale[2 * half] = twice(each, 0);
      scale[2 * half + 1] = twice(each, kLanes / 2);
    }
  }
  Step<BFloat16> operator()(int64_t k) const {
    const uint8_t* step = codes + k * kTile;
    return {pairs(step, scale), pairs(step + 2 * kLanes, scale + 2)};
  }

  const uint8_t* codes;
  Floats scale[4];  // of pairs of inputs, eight outputs a vector

 private:
  static Floats twice(Floats x, int32_t first) {  // eight of its lanes, each two times in a row
#if defined(__AVX512F__)
    return (Floats)_mm512_permutexvar_ps((__m512i)(first + kLane / 2), (__m512)x);
#else
    Floats lanes;
    for (int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] = x[first + lane / 2];
    return lanes;
#endif
  }

  static Words pairs(const uint8_t* step, const Floats* scale) {
    const Floats first = widen(step) * scale[0], second = widen(step + kLanes) * scale[1];
#if defined(__AVX512BF16__)
    return (Words)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first);
#else
    BFloat16 numbers[2 * kLanes];
    store(numbers, first);
    store(numbers + kLanes, second);
    return Arithmetic<BFloat16>::load(numbers);
#endif
  }
};

}  // namespace kelvin
