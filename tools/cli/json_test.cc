// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "cli/captured_output.h"

namespace inspect::cli {
namespace {

TEST(Json, IsWhatWasWritten) {
    CapturedOutput captured;
    JsonWriter json(captured.out());
    json.begin_object();
    json.begin_array("entries");
    json.begin_object();
    json.text("path", "/a \"b\" \\ \n \x01\x7f");
    json.number("size", UINT64_MAX);
    json.number("negative", INT64_C(-5));
    json.boolean("yes", true);
    json.null("nothing");
    json.begin_array("list");
    json.text({}, "x");
    json.number({}, 7);
    json.end_array();
    json.end_object();
    json.end_array();
    json.begin_object("empty");
    json.end_object();
    json.optional_text("absent", "");
    json.end_object();
    EXPECT_TRUE(json.complete());
    auto parsed = nlohmann::json::parse(captured.text());
    EXPECT_EQ(parsed, nlohmann::json::parse(R"({"entries": [{"path": "/a \"b\" \\ \n \u0001\u007f",
        "size": 18446744073709551615, "negative": -5, "yes": true, "nothing": null, "list": ["x", 7]}], "empty": {}})"));
}

TEST(Json, NamesThatAreNotUtf8StayExact) {
    CapturedOutput captured;
    JsonWriter json(captured.out());
    json.begin_object();
    json.text("name", "caf\xe9");
    json.text("fine", "caf\xc3\xa9");
    json.begin_array("list");
    json.text({}, "\xff\xfe");
    json.end_array();
    json.end_object();
    auto parsed = nlohmann::json::parse(captured.text());  // throws on bytes that are not UTF-8
    EXPECT_EQ(parsed["name"], "caf\xef\xbf\xbd");
    EXPECT_EQ(parsed["name_base64"], "Y2Fm6Q==");
    EXPECT_FALSE(parsed.contains("fine_base64"));
    EXPECT_EQ(parsed["list"][0], "\xef\xbf\xbd\xef\xbf\xbd");
}

TEST(Json, EveryStringOfTwoBytesIsValid) {
    CapturedOutput captured;
    JsonWriter json(captured.out());
    json.begin_object();
    for (unsigned i = 0; i < 0x10000; i += 7) {
        const char bytes[2] = {static_cast<char>(i >> 8), static_cast<char>(i & 0xff)};
        json.text("x" + std::to_string(i), std::string_view(bytes, 2));
    }
    json.end_object();
    EXPECT_TRUE(nlohmann::json::accept(captured.text()));
}

TEST(Json, AFailureInTheMiddleEndsTheDocument) {
    CapturedOutput captured;
    JsonWriter json(captured.out());
    json.begin_object();
    json.begin_array("entries");
    json.begin_object();
    json.text("path", "/a");
    json.fail("not-found", "it is \"gone\"");
    auto parsed = nlohmann::json::parse(captured.text());
    EXPECT_EQ(parsed["entries"][0]["path"], "/a");
    EXPECT_EQ(parsed["error"]["kind"], "not-found");
    EXPECT_EQ(parsed["error"]["message"], "it is \"gone\"");
}

TEST(Json, AFailureBeforeAnythingIsADocument) {
    CapturedOutput captured;
    JsonWriter json(captured.out());
    json.fail("usage", "no");
    EXPECT_EQ(nlohmann::json::parse(captured.text())["error"]["kind"], "usage");
}

TEST(Json, AFailureAfterTheEndAddsNothing) {
    CapturedOutput captured;
    JsonWriter json(captured.out());
    json.begin_object();
    json.end_object();
    json.fail("internal", "late");
    EXPECT_EQ(captured.text(), "{}\n");
}

TEST(Json, LinesAreDocumentsOfTheirOwn) {
    CapturedOutput captured;
    JsonWriter json(captured.out());
    json.use_lines();
    for (int i = 0; i < 2; ++i) {
        json.begin_object();
        json.number("number", i);
        json.begin_array("disks");
        json.begin_object();
        json.text("path", "/a b");
        json.end_object();
        json.end_array();
        json.end_object();
    }
    json.fail("no-space", "full");
    EXPECT_EQ(captured.text(),
              "{\"number\": 0,\"disks\": [{\"path\": \"/a b\"}]}\n"
              "{\"number\": 1,\"disks\": [{\"path\": \"/a b\"}]}\n"
              "{\"error\": {\"kind\": \"no-space\",\"message\": \"full\"}}\n");
}

TEST(Base64, IsRfc4648) {
    EXPECT_EQ(base64(""), "");
    EXPECT_EQ(base64("f"), "Zg==");
    EXPECT_EQ(base64("fo"), "Zm8=");
    EXPECT_EQ(base64("foo"), "Zm9v");
    EXPECT_EQ(base64("foobar"), "Zm9vYmFy");
    EXPECT_EQ(base64("\xff\xff\xfe"), "///+");
}

}  // namespace
}  // namespace inspect::cli
