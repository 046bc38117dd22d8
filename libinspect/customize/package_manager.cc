// SPDX-License-Identifier: LGPL-2.1-or-later
#include "customize/package_manager.h"

#include <algorithm>
#include <set>
#include <sstream>

#include "guest/guest_files.h"
#include "guest/printable.h"

namespace inspect {

namespace {

// What the scripts share. `alone` says that the directory is all that there is.
constexpr const char* kHead = R"sh(set -e
alone=
[ -z "$packages" ] || [ -n "$network" ] || alone=yes

)sh";

constexpr const char* kTail = R"sh(
action=$1
shift
"$action" "$@"
)sh";

// The directory becomes a repository without a signature; apt wants an index of it. Its files get plain
// names: in a file name a % begins a code, for apt.
constexpr const char* kApt = R"sh(
export DEBIAN_FRONTEND=noninteractive
# The guest's services are not started here.
export RUNLEVEL=1
apt() {
    apt-get -q -y -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold \
        -o Dpkg::Options::=--force-unsafe-io -o APT::Sandbox::User=root \
        -o Acquire::CompressionTypes::Order::=gz -o APT::Keep-Downloaded-Packages=false "$@"
}
index() {
    number=0
    for file in *.deb; do
        [ -e "$file" ] || continue
        number=$((number + 1))
        mv "$file" "$number.package"
        dpkg-deb -f "$number.package"
        echo "Filename: ./$number.package"
        echo "Size: $(stat -c %s "$number.package")"
        sha256sum "$number.package" | sed 's/^\([0-9a-f]*\).*/SHA256: \1/'
        echo
    done
}
sources() {
    [ -n "$packages" ] || return 0
    (cd "$packages" && index | gzip >Packages.gz)
    echo "deb [trusted=yes] file:$packages ./" >/tmp/insp.list
    if [ -n "$alone" ]; then
        mkdir -p /tmp/insp-lists/partial
        set -- -o Dir::Etc::sourcelist=/tmp/insp.list -o Dir::Etc::sourceparts=- \
            -o Dir::State::lists=/tmp/insp-lists -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache=
    else
        [ ! -e /etc/apt/sources.list ] || cat /etc/apt/sources.list >>/tmp/insp.list
        set -- -o Dir::Etc::sourcelist=/tmp/insp.list
    fi
    options="$*"
}
install() {
    sources
    apt $options update
    apt $options install "$@"
}
update() {
    sources
    apt $options update
    apt $options upgrade
}
uninstall() { apt remove "$@"; }
)sh";

