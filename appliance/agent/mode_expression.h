// SPDX-License-Identifier: GPL-2.0-or-later
//
// Modes as chmod(1) takes them: "0644", "u=rw,go-w", "a+X".
#pragma once

#include <sys/types.h>

#include <string_view>
#include <vector>

namespace inspect::agent {

class ModeExpression {
  public:
    // Throws Failure(USAGE).
    explicit ModeExpression(std::string_view text);
    // The permission bits (07777) that a file of this mode (type included) gets.
    mode_t apply(mode_t mode) const;

  private:
    struct Change {
        char action;      // + - =
        mode_t who;       // the bits of those who are meant, 0: nobody was named
        mode_t bits;      // r w x s t, for everyone
        bool execute_if;  // X
        char copy;        // u g o: the bits that these have now; 0: none
    };

    bool absolute_ = false;
    mode_t absolute_bits_ = 0;
    bool clears_directory_bits_ = false;  // five digits: also a directory's set-id bits
    std::vector<Change> changes_;
};

}  // namespace inspect::agent
