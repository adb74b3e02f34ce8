// Which tokens of a row may be drawn: samplers/kept.py and the rules that it applies, for one row.
#pragma once

#include "interval.h"

namespace kelvin {

// The parameters of one row, as samplers/state.py describes them.
struct RowParameters {
  float temperature = 1, temperature_span = 0, temperature_exponent = 1;
  bool temperature_last = false;
  float top_n_sigma = 0, early_min_p = 0;
  int32_t top_k = 0;
  float early_typical_p = 1, top_p = 1, min_p = 0, typical_p = 1;
  float epsilon_cutoff = 0, eta_cutoff = 0, xtc_probability = 0, xtc_threshold = 0;

  bool keep_all() const {
    const bool nothing_cut = early_typical_p == 1 && top_p == 1 && typical_p == 1 && epsilon_cutoff == 0;
    const bool none_far = top_n_sigma == 0 && early_min_p == 0 && top_k == 0 && min_p == 0;
    return nothing_cut && none_far && eta_cutoff == 0 && xtc_probability == 0 && temperature_span == 0;
  }
};

// What may be drawn, as samplers/kept.py describes it.
struct Kept {
  float before = 1, after = 1, low = 0, high = kInf;
};

// Room for one row's distances, tempered or not, and the least of each block.
struct Distances {
  float *values, *minima;
  int64_t n;

  // Fill them with (best - logit) / divisor.
  void fill(const float* logits, float best, float divisor);
  Interval all() const { return {values, n, minima, 0.0f, kInf}; }
};

// Settle a row's temperature and cut off what may not be drawn; leaves the tempered distances in `distances`. `coin` is
// what XTC throws.
Kept truncate(const float* logits, float best, const RowParameters& row, float coin, Distances& distances);

}  // namespace kelvin
