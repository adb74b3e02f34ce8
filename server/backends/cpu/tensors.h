// Tensors as the kernels see them, whoever holds their memory, and who makes room for what kernels return.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <initializer_list>
#include <stdexcept>

#include "vector.h"

namespace kelvin {

enum class ScalarType { Byte, Bool, Int, Long, Float, BFloat16 };

inline int64_t bytes_of(ScalarType type) {
  switch (type) {
    case ScalarType::Byte:
    case ScalarType::Bool: return 1;
    case ScalarType::BFloat16: return 2;
    case ScalarType::Int:
    case ScalarType::Float: return 4;
    default: return 8;
  }
}

// A number for each axis, four at most.
class Sizes {
 public:
  Sizes(std::initializer_list<int64_t> sizes) : Sizes(sizes.begin(), sizes.size()) {}
  Sizes(const int64_t* sizes, size_t rank) : rank_(rank) {
    if (rank > sizes_.size()) throw std::invalid_argument("a tensor has more than four axes");
    std::copy(sizes, sizes + rank, sizes_.begin());
  }

  int64_t operator[](int64_t axis) const { return sizes_[axis]; }
  int64_t& operator[](int64_t axis) { return sizes_[axis]; }
  int64_t rank() const { return rank_; }
  int64_t count(int64_t first = 0) const {  // of elements, along the axes from one on
    int64_t elements = 1;
    for (int64_t axis = first; axis < rank_; ++axis) elements *= sizes_[axis];
    return elements;
  }
  bool operator==(const Sizes& other) const {
    return rank_ == other.rank_ && std::equal(sizes_.begin(), sizes_.begin() + rank_, other.sizes_.begin());
  }

 private:
  std::array<int64_t, 4> sizes_{};
  int64_t rank_;
};

class Tensor {
 public:
  // Every axis lies within the one before it.
  Tensor(void* data, ScalarType type, const Sizes& sizes) : Tensor(data, type, sizes, sizes) {
    for (int64_t axis = 0; axis < sizes.rank(); ++axis) strides_[axis] = sizes.count(axis + 1);
  }
  Tensor(void* data, ScalarType type, const Sizes& sizes, const Sizes& strides)
      : data_(data), type_(type), sizes_(sizes), strides_(strides) {}

  void* memory() const { return data_; }
  ScalarType scalar_type() const { return type_; }
  const Sizes& sizes() const { return sizes_; }
  int64_t size(int64_t axis) const { return sizes_[axis]; }
  int64_t stride(int64_t axis) const { return strides_[axis]; }

  // The same elements by other axes, where every axis lies within the one before it.
  Tensor view(const Sizes& sizes) const { return {data_, type_, sizes}; }

  // Some elements of an axis.
  Tensor narrow(int64_t axis, int64_t first, int64_t count) const {
    Tensor part = *this;
    part.data_ = static_cast<char*>(data_) + first * strides_[axis] * bytes_of(type_);
    part.sizes_[axis] = count;
    return part;
  }

 private:
  void* data_;
  ScalarType type_;
  Sizes sizes_, strides_;
};

template <typename T>
const T* data(const Tensor& t) {
  return static_cast<const T*>(t.memory());
}

template <typename T>
T* mutable_data(const Tensor& t) {
  return static_cast<T*>(t.memory());
}

// Call `run` with a value of the element type: BFloat16 or float.
template <typename F>
void for_type_of(const Tensor& t, F run) {
  if (t.scalar_type() == ScalarType::BFloat16)
    run(BFloat16{});
  else
    run(float{});
}

// Makes room for the results of the kernels that its thread calls while it lives, and no younger one does.
class Room {
 public:
  Room() : outer_(current_) { current_ = this; }
  virtual ~Room() { current_ = outer_; }
  Room(const Room&) = delete;
  Room& operator=(const Room&) = delete;

  static Tensor make(const Sizes& sizes, ScalarType type) {
    if (current_ == nullptr) throw std::logic_error("nobody makes room for a kernel's results");
    return current_->place(sizes, type);
  }

 protected:
  virtual Tensor place(const Sizes& sizes, ScalarType type) = 0;

 private:
  static inline thread_local Room* current_ = nullptr;
  Room* outer_;
};

inline Tensor empty(const Sizes& sizes, ScalarType type) { return Room::make(sizes, type); }

}  // namespace kelvin
