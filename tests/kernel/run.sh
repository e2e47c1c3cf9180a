#!/usr/bin/env bash
# TL;DR: ./build.sh test kernel [-- FILTER...]   (this script wants both programs built: run.sh AGENT TESTS [ARGUMENT...])
#
# Runs the kernel tier: boots Debian's kernel in QEMU with the product as /chaos-agent and the libtest program
# as root, one test at a time. No disk, no network but what the tests make inside; nothing of this machine is
# touched. The kernel's own words go to target/kernel/console.log.
# Environment: KERNEL_SECONDS, the time limit (1800); KERNEL_KVM=1 to use /dev/kvm, where that works.
# Exit code: 0 all passed, 1 failed, 75 a part is missing.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
# shellcheck source=tests/parts.sh
. tests/parts.sh

readonly AGENT=$1 TESTS=$2
shift 2
readonly HOME_DIR=$TARGET_DIR/kernel
readonly ROOT=$HOME_DIR/root SECONDS_LIMIT=${KERNEL_SECONDS:-1800}
# What the tests may load, beside everything in net/sched; busybox's modprobe brings what these depend on.
readonly MODULES="drivers/net/dummy.ko drivers/net/ifb.ko drivers/net/veth.ko drivers/net/tun.ko
    drivers/block/loop.ko fs/ext4/ext4.ko crypto/crc32c_generic.ko fs/quota/quota_v2.ko net/netfilter/nf_tables.ko"

parts() {
    [ "$(uname -m)" = x86_64 ] || lacking "an x86_64 machine (this is $(uname -m))"
    provide qemu-system-x86_64=qemu-system-x86 cpio=cpio tc=iproute2 ping=iputils-ping \
        redis-check-rdb=redis-tools strip=binutils mke2fs=e2fsprogs || lacking "packages for the kernel tier"
    provide_busybox || lacking "busybox-static"
    kernel || lacking "Debian's kernel: apt-get download of what linux-image-amd64 depends on"
}

# The kernel package, unpacked once under target/kernel; a later run needs no network.
kernel() {
    local package folder=$HOME_DIR/debian
    if [ ! -e "$folder/.complete" ]; then
        refresh_packages || true
        package=$(apt-cache depends linux-image-amd64 2>/dev/null |
            sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
        [ -n "$package" ] && unpack "$package" "$folder" || return 1
    fi
    VMLINUZ=$(compgen -G "$folder/boot/vmlinuz-*") || return 1
    VERSION=${VMLINUZ##*/vmlinuz-}
}

# --- the file system of the virtual machine ----------------------------------------------------------

program() { # name: a program of this machine with the libraries that it loads, at the same paths
    local path library
    path=$(PATH=$PATH:/usr/sbin:/sbin command -v "$1")
    mkdir -p "$ROOT/usr/bin"
    cp -L "$path" "$ROOT/usr/bin/$1"
    while read -r library; do
        mkdir -p "$ROOT${library%/*}"
        cp -L -n "$library" "$ROOT$library"
    done < <(ldd "$path" | grep -o '/[^ ]*')
}

modules() {
    local from=$HOME_DIR/debian/lib/modules/$VERSION to=$ROOT/lib/modules/$VERSION module
    mkdir -p "$to/kernel"
    cp "$from"/modules.builtin* "$from"/modules.order "$to/"
    # busybox's depmod reads the whole tree once; then each wanted module comes with what it depends on.
    [ -e "$from/modules.dep" ] || busybox depmod -b "$HOME_DIR/debian" "$VERSION"
    for module in $MODULES $(cd "$from/kernel" && echo net/sched/*.ko); do
        sed -n "s|^\(kernel/$module\):|\1|p" "$from/modules.dep"
    done | tr ' ' '\n' | sort -u | while read -r module; do
        [ -z "$module" ] || install -D -m 644 "$from/$module" "$to/$module"
    done
    busybox depmod -b "$ROOT" "$VERSION"
}

file_system() {
    local applet name
    rm -rf "$ROOT"
    mkdir -p "$ROOT"/{bin,sbin,usr,proc,sys,dev,tmp,run,root,etc,var/tmp}
    cp /bin/busybox "$ROOT/bin/busybox"
    # Neither `busybox --install` nor its shell, which prefers its own applets: its tc, ip, ping and unshare would
    # stand in for the real ones.
    for applet in mount umount mkdir mknod cat echo sleep ls ps kill grep sed stty poweroff reboot dmesg id \
        true false yes nc wget httpd modprobe rmmod lsmod sysctl dd cp mv rm ln touch head tail chmod hostname \
        losetup mke2fs setpriv setsid taskset nice tty date env uname tr cut sort find; do
        ln -s busybox "$ROOT/bin/$applet"
    done
    ln -s /bin/modprobe "$ROOT/sbin/modprobe"
    for name in dash tc ip ping redis-cli redis-check-rdb unshare mke2fs; do
        program "$name"
    done
    ln -s /usr/bin/dash "$ROOT/bin/sh"
    # In Debian's packages the server is the checker under another name.
    ln -s redis-check-rdb "$ROOT/usr/bin/redis-server"
    # tc's tables of distributions and its plug-ins, where its package puts them.
    dpkg -L iproute2 | grep -E '/tc/.*\.(dist|so)$' | while read -r name; do
        mkdir -p "$ROOT${name%/*}"
        cp -L "$name" "$ROOT$name"
    done
    modules
    printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$ROOT/etc/passwd"
    printf '127.0.0.1 localhost\n::1 localhost\n' >"$ROOT/etc/hosts"
    cp tests/kernel/init.sh "$ROOT/init"
    cp "$AGENT" "$ROOT/chaos-agent"
    strip -o "$ROOT/tests" "$TESTS"
    printf '%s\n' --test-threads=1 "$@" >"$ROOT/arguments"
    (cd "$ROOT" && find . | cpio --quiet -o -H newc) >"$HOME_DIR/initramfs"
}

# --- running it ---------------------------------------------------------------------------------------

boot() { # ttyS0 is the kernel's console, ttyS1 what the tests print
    local accel=tcg
    [ "${KERNEL_KVM:-}" != 1 ] || accel=kvm
    # The virtual machine ends with this script, however that ends.
    exec setpriv --pdeathsig TERM timeout -k 5 "$SECONDS_LIMIT" \
        qemu-system-x86_64 -accel $accel -cpu max -smp 2 -m 1024 -kernel "$VMLINUZ" -initrd "$HOME_DIR/initramfs" -nodefaults -display none -no-reboot \
        -append "console=ttyS0 quiet loglevel=4 panic=-1 oops=panic tsc=unstable" \
        -serial "file:$HOME_DIR/console.log" -serial stdio </dev/null
}

main() {
    local status=0 code
    parts
    file_system "$@"
    say "kernel $VERSION, at most $SECONDS_LIMIT s"
    boot | tee "$HOME_DIR/tests.log" || status=$?
    code=$(sed -n 's/^kernel tier: exit code \([0-9]*\)\r*$/\1/p' "$HOME_DIR/tests.log")
    [ "$code" != 0 ] || exit 0
    [ "$status" != 124 ] || say "the virtual machine was ended after $SECONDS_LIMIT s"
    if [ -z "$code" ]; then # it never came to the end: a panic, a hang, no start
        say "the virtual machine ended early; its console's last lines:"
        tail -n 40 "$HOME_DIR/console.log" >&2
    fi
    exit 1
}

main "$@"
