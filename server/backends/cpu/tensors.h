// Tensors as the kernels see them: torch's or TensorFlow's, of which they take pointers to float or BFloat16.
#pragma once

#if defined(KELVIN_TENSORFLOW)
#include "tensorflow/tensors.h"
#else
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

namespace kelvin {
using torch::headeronly::ScalarType;
using torch::stable::Tensor;
}  // namespace kelvin
#endif

#include "vector.h"

namespace kelvin {

template <typename T>
const T* data(const Tensor& t) {
  return static_cast<const T*>(t.const_data_ptr());
}

template <typename T>
T* mutable_data(Tensor& t) {
  return static_cast<T*>(t.mutable_data_ptr());
}

// Call `run` with a value of the element type: BFloat16 or float.
template <typename F>
void for_type_of(const Tensor& t, F run) {
  if (t.scalar_type() == ScalarType::BFloat16)
    run(BFloat16{});
  else
    run(float{});
}

}  // namespace kelvin
