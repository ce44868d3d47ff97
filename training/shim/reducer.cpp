// Gradients that travel while the backward pass computes others: in buckets, in the order in which they come (Li et al.,
// "PyTorch Distributed: Experiences on Accelerating Data Parallel Training", VLDB 2020).
//
// torch's own Reducer wants a c10d::ProcessGroup for its NCCL, whose headers need CUDA's; and it refuses weights whose gradient
// is added to several times, as under reentrant checkpointing. Here it is counted how often each is added to. Invariants: all
// ranks sum the same buckets in the same order; a gradient that changes behind its bucket's back is summed once more. Buckets
// are those of a process's first pass: a run that is resumed sums in the same order as long as that pass has the same graph.

#include "process_group.h"

#include <mutex>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/utils/lambda_post_hook.h>
#include <torch/csrc/autograd/variable.h>

using egofx::Group;
using egofx::Travelling;
using egofx::without_gradient;
using torch::autograd::Node;
using torch::autograd::variable_list;

namespace {
// The first is small, so that something travels soon; torch's sizes.
constexpr int64_t FIRST_BUCKET_BYTES = 1 << 20;

struct Bucket {
  std::vector<size_t> members;
  // Members whose gradients have still to come.
  size_t missing = 0;
  bool started = false;
  bool stale = false;
  Travelling travelling;
};

struct Weight {
  at::Tensor tensor;
  std::shared_ptr<Node> accumulator;
  uintptr_t hook = 0;
  size_t bucket = 0;
  // How often its gradient was added to in this pass, and how often it is at most.
  int64_t added = 0;
  int64_t expected = 0;
};

struct Reducer {
  const Group& group;
  int64_t bucket_bytes;
  std::vector<Weight> weights;
  std::vector<Bucket> buckets;
  // Weights in the order in which their gradients were complete; noted until there are buckets.
  std::vector<size_t> order;
  size_t next = 0;
  bool armed = false;
  std::mutex mutex;

  Reducer(const Group& group, std::vector<at::Tensor> tensors, int64_t bucket_bytes)
      : group(group), bucket_bytes(bucket_bytes), weights(tensors.size()) {
    for (const auto& tensor : tensors) TORCH_CHECK(tensor.requires_grad() && tensor.is_leaf(), "not a leaf with a gradient");
    for (size_t number = 0; number < tensors.size(); ++number) {
      auto& weight = weights[number];
      weight.tensor = tensors[number];
      weight.accumulator = torch::autograd::impl::grad_accumulator(weight.tensor);
      auto added = [this, number](const variable_list& outputs, const variable_list&) {
        c10::NoGradGuard no_grad;
        note(number);
        return outputs;
      };
      weight.hook = weight.accumulator->add_post_hook(
          std::make_unique<torch::autograd::utils::LambdaPostHook>(std::move(added)));
    }
  }

  ~Reducer() {
    for (auto& weight : weights) weight.accumulator->del_post_hook(weight.hook);
  }

  // From now on gradients are final for their pass.
  void begin() {
    std::lock_guard<std::mutex> lock(mutex);
    armed = true;
  }

  // The gradient of a weight was added to.
  void note(size_t number) {
    std::lock_guard<std::mutex> lock(mutex);
    if (!armed) return;
    auto& weight = weights[number];
    weight.added += 1;
    if (buckets.empty()) {
      order.push_back(number);
      return;
    }
    auto& bucket = buckets[weight.bucket];
    if (bucket.started) bucket.stale = true;
    if (weight.added == weight.expected) bucket.missing -= 1;
    while (next < buckets.size() && buckets[next].missing == 0) start(buckets[next++]);
  }

  void start(Bucket& bucket) {
    std::vector<at::Tensor> rows;
    for (size_t number : bucket.members) {
      const auto& tensor = weights[number].tensor;
      const auto& gradient = tensor.grad();
      rows.push_back(gradient.defined() ? gradient.reshape({-1}) : at::zeros({tensor.numel()}, tensor.options()));
    }
    bucket.started = true;
    bucket.travelling = group.start_sum(at::cat(rows));
  }

