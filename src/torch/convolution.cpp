// Convolutions by oneDNN with weights in its own layouts, with ReLU and sums in the same pass:
// operators of libtorch that tch does not bind (PyTorch's own compiler calls them). The Rust face
// is convolution.rs.

#include "ffi.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>

#include <optional>
#include <string>
#include <vector>

namespace {

using c10::IValue;

IValue int_pair(int64_t value) { return IValue(std::vector<int64_t>{value, value}); }

// The operators take a list of arguments of the activation, which ReLU does without.
IValue no_activation_arguments() { return IValue(c10::List<std::optional<at::Scalar>>()); }

IValue call_operator(const char *name, const char *overload, torch::jit::Stack stack) {
  c10::Dispatcher::singleton().findSchemaOrThrow(name, overload).callBoxed(stack);
  return stack.at(0);
}

int64_t call_integer_operator(const char *name, const at::Tensor &packed) {
  return call_operator(name, "", {packed}).toInt();
}

at::Tensor call_tensor_operator(const char *name, const char *overload, torch::jit::Stack stack) {
  return call_operator(name, overload, std::move(stack)).toTensor();
}

} // namespace

extern "C" {

at::Tensor *maskmaker_pack_convolution(const at::Tensor *weight, const maskmaker_geometry *geometry, const int64_t *input_shape,
                                       char **error_message) {
  return catch_into_tensor(error_message, [&] {
    return call_tensor_operator("mkldnn::_reorder_convolution_weight", "",
                {*weight, int_pair(geometry->padding), int_pair(geometry->stride), int_pair(geometry->dilation), int64_t{1},
                 input_shape ? IValue(std::vector<int64_t>(input_shape, input_shape + 4)) : IValue()});
  });
}

int maskmaker_packed_equal(const at::Tensor *a, const at::Tensor *b, char **error_message) {
  return catch_exceptions(error_message, -1, [&] {
    for (const at::Tensor *packed : {a, b}) TORCH_CHECK(packed->is_mkldnn(), "the tensor is not packed");
    const int64_t byte_count = call_integer_operator("mkldnn::_nbytes", *a);
    if (byte_count != call_integer_operator("mkldnn::_nbytes", *b)) return 0;
    const auto *a_bytes = reinterpret_cast<const void *>(call_integer_operator("mkldnn::data_ptr", *a));
    const auto *b_bytes = reinterpret_cast<const void *>(call_integer_operator("mkldnn::data_ptr", *b));
    return std::memcmp(a_bytes, b_bytes, byte_count) == 0 ? 1 : 0;
  });
}

at::Tensor *maskmaker_convolve(const at::Tensor *input, const at::Tensor *weight, const at::Tensor *bias,
                               const maskmaker_geometry *geometry, bool relu, const at::Tensor *addend, char **error_message) {
  return catch_into_tensor(error_message, [&] {
    const auto padding = int_pair(geometry->padding), stride = int_pair(geometry->stride), dilation = int_pair(geometry->dilation);
    const IValue bias_value = bias ? IValue(*bias) : IValue();
    const int64_t groups = 1;
    if (!addend) {
      return call_tensor_operator("mkldnn::_convolution_pointwise", "",
                  {*input, *weight, bias_value, padding, stride, dilation, groups, std::string(relu ? "relu" : "none"),
                   no_activation_arguments(), std::string()});
    }
    const IValue activation = relu ? IValue(std::string("relu")) : IValue();
    return call_tensor_operator("mkldnn::_convolution_pointwise_", "binary",
                {*addend, *input, *weight, bias_value, padding, stride, dilation, groups, std::string("add"), at::Scalar(1.0),
                 activation, no_activation_arguments(), IValue()});
  });
}
}
