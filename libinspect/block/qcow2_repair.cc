// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/qcow2_repair.h"

#include <sys/wait.h>

#include <nlohmann/json.hpp>

#include <inspect/error.h>

#include "base/log.h"
#include "base/subprocess.h"
#include "block/qsd_location.h"

namespace inspect {

using nlohmann::json;

namespace {

// A check reads all of an image's metadata, and must not be stopped half-way for being slow.
constexpr std::chrono::hours kTimeout{24};
constexpr size_t kMaxOutput = 16u << 20;  // a line for each cluster that is wrong, at worst

// The first line of what qemu-img complained of: the reason, without its advice.
std::string reason_in(const std::string& errors) {
    const std::string line = errors.substr(0, errors.find('\n'));
    return line.empty() ? "errors are left" : line;
}

// The image and nothing else, so that it can make qemu-img open no other file.
std::string image_argument(const std::string& path, const std::string& data_file) {
    json node = {{"driver", "qcow2"}, {"file", qsd_location(path)}, {"backing", nullptr}};
    if (!data_file.empty()) node["data-file"] = qsd_location(data_file);
    try {
        return "json:" + node.dump();
    } catch (const json::exception&) {
        throw Error(ErrorKind::kUnsupported,
                    "'" + path + "' can't be repaired: its name is no valid UTF-8, which QEMU demands");
    }
}

}  // namespace

void repair_qcow2(const std::string& path, const std::string& data_file, Repair repair) {
    const std::string what = repair == Repair::kLeaks ? "leaks" : "all";
    ProgramResult result;
    try {
        result = run_program(
            {.arguments = {"qemu-img", "check", "-r", what, "-f", "qcow2", image_argument(path, data_file)},
             .death_signal = SIGTERM,
             .inherit_environment = false},
            kTimeout, kMaxOutput);
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::kNotFound) throw;
        throw Error(ErrorKind::kNotFound,
                    "cannot repair '" + path +
                        "': that needs the program qemu-img, which is in Debian's package qemu-utils");
    }
    log(LogLevel::kVerbose, "qemu-img check -r " + what + ": " + result.output);
    if (WIFEXITED(result.status) && WEXITSTATUS(result.status) == 0) return;
    const std::string reason = reason_in(result.errors);
    const bool busy = reason.find(" lock") != std::string::npos;
    std::string hint;
    if (!busy && repair == Repair::kLeaks) hint = "; --repair=all repairs more than leaked clusters";
    throw Error(busy ? ErrorKind::kBusy : ErrorKind::kCorrupt,
                "cannot repair '" + path + "': qemu-img check -r " + what + " " +
                    Subprocess::describe(result.status) + ": " + reason + hint);
}

}  // namespace inspect
