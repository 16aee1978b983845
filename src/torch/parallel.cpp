// Runs work on libtorch's own threads: the pool is inside its library, and a second pool would
// contend with it for the same cores. The Rust face is parallel.rs.

#include "ffi.h"

#include <ATen/TensorIterator.h>
#include <ATen/ops/arange.h>

extern "C" {

char *maskmaker_parallel_for(int64_t count, void (*work)(const void *context, int64_t first, int64_t last),
                            const void *context) {
  char *error_message = nullptr;
  const bool is_done = catch_exceptions(&error_message, false, [&] {
    // The iterator runs over the numbers themselves, since it tells a part only where its elements
    // lie in memory.
    const at::Tensor indices = at::arange(count, at::kLong);
    auto iterator = at::TensorIteratorConfig().add_const_input(indices).build();
    iterator.for_each(
        [&](char **data, const int64_t *strides, int64_t inner, int64_t outer) {
          for (int64_t row = 0; row < outer; row++) {
            const int64_t first = *reinterpret_cast<const int64_t *>(data[0] + row * strides[1]);
            work(context, first, first + inner);
          }
        },
        1);
    return true;
  });
  if (is_done || error_message) return error_message;
  return strdup("an exception of no known kind");
}
}
