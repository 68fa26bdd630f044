# shellcheck shell=sh disable=SC2034  # what is set here is read by image.sh
# The guest's kernel: the host's own where it can be read, so that native, container and guest share one; else the
# distribution's kernel for virtual machines, unpacked into a folder of ours and never installed.
#
# choose_kernel sets: kernel_source (host, distribution), kernel_reason (why it is not the host's, else empty),
# kernel_release, kernel_file, kernel_modules (the folder with modules.dep).
# Given: FILES (where modules.awk is), VM_DIR, KERNEL (auto, host, distribution), KERNEL_PACKAGE.

# What a guest cannot boot or be reached without.
DRIVERS="virtio_pci virtio_blk virtio_net ext4"

# modules_in FOLDER NAMES [REGEX]: see modules.awk.
modules_in() { awk -v wanted="$2" -v also="${3:-}" -f "$FILES/modules.awk" "$1/modules.builtin" "$1/modules.dep"; }

# host_kernel_file ROOT RELEASE: where distributions keep it; nothing when it is not there or cannot be read.
host_kernel_file() {
    for file in "$1/boot/vmlinuz-$2" "$1/lib/modules/$2/vmlinuz" "$1/usr/lib/modules/$2/vmlinuz"; do
        if [ -f "$file" ] && [ -r "$file" ]; then
            echo "$file"
            return
        fi
    done
}

# why_not_host ROOT RELEASE: why the host's kernel cannot be the guest's; nothing when it can.
why_not_host() {
    modules=$1/lib/modules/$2
    if [ -z "$(host_kernel_file "$1" "$2")" ]; then
        echo "there is no readable /boot/vmlinuz-$2"
    elif ! [ -r "$modules/modules.dep" ] || ! [ -r "$modules/modules.builtin" ]; then
        echo "there is no readable /lib/modules/$2/modules.dep and modules.builtin"
    elif ! missing=$(modules_in "$modules" "$DRIVERS" 2>&1 > /dev/null); then
        echo "kernel $2 of the host has no driver $(echo "$missing" | sed 's/^missing //' | xargs)"
    fi
}

# The package that holds the kernel: KERNEL_PACKAGE itself, or what that depends on when it is only a name for the newest.
kernel_deb() {
    apt-cache depends --important "$KERNEL_PACKAGE" 2> /dev/null \
        | awk -v package="$KERNEL_PACKAGE" '
            $1 == "Depends:" && $2 ~ /^linux-image-[0-9]/ { found = $2; exit }
            $1 == package { found = package }
            END { print found }'
}

# Of a package that apt does not know, apt says so itself.
try_download() {
    package=$(kernel_deb)
    apt-get -q download "${package:-$KERNEL_PACKAGE}" > apt.log 2>&1
}

# Lists of packages may be older than the mirror.
download_kernel() {
    try_download || { apt-get -q update > /dev/null 2>&1 || true; try_download; }
}

# merge_lib FOLDER: make FOLDER/lib a link to usr/lib, as on a host. Debian's packages have modules in lib up to 12 and in
# usr/lib from 13 on, and each release's depmod looks where its own packages have them.
merge_lib() {
    mkdir -p "$1/usr/lib"
    if [ -d "$1/lib/modules" ]; then mv "$1/lib/modules" "$1/usr/lib"; fi
    rm -rf "${1:?}/lib"
    ln -s usr/lib "$1/lib"
}

# Download and unpack into FOLDER; the rename at the end makes it count. It is kept until KERNEL_PACKAGE changes or
# somebody removes it, so that the guest's kernel changes only when somebody wants that. (No "||" after the subshell:
# it would make the shell go on after errors within.)
fetch_kernel() {
    folder=$1
    if [ -d "$folder" ]; then return; fi
    command -v dpkg-deb apt-get > /dev/null \
        || fail "no kernel for guests: $kernel_reason, and without apt no package is unpacked here"
    rm -rf "$folder.new"
    mkdir -p "$folder.new"
    (
        cd "$folder.new" || exit
        download_kernel || fail "no kernel for guests: $kernel_reason; and $KERNEL_PACKAGE cannot be downloaded:" \
            "$(grep -E '^(E|W|Err):? ' apt.log 2> /dev/null | tail -n 2 | xargs)"
        dpkg-deb -x ./*.deb .
        rm -f ./*.deb apt.log
        merge_lib .
        [ -n "$(ls lib/modules 2> /dev/null)" ] || fail "$KERNEL_PACKAGE holds no kernel"
        depmod -b . "$(ls lib/modules)"
    )
    mv "$folder.new" "$folder"
    echo "unpacked the kernel of $KERNEL_PACKAGE"
}

distribution_kernel() {
    [ -n "$KERNEL_PACKAGE" ] || fail "no kernel for guests: $kernel_reason, and perf_vm_image_kernel_package is empty"
    folder=$VM_DIR/kernels/$KERNEL_PACKAGE
    fetch_kernel "$folder"
    kernel_source=distribution
    kernel_release=$(ls "$folder/lib/modules")
    kernel_file=$(host_kernel_file "$folder" "$kernel_release")
    kernel_modules=$folder/lib/modules/$kernel_release
    [ -n "$kernel_file" ] || fail "$KERNEL_PACKAGE holds no vmlinuz-$kernel_release"
}

# choose_kernel ROOT RELEASE
choose_kernel() {
    if [ "$KERNEL" = distribution ]; then
        kernel_reason="perf_vm_image_kernel says distribution"
    else
        kernel_reason=$(why_not_host "$1" "$2")
    fi
    if [ -n "$kernel_reason" ]; then
        [ "$KERNEL" != host ] || fail "no kernel for guests: $kernel_reason"
        distribution_kernel
        return
    fi
    kernel_source=host
    kernel_release=$2
    kernel_file=$(host_kernel_file "$1" "$2")
    kernel_modules=$1/lib/modules/$2
}
