// The questions of an interval, each a pass or a few over the blocks that may hold its tokens.

#include "interval.h"

#include <cmath>
#include <vector>

namespace kelvin {
namespace {

constexpr float kNear = 16.0f;  // where a search begins: the tokens within it are few, and most often enough

// Gaps from a centre and their weights, packed; those beyond the bounds of a search are dropped as it narrows.
struct Gaps {
  std::vector<float> gap, weight;
  int64_t count = 0;

  void reserve(int64_t n) {
    gap.resize(n + kLanes);
    weight.resize(n + kLanes);
  }

  void add(Floats gaps, Floats weights, Ints chosen) {
#if defined(__AVX512F__)
    const __mmask16 mask = _mm512_test_epi32_mask((__m512i)chosen, (__m512i)chosen);
    _mm512_storeu_ps(gap.data() + count, _mm512_maskz_compress_ps(mask, (__m512)gaps));
    _mm512_storeu_ps(weight.data() + count, _mm512_maskz_compress_ps(mask, (__m512)weights));
    count += __builtin_popcount(mask);
#else
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      gap[count] = gaps[lane];
      weight[count] = weights[lane];
      count += chosen[lane] != 0;
    }
#endif
  }
};

// Collect the gaps of an interval from a centre that are within reach; returns their weight.
float gather(const Interval& interval, float centre, float reach, bool weighted, Gaps& gaps) {
  Accumulator mass;
  gaps.count = 0;
  interval.each([&](Floats d, Ints within) {
    const Floats gap = magnitude(d - centre);
    const Ints chosen = within & (gap <= reach);
    if (!any(chosen)) return;
    const Floats weight = weighted ? exp_negative(-d) : Floats{} + 1.0f;
    mass.add(chosen ? weight : Floats{});
    gaps.add(gap, weight, chosen);
  });
  return mass.sum();
}

// Split gaps at a pivot: those within it go to `near`, the rest to `far`; returns the weight within.
float split(const Gaps& all, float pivot, Gaps& near, Gaps& far) {
  Accumulator mass;
  near.count = far.count = 0;
  for (int64_t i = 0; i < all.count; i += kLanes) {
    Floats gaps = load(all.gap.data() + i), weights = load(all.weight.data() + i);
    const Ints there = kLane < static_cast<int32_t>(std::min(all.count - i, kLanes));
    const Ints within = there & (gaps <= pivot);
    mass.add(within ? weights : Floats{});
    near.add(gaps, weights, within);
    far.add(gaps, weights, there & ~within);
  }
  return mass.sum();
}

// Least gap whose weight, with that of all smaller ones, reaches the target; `most` where only that is known to.
// `gaps[0]` holds all up to `most`, the others are room to work in.
float search(Gaps (&gaps)[3], float target, float most) {
  int32_t low = 0, high = bits_of(most);  // the answer's bits lie in [low, high]
  float below = 0, reach = 8.0f;          // weight under `low`; the first pivots halve a value, not its bits
  int current = 0;
  for (int pass = 0; low < high; ++pass) {
    int32_t pivot = low + (high - low) / 2;
    if (pass < 6 && bits_of(reach) >= low && bits_of(reach) < high) pivot = bits_of(reach);
    const int near = (current + 1) % 3, far = (current + 2) % 3;
    const float within = below + split(gaps[current], float_of(pivot), gaps[near], gaps[far]);
    const bool reached = within >= target;
    if (reached) {
      high = pivot;
      reach *= 0.5f;
    } else {
      low = pivot + 1;
      below = within;
      reach *= 1.5f;
    }
    current = reached ? near : far;
    // `high` is known to reach, whatever later sums round to.
    if (gaps[current].count == 0) return float_of(reached ? low : high);
  }
  return float_of(low);
}

}  // namespace

float Partition::entropy() const { return std::log(mass) + mean(); }

Partition Interval::partition() const {
  Accumulator tokens, weights, products;
  each([&](Floats d, Ints within) {
    const Floats near = within ? d : Floats{}, weight = within ? exp_negative(-d) : Floats{};
    tokens.add(within ? Floats{} + 1.0f : Floats{});
    weights.add(weight);
    products.add(near * weight);
  });
  return {tokens.sum(), weights.sum(), products.sum()};
}

float Interval::quantile(float centre, float target, bool weighted) const {
  static thread_local Gaps gaps[3];
  for (Gaps& room : gaps) room.reserve(n);
  const bool near = gather(*this, centre, kNear, weighted, gaps[0]) >= target;
  if (!near) gather(*this, centre, kInf, weighted, gaps[0]);
  return search(gaps, target, near ? kNear : kInf);
}

float Interval::farthest(float centre, float width) const {
  Floats most = Floats{} - kInf;
  each([&](Floats d, Ints within) {
    const Ints chosen = within & (magnitude(d - centre) <= width) & (d > most);
    most = chosen ? d : most;
  });
  return greatest(most);
}

float Interval::nearest(float centre, float width) const {
  Floats least = Floats{} + kInf;
  each([&](Floats d, Ints within) {
    const Ints chosen = within & (magnitude(d - centre) <= width) & (d < least);
    least = chosen ? d : least;
  });
  return -greatest(-least);
}

float Interval::deviation() const {
  Accumulator tokens, distances, squares;
  each([&](Floats d, Ints within) {
    tokens.add(within ? Floats{} + 1.0f : Floats{});
    distances.add(within ? d : Floats{});
  });
  const float count = tokens.sum(), mean = distances.sum() / count;
  each([&](Floats d, Ints within) { squares.add(within ? (d - mean) * (d - mean) : Floats{}); });
  return std::sqrt(squares.sum() / count);
}

}  // namespace kelvin
