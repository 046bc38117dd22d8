#!/usr/bin/perl
# SPDX-License-Identifier: GPL-2.0-or-later
#
# dirty-xfs-log.pl IMAGE OLD NEW: leaves a committed transaction in the log of a freshly made XFS (version 5, a
# root directory in short form), as a machine does that loses power: until the log is replayed, the root
# directory has an entry OLD, afterwards it is called NEW. Both names are equally long.
#
# The log record holds one inode item, laid out as in "XFS Algorithms & Data Structures", chapter "Journaling Log": what
# describes the record is big-endian, what it carries is in the byte order of the machine (format 1: little-endian).
use strict;
use warnings;

my ($image, $old, $new) = @ARGV;
die "Usage: dirty-xfs-log.pl IMAGE OLD NEW\n" unless defined $new && length $old == length $new;
open my $file, '+<:raw', $image or die "$image: $!\n";

sub get {
    my ($offset, $length) = @_;
    seek $file, $offset, 0;
    read($file, my $bytes, $length) == $length or die "$image is too short\n";
    return $bytes;
}

my @table = map { my $c = $_; $c = $c & 1 ? ($c >> 1) ^ 0x82f63b78 : $c >> 1 for 1 .. 8; $c } 0 .. 255;
sub crc32c {
    my ($crc, $bytes) = @_;
    $crc = ($crc >> 8) ^ $table[($crc ^ $_) & 255] for unpack 'C*', $bytes;
    return $crc;
}

# The superblock: where the log and the root directory's inode are.
my $super = get(0, 512);
my ($magic, $block_size) = unpack 'N2', $super;
die "$image is no XFS\n" unless $magic == 0x58465342;
my $uuid = substr $super, 32, 16;
my ($log_start, $root_inode) = unpack 'Q>2', substr $super, 48, 16;
my $inode_size = unpack 'n', substr $super, 104, 2;

# The root directory's inode, in the first allocation group.
my $inode_offset = $root_inode * $inode_size;
my $inode = get($inode_offset, $inode_size);
my ($inode_magic, undef, $version, $format) = unpack 'n2C2', $inode;
die "the root directory is not in short form\n" unless $inode_magic == 0x494e && $version == 3 && $format == 1;
my ($size) = unpack 'Q>', substr $inode, 56, 8;
my $entries = substr $inode, 176, $size;
$entries =~ s/\Q$old\E/$new/ or die "the root directory has no \"$old\"\n";

# The log's form of the inode's core has the same fields at the same places, in the machine's byte order.
my $core = pack('S<2C2S<L<3S<2Q<', unpack 'n2C2nN3n2Q>', substr $inode, 0, 32)
    . pack('Q<5L<2S<C2L<S<2L<2L<', unpack 'Q>5N2nC2Nn2N2N', substr $inode, 32, 72)
    . pack('Q<3L<', unpack 'Q>3N', substr $inode, 104, 28) . substr($inode, 132, 12)
    . pack('Q<2', unpack 'Q>2', substr $inode, 144, 16) . substr($inode, 160, 16);
die "inode core: " . length($core) unless length $core == 176;

# An inode cluster is 32 inodes; the item names its buffer in sectors.
my $cluster_size = 32 * $inode_size;
my $cluster = int($inode_offset / $cluster_size) * $cluster_size;
my $region = $entries . "\0" x (-length($entries) % 4);
my $item = pack 'S<2L<S<2L<Q<x16q<l<2', 0x123b, 3, 3, 0, length $region, 0, $root_inode, $cluster / 512,
    $cluster_size / 512, $inode_offset - $cluster;

# The record: operations, each with its header; the checkpoint's transaction begins and is committed.
my $transaction = 0x1badcafe;
my $operations = 0;
sub operation {
    my ($flags, $bytes) = @_;
    $operations++;
    return pack('N2C2n', $transaction, length $bytes, 0x69, $flags, 0) . $bytes;
}
my $payload = operation(1, '') . operation(0, pack 'L<4', 0x5452414e, 40, $transaction, 3)
    . operation(0, $item) . operation(0, $core) . operation(0, $region) . operation(2, '');
$payload .= "\0" x (-length($payload) % 512);

# The first word of every sector is replaced by the cycle, so that a torn record is noticed; the header keeps the words.
my ($cycle, $block) = (1, 2);    # after the unmount record that mkfs wrote
my $words = '';
for (my $at = 0; $at < length $payload; $at += 512) {
    $words .= substr $payload, $at, 4, pack 'N', $cycle;
}
my $header = sub {
    return pack 'N4Q>2L<N2a256Na16Nx4', 0xfeedbabe, $cycle, 2, length $payload, $cycle << 32 | $block, $cycle << 32 | $block,
        shift, 0, $operations, $words, 1, $uuid, 32768;
};
my $crc = ~crc32c(crc32c(0xffffffff, $header->(0)), $payload) & 0xffffffff;
my $first = $header->($crc);
seek $file, $log_start * $block_size + $block * 512, 0;
print $file $first, "\0" x (512 - length $first), $payload;
close $file or die "$image: $!\n";
