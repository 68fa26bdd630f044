#!/bin/sh
# What makes a host one for virtual machines, but for its packages and its service.
#
#   vm-host.sh inspect    say why it must not be done ("refused: ..." lines), or what there is: "missing: PACKAGE",
#                         "systemd", "enabled", "answers"
#   vm-host.sh note       keep what undo has to know and can only be seen now; print what was kept
#   vm-host.sh before     before packages are installed: keep which ones there are
#   vm-host.sh after      after packages were installed: keep which ones are new
#   vm-host.sh plan       print what `up` would change; change nothing
#   vm-host.sh up         make it so and print what was changed; nothing when all is as it must be
#   vm-host.sh verify     print what is not as it must be ("drift: ..." lines); change nothing
#
# Given by the environment: FOLDER STATE_DIR STORAGE BRIDGE BRIDGE_COMES (yes or no) MTU ADDRESS (with prefix length)
# GUEST_RANGE CONTAINER_RANGE PACKAGES UNITS SERVICE URI BRIDGE_CONF.
set -eu
export LC_ALL=C PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:${PATH:-}"
MODE=$1
ALIAS=perfctl-guest

refuse() { printf 'refused: %s\n' "$*"; }
drift() { printf 'drift: %s\n' "$*"; }

# change DESCRIPTION COMMAND...
change() {
    printf '%s\n' "$1"
    shift
    [ "$MODE" = plan ] || "$@"
}

# -- what there is ---------------------------------------------------------------------------------------------

missing_packages() {
    # shellcheck disable=SC2086  # one package a word
    for package in $PACKAGES; do
        if command -v dpkg-query > /dev/null; then
            [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2> /dev/null)" = installed ] || echo "$package"
        elif command -v rpm > /dev/null; then
            rpm -q --quiet --whatprovides "$package" || echo "$package"
        else
            echo "$package"
        fi
    done
}
# Also wakes a libvirt that sleeps behind its socket.
answers() { timeout 30 virsh -q -c "$URI" version > /dev/null 2>&1; }
has_systemd() { [ -d /run/systemd/system ]; }
starts_at_boot() { systemctl -q is-enabled "$SERVICE" 2> /dev/null; }

# compare OPERATION A B: `within` (A is a part of B) or `overlap`, of IPv4 ranges in CIDR or addresses.
compare() {
    awk -v operation="$1" -v a="$2" -v b="$3" '
        function bounds(cidr, edge,    part, octet, size, number) {
            split(cidr "/32", part, "/")
            split(part[1], octet, ".")
            number = ((octet[1] * 256 + octet[2]) * 256 + octet[3]) * 256 + octet[4]
            size = 2 ^ (32 - part[2])
            edge["first"] = number - number % size
            edge["last"] = edge["first"] + size - 1
        }
        BEGIN {
            bounds(a, A); bounds(b, B)
            if (operation == "within") exit !(B["first"] <= A["first"] && A["last"] <= B["last"])
            exit !(A["first"] <= B["last"] && B["first"] <= A["last"])
        }'
}
is_range() { echo "$1" | grep -Eqx '([0-9]{1,3}\.){3}[0-9]{1,3}/([0-9]|[12][0-9]|3[0-2])'; }

inspect_bridge() {
    if [ ! -e "/sys/class/net/$BRIDGE" ]; then
        [ "$BRIDGE_COMES" = yes ] || refuse "there is no bridge $BRIDGE on this host for virtual machines to sit on;" \
            "provision it first (perfctl provision --tags bridge; it needs perf_test_interface)"
        return
    fi
    case $(cat "/sys/class/net/$BRIDGE/ifalias" 2> /dev/null) in
        perfctl:?*) ;;
        *) refuse "there is a $BRIDGE on this host that perfctl did not make; choose another perf_bridge_name" ;;
    esac
    # Without a file or a word about us nothing is forbidden, only not yet allowed.
    if grep -Eqs "^[[:space:]]*deny[[:space:]]+($BRIDGE|all)[[:space:]]*$" "$BRIDGE_CONF"; then
        refuse "$BRIDGE_CONF denies virtual machines the use of $BRIDGE"
    fi
}

