// The index of each row's greatest element.

#include "kernels.h"
#include "pool.h"
#include "vector.h"

namespace kelvin {
namespace {

int32_t row_argmax(const float* x, int64_t n) {
  Floats best = Floats{} - kInf;
  Ints where = kLane;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const Floats next = load(x + i);
    const Ints better = next > best;  // a later one that ties, or NaN, is not
    best = better ? next : best;
    where = better ? kLane + static_cast<int32_t>(i) : where;
  }
  float greatest = -kInf;
  int32_t index = 0;
  for (int64_t lane = 0; lane < kLanes; ++lane)
    if (best[lane] > greatest || (best[lane] == greatest && where[lane] < index)) {
      greatest = best[lane];
      index = where[lane];
    }
  for (; i < n; ++i)
    if (x[i] > greatest) {
      greatest = x[i];
      index = static_cast<int32_t>(i);
    }
  return index;
}

}  // namespace

Tensor argmax(const Tensor& x) {
  const int64_t rows = x.size(0), n = x.size(1);
  Tensor out = torch::stable::new_empty(x, {rows}, ScalarType::Int);
  const float* values = data<float>(x);
  auto* indices = mutable_data<int32_t>(out);
  parallel_for(rows, 1, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) indices[r] = row_argmax(values + r * n, n);
  });
  return out;
}

}  // namespace kelvin
