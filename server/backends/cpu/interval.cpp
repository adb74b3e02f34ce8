// What truncation asks about the tokens of a row whose distances lie in an interval: samplers/interval.py, row by row.

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels.h"
#include "pool.h"
#include "vector.h"

namespace kelvin {
namespace {

constexpr int64_t kBlock = 64;  // tokens whose least distance tells whether they are worth a look
constexpr float kNear = 16.0f;  // where a search begins: the tokens within it are few, and most often enough

// The next lanes of a row; infinity beyond its end, as if more tokens were banned.
Floats load_up_to(const float* x, int64_t left) {
  if (left >= kLanes) return load(x);
  Floats last = Floats{} + kInf;
  std::memcpy(&last, x, left * sizeof(float));
  return last;
}

// The tokens of one row with low ≤ distance ≤ high. `minima`, where they are known, are those of the row's blocks.
struct Interval {
  const float* x;
  int64_t n;
  const float* minima;
  float low, high;

  bool asks_nothing() const { return !(low <= high); }

  // Call `take` with the next distances and which of them lie within, as all ones or zeros, where any does.
  template <typename F>
  void each(F take) const {
    const float farthest = std::min(high, std::numeric_limits<float>::max());  // banned tokens are never within
    for (int64_t begin = 0; begin < n; begin += kBlock) {
      if (minima != nullptr && !(minima[begin / kBlock] <= farthest)) continue;
      for (int64_t i = begin; i < std::min(begin + kBlock, n); i += kLanes) {
        const Floats d = load_up_to(x + i, n - i);
        const Ints within = (d >= low) & (d <= farthest);
        if (any(within)) take(d, within);
      }
    }
  }
};

// Call `run` with each row's number and interval, on all threads.
template <typename F>
void each_row(const Tensor& distance, const std::optional<Tensor>& minima, const Tensor& low, const Tensor& high,
              F run) {
  const int64_t rows = distance.size(0), n = distance.size(1), blocks = (n + kBlock - 1) / kBlock;
  const float *x = data<float>(distance), *least = minima ? data<float>(*minima) : nullptr;
  const float *lows = data<float>(low), *highs = data<float>(high);
  parallel_for(rows, 1, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      run(r, Interval{x + r * n, n, least ? least + r * blocks : nullptr, lows[r], highs[r]});
  });
}

Floats magnitude(Floats x) { return x < 0.0f ? -x : x; }

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

Tensor column_like(const Tensor& x) { return torch::stable::empty_like(x); }

}  // namespace

std::tuple<Tensor, Tensor> temper(const Tensor& distance, const Tensor& divisor) {
  const int64_t rows = distance.size(0), n = distance.size(1), blocks = (n + kBlock - 1) / kBlock;
  Tensor out = torch::stable::empty_like(distance), minima = torch::stable::new_empty(distance, {rows, blocks});
  const float *x = data<float>(distance), *divisors = data<float>(divisor);
  float *y = mutable_data<float>(out), *least = mutable_data<float>(minima);
  parallel_for(rows * blocks, 64, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      const int64_t row = b / blocks, first = b % blocks * kBlock, count = std::min(kBlock, n - first);
      const float* from = x + row * n + first;
      float* to = y + row * n + first;
      Floats lowest = Floats{} + kInf;
      for (int64_t i = 0; i < count; i += kLanes) {
        const Floats d = load_up_to(from + i, count - i) / divisors[row];
        store_up_to(to + i, count - i, d);
        lowest = d < lowest ? d : lowest;
      }
      least[b] = kInf;
      for (int64_t lane = 0; lane < kLanes; ++lane) least[b] = std::min(least[b], lowest[lane]);
    }
  });
  return {out, minima};
}