inspect_range() {
    if ! is_range "$GUEST_RANGE"; then
        refuse "perf_bridge_guest_range must be this host's own part of the test network for its virtual machines, for" \
            "example 10.77.201.0/24 (${GUEST_RANGE:-it is not set})"
        return
    fi
    if [ "${GUEST_RANGE#*/}" -gt 28 ]; then
        refuse "perf_bridge_guest_range $GUEST_RANGE is too small: give a /28 at least"
    fi
    if is_range "$ADDRESS"; then
        compare within "$GUEST_RANGE" "$ADDRESS" \
            || refuse "perf_bridge_guest_range $GUEST_RANGE lies outside the test network of $ADDRESS"
        compare overlap "${ADDRESS%/*}" "$GUEST_RANGE" \
            && refuse "perf_bridge_guest_range $GUEST_RANGE holds this host's own address ${ADDRESS%/*}"
    fi
    if is_range "$CONTAINER_RANGE" && compare overlap "$GUEST_RANGE" "$CONTAINER_RANGE"; then
        refuse "perf_bridge_guest_range $GUEST_RANGE and perf_bridge_fixed_cidr $CONTAINER_RANGE overlap: a virtual" \
            "machine and a container would get one address"
    fi
    return 0
}

noted_storage() { cat "$STATE_DIR/storage" 2> /dev/null || true; }
is_filled() { [ -n "$(ls -A "$1" 2> /dev/null)" ]; }

inspect_storage() {
    noted=$(noted_storage)
    case $STORAGE in /*) ;; *) refuse "perf_vm_host_storage must be an absolute path ($STORAGE)"; return ;; esac
    if [ -n "$noted" ] && [ "$noted" != "$STORAGE" ]; then
        refuse "the disks of virtual machines lie in $noted, not in $STORAGE (perf_vm_host_storage);" \
            "first undo it: perfctl provision --undo"
    elif [ "$STORAGE" != "$FOLDER" ] && [ ! -L "$FOLDER" ] && is_filled "$FOLDER"; then
        refuse "$FOLDER is a folder with something in it; perf_vm_host_storage ($STORAGE) would hide it"
    elif [ -L "$FOLDER" ] && [ "$(readlink "$FOLDER")" != "$STORAGE" ]; then
        refuse "$FOLDER leads to $(readlink "$FOLDER"), not to $STORAGE (perf_vm_host_storage)"
    elif [ -z "$noted" ] && [ "$STORAGE" != "$FOLDER" ] && is_filled "$STORAGE"; then
        refuse "$STORAGE holds what perfctl has not put there; give perf_vm_host_storage a folder of its own"
    fi
    # qemu runs as a user of its own, which must come through to its disks.
    parent=${STORAGE%/*}
    while [ -n "$parent" ]; do
        if [ -d "$parent" ] && [ -z "$(find "$parent" -maxdepth 0 -perm -0001)" ]; then
            refuse "only its owner comes into $parent, qemu does not: choose another perf_vm_host_storage"
        fi
        parent=${parent%/*}
    done
}

inspect() {
    [ "$(uname -m)" = x86_64 ] || refuse "virtual machines are supported on x86_64 only, this is a $(uname -m)"
    inspect_bridge
    inspect_range
    inspect_storage
    missing_packages | sed 's/^/missing: /'
    if has_systemd; then echo systemd; fi
    if starts_at_boot; then echo enabled; fi
    if answers; then echo answers; fi
}

# -- what undo has to know -------------------------------------------------------------------------------------

installed_packages() { dpkg-query -W -f '${db:Status-Status} ${Package}\n' 2> /dev/null | sed -n 's/^installed //p' | sort -u; }

note() {
    mkdir -p "$STATE_DIR"
    if [ ! -e "$STATE_DIR/units" ]; then
        for unit in $UNITS; do
            enabled=$(systemctl is-enabled "$unit" 2> /dev/null) || true
            active=$(systemctl is-active "$unit" 2> /dev/null) || true
            echo "$unit ${enabled:-absent} ${active:-inactive}"
        done > "$STATE_DIR/units.new"
        mv "$STATE_DIR/units.new" "$STATE_DIR/units"
        echo "noted which services of libvirt run and start at boot"
    fi
}

# An older list would be of a run that was cut short; what came in since may be somebody else's.
before() {
    mkdir -p "$STATE_DIR"
    installed_packages > "$STATE_DIR/packages.before"
}

after() {
    installed_packages > "$STATE_DIR/packages.after"
    comm -13 "$STATE_DIR/packages.before" "$STATE_DIR/packages.after" >> "$STATE_DIR/packages"
    rm "$STATE_DIR/packages.before" "$STATE_DIR/packages.after"
}

# -- how it must be --------------------------------------------------------------------------------------------

config() {
    cat <<END
{
  "bridge": "$BRIDGE",
  "mtu_bytes": $MTU,
  "prefix_length": ${ADDRESS#*/},
  "guest_range": "$GUEST_RANGE",
  "uri": "$URI"
}
END
}
guest_key() { echo "$ALIAS $(cut -d ' ' -f 1,2 "$FOLDER/guest_host_key.pub" 2> /dev/null)"; }
# same_text FILE TEXT
same_text() { [ -e "$1" ] && [ "$(cat "$1")" = "$2" ]; }
has_mode() { [ "$(stat -L -c '%a %U' "$1" 2> /dev/null)" = "$2 root" ]; }
# A job that ran here before has made the folder above for root alone.
lets_others_pass() { case $(stat -L -c %a "$1" 2> /dev/null) in *[1357]) ;; *) return 1 ;; esac; }
may_use_bridge() { grep -Eqs "^[[:space:]]*allow[[:space:]]+($BRIDGE|all)[[:space:]]*$" "$BRIDGE_CONF"; }

