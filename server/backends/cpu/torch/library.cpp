// The kernels as torch operators.

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <type_traits>
#include <vector>

#include "../kernels.h"
#include "../pool.h"

int64_t kelvin::num_threads() { return torch::stable::get_num_threads(); }

namespace {

using TorchTensor = torch::stable::Tensor;
using TorchType = torch::headeronly::ScalarType;

constexpr std::pair<TorchType, kelvin::ScalarType> kTypes[] = {
    {TorchType::Byte, kelvin::ScalarType::Byte},   {TorchType::Bool, kelvin::ScalarType::Bool},
    {TorchType::Int, kelvin::ScalarType::Int},     {TorchType::Long, kelvin::ScalarType::Long},
    {TorchType::Float, kelvin::ScalarType::Float}, {TorchType::BFloat16, kelvin::ScalarType::BFloat16},
};

// What the kernels see of an argument.
template <typename T>
const T& seen(const T& argument) {
  return argument;
}

kelvin::Tensor seen(const TorchTensor& t) {
  const TorchType type = t.scalar_type();
  for (const auto& [torchs, ours] : kTypes)
    if (type == torchs) {
      const kelvin::Sizes sizes(t.sizes().data(), t.sizes().size()), strides(t.strides().data(), t.strides().size());
      return {const_cast<void*>(t.const_data_ptr()), ours, sizes, strides};
    }
  throw std::invalid_argument("an operand has a type that no kernel reads");
}

std::optional<kelvin::Tensor> seen(const std::optional<TorchTensor>& t) {
  return t ? std::optional(seen(*t)) : std::nullopt;
}

std::vector<kelvin::Tensor> seen(const std::vector<TorchTensor>& tensors) {
  std::vector<kelvin::Tensor> ours;
  for (const TorchTensor& t : tensors) ours.push_back(seen(t));
  return ours;
}

// Results that torch holds.
class TorchRoom : public kelvin::Room {
 public:
  explicit TorchRoom(const TorchTensor& like) : like_(like) {}

  TorchTensor torchs(const kelvin::Tensor& result) const {
    for (const auto& [torchs, ours] : made_)
      if (ours.memory() == result.memory() && ours.sizes() == result.sizes()) return torchs;  // tensors of no rows share an address
    throw std::logic_error("a kernel returned what nobody made room for");
  }
  template <typename... Results>
  auto torchs(const std::tuple<Results...>& results) const {
    return std::apply([&](const auto&... each) { return std::tuple(torchs(each)...); }, results);
  }

 protected:
  kelvin::Tensor place(const kelvin::Sizes& sizes, kelvin::ScalarType type) override {
    std::vector<int64_t> shape;
    for (int64_t axis = 0; axis < sizes.rank(); ++axis) shape.push_back(sizes[axis]);
    const auto same = [&](const auto& types) { return types.second == type; };
    const TorchType torchs = std::find_if(std::begin(kTypes), std::end(kTypes), same)->first;
    const TorchTensor made = torch::stable::new_empty(like_, shape, torchs);
    made_.emplace_back(made, seen(made));
    return made_.back().second;
  }

