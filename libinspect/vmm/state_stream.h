// SPDX-License-Identifier: LGPL-2.1-or-later
//
// StateWriter and StateReader: the flat byte stream in which a snapshot keeps registers and devices.
//
// Values are stored as they are in memory: a snapshot is only ever read on the host and by the build that
// wrote it. The reader checks every length; what is not there is an Error(kCorrupt), never a read out of
// bounds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include <inspect/error.h>

namespace inspect {

class StateWriter {
  public:
    template <typename T>
    void put(const T& value) {
        static_assert(std::is_trivially_copyable_v<T>);
        append(std::as_bytes(std::span(&value, 1)));
    }
    // A list or a string, with its length before it.
    template <typename T>
    void put_list(std::span<const T> list) {
        static_assert(std::is_trivially_copyable_v<T>);
        put(static_cast<uint32_t>(list.size()));
        append(std::as_bytes(list));
    }
    void put_string(const std::string& text) { put_list(std::span<const char>(text)); }

    std::vector<std::byte>& bytes() { return bytes_; }

  private:
    void append(std::span<const std::byte> bytes) { bytes_.insert(bytes_.end(), bytes.begin(), bytes.end()); }
    std::vector<std::byte> bytes_;
};

class StateReader {
  public:
    explicit StateReader(std::span<const std::byte> bytes) : rest_(bytes) {}

    template <typename T>
    T get() {
        static_assert(std::is_trivially_copyable_v<T>);
        T value;
        std::memcpy(&value, take(sizeof(T)).data(), sizeof value);
        return value;
    }
    // A bool or an enum is read as its number and checked by the caller; this is the bool.
    bool get_bool() {
        const uint8_t value = get<uint8_t>();
        require(value <= 1);
        return value != 0;
    }
    template <typename T>
    std::vector<T> get_list(uint32_t max_items) {
        static_assert(std::is_trivially_copyable_v<T>);
        const uint32_t items = get<uint32_t>();
        require(items <= max_items);
        auto bytes = take(uint64_t{items} * sizeof(T));
        std::vector<T> list(items);
        if (items > 0) std::memcpy(list.data(), bytes.data(), bytes.size());
        return list;
    }
    std::string get_string(uint32_t max_bytes) {
        auto list = get_list<char>(max_bytes);
        return std::string(list.begin(), list.end());
    }

    // Throws Error(kCorrupt) unless `condition`.
    static void require(bool condition) {
        if (!condition) throw Error(ErrorKind::kCorrupt, "the snapshot's state contradicts itself");
    }
    bool at_end() const noexcept { return rest_.empty(); }

  private:
    std::span<const std::byte> take(uint64_t bytes) {
        if (bytes > rest_.size()) throw Error(ErrorKind::kCorrupt, "the snapshot's state ends early");
        auto taken = rest_.first(bytes);
        rest_ = rest_.subspan(bytes);
        return taken;
    }
    std::span<const std::byte> rest_;
};

}  // namespace inspect
