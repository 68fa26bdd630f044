# shellcheck shell=sh
# The first, small root file system: a static busybox and the drivers to get at the disk and the network, loaded in the
# order of their dependencies. Given: FILES, kernel.sh's functions.

# unpack_module FILE TARGET: insmod of busybox reads no compressed modules.
unpack_module() {
    case $1 in
        *.xz) xz -dc "$1" > "$2" ;;
        *.zst) zstd -qdc "$1" > "$2" ;;
        *.gz) gzip -dc "$1" > "$2" ;;
        *) cp "$1" "$2" ;;
    esac
}

# drivers_of FOLDER: paths in loading order. Older kernels have ext4's checksums in a module that no dependency names.
drivers_of() {
    modules_in "$1" crc32c_generic 2> /dev/null || true
    modules_in "$1" "$DRIVERS"
}

# make_initramfs MODULES_FOLDER WORK_FOLDER TARGET
make_initramfs() {
    mkdir -p "$2/bin" "$2/dev" "$2/proc" "$2/root" "$2/sys" "$2/modules"
    cp "$FILES/guest/init-initramfs" "$2/init"
    cp "$BUSYBOX" "$2/bin/busybox"
    chmod 0755 "$2/init" "$2/bin/busybox"
    number=100
    drivers_of "$1" > "$2.drivers"
    while read -r path; do
        number=$((number + 1))
        name=${path##*/}
        unpack_module "$1/$path" "$2/modules/$number-${name%%.ko*}.ko"
    done < "$2.drivers"
    find "$2" -exec touch -h -d @0 {} +
    (cd "$2" && find . | sort | "$BUSYBOX" cpio -o -H newc -R 0:0 2> /dev/null) > "$3"
}
