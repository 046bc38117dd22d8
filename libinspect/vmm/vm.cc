// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vmm/vm.h"

#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/checked.h"
#include "vmm/boot.h"
#include "vmm/cpuid.h"
#include "vmm/elf_loader.h"
#include "vmm/kvm_call.h"
#include "vmm/kvm_state.h"
#include "vmm/layout.h"
#include "vmm/software_kvm.h"
#include "vmm/virtio_pmem.h"

namespace inspect {

namespace {

using Clock = std::chrono::steady_clock;

// Where Intel CPUs without "unrestricted guest" want three pages and one of their own.
constexpr uint64_t kTssAddress = 0xfffbd000;
constexpr uint64_t kIdentityMapAddress = 0xfffbc000;

constexpr auto kSnapshotPatience = std::chrono::seconds(10);  // for the guest to become idle

Fd make_event() {
    Fd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!event) throw Error::from_errno(ErrorKind::kEngine, "cannot make an event descriptor", errno);
    return event;
}

uint64_t nanoseconds(Clock::duration duration) {
    return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(duration).count());
}

uint64_t page_faults() {
    rusage usage = {};
    ::getrusage(RUSAGE_THREAD, &usage);
    return static_cast<uint64_t>(usage.ru_minflt) + static_cast<uint64_t>(usage.ru_majflt);
}

void add(std::atomic<uint64_t>& counter, uint64_t amount) {
    counter.store(counter.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
}

}  // namespace

Vm::Vm(Options options, VmmStatus& status)
    : options_(std::move(options)),
      status_(status),
      stop_event_(make_event()),
      wake_event_(make_event()),
      ports_(status) {
    if (options_.memory_bytes < kMinMemoryBytes || options_.memory_bytes > kMaxMemoryBytes ||
        options_.memory_bytes % kPageSize != 0)
        throw Error(ErrorKind::kUsage, "the guest cannot have that much or that little memory");
    if (options_.slots < 1 || options_.slots > kMaxDiskSlots || options_.disks.size() > options_.slots)
        throw Error(ErrorKind::kUsage, "the guest cannot have that many disks");
    const bool restoring = options_.restore_state >= 0;
    make_memory();
    make_kvm_vm();
    make_devices();
    if (restoring) {
        restore();
    } else {
        boot();
    }
}

