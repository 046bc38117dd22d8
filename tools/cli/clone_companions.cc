// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/clone_companions.h"

#include <filesystem>

namespace inspect::cli {
namespace {

namespace fs = std::filesystem;

std::string seed_path(const std::string& disk, const std::string& name) {
    return (fs::path(disk).parent_path() / (name + "-seed.iso")).string();
}

}  // namespace

bool makes_many_clones(const Arguments& args) { return args.has("count") || args.has("name-pattern"); }

CloneDomains::CloneDomains(const Arguments& args)
    : force_(args.has("force")), many_(makes_many_clones(args)) {
    const auto output = args.value("domain-output");
    if (!output) return;
    const auto name = args.value("domain"), file = args.value("domain-xml");
    if (!name == !file) throw UsageError("--domain-output wants one domain: -d or --domain-xml");
    output_ = *output;
    xml_ = name ? domain_xml(*name, args.value("connect").value_or("")) : domain_xml_file(*file);
    if (many_ && !fs::is_directory(output_))
        throw UsageError("--domain-output is the directory for the clones' XML, which '" + output_ +
                         "' isn't");
}

void CloneDomains::check(const CloneTarget& target, const std::vector<std::string>& formats) const {
    if (output_.empty()) return;
    Clone clone{target.name, {}};
    for (size_t i = 0; i < target.paths.size(); ++i)
        clone.disks.push_back({"", target.paths[i], formats[i], CloneMethod::kCopy, 0, ""});
    clone_domain_xml(xml_, clone);
    if (!force_ && fs::exists(path_for(clone)))
        throw Error(ErrorKind::kDenied, "'" + path_for(clone) + "' is there already; --force replaces it");
}

std::string CloneDomains::write(const Clone& clone) const {
    if (output_.empty()) return {};
    write_clone_file(path_for(clone), clone_domain_xml(xml_, clone), force_);
    return path_for(clone);
}

std::string CloneDomains::path_for(const Clone& clone) const {
    return many_ ? output_ + "/" + clone.name + ".xml" : output_;
}

CloneSeeds::CloneSeeds(const Arguments& args, CloudInitSeed seed)
    : seed_(std::move(seed)), wanted_(args.has("cloud-init-iso")), force_(args.has("force")) {}

void CloneSeeds::check(const CloneTarget& target) const {
    if (!wanted_) return;
    const std::string path = seed_path(target.paths[0], target.name);
    if (path.starts_with("/dev/"))
        throw UsageError("--cloud-init-iso is a file beside the clone, which is a device");
    if (!force_ && fs::exists(path))
        throw Error(ErrorKind::kDenied, "'" + path + "' is there already; --force replaces it");
    if (!tried_) make_cloud_init_iso(seed_);
    tried_ = true;
}

std::string CloneSeeds::write(const Clone& clone, const std::string& host_name) const {
    if (!wanted_) return {};
    CloudInitSeed seed = seed_;
    seed.emplace("meta-data", make_cloud_init_meta_data(host_name));
    const std::string path = seed_path(clone.disks[0].path, clone.name);
    write_clone_file(path, make_cloud_init_iso(std::move(seed)), force_);
    return path;
}

}  // namespace inspect::cli
