// The rules in their order. Each narrows what the one before it kept, and keeps one token at least.

#include "truncation.h"

#include <cmath>

namespace kelvin {
namespace {

constexpr float kLargestTemperature = 0x1p127f;

struct Candidates : Interval {
  void within(float bound) { high = std::min(high, std::max(bound, low)); }

  void between(float nearest, float farthest) {
    low = std::max(low, nearest);
    high = std::min(high, farthest);
  }
};

void keep_likely(Candidates& kept, float p) {  // min_p
  if (p > 0.0f) kept.within(kept.low - std::log(p));
}

void keep_typical(Candidates& kept, float p) {
  if (!(p < 1.0f)) return;
  const Partition sums = kept.partition();
  const float width = kept.quantile(sums.mean(), p * sums.mass, true);
  kept.between(kept.nearest(sums.mean(), width), kept.farthest(sums.mean(), width));
}

void keep_nucleus(Candidates& kept, float p) {  // top_p
  if (p < 1.0f) kept.within(kept.quantile(0.0f, p * kept.partition().mass, true));
}

void cut_epsilon(Candidates& kept, float epsilon) {
  if (epsilon > 0.0f) kept.within(-std::log(epsilon * kept.partition().mass));
}

void cut_eta(Candidates& kept, float eta) {
  if (!(eta > 0.0f)) return;
  const Partition sums = kept.partition();
  // As weights, which are probabilities times the mass: exp(-entropy) is exp(-mean) / mass.
  kept.within(-std::log(std::min(eta * sums.mass, std::sqrt(eta) * std::exp(-sums.mean()))));
}

void exclude_top_choices(Candidates& kept, const RowParameters& row, float coin) {
  if (!(coin < row.xtc_probability)) return;
  const float bound = -std::log(row.xtc_threshold * kept.partition().mass);
  kept.between(kept.farthest(0.0f, bound), kept.high);
}

void apply_rules(Candidates& kept, float sigma, const RowParameters& row, float coin) {
  if (row.top_n_sigma > 0.0f) kept.within(row.top_n_sigma * sigma);
  keep_likely(kept, row.early_min_p);
  if (row.top_k > 0) kept.within(kept.quantile(0.0f, static_cast<float>(row.top_k), false));
  keep_typical(kept, row.early_typical_p);
  keep_nucleus(kept, row.top_p);
  keep_likely(kept, row.min_p);
  keep_typical(kept, row.typical_p);
  cut_epsilon(kept, row.epsilon_cutoff);
  cut_eta(kept, row.eta_cutoff);
  exclude_top_choices(kept, row, coin);
}

// samplers/temperature.py, of candidates seen untempered.
float settle_temperature(const RowParameters& row, const Interval& candidates) {
  if (!(row.temperature > 0.0f)) return 1.0f;
  if (!(row.temperature_span > 0.0f)) return row.temperature;
  const Partition sums = candidates.partition();
  const float highest = std::log(std::max(sums.count, 2.0f));
  const float ratio = std::min(std::max(sums.entropy() / highest, 0.0f), 1.0f);
  const float bent = row.temperature + row.temperature_span * std::pow(ratio, row.temperature_exponent);
  return std::min(bent, kLargestTemperature);
}

}  // namespace

void Distances::fill(const float* logits, float best, float divisor) {
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    Floats lowest = Floats{} + kInf;
    for (int64_t i = begin; i < std::min(begin + kBlock, n); i += kLanes) {
      const Floats d = (best - load_up_to(logits + i, n - i, -kInf)) / divisor;
      store_up_to(values + i, n - i, d);
      lowest = d < lowest ? d : lowest;
    }
    minima[begin / kBlock] = -greatest(-lowest);
  }
}

Kept truncate(const float* logits, float best, const RowParameters& row, float coin, Distances& distances) {
  Kept kept;
  float sigma = 0.0f;
  const bool spread = row.top_n_sigma > 0.0f, dynamic = row.temperature_span > 0.0f && !row.temperature_last;
  if (spread || dynamic) distances.fill(logits, best, 1.0f);
  if (!row.temperature_last) kept.before = settle_temperature(row, distances.all());
  if (spread) sigma = distances.all().deviation() / kept.before;  // of untempered ones, since the smallest T overflow
  if (!(spread || dynamic) || kept.before != 1.0f) distances.fill(logits, best, kept.before);
  Candidates candidates{distances.all()};
  apply_rules(candidates, sigma, row, coin);
  if (row.temperature_last) kept.after = settle_temperature(row, candidates);
  kept.low = candidates.low;
  kept.high = candidates.high;
  return kept;
}

}  // namespace kelvin
