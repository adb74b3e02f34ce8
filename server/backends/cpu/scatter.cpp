// Writes to few places of long rows, in the memory of the rows themselves.

#include <algorithm>

#include "kernels.h"
#include "pool.h"
#include "vector.h"

namespace kelvin {
namespace {

template <typename F>
void each_place(Tensor& x, const Tensor& indices, const Tensor& values, F write) {
  const int64_t rows = x.size(0), n = x.size(1), places = indices.size(1);
  float* targets = mutable_data<float>(x);
  const int32_t* where = data<int32_t>(indices);
  const float* given = data<float>(values);
  parallel_for(rows, 1, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      for (int64_t i = r * places; i < (r + 1) * places; ++i) write(targets[r * n + where[i]], given[i]);
  });
}

}  // namespace

void scatter(Tensor x, const Tensor& indices, const Tensor& values) {
  each_place(x, indices, values, [](float& target, float value) { target = value; });
}

void scatter_min(Tensor x, const Tensor& indices, const Tensor& values) {
  // A comparison with NaN is false: what is poisoned stays so.
  each_place(x, indices, values, [](float& target, float value) { target = value < target ? value : target; });
}

}  // namespace kelvin
