// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/json_name.h"

#include "base/temp_dir_for_test.h"

namespace inspect {
namespace {

void expect_name(const std::string& text, const std::string& name, const std::string& format) {
    const JsonImageName parsed = parse_json_name("json:" + text);
    EXPECT_EQ(parsed.name, name) << text;
    EXPECT_EQ(parsed.format, format) << text;
}

TEST(JsonName, OfAFileIsAPathAndAFormat) {
    expect_name(R"({"driver":"qcow2","file":{"driver":"file","filename":"/vm/base"}})", "/vm/base", "qcow2");
    expect_name(R"({"driver":"qcow2","file.driver":"file","file.filename":"/vm/base"})", "/vm/base", "qcow2");
    expect_name(R"({"driver":"raw","file":{"driver":"host_device","filename":"/dev/vg/lv"}})", "/dev/vg/lv",
                "raw");
    expect_name(R"({"driver":"vmdk","file":{"driver":"file","filename":"base"}})", "./base", "vmdk");
    expect_name(R"({"driver":"file","filename":"nbd://x"})", "./nbd://x", "");
    expect_name(R"({"file":{"driver":"file","filename":"/a"}})", "/a", "");
    expect_name(R"({"driver":"qcow2","file":{"filename":"nbd://host/x"}})", "nbd://host/x", "qcow2");
    expect_name(R"({"driver":"qcow2","lazy-refcounts":true,"cache":{"direct":true},"read-only":"on",)"
                R"("file":{"driver":"file","filename":"/a","locking":"off","cache":{"no-flush":false}}})",
                "/a", "qcow2");
    EXPECT_TRUE(is_json_name("json:"));
    EXPECT_FALSE(is_json_name("./json:{}"));
}

TEST(JsonName, OfAServerIsAUri) {
    expect_name(R"({"driver":"raw","file":{"driver":"nbd","export":"a b",)"
                R"("server":{"type":"inet","host":"::1","port":"10809"}}})",
                "nbd://[::1]:10809/a%20b", "raw");
    expect_name(R"({"driver":"nbd","server.type":"unix","server.path":"/run/a&b"})",
                "nbd+unix:///?socket=/run/a%26b", "");
    expect_name(R"({"driver":"nbd","host":"h","export":"e"})", "nbd://h/e", "");
    expect_name(R"({"driver":"raw","file":{"driver":"https","url":"https://h/x"}})", "https://h/x", "raw");
}

TEST(JsonName, ThatMeansMoreIsRefusedWithTheReason) {
    const auto refused = [](ErrorKind kind, const std::string& why, const std::string& text) {
        expect_error(kind, why, [&] { parse_json_name("json:" + text); });
    };
    for (const char* text : {"", "{", "[]", "\"x\"", "{} x", "{\"driver\":}"})
        refused(ErrorKind::kCorrupt, "no JSON object", text);
    refused(ErrorKind::kCorrupt, "names no file", "{}");
    refused(ErrorKind::kCorrupt, "names no file", R"({"driver":"raw","file":{"driver":"file"}})");
    refused(ErrorKind::kCorrupt, "isn't named", R"({"driver":"nbd","export":"x"})");
    const auto unsupported = ErrorKind::kUnsupported;
    // What is in the image would be something else.
    refused(unsupported, "'offset'",
            R"({"driver":"raw","offset":512,"file":{"driver":"file","filename":"/a"}})");
    refused(unsupported, "'backing'",
            R"({"driver":"qcow2","backing":null,"file":{"driver":"file","filename":"/a"}})");
    refused(unsupported, "'backing.driver'",
            R"({"driver":"qcow2","backing":{"driver":"file"},"file":{"driver":"file","filename":"/a"}})");
    refused(unsupported, "'data-file.filename'",
            R"({"driver":"qcow2","data-file":{"filename":"/b"},"file":{"driver":"file","filename":"/a"}})");
    refused(unsupported, "'raw'", R"({"driver":"qcow2","file":{"driver":"raw","file":{"filename":"/a"}}})");
    refused(unsupported, "'qcow2'", R"({"driver":"qcow2","file":"node"})");
    refused(unsupported, "'vvfat'", R"({"driver":"raw","file":{"driver":"vvfat","dir":"/etc"}})");
    refused(unsupported, "'blkverify'", R"({"driver":"blkverify","file":{"driver":"file","filename":"/a"}})");
    refused(unsupported, "'file.tls-creds'",
            R"({"driver":"raw","file":{"driver":"nbd","host":"h","tls-creds":"x"}})");
    refused(unsupported, "'?[31m'", "{\"driver\":\"file\",\"filename\":\"/a\",\"\\u001b[31m\":1}");
}

}  // namespace
}  // namespace inspect
