# shellcheck shell=sh disable=SC2154  # what is not set here is set by image.sh
# Which images may be removed. Given: VM_DIR, KEEP (how many stay), key (the one that fits this host).

# used_by_guests KEY: a guest's disks name what lies under them in their first bytes. One that names no image is a guest
# of some image: then none is removed.
used_by_guests() {
    for disk in "$VM_DIR"/guests/*/root.qcow2; do
        if [ ! -e "$disk" ]; then continue; fi
        below=$(head -c 4096 "$disk" | grep -aoE 'images/[0-9a-f]{64}' | head -n 1)
        case ${below#images/} in "$1" | '') return 0 ;; esac
    done
    return 1
}

# The newest KEEP stay, the one in use, and those of guests.
old_images() {
    # shellcheck disable=SC2012  # the names are ours, without blanks
    ls -t "$VM_DIR/images"/*/manifest.json 2> /dev/null | tail -n "+$((KEEP + 1))" | while read -r manifest; do
        old=$(basename "$(dirname "$manifest")")
        if [ "$old" != "$key" ] && ! used_by_guests "$old"; then echo "$old"; fi
    done
}
