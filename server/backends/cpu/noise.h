// Gumbel noise as a function of key, step and token: what samplers/noise.py defines, word for word.
#pragma once

#include "threefry.h"

namespace kelvin {

constexpr float kMostUniform = 1.0f - 0x1p-24f;  // rounding could reach 1, whose noise would be infinite
constexpr float kMostNoise = 21.5f;               // -ln(-ln1p(-2^-31)) is 21.4876

// ln x for normal x > 0, within 2 units in the last place (Cephes logf).
inline Floats log_positive(Floats x) {
  Ints bits = (Ints)x;
  Floats exponent = __builtin_convertvector((bits >> 23) - 126, Floats);
  Floats m = (Floats)((bits & 0x007FFFFF) | 0x3F000000);  // in [0.5, 1)
  const Ints low = m < 0.707106781186547524f;
  exponent = low ? exponent - 1.0f : exponent;
  m = (low ? m + m : m) - 1.0f;
  const Floats z = m * m;
  Floats y = m * 7.0376836292e-2f - 1.1514610310e-1f;
  y = y * m + 1.1676998740e-1f;
  y = y * m - 1.2420140846e-1f;
  y = y * m + 1.4249322787e-1f;
  y = y * m - 1.6668057665e-1f;
  y = y * m + 2.0000714765e-1f;
  y = y * m - 2.4999993993e-1f;
  y = y * m + 3.3333331174e-1f;
  y = y * m * z - 2.12194440e-4f * exponent - 0.5f * z;
  return m + y + 0.693359375f * exponent;
}

inline Floats uniform(Words words) { return __builtin_convertvector((Ints)((words >> 1) | 1), Floats) * 0x1p-31f; }

inline Floats gumbel(Words words) {
  Floats u = uniform(words);
  const Floats most = Floats{} + kMostUniform;
  u = u > most ? most : u;
  const Floats rest = 1.0f - u;                                                     // rounded; Kahan's correction
  const Floats minus_log1p = rest == 1.0f ? u : log_positive(rest) * u / (rest - 1.0f);  // undoes the rounding
  return -log_positive(minus_log1p);
}

// Whether noise may be as great as x: -ln(-ln1p(-u)) ≥ x asks for u ≤ e^-x, which costs less to say than the noise. What
// rounding does to the score of a token that can win is far below the factor that allows for it.
inline Ints may_reach(Words words, Floats x) {
  constexpr float kRounding = 1.0001f;
  return uniform(words) <= exp_negative(x > 0.0f ? -x : Floats{}) * kRounding;
}

// The noise of one row at one step: token v < half takes the first word of counter v, else the second of v - half.
struct Noise {
  uint32_t key0, key1, step;
  int64_t half;

  // What `gumbel` makes the noise of: of the lanes' tokens from `token` on, and of those `half` tokens further.
  Pair<Words> words(int64_t token) const {
    return threefry(key0, key1, step, (Words)kLane + static_cast<uint32_t>(token));
  }

  // A number in (0, 1) that no token's noise is made of.
  float coin() const {
    const uint32_t word = threefry(key0, key1, step, ~uint32_t{0}).first;
    const float uniform = static_cast<float>((word >> 1) | 1) * 0x1p-31f;
    return uniform < kMostUniform ? uniform : kMostUniform;
  }
};

}  // namespace kelvin
