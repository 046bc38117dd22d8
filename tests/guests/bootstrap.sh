# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Trees of Debian 12 from Debian's own packages, as archives. mmdebstrap needs no root: it unpacks in a user
# namespace. This is what takes minutes, so it stands apart from the scripts that change more often.

# bootstrap FILE MMDEBSTRAP-OPTIONS...: a tar archive of a Debian 12 tree.
bootstrap() {
    local file=$1 mirror security
    shift
    # This system's mirrors, if it is a Debian 12 itself; no other repository that it may have.
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Codename: bookworm' 'Origin: Debian' | head -n 1)
    security=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Codename: bookworm-security' 'Origin: Debian' |
        head -n 1)
    : "${mirror:=http://deb.debian.org/debian}"
    # Documentation and translations are half of the bytes and nothing to a test.
    mmdebstrap --quiet --format=tar --dpkgopt=force-unsafe-io "$@" \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --aptopt='Acquire::Languages "none"' \
        bookworm "$file" "deb $mirror bookworm main" ${security:+"deb $security bookworm-security main"}
}

# The tree of debian12, a tar archive
guest_debian12_tar() { bootstrap "$1" --variant=important --include=adduser,ca-certificates,openssh-server; }
# The tree of debian12-small and debian12-xfs, a tar archive
guest_debian12_small_tar() { bootstrap "$1" --variant=minbase --include=adduser; }
