// Batch normalization with the statistics of all ranks, forward and backward. libtorch's operations
// for it exist for CUDA alone. The Rust face is sync_batch_norm.rs.

#include "ffi.h"
#include "process_group.h"

#include <torch/csrc/autograd/custom_function.h>

#include <ATen/ops/batch_norm.h>
#include <ATen/ops/batch_norm_update_stats.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include <vector>

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

// Keeps the group as long as the graph of a forward pass exists.
struct GroupHolder : torch::CustomClassHolder {
  explicit GroupHolder(const c10::intrusive_ptr<c10d::ProcessGroup> &group) : group(group) {}
  c10::intrusive_ptr<c10d::ProcessGroup> group;
};

void sum_over_ranks(c10d::ProcessGroup &group, const at::Tensor &tensor) {
  std::vector<at::Tensor> one{tensor};
  group.allreduce(one)->wait();
}

// Shapes values of channels [channels] so that they apply to maps [batch, channels, height, width].
at::Tensor as_map(const at::Tensor &channels) { return channels.view({1, -1, 1, 1}); }

// Statistics of a batch over all ranks, in 64 bits, [channels].
struct BatchStatistics {
  at::Tensor mean, variance;
  // Number of values per channel, [1]. It stays on the device, which the host need not wait for.
  at::Tensor count;
};

// Computes mean and biased variance per channel. Each rank tells its own count, mean and variance,
// and they are joined by the formula of Chan, Golub and LeVeque (1979), which loses no digits where
// means are far larger than deviations.
BatchStatistics compute_statistics(c10d::ProcessGroup &group, const at::Tensor &input) {
  const int64_t channels = input.size(1);
  const double own_count = static_cast<double>(input.numel() / channels);
  // Each rank has at least one value.
  if (own_count + group.getSize() - 1 < 2) {
    throw std::runtime_error("batch normalization over all ranks was given one value per channel");
  }
  // Without running statistics to update it returns means and biased variances, at least in 32 bits.
  const auto [own_mean, own_variance] = at::batch_norm_update_stats(input, {}, {}, /*momentum=*/0);
  // A row per rank: its count, means and variances. Other ranks' rows are 0 until the sum.
  const at::Tensor rows = at::zeros({group.getSize(), 2 * channels + 1}, input.options().dtype(at::kDouble));
  at::Tensor own_row = rows.select(0, group.getRank());
  own_row.narrow(0, 0, 1).fill_(own_count);
  own_row.narrow(0, 1, channels).copy_(own_mean);
  own_row.narrow(0, 1 + channels, channels).copy_(own_variance);
  sum_over_ranks(group, rows);
  const at::Tensor counts = rows.narrow(1, 0, 1), means = rows.narrow(1, 1, channels);
  const at::Tensor variances = rows.narrow(1, 1 + channels, channels);
  const at::Tensor count = counts.sum().view({1});
  const at::Tensor mean = (means * counts).sum(0) / count;
  const at::Tensor variance = ((variances + (means - mean).square()) * counts).sum(0) / count;
  return {mean, variance, count};
}

struct SyncBatchNorm : torch::autograd::Function<SyncBatchNorm> {
  static Variable forward(AutogradContext *context, const Variable &input, const Variable &weight, const Variable &bias,
                          at::Tensor running_mean, at::Tensor running_var, double momentum, double epsilon,
                          const c10::intrusive_ptr<c10d::ProcessGroup> &group) {
    const auto [mean, variance, count] = compute_statistics(*group, input);
    running_mean.lerp_(mean.to(running_mean.scalar_type()), momentum);
    // The running variance is that of the population, as in PyTorch.
    running_var.lerp_((variance * (count / (count - 1))).to(running_var.scalar_type()), momentum);
    const auto kind = weight.scalar_type();
    context->save_for_backward({input, weight, mean.to(kind), (variance + epsilon).rsqrt().to(kind), count.to(kind)});
    context->saved_data["group"] = c10::IValue::make_capsule(c10::make_intrusive<GroupHolder>(group));
    return at::batch_norm(input, weight, bias, mean.to(kind), variance.to(kind), /*training=*/false, momentum, epsilon,
                          /*cudnn_enabled=*/true);
  }

  static variable_list backward(AutogradContext *context, variable_list output_gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &input = saved[0], &weight = saved[1], &mean = saved[2], &inverse_std = saved[3], &count = saved[4];
    const auto holder = context->saved_data["group"].toCapsule();
    const auto &group = static_cast<GroupHolder &>(*holder).group;
    // Computed in the kind of the weight, at least 32 bits, whatever the format of the maps.
    const at::Tensor gradient = output_gradients[0].to(weight.scalar_type());
    const at::Tensor normalized = (input.to(weight.scalar_type()) - as_map(mean)) * as_map(inverse_std);
    const at::Tensor bias_gradient = gradient.sum({0, 2, 3});
    const at::Tensor weight_gradient = (gradient * normalized).sum({0, 2, 3});
    // The sums over all ranks' values; those that are returned stay the rank's own, because the
    // gradients of all parameters are averaged later.
    const at::Tensor sums = at::stack({bias_gradient, weight_gradient});
    sum_over_ranks(*group, sums);
    const at::Tensor means = sums / count;
    const at::Tensor input_gradient =
        (gradient - as_map(means[0]) - normalized * as_map(means[1])) * as_map(weight * inverse_std);
    return {input_gradient.to(input.scalar_type()), weight_gradient, bias_gradient, {}, {}, {}, {}, {}};
  }
};

} // namespace

extern "C" {

at::Tensor *maskmaker_sync_batch_norm(const at::Tensor *input, const maskmaker_batch_norm *layer,
                                      const maskmaker_process_group *group, char **error_message) {
  return catch_into_tensor(error_message, [&] {
    return SyncBatchNorm::apply(*input, *layer->weight, *layer->bias, *layer->running_mean, *layer->running_var,
                                layer->momentum, layer->epsilon, group->group);
  });
}
}
