// SPDX-License-Identifier: LGPL-2.1-or-later
#include "backup/retention.h"

#include <time.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <optional>
#include <string>
#include <tuple>

#include "backup/repository_impl.h"

namespace inspect {

using repository::ObjectId;
using repository::Snapshot;

namespace {

constexpr int64_t kSecond = 1'000'000'000;

// Periods: equal for two times in the same one.
int days(const tm& time) { return (time.tm_year * 400) + time.tm_yday; }

// Weeks as ISO 8601 numbers them.
int week(const tm& time) {
    char buffer[16];
    ::strftime(buffer, sizeof buffer, "%G%V", &time);
    return std::atoi(buffer);
}

struct Rule {
    unsigned left;
    int (*period)(const tm&);
    std::optional<int> last = {};
};

}  // namespace

bool RetentionPolicy::empty() const {
    return last == 0 && hourly == 0 && daily == 0 && weekly == 0 && monthly == 0 && yearly == 0 &&
           within_seconds == 0 && tags.empty();
}

std::vector<bool> apply_policy(const std::vector<int64_t>& times, const RetentionPolicy& policy) {
    Rule rules[] = {{policy.hourly, [](const tm& time) { return days(time) * 24 + time.tm_hour; }},
                    {policy.daily, days},
                    {policy.weekly, week},
                    {policy.monthly, [](const tm& time) { return time.tm_year * 12 + time.tm_mon; }},
                    {policy.yearly, [](const tm& time) { return time.tm_year; }}};
    std::vector<bool> keep(times.size());
    for (size_t i = 0; i < times.size(); ++i) {
        const time_t seconds = times[i] / kSecond;
        tm local{};
        ::localtime_r(&seconds, &local);
        keep[i] = i < policy.last;
        for (Rule& rule : rules) {
            if (rule.left == 0 || rule.last == rule.period(local)) continue;
            rule.last = rule.period(local);
            --rule.left;
            keep[i] = true;
        }
        const uint64_t age = static_cast<uint64_t>((times[0] - times[i]) / kSecond);
        if (policy.within_seconds != 0 && age <= policy.within_seconds) keep[i] = true;
    }
    return keep;
}

bool ForgetOptions::selects() const {
    return !policy.empty() || !guest.empty() || !hostname.empty() || !tags.empty();
}

ForgetResult BackupRepository::forget(const ForgetOptions& options) {
    if (options.snapshots.empty() && options.policy.empty())
        throw Error(ErrorKind::kUsage,
                    "forget what? Give snapshots, or what to keep (--keep-last, --keep-daily...)");
    if (!options.snapshots.empty() && options.selects())
        throw Error(ErrorKind::kUsage,
                    "snapshots that are named are forgotten whatever a policy keeps, and whose they are: "
                    "give either of them; --guest makes a policy one guest's");
    repository::Repository& repository = *impl_->repository();
    repository.require_writable();
    std::optional<repository::RepositoryLock> alone;
    impl_->lock.reset();
    if (!options.dry_run) alone.emplace(repository, repository::LockKind::kExclusive);
    impl_->known_snapshots.reset();
    const std::vector<Snapshot> all = impl_->snapshots();

    std::map<ObjectId, bool> keep;
    for (const Snapshot& snapshot : all) keep[snapshot.id] = true;
    for (const std::string& name : options.snapshots) keep[find_snapshot(all, name).id] = false;
    // The newest first, by host and paths, as restic groups them.
    std::map<std::tuple<std::string, std::vector<std::string>>, std::vector<const Snapshot*>> groups;
    for (auto it = all.rbegin(); it != all.rend() && options.snapshots.empty(); ++it) {
        if (!options.guest.empty() && guest_name_of(*it) != options.guest) continue;
        if (!options.hostname.empty() && it->hostname != options.hostname) continue;
        if (!std::ranges::all_of(options.tags, [&](const auto& tag) { return it->has_tag(tag); })) continue;
        groups[{it->hostname, it->paths}].push_back(&*it);
    }
    for (const auto& [group, snapshots] : groups) {
        std::vector<int64_t> times;
        for (const Snapshot* snapshot : snapshots) times.push_back(to_public(*snapshot).time_ns);
        const std::vector<bool> kept = apply_policy(times, options.policy);
        for (size_t i = 0; i < snapshots.size(); ++i) {
            bool tagged = false;
            for (const std::string& tag : options.policy.tags) tagged = tagged || snapshots[i]->has_tag(tag);
            keep[snapshots[i]->id] = kept[i] || tagged;
        }
    }
    ForgetResult result;
    for (const Snapshot& snapshot : all) {
        const bool stays = keep[snapshot.id];
        (stays ? result.kept : result.removed).push_back(to_public(snapshot));
        if (!stays && !options.dry_run)
            repository.storage().remove(repository::FileKind::kSnapshot, snapshot.id);
    }
    impl_->known_snapshots.reset();
    return result;
}

}  // namespace inspect
