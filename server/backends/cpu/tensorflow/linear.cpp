// The product as a call from XLA's programs, which find it by its name.

#include <optional>

#include <xla/ffi/api/ffi.h>

#include "../product.h"

namespace xla::ffi {
const XLA_FFI_Api* GetXlaFfiApi();  // of TensorFlow's library, in no header that it ships
}

namespace kelvin {
namespace {

namespace ffi = xla::ffi;
using Floats2D = ffi::BufferR2<ffi::F32>;

int64_t threads = 1;

// x [rows, in] · weightᵀ, packed [tiles, in, 32], into result [rows, out]. `rest` holds bias [out] and residual
// [rows, out], where there are any, and integers that XLA takes the result's shape from, unless it has dropped them.
ffi::Error linear(Floats2D x, ffi::BufferR3<ffi::F32> packed, ffi::RemainingArgs rest, ffi::Result<Floats2D> result) {
  const float *bias = nullptr, *residual = nullptr;
  for (size_t i = 0; i < rest.size(); ++i) {
    const auto operand = rest.get<ffi::AnyBuffer>(i);
    if (!operand) return operand.error();
    if (operand->element_type() != ffi::F32) continue;
    (operand->dimensions().size() == 1 ? bias : residual) = operand->typed_data<float>();
  }
  const int64_t rows = x.dimensions()[0], in = x.dimensions()[1], out = result->dimensions()[1];
  multiply(x.typed_data(), rows, in, in, packed.typed_data(),
           Epilogue<float, float>{bias, residual, out, result->typed_data(), out});
  return ffi::Error::Success();
}

XLA_FFI_DEFINE_HANDLER(kLinear, linear,
                       ffi::Ffi::Bind().Arg<Floats2D>().Arg<ffi::BufferR3<ffi::F32>>().RemainingArgs().Ret<Floats2D>());

}  // namespace

int64_t num_threads() { return threads; }

}  // namespace kelvin

// Returns 0 when the product is there under this name.
extern "C" int kelvin_register(const char* name, int64_t threads) {
  kelvin::threads = threads;
  return xla::ffi::Ffi::RegisterStaticHandler(xla::ffi::GetXlaFfiApi(), name, "Host", kelvin::kLinear) != nullptr;
}
