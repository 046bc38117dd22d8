// SPDX-License-Identifier: GPL-2.0-or-later
//
// QEMU's own qcow2, driven through qemu-io's prompt, and qemu-img to judge images. Nothing here knows of our
// driver.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

// One qemu-io process on one image. Any failure of it throws std::runtime_error.
class QemuIo {
  public:
    // `arguments` as on qemu-io's command line, the image last.
    explicit QemuIo(const std::vector<std::string>& arguments);
    ~QemuIo();
    QemuIo(const QemuIo&) = delete;
    QemuIo& operator=(const QemuIo&) = delete;

    // Runs one command and returns what it said.
    std::string run(const std::string& command);
    // Ends it in an orderly way, which writes all that it has in memory. Throws when it fails.
    void quit();

  private:
    std::string read_to_prompt();

    pid_t pid_ = -1;
    int to_ = -1;
    int from_ = -1;
    bool first_ = true;
};

struct Outcome {
    int status;  // the exit code
    std::string output;
};
// Runs a program to its end, stdout and stderr together.
Outcome run_program(const std::vector<std::string>& arguments);
bool have_program(const std::string& name);
