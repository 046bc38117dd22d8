// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/guest.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <iterator>

#include "cli/text.h"
#include "cli/values.h"

namespace inspect::cli {
namespace {

const std::chrono::steady_clock::time_point kProgramStart = std::chrono::steady_clock::now();

uint64_t elapsed_ns() {
    return static_cast<uint64_t>((std::chrono::steady_clock::now() - kProgramStart).count());
}

// What libinspect takes; said here so that it is wrong usage, not a failure half-way.
constexpr uint64_t kMinMemory = UINT64_C(64) << 20;
constexpr uint64_t kMaxMemory = UINT64_C(3) << 30;

uint64_t memory_of(const Arguments& arguments) {
    std::optional<std::string> text = arguments.value("memory");
    if (!text) return 0;
    std::optional<uint64_t> bytes = parse_size(*text, uint64_t{1} << 20);
    if (!bytes) throw UsageError("--memory '" + *text + "' is not a size");
    if (*bytes < kMinMemory || *bytes > kMaxMemory) throw UsageError("--memory is from 64 MiB to 3 GiB");
    return *bytes;
}

// --no-snapshot and --stats.
bool takes_appliance_options(const Arguments& arguments) {
    return (arguments.command().shared_options & (kDiskOptions | kNoAppliance)) == kDiskOptions;
}

// Empty when it isn't given: then the library looks at $INSP_ENGINE.
std::string engine_of(const Arguments& arguments) {
    return one_of(arguments, "engine", {"auto", "kvm", "qemu"}, "");
}

Repair repair_of(const Arguments& arguments) {
    if (!arguments.has("repair")) return Repair::kNone;
    if (arguments.has("ro")) throw UsageError("--repair changes the images: it can't be used with --ro");
    return one_of(arguments, "repair", {"leaks", "all"}, "all") == "leaks" ? Repair::kLeaks : Repair::kAll;
}

// Each line is a key. The text is overwritten, as each of the keys will be.
std::vector<EncryptionKey> read_keys_from_stdin() {
    constexpr size_t kMost = 1 << 20;
    std::string text(kMost + 1, '\0');  // at once: one that grows would leave copies behind
    struct Wipe {
        std::string& text;
        ~Wipe() { ::explicit_bzero(text.data(), text.size()); }
    } wipe{text};
    size_t size = 0;
    for (ssize_t n; (n = ::read(STDIN_FILENO, text.data() + size, text.size() - size)) != 0;) {
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) throw Error::from_errno("cannot read the keys from stdin", errno);
        size += static_cast<size_t>(n);
        if (size > kMost) throw UsageError("--keys-from-stdin: more than 1 MiB of keys");
    }
    std::vector<EncryptionKey> keys;
    for (size_t at = 0; at < size;) {
        const size_t end = std::min(text.find('\n', at), size);
        keys.push_back({"all", text.substr(at, end - at)});
        at = end + 1;
    }
    return keys;
}

}  // namespace

std::vector<EncryptionKey> keys_of(const Arguments& arguments) {
    std::vector<EncryptionKey> keys;
    for (const std::string& text : arguments.values("key"))
        as_usage([&] { std::ranges::move(EncryptionKey::parse(text), std::back_inserter(keys)); }, "--key: ");
    if (!arguments.has("keys-from-stdin")) return keys;
    static const std::vector<EncryptionKey> read = read_keys_from_stdin();  // a command may ask twice
    keys.insert(keys.end(), read.begin(), read.end());
    return keys;
}

