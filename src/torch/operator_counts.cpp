// Counts the operators that libtorch runs, for tests. The Rust face is operator_counts.rs.

#include "ffi.h"

#include <ATen/record_function.h>

#include <map>
#include <memory>
#include <string>

struct maskmaker_operator_counter {
  std::map<std::string, int64_t> counts;
  at::CallbackHandle handle = at::INVALID_CALLBACK_HANDLE;
};

namespace {

// Callbacks of libtorch get no context, and those of a thread are called on that thread.
thread_local maskmaker_operator_counter *current_counter = nullptr;

std::unique_ptr<at::ObserverContext> count_operator(const at::RecordFunction &function) {
  const auto name = function.operator_name();
  if (current_counter != nullptr && name.has_value()) {
    std::string text = c10::toString(*name);
    if (text == "aten::cumsum") {
      text += std::string(" of ") + c10::toString(function.inputs()[0].toTensor().scalar_type());
    }
    // 0 is none.
    if (text == "aten::nll_loss2d_forward" && function.inputs()[3].toInt() != 0) {
      text += " with reduction";
    }
    // `tensor.to(device)` runs the operator of all options, and names no type. Those that name one
    // are conversions on the device of the tensor.
    if (text == "aten::to.dtype_layout" && function.inputs()[1].isNone() && !function.inputs()[3].isNone()) {
      text = "aten::to.device";
    }
    current_counter->counts[text]++;
  }
  return nullptr;
}

} // namespace

extern "C" {

maskmaker_operator_counter *maskmaker_start_counting(char **error_message) {
  return catch_exceptions<maskmaker_operator_counter *>(error_message, nullptr, [] {
    auto counter = std::make_unique<maskmaker_operator_counter>();
    counter->handle = at::addThreadLocalCallback(at::RecordFunctionCallback(count_operator).needsInputs(true));
    current_counter = counter.get();
    return counter.release();
  });
}

void maskmaker_stop_counting(maskmaker_operator_counter *counter,
                             void (*take)(void *context, const char *name, int64_t count), void *context) {
  at::removeCallback(counter->handle);
  current_counter = nullptr;
  for (const auto &[name, count] : counter->counts) {
    take(context, name.c_str(), count);
  }
  delete counter;
}
}