// dnf and yum. Without metadata (createrepo_c makes them) the directory is no repository, and its packages
// are chosen by their names.
constexpr const char* kRpm = R"sh(
sources() {
    [ -n "$packages" ] || return 0
    mkdir -p /tmp/insp-repos
    if [ -e "$packages/repodata/repomd.xml" ]; then
        printf '[insp-customize]\nname=%s\nbaseurl=file://%s\nenabled=1\ngpgcheck=0\n' \
            'Packages of the host' "$packages" >/tmp/insp-repos/insp-customize.repo
    fi
    repos=/tmp/insp-repos
    [ -n "$alone" ] || repos="/etc/yum.repos.d,$repos"
    options="--setopt=reposdir=$repos"
}
files_of() {
    for wanted; do
        found=
        for file in "$packages"/*.rpm; do
            [ -n "$packages" ] && [ ! -e "$packages/repodata/repomd.xml" ] && [ -e "$file" ] || continue
            if [ "$(rpm -qp --nosignature --qf '%{NAME}' "$file")" = "$wanted" ]; then
                echo "$file"
                found=yes
            fi
        done
        [ -n "$found" ] || echo "$wanted"
    done
}
update() {
    sources
    set --
    if [ -n "$packages" ] && [ ! -e "$packages/repodata/repomd.xml" ]; then set -- "$packages"/*.rpm; fi
    "$manager" -y $options upgrade "$@"
}
install() {
    sources
    "$manager" -y $options install $(files_of "$@")
}
uninstall() { "$manager" -y remove "$@"; }
)sh";

// A directory of packages is a repository for zypper as it is.
constexpr const char* kZypper = R"sh(
sources() {
    [ -n "$packages" ] || return 0
    options="--no-gpg-checks --plus-repo dir:$packages"
    [ -z "$alone" ] || {
        mkdir -p /tmp/insp-repos
        options="--reposd-dir /tmp/insp-repos $options"
    }
}
install() {
    sources
    zypper -n $options install -l "$@"
}
update() {
    sources
    zypper -n $options update -l
}
uninstall() { zypper -n remove "$@"; }
)sh";

constexpr const char* kApk = R"sh(
sources() {
    [ -n "$packages" ] || return 0
    directory=$packages/$(apk --print-arch)
    mkdir "$directory"
    mv "$packages"/*.apk "$directory"
    apk index --allow-untrusted -o "$directory/APKINDEX.tar.gz" "$directory"/*.apk
    options="--allow-untrusted -X $packages"
    [ -z "$alone" ] || options="$options --repositories-file /dev/null --no-network"
}
install() {
    sources
    [ -z "$network" ] || apk update
    apk add $options "$@"
}
update() {
    sources
    [ -z "$network" ] || apk update
    apk upgrade $options
}
uninstall() { apk del "$@"; }
)sh";

constexpr const char* kPacman = R"sh(
sources() {
    [ -n "$packages" ] || return 0
    repo-add -q "$packages/insp-customize.db.tar.gz" "$packages"/*.pkg.tar.*
    if [ -n "$alone" ]; then
        printf '[options]\nArchitecture = auto\n' >/tmp/insp-pacman.conf
    else
        cp /etc/pacman.conf /tmp/insp-pacman.conf
    fi
    printf '[insp-customize]\nSigLevel = Optional TrustAll\nServer = file://%s\n' "$packages" \
        >>/tmp/insp-pacman.conf
    options="--config /tmp/insp-pacman.conf"
}
forget() { rm -f /var/lib/pacman/sync/insp-customize.*; }
install() {
    sources
    pacman --noconfirm $options -Sy "$@"
    forget
}
update() {
    sources
    pacman --noconfirm $options -Syu
    forget
}
uninstall() { pacman --noconfirm -R "$@"; }
)sh";

constexpr PackageManager kManagers[] = {
    {"apt", "/usr/bin/apt-get", ".deb", kApt},
    {"dnf", "/usr/bin/dnf", ".rpm", kRpm},
    {"yum", "/usr/bin/yum", ".rpm", kRpm},
    {"zypper", "/usr/bin/zypper", ".rpm", kZypper},
    {"apk", "/sbin/apk", ".apk", kApk},
    {"pacman", "/usr/bin/pacman", ".pkg.tar.zst .pkg.tar.xz .pkg.tar.gz", kPacman},
};

}  // namespace

const PackageManager* package_manager_by_program(Session& session) {
    for (const PackageManager& manager : kManagers)
        if (exists(session, manager.program)) return &manager;
    return nullptr;
}

const PackageManager& package_manager_of(Session& session) {
    std::set<std::string> named;
    for (const OperatingSystem& system : session.inspect()) named.insert(system.package_management);
    for (const PackageManager& manager : kManagers)
        if (named.contains(manager.name) && exists(session, manager.program)) return manager;
    // A system that isn't known, or one that has another manager than others of its name.
    if (const PackageManager* manager = package_manager_by_program(session)) return *manager;
    throw Error(ErrorKind::kUnsupported,
                "the guest has none of the package managers that are known here: apt, dnf, yum, zypper, apk, "
                "pacman");
}

std::string package_script(const PackageManager& manager) {
    return std::string(kHead) + "manager=" + manager.name + manager.functions + kTail;
}

std::vector<std::string> parse_package_list(const std::string& argument) {
    constexpr std::string_view kAlso = "+-._:~=@/*^";
    std::vector<std::string> packages;
    for (size_t at = 0; at <= argument.size();) {
        const size_t end = std::min(argument.find(',', at), argument.size());
        const std::string name = argument.substr(at, end - at);
        const bool plain = std::all_of(name.begin(), name.end(), [&](char c) {
            return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                   kAlso.find(c) != kAlso.npos;
        });
        if (name.empty() || name.front() == '-' || !plain)
            throw Error(ErrorKind::kUsage,
                        "'" + printable(argument) + "' is not a list of packages: NAME,NAME");
        packages.push_back(name);
        at = end + 1;
    }
    return packages;
}

bool is_package_file(const PackageManager& manager, const std::string& name) {
    std::istringstream suffixes(manager.suffixes);
    for (std::string suffix; suffixes >> suffix;)
        if (name.size() > suffix.size() && name.ends_with(suffix)) return true;
    return false;
}

}  // namespace inspect
