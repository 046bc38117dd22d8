// SPDX-License-Identifier: GPL-2.0-or-later
//
// What the tests of insp resize share: running it, and seeing that what it refuses it leaves alone.
#pragma once

#include "support/insp.h"

namespace inspect::test {

class ResizeCommand : public ApplianceTest {
  protected:
    Outcome resize(Args args, const Options& options = {}) const {
        args.insert(args.begin(), "resize");
        return insp(args, options);
    }
    std::string resize_ok(const Args& args) const {
        const Outcome outcome = resize(args);
        EXPECT_TRUE(outcome.ok()) << outcome.describe();
        return outcome.out;
    }
    // What the command says is refused, and the image is what it was.
    void expect_refused(const std::string& image, const Args& wishes, const std::string& text,
                        const Options& options = {}) const {
        const std::string before = sha256(image);
        Args args = {"-a", image};
        args.insert(args.end(), wishes.begin(), wishes.end());
        EXPECT_TRUE(refused(resize(args, options), kFailed, text));
        EXPECT_EQ(sha256(image), before) << text;
    }
    // A judge's words; it has no objection.
    static std::string ok(const Args& judge) {
        const Outcome outcome = run(judge);
        EXPECT_TRUE(outcome.ok()) << outcome.describe();
        return outcome.out + outcome.err;
    }
    static uint64_t size_of(const std::string& path) { return std::filesystem::file_size(path); }
};

}  // namespace inspect::test
