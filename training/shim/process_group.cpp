// Joining a group of processes, and what they say to each other.

#include "process_group.h"

#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

using egofx::Group;
using egofx::list;
using egofx::Nccl;
using egofx::NcclId;
using egofx::without_gradient;

namespace {
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
      c10::impl::VirtualGuardImpl cuda(at::kCUDA);
      group->travels = cuda.getStreamFromGlobalPool(cuda.getDevice());
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

// Sums a tensor over all ranks, in place.
char* egofx_process_group_all_reduce(Group* group, at::Tensor* tensor) {
  return without_gradient([&] { group->sum(*tensor); });
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
