// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp ls: virt-ls' modes, JSON, and names that are hard to print.
#include <sstream>

#include "support/insp.h"

namespace inspect::test {
namespace {

using nlohmann::json;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Ls : public KvmTest {
  protected:
    static std::vector<std::string> lines(const std::string& text) {
        std::vector<std::string> all;
        std::istringstream stream(text);
        for (std::string line; std::getline(stream, line);) all.push_back(line);
        return all;
    }
};

TEST_F(Ls, NamesInTheOrderOfTheirBytes) {
    EXPECT_EQ(insp_ok({"ls", "-a", guest("ext4"), "-m", "/dev/sda", "/"}),
              "dir\nempty\nhello.txt\nlost+found\nnumbers\n");
    EXPECT_EQ(insp_ok({"ls", "-R", "-a", guest("xfs"), "-m", "/dev/sda", "/"}),
              "dir\ndir/sub\ndir/sub/deep.txt\nempty\nhello.txt\nnumbers\n");
}

TEST_F(Ls, LongAndRecursive) {
    std::string image = guest("metadata");
    std::vector<std::string> rows =
        lines(insp_ok({"ls", "-lR", "--uids", "-a", image, "-m", "/dev/sda", "/dir"}));
    EXPECT_THAT(rows, Contains("d 0755       1024    0    0 /dir"));
    EXPECT_THAT(rows, Contains("- 0640         23 1000   50 /dir/file"));
    EXPECT_THAT(rows, Contains("- 4755          6    0    0 /dir/plain"));
    EXPECT_THAT(rows, Contains("d 1777       1024    0    0 /dir/locked"));
    EXPECT_THAT(rows, Contains(HasSubstr("/dir/dangling -> nowhere")));
    EXPECT_EQ(rows.size(), 15U);

    std::string long_listing = insp_ok({"ls", "-l", "-a", image, "-m", "/dev/sda", "/dir"});
    EXPECT_THAT(long_listing, HasSubstr("-rwsr-xr-x"));
    EXPECT_THAT(long_listing, HasSubstr("drwxrwxrwt"));
    EXPECT_THAT(long_listing, HasSubstr("c---------"));
    EXPECT_THAT(long_listing, HasSubstr("relative -> single"));
    EXPECT_THAT(lines(insp_ok({"ls", "-lR", "-h", "-a", image, "-m", "/dev/sda", "/dir"})),
                Contains("- 0644       4.0M /dir/sparse"));
}

TEST_F(Ls, Csv) {
    EXPECT_THAT(lines(insp_ok({"ls", "-lR", "--csv", "--uids", "--time-t", "-a", guest("metadata"), "-m",
                               "/dev/sda", "/dir"})),
                Contains(HasSubstr("-,0640,23,1000,50,1700000000,1700000000,")));
}

TEST_F(Ls, JsonHasEverything) {
    json listing = insp_json({"ls", "-lR", "--json", "-a", guest("metadata"), "-m", "/dev/sda", "/dir"});
    EXPECT_EQ(listing.at("complete"), true);
    json file, null, sparse, link;
    for (const json& entry : listing.at("entries")) {
        if (entry.at("path") == "/dir/file") file = entry;
        if (entry.at("path") == "/dir/null") null = entry;
        if (entry.at("path") == "/dir/sparse") sparse = entry;
        if (entry.at("path") == "/dir/upwards") link = entry;
    }
    EXPECT_EQ(file.at("mode"), "0640");
    EXPECT_EQ(file.at("uid"), 1000);
    EXPECT_EQ(file.at("gid"), 50);
    EXPECT_EQ(file.at("links"), 2);
    EXPECT_EQ(file.at("mtime"), "2023-11-14T22:13:20.000000000Z");
    EXPECT_EQ(null.at("type"), "character-device");
    EXPECT_EQ(null.at("rdev"), "1:3");
    EXPECT_EQ(sparse.at("size"), 4 << 20);
    EXPECT_EQ(sparse.at("blocks_512"), 4);
    EXPECT_EQ(link.at("target"), "../../../../dir/single");
}

// Names are bytes. JSON stays JSON, and still tells every one of them.
TEST_F(Ls, NamesThatAreNoText) {
    std::string image = guest("names");
    json listing = insp_json({"ls", "-lR", "--json", "-a", image, "-m", "/dev/sda", "/names"});
    std::vector<std::string> names, encoded;
    for (const json& entry : listing.at("entries")) {
        names.push_back(entry.at("path"));
        if (entry.contains("path_base64")) encoded.push_back(entry.at("path_base64"));
        if (entry.at("path") == "/names/strange-link") {
            EXPECT_TRUE(entry.contains("target_base64"));
        }
    }
    EXPECT_THAT(names, Contains("/names/new\nline"));
    EXPECT_THAT(names, Contains("/names/two words"));
    EXPECT_THAT(names, Contains("/names/\"quoted\" \\back"));
    EXPECT_THAT(names, Contains("/names/\u00fcml\u00e4ut"));
    EXPECT_THAT(names, Contains("/names/" + std::string(255, 'n')));
    EXPECT_THAT(names, Contains("/names/deep/also\nhere"));
    EXPECT_THAT(names, Contains("/names/not-utf8-\ufffd\ufffd"));
    EXPECT_THAT(encoded, ElementsAre("L25hbWVzL25vdC11dGY4Lf/+"));

    // Each can be read by its name, too.
    EXPECT_EQ(insp_ok({"cat", "-a", image, "-m", "/dev/sda", "/names/not-utf8-\xff\xfe", "/names/new\nline",
                       "/names/-dash", "/names/" + std::string(255, 'n')}),
              "not-utf8-\xff\xfe\nnew\nline\n-dash\n" + std::string(255, 'n') + "\n");

    // An error about such a name is still one line of valid UTF-8, also in JSON.
    Outcome missing = insp({"ls", "--json", "-a", image, "-m", "/dev/sda", "/names/not-\xfe\nthere"});
    EXPECT_EQ(missing.code, kFailed);
    json answer = json::parse(missing.out, nullptr, false);
    ASSERT_FALSE(answer.is_discarded()) << missing.describe();
    EXPECT_EQ(answer.at("error").at("kind"), "not-found");
    EXPECT_EQ(lines(missing.err).size(), 1U) << missing.err;

    EXPECT_TRUE(refused(insp({"cat", "-a", image, "-m", "/dev/sda", "/names/" + std::string(256, 'n')}),
                        kFailed, "too long"));
}

}  // namespace
}  // namespace inspect::test
