// Operations of libtorch on lists of tensors, which tch does not bind. The Rust face is foreach.rs.

#include "ffi.h"

#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_addcdiv.h>
#include <ATen/ops/_foreach_addcmul.h>
#include <ATen/ops/_foreach_div.h>
#include <ATen/ops/_foreach_lerp.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_foreach_sqrt.h>
#include <ATen/ops/_foreach_zero.h>

#include <utility>
#include <vector>

namespace {

// Returns handles of the tensors behind the pointers.
std::vector<at::Tensor> to_list(const at::Tensor *const *tensors, size_t count) {
  std::vector<at::Tensor> list;
  list.reserve(count);
  for (size_t i = 0; i < count; i++) {
    list.push_back(*tensors[i]);
  }
  return list;
}

// Runs an operation without a result.
template <class Function> bool run(char **error_message, Function function) {
  return catch_exceptions(error_message, false, [&] {
    function();
    return true;
  });
}

// Writes the tensors of a list that `function` returns, on the heap, to `results`.
template <class Function> bool run_into(at::Tensor **results, char **error_message, Function function) {
  return run(error_message, [&] {
    std::vector<at::Tensor> list = function();
    for (size_t i = 0; i < list.size(); i++) {
      results[i] = new at::Tensor(std::move(list[i]));
    }
  });
}

} // namespace

extern "C" {

bool maskmaker_foreach_scale(const at::Tensor *const *tensors, size_t count, double factor, char **error_message) {
  return run(error_message, [&] { at::_foreach_mul_(to_list(tensors, count), factor); });
}

bool maskmaker_foreach_scale_by_tensor(const at::Tensor *const *tensors, size_t count, const at::Tensor *factor,
                                       char **error_message) {
  return run(error_message, [&] { at::_foreach_mul_(to_list(tensors, count), *factor); });
}

bool maskmaker_foreach_divide(const at::Tensor *const *tensors, size_t count, double divisor, char **error_message) {
  return run(error_message, [&] { at::_foreach_div_(to_list(tensors, count), divisor); });
}

bool maskmaker_foreach_add_scalar(const at::Tensor *const *tensors, size_t count, double addend, char **error_message) {
  return run(error_message, [&] { at::_foreach_add_(to_list(tensors, count), addend); });
}

bool maskmaker_foreach_add(const at::Tensor *const *tensors, const at::Tensor *const *addends, size_t count,
                           double factor, char **error_message) {
  return run(error_message, [&] { at::_foreach_add_(to_list(tensors, count), to_list(addends, count), factor); });
}

bool maskmaker_foreach_lerp(const at::Tensor *const *tensors, const at::Tensor *const *ends, size_t count,
                            double weight, char **error_message) {
  return run(error_message, [&] { at::_foreach_lerp_(to_list(tensors, count), to_list(ends, count), weight); });
}

bool maskmaker_foreach_add_product(const at::Tensor *const *tensors, const at::Tensor *const *a,
                                   const at::Tensor *const *b, size_t count, double factor, char **error_message) {
  return run(error_message, [&] {
    at::_foreach_addcmul_(to_list(tensors, count), to_list(a, count), to_list(b, count), factor);
  });
}

bool maskmaker_foreach_add_quotient(const at::Tensor *const *tensors, const at::Tensor *const *dividends,
                                    const at::Tensor *const *divisors, size_t count, double factor,
                                    char **error_message) {
  return run(error_message, [&] {
    at::_foreach_addcdiv_(to_list(tensors, count), to_list(dividends, count), to_list(divisors, count), factor);
  });
}

bool maskmaker_foreach_zero(const at::Tensor *const *tensors, size_t count, char **error_message) {
  return run(error_message, [&] { at::_foreach_zero_(to_list(tensors, count)); });
}

bool maskmaker_foreach_sqrt(const at::Tensor *const *tensors, size_t count, at::Tensor **results,
                            char **error_message) {
  return run_into(results, error_message, [&] { return at::_foreach_sqrt(to_list(tensors, count)); });
}

bool maskmaker_foreach_norm(const at::Tensor *const *tensors, size_t count, at::Tensor **results,
                            char **error_message) {
  return run_into(results, error_message, [&] { return at::_foreach_norm(to_list(tensors, count)); });
}
}
