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

template <class Work> auto guarded(char **problem, Work work) -> decltype(work()) {
  *problem = nullptr;
  try {
    try {
      return work();
    } catch (const std::exception &error) {
      *problem = strdup(error.what());
    }
  } catch (...) {
  }
  return nullptr;
}

// Networks are given images of any size: code made for the sizes seen first would be made again and again. (The second
// switch is each thread's own.)
void for_any_size() {
  torch::jit::getProfilingMode() = false;
  torch::jit::setGraphExecutorOptimize(false);
}

// The logits among what segmentation networks return: a tensor, torchvision's dictionary, or a sequence whose first they
// are.
at::Tensor logits(const c10::IValue &value) {
  if (value.isTensor()) return value.toTensor();
  if (value.isGenericDict()) {
    const auto dict = value.toGenericDict();
    for (const char *key : {"out", "logits"}) {
      const auto found = dict.find(std::string(key));
      if (found != dict.end() && found->value().isTensor()) return found->value().toTensor();
    }
    throw std::runtime_error("the module returns a dictionary without a tensor \"out\" or \"logits\"");
  }
  if (value.isTuple() && !value.toTupleRef().elements().empty()) return logits(value.toTupleRef().elements()[0]);
  if (value.isTensorList() && !value.toTensorList().empty()) return value.toTensorList()[0];
  throw std::runtime_error("the module returns " + value.type()->repr_str() + " and not logits");
}

} // namespace

extern "C" {

// Loads a file onto `device` (-1: the processor, else a GPU's number), with its floating-point tensors as `kind` (a
// c10::ScalarType), and freezes it: parameters become constants, BatchNorm is folded. `optimise` also gives weights
// oneDNN's layout, for 32-bit floats on the processor.
Module *maskmaker_load_module(const char *path, int device, int kind, bool optimise, char **problem) {
  return guarded(problem, [&]() -> Module * {
    for_any_size();
    const auto where = device < 0 ? c10::Device(c10::kCPU) : c10::Device(c10::kCUDA, device);
    Module module = torch::jit::load(path, where);
    module.eval();
    module.to(static_cast<c10::ScalarType>(kind));
    // A module without the attribute "training" was frozen before.
    if (module.hasattr("training")) module = torch::jit::freeze(module);
    if (optimise) module = torch::jit::optimize_for_inference(module);
    return new Module(module);
  });
}

at::Tensor *maskmaker_run_module(const Module *module, const at::Tensor *input, char **problem) {
  return guarded(problem, [&] {
    for_any_size();
    return new at::Tensor(logits(Module(*module).forward({*input})));
  });
}

void maskmaker_drop_module(Module *module) { delete module; }
}
