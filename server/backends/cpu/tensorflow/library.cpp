// The kernels as calls from XLA's programs, which find them by name, and from Python, where no program is.

#include <exception>
#include <optional>
#include <string>
#include <vector>

#include <xla/ffi/api/ffi.h>

#include "../kernels.h"
#include "../pool.h"

namespace xla::ffi {
const XLA_FFI_Api* GetXlaFfiApi();  // of TensorFlow's library, in no header that it ships
}

namespace kelvin {
namespace {

namespace ffi = xla::ffi;

int64_t threads = 1;

// Where a kernel's results go: the caller has made room for all of them, in the order in which the kernel asks for it.
class Results : public Room {
 public:
  explicit Results(std::vector<Tensor> room) : room_(std::move(room)) {}

  bool full() const { return next_ == room_.size(); }

 protected:
  Tensor place(const Sizes& sizes, ScalarType type) override {
    if (full()) throw std::logic_error("a kernel has more results than it was given room for");
    const Tensor& result = room_[next_++];
    if (result.scalar_type() != type || !(result.sizes() == sizes)) throw std::invalid_argument("a result has another shape");
    return result;
  }

 private:
  std::vector<Tensor> room_;
  size_t next_ = 0;
};

// What a kernel is called with: its operands, and numbers that are no arrays. What they are is said beside each kernel.
struct Call {
  std::vector<Tensor> operands;
  const double* numbers;

