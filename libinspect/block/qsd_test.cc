// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/qsd.h"

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "block/nbd_for_test.h"
#include "block/qsd_location.h"
#include "block/raw.h"

namespace inspect {
namespace {

using nlohmann::json;

#define SKIP_WITHOUT_QSD()    \
    SKIP_WITHOUT("qemu-img"); \
    SKIP_WITHOUT("qemu-storage-daemon")

TEST(Qsd, ReadsAndWritesQemusFormats) {
    SKIP_WITHOUT_QSD();
    std::mt19937_64 random(21);
    for (const char* format : {"raw", "qcow2", "qcow", "qed", "vmdk", "vdi", "vhdx", "vpc", "parallels"}) {
        SCOPED_TRACE(format);
        TempDir dir;
        // A name that would be several options, or a protocol, where it is not quoted.
        const std::string path = dir.file("a,b=c:d \"e\" %.img");
        Bytes model(8 << 20);
        const Bytes some = random_bytes(random, 1'000'001);
        std::ranges::copy(some, model.begin() + 70'001);
        // qemu-img takes key=value itself: a plain name for it.
        run({"qemu-img", "create", "-q", "-f", format, dir.file("plain"), "8M"});
        std::filesystem::rename(dir.file("plain"), path);
        uint64_t size;
        {
            const auto device = open_with_qsd({.format = format, .location = path, .read_only = false});
            size = device->size();  // vpc rounds it up to a cylinder
            ASSERT_GE(size, model.size());
            model.resize(size);
            device->write(0, Bytes(size));
            device->write(70'001, some);
            device->write_zeroes(100'000, 50'000, true);
            std::fill_n(model.begin() + 100'000, 50'000, std::byte{0});
            device->flush();
        }
        const auto device = open_with_qsd({.format = format, .location = path, .read_only = true});
        EXPECT_TRUE(device->read_only());
        Bytes out(size);
        device->read(0, out);
        EXPECT_TRUE(out == model);
        dir.write("model", model);
        std::filesystem::create_symlink(path, dir.file("plain"));
        run({"qemu-img", "compare", "-U", "-f", "raw", "-F", format, dir.file("model"), dir.file("plain")});
    }
}

TEST(Qsd, LuksInQcow2) {
    SKIP_WITHOUT_QSD();
    TempDir dir;
    // qemu-img measures how fast it derives keys, which on a busy machine may fail.
    int status = -1;
    for (int attempt = 0; attempt < 10 && status != 0; ++attempt) {
        status =
            run_program(
                {"qemu-img", "create", "-q", "-f", "qcow2", "--object", "secret,id=k,data=sesame", "-o",
                 "encrypt.format=luks,encrypt.key-secret=k,encrypt.iter-time=200", dir.file("image"), "1M"},
                std::chrono::seconds(100), 1 << 20)
                .status;
    }
    if (status != 0) GTEST_SKIP() << "qemu-img cannot make a LUKS image on this machine";
    QsdImage image = {.format = "qcow2", .location = dir.file("image"), .read_only = false};
    image.keys = {{"all", "no"}, {"all", "sesame"}};
    open_with_qsd(image)->write(5000, Bytes(512, std::byte{9}));
    Bytes out(512);
    open_with_qsd(image)->read(5000, out);
    EXPECT_EQ(out, Bytes(512, std::byte{9}));
    expect_error(ErrorKind::kDenied, "is encrypted",
                 [&] { open_with_qsd({.format = "qcow2", .location = dir.file("image")}); });
    image.keys = {{"all", "wrong"}};
    expect_error(ErrorKind::kDenied, "no key that was given", [&] { open_with_qsd(image); });
}

TEST(Qsd, OpensNoOtherFilesUnlessAllowed) {
    SKIP_WITHOUT_QSD();
    TempDir dir;
    run({"qemu-img", "create", "-q", "-f", "vmdk", dir.file("base"), "2M"});
    run({"qemu-io", "-f", "vmdk", "-c", "write -P 3 0 1M", dir.file("base")});
    for (const std::string format : {"qcow2", "qed", "vmdk"}) {
        SCOPED_TRACE(format);
        const QsdImage image = {.format = format, .location = dir.file(format)};
        run({"qemu-img", "create", "-q", "-f", format, "-b", dir.file("base"), "-F", "vmdk", image.location});
        expect_error(ErrorKind::kUnsupported, "refers to the backing file", [&] { open_with_qsd(image); });
        QsdImage allowed = image;
        allowed.allow_other_files = true;
        Bytes out(4096);
        open_with_qsd(allowed)->read(0, out);
        EXPECT_EQ(out, Bytes(4096, std::byte{3}));
    }
    const QsdImage extents = {.format = "vmdk", .location = dir.file("flat.vmdk")};
    run({"qemu-img", "create", "-q", "-f", "vmdk", "-o", "subformat=monolithicFlat", extents.location, "2M"});
    expect_error(ErrorKind::kUnsupported, "refers to other files", [&] { open_with_qsd(extents); });
}

TEST(Qsd, ItsComplaintsAreOurs) {
    SKIP_WITHOUT_QSD();
    TempDir dir;
    const std::string raw = dir.sparse("raw", 1 << 20);
    expect_error(ErrorKind::kNotFound, "cannot open",
                 [&] { open_with_qsd({.format = "vmdk", .location = dir.file("no")}); });
    expect_error(ErrorKind::kUnsupported, "neither a regular",
                 [&] { open_with_qsd({.format = "vmdk", .location = dir.path()}); });
    expect_error(ErrorKind::kUsage, "no image format",
                 [&] { open_with_qsd({.format = "odd", .location = raw}); });
    // The format is what it was told: never another one that the contents look like.
    expect_error(ErrorKind::kCorrupt, "cannot open",
                 [&] { open_with_qsd({.format = "qcow2", .location = raw}); });
    run({"qemu-img", "create", "-q", "-f", "qcow2", dir.file("q"), "1G"});
    EXPECT_LT(open_with_qsd({.format = "raw", .location = dir.file("q")})->size(), uint64_t{1} << 20);
    run({"qemu-img", "create", "-q", "-f", "vmdk", dir.file("v"), "1M"});
    const QsdImage writing = {.format = "vmdk", .location = dir.file("v"), .read_only = false};
    const auto holder = open_with_qsd(writing);
    expect_error(ErrorKind::kBusy, "virtual machine", [&] { open_with_qsd(writing); });
    EXPECT_EQ(open_with_qsd({.format = "vmdk", .location = dir.file("v"), .force_share = true})->size(),
              1u << 20);
    expect_error(ErrorKind::kDenied, "only be read", [&] {
        open_with_qsd({.format = "raw", .location = "https://localhost/x", .read_only = false});
    });
}

TEST(Qsd, AMissingDaemonIsAnErrorThatNamesThePackage) {
    TempDir dir;
    const std::string raw = dir.sparse("raw", 1 << 20);
    const std::string path = std::getenv("PATH");
    ::setenv("PATH", dir.path().c_str(), 1);
    expect_error(ErrorKind::kNotFound, "qemu-system-common",
                 [&] { open_with_qsd({.format = "raw", .location = raw}); });
    ::setenv("PATH", path.c_str(), 1);
}

TEST(Qsd, LeavesNothingBehind) {
    SKIP_WITHOUT_QSD();
    TempDir dir;
    const std::string raw = dir.sparse("raw", 1 << 20);
    TempDir temporary;
    const char* before = std::getenv("TMPDIR");
    ::setenv("TMPDIR", temporary.path().c_str(), 1);
    {
        const auto device = open_with_qsd({.format = "raw", .location = raw});
        EXPECT_TRUE(std::filesystem::is_empty(temporary.path()));  // not even while it runs
    }
    EXPECT_TRUE(std::filesystem::is_empty(temporary.path()));
    before != nullptr ? ::setenv("TMPDIR", before, 1) : ::unsetenv("TMPDIR");
}

// An image over NBD in another format than raw: served by our own server.
TEST(Qsd, AFormatOverNbd) {
    SKIP_WITHOUT_QSD();
    TempDir dir;
    run({"qemu-img", "create", "-q", "-f", "vmdk", dir.file("v"), "5M"});
    RawDevice raw(open_file(dir.file("v"), O_RDONLY), true, "v");
    ServedDevice served(raw);
    EXPECT_EQ(open_with_qsd({.format = "vmdk", .location = served.uri()})->size(), 5u << 20);
}

TEST(Qsd, LocationsInQemusWords) {
    const auto is = [](const std::string& location, const std::string& expected) {
        EXPECT_EQ(qsd_location(location), json::parse(expected)) << qsd_location(location);
        EXPECT_TRUE(qsd_is_remote(location));
    };
    is("ssh://u@h:2222/p%20q",
       R"({"driver":"ssh","path":"/p q","server":{"host":"h","port":"2222"},"user":"u"})");
    is("ssh://[::1]/p", R"({"driver":"ssh","path":"/p","server":{"host":"::1","port":"22"}})");
    is("https://h/a?b=c,d", R"({"driver":"https","url":"https://h/a?b=c,d"})");
    is("iscsi://h/iqn.2001-04.com.example:s/3",
       R"({"driver":"iscsi","transport":"tcp","portal":"h:3260","target":"iqn.2001-04.com.example:s","lun":3})");
    is("nfs://h/e/x.img", R"({"driver":"nfs","path":"/e/x.img","server":{"type":"inet","host":"h"}})");
    is("nbd+unix:///e?socket=/s", R"({"driver":"nbd","export":"e","server":{"type":"unix","path":"/s"}})");
    is("nbd://h/e", R"({"driver":"nbd","export":"e","server":{"type":"inet","host":"h","port":"10809"}})");
    is(R"(rbd:p/i@s:id=u:conf=/etc/c\:d:mon_host=a\:1;b)",
       R"({"driver":"rbd","pool":"p","image":"i","snapshot":"s","user":"u","conf":"/etc/c:d",
           "server":[{"host":"a","port":"1"},{"host":"b","port":"6789"}]})");
    is("rbd:p/n/i", R"({"driver":"rbd","pool":"p","namespace":"n","image":"i"})");
    for (const char* bad :
         {"ssh://h", "ssh:///p", "ssh://h:x/p", "ssh://h/p?q=r", "iscsi://h/t", "iscsi://h/t/x", "rbd:x",
          "rbd:/i", "rbd:p/", "nfs://u@h/p", "ssh://h/%0", "nbd://h:x/"}) {
        expect_error(ErrorKind::kUsage, "not understood", [&] { qsd_location(bad); });
    }
    for (const char* unsupported :
         {"gluster://h/v/i", "json:{}", "fat:/etc", "rbd:p/i:key=x", "iscsi://u%25p@h/t/1", "nbds://h/"}) {
        expect_error(ErrorKind::kUnsupported, "", [&] { qsd_location(unsupported); });
    }
    EXPECT_FALSE(qsd_is_remote("./rbd:x"));
    EXPECT_FALSE(qsd_is_remote("/a/ssh://h/p"));
    EXPECT_FALSE(qsd_is_remote("vm:1.img"));
}

// QEMU understands our words: it fails at the connection, which nobody answers, and not at an option.
TEST(Qsd, QemuUnderstandsTheLocations) {
    SKIP_WITHOUT_QSD();
    for (const auto& [location, complaint] : std::vector<std::pair<std::string, std::string>>{
             {"ssh://u@127.0.0.1:1/x", "ailed to connect"},
             {"https://127.0.0.1:1/x", "onnect"},
             {"ftp://127.0.0.1:1/x", "onnect"},
             {"iscsi://127.0.0.1:1/iqn.2001-04.com.example:s/3", "ailed to connect"},
             {"nfs://127.0.0.1/none/x", "ailed to mount"},
             {"nbd://127.0.0.1:1/x", "ailed to connect"},
             {"rbd:p/i:id=u:conf=/nonexistent/ceph.conf", "conf"}}) {
        SCOPED_TRACE(location);
        try {
            open_with_qsd({.format = "raw", .location = location});
            ADD_FAILURE() << "nobody listens there";
        } catch (const Error& error) {
            if (error.message().find("qemu-block-extra") != std::string::npos) {
                GTEST_SKIP() << "qemu-block-extra is not installed: " << error.message();
            }
            EXPECT_NE(error.message().find(complaint), std::string::npos) << error.message();
        }
    }
}

// A web server that knows byte ranges, which Python's own doesn't.
constexpr char kWebServer[] = R"(
import http.server, re, sys
data = open(sys.argv[1], 'rb').read()
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def answer(self, body):
        wanted = re.fullmatch(r'bytes=(\d+)-(\d+)', self.headers.get('Range', ''))
        first, last = (int(wanted[1]), min(int(wanted[2]), len(data) - 1)) if wanted else (0, len(data) - 1)
        self.send_response(206 if wanted else 200)
        self.send_header('Accept-Ranges', 'bytes')
        self.send_header('Content-Length', str(last + 1 - first))
        if wanted: self.send_header('Content-Range', 'bytes %d-%d/%d' % (first, last, len(data)))
        self.end_headers()
        if body: self.wfile.write(data[first:last + 1])
    def do_GET(self): self.answer(True)
    def do_HEAD(self): self.answer(False)
    def log_message(self, *args): pass
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
)";

TEST(Qsd, ReadsOverHttp) {
    SKIP_WITHOUT_QSD();
    SKIP_WITHOUT("/usr/bin/python3");
    TempDir dir;
    run({"qemu-img", "create", "-q", "-f", "vdi", dir.file("image"), "8M"});
    run({"qemu-io", "-f", "vdi", "-c", "write -P 9 3M 2M", dir.file("image")});
    int ends[2];
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    const Fd output(ends[0]);
    Fd theirs(ends[1]);
    const Subprocess server({.arguments = {"/usr/bin/python3", "-c", kWebServer, dir.file("image")},
                             .standard_output = theirs.get()});
    theirs.reset();
    char port[16] = {};
    ASSERT_GT(::read(output.get(), port, sizeof port - 1), 0);
    const QsdImage image = {.format = "vdi",
                            .location = "http://127.0.0.1:" + std::to_string(std::atoi(port)) + "/image"};
    std::unique_ptr<NbdBridge> device;
    try {
        device = open_with_qsd(image);
    } catch (const Error& error) {
        if (error.message().find("qemu-block-extra") == std::string::npos) throw;
        GTEST_SKIP() << "qemu-block-extra is not installed";
    }
    Bytes out(2 << 20);
    device->read(3 << 20, out);
    EXPECT_TRUE(out == Bytes(2 << 20, std::byte{9}));
    device->read(0, out);
    EXPECT_TRUE(out == Bytes(2 << 20));
}

}  // namespace
}  // namespace inspect
