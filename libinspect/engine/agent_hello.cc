// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/agent_hello.h"

#include <algorithm>
#include <string>

#include <inspect/error.h>

#include "protocol/frame.h"
#include "protocol/insp.pb.h"

namespace inspect {

void await_hello(Channel& channel, std::chrono::milliseconds timeout) {
    using Clock = std::chrono::steady_clock;
    protocol::FrameParser parser;
    const auto deadline = Clock::now() + timeout;
    for (;;) {
        if (auto frame = parser.next()) {
            proto::Hello hello;
            if (frame->type != protocol::FrameType::kHello ||
                !hello.ParseFromArray(frame->payload.data(), static_cast<int>(frame->payload.size())))
                throw Error(ErrorKind::kEngine, "the appliance's agent did not greet as it should");
            if (hello.version() != protocol::kProtocolVersion) {
                throw Error(ErrorKind::kEngine, "the appliance speaks version " +
                                                    std::to_string(hello.version()) +
                                                    " of the protocol and this program version " +
                                                    std::to_string(protocol::kProtocolVersion) +
                                                    "; install both from one release");
            }
            return;
        }
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
        parser.filled(channel.read(parser.room(4096), std::max(left, std::chrono::milliseconds(0))));
    }
}

}  // namespace inspect
