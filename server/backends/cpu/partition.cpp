// Sums over a row of distances: how many tokens there are, how they spread, what they weigh.

#include <cmath>

#include "kernels.h"
#include "pool.h"
#include "vector.h"

namespace kelvin {
namespace {

// The next lanes of a row divided by the temperature; infinity beyond its end, as if more tokens were banned.
inline Floats tempered(const float* x, int64_t left, float divisor) {
  if (left >= kLanes) return load(x) / divisor;
  Floats last = Floats{} + kInf;
  std::memcpy(&last, x, left * sizeof(float));
  return last / divisor;
}

struct Sums {
  float count, deviation, mass, moment;
};

Sums row_partition(const float* x, int64_t n, float divisor) {
  Accumulator counts, distances, masses, moments, squares;
  for (int64_t i = 0; i < n; i += kLanes) {
    const Floats d = tempered(x + i, n - i, divisor);
    const Ints finite = d < kInf;
    const Floats near = finite ? d : Floats{}, weight = exp_negative(-d);
    counts.add(finite ? Floats{} + 1.0f : Floats{});
    distances.add(near);
    masses.add(weight);
    moments.add(near * weight);
  }
  const float count = counts.sum(), mean = distances.sum() / count;
  for (int64_t i = 0; i < n; i += kLanes) {
    const Floats d = tempered(x + i, n - i, divisor), away = d - mean;
    squares.add(d < kInf ? away * away : Floats{});
  }
  return {count, std::sqrt(squares.sum() / count), masses.sum(), moments.sum()};
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor, Tensor> partition(const Tensor& distance, const Tensor& divisor) {
  const int64_t rows = distance.size(0), n = distance.size(1);
  const auto column = [&] { return torch::stable::new_empty(distance, {rows, 1}); };
  Tensor count = column(), deviation = column(), mass = column(), moment = column();
  const float *x = data<float>(distance), *divisors = data<float>(divisor);
  float *counts = mutable_data<float>(count), *deviations = mutable_data<float>(deviation);
  float *masses = mutable_data<float>(mass), *moments = mutable_data<float>(moment);
  parallel_for(rows, 1, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const Sums sums = row_partition(x + r * n, n, divisors[r]);
      counts[r] = sums.count, deviations[r] = sums.deviation, masses[r] = sums.mass, moments[r] = sums.moment;
    }
  });
  return {count, deviation, mass, moment};
}

}  // namespace kelvin
