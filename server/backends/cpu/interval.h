// What truncation asks about the tokens of a row whose distances lie in an interval; samplers/interval.py says it too.
#pragma once

#include <algorithm>

#include "vector.h"

namespace kelvin {

constexpr int64_t kBlock = 64;  // tokens whose least distance tells whether they are worth a look

// The next lanes of a row; beyond its end, `missing`.
inline Floats load_up_to(const float* x, int64_t left, float missing) {
  if (left >= kLanes) return load(x);
  Floats last = Floats{} + missing;
  if (left > 0) std::memcpy(&last, x, left * sizeof(float));
  return last;
}

inline Floats magnitude(Floats x) { return x < 0.0f ? -x : x; }

// Sums over an interval: its tokens, their weights exp(-distance), and distance · weight.
struct Partition {
  float count, mass, moment;

  float mean() const { return moment / mass; }
  float entropy() const;
};

// The tokens of one row with low ≤ distance ≤ high.
struct Interval {
  const float* x;
  int64_t n;
  const float* minima;  // the least distance of each block
  float low, high;

  // Call take(distances, within) with the next lanes where any lies within, as all ones or zeros.
  template <typename F>
  void each(F take) const {
    const float farthest = std::min(high, std::numeric_limits<float>::max());  // banned tokens are never within
    for (int64_t begin = 0; begin < n; begin += kBlock) {
      if (!(minima[begin / kBlock] <= farthest)) continue;
      for (int64_t i = begin; i < std::min(begin + kBlock, n); i += kLanes) {
        const Floats d = load_up_to(x + i, n - i, kInf);
        const Ints within = (d >= low) & (d <= farthest);
        if (any(within)) take(d, within);
      }
    }
  }

  Partition partition() const;

  // Least width within which of the centre the tokens reach a target, by weight or by number; infinity: they do not.
  float quantile(float centre, float target, bool weighted) const;

  // Greatest or least distance among the tokens that lie within a width of a centre; -infinity or infinity: none does.
  float farthest(float centre, float width) const;
  float nearest(float centre, float width) const;

  // Standard deviation, that of a population.
  float deviation() const;
};

}  // namespace kelvin
