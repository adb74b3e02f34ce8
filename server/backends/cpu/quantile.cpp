// The weighted quantile, what top-k and top-p ask of a row, found by narrowing without a sort; and the sum of a row.

#include <vector>

#include "kernels.h"
#include "pool.h"
#include "vector.h"

namespace kelvin {
namespace {

// The candidates of one row's search: distances and weights that lie between the bounds found so far.
struct Candidates {
  std::vector<float> x, w;
  int64_t count = 0;
};

// Split candidates at a pivot: those within it stay in `near`, the rest go to `far`; returns the weight within.
float split(const float* x, const float* w, int64_t count, float pivot, Candidates& near, Candidates& far) {
  int64_t i = 0, n = 0, f = 0;
  float mass = 0;
#if defined(__AVX512F__)
  Accumulator masses;
  for (; i + kLanes <= count; i += kLanes) {
    const __m512 xs = _mm512_loadu_ps(x + i), ws = _mm512_loadu_ps(w + i);
    const __mmask16 within = _mm512_cmp_ps_mask(xs, _mm512_set1_ps(pivot), _CMP_LE_OQ);
    masses.add((Floats)_mm512_maskz_mov_ps(within, ws));
    _mm512_storeu_ps(near.x.data() + n, _mm512_maskz_compress_ps(within, xs));
    _mm512_storeu_ps(near.w.data() + n, _mm512_maskz_compress_ps(within, ws));
    _mm512_storeu_ps(far.x.data() + f, _mm512_maskz_compress_ps(~within, xs));
    _mm512_storeu_ps(far.w.data() + f, _mm512_maskz_compress_ps(~within, ws));
    const int kept = __builtin_popcount(within);
    n += kept;
    f += kLanes - kept;
  }
  mass = masses.sum();
#endif
  for (; i < count; ++i) {
    const bool within = x[i] <= pivot;
    near.x[n] = far.x[f] = x[i];
    near.w[n] = far.w[f] = w[i];
    mass += within ? w[i] : 0.0f;
    n += within;
    f += !within;
  }
  near.count = n;
  far.count = f;
  return mass;
}

// Least x whose weight, with that of all smaller ones, reaches the target; infinity if all together do not.
float row_quantile(const float* x, const float* w, int64_t count, float target, Candidates (&spare)[3]) {
  if (!(target < kInf)) return kInf;
  int32_t low = 0, high = bits_of(kInf);  // the answer's bits lie in [low, high]
  float below = 0, reach = 16.0f;         // weight under `low`; the first pivots halve a value, not its bits
  int current = -1;
  for (int pass = 0; low < high; ++pass) {
    int32_t pivot = low + (high - low) / 2;
    if (pass < 6 && bits_of(reach) >= low && bits_of(reach) < high) pivot = bits_of(reach);
    const int a = (current + 1) % 3, b = (current + 2) % 3;
    const float within = below + split(x, w, count, float_of(pivot), spare[a], spare[b]);
    const bool reached = within >= target;
    if (reached) {
      high = pivot;
      reach *= 0.5f;
    } else {
      low = pivot + 1;
      below = within;
      reach *= 1.5f;
    }
    current = reached ? a : b;
    x = spare[current].x.data();
    w = spare[current].w.data();
    count = spare[current].count;
    if (count == 0) return float_of(reached ? low : high);  // `high` is known to reach, whatever later sums round to
  }
  return float_of(low);
}

}  // namespace

Tensor row_sum(const Tensor& x) {
  const int64_t rows = x.size(0), count = x.size(1);
  Tensor out = torch::stable::new_empty(x, {rows, 1});
  const float* values = data<float>(x);
  float* results = mutable_data<float>(out);
  parallel_for(rows, 1, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float* row = values + r * count;
      Accumulator total;
      int64_t i = 0;
      for (; i + kLanes <= count; i += kLanes) total.add(load(row + i));
      results[r] = total.sum();
      for (; i < count; ++i) results[r] += row[i];
    }
  });
  return out;
}

Tensor weighted_quantile(const Tensor& x, const std::optional<Tensor>& weights, const Tensor& target) {
  const int64_t rows = x.size(0), count = x.size(1);
  Tensor out = torch::stable::empty_like(target);
  const auto* values = data<float>(x);
  const auto* targets = data<float>(target);
  const auto* given = weights ? data<float>(*weights) : nullptr;
  auto* results = mutable_data<float>(out);
  parallel_for(rows, 1, [&](int64_t begin, int64_t end) {
    Candidates spare[3];
    for (auto& c : spare) {
      c.x.resize(count + kLanes);
      c.w.resize(count + kLanes);
    }
    const std::vector<float> ones(given ? 0 : count, 1.0f);
    for (int64_t r = begin; r < end; ++r)
      results[r] = row_quantile(values + r * count, given ? given + r * count : ones.data(), count, targets[r], spare);
  });
  return out;
}

}  // namespace kelvin
