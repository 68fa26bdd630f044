#!/bin/sh
# Take back what vm-host.sh and the role made of this host, by what was noted in STATE_DIR and by our own names only.
#
#   undo.sh plan     print what would be done; change nothing
#   undo.sh undo     do it and print what was done; what is left on purpose is a line "kept: ..."
#
# Given by the environment: FOLDER STATE_DIR URI BRIDGE_CONF PURGE (yes or no: packages, too) PACKAGES_LIST.
set -eu
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
export PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:${PATH:-}"
MODE=$1

# change DESCRIPTION COMMAND...
change() {
    printf '%s\n' "$1"
    shift
    [ "$MODE" = plan ] || "$@"
}
kept() { printf 'kept: %s\n' "$*"; }
fail() { printf '%s\n' "$*" >&2; exit 1; }

# -- guests ----------------------------------------------------------------------------------------------------

virsh_quietly() { timeout 60 virsh -q -c "$URI" "$@"; }

qemu_processes() {
    for process in /proc/[0-9]*; do
        if tr '\0' ' ' < "$process/cmdline" 2> /dev/null | grep -q '^[^ ]*qemu[^ ]* -name guest=perfctl-'; then
            echo "${process#/proc/}"
        fi
    done
}

# A name of ours is not enough: we know its uuid, or it carries our mark.
is_ours() {
    case $1 in perfctl-*) ;; *) return 1 ;; esac
    uuid=$(virsh_quietly domuuid "$1" 2> /dev/null) || return 1
    # shellcheck disable=SC2153  # from the environment
    [ "$uuid" = "$(cat "$FOLDER/guests/$1/uuid" 2> /dev/null)" ] && return
    virsh_quietly dumpxml "$1" 2> /dev/null | sed -n '/<metadata>/,/<\/metadata>/p' | grep -q perfctl
}

end_guest() { virsh_quietly destroy "$1" > /dev/null || ! virsh_quietly domstate "$1" > /dev/null 2>&1; }

end_guests() {
    command -v virsh > /dev/null || return 0
    if ! guests=$(virsh_quietly list --name 2> /dev/null); then
        [ -z "$(qemu_processes)" ] || fail "guests of perfctl run, but libvirt does not answer at $URI: start it, then undo again"
        return 0
    fi
    for guest in $guests; do
        if is_ours "$guest"; then
            change "end the guest $guest" end_guest "$guest"
        elif virsh_quietly dumpxml "$guest" | grep -qF -e "'$FOLDER/" -e "'$(readlink -f "$FOLDER")/"; then
            fail "the guest $guest, which is not of perfctl, has its disk in $FOLDER: end it, then undo again"
        fi
    done
}

