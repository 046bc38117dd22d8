// SPDX-License-Identifier: LGPL-2.1-or-later
//
// inspect/backup.h: pruning, which is restic's: it rewrites packs, and nobody has done that to more of them.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <inspect/backup.h>

#include "base/fd.h"
#include "base/subprocess.h"
#include "repository/password.h"

namespace inspect {

namespace {

constexpr std::chrono::hours kLongest{24 * 7};

}  // namespace

void prune_backup_repository(const BackupAccess& access) {
    const std::string location = repository::find_location({access.location, {}, {}});
    const std::string program = find_program("restic");
    if (program.empty())
        throw Error(ErrorKind::kNotFound,
                    "restic, which gives the space of forgotten snapshots back, isn't installed (package "
                    "restic); until it has run ('restic prune'), the space stays taken");
    const std::string password =
        repository::find_password({{}, access.password_file, access.password_command}, false);
    // By a pipe: neither the environment nor the command line, which others may see.
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) throw Error::from_errno("can't give restic the password", errno);
    const Fd reading(ends[0]);
    {
        const Fd writing(ends[1]);
        write_full(writing.get(), std::as_bytes(std::span(password)), "give restic the password");
    }
    Subprocess restic(
        {.arguments = {program, "--password-file", "/dev/fd/" + std::to_string(reading.get()), "prune"},
         .inherited = {reading.get()},
         // A location may have a password in it as well.
         .environment = {"RESTIC_REPOSITORY=" + location,
                         "RESTIC_REPOSITORY_FILE=", "RESTIC_PASSWORD_FILE=", "RESTIC_PASSWORD_COMMAND="}});
    const std::optional<int> status = restic.wait(kLongest);
    if (!status || !WIFEXITED(*status) || WEXITSTATUS(*status) != 0)
        throw Error(ErrorKind::kInternal,
                    "restic prune " + Subprocess::describe(status.value_or(0)) + ": " + restic.errors());
}

}  // namespace inspect