 private:
  const TorchTensor& like_;
  std::vector<std::pair<TorchTensor, kelvin::Tensor>> made_;
};

template <typename T>
struct Argument {
  using type = T;
};
template <>
struct Argument<const kelvin::Tensor&> {
  using type = const TorchTensor&;
};
template <>
struct Argument<const std::optional<kelvin::Tensor>&> {
  using type = const std::optional<TorchTensor>&;
};
template <>
struct Argument<std::vector<kelvin::Tensor>> {
  using type = std::vector<TorchTensor>;
};

// A kernel as torch calls it: the same arguments, in torch's tensors.
template <auto kKernel>
struct Operator;

template <typename Result, typename First, typename... Others, Result (*kKernel)(First, Others...)>
struct Operator<kKernel> {
  static auto run(typename Argument<First>::type first, typename Argument<Others>::type... others) {
    const TorchRoom room(first);
    return room.torchs(kKernel(seen(first), seen(others)...));
  }
};

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(kelvin, m) {
  m.def("pack(Tensor weight) -> Tensor");
  m.def(
      "linear(Tensor x, Tensor packed, int out_features, Tensor? bias, Tensor? residual, bool as_float) -> Tensor");
  m.def("pack_int8(Tensor weight) -> Tensor");
  m.def(
      "linear_int8(Tensor x, Tensor packed, int out_features, Tensor? bias, Tensor? residual, bool as_float) -> "
      "Tensor");
  m.def("normalize(Tensor x, Tensor weight, Tensor? bias, float eps, bool centred) -> Tensor");
  m.def("activate(Tensor x, str name, bool gated) -> Tensor");
  m.def(
      "plan_block(Tensor attention_norm, Tensor? attention_norm_bias, Tensor qkv, Tensor? qkv_bias, "
      "Tensor? query_norm, Tensor? key_norm, Tensor out, Tensor? out_bias, Tensor? post_attention_norm, "
      "Tensor mlp_norm, Tensor? mlp_norm_bias, Tensor up, Tensor? up_bias, Tensor down, Tensor? down_bias, "
      "Tensor? post_mlp_norm, Tensor? cos, Tensor? sin, int heads, int kv_heads, int head_dim, int intermediate_size, "
      "str activation, bool gated, float eps, bool centred, bool parallel_residual, float scale, int window, "
      "float softcap) -> Tensor");
  m.def(
      "run_blocks(Tensor x, Tensor slots, Tensor positions, Tensor(a!)[] keys, Tensor(b!)[] values, Tensor plans, "
      "Tensor? sources, Tensor? lengths) -> Tensor");
  m.def("gumbel_noise(Tensor key0, Tensor key1, Tensor step, int vocab_size) -> Tensor");
  m.def(
      "process(Tensor logits, Tensor step, Tensor bias_ids, Tensor bias, Tensor allowed, Tensor bad_words, "
      "Tensor min_tokens, Tensor stop_ids, Tensor repetition_penalty, Tensor presence_penalty, "
      "Tensor frequency_penalty, Tensor no_repeat_ngram_size, Tensor dry_multiplier, Tensor dry_base, "
      "Tensor dry_allowed_length, Tensor tokens, Tensor length, Tensor counts, Tensor matches) -> Tensor");
  m.def(
      "append(Tensor tokens, Tensor length, Tensor counts, Tensor matches, Tensor token_ids) -> "
      "(Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "draw(Tensor logits, Tensor temperature, Tensor key0, Tensor key1, Tensor step, Tensor temperature_span, "
      "Tensor temperature_exponent, Tensor temperature_last, Tensor top_n_sigma, Tensor early_min_p, Tensor top_k, "
      "Tensor early_typical_p, Tensor top_p, Tensor min_p, Tensor typical_p, Tensor epsilon_cutoff, Tensor eta_cutoff, "
      "Tensor xtc_probability, Tensor xtc_threshold) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "measure(Tensor logits, Tensor processed, Tensor temperature, Tensor token_ids, Tensor before, Tensor after, "
      "Tensor low, Tensor high) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(kelvin, CPU, m) {
  m.impl("pack", TORCH_BOX(&Operator<&kelvin::pack>::run));
  m.impl("linear", TORCH_BOX(&Operator<&kelvin::linear>::run));
  m.impl("pack_int8", TORCH_BOX(&Operator<&kelvin::pack_int8>::run));
  m.impl("linear_int8", TORCH_BOX(&Operator<&kelvin::linear_int8>::run));
  m.impl("normalize", TORCH_BOX(&Operator<&kelvin::normalize>::run));
  m.impl("activate", TORCH_BOX(&Operator<&kelvin::activate>::run));
  m.impl("plan_block", TORCH_BOX(&Operator<&kelvin::plan_block>::run));
  m.impl("run_blocks", TORCH_BOX(&Operator<&kelvin::run_blocks>::run));
  m.impl("gumbel_noise", TORCH_BOX(&Operator<&kelvin::gumbel_noise>::run));
  m.impl("process", TORCH_BOX(&Operator<&kelvin::process>::run));
  m.impl("append", TORCH_BOX(&Operator<&kelvin::append>::run));
  m.impl("draw", TORCH_BOX(&Operator<&kelvin::draw>::run));
  m.impl("measure", TORCH_BOX(&Operator<&kelvin::measure>::run));
}