void Vm::make_memory() {
    if (options_.root >= 0) {
        struct stat st;
        if (::fstat(options_.root, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size == 0)
            throw Error(ErrorKind::kEngine, "the appliance's root image is not a regular file");
        root_bytes_ = align_up(static_cast<uint64_t>(st.st_size), kPmemAlignment);
    }
    if (options_.restore_state >= 0) {
        try {
            state_file_ = read_state_file(options_.restore_state);
            restored_ = decode_state_file(state_file_, shape());
            memory_ =
                GuestMemory(map_memory_file(options_.restore_memory, options_.memory_bytes, restored_.id));
        } catch (const Error& error) {
            throw BadSnapshot(error.message());
        }
    } else {
        memory_ = GuestMemory(Mapping::anonymous(options_.memory_bytes, "the guest's memory"));
    }
    if (root_bytes_ > 0) {
        constexpr const char* kWhat = "the appliance's root image";
        Mapping root = Mapping::anonymous(root_bytes_, kWhat);
        struct stat st;
        if (::fstat(options_.root, &st) != 0) throw Error::from_errno(kWhat, errno);
        root.overlay_file(options_.root, static_cast<uint64_t>(st.st_size), kWhat);
        memory_.add(pmem_address(options_.memory_bytes), std::move(root));
    }
}

// Memory first: once the VM has interrupt controllers, each new memory slot waits for readers of the list of
// its devices, for milliseconds at times.
void Vm::make_kvm_vm() {
    vm_.reset(INSP_KVM(options_.kvm, KVM_CREATE_VM, 0));
    uint32_t slot = 0;
    for (const GuestMemory::Region& region : memory_.regions()) {
        kvm_userspace_memory_region description = {};
        description.slot = slot++;
        description.guest_phys_addr = region.address;
        description.memory_size = region.bytes.size();
        description.userspace_addr = reinterpret_cast<uint64_t>(region.bytes.data());
        INSP_KVM(vm_.get(), KVM_SET_USER_MEMORY_REGION, &description);
    }
    INSP_KVM(vm_.get(), KVM_SET_TSS_ADDR, kTssAddress);
    uint64_t identity_map = kIdentityMapAddress;
    INSP_KVM(vm_.get(), KVM_SET_IDENTITY_MAP_ADDR, &identity_map);
    INSP_KVM(vm_.get(), KVM_CREATE_IRQCHIP, 0);
    vcpu_.emplace(options_.kvm, vm_.get());
    vcpu_->bind_to_this_thread();
    if (options_.software_kvm) emulated_ = KvmCounter::find(vcpu_->fd(), "insn_emulation");
    lines_.emplace(kvm_interrupt_setter(vm_.get()));
}

void Vm::make_devices() {
    const unsigned devices = kFirstDiskIndex + options_.slots;
    for (unsigned i = 0; i < devices; ++i)
        transports_.push_back(std::make_unique<MmioTransport>(*lines_, interrupt_line(i)));
    auto console = std::make_unique<VirtioConsole>(
        memory_, VirtioConsole::Outside{options_.channel, stop_event_.get(), wake_event_.get()});
    console_ = console.get();
    transports_[kConsoleIndex]->attach(std::move(console));
    if (root_bytes_ > 0) {
        transports_[kPmemIndex]->attach(
            std::make_unique<VirtioPmem>(memory_, pmem_address(options_.memory_bytes), root_bytes_));
    }
}

void Vm::attach_disks() {
    if (std::exchange(disks_attached_, true)) return;
    for (size_t i = 0; i < options_.disks.size(); ++i) {
        Disk& disk = options_.disks[i];
        transports_[kFirstDiskIndex + i]->attach(
            std::make_unique<VirtioBlk>(memory_, std::move(disk.device), disk.options, status_, stopping_));
    }
    options_.disks.clear();
}

SnapshotShape Vm::shape() const { return {options_.memory_bytes, root_bytes_, options_.slots}; }

void Vm::boot() {
    const LoadedKernel kernel = load_elf(file_source(options_.kernel, "the appliance's kernel"), memory_);
    const ByteSource initrd =
        options_.initrd >= 0 ? file_source(options_.initrd, "the appliance's initramfs") : ByteSource{0, {}};
    prepare_boot(memory_, kernel, initrd,
                 options_.command_line + mmio_announcement(static_cast<unsigned>(transports_.size())));
    set_level_triggered(vm_.get());
    set_cpuid(vcpu_->fd(), guest_cpuid(options_.kvm));
    kvm_regs regs;
    kvm_sregs sregs;
    INSP_KVM(vcpu_->fd(), KVM_GET_SREGS, &sregs);
    set_boot_registers(kernel, regs, sregs);
    INSP_KVM(vcpu_->fd(), KVM_SET_SREGS, &sregs);
    vcpu_->set_regs(regs);
}

void Vm::restore() {
    attach_disks();
    try {
        StateReader in(restored_.state);
        KvmState::load(in).restore(vm_.get(), vcpu_->fd());
        for (auto& transport : transports_) transport->load(in);
        StateReader::require(in.at_end());
    } catch (const Error& error) {
        throw BadSnapshot(error.message());
    }
    restored_ = {};
    state_file_ = {};
    // The guest was not running meanwhile: its watchdogs should know. It may not have a clock to be told by.
    ::ioctl(vcpu_->fd(), KVM_KVMCLOCK_CTRL, 0);
}

void Vm::run(Clock::time_point process_start) {
    const uint64_t faults_before = page_faults();
    auto left = Clock::now();
    status_.setup_ns.store(nanoseconds(left - process_start), std::memory_order_relaxed);
    try {
        while (!stopping_.load(std::memory_order_acquire)) {
            const auto entered = Clock::now();
            add(status_.exit_ns, nanoseconds(entered - left));
            const bool has_exit = vcpu_->run();
            left = Clock::now();
            add(status_.run_ns, nanoseconds(left - entered));
            status_.pages_touched.store(page_faults() - faults_before, std::memory_order_relaxed);
            status_.emulated_instructions.store(emulated_.read(), std::memory_order_relaxed);
            if (!has_exit) {
                count(VmmExit::kIntr);
                serve_request();
            } else if (!handle_exit()) {
                break;
            }
        }
        if (stopping_.load(std::memory_order_acquire)) end(VmmEnd::kStopped, "");
    } catch (const std::exception& error) {
        end(VmmEnd::kHostError, error.what());
    }
}

void Vm::close_disks() {
    std::exception_ptr first;  // one that fails must not keep the others from being flushed
    for (size_t i = kFirstDiskIndex; i < transports_.size(); ++i) {
        try {
            if (auto* disk = static_cast<VirtioBlk*>(transports_[i]->device())) disk->close();
        } catch (const std::exception&) {
            if (!first) first = std::current_exception();
        }
    }
    if (first) std::rethrow_exception(first);
}

void Vm::stop() noexcept {
    stopping_.store(true, std::memory_order_release);
    const uint64_t one = 1;
    [[maybe_unused]] ssize_t n = ::write(stop_event_.get(), &one, sizeof one);
    vcpu_->kick();
}

// ---- requests ----

bool Vm::request_attach(Done done) { return post({Request::kAttach, {}, {}, std::move(done), {}}); }

bool Vm::request_snapshot(Fd state, Fd memory, Done done) {
    return post({Request::kSnapshot, std::move(state), std::move(memory), std::move(done),
                 Clock::now() + kSnapshotPatience});
}

bool Vm::post(Request request) {
    {
        std::lock_guard lock(request_mutex_);
        if (request_) return false;
        request_ = std::move(request);
        request_pending_.store(true, std::memory_order_release);
    }
    vcpu_->kick();
    return true;
}

void Vm::serve_request() {
    if (!request_pending() || stopping_.load(std::memory_order_acquire)) return;
    std::lock_guard lock(request_mutex_);
    Request& request = *request_;
    std::string error;
    try {
        switch (request.kind) {
            case Request::kAttach:
                attach_disks();
                break;
            case Request::kSnapshot:
                if (!vcpu_->halted()) {
                    if (Clock::now() < request.deadline) return;  // the I/O thread kicks again
                    throw Error(ErrorKind::kEngine, "the guest does not become idle");
                }
                take_snapshot(request);
                break;
        }
    } catch (const std::exception& failure) {
        error = failure.what();
        if (error.empty()) error = "unknown";
    }
    Done done = std::move(request.done);
    request_.reset();
    request_pending_.store(false, std::memory_order_release);
    done(error);
}

// The vCPU was interrupted, so KVM has completed its last exit; it is halted, so no device is in the middle
// of anything but the console, which the I/O thread must leave alone until the memory is written, too.
void Vm::take_snapshot(const Request& request) {
    if (disks_attached_) throw Error(ErrorKind::kUsage, "a snapshot is taken before the disks are attached");
    std::lock_guard lock(console_mutex());
    StateWriter out;
    KvmState::capture(options_.kvm, vm_.get(), vcpu_->fd()).save(out);
    for (const auto& transport : transports_) transport->save(out);
    const SnapshotId id = make_snapshot_id();
    write_memory_file(request.memory.get(), memory_.ram(), id);
    const auto file = encode_state_file(shape(), id, out.bytes());
    write_full(request.state.get(), file, "cannot store the snapshot's state");
    if (::fdatasync(request.state.get()) != 0)
        throw Error::from_errno("cannot store the snapshot's state", errno);
}

// ---- exits ----

void Vm::count(VmmExit cause) noexcept { add(status_.exits[static_cast<unsigned>(cause)], 1); }

void Vm::end(VmmEnd how, const std::string& message) {
    std::strncpy(status_.message, message.c_str(), sizeof status_.message - 1);
    status_.end.store(how, std::memory_order_release);
}

bool Vm::handle_exit() {
    kvm_run& page = vcpu_->run_page();
    switch (page.exit_reason) {
        case KVM_EXIT_IO:
            count(VmmExit::kIo);
            return handle_io();
        case KVM_EXIT_MMIO:
            count(VmmExit::kMmio);
            handle_mmio();
            return true;
        case KVM_EXIT_HLT:
            count(VmmExit::kHlt);
            return true;
        case KVM_EXIT_INTR:
            count(VmmExit::kIntr);
            return true;
        case KVM_EXIT_INTERNAL_ERROR:
            count(VmmExit::kEmulation);
            return handle_internal_error();
        case KVM_EXIT_SHUTDOWN:
        case KVM_EXIT_SYSTEM_EVENT:
            count(VmmExit::kShutdown);
            end(VmmEnd::kGuestShutdown, "triple fault, " + describe_instruction(*vcpu_, memory_));
            return false;
        case KVM_EXIT_FAIL_ENTRY:
            count(VmmExit::kOther);
            end(VmmEnd::kGuestError, "the CPU refused to run the guest, reason " +
                                         std::to_string(page.fail_entry.hardware_entry_failure_reason));
            return false;
        default:
            count(VmmExit::kOther);
            end(VmmEnd::kGuestError, "KVM exit " + std::to_string(page.exit_reason) + ", " +
                                         describe_instruction(*vcpu_, memory_));
            return false;
    }
}

bool Vm::handle_io() {
    const kvm_run& page = vcpu_->run_page();
    const auto data = vcpu_->io_data();
    if (page.io.direction == KVM_EXIT_IO_IN) {
        ports_.in(page.io.port, data);
        return true;
    }
    const auto event = ports_.out(page.io.port, data);
    return !event || handle_event(*event);
}

bool Vm::handle_event(GuestEvent event) {
    switch (event) {
        case GuestEvent::kPanic:
            end(VmmEnd::kGuestPanic, "");
            break;
        case GuestEvent::kRestart:
            end(VmmEnd::kGuestShutdown, "the guest restarted");
            break;
        case GuestEvent::kHalt:
            end(VmmEnd::kGuestShutdown, "the guest halted");
            break;
    }
    return false;
}

void Vm::handle_mmio() {
    kvm_run& page = vcpu_->run_page();
    const uint64_t address = page.mmio.phys_addr;
    const auto bytes = std::as_writable_bytes(std::span(page.mmio.data))
                           .first(std::min<size_t>(page.mmio.len, sizeof page.mmio.data));
    if (address < kMmioBase || (address - kMmioBase) / kMmioStride >= transports_.size()) {
        if (!page.mmio.is_write) std::ranges::fill(bytes, std::byte{0xff});
        return;
    }
    MmioTransport& transport = *transports_[(address - kMmioBase) / kMmioStride];
    const uint64_t offset = (address - kMmioBase) % kMmioStride;
    if (page.mmio.is_write) {
        transport.write(offset, bytes);
    } else {
        transport.read(offset, bytes);
    }
}

bool Vm::handle_internal_error() {
    const kvm_run& page = vcpu_->run_page();
    std::string report;
    if (options_.software_kvm && page.internal.suberror == KVM_INTERNAL_ERROR_EMULATION) {
        report = complete_instruction(*vcpu_, memory_);
    } else {
        report = "KVM internal error " + std::to_string(page.internal.suberror) + ", " +
                 describe_instruction(*vcpu_, memory_);
    }
    if (report.empty()) return true;
    end(VmmEnd::kGuestError, report);
    return false;
}

}  // namespace inspect