std::tuple<Tensor, Tensor, Tensor> partition(const Tensor& distance, const std::optional<Tensor>& minima,
                                             const Tensor& low, const Tensor& high) {
  Tensor count = column_like(low), mass = column_like(low), moment = column_like(low);
  float *counts = mutable_data<float>(count), *masses = mutable_data<float>(mass);
  float* moments = mutable_data<float>(moment);
  each_row(distance, minima, low, high, [&](int64_t r, const Interval& interval) {
    Accumulator tokens, weights, products;
    if (!interval.asks_nothing())
      interval.each([&](Floats d, Ints within) {
        const Floats near = within ? d : Floats{}, weight = within ? exp_negative(-d) : Floats{};
        tokens.add(within ? Floats{} + 1.0f : Floats{});
        weights.add(weight);
        products.add(near * weight);
      });
    counts[r] = tokens.sum(), masses[r] = weights.sum(), moments[r] = products.sum();
  });
  return {count, mass, moment};
}

Tensor quantile(const Tensor& distance, const std::optional<Tensor>& minima, const Tensor& low, const Tensor& high,
                const Tensor& centre, const Tensor& target, bool weighted) {
  Tensor width = column_like(low);
  const float *centres = data<float>(centre), *targets = data<float>(target);
  float* widths = mutable_data<float>(width);
  each_row(distance, minima, low, high, [&](int64_t r, const Interval& interval) {
    widths[r] = kInf;
    if (interval.asks_nothing() || !(targets[r] < kInf)) return;
    static thread_local Gaps gaps[3];
    for (Gaps& room : gaps) room.reserve(interval.n);
    const bool near = gather(interval, centres[r], kNear, weighted, gaps[0]) >= targets[r];
    if (!near) gather(interval, centres[r], kInf, weighted, gaps[0]);
    widths[r] = search(gaps, targets[r], near ? kNear : kInf);
  });
  return width;
}

std::tuple<Tensor, Tensor> extent(const Tensor& distance, const std::optional<Tensor>& minima, const Tensor& low,
                                  const Tensor& high, const Tensor& centre, const Tensor& width) {
  Tensor nearest = column_like(low), farthest = column_like(low);
  const float *centres = data<float>(centre), *widths = data<float>(width);
  float *nearests = mutable_data<float>(nearest), *farthests = mutable_data<float>(farthest);
  each_row(distance, minima, low, high, [&](int64_t r, const Interval& interval) {
    Floats least = Floats{} + kInf, most = Floats{} - kInf;
    if (!interval.asks_nothing())
      interval.each([&](Floats d, Ints within) {
        const Ints chosen = within & (magnitude(d - centres[r]) <= widths[r]);
        least = (chosen & (d < least)) ? d : least;
        most = (chosen & (d > most)) ? d : most;
      });
    nearests[r] = kInf, farthests[r] = -kInf;
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      nearests[r] = std::min(nearests[r], least[lane]);
      farthests[r] = std::max(farthests[r], most[lane]);
    }
  });
  return {nearest, farthest};
}

Tensor deviation(const Tensor& distance, const Tensor& wanted) {
  const int64_t rows = distance.size(0), n = distance.size(1);
  Tensor out = torch::stable::new_empty(distance, {rows, 1});
  const float* x = data<float>(distance);
  const bool* asked = data<bool>(wanted);
  float* deviations = mutable_data<float>(out);
  parallel_for(rows, 1, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      deviations[r] = 0.0f;
      if (!asked[r]) continue;
      const Interval all{x + r * n, n, nullptr, 0.0f, kInf};
      Accumulator tokens, distances, squares;
      all.each([&](Floats d, Ints within) {
        tokens.add(within ? Floats{} + 1.0f : Floats{});
        distances.add(within ? d : Floats{});
      });
      const float count = tokens.sum(), mean = distances.sum() / count;
      all.each([&](Floats d, Ints within) { squares.add(within ? (d - mean) * (d - mean) : Floats{}); });
      deviations[r] = std::sqrt(squares.sum() / count);
    }
  });
  return out;
}

}  // namespace kelvin
