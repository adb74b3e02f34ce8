// Tensors over memory that TensorFlow holds, with the names that torch's have, as far as the kernels use them.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <vector>

namespace kelvin {

enum class ScalarType { Byte, Bool, Int, Long, Float, BFloat16 };

// The length of each axis, four at most.
class Sizes {
 public:
  Sizes(std::initializer_list<int64_t> sizes) : Sizes(sizes.begin(), sizes.size()) {}
  Sizes(const int64_t* sizes, size_t rank) : rank_(rank) {
    if (rank > sizes_.size()) throw std::invalid_argument("a tensor has more than four axes");
    std::copy(sizes, sizes + rank, sizes_.begin());
  }

  int64_t operator[](int64_t axis) const { return sizes_[axis]; }
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
  Tensor(void* data, ScalarType type, Sizes sizes) : data_(data), type_(type), sizes_(sizes) {}

  int64_t size(int64_t axis) const { return sizes_[axis]; }
  const Sizes& sizes() const { return sizes_; }
  ScalarType scalar_type() const { return type_; }
  const void* const_data_ptr() const { return data_; }
  void* mutable_data_ptr() const { return data_; }

  // Every axis lies within the one before it.
  int64_t stride(int64_t axis) const { return sizes_.count(axis + 1); }

 private:
  void* data_;
  ScalarType type_;
  Sizes sizes_;
};

// Where a kernel's results go: the caller has made room for all of them, in the order in which the kernel asks for it.
class Results {
 public:
  explicit Results(std::vector<Tensor> room) : room_(std::move(room)) { current() = this; }
  ~Results() { current() = nullptr; }
  Results(const Results&) = delete;
  Results& operator=(const Results&) = delete;

  bool full() const { return next_ == room_.size(); }

  static Tensor next(const Sizes& sizes, ScalarType type) {
    Results* results = current();
    if (results == nullptr || results->full()) throw std::logic_error("a kernel has more results than it was given room for");
    const Tensor& result = results->room_[results->next_++];
    if (result.scalar_type() != type || !(result.sizes() == sizes)) throw std::invalid_argument("a result has another shape");
    return result;
  }

 private:
  static Results*& current() {
    static thread_local Results* results = nullptr;
    return results;
  }

  std::vector<Tensor> room_;
  size_t next_ = 0;
};

inline Tensor new_empty(const Tensor&, const Sizes& sizes, ScalarType type) { return Results::next(sizes, type); }
inline Tensor new_empty(const Tensor& like, const Sizes& sizes) { return new_empty(like, sizes, like.scalar_type()); }

}  // namespace kelvin
