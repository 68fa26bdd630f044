#!/bin/sh
# shellcheck source-path=SCRIPTDIR disable=SC2154  # kernel.sh sets what choose_kernel says it sets
# image.sh plan      say what `make` would do; nothing when all is there; change nothing
# image.sh make      have the guest image that fits this host; print what was done
# image.sh verify    print a "drift: ..." line for everything that is not as `make` leaves it
#
# An image is a folder VM_DIR/images/SHA256 (root.ext4 vmlinuz initramfs engine.ext4 manifest.json), named by all that
# went in; VM_DIR/image is a link to the one in use. It is made in a folder that does not count and renamed at the end.
# No mounts, no loop devices: file systems are written by mkfs.ext4 from folders.
#
# From the environment: VM_DIR IMAGE (the perf-tools image) GUEST_PACKAGES KERNEL KERNEL_PACKAGE FREE_MB ENGINE (yes, no)
# ENGINE_FREE_MB WORK_DIR (empty: beside the images) KEEP (how many images stay).
set -eu
export LC_ALL=C DEBIAN_FRONTEND=noninteractive DOCKER_CLI_HINTS=false
FILES=$(dirname "$0")
mode=$1
images=$VM_DIR/images
making=$images/.making
work=${WORK_DIR:-$images}/.work
# Sockets bear no long paths.
run=/run/perfctl-vm-image

# To `verify` what cannot be made is drift, too.
fail() {
    if [ "$mode" = verify ]; then
        echo "drift: no guest image: $*"
        exit 0
    fi
    echo "no guest image: $*" >&2
    exit 1
}

# shellcheck source=kernel.sh
. "$FILES/kernel.sh"
# shellcheck source=initramfs.sh
. "$FILES/initramfs.sh"
# shellcheck source=engine.sh
. "$FILES/engine.sh"
# shellcheck source=old.sh
. "$FILES/old.sh"

# -- what is wanted ----------------------------------------------------------------------------------------------------

check_tools() {
    for tool in docker mkfs.ext4 depmod flock; do
        command -v "$tool" > /dev/null || fail "this host has no $tool, which a guest image is made with"
    done
    BUSYBOX=$(command -v busybox) || fail "this host has no busybox (in Debian: busybox-static)"
    if ldd "$BUSYBOX" > /dev/null 2>&1; then
        fail "$BUSYBOX needs libraries, and a guest starts without any (in Debian: busybox-static)"
    fi
    for key in id_ed25519.pub guest_host_key guest_host_key.pub; do
        [ -r "$VM_DIR/$key" ] || fail "there is no $VM_DIR/$key: the role perf_vm_host makes it"
    done
}

find_image() {
    image_id=$(docker image inspect -f '{{.Id}}' "$IMAGE" 2> /dev/null) \
        || fail "this host has no image $IMAGE: the role perf_image makes it"
    image_bytes=$(docker image inspect -f '{{.Size}}' "$IMAGE")
}

digest() { sha256sum | cut -d ' ' -f 1; }

