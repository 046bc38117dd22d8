// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/editor.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include <inspect/error.h>

#include "cli/temp_dir.h"

namespace inspect::cli {
namespace {

void write(const std::string& path, const std::string& text) { std::ofstream(path) << text; }

std::string read(const std::string& path) {
    std::ifstream in(path);
    return {std::istreambuf_iterator<char>(in), {}};
}

TEST(TempDirectory, IsPrivateAndGoesWithAllThatIsInIt) {
    std::string path;
    {
        TempDirectory directory;
        path = directory.path();
        struct stat status = {};
        ASSERT_EQ(stat(path.c_str(), &status), 0);
        EXPECT_EQ(status.st_mode & 07777, 0700u);
        write(path + "/file", "x");
        ASSERT_EQ(mkdir((path + "/sub").c_str(), 0700), 0);
        write(path + "/sub/.swap", "x");
        ASSERT_EQ(symlink("/", (path + "/sub/outside").c_str()), 0);
    }
    EXPECT_NE(access(path.c_str(), F_OK), 0);
    EXPECT_EQ(access("/", F_OK), 0);
}

TEST(TempDirectory, IsMadeWhereTmpdirSays) {
    TempDirectory outer;
    setenv("TMPDIR", outer.path().c_str(), 1);
    {
        TempDirectory inner;
        EXPECT_TRUE(inner.path().starts_with(outer.path() + "/"));
    }
    setenv("TMPDIR", "/nonexistent", 1);
    EXPECT_THROW(TempDirectory(), Error);
    unsetenv("TMPDIR");
}

TEST(Editor, IsChosenByTheEnvironment) {
    unsetenv("VISUAL");
    unsetenv("EDITOR");
    EXPECT_EQ(editor_command(), "vi");
    setenv("EDITOR", "ed", 1);
    EXPECT_EQ(editor_command(), "ed");
    setenv("VISUAL", "emacs -nw", 1);
    EXPECT_EQ(editor_command(), "emacs -nw");
    setenv("VISUAL", "", 1);
    EXPECT_EQ(editor_command(), "ed");
    unsetenv("VISUAL");
    unsetenv("EDITOR");
}

TEST(Editor, GetsArgumentsAndAnyFileName) {
    TempDirectory directory;
    std::string file = directory.path() + "/a b; $(touch x) 'q' \"";
    write(file, "one\n");
    run_editor("sed -i s/one/two/", file);
    EXPECT_EQ(read(file), "two\n");
}

TEST(Editor, FailureCancels) {
    TempDirectory directory;
    for (const char* editor : {"false", "kill -9 $$;", "/nonexistent/editor"}) {
        try {
            run_editor(editor, directory.path() + "/file");
            ADD_FAILURE() << editor << " passed";
        } catch (const Error& error) {
            EXPECT_EQ(error.kind(), ErrorKind::kCancelled);
            EXPECT_NE(error.message().find("nothing was written"), std::string::npos) << error.message();
        }
    }
}

TEST(SameContents, ComparesBytesNotLengths) {
    TempDirectory directory;
    std::string a = directory.path() + "/a";
    std::string b = directory.path() + "/b";
    write(a, std::string(100'000, 'x'));
    write(b, std::string(100'000, 'x'));
    EXPECT_TRUE(same_contents(a, b));
    write(b, std::string(99'999, 'x') + "y");
    EXPECT_FALSE(same_contents(a, b));
    write(b, std::string(100'001, 'x'));
    EXPECT_FALSE(same_contents(a, b));
    unlink(b.c_str());
    EXPECT_THROW(same_contents(a, b), Error);
}

}  // namespace
}  // namespace inspect::cli
