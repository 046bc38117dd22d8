// SPDX-License-Identifier: GPL-2.0-or-later
//
// What only the library shows: sessions from one snapshot differ in what must differ.
#include <cstdlib>

#include <inspect/session.h>

#include "support/insp.h"

namespace inspect::test {
namespace {

class SessionLibrary : public KvmTest {
  protected:
    SessionOptions options(const std::string& image, bool writable = false) const {
        SessionOptions result;
        result.disks.push_back({.path = image, .format = "raw"});
        result.writable = writable;
        result.cache_directory = std::string(INSP_BUILD_DIR) + "/tests/cache";
        return result;
    }
};

// A snapshot holds the random pool's state: without fresh entropy every session would draw the same.
TEST_F(SessionLibrary, SessionsFromOneSnapshotDrawDifferentRandomBytes) {
    std::vector<std::vector<std::byte>> drawn;
    for (int i = 0; i < 3; i++) {
        Session session(options(guest("ext4")));
        drawn.push_back(session.random_bytes(32));
        ASSERT_EQ(drawn.back().size(), 32U);
        if (i > 0) {
            EXPECT_TRUE(session.stats().warm);
        }
    }
    EXPECT_NE(drawn[0], drawn[1]);
    EXPECT_NE(drawn[1], drawn[2]);
    EXPECT_NE(drawn[0], drawn[2]);
}

TEST_F(SessionLibrary, WithoutCommitNothingChanges) {
    std::string image = copy_of("ext4");
    {
        Session session(options(image, true));
        session.mount({.device = "/dev/sda"});
        session.make_directory("/made");
        EXPECT_EQ(session.stat("/made").mode & 07777, 0755U);
    }
    EXPECT_TRUE(same_bytes(image, guest("ext4")));
}

// After an error a session goes on; the files that were asked for before are still right.
TEST_F(SessionLibrary, GoesOnAfterAnError) {
    Session session(options(guest("ext4")));
    session.mount({.device = "/dev/sda"});
    std::string text;
    auto append = [&](std::span<const std::byte> bytes) {
        text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    };
    try {
        session.read_file("/missing", append);
        ADD_FAILURE() << "no error";
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::kNotFound);
    }
    session.read_file("/hello.txt", append);
    EXPECT_EQ(text, "hello, guest\n");
    text.clear();
    session.read_file("/hello.txt", append, 7, 5);
    EXPECT_EQ(text, "guest");
    EXPECT_THROW(session.make_directory("/x"), Error) << "a read-only session";
}

TEST_F(SessionLibrary, InterruptEndsWhatRuns) {
    Session session(options(guest("large")));
    session.mount({.device = "/dev/sda"});
    uint64_t bytes = 0;
    try {
        session.read_file("/large", [&](std::span<const std::byte> part) {
            bytes += part.size();
            session.interrupt();
        });
        ADD_FAILURE() << "not interrupted after " << bytes << " bytes";
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::kCancelled);
    }
    EXPECT_LT(bytes, 32U << 20);
    EXPECT_THROW(session.ping(), Error) << "all later calls too";
}

}  // namespace
}  // namespace inspect::test
