// SPDX-License-Identifier: LGPL-2.1-or-later
#include "guest/resize/survey.h"

#include <gtest/gtest.h>

namespace inspect {
namespace {

proto::DiskSurvey with_extents_of(uint64_t bytes) {
    proto::DiskSurvey survey;
    survey.set_sector_size(512);
    auto& group = *survey.add_volume_groups();
    group.set_name("vg");
    group.set_extent_size(bytes);
    auto& physical = *group.add_physical_volumes();
    physical.set_device("/dev/sda");
    physical.set_data_start(1 << 20);
    physical.set_extents(100);
    return survey;
}

TEST(ResizeSurvey, ExtentsOfAnySizeThatLvmHas) {
    for (const uint64_t bytes : {uint64_t{512}, uint64_t{384} << 10, uint64_t{12} << 20, uint64_t{1} << 40})
        EXPECT_EQ(to_disk_state(with_extents_of(bytes)).volume_groups[0].extent_bytes, bytes);
    for (const uint64_t bytes : {uint64_t{0}, uint64_t{1000}, uint64_t{1} << 41})
        EXPECT_THROW(to_disk_state(with_extents_of(bytes)), Error) << bytes;
}

}  // namespace
}  // namespace inspect
