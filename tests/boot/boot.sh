# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# One boot of a guest under QEMU's TCG, and what it says of itself on its serial console (tree.sh).

ovmf=
for file in /usr/share/ovmf/OVMF.fd /usr/share/qemu/OVMF.fd; do [ ! -e "$file" ] || ovmf=$file; done

# boots bios|uefi DISK...: boots from the first disk without changing any. Leaves the guest's words in ./serial, what is for the proof in
# ./said, and how long it took in $seconds. Without a login prompt it calls `fail`, of whoever sources this.
boots() {
    local options=(-accel tcg -m 768 -display none -no-reboot -nic none -serial file:serial) firmware=$1 disk qemu
    shift
    for disk; do
        options+=(-drive "file=$disk,if=virtio,snapshot=on,format=$(case $disk in *.qcow2) echo qcow2 ;; *) echo raw ;; esac)")
    done
    [ "$firmware" = bios ] || options+=(-bios "$ovmf")
    : >serial
    SECONDS=0
    qemu-system-x86_64 "${options[@]}" 2>qemu.log &
    qemu=$!
    until grep -aq 'login: ' serial; do
        sleep 1
        if ! kill -0 "$qemu" 2>/dev/null || [ "$SECONDS" -gt "${BOOT_SECONDS:-1800}" ] ||
            grep -aqE 'emergency mode|Kernel panic|grub( rescue)?>|\(initramfs\)' serial; then
            kill "$qemu" 2>/dev/null || true
            tail -n 20 serial qemu.log
            fail "no login prompt after $SECONDS s"
        fi
    done
    seconds=$SECONDS
    kill "$qemu"
    wait "$qemu" 2>/dev/null || true
    tr -d '\r' <serial | sed -n 's/.*PROOF //p' >said
}

# number disk|root: its size, as the guest said it.
number() { sed -nE "s/.*$1=([0-9]+).*/\1/p" said; }
