// SPDX-License-Identifier: GPL-2.0-or-later
//
// The appliance against the library: the input is what the agent sends, whatever it is asked. Each operation
// of a Session must end, by an answer or an Error, with nothing written outside of the directory that it may
// write to.
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>

#include <inspect/session.h>

#include "guest/fake_agent_for_test.h"
#include "guest/session_impl.h"

namespace fs = std::filesystem;
using inspect::Session;

namespace {

// The sandbox of the whole run: an image, a directory that copies go to, and one that they must not reach.
struct Playground {
    Playground() {
        std::string pattern = (fs::temp_directory_path() / "insp-fuzz-XXXXXX").string();
        if (!mkdtemp(pattern.data())) std::abort();
        base = pattern;
        fs::create_directory(base / "forbidden");
        std::ofstream(base / "disk.img") << std::string(4096, '\0');
        std::ofstream(base / "upload") << "upload";
        options.disks.push_back({.path = (base / "disk.img").string(), .format = "raw"});
        options.writable = true;
    }
    ~Playground() { fs::remove_all(base); }

    void fresh_target() {
        fs::remove_all(base / "target");
        fs::create_directory(base / "target");
    }
    void require_untouched() const {
        if (!fs::is_empty(base / "forbidden")) std::abort();
        if (std::distance(fs::directory_iterator(base), {}) != 4) std::abort();
    }

    fs::path base;
    inspect::SessionOptions options;
};

void use(Session& session, uint8_t choice, const Playground& playground) {
    session.mount_os();
    auto nothing = [](auto&&...) {};
    switch (choice % 10) {
        case 0:
            session.filesystems();
            break;
        case 1:
            session.inspect();
            break;
        case 2:
            session.stat("/x");
            break;
        case 3:
            session.list_directory("/", true, true, nothing);
            break;
        case 4: {
            uint64_t room = 64 << 20;
            session.read_file("/x", [&](std::span<const std::byte> bytes) {
                if (bytes.size() > room) throw std::runtime_error("enough");
                room -= bytes.size();
            });
            break;
        }
        case 5:
            session.write_file("/x", [left = 3](std::span<std::byte> out) mutable -> size_t {
                return left-- > 0 ? out.size() : 0;
            });
            break;
        case 6:
            session.copy_out("/x", (playground.base / "target").string());
            break;
        case 7:
            session.copy_in((playground.base / "upload").string(), "/");
            break;
        case 8:
            session.run({.arguments = {"x"},
                         .input = [left = 3](std::span<std::byte> out) mutable -> std::optional<size_t> {
                             return left-- > 0 ? out.size() : 0;
                         },
                         .terminal = [] { return inspect::TerminalSize{}; }});
            break;
        default:
            session.edit_file("/x", "s/a/b/");
            session.random_bytes(8);
            session.commit();
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static Playground playground;
    if (size == 0) return 0;
    playground.fresh_target();
    // Wake and MountOs have succeeded, so that the input begins where it is interesting; the rest is as it
    // is.
    auto input = std::as_bytes(std::span(data + 1, size - 1));
    bool raw = data[0] & 0x80;
    auto agent = [&, answered = 0](inspect::FakeChannel& self,
                                   const inspect::protocol::Frame& frame) mutable {
        if (frame.type != inspect::protocol::FrameType::kRequest) return;
        if (!raw && ++answered <= 2) return self.reply(frame.stream, inspect::proto::Response());
        self.reply_raw(std::exchange(input, {}));
    };
    auto start = [&](const inspect::EngineOptions&) {
        return std::make_unique<inspect::FakeMachine>(std::make_unique<inspect::FakeChannel>(agent));
    };
    try {
        Session session(
            std::make_unique<Session::Impl>(playground.options, inspect::SessionSeams{.start = start}));
        use(session, data[0] & 0x7f, playground);
    } catch (const std::exception&) {
        // What a hostile appliance gets.
    }
    playground.require_untouched();
    return 0;
}
