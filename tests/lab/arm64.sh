# The lab's arm64 engine: Debian's own arm64 kernel and packages on an emulated board. lab.sh reads this file.
#
# Every instruction is emulated (TCG), so it is slow, ten times and more; but it is what a Pi runs: the kernel that Debian
# ships, its drivers, its C library, and programs made for aarch64. Nothing of it is compiled here.
# What it has of a board: vivid (a camera with raw pictures), snd-aloop (a sound card) and the pins of
# the machine's own PL061 (/dev/gpiochip0; its line 3 is the power button). Each as the guest loads them.

ARM64_PACKAGES=systemd,systemd-sysv,dbus,udev,kmod,iproute2,procps,netbase,libasound2,busybox-static
# Modules taken from Debian's kernel, with what they depend on; those that reach the disk go into the initramfs too.
ARM64_INITRD="virtio_pci virtio_blk squashfs overlay 9pnet_virtio 9p virtio_net"
ARM64_MODS="$ARM64_INITRD virtio-rng af_packet autofs4 fuse configfs vivid snd-aloop"

# arm64_programs on|off: lets this machine's kernel start arm64 programs, by user emulation, while the guest's
# packages are configured. A machine that can already is left as it is.
BINFMT=/proc/sys/fs/binfmt_misc
arm64_programs() {
    case $1 in
    on) if [ ! -e $BINFMT/register ]; then
            mount -t binfmt_misc binfmt_misc $BINFMT || die "cannot mount $BINFMT: this kernel lacks binfmt_misc"
            binfmt_mounted=yes
        fi
        if [ -e $BINFMT/qemu-aarch64 ] || [ -e $BINFMT/farol-aarch64 ]; then return; fi
        # An ELF file of 64 bits, little-endian, for machine 183. F: the interpreter is opened now, so that it is
        # there inside the guest's root.
        echo ':farol-aarch64:M::\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:/usr/bin/qemu-aarch64-static:F' >$BINFMT/register ;;
    off) [ ! -e $BINFMT/farol-aarch64 ] || echo -1 >$BINFMT/farol-aarch64
        [ -z "${binfmt_mounted:-}" ] || umount $BINFMT ;;
    esac
}

# Its kernel comes as a file, not installed, since the initramfs is made here. Only the apt inside mmdebstrap knows
# arm64's packages.
arm64_rootfs() {
    PACKAGES=$ARM64_PACKAGES
    arm64_programs on
    trap 'arm64_programs off' EXIT
    # shellcheck disable=SC2016
    rootfs --architectures=arm64 --skip=check/qemu --customize-hook='cd "$1/var/lib" && export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" &&
        apt-get -qq download "$(apt-cache depends linux-image-arm64 | sed -n "s/.*Depends: *//p" | head -1)"'
    arm64_programs off
    trap - EXIT
}

build_arm64() {
    local deb key k=$C/arm64-kernel kv m
    if ls "$C"/rootfs/var/lib/linux-image-*.deb >/dev/null 2>&1; then
        rm -f "$C"/debs/linux-image-*.deb
        mv "$C"/rootfs/var/lib/linux-image-*.deb "$C/debs/"
    fi
    deb=$(ls "$C"/debs/linux-image-*.deb)
    touch "$deb"
    key="$deb $ARM64_INITRD $ARM64_MODS $(hash_of "$HERE/guest/initrd-init")"
    done_if arm64 "$key" && return
    say "arm64: unpack ${deb##*/}"
    rm -rf "$k" "$C/arm64-mod"; dpkg -x "$deb" "$k"
    kv=$(ls "$k/lib/modules"); depmod -b "$k" "$kv"
    m=$C/arm64-mod/lib/modules/$kv; mkdir -p "$m"
    arm64_modules() { local n; for n; do modprobe -d "$k" -S "$kv" --show-depends "$n" || die "no module $n in $kv"; done | awk '$1 == "insmod" && !s[$2]++ {print $2}'; }
    arm64_modules $ARM64_MODS | while read -r f; do install -D -m644 "$f" "$m/${f#*/lib/modules/$kv/}"; done
    cp "$k/lib/modules/$kv"/modules.{builtin,builtin.modinfo,order} "$m/"; depmod -b "$C/arm64-mod" "$kv"
    arm64_modules $ARM64_INITRD >"$C/arm64-initrd.list"
    initrd "$C/rootfs/bin/busybox" <"$C/arm64-initrd.list"
    cp "$k/boot/vmlinuz-$kv" "$C/vmlinuz-arm64"
    rm -rf "$k" "$C/arm64-initrd.list"
    mark arm64 "$key"
}

# The machine, as arguments of qemu: $1 is the memory in MiB, the rest are taps.
# The processor of a Pi 4; `max` would emulate pointer authentication too, at a third of the speed.
arm64_machine() {
    local mem=$1 n=0 tap; shift
    printf '%s\n' qemu-system-aarch64 -accel tcg,thread=multi -cpu cortex-a72 -M virt -smp 2 -m "$mem"
    for tap; do
        # Empty ROM: there is nothing to boot from the network, and the file is in a package of its own.
        printf '%s\n' -netdev "tap,id=n$n,ifname=$tap,script=no,downscript=no" -device "virtio-net-pci,netdev=n$n,romfile="
        n=$((n + 1))
    done
}