  const Tensor& operator[](size_t place) const { return operands.at(place); }
  std::optional<Tensor> if_any(size_t place, bool there) const {
    return there ? std::optional(operands.at(place)) : std::nullopt;
  }
};

// weight
void run_pack(const Call& call) { pack(call[0]); }

// x, packed, bias, residual; numbers: out_features, whether there is a bias, a residual, whether results are float32
void run_linear(const Call& call) {
  const auto [biased, added] = std::pair(call.numbers[1] != 0, call.numbers[2] != 0);
  linear(call[0], call[1], static_cast<int64_t>(call.numbers[0]), call.if_any(2, biased),
         call.if_any(2 + biased, added), call.numbers[3] != 0);
}

// x, weight, bias; numbers: eps, whether there is a bias, whether x is centred
void run_normalize(const Call& call) {
  normalize(call[0], call[1], call.if_any(2, call.numbers[1] != 0), call.numbers[0], call.numbers[2] != 0);
}

// x; numbers: the activation's place in this list, whether x is gated
void run_activate(const Call& call) {
  static const char* const names[] = {"silu", "gelu", "gelu_tanh", "relu", "tanh"};
  activate(call[0], names[static_cast<size_t>(call.numbers[0])], call.numbers[1] != 0);
}

Tensor widen(const Tensor& indices, std::vector<int64_t>& room) {
  const int64_t count = indices.sizes().count();
  room.assign(data<int32_t>(indices), data<int32_t>(indices) + count);
  return {room.data(), ScalarType::Long, {count}};
}

// query, key, value, slots and positions int32, one a token, addresses of the cache and of each slot's source and length
// int64, cos, sin; numbers: where in the cache keys
// and values are, in bytes, its slots and positions, scale, window, softcap, whether there are angles
void run_attend(const Call& call) {
  const Tensor &query = call[0], &key = call[1];
  char* cache = reinterpret_cast<char*>(*data<int64_t>(call[5]));
  if (cache == nullptr) throw std::invalid_argument("the cache is closed");
  const Sizes sizes{static_cast<int64_t>(call.numbers[2]), key.size(1), static_cast<int64_t>(call.numbers[3]), key.size(2)};
  const auto part = [&](int number) {
    return Tensor(cache + static_cast<int64_t>(call.numbers[number]), query.scalar_type(), sizes);
  };
  std::vector<int64_t> slots, positions;
  const bool turns = call.numbers[7] != 0;
  const auto of_slots = [&](int place) {
    return Tensor(reinterpret_cast<void*>(data<int64_t>(call[5])[place]), ScalarType::Long, {sizes[0]});
  };
  attend(query, key, call[2], call.if_any(6, turns), call.if_any(7, turns), part(0), part(1), widen(call[3], slots),
         widen(call[4], positions), call.numbers[4], static_cast<int64_t>(call.numbers[5]), call.numbers[6], of_slots(1),
         of_slots(2));
}

// logits and the arrays of SamplingState that the draw reads, in their order
void run_draw(const Call& call) {
  const auto& x = call.operands;
  draw(x.at(0), x.at(1), x.at(2), x.at(3), x.at(4), x.at(5), x.at(6), x.at(7), x.at(8), x.at(9), x.at(10), x.at(11),
       x.at(12), x.at(13), x.at(14), x.at(15), x.at(16), x.at(17), x.at(18));
}

template <void (*kRun)(const Call&)>
void run(std::vector<Tensor> operands, std::vector<Tensor> room, const double* numbers) {
  const Results results(std::move(room));
  kRun(Call{std::move(operands), numbers});
  if (!results.full()) throw std::logic_error("a kernel left room for results empty");
}

Tensor view(ffi::AnyBuffer buffer) {
  const auto type = [&] {
    switch (buffer.element_type()) {
      case ffi::F32: return ScalarType::Float;
      case ffi::BF16: return ScalarType::BFloat16;
      case ffi::S32: return ScalarType::Int;
      case ffi::S64: return ScalarType::Long;
      case ffi::PRED: return ScalarType::Bool;
      default: throw std::invalid_argument("an operand has a type that no kernel reads");
    }
  }();
  return {buffer.untyped_data(), type, Sizes(buffer.dimensions().begin(), buffer.dimensions().size())};
}

template <void (*kRun)(const Call&)>
ffi::Error run_in_program(ffi::RemainingArgs operands, ffi::RemainingRets results, ffi::Span<const double> numbers) try {
  std::vector<Tensor> inputs, room;
  for (size_t i = 0; i < operands.size(); ++i) inputs.push_back(view(operands.get<ffi::AnyBuffer>(i).value()));
  for (size_t i = 0; i < results.size(); ++i) room.push_back(view(*results.get<ffi::AnyBuffer>(i).value()));
  run<kRun>(std::move(inputs), std::move(room), numbers.begin());
  return ffi::Error::Success();
} catch (const std::exception& error) {
  return ffi::Error(ffi::ErrorCode::kInternal, error.what());
}

// What Python gives of an array.
struct Array {
  void* data;
  int64_t type, rank;  // type: ScalarType's number
  const int64_t* sizes;
};

Tensor view(const Array& array) {
  return {array.data, static_cast<ScalarType>(array.type), Sizes(array.sizes, array.rank)};
}

template <void (*kRun)(const Call&)>
void run_from_python(const Array* operands, size_t num_operands, const Array* results, size_t num_results,
                     const double* numbers) {
  std::vector<Tensor> inputs, room;
  for (size_t i = 0; i < num_operands; ++i) inputs.push_back(view(operands[i]));
  for (size_t i = 0; i < num_results; ++i) room.push_back(view(results[i]));
  run<kRun>(std::move(inputs), std::move(room), numbers);
}

struct Kernel {
  const char* name;
  XLA_FFI_Handler* in_program;
  decltype(&run_from_python<run_pack>) from_python;
};

#define KERNEL(name)                                                                                        \
  XLA_FFI_DEFINE_HANDLER(program_##name, run_in_program<run_##name>,                                        \
                         ffi::Ffi::Bind().RemainingArgs().RemainingRets().Attr<ffi::Span<const double>>("numbers"))
KERNEL(linear);
KERNEL(normalize);
KERNEL(activate);
KERNEL(attend);
KERNEL(draw);
#undef KERNEL

const Kernel kernels[] = {
    {"pack", nullptr, run_from_python<run_pack>},
    {"linear", program_linear, run_from_python<run_linear>},
    {"normalize", program_normalize, run_from_python<run_normalize>},
    {"activate", program_activate, run_from_python<run_activate>},
    {"attend", program_attend, run_from_python<run_attend>},
    {"draw", program_draw, run_from_python<run_draw>},
};

}  // namespace

int64_t num_threads() { return threads; }

}  // namespace kelvin

// Makes the kernels known to XLA, each by this prefix and its name. Returns 0 when it has taken all.
extern "C" int kelvin_register(const char* prefix, int64_t threads) {
  kelvin::threads = threads;
  for (const kelvin::Kernel& kernel : kelvin::kernels)
    if (kernel.in_program && xla::ffi::Ffi::RegisterStaticHandler(xla::ffi::GetXlaFfiApi(), std::string(prefix) + kernel.name,
                                                                  "Host", kernel.in_program) != nullptr)
      return 1;
  return 0;
}

// Runs a kernel. Returns nullptr, or what went wrong, until this thread's next call.
extern "C" const char* kelvin_run(const char* name, const kelvin::Array* operands, size_t num_operands,
                                  const kelvin::Array* results, size_t num_results, const double* numbers) {
  static thread_local std::string message;
  try {
    for (const kelvin::Kernel& kernel : kelvin::kernels)
      if (kernel.name == std::string_view(name)) {
        kernel.from_python(operands, num_operands, results, num_results, numbers);
        return nullptr;
      }
    message = std::string("no kernel named ") + name;
  } catch (const std::exception& error) {
    message = error.what();
  }
  return message.c_str();
}