# All that decides what is made, except image and kernel. The keys are in every image.
find_versions() {
    guest_image=perfctl/perf-tools-guest:$(
        { echo "$image_id $GUEST_PACKAGES"; cat "$FILES/guest/Dockerfile"; } | digest | cut -c 1-12
    )
    recipe_version=$(
        {
            cat "$FILES"/*.sh "$FILES/modules.awk" "$FILES"/guest/*
            cat "$VM_DIR/id_ed25519.pub" "$VM_DIR/guest_host_key.pub"
            echo "$GUEST_PACKAGES $FREE_MB $ENGINE $ENGINE_FREE_MB"
        } | digest
    )
    engine_version=$({ echo "$image_id $IMAGE $ENGINE_FREE_MB"; cat "$FILES/engine.sh"; } | digest)
}

find_key() {
    kernel_digest=$(digest < "$kernel_file")
    key=$(echo "$image_id $kernel_release $kernel_source $kernel_digest $recipe_version" | digest)
}

is_there() { [ -f "$images/$1/manifest.json" ]; }

in_use() { basename "$(readlink "$VM_DIR/image" 2> /dev/null)"; }

# -- making ------------------------------------------------------------------------------------------------------------

# One at a time: what an earlier one that was killed left behind is nobody's.
alone() {
    mkdir -p "$images"
    chmod 0711 "$images"
    exec 9> "$images/.lock"
    flock -w 1800 9 || fail "another perfctl makes an image here, for 30 minutes already"
}

clean_up() {
    stop_engine
    stop_stray_engine
    docker rm -f perfctl-vm-image > /dev/null 2>&1 || true
    rm -rf "$making" "$work" "$run" "$VM_DIR"/kernels/*.new
}

# Of a make that was killed. The pid may be another's by now: only what runs on our socket is ours.
stop_stray_engine() {
    pid=$(cat "$run/pid" 2> /dev/null) || return 0
    if tr '\0' ' ' 2> /dev/null < "/proc/$pid/cmdline" | grep -q "unix://$run/socket"; then
        kill "$pid" || true
        tries=100
        while [ -d "/proc/$pid" ] && [ "$tries" -gt 0 ]; do
            sleep 0.1
            tries=$((tries - 1))
        done
    fi
}

# need_space FOLDER BYTES
need_space() {
    free_kb=$(df -Pk "$1" | awk 'NR == 2 { print $4 }')
    [ "$free_kb" -gt $(($2 / 1024)) ] \
        || fail "an image needs $(($2 / 1000000)) MB in $1, where $((free_kb / 1000)) MB are free"
}

# A folder and a disk of the root, then the same of the engine; a folder is gone when the next is made.
check_space() {
    mkdir -p "$making" "$work"
    need_space "$making" $((image_bytes * 5))
    need_space "$work" $((image_bytes * 3))
    if [ "$ENGINE" = yes ]; then check_engine_folder "$work"; fi
}

build_guest_image() {
    if docker image inspect "$guest_image" > /dev/null 2>&1; then return; fi
    docker build --network host --build-arg PERF_TOOLS="$IMAGE" --build-arg GUEST_PACKAGES="$GUEST_PACKAGES" \
        --label perfctl.vm-image=yes --tag "$guest_image" "$FILES/guest" > "$work/build.log" 2>&1 \
        || fail "the image for guests cannot be built: $(grep -E '^(E:|refused:)' "$work/build.log" | tail -n 2 | xargs)" \
            "$(tail -n 1 "$work/build.log")"
    echo "built $guest_image"
}

unpack_guest_image() {
    mkdir -p "$1"
    docker create --name perfctl-vm-image "$guest_image" /bin/true > /dev/null
    { docker export perfctl-vm-image || touch "$work/export-failed"; } \
        | tar -x --xattrs --xattrs-include='*' --numeric-owner -C "$1" 2> "$work/tar.log" \
        || fail "the root file system cannot be unpacked: $(head -n 1 "$work/tar.log")"
    docker rm -f perfctl-vm-image > /dev/null
    [ ! -e "$work/export-failed" ] || fail "the root file system of $guest_image cannot be read"
}

# What a guest may load later: networks, and what containers need.
MORE_MODULES='^kernel/(net|lib|crypto|arch)/|^kernel/fs/(fuse|overlayfs)/'
MORE_MODULES="$MORE_MODULES"'|/(dummy|ipvlan|loop|macvlan|tun|veth|virtio[a-z_-]*|vxlan)[.]ko'

# add_modules ROOT
add_modules() {
    target=$1/lib/modules/$kernel_release
    mkdir -p "$target"
    modules_in "$kernel_modules" "$DRIVERS" "$MORE_MODULES" > "$work/modules"
    (cd "$kernel_modules" && xargs cp --parents -t "$target") < "$work/modules"
    cp "$kernel_modules"/modules.builtin* "$kernel_modules/modules.order" "$target"
    depmod -b "$1" "$kernel_release"
}

# make_a_guest ROOT: ours, and nothing of what Docker leaves in a root file system.
make_a_guest() {
    rm -f "$1/.dockerenv"
    mkdir -p "$1/perfctl/dev" "$1/scratch" "$1/var/lib/docker"
    ln -s /proc/self/fd "$1/perfctl/dev/fd"
    for stream in 0:stdin 1:stdout 2:stderr; do ln -s "fd/${stream%:*}" "$1/perfctl/dev/${stream#*:}"; done
    # Where the kernel's /dev is mounted, two file systems go.
    mkdir -p "$1/perfctl/dev/pts" "$1/perfctl/dev/shm"
    install -m 0755 "$FILES/guest/init" "$BUSYBOX" "$1/perfctl"
    install -m 0755 "$FILES/guest/perfctl-poweroff" "$1/usr/local/sbin"
    install -m 0644 "$FILES/guest/fstab" "$FILES/guest/sshd_config" "$1/perfctl"
    install -m 0600 "$VM_DIR/guest_host_key" "$1/perfctl/host_key"
    install -m 0644 "$VM_DIR/id_ed25519.pub" "$1/perfctl/authorized_keys"
    # No password either way; but to sshd a "!" says that the account is locked. sh starts faster than bash.
    sed -i 's/^root:!/root:*/' "$1/etc/shadow"
    sed -i '/^root:/s|/bin/bash$|/bin/sh|' "$1/etc/passwd"
}

# make_disk FOLDER TARGET FREE_MB: its UUID is made from what is in the image.
make_disk() {
    used_kb=$(du -sk "$1" | cut -f 1)
    uuid=$(echo "$key ${2##*/}" | md5sum | sed -E 's/^(.{8})(.{4})(.{4})(.{4})(.{12}).*/\1-\2-\3-\4-\5/')
    mkfs.ext4 -q -F -b 4096 -m 0 -U "$uuid" -E "hash_seed=$uuid,root_owner=0:0" -d "$1" \
        "$2" "$((used_kb * 11 / 10 + 65536 + $3 * 1024))k" > "$work/mkfs.log" 2>&1 \
        || fail "$2 cannot be written: $(tail -n 1 "$work/mkfs.log")"
}

make_root() {
    unpack_guest_image "$work/root"
    add_modules "$work/root"
    make_a_guest "$work/root"
    make_disk "$work/root" "$making/root.ext4" "$FREE_MB"
    rm -rf "$work/root"
}

# The engine's disk depends on nothing else that is in an image: another image of this host may have it.
add_engine() {
    for manifest in "$images"/*/manifest.json; do
        if grep -qs "\"engine_version\": \"$engine_version\"" "$manifest"; then
            ln "$(dirname "$manifest")/engine.ext4" "$making/engine.ext4"
            return
        fi
    done
    make_engine_disk "$work/engine" "$run" "$making/engine.ext4"
}

quoted_list() { sed -e 's/.*/"&"/' "$@" | paste -s -d , | sed 's/,/, /g'; }

write_manifest() {
    cat > "$making/manifest.json" << END
{
    "image_id": "$image_id",
    "kernel_release": "$kernel_release",
    "kernel_source": "$kernel_source",
    "kernel_reason": "$kernel_reason",
    "kernel_sha256": "$kernel_digest",
    "recipe_version": "$recipe_version",
    "engine_version": "$([ "$ENGINE" != yes ] || echo "$engine_version")",
    "modules": [$(quoted_list "$work/initramfs.drivers")]
}
END
}

# The host key of all guests is in it: for root and whom libvirt runs qemu as.
set_permissions() {
    group=root
    for user in libvirt-qemu qemu; do
        if id "$user" > /dev/null 2>&1; then group=$(id -g "$user"); break; fi
    done
    chgrp "$group" "$making"/*
    chmod 0640 "$making"/*
    chmod 0711 "$making"
    chmod 0644 "$making/manifest.json"
}

make_image() {
    check_space
    started=$(date +%s)
    build_guest_image
    cp "$kernel_file" "$making/vmlinuz"
    make_initramfs "$kernel_modules" "$work/initramfs" "$making/initramfs"
    make_root
    echo "made root, kernel and initramfs in $(($(date +%s) - started)) s, kernel $kernel_release ($kernel_source)" \
        "${kernel_reason:+because $kernel_reason}"
    started=$(date +%s)
    if [ "$ENGINE" = yes ]; then
        add_engine
        echo "made the engine's disk in $(($(date +%s) - started)) s"
    fi
    write_manifest
    set_permissions
    sync -f "$making"
    rm -rf "${images:?}/$key"
    mv "$making" "$images/$key"
}

use_image() {
    if [ "$(in_use)" = "$key" ]; then return; fi
    ln -sfn "images/$key" "$VM_DIR/image.new"
    mv -T "$VM_DIR/image.new" "$VM_DIR/image"
    echo "in use: images/$key"
}

# -- old ones ----------------------------------------------------------------------------------------------------------

remove_old() {
    for old in $(old_images); do
        rm -rf "${images:?}/$old"
        echo "removed images/$old"
    done
    docker image ls -q --no-trunc --filter label=perfctl.vm-image --format '{{.Repository}}:{{.Tag}}' \
        | grep -vxF "$guest_image" | while read -r old; do
            if docker image rm "$old" > /dev/null 2>&1; then echo "removed $old"; fi
        done
}

# -- the three modes ---------------------------------------------------------------------------------------------------

make() {
    alone
    trap clean_up EXIT
    trap 'exit 143' TERM
    trap 'exit 130' INT
    clean_up
    choose_kernel / "$(uname -r)"
    find_key
    is_there "$key" || make_image
    use_image
    remove_old
}

# Nothing is downloaded: without the kernel there is no image either.
needs_download() {
    [ "$KERNEL" != host ] && [ ! -d "$VM_DIR/kernels/$KERNEL_PACKAGE" ] \
        && { [ "$KERNEL" = distribution ] || [ -n "$(why_not_host / "$(uname -r)")" ]; }
}

# Sets `planned`: nothing when the image that fits is in use.
find_plan() {
    planned=
    if needs_download; then
        planned="would download $KERNEL_PACKAGE and make a guest image"
        return
    fi
    choose_kernel / "$(uname -r)"
    find_key
    if ! is_there "$key"; then
        planned="would make images/$key"
    elif [ "$(in_use)" != "$key" ]; then
        planned="would use images/$key"
    fi
}

plan() {
    find_plan
    if [ -n "$planned" ]; then echo "$planned"; fi
}

drift() { echo "drift: $*"; }

verify() {
    find_plan
    case $planned in
        '') ;;
        "would use "*) drift "another guest image is in use than the one that fits" ;;
        *) drift "there is no guest image of this perf-tools image, kernel and recipe"; return ;;
    esac
    wanted="root.ext4 vmlinuz initramfs"
    if [ "$ENGINE" = yes ]; then wanted="$wanted engine.ext4"; fi
    for file in $wanted; do
        [ -s "$images/$key/$file" ] || drift "the guest image has no $file"
    done
    [ "$(digest < "$images/$key/vmlinuz")" = "$kernel_digest" ] || drift "the kernel in the guest image was changed"
}

check_tools
find_image
find_versions
case $mode in
    plan | make | verify) "$mode" ;;
    *) echo "image.sh: unknown mode $mode" >&2; exit 2 ;;
esac
