// Runs TorchScript files as they are best for inference: what tch does not bind. The Rust face is module.rs.

#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/python/update_graph_executor_opt.h>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/csrc/jit/runtime/profiling_graph_executor_impl.h>
#include <torch/csrc/jit/serialization/import.h>

#include <cstring>
#include <stdexcept>

namespace {

using torch::jit::Module;

template <class Function> auto catch_exceptions(char **error_message, Function function) -> decltype(function()) {
  *error_message = nullptr;
  try {
    try {
      return function();
    } catch (const std::exception &error) {
      *error_message = strdup(error.what());
    }
  } catch (...) {
  }
  return nullptr;
}

// Networks are given images of any size: code made for the sizes seen first would be made again and again. (The second
// switch is each thread's own.)
void disable_shape_specialization() {
  torch::jit::getProfilingMode() = false;
  torch::jit::setGraphExecutorOptimize(false);
}

// The logits among what segmentation networks return: a tensor, torchvision's dictionary, or a sequence whose first they
// are.
at::Tensor extract_logits(const c10::IValue &module_output) {
  if (module_output.isTensor()) return module_output.toTensor();
  if (module_output.isGenericDict()) {
    const auto dict = module_output.toGenericDict();
    for (const char *key : {"out", "logits"}) {
      const auto found = dict.find(std::string(key));
      if (found != dict.end() && found->value().isTensor()) return found->value().toTensor();
    }
    throw std::runtime_error("the module returns a dictionary without a tensor \"out\" or \"logits\"");
  }
  if (module_output.isTuple() && !module_output.toTupleRef().elements().empty()) return extract_logits(module_output.toTupleRef().elements()[0]);
  if (module_output.isTensorList() && !module_output.toTensorList().empty()) return module_output.toTensorList()[0];
  throw std::runtime_error("the module returns " + module_output.type()->repr_str() + " and not logits");
}

} // namespace

extern "C" {

// Loads a file onto `device` (-1: the processor, else a GPU's number), with its floating-point tensors as `kind` (a
// c10::ScalarType), and freezes it: parameters become constants, BatchNorm is folded. `optimize` also gives weights
// oneDNN's layout, for 32-bit floats on the processor.
Module *maskmaker_load_module(const char *path, int device, int kind, bool optimize, char **error_message) {
  return catch_exceptions(error_message, [&]() -> Module * {
    disable_shape_specialization();
    const auto target_device = device < 0 ? c10::Device(c10::kCPU) : c10::Device(c10::kCUDA, device);
    Module module = torch::jit::load(path, target_device);
    module.eval();
    module.to(static_cast<c10::ScalarType>(kind));
    // A module without the attribute "training" was frozen before.
    if (module.hasattr("training")) module = torch::jit::freeze(module);
    if (optimize) module = torch::jit::optimize_for_inference(module);
    return new Module(module);
  });
}

at::Tensor *maskmaker_run_module(const Module *module, const at::Tensor *input, char **error_message) {
  return catch_exceptions(error_message, [&] {
    disable_shape_specialization();
    return new at::Tensor(extract_logits(Module(*module).forward({*input})));
  });
}

void maskmaker_drop_module(Module *module) { delete module; }
}
