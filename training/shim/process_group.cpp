// Processes that train together: torch's own c10d with gloo on the CPU, and NCCL by its C interface on GPUs.
//
// Tensors on a GPU travel by NCCL where the group has it, else by way of the CPU. Every rank must make the same calls in the
// same order.

#include "shim.h"

#include <dlfcn.h>
#include <map>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

using egofx::list;
using egofx::without_gradient;

namespace {
// NCCL, which is in the process once libtorch's CUDA half is: no CUDA headers, nothing to link.
struct NcclId {
  char bytes[128];
};

struct Nccl {
  int (*get_id)(NcclId*);
  int (*init)(void**, int, NcclId, int);
  int (*all_reduce)(const void*, void*, size_t, int, int, void*, void*);
  int (*broadcast)(const void*, void*, size_t, int, int, void*, void*);
  int (*all_gather)(const void*, void*, size_t, int, void*, void*);
  int (*destroy)(void*);
  const char* (*error)(int);

  static const Nccl& get() {
    static Nccl nccl = [] {
      void* library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_GLOBAL);
      if (!library) throw std::runtime_error(dlerror());
      auto symbol = [&](const char* name) {
        void* found = dlsym(library, name);
        if (!found) throw std::runtime_error(std::string("libnccl.so.2 has no ") + name);
        return found;
      };
      Nccl n;
      n.get_id = reinterpret_cast<decltype(n.get_id)>(symbol("ncclGetUniqueId"));
      n.init = reinterpret_cast<decltype(n.init)>(symbol("ncclCommInitRank"));
      n.all_reduce = reinterpret_cast<decltype(n.all_reduce)>(symbol("ncclAllReduce"));
      n.broadcast = reinterpret_cast<decltype(n.broadcast)>(symbol("ncclBroadcast"));
      n.all_gather = reinterpret_cast<decltype(n.all_gather)>(symbol("ncclAllGather"));
      n.destroy = reinterpret_cast<decltype(n.destroy)>(symbol("ncclCommDestroy"));
      n.error = reinterpret_cast<decltype(n.error)>(symbol("ncclGetErrorString"));
      return n;
    }();
    return nccl;
  }

  static void check(int status) {
    if (status != 0) throw std::runtime_error(std::string("NCCL: ") + get().error(status));
  }

  // NCCL's numbers for types (nccl.h).
  static int type(at::ScalarType type) {
    switch (type) {
      case at::kByte: return 1;
      case at::kInt: return 2;
      case at::kLong: return 4;
      case at::kHalf: return 6;
      case at::kFloat: return 7;
      case at::kDouble: return 8;
      case at::kBFloat16: return 9;
      default: throw std::runtime_error("NCCL has no type for this tensor");
    }
  }
};

constexpr int NCCL_SUM = 0;

struct Group {
  c10::intrusive_ptr<c10d::Store> store;
  c10::intrusive_ptr<c10d::Backend> gloo;
  void* nccl = nullptr;
  int rank;
  int size;

  ~Group() {
    if (nccl) Nccl::get().destroy(nccl);
  }

  bool by_nccl(const at::Tensor& tensor) const { return nccl && tensor.is_cuda(); }

  // Sums `tensor` over all ranks, in place. The default stream, on which torch works too, is NCCL's null.
  void sum(at::Tensor& tensor) const {
    if (by_nccl(tensor)) {
      Nccl::check(Nccl::get().all_reduce(tensor.data_ptr(), tensor.data_ptr(), tensor.numel(),
                                         Nccl::type(tensor.scalar_type()), NCCL_SUM, nccl, nullptr));
      return;
    }
    std::vector<at::Tensor> on_cpu{tensor.cpu()};
    gloo->allreduce(on_cpu)->wait();
    if (!on_cpu[0].is_same(tensor)) tensor.copy_(on_cpu[0]);
  }

  void send_from(int root, at::Tensor& tensor) const {
    if (by_nccl(tensor)) {
      Nccl::check(Nccl::get().broadcast(tensor.data_ptr(), tensor.data_ptr(), tensor.numel(),
                                        Nccl::type(tensor.scalar_type()), root, nccl, nullptr));
      return;
    }
    c10d::BroadcastOptions options;
    options.rootRank = root;
    std::vector<at::Tensor> on_cpu{tensor.cpu()};
    gloo->broadcast(on_cpu, options)->wait();
    if (!on_cpu[0].is_same(tensor)) tensor.copy_(on_cpu[0]);
  }

