// SPDX-License-Identifier: GPL-2.0-or-later
//
// What insp backup prints: as text and as JSON.
#pragma once

#include <string>
#include <vector>

#include <inspect/backup.h>

#include "cli/json.h"

namespace inspect::cli {

std::string backup_text(const BackupResult& result);
std::string backup_text(const std::vector<BackupSnapshot>& snapshots);
std::string backup_text(const BackupInfo& info);
std::string backup_text(const VerifyReport& report);

void backup_json(JsonWriter& json, const BackupResult& result);
// A member `key` of the object that is open.
void backup_json(JsonWriter& json, const char* key, const std::vector<BackupSnapshot>& snapshots);
// Members of the object that is open.
void backup_json(JsonWriter& json, const BackupInfo& info);
void backup_json(JsonWriter& json, const VerifyReport& report);

// "42% of 2.0G, 130M/s, 9 s left" after so many seconds.
std::string backup_progress(const BackupProgress& progress, double seconds);

}  // namespace inspect::cli
