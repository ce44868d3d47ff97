// Gradient checkpointing: a piece of a network whose inner values are not kept for the backward pass but computed once more
// there (Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016; torch.utils.checkpoint, reentrant).

#include "shim.h"

#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <ATen/autocast_mode.h>

namespace {
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Calls the piece: fills `outputs` (room for `capacity`) with tensors that the caller owns, and says how many there are.
typedef char* (*Call)(void* piece, at::Tensor* const* inputs, size_t n, at::Tensor** outputs, size_t capacity, size_t* count);
typedef void (*Release)(void* piece);

constexpr size_t MOST_OUTPUTS = 8;

// A piece with what it draws from and computes in: dropout and precision must be the same the second time.
struct Piece : torch::CustomClassHolder {
  Call call;
  Release release;
  void* piece;
  std::vector<std::pair<at::Generator, at::Tensor>> drawn;
  bool autocast[2];
  at::ScalarType dtype[2];

  ~Piece() override { release(piece); }

  variable_list run(const variable_list& inputs) const {
    std::vector<at::Tensor> in = inputs;
    std::vector<at::Tensor*> pointers;
    for (auto& tensor : in) pointers.push_back(&tensor);
    at::Tensor* out[MOST_OUTPUTS];
    size_t count = 0;
    if (char* message = call(piece, pointers.data(), pointers.size(), out, MOST_OUTPUTS, &count)) {
      std::string text(message);
      free(message);
      throw std::runtime_error(text);
    }
    variable_list outputs;
    for (size_t i = 0; i < count; ++i) {
      outputs.push_back(*out[i]);
      delete out[i];
    }
    return outputs;
  }
};

constexpr at::DeviceType DEVICES[2] = {at::kCPU, at::kCUDA};

at::Tensor state_of(at::Generator& generator) {
  std::lock_guard<std::mutex> lock(generator.mutex());
  return generator.get_state();
}

void set_state(at::Generator& generator, const at::Tensor& state) {
  std::lock_guard<std::mutex> lock(generator.mutex());
  generator.set_state(state);
}

// Notes the generators and the autocast of this thread.
void note(Piece& piece, const variable_list& inputs) {
  std::vector<at::Generator> generators{at::globalContext().defaultGenerator(at::Device(at::kCPU))};
  for (const auto& input : inputs)
    if (input.is_cuda()) {
      generators.push_back(at::globalContext().defaultGenerator(input.device()));
      break;
    }
  for (auto& generator : generators) piece.drawn.emplace_back(generator, state_of(generator));
  for (int i = 0; i < 2; ++i) {
    piece.autocast[i] = at::autocast::is_autocast_enabled(DEVICES[i]);
    piece.dtype[i] = at::autocast::get_autocast_dtype(DEVICES[i]);
  }
}

// Puts generators and autocast back as they were noted, for as long as it lives.
struct AsBefore {
  std::vector<std::pair<at::Generator, at::Tensor>> later;
  bool autocast[2];
  at::ScalarType dtype[2];

  explicit AsBefore(const Piece& piece) {
    for (auto [generator, state] : piece.drawn) {
      later.emplace_back(generator, state_of(generator));
      set_state(generator, state);
    }
    for (int i = 0; i < 2; ++i) {
      autocast[i] = at::autocast::is_autocast_enabled(DEVICES[i]);
      dtype[i] = at::autocast::get_autocast_dtype(DEVICES[i]);
      at::autocast::set_autocast_dtype(DEVICES[i], piece.dtype[i]);
      at::autocast::set_autocast_enabled(DEVICES[i], piece.autocast[i]);
    }
  }

  ~AsBefore() {
    for (auto& [generator, state] : later) set_state(generator, state);
    for (int i = 0; i < 2; ++i) {
      at::autocast::set_autocast_dtype(DEVICES[i], dtype[i]);
      at::autocast::set_autocast_enabled(DEVICES[i], autocast[i]);
    }
  }
};

struct Recompute : torch::autograd::Function<Recompute> {
  static variable_list forward(AutogradContext* context, c10::intrusive_ptr<Piece> piece, at::TensorList list) {
    variable_list inputs = list.vec();
    note(*piece, inputs);
    context->save_for_backward(inputs);
    context->saved_data["piece"] = c10::IValue::make_capsule(piece);
    return piece->run(inputs);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    auto piece = c10::static_intrusive_pointer_cast<Piece>(context->saved_data["piece"].toCapsule());
    variable_list inputs;
    for (const auto& saved : context->get_saved_variables())
      inputs.push_back(saved.detach().set_requires_grad(saved.requires_grad()));
    variable_list outputs;
    {
      at::AutoGradMode with_gradient(true);
      AsBefore as_before(*piece);
      outputs = piece->run(inputs);
    }
    variable_list wanted, given;
    for (size_t i = 0; i < outputs.size(); ++i)
      if (outputs[i].requires_grad() && gradients[i].defined()) {
        wanted.push_back(outputs[i]);
        given.push_back(gradients[i]);
      }
    if (!wanted.empty()) torch::autograd::backward(wanted, given);
    // The piece itself has no gradient.
    variable_list result{at::Tensor()};
    for (const auto& input : inputs) result.push_back(input.grad());
    return result;
  }
};
}  // namespace

extern "C" {

// Runs a piece whose inner values are computed again in the backward pass. `outputs` are the caller's.
char* egofx_recompute(Call call, Release release, void* piece, at::Tensor* const* inputs, size_t n, at::Tensor** outputs,
                      size_t capacity, size_t* count) {
  auto held = c10::make_intrusive<Piece>();
  held->call = call;
  held->release = release;
  held->piece = piece;
  return egofx::guarded([&] {
    auto list = egofx::list(inputs, n);
    // Only as a TensorList are they looked at for gradients.
    auto made = Recompute::apply(held, at::TensorList(list));
    if (made.size() > capacity) throw std::runtime_error("a piece of a network has too many outputs");
    for (size_t i = 0; i < made.size(); ++i) outputs[i] = new at::Tensor(made[i]);
    *count = made.size();
  });
}
}