  // `tensor` of all ranks, one after the other along the first dimension.
  at::Tensor gathered(const at::Tensor& tensor) const {
    auto sizes = tensor.sizes().vec();
    sizes[0] *= size;
    if (by_nccl(tensor)) {
      auto all = at::empty(sizes, tensor.options());
      Nccl::check(Nccl::get().all_gather(tensor.data_ptr(), all.data_ptr(), tensor.numel(),
                                         Nccl::type(tensor.scalar_type()), nccl, nullptr));
      return all;
    }
    std::vector<at::Tensor> on_cpu{tensor.cpu()};
    std::vector<std::vector<at::Tensor>> parts(1);
    for (int i = 0; i < size; ++i) parts[0].push_back(at::empty_like(on_cpu[0]));
    gloo->allgather(parts, on_cpu)->wait();
    return at::cat(parts[0]).to(tensor.device());
  }
};

std::shared_ptr<::gloo::transport::Device> device_for(const std::string& host) {
  using c10d::ProcessGroupGloo;
  if (const char* interface = getenv("GLOO_SOCKET_IFNAME")) return ProcessGroupGloo::createDeviceForInterface(interface);
  if (host == "127.0.0.1" || host == "localhost") return ProcessGroupGloo::createDeviceForHostname("127.0.0.1");
  return ProcessGroupGloo::createDefaultDevice();
}
}  // namespace

extern "C" {

// Joins `size` processes at the store of `host`; `serves` on the one that keeps the store. Waits for all of them.
char* egofx_process_group_join(int rank, int size, const char* host, uint16_t port, int serves, int64_t timeout_s, const char* prefix,
                       int with_nccl, Group** out) {
  return without_gradient([&] {
    auto group = std::make_unique<Group>();
    group->rank = rank;
    group->size = size;
    c10d::TCPStoreOptions options;
    options.port = port;
    options.isServer = serves != 0;
    options.numWorkers = static_cast<size_t>(size);
    options.timeout = std::chrono::seconds(timeout_s);
    c10::intrusive_ptr<c10d::Store> tcp = c10::make_intrusive<c10d::TCPStore>(std::string(host), options);
    group->store = c10::make_intrusive<c10d::PrefixStore>(std::string(prefix), tcp);
    auto gloo = c10d::ProcessGroupGloo::Options::create(std::chrono::seconds(timeout_s));
    gloo->devices.push_back(device_for(host));
    group->gloo = c10::make_intrusive<c10d::ProcessGroupGloo>(group->store, rank, size, gloo);
    if (with_nccl) {
      NcclId id{};
      if (rank == 0) {
        Nccl::check(Nccl::get().get_id(&id));
        group->store->set("nccl_id", std::vector<uint8_t>(id.bytes, id.bytes + sizeof id.bytes));
      } else {
        auto bytes = group->store->get("nccl_id");
        std::copy(bytes.begin(), bytes.end(), id.bytes);
      }
      Nccl::check(Nccl::get().init(&group->nccl, size, id, rank));
    }
    *out = group.release();
  });
}

void egofx_process_group_leave(Group* group) {
  try {
    delete group;
  } catch (...) {
  }
}

// Sums tensors over all ranks and multiplies them with `factor`, in place: one flat buffer for each type and device.
char* egofx_process_group_all_reduce(Group* group, at::Tensor* const* tensors, size_t n, double factor) {
  return without_gradient([&] {
    std::map<std::pair<int, bool>, std::vector<at::Tensor>> alike;
    for (const auto& tensor : list(tensors, n))
      alike[{static_cast<int>(tensor.scalar_type()), tensor.is_cuda()}].push_back(tensor);
    for (auto& [kind, some] : alike) {
      std::vector<at::Tensor> rows;
      for (auto& tensor : some) rows.push_back(tensor.reshape({-1}));
      auto flat = at::cat(rows);
      group->sum(flat);
      if (factor != 1.0) flat.mul_(factor);
      int64_t offset = 0;
      for (auto& tensor : some) {
        tensor.copy_(flat.narrow(0, offset, tensor.numel()).view(tensor.sizes()));
        offset += tensor.numel();
      }
    }
  });
}

// Overwrites tensors by those of rank `root`.
char* egofx_process_group_broadcast(Group* group, at::Tensor* const* tensors, size_t n, int root) {
  return without_gradient([&] {
    for (auto& tensor : list(tensors, n)) {
      auto whole = tensor.detach().contiguous();
      group->send_from(root, whole);
      if (!whole.is_same(tensor)) tensor.detach().copy_(whole);
    }
  });
}

// The tensors of all ranks, one after the other along the first dimension. Their shapes must be equal.
char* egofx_process_group_all_gather(Group* group, at::Tensor* tensor, at::Tensor** out) {
  return without_gradient([&] { *out = new at::Tensor(group->gathered(tensor->detach().contiguous())); });
}
}
