// Work on the threads that libtorch computes with: the pool is inside its library, and a second one would contend with it
// for the same cores. The Rust face is parallel.rs.

#include <ATen/TensorIterator.h>
#include <ATen/ops/arange.h>

#include <cstring>

extern "C" {

// Calls `work` with parts of 0..count until each was in one, at the same time on as many threads as libtorch has; gives
// null, or what went wrong.
char *maskmaker_parallel_for(int64_t count, void (*work)(const void *context, int64_t first, int64_t last),
                            const void *context) {
  try {
    // An iterator over the numbers themselves: it knows nothing of parts but where their elements lie.
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
    return nullptr;
  } catch (const std::exception &error) {
    return strdup(error.what());
  } catch (...) {
    return strdup("an exception of no known kind");
  }
}
}
