// SPDX-License-Identifier: LGPL-2.1-or-later
#include "repository/repository.h"

#include "repository/json.h"
#include "repository/repository_for_test.h"

namespace inspect::repository {
namespace {

Bytes file_of(const TestRepository& test, FileKind kind) {
    const auto storage = open_storage(test.path());
    return storage->read(kind, storage->list(kind).at(0).id);
}

TEST(Repository, OpensWithItsPasswordOnly) {
    const TestRepository test;
    EXPECT_EQ(test.open()->config().version, 2U);
    expect_error(ErrorKind::kDenied, "opens none of the 1 key",
                 [&] { Repository::open(open_storage(test.path()), "wrong"); });
    expect_error(ErrorKind::kNotFound, "no repository",
                 [&] { Repository::open(open_storage(test.dir().path()), "x"); });
    expect_error(ErrorKind::kUsage, "already",
                 [&] { Repository::create(open_storage(test.path()), kTestPassword); });
}

TEST(Repository, KeepsBlobsAndSnapshots) {
    const TestRepository test;
    std::mt19937_64 random(1);
    const Bytes noise = random_bytes(random, 300'000), zeros(500'000);
    const ObjectId id = test.save("guest", {noise, zeros, noise, {}});

    const auto repository = test.open();
    const auto snapshots = repository->snapshots();
    ASSERT_EQ(snapshots.size(), 1U);
    EXPECT_EQ(snapshots[0].id, id);
    EXPECT_EQ(snapshots[0].paths, std::vector<std::string>{"/guest"});
    const Tree root = repository->read_tree(snapshots[0].tree);
    ASSERT_EQ(root.size(), 1U);
    const Tree guest = repository->read_tree(*root[0].subtree);
    ASSERT_EQ(guest.size(), 1U);
    EXPECT_EQ(guest[0].size, 1'100'000U);
    ASSERT_EQ(guest[0].content.size(), 4U);
    EXPECT_EQ(repository->read_blob(BlobType::kData, guest[0].content[0]), noise);
    EXPECT_EQ(repository->read_blob(BlobType::kData, guest[0].content[1]), zeros);
    EXPECT_EQ(repository->read_blob(BlobType::kData, guest[0].content[3]), Bytes());
    EXPECT_EQ(repository->index().size_of(BlobType::kData, guest[0].content[1]), 500'000U);
    expect_error(ErrorKind::kNotFound, "isn't in the index",
                 [&] { repository->read_blob(BlobType::kTree, guest[0].content[0]); });
}

TEST(Repository, StoresABlobOnce) {
    const TestRepository test;
    const Bytes blob(1000, std::byte{7});
    test.save("a", {blob});
    const auto repository = test.open();
    BlobWriter writer(*repository, {});
    EXPECT_FALSE(writer.save(BlobType::kData, ObjectId::of(blob), blob));
    EXPECT_TRUE(writer.save(BlobType::kTree, ObjectId::of(blob), blob));
    EXPECT_FALSE(writer.save(BlobType::kTree, ObjectId::of(blob), blob));
    writer.flush();
    EXPECT_EQ(writer.totals().new_blobs, 1U);
    EXPECT_EQ(writer.totals().known_blobs, 2U);
}

TEST(Repository, FindsPacksThatNoIndexNames) {
    const TestRepository test;
    std::mt19937_64 random(2);
    const Bytes blob = random_bytes(random, 100'000);
    test.save("a", {blob});
    const auto storage = open_storage(test.path());
    for (const StoredFile& file : storage->list(FileKind::kIndex)) storage->remove(FileKind::kIndex, file.id);
    const auto repository = test.open();
    EXPECT_FALSE(repository->index().has(BlobType::kData, ObjectId::of(blob)));
    BlobWriter writer(*repository, {});
    writer.adopt_unindexed_packs();
    EXPECT_FALSE(writer.save(BlobType::kData, ObjectId::of(blob), blob));
    writer.flush();
    EXPECT_EQ(test.open()->read_blob(BlobType::kData, ObjectId::of(blob)), blob);
}

TEST(Repository, RemovesWhatKilledWritersLeft) {
    const TestRepository test;
    const std::string old = test.path() + "/data/00/" + std::string(64, '0') + "-tmp-insp-1";
    const std::string fresh = test.path() + "/index/" + std::string(64, '0') + "-tmp-insp-2";
    for (const std::string& path : {old, fresh}) std::ofstream(path) << "half";
    std::filesystem::last_write_time(old,
                                     std::filesystem::file_time_type::clock::now() - std::chrono::hours(25));
    open_storage(test.path())->tidy();
    EXPECT_FALSE(std::filesystem::exists(old));
    EXPECT_TRUE(std::filesystem::exists(fresh)) << "somebody may be writing it";
}

TEST(Repository, TakesTheCopyThatIsRight) {
    const TestRepository test;
    std::mt19937_64 random(3);
    const Bytes blob = random_bytes(random, 1000);
    const ObjectId id = ObjectId::of(blob);
    test.save("a", {blob});
    {  // a second copy, as two writers at once make them
        const auto storage = open_storage(test.path());
        const auto indexes = storage->list(FileKind::kIndex);
        const Bytes index = storage->read(FileKind::kIndex, indexes[0].id);
        storage->remove(FileKind::kIndex, indexes[0].id);
        test.save("b", {blob});
        storage->write(FileKind::kIndex, indexes[0].id, index);
    }
    auto repository = test.open();
    const auto places = repository->index().find(BlobType::kData, id);
    ASSERT_EQ(places.size(), 2U);
    for (size_t broken = 0; broken < 2; ++broken) {
        const std::string hex = places[broken].pack.hex();
        const std::string path = test.path() + "/data/" + hex.substr(0, 2) + "/" + hex;
        std::filesystem::permissions(path, std::filesystem::perms::owner_all);
        std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
        file.seekp(places[broken].blob.offset + 20);
        file.put('!').put('!');
        file.close();
        if (broken == 0) {
            EXPECT_EQ(repository->read_blob(BlobType::kData, id), blob);
        } else {
            expect_error(ErrorKind::kCorrupt, "in the pack file",
                         [&] { repository->read_blob(BlobType::kData, id); });
        }
    }
}

TEST(Repository, NoticesEveryFlippedBitOfItsOwnFiles) {
    const TestRepository test;
    test.save("a", {Bytes(1000)});
    const auto repository = test.open();
    std::mt19937_64 random(4);
    for (FileKind kind : {FileKind::kKey, FileKind::kIndex, FileKind::kSnapshot}) {
        const ObjectId id = repository->storage().list(kind).at(0).id;
        const std::string path = test.path() + "/" + std::string(directory_name(kind)) + "/" + id.hex();
        std::filesystem::permissions(path, std::filesystem::perms::owner_all);
        const Bytes before = read_file(path);
        auto overwrite = [&path](const Bytes& bytes) {
            std::ofstream(path, std::ios::binary)
                .write(reinterpret_cast<const char*>(bytes.data()),
                       static_cast<std::streamsize>(bytes.size()));
        };
        for (int i = 0; i < 100; ++i) {
            Bytes flipped = before;
            flipped[random() % flipped.size()] ^= static_cast<std::byte>(1 << random() % 8);
            overwrite(flipped);
            expect_error(ErrorKind::kCorrupt, id.hex(), [&] {
                if (kind == FileKind::kKey) {
                    test.open();
                } else {
                    repository->read_file(kind, id);
                }
            });
        }
        overwrite(before);
    }
    EXPECT_EQ(test.open()->snapshots().size(), 1U);
}

TEST(Repository, IsReadAndCheckedByRestic) {
    const TestRepository test;
    std::mt19937_64 random(5);
    const Bytes noise = random_bytes(random, 300'000);
    test.save("guest", {noise, Bytes(500'000)});
    const auto check = test.restic({"check", "--read-data"});
    if (!check) GTEST_SKIP() << "restic is not installed";
    EXPECT_EQ(check->status, 0) << check->output << check->errors;
    const auto list = test.restic({"ls", "latest"});
    EXPECT_NE(list->output.find("/guest/disk"), std::string::npos) << list->output;
    const auto restore = test.restic({"restore", "latest", "--target", test.dir().file("out")});
    EXPECT_EQ(restore->status, 0) << restore->errors;
    Bytes expected = noise;
    expected.resize(800'000);
    EXPECT_EQ(read_file(test.dir().file("out/guest/disk")), expected);
}

TEST(Repository, ReadsWhatResticWrote) {
    const TestRepository test;
    std::mt19937_64 random(6);
    std::filesystem::create_directory(test.dir().file("source"));
    const Bytes content = random_bytes(random, 5'000'000);
    test.dir().write("source/di\"s\\k\xc3\xa4\xff", content);
    const auto backup = test.restic({"backup", "--tag", "t1", test.dir().file("source")});
    if (!backup) GTEST_SKIP() << "restic is not installed";
    ASSERT_EQ(backup->status, 0) << backup->errors;
    const auto repository = test.open();
    const auto snapshots = repository->snapshots();
    ASSERT_EQ(snapshots.size(), 1U);
    EXPECT_TRUE(snapshots[0].has_tag("t1"));
    Tree tree = repository->read_tree(snapshots[0].tree);
    while (tree.size() == 1 && tree[0].is_directory()) tree = repository->read_tree(*tree[0].subtree);
    ASSERT_EQ(tree.size(), 1U);
    EXPECT_EQ(tree[0].name, "di\"s\\k\xc3\xa4\xff");
    Bytes all;
    for (const ObjectId& id : tree[0].content) {
        const Bytes part = repository->read_blob(BlobType::kData, id);
        all.insert(all.end(), part.begin(), part.end());
    }
    EXPECT_EQ(all, content);
    EXPECT_EQ(tree[0].size, content.size());
}

TEST(Repository, VersionOneIsReadAndAnUnknownOneRefused) {
    const TestRepository test;
    const std::string old = test.dir().file("old");
    if (find_program("restic").empty()) GTEST_SKIP() << "restic is not installed";
    ::setenv("RESTIC_PASSWORD", kTestPassword, 1);
    const auto init =
        run_program({find_program("restic"), "--no-cache", "-r", old, "init", "--repository-version", "1"},
                    std::chrono::seconds(60), 1 << 20);
    ASSERT_EQ(init.status, 0) << init.errors;
    const auto repository = Repository::open(open_storage(old), kTestPassword);
    EXPECT_EQ(repository->config().version, 1U);
    EXPECT_TRUE(repository->snapshots().empty());
    expect_error(ErrorKind::kUnsupported, "version 1", [&] { BlobWriter writer(*repository, {}); });

    const auto current = test.open();
    const Bytes config = current->key().seal(as_bytes(R"({"version":3,"id":"00","chunker_polynomial":"1"})"));
    std::filesystem::remove(test.path() + "/config");
    current->storage().write(FileKind::kConfig, {}, config);
    expect_error(ErrorKind::kUnsupported, "format version 3", [&] { test.open(); });
}

TEST(Repository, KeyFilesHaveNoSecretsInTheOpen) {
    const TestRepository test;
    const Bytes key = file_of(test, FileKind::kKey);
    EXPECT_EQ(as_text(key).find(kTestPassword), std::string_view::npos);
    EXPECT_EQ(as_text(key).find(encode_base64(as_text(test.open()->key().encryption()))),
              std::string_view::npos);
}

}  // namespace
}  // namespace inspect::repository