namespace {

// `added_by`: the option whose images are wanted; `domain`: one more domain, unless it is empty.
std::vector<DiskSpec> specs_of(const Arguments& arguments, std::string_view added_by,
                               std::span<const std::string> operands, const std::string& domain = {}) {
    const bool first = added_by == "add";
    std::vector<DiskSpec> disks;
    DiskSpec next;  // what holds for the images to come
    std::optional<CacheMode> cache;
    next.allow_backing = arguments.has("allow-backing");
    next.force_share = arguments.has("force-share");
    next.password_file = arguments.value("password-file").value_or("");
    next.password_command = arguments.value("password-command").value_or("");
    next.repair = repair_of(arguments);
    next.keys = keys_of(arguments);
    const std::string uri = arguments.value("connect").value_or("");
    const char* unused = nullptr;  // an option that no image came after
    auto add = [&](const std::string& path) {
        next.path = path;
        require_valid(next);
        disks.push_back(next);
    };
    auto add_domain = [&](const std::vector<DiskSpec>& found) {
        for (DiskSpec disk : found) {
            disk.force_share = next.force_share;
            disk.repair = next.repair;
            disk.keys = next.keys;
            disk.sector_size = next.sector_size;
            disk.snapshot = next.snapshot;
            if (cache) disk.cache = *cache;
            disks.push_back(std::move(disk));
        }
        unused = nullptr;
    };
    for (const auto& [option, value] : arguments.given()) {
        const std::string_view key = option_key(*option);
        if (key == "format") {
            next.format = value.value_or("");
            unused = "--format";
        } else if (key == "blocksize") {
            if (value && *value != "512" && *value != "4096")
                throw UsageError("--blocksize is 512 or 4096, not '" + *value + "'");
            next.sector_size = value == "4096" ? 4096 : 512;
            unused = "--blocksize";
        } else if (key == "disk-snapshot") {
            next.snapshot = *value;
            unused = "--disk-snapshot";
        } else if (key == "cache") {
            cache = next.cache = parse_cache_mode(*value);
            unused = "--cache";
        } else if (key == "add" || key == kSecondGuest) {
            if (key == added_by) add(*value);
            unused = nullptr;
        } else if (key == "domain" && first) {
            add_domain(domain_disks(*value, uri));
        } else if (key == "domain-xml" && first) {
            add_domain(domain_xml_disks(*value, uri));
        }
    }
    for (const std::string& operand : operands) {
        add(operand);
        unused = nullptr;
    }
    if (!domain.empty()) {
        add_domain(domain_disks(domain, uri));
        unused = nullptr;
    }
    // In the wrong order it would be ignored, and an image's format would be guessed after all.
    if (unused != nullptr)
        throw UsageError(std::string(unused) + " acts on the images after it: write it before -a");
    return disks;
}

}  // namespace

std::vector<DiskSpec> disk_specs(const Arguments& arguments, std::span<const std::string> operands) {
    const bool takes_operand = (arguments.command().shared_options & kDiskOperand) != 0 &&
                               !arguments.has("add") && !arguments.has("domain") &&
                               !arguments.has("domain-xml");
    if (takes_operand && !arguments.operands().empty()) operands = std::span(arguments.operands()).first(1);
    return as_usage([&] { return specs_of(arguments, "add", operands); });
}

std::vector<DiskSpec> domain_disk_specs(const Arguments& arguments, const std::string& domain) {
    return as_usage([&] { return specs_of(arguments, "add", {}, domain); });
}

std::vector<DiskSpec> second_disk_specs(const Arguments& arguments) {
    return as_usage([&] { return specs_of(arguments, kSecondGuest, {}); });
}

WriteMode write_mode_of(const Arguments& arguments) {
    return one_of(arguments, "write-mode", {"atomic", "direct"}, "atomic") == "direct" ? WriteMode::kDirect
                                                                                       : WriteMode::kAtomic;
}

SessionOptions session_options(const Arguments& arguments, Access access) {
    SessionOptions options;
    options.disks = disk_specs(arguments);
    options.write_mode = write_mode_of(arguments);
    options.engine = engine_of(arguments);
    options.memory_bytes = memory_of(arguments);
    if (access == Access::kChange && arguments.has("ro"))
        throw UsageError("this command changes the guest: it can't be used with --ro");
    options.writable = access == Access::kChange;
    options.keys = keys_of(arguments);
    options.use_snapshot = !arguments.has("no-snapshot");
    options.verbose = arguments.has("verbose");
    stats_format(arguments);  // what is wrong with it isn't told only after something was done
    return options;
}

SessionOptions appliance_options(const Arguments& arguments) {
    SessionOptions options;
    options.disks.resize(1);  // as most guests have it
    options.engine = engine_of(arguments);
    options.memory_bytes = memory_of(arguments);
    options.use_snapshot = !takes_appliance_options(arguments) || !arguments.has("no-snapshot");
    options.verbose = arguments.has("verbose");
    return options;
}

