// Convolutions by oneDNN with weights in its own layout, with ReLU and sums in the same pass: operators of libtorch that
// tch does not bind (PyTorch's own compiler calls them). The Rust face is convolution.rs.

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>

#include <cstring>
#include <optional>
#include <string>
#include <vector>

namespace {

using c10::IValue;

IValue pair(int64_t value) { return IValue(std::vector<int64_t>{value, value}); }

// Arguments of an activation: none.
IValue nothing() { return IValue(c10::List<std::optional<at::Scalar>>()); }

IValue call_for(const char *name, const char *overload, torch::jit::Stack stack) {
  c10::Dispatcher::singleton().findSchemaOrThrow(name, overload).callBoxed(stack);
  return stack.at(0);
}

at::Tensor call(const char *name, const char *overload, torch::jit::Stack stack) {
  return call_for(name, overload, std::move(stack)).toTensor();
}

template <class Work> void guarded(char **problem, Work work) {
  *problem = nullptr;
  try {
    try {
      work();
    } catch (const std::exception &error) {
      *problem = strdup(error.what());
    }
  } catch (...) {
  }
}

// The tensor that `work` gives, on the heap; null and `problem` if it throws.
template <class Work> at::Tensor *made(char **problem, Work work) {
  at::Tensor *tensor = nullptr;
  guarded(problem, [&] { tensor = new at::Tensor(work()); });
  return tensor;
}

} // namespace

extern "C" {

// As `struct Geometry` in convolution.rs.
struct maskmaker_geometry {
  int64_t padding, stride, dilation;
};

// The weight in the layout that oneDNN likes best for these settings, and for an input of these four sides if they are
// known; null and `problem` where it cannot.
at::Tensor *maskmaker_pack_convolution(const at::Tensor *weight, const maskmaker_geometry *geometry, const int64_t *input,
                                       char **problem) {
  return made(problem, [&] {
    return call("mkldnn::_reorder_convolution_weight", "",
                {*weight, pair(geometry->padding), pair(geometry->stride), pair(geometry->dilation), int64_t{1},
                 input ? IValue(std::vector<int64_t>(input, input + 4)) : IValue()});
  });
}

// 1 if two packed weights hold the same bytes, 0 if not, -1 and `problem` if one is not packed.
int maskmaker_packed_alike(const at::Tensor *a, const at::Tensor *b, char **problem) {
  int alike = -1;
  guarded(problem, [&] {
    const auto number = [](const char *name, const at::Tensor &packed) {
      return call_for(name, "", {packed}).toInt();
    };
    for (const at::Tensor *packed : {a, b}) TORCH_CHECK(packed->is_mkldnn(), "the tensor is not packed");
    const int64_t bytes = number("mkldnn::_nbytes", *a);
    alike = bytes == number("mkldnn::_nbytes", *b) &&
            std::memcmp(reinterpret_cast<const void *>(number("mkldnn::data_ptr", *a)),
                        reinterpret_cast<const void *>(number("mkldnn::data_ptr", *b)), bytes) == 0;
  });
  return alike;
}

// The convolution of `input`; with `relu` its positive part; with `sum` that of itself and `sum`, which is written over
// and is what is given back.
at::Tensor *maskmaker_convolve(const at::Tensor *input, const at::Tensor *weight, const at::Tensor *bias,
                               const maskmaker_geometry *geometry, bool relu, const at::Tensor *sum, char **problem) {
  return made(problem, [&] {
    const auto padding = pair(geometry->padding), stride = pair(geometry->stride), dilation = pair(geometry->dilation);
    const IValue offset = bias ? IValue(*bias) : IValue();
    const int64_t groups = 1;
    if (!sum) {
      return call("mkldnn::_convolution_pointwise", "",
                  {*input, *weight, offset, padding, stride, dilation, groups, std::string(relu ? "relu" : "none"),
                   nothing(), std::string()});
    }
    const IValue activation = relu ? IValue(std::string("relu")) : IValue();
    return call("mkldnn::_convolution_pointwise_", "binary",
                {*sum, *input, *weight, offset, padding, stride, dilation, groups, std::string("add"), at::Scalar(1.0),
                 activation, nothing(), IValue()});
  });
}
}