# libvirt takes a tap away with its guest; one that is left is of a guest that died badly.
remove_taps() {
    for path in /sys/class/net/pfc*; do
        tap=${path##*/}
        if [ -e "$path/tun_flags" ] && echo "$tap" | grep -Eqx 'pfc[0-9a-f]{10}'; then
            change "remove the tap $tap" ip link del dev "$tap"
        fi
    done
}

# -- files -----------------------------------------------------------------------------------------------------

is_noted() { [ -e "$STATE_DIR/$1" ]; }

# As it was, byte for byte, when nobody has been at it since; otherwise without our line.
restore_bridge_conf() {
    if [ ! -e "$BRIDGE_CONF" ]; then return; fi
    if cmp -s "$BRIDGE_CONF" "$STATE_DIR/bridge.conf.after"; then
        if is_noted bridge.conf.before; then
            cat "$STATE_DIR/bridge.conf.before" > "$BRIDGE_CONF"
            touch -r "$STATE_DIR/bridge.conf.before" "$BRIDGE_CONF"
        else
            rm "$BRIDGE_CONF"
        fi
    else
        grep -vxF -f "$STATE_DIR/bridge.conf.line" "$BRIDGE_CONF" > "$STATE_DIR/bridge.conf.new" || true
        cat "$STATE_DIR/bridge.conf.new" > "$BRIDGE_CONF"
        [ -s "$BRIDGE_CONF" ] || is_noted bridge.conf.before || rm "$BRIDGE_CONF"
    fi
}
take_back_bridge_conf() {
    restore_bridge_conf
    rm -f "$STATE_DIR"/bridge.conf.*
}
undo_bridge_conf() {
    if is_noted bridge.conf.line; then
        change "take '$(cat "$STATE_DIR/bridge.conf.line")' out of $BRIDGE_CONF" take_back_bridge_conf
    fi
}

remove_storage() {
    for name in guests addresses images image kernels recipe host.json known_hosts id_ed25519 id_ed25519.pub \
        guest_host_key guest_host_key.pub; do
        rm -rf "${storage:?}/$name"
    done
    [ ! -L "$FOLDER" ] || rm "$FOLDER"
    rm "$STATE_DIR/storage"
}
# The image that the guests' disk was made from lies in the host's engine; it carries a label of ours.
guest_images() {
    command -v docker > /dev/null || return 0
    timeout 60 docker image ls --filter label=perfctl.vm-image --format '{{.Repository}}:{{.Tag}}' 2> /dev/null \
        | grep -v '<none>' || true
}
remove_guest_image() {
    docker rm -f perfctl-vm-image > /dev/null 2>&1 || true
    docker image rm "$1" > /dev/null
}
undo_guest_images() {
    for name in $(guest_images); do change "remove the image $name" remove_guest_image "$name"; done
}
undo_storage() {
    is_noted storage || return 0
    storage=$(cat "$STATE_DIR/storage")
    change "remove keys, images and disks of guests from $storage" remove_storage
}

# The last made goes first. One that somebody else uses by now stays.
undo_folders() {
    is_noted folders || return 0
    sed -n '1!G;h;$p' "$STATE_DIR/folders" | while read -r folder; do
        if [ "$MODE" = plan ]; then
            echo "remove $folder when it is empty"
        elif rmdir "$folder" 2> /dev/null; then
            echo "remove $folder"
        elif [ -d "$folder" ]; then
            kept "$folder, because there is something else in it"
        fi
    done
    [ "$MODE" = plan ] || rm "$STATE_DIR/folders"
}

# -- services --------------------------------------------------------------------------------------------------

disable_unit() { systemctl -q disable "$1"; }
enable_unit() { systemctl -q enable "$1"; }
stop_unit() { systemctl stop "$1"; }

others_run() {
    for guest in $(virsh_quietly list --name 2> /dev/null); do is_ours "$guest" || return 0; done
    return 1
}

undo_units() {
    is_noted units || return 0
    if others_run; then
        kept "libvirt, because it runs other guests"
        return
    fi
    # Disabling one takes along those that it names, so what was enabled is enabled again in the end.
    while read -r unit enabled active; do
        if [ "$enabled" != enabled ] && [ "$(systemctl is-enabled "$unit" 2> /dev/null)" = enabled ]; then
            change "no longer start $unit at boot" disable_unit "$unit"
        fi
    done < "$STATE_DIR/units"
    while read -r unit enabled active; do
        if [ "$active" != active ] && systemctl -q is-active "$unit" 2> /dev/null; then
            change "stop $unit" stop_unit "$unit"
        fi
    done < "$STATE_DIR/units"
    while read -r unit enabled active; do
        if [ "$enabled" = enabled ] && [ "$(systemctl is-enabled "$unit" 2> /dev/null)" = disabled ]; then
            change "start $unit at boot, as it was" enable_unit "$unit"
        fi
    done < "$STATE_DIR/units"
    [ "$MODE" = plan ] || rm "$STATE_DIR/units"
}

# -- packages --------------------------------------------------------------------------------------------------

ours_installed() {
    while read -r package; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2> /dev/null)" = installed ] && echo "$package"
    done < "$STATE_DIR/packages"
    return 0
}

get() { apt-get -q -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@"; }

purge() {
    # shellcheck disable=SC2086  # one package a word
    get purge $1 > "$STATE_DIR/purge.log" 2>&1 || { grep -E '^(E|W): ' "$STATE_DIR/purge.log" >&2; exit 1; }
    rm "$STATE_DIR/purge.log"
    # They are no longer among those that we installed.
    if [ -e "$PACKAGES_LIST" ]; then
        grep -vxF -f "$STATE_DIR/packages" "$PACKAGES_LIST" > "$PACKAGES_LIST.new" || true
        mv "$PACKAGES_LIST.new" "$PACKAGES_LIST"
        [ -s "$PACKAGES_LIST" ] || rm "$PACKAGES_LIST"
    fi
    rm "$STATE_DIR/packages"
}

undo_packages() {
    is_noted packages || return 0
    packages=$(ours_installed | xargs)
    if [ -z "$packages" ]; then
        [ "$MODE" = plan ] || rm "$STATE_DIR/packages"
        return
    fi
    if [ "$PURGE" != yes ]; then
        kept "the packages that perfctl installed for virtual machines: $packages (--purge-packages removes them)"
        return
    fi
    # shellcheck disable=SC2086  # one package a word
    others=$(get -s purge $packages | sed -n 's/^\(Remv\|Purg\) \([^ ]*\).*/\2/p' | sort -u \
        | grep -vxF -f "$STATE_DIR/packages" | xargs) || true
    if [ -n "$others" ]; then
        kept "the packages that perfctl installed, because $others, which it did not, would go with them: $packages"
    else
        change "purge $packages" purge "$packages"
    fi
}

if [ ! -d "$STATE_DIR" ]; then exit 0; fi
end_guests
remove_taps
undo_bridge_conf
undo_storage
undo_guest_images
undo_folders
undo_units
undo_packages
[ "$MODE" = plan ] || rmdir "$STATE_DIR" 2> /dev/null || true