  // Waits for all sums and puts them, multiplied with `factor`, into the gradients.
  void finish(double factor) {
    std::lock_guard<std::mutex> lock(mutex);
    if (buckets.empty()) fill_buckets();
    while (next < buckets.size()) start(buckets[next++]);
    auto counts = at::zeros({static_cast<int64_t>(buckets.size() + weights.size())}, at::kInt);
    auto* count = counts.data_ptr<int>();
    for (auto& bucket : buckets) *count++ = bucket.stale;
    for (auto& weight : weights) *count++ = weight.tensor.grad().defined();
    group.sum(counts);
    const auto* stale = counts.data_ptr<int>();
    const auto* has_gradient = stale + buckets.size();
    for (size_t i = 0; i < buckets.size(); ++i) {
      auto sum = Group::awaited(buckets[i].travelling);
      if (stale[i]) {
        start(buckets[i]);
        sum = Group::awaited(buckets[i].travelling);
      }
      if (factor != 1.0) sum.mul_(factor);
      give(buckets[i], sum, has_gradient);
    }
    reset();
  }

  // The gradients of a bucket; a weight that has one on no rank has none afterwards.
  void give(const Bucket& bucket, const at::Tensor& sum, const int* has_gradient) {
    int64_t offset = 0;
    for (size_t number : bucket.members) {
      auto& tensor = weights[number].tensor;
      auto part = sum.narrow(0, offset, tensor.numel()).view(tensor.sizes());
      offset += tensor.numel();
      if (!has_gradient[number]) continue;
      auto& gradient = tensor.mutable_grad();
      if (gradient.defined()) {
        gradient.copy_(part);
      } else {
        gradient = part.clone();
      }
    }
  }

  void reset() {
    armed = false;
    next = 0;
    for (auto& weight : weights) {
      weight.expected = std::max(weight.expected, weight.added);
      weight.added = 0;
    }
    for (auto& bucket : buckets) {
      bucket.started = bucket.stale = false;
      bucket.travelling = {};
      bucket.missing = 0;
      for (size_t number : bucket.members) bucket.missing += weights[number].expected > 0;
    }
  }

  // In the order of the last time that each gradient was added to on rank 0; those without one come last.
  void fill_buckets() {
    std::vector<int64_t> last(weights.size());
    for (size_t i = 0; i < weights.size(); ++i) last[i] = order.size() + i;
    for (size_t i = 0; i < order.size(); ++i) last[order[i]] = i;
    auto places = at::tensor(last, at::kLong);
    group.send_from(0, places);
    const auto* place = places.data_ptr<int64_t>();
    std::vector<size_t> sorted(weights.size());
    for (size_t i = 0; i < sorted.size(); ++i) sorted[i] = i;
    std::sort(sorted.begin(), sorted.end(), [place](size_t a, size_t b) { return place[a] < place[b]; });
    int64_t bytes = 0;
    for (size_t number : sorted) {
      const auto& tensor = weights[number].tensor;
      const auto size = static_cast<int64_t>(tensor.nbytes());
      const auto room = buckets.size() == 1 ? std::min(FIRST_BUCKET_BYTES, bucket_bytes) : bucket_bytes;
      if (buckets.empty() || bytes + size > room || !is_alike(buckets.back(), tensor)) {
        buckets.emplace_back();
        bytes = 0;
      }
      bytes += size;
      weights[number].bucket = buckets.size() - 1;
      buckets.back().members.push_back(number);
    }
    order = {};
  }

  bool is_alike(const Bucket& bucket, const at::Tensor& tensor) const {
    const auto& other = weights[bucket.members[0]].tensor;
    return other.scalar_type() == tensor.scalar_type() && other.device() == tensor.device();
  }
};
}  // namespace

extern "C" {

// A reducer of the gradients of these weights, which lives no longer than the group.
char* egofx_reducer_new(Group* group, at::Tensor* const* weights, size_t n, int64_t bucket_bytes, Reducer** out) {
  return egofx::guarded([&] { *out = new Reducer(*group, egofx::list(weights, n), bucket_bytes); });
}

void egofx_reducer_free(Reducer* reducer) {
  try {
    delete reducer;
  } catch (...) {
  }
}

// Gradients of the backward pass that comes travel as soon as they are there.
char* egofx_reducer_begin(Reducer* reducer) {
  return egofx::guarded([&] { reducer->begin(); });
}

// Sums what has not travelled yet, waits for all, and multiplies with `factor`.
char* egofx_reducer_finish(Reducer* reducer, double factor) {
  return without_gradient([&] { reducer->finish(factor); });
}
}