StatsFormat stats_format(const Arguments& arguments) {
    if (!takes_appliance_options(arguments) || !arguments.has("stats")) return StatsFormat::kNone;
    return one_of(arguments, "stats", {"table", "json"}, "table") == "json" ? StatsFormat::kJson
                                                                            : StatsFormat::kTable;
}

Guest::Guest(Context& context, Access access) : Guest(context, access, [](SessionOptions&) {}) {}

Guest::Guest(Context& context, Access access, const std::function<void(SessionOptions&)>& adjust)
    : context_(context), stats_(stats_format(context.args)) {
    SessionOptions options = session_options(context.args, access);
    as_usage([&] { adjust(options); });
    if (context.args.command().shared_options & kMountOptions) {
        for (const std::string& text : context.args.values("mount"))
            mounts_.push_back(as_usage([&] { return MountSpec::parse(text); }));
        if (!mounts_.empty() && context.args.has("root"))
            throw UsageError("--root chooses an operating system, -m mounts without one: give one of them");
    }
    open(std::move(options));
}

Guest::Guest(Context& context, SessionOptions options)
    : context_(context), stats_(stats_format(context.args)) {
    open(std::move(options));
}

void Guest::open(SessionOptions options) {
    for (const DiskSpec& disk : options.disks) context_.trace("add", "\"" + disk.path + "\"");
    // Until now it is the command line that is wrong; later, what the guest has to say to it.
    session_ = as_usage([&] { return std::make_unique<Session>(std::move(options)); });
    signals_.attach(session_.get());
}

Guest::~Guest() {
    signals_.attach(nullptr);
    report_warnings();
    if (stats_ == StatsFormat::kNone) return;
    try {
        write_stderr(format_stats(session_->stats(), elapsed_ns(), stats_));
    } catch (const std::exception& error) {
        context_.error(error.what());
    }
}

Session& Guest::call(const char* function, std::initializer_list<std::string_view> arguments) {
    if (context_.args.has("x")) {
        std::string text;
        for (std::string_view argument : arguments) {
            if (!text.empty()) text += ", ";
            text += '"';
            text += argument;
            text += '"';
        }
        context_.trace(function, text);
    }
    return *session_;
}

void Guest::mount() {
    for (const MountSpec& spec : mounts_)
        call("mount", {spec.device, spec.mountpoint, spec.options, spec.fstype}).mount(spec);
    if (mounts_.empty()) {
        std::string root = context_.args.value("root").value_or("");
        call("mount_os", {root}).mount_os(root);
    }
}

std::optional<FileStat> Guest::find(const std::string& path, bool follow_symlink) {
    // A mount that failed may show only now, and must not pass for a path that isn't there.
    if (!found_root_) call("stat", {"/"}).stat("/");
    found_root_ = true;
    try {
        return call("stat", {path}).stat(path, follow_symlink);
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::kNotFound) throw;
        return std::nullopt;
    }
}

bool Guest::is_directory(const std::string& path) {
    std::optional<FileStat> stat = find(path, true);
    return stat && S_ISDIR(stat->mode);
}

void Guest::make_room_for_name(const std::string& path, bool replace) {
    std::optional<FileStat> stat = find(path, false);
    if (!stat) return;
    if (!replace) throw Error(ErrorKind::kDenied, "'" + path + "' exists already");
    if (S_ISDIR(stat->mode))
        throw Error(ErrorKind::kDenied, "'" + path + "' is a directory: it is not replaced");
    if (S_ISLNK(stat->mode) && is_directory(path)) call("remove", {path}).remove(path);
}

bool Guest::commit() {
    report_warnings();
    bool changed = call("commit").commit();
    context_.note(changed ? "the changes are in the images" : "nothing changed in the images");
    return changed;
}

void Guest::report_warnings() noexcept {
    try {
        for (const std::string& warning : session_->take_warnings()) context_.warning(warning);
    } catch (const std::exception& error) {
        context_.error(error.what());
    }
}

}  // namespace inspect::cli
