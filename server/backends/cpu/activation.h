// The activations by name.
#pragma once

#include <string>

#include "vector.h"

namespace kelvin {

using Activation = Floats (*)(Floats);

// silu, gelu, gelu_tanh, relu or tanh; throws std::invalid_argument for another name.
Activation activation_named(const std::string& name);

}  // namespace kelvin
