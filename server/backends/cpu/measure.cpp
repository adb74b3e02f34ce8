// Measures of a draw: samplers/measures.py, a row at a time while it is in the cache.

#include <algorithm>
#include <cmath>

#include "interval.h"
#include "kernels.h"
#include "pool.h"

namespace kelvin {
namespace {

constexpr int64_t kMeasures = 7;

float highest(const float* x, int64_t n) {
  Floats most = Floats{} - kInf;
  for (int64_t i = 0; i < n; i += kLanes) {
    const Floats lanes = load_up_to(x + i, n - i, -kInf);
    most = lanes > most ? lanes : most;
  }
  return greatest(most);
}

// ln Σ exp(x - best).
float log_partition(const float* x, int64_t n, float best) {
  Accumulator mass;
  for (int64_t i = 0; i < n; i += kLanes) mass.add(exp_negative(load_up_to(x + i, n - i, -kInf) - best));
  return std::log(mass.sum());
}

struct Sums {
  float count, mass, moment, raw, whole;
};

// Sums over the tokens kept: their number, weights, weights times tempered distances and times raw logits below the
// best; and the weights of all, kept or not.
Sums sum_up(const float* logits, float best_logit, const float* processed, float best, int64_t n, float before,
            float after, float low, float high) {
  Accumulator count, mass, moment, raw, whole;
  const float farthest = std::min(high, std::numeric_limits<float>::max());
  for (int64_t i = 0; i < n; i += kLanes) {
    const Floats d = (best - load_up_to(processed + i, n - i, -kInf)) / before;
    whole.add(exp_negative(-d / after));
    const Ints within = (d >= low) & (d <= farthest);
    if (!any(within)) continue;
    const Floats t = within ? (d - low) / after : Floats{};
    const Ints inside = within & (t < kInf);
    const Floats weight = inside ? exp_negative(-t) : Floats{};
    count.add(inside ? Floats{} + 1.0f : Floats{});
    mass.add(weight);
    moment.add(inside ? t * weight : Floats{});
    raw.add(inside ? (load_up_to(logits + i, n - i, 0.0f) - best_logit) * weight : Floats{});
  }
  return {count.sum(), mass.sum(), moment.sum(), raw.sum(), whole.sum()};
}

}  // namespace

Tensor measure(const Tensor& logits, const Tensor& processed, const Tensor& temperature, const Tensor& token_ids,
               const Tensor& before, const Tensor& after, const Tensor& low, const Tensor& high) {
  const int64_t rows = logits.size(0), n = logits.size(1);
  Tensor result = empty({rows, kMeasures}, ScalarType::Float);
  auto* measures = mutable_data<float>(result);
  parallel_for(rows, 1, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float *raw = data<float>(logits) + r * n, *x = data<float>(processed) + r * n;
      const int32_t token = data<int32_t>(token_ids)[r];
      const float best_logit = highest(raw, n), normaliser = log_partition(raw, n, best_logit);
      const float surprise = normaliser - (raw[token] - best_logit);
      float* row = measures + r * kMeasures;
      if (!(data<float>(temperature)[r] > 0.0f)) {
        const float alone[kMeasures] = {surprise, 0, 0, surprise, 1, 1, 1};
        std::copy(alone, alone + kMeasures, row);
        continue;
      }
      const float warm = data<float>(before)[r], last = data<float>(after)[r], nearest = data<float>(low)[r];
      const float best = highest(x, n);
      const Sums sums = sum_up(raw, best_logit, x, best, n, warm, last, nearest, data<float>(high)[r]);
      const float log_mass = std::log(sums.mass), entropy = log_mass + sums.moment / sums.mass;
      const float cross_entropy = normaliser - sums.raw / sums.mass;
      const float kept_mass = std::exp(-nearest / last) * sums.mass / sums.whole;
      const float own = ((best - x[token]) / warm - nearest) / last;
      const float found[kMeasures] = {surprise,
                                      -own - log_mass,
                                      entropy,
                                      std::max(cross_entropy - entropy, 0.0f),  // rounding puts some zeros below 0
                                      sums.count,
                                      std::min(kept_mass, 1.0f),
                                      1.0f / sums.mass};
      std::copy(found, found + kMeasures, row);
    }
  });
  return result;
}

}  // namespace kelvin