# write_file FILE MODE TEXT
write_file() {
    (umask 077 && printf '%s\n' "$3" > "$1.new")
    chmod "$2" "$1.new"
    mv "$1.new" "$1"
}

# Every folder that was not there is noted, so that undo takes away just those.
make_folder() {
    [ -d "$1" ] && return
    [ -d "${1%/*}" ] || make_folder "${1%/*}" 0755
    echo "$1" >> "$STATE_DIR/folders"
    mkdir -m "$2" "$1"
}

make_storage() {
    echo "$STORAGE" > "$STATE_DIR/storage"
    # An empty folder where the link belongs is nothing to keep.
    [ "$STORAGE" = "$FOLDER" ] || [ -L "$FOLDER" ] || [ ! -d "$FOLDER" ] || rmdir "$FOLDER"
    make_folder "$STORAGE" 0711
    [ "$STORAGE" = "$FOLDER" ] || [ -L "$FOLDER" ] || ln -s "$STORAGE" "$FOLDER"
}
storage_is_right() {
    [ "$(noted_storage)" = "$STORAGE" ] && [ -d "$FOLDER/" ] \
        && { [ "$STORAGE" = "$FOLDER" ] || [ "$(readlink "$FOLDER")" = "$STORAGE" ]; }
}

make_key() { rm -f "$1" "$1.pub" && ssh-keygen -q -t ed25519 -N '' -C "$2" -f "$1" < /dev/null; }
has_key() { [ -s "$1" ] && [ -s "$1.pub" ]; }

