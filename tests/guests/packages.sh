# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A guest with other package managers than its own: a Debian 12 that has dnf, zypper and pacman too, for the proof that
# `insp customize --install` drives the real ones (tests/boot/package-proof). Of some hundred megabytes and several minutes, so
# that `make --all` leaves it out. Uses bootstrap.sh, debian.sh and lib.sh.
# shellcheck source=/dev/null
source "$here/bootstrap.sh"
# shellcheck source=/dev/null
source "$here/debian.sh"

# The tree of package-managers, a tar archive
guest_package_managers_tar() {
    bootstrap "$1" --variant=minbase --include=adduser,rpm,dnf,zypper,pacman-package-manager,makepkg,libarchive-tools
}
# A Debian 12 with the real dnf, zypper and pacman: GPT, ESP, ext4 root
guest_package_managers() { with_tree "$(guest package-managers-tar)" ext4_disk "$1" 2048 130 managers; }
