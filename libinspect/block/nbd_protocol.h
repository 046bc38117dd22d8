// SPDX-License-Identifier: LGPL-2.1-or-later
//
// NBD on the wire: the numbers and structures of the network block device protocol (doc/proto.md of the
// NetworkBlockDevice project), as far as the server (nbd_server.h) and the client (nbd_device.h) speak it.
// All integers are big-endian.
#pragma once

#include <cstdint>

#include "base/endian.h"

namespace inspect::nbd {

constexpr uint16_t kDefaultPort = 10809;

// What a request's payload may have at most: the limit that the specification advises for both sides.
constexpr uint32_t kMaxPayload = 32u << 20;
// Of export names, descriptions and messages, by the specification.
constexpr uint32_t kMaxString = 4096;

// --- Negotiation -------------------------------------------------------------------------------------------

constexpr uint64_t kInitMagic = 0x4e42444d41474943;         // "NBDMAGIC"
constexpr uint64_t kOptionMagic = 0x49484156454f5054;       // "IHAVEOPT"
constexpr uint64_t kOldstyleMagic = 0x00420281861253;       // in its place: a server from before 2012
constexpr uint64_t kOptionReplyMagic = 0x0003e889045565a9;  //

// Of both sides' flags.
constexpr uint32_t kFixedNewstyle = 1 << 0;
constexpr uint32_t kNoZeroes = 1 << 1;

struct ServerHello {
    be64 magic;
    be64 option_magic;
    be16 flags;
};
static_assert(sizeof(ServerHello) == 18);

struct OptionRequest {
    be64 magic;
    be32 option;
    be32 length;
};
static_assert(sizeof(OptionRequest) == 16);

struct OptionReply {
    be64 magic;
    be32 option;
    be32 type;
    be32 length;
};
static_assert(sizeof(OptionReply) == 20);

enum Option : uint32_t {
    kOptExportName = 1,
    kOptAbort = 2,
    kOptList = 3,
    kOptStartTls = 5,
    kOptInfo = 6,
    kOptGo = 7,
    kOptStructuredReply = 8,
    kOptListMetaContext = 9,
    kOptSetMetaContext = 10,
};

enum OptionReplyType : uint32_t {
    kRepAck = 1,
    kRepServer = 2,
    kRepInfo = 3,
    kRepMetaContext = 4,
    kRepErrorBit = 1u << 31,
    kRepErrUnsupported = kRepErrorBit | 1,
    kRepErrPolicy = kRepErrorBit | 2,
    kRepErrInvalid = kRepErrorBit | 3,
    kRepErrTlsRequired = kRepErrorBit | 5,
    kRepErrUnknown = kRepErrorBit | 6,
    kRepErrShutdown = kRepErrorBit | 7,
    kRepErrBlockSizeRequired = kRepErrorBit | 8,
    kRepErrTooBig = kRepErrorBit | 9,
};

enum InfoType : uint16_t { kInfoExport = 0, kInfoName = 1, kInfoDescription = 2, kInfoBlockSize = 3 };

struct InfoExport {
    be16 type;
    be64 size;
    be16 flags;
};
static_assert(sizeof(InfoExport) == 12);

struct InfoBlockSize {
    be16 type;
    be32 minimum;
    be32 preferred;
    be32 maximum;
};
static_assert(sizeof(InfoBlockSize) == 14);

// What follows NBD_OPT_EXPORT_NAME instead of an option reply; 124 zeros more unless kNoZeroes was agreed on.
struct ExportNameReply {
    be64 size;
    be16 flags;
};
static_assert(sizeof(ExportNameReply) == 10);
constexpr uint32_t kExportNameZeroes = 124;

constexpr char kBaseAllocation[] = "base:allocation";

enum TransmissionFlag : uint16_t {
    kHasFlags = 1 << 0,
    kReadOnly = 1 << 1,
    kSendFlush = 1 << 2,
    kSendFua = 1 << 3,
    kSendTrim = 1 << 5,
    kSendWriteZeroes = 1 << 6,
    kSendDf = 1 << 7,
    kCanMultiConn = 1 << 8,
    kSendCache = 1 << 10,
};

// --- Transmission ------------------------------------------------------------------------------------------

constexpr uint32_t kRequestMagic = 0x25609513;
constexpr uint32_t kSimpleReplyMagic = 0x67446698;
constexpr uint32_t kStructuredReplyMagic = 0x668e33ef;

enum Command : uint16_t {
    kCmdRead = 0,
    kCmdWrite = 1,
    kCmdDisconnect = 2,
    kCmdFlush = 3,
    kCmdTrim = 4,
    kCmdCache = 5,
    kCmdWriteZeroes = 6,
    kCmdBlockStatus = 7,
};

enum CommandFlag : uint16_t {
    kFlagFua = 1 << 0,
    kFlagNoHole = 1 << 1,
    kFlagDf = 1 << 2,  // don't fragment
    kFlagReqOne = 1 << 3,
    kFlagFastZero = 1 << 4,
};

struct Request {
    be32 magic;
    be16 flags;
    be16 type;
    be64 cookie;  // the client's; comes back in the reply
    be64 offset;
    be32 length;
};
static_assert(sizeof(Request) == 28);

struct SimpleReply {
    be32 magic;
    be32 error;
    be64 cookie;
};
static_assert(sizeof(SimpleReply) == 16);

struct Chunk {
    be32 magic;
    be16 flags;
    be16 type;
    be64 cookie;
    be32 length;  // of what follows
};
static_assert(sizeof(Chunk) == 20);

constexpr uint16_t kChunkDone = 1 << 0;  // of Chunk::flags: the request's last

enum ChunkType : uint16_t {
    kChunkNone = 0,
    kChunkOffsetData = 1,   // be64 offset, data
    kChunkOffsetHole = 2,   // be64 offset, be32 length
    kChunkBlockStatus = 5,  // be32 context, BlockDescriptor...
    kChunkErrorBit = 1 << 15,
    kChunkError = kChunkErrorBit | 1,        // be32 error, be16 length of the message, message
    kChunkErrorOffset = kChunkErrorBit | 2,  // the same, be64 offset
};

struct BlockDescriptor {
    be32 length;
    be32 flags;
};
// Flags of the context base:allocation.
constexpr uint32_t kStateHole = 1 << 0;
constexpr uint32_t kStateZero = 1 << 1;

// What errors are called on the wire: Linux's numbers, whatever the two sides run.
enum WireError : uint32_t {
    kOk = 0,
    kEperm = 1,
    kEio = 5,
    kEnomem = 12,
    kEinval = 22,
    kEnospc = 28,
    kEoverflow = 75,
    kEnotsup = 95,
    kEshutdown = 108,
};

}  // namespace inspect::nbd