# The file as it was is kept, and the file as we made it: so undo can tell whether others have been at it since.
allow_bridge() {
    if [ ! -e "$BRIDGE_CONF" ]; then
        rm -f "$STATE_DIR/bridge.conf.before"
        make_folder "${BRIDGE_CONF%/*}" 0755
        (umask 022 && echo "allow $BRIDGE" > "$BRIDGE_CONF")
    else
        cp -p "$BRIDGE_CONF" "$STATE_DIR/bridge.conf.before"
        # A last line without its end would swallow ours.
        [ -z "$(tail -c 1 "$BRIDGE_CONF")" ] || echo >> "$BRIDGE_CONF"
        echo "allow $BRIDGE" >> "$BRIDGE_CONF"
    fi
    cp -p "$BRIDGE_CONF" "$STATE_DIR/bridge.conf.after"
    echo "allow $BRIDGE" > "$STATE_DIR/bridge.conf.line"
}

up() {
    storage_is_right || change "make $STORAGE for guests" make_storage
    lets_others_pass "${FOLDER%/*}" || change "let qemu pass through ${FOLDER%/*}" chmod o+x "${FOLDER%/*}"
    has_mode "$FOLDER" 711 || change "let qemu pass through $FOLDER" chmod 0711 "$FOLDER"
    for name in images guests addresses; do
        [ -d "$FOLDER/$name" ] || change "make $FOLDER/$name" mkdir -m 0711 "$FOLDER/$name"
    done
    has_key "$FOLDER/id_ed25519" || change "make a key for logging in to guests" \
        make_key "$FOLDER/id_ed25519" "perfctl on $(uname -n)"
    has_key "$FOLDER/guest_host_key" || change "make the key that guests show" make_key "$FOLDER/guest_host_key" "$ALIAS"
    for name in id_ed25519 guest_host_key; do
        has_mode "$FOLDER/$name" 600 || [ ! -e "$FOLDER/$name" ] || change "hide $FOLDER/$name" chmod 0600 "$FOLDER/$name"
    done
    same_text "$FOLDER/known_hosts" "$(guest_key)" || change "write $FOLDER/known_hosts" write_known_hosts
    same_text "$FOLDER/host.json" "$(config)" || change "write $FOLDER/host.json" \
        write_file "$FOLDER/host.json" 0644 "$(config)"
    may_use_bridge || change "allow $BRIDGE in $BRIDGE_CONF" allow_bridge
}
# Not before the key is made.
write_known_hosts() { write_file "$FOLDER/known_hosts" 0644 "$(guest_key)"; }

verify() {
    missing_packages | while read -r package; do drift "not installed: $package"; done
    if ! answers; then
        drift "libvirt does not answer at $URI"
    elif has_systemd && ! starts_at_boot; then
        drift "libvirt will not answer after a reboot: $SERVICE is not enabled"
    fi
    [ -e "/sys/class/net/$BRIDGE" ] || drift "there is no bridge $BRIDGE for virtual machines to sit on"
    if ! storage_is_right; then drift "$FOLDER does not lead to $STORAGE"; return; fi
    lets_others_pass "${FOLDER%/*}" || drift "qemu cannot pass through ${FOLDER%/*}"
    has_mode "$FOLDER" 711 || drift "$FOLDER has the mode and owner $(stat -L -c '%a %U' "$FOLDER"), not 711 root"
    for name in id_ed25519 guest_host_key; do
        if ! has_key "$FOLDER/$name"; then
            drift "there is no key $FOLDER/$name"
        elif ! has_mode "$FOLDER/$name" 600; then
            drift "$FOLDER/$name is not root's alone"
        fi
    done
    same_text "$FOLDER/known_hosts" "$(guest_key)" || drift "$FOLDER/known_hosts does not name the guests' key"
    same_text "$FOLDER/host.json" "$(config)" || drift "$FOLDER/host.json is not as perfctl writes it"
    may_use_bridge || drift "$BRIDGE_CONF does not allow $BRIDGE"
}

case $MODE in
    inspect) inspect ;;
    note) note ;;
    before) before ;;
    after) after ;;
    plan | up) up ;;
    verify) verify ;;
    *) echo "vm-host.sh: unknown mode $MODE" >&2; exit 2 ;;
esac
