// Settings of a GPU's arithmetic, which tch does not bind. The Rust face is gpu_math.rs.

#include "ffi.h"

#include <ATen/Context.h>

extern "C" {

bool maskmaker_set_gpu_math(bool allow_tf32, bool deterministic, char **error_message) {
  return catch_exceptions(error_message, false, [&] {
    at::Context &context = at::globalContext();
    context.setAllowTF32CuDNN(allow_tf32);
    context.setDeterministicCuDNN(deterministic);
    context.setDeterministicAlgorithms(deterministic, /*warn_only=*/false);
    // PyTorch fills new memory with NaN in this mode, to find programs that read it. This costs time
    // and changes nothing here.
    context.setDeterministicFillUninitializedMemory(false);
    return true;
  });
}
}
