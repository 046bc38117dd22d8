// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Addresses of servers as text. (Connecting is tested by the NBD client's tests.)
#include "base/connect.h"

#include <gtest/gtest.h>

#include <inspect/error.h>

namespace inspect {
namespace {

TEST(ServerAddress, IsParsed) {
    EXPECT_EQ(ServerAddress::parse("unix:/run/a:b").socket_path, "/run/a:b");
    const ServerAddress named = ServerAddress::parse("tcp:proxy.example.org:3128");
    EXPECT_EQ(named.host, "proxy.example.org");
    EXPECT_EQ(named.port, 3128);
    EXPECT_EQ(ServerAddress::parse("tcp:[::1]:65535").host, "::1");
    for (const char* bad : {"", "unix:", "tcp:", "tcp:host", "tcp::80", "tcp:host:0", "tcp:host:65536",
                            "tcp:host:8x", "tcp:::1:80", "http://host:80", "/run/socket"})
        EXPECT_THROW(ServerAddress::parse(bad), Error) << bad;
}

}  // namespace
}  // namespace inspect
