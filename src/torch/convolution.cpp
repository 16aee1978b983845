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

IValue int_pair(int64_t value) { return IValue(std::vector<int64_t>{value, value}); }

// Arguments of an activation: none.
IValue no_activation_arguments() { return IValue(c10::List<std::optional<at::Scalar>>()); }

IValue call_operator(const char *name, const char *overload, torch::jit::Stack stack) {
  c10::Dispatcher::singleton().findSchemaOrThrow(name, overload).callBoxed(stack);
  return stack.at(0);
}

at::Tensor call_tensor_operator(const char *name, const char *overload, torch::jit::Stack stack) {
  return call_operator(name, overload, std::move(stack)).toTensor();
}

template <class Function> void catch_exceptions(char **error_message, Function function) {
  *error_message = nullptr;
  try {
    try {
      function();
    } catch (const std::exception &error) {
      *error_message = strdup(error.what());
    }
  } catch (...) {
  }
}

// The tensor that `function` gives, on the heap; null and `error_message` if it throws.
template <class Function> at::Tensor *catch_into_tensor(char **error_message, Function function) {
  at::Tensor *tensor = nullptr;
  catch_exceptions(error_message, [&] { tensor = new at::Tensor(function()); });
  return tensor;
}

} // namespace

extern "C" {

// As `struct Geometry` in convolution.rs.
struct maskmaker_geometry {
  int64_t padding, stride, dilation;
};

// The weight in the layout that oneDNN likes best for these settings, and for an input of these four sides if they are
// known; null and `error_message` where it cannot.
at::Tensor *maskmaker_pack_convolution(const at::Tensor *weight, const maskmaker_geometry *geometry, const int64_t *input_shape,
                                       char **error_message) {
  return catch_into_tensor(error_message, [&] {
    return call_tensor_operator("mkldnn::_reorder_convolution_weight", "",
                {*weight, int_pair(geometry->padding), int_pair(geometry->stride), int_pair(geometry->dilation), int64_t{1},
                 input_shape ? IValue(std::vector<int64_t>(input_shape, input_shape + 4)) : IValue()});
  });
}

// 1 if two packed weights hold the same bytes, 0 if not, -1 and `error_message` if one is not packed.
int maskmaker_packed_equal(const at::Tensor *a, const at::Tensor *b, char **error_message) {
  int equal = -1;
  catch_exceptions(error_message, [&] {
    const auto call_integer_operator = [](const char *name, const at::Tensor &packed) {
      return call_operator(name, "", {packed}).toInt();
    };
    for (const at::Tensor *packed : {a, b}) TORCH_CHECK(packed->is_mkldnn(), "the tensor is not packed");
    const int64_t byte_count = call_integer_operator("mkldnn::_nbytes", *a);
    equal = byte_count == call_integer_operator("mkldnn::_nbytes", *b) &&
            std::memcmp(reinterpret_cast<const void *>(call_integer_operator("mkldnn::data_ptr", *a)),
                        reinterpret_cast<const void *>(call_integer_operator("mkldnn::data_ptr", *b)), byte_count) == 0;
  });
  return equal;
}

// The convolution of `input`; with `relu` its positive part; with `sum` that of itself and `sum`, which is written over
// and is what is given back.
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
