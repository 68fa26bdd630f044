#!/bin/sh
# The bridge over the test NIC. Written by perfctl; run by Ansible and, at boot, by perfctl-bridge.service.
#
#   bridge.sh inspect   say why it must not be done ("refused: ..." lines), or who owns the NIC ("owner: ...")
#   bridge.sh plan      print what `up` would change; change nothing
#   bridge.sh up        make it so and print what was changed; nothing when all is as it must be
#   bridge.sh boot      as `up`, but what was undone stays undone
#   bridge.sh verify    print what is not as it must be ("drift: ..." lines); change nothing
#   bridge.sh undo-forwarding, plan-undo-forwarding
#                       take our rule out of the firewall and print that, or only print it
#
# Given by the environment: BRIDGE INTERFACE ADDRESS (with prefix length) MTU ALLOW_MANAGEMENT (yes or no) STATE_DIR.
set -eu
export LC_ALL=C PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:${PATH:-}"
MODE=$1
NET=/sys/class/net
MARK="perfctl:$(cat "$STATE_DIR/uuid" 2>/dev/null || true)"

exists() { [ -e "$NET/$1" ]; }
alias_of() { cat "$NET/$1/ifalias" 2>/dev/null || true; }
mtu_of() { cat "$NET/$1/mtu"; }
mac_of() { cat "$NET/$1/address"; }
master_of() { if [ -e "$NET/$1/master" ]; then basename "$(readlink "$NET/$1/master")"; fi; }
addresses_of() { ip -o addr show dev "$1" scope global 2>/dev/null | awk '{ print $4 }'; }
# A bridge keeps its address when ports come and go only if somebody has set it (NET_ADDR_SET).
mac_is_pinned() { [ "$(cat "$NET/$1/addr_assign_type")" = 3 ]; }
# The kernel does not show whether an MTU was set by hand, so we note for which bridge of which boot we did it.
this_bridge() { echo "$(cat /proc/sys/kernel/random/boot_id) $(cat "$NET/$BRIDGE/ifindex")"; }
mtu_is_pinned() { [ "$(cat "$STATE_DIR/mtu-pinned" 2>/dev/null)" = "$(this_bridge) $MTU" ]; }
# A link alias is free text: only the exact mark of this host says that the bridge is ours.
is_ours() { [ "$MARK" != perfctl: ] && [ "$(alias_of "$BRIDGE")" = "$MARK" ]; }

refuse() { printf 'refused: %s\n' "$*"; }

# The address at the other end of our ssh session. sudo drops the variable, so ask the parents too.
ssh_connection() {
    if [ -n "${SSH_CONNECTION:-}" ]; then echo "$SSH_CONNECTION"; return; fi
    pid=$$
    while [ "$pid" -gt 1 ]; do
        found=$(tr '\0' '\n' < "/proc/$pid/environ" 2>/dev/null | sed -n 's/^SSH_CONNECTION=//p')
        if [ -n "$found" ]; then echo "$found"; return; fi
        pid=$(awk '/^PPid:/ { print $2 }' "/proc/$pid/status" 2>/dev/null || echo 0)
        [ -n "$pid" ] || pid=0
    done
}

# Everything that would cut us off: print one reason a line.
management_reasons() {
    connection=$(ssh_connection)
    client=${connection%% *}
    server=$(echo "$connection" | awk '{ print $3 }')
    for device in "$INTERFACE" "$BRIDGE"; do
        exists "$device" || continue
        case " $(ip route get "${client:-127.0.0.1}" 2>/dev/null | head -n 1) " in
            *" dev $device "*) echo "the ssh session from $client comes in through $device" ;;
        esac
        # Not through its route: an answer may leave by another way than it came.
        if [ -n "$server" ] && addresses_of "$device" | cut -d/ -f1 | grep -qxF -e "$server"; then
            echo "the ssh session reaches this host at $server on $device"
        fi
        for family in -4 -6; do
            if ip "$family" route show default 2>/dev/null | grep -q " dev $device\b"; then
                echo "the default route (ip $family) goes through $device"
            fi
        done
    done | sort -u
}

networkd_manages() {
    setup=$(networkctl --no-legend --no-pager list "$INTERFACE" 2>/dev/null | awk '{ print $5 }')
    systemctl -q is-active systemd-networkd 2>/dev/null && [ -n "$setup" ] && [ "$setup" != unmanaged ]
}
network_manager_manages() {
    state=$(nmcli -g GENERAL.STATE device show "$INTERFACE" 2>/dev/null) && [ -n "$state" ] && [ "${state%% *}" != 10 ]
}
ifupdown_methods() {
    cat /etc/network/interfaces /etc/network/interfaces.d/* 2>/dev/null \
        | awk -v nic="$INTERFACE" '$1 == "iface" && $2 == nic { print $NF }'
}
owner() {
    if [ -e "/etc/systemd/network/05-perfctl-$INTERFACE.network" ] || networkd_manages; then echo networkd
    elif network_manager_manages; then echo NetworkManager
    elif [ -n "$(ifupdown_methods)" ]; then echo ifupdown
    else echo nobody
    fi
}

inspect() {
    if ! exists "$INTERFACE"; then
        refuse "there is no interface $INTERFACE on this host (perf_test_interface)"
        return
    fi
    master=$(master_of "$INTERFACE")
    if [ -n "$master" ] && [ "$master" != "$BRIDGE" ]; then
        refuse "$INTERFACE already belongs to $master, not to $BRIDGE"
    fi
    if exists "$BRIDGE" && ! is_ours; then
        refuse "there is a $BRIDGE on this host that perfctl did not make; choose another perf_bridge_name"
    fi
    if [ "$ALLOW_MANAGEMENT" != yes ]; then
        reasons=$(management_reasons | paste -s -d ';' | sed 's/;/; /g')
        [ -z "$reasons" ] || refuse "$reasons (choose a NIC of its own, or set perf_bridge_allow_management: true)"
    fi
    for other in $(addresses_of "$INTERFACE"); do
        [ "$other" = "$ADDRESS" ] || refuse "$INTERFACE also carries $other, which would stop working;" \
            "perf_test_address ($ADDRESS) must be its only address"
    done
    who=$(owner)
    if [ "$ALLOW_MANAGEMENT" != yes ] || [ "$who" = networkd ]; then
        # systemd-networkd takes its routes away when it lets go of the NIC, and would not set them at the next boot.
        ip route show dev "$INTERFACE" | grep -v 'proto kernel' | while read -r route; do
            refuse "the route '$route' goes through $INTERFACE and would be lost; remove it, or choose another NIC"
        done
    fi
    most=$(ip -d link show dev "$INTERFACE" | sed -n 's/.* maxmtu \([0-9]*\) .*/\1/p')
    if [ "${most:-0}" -gt 0 ] && [ "$most" -lt "$MTU" ]; then
        refuse "$INTERFACE can do an MTU of $most at most, not $MTU (perf_bridge_mtu)"
    fi
    if [ ! -d /run/systemd/system ]; then
        refuse "systemd is not running on this host: the bridge would not outlive a reboot"
    fi
    case $who in
        NetworkManager)
            refuse "NetworkManager owns $INTERFACE, which is not supported yet;" \
                "hand it over: nmcli device set $INTERFACE managed no" ;;
        ifupdown)
            case " $(ifupdown_methods | tr '\n' ' ') " in
                *" dhcp "*) refuse "$INTERFACE has its address by DHCP (/etc/network/interfaces): make it static" ;;
            esac ;;
    esac
    echo "owner: $who"
}

# change DESCRIPTION COMMAND...
change() {
    printf '%s\n' "$1"
    shift
    case $MODE in plan*) ;; *) "$@" ;; esac
}

write_state() { printf '%s\n' "$2" > "$STATE_DIR/$1.new" && mv "$STATE_DIR/$1.new" "$STATE_DIR/$1"; }

claim() {
    [ -s "$STATE_DIR/uuid" ] || write_state uuid "$(cat /proc/sys/kernel/random/uuid)"
    MARK="perfctl:$(cat "$STATE_DIR/uuid")"
}

# The address goes over in one step, and the routes that the kernel drops with it are set again on the bridge.
move_address() {
    routes=$(ip route show dev "$INTERFACE" | grep -v 'proto kernel' || true)
    ip addr del "$ADDRESS" dev "$INTERFACE" 2>/dev/null || true
    ip addr replace "$ADDRESS" brd + dev "$BRIDGE"
    echo "$routes" | while read -r route; do
        # shellcheck disable=SC2086  # a route is many words
        [ -z "$route" ] || ip route replace ${route%% linkdown*} dev "$BRIDGE"
    done
}

# Setting 9000 when it already is 9000 does not pin it; going over 8999 does.
pin_mtu() {
    ip link set dev "$BRIDGE" mtu $((MTU - 1))
    ip link set dev "$BRIDGE" mtu "$MTU"
    write_state mtu-pinned "$(this_bridge) $MTU"
}

# Docker sets the policy of FORWARD to DROP, and br_netfilter sends bridged frames through it. Guests and containers are
# all ports of the bridge, so one rule lets pass what they send each other and other hosts, and what comes back. It is
# noted: a boot sets it only where it was not undone.
forward_rule() { iptables -w 10 "$1" FORWARD -i "$BRIDGE" -o "$BRIDGE" -m comment --comment perfctl -j ACCEPT; }
accepts_forwarding() { forward_rule -C 2> /dev/null; }
forwarding_is_noted() { [ -e "$STATE_DIR/forward-accept" ]; }
accept_forwarding() {
    accepts_forwarding || forward_rule -I
    write_state forward-accept "iptables FORWARD -i $BRIDGE -o $BRIDGE -m comment --comment perfctl -j ACCEPT"
}
stop_accepting_forwarding() {
    while accepts_forwarding; do forward_rule -D; done
    rm -f "$STATE_DIR/forward-accept"
}
undo_forwarding() {
    if forwarding_is_noted; then
        change "no longer let frames pass that are forwarded within $BRIDGE" stop_accepting_forwarding
    fi
}

create() {
    mkdir -p "$STATE_DIR"
    claim
    ip link add name "$BRIDGE" type bridge
    ip link set dev "$BRIDGE" alias "$MARK"
}

# True when the bridge is there and the test holds; in a plan for a bridge to come nothing holds.
holds() { exists "$BRIDGE" && "$@"; }
nic_mtu_is_right() { [ "$(mtu_of "$INTERFACE")" = "$MTU" ]; }
mac_is_right() { [ "$(mac_of "$BRIDGE")" = "$(mac_of "$INTERFACE")" ] && mac_is_pinned "$BRIDGE"; }
is_port() { [ "$(master_of "$INTERFACE")" = "$BRIDGE" ]; }
is_up() { ip link show dev "$1" up | grep -q .; }
address_is_right() {
    addresses_of "$BRIDGE" | grep -qxF -e "$ADDRESS" && ! addresses_of "$INTERFACE" | grep -qxF -e "$ADDRESS"
}
mtu_is_right() { [ "$(mtu_of "$BRIDGE")" = "$MTU" ] && mtu_is_pinned; }

up() {
    exists "$BRIDGE" || change "create $BRIDGE" create
    nic_mtu_is_right || change "set the MTU of $INTERFACE to $MTU" ip link set dev "$INTERFACE" mtu "$MTU"
    holds mac_is_right || change "pin the MAC of $BRIDGE to that of $INTERFACE" \
        ip link set dev "$BRIDGE" address "$(mac_of "$INTERFACE")"
    holds is_port || change "make $INTERFACE a port of $BRIDGE" ip link set dev "$INTERFACE" master "$BRIDGE"
    is_up "$INTERFACE" || change "bring $INTERFACE up" ip link set dev "$INTERFACE" up
    holds is_up "$BRIDGE" || change "bring $BRIDGE up" ip link set dev "$BRIDGE" up
    holds address_is_right || change "move $ADDRESS from $INTERFACE to $BRIDGE" move_address
    holds mtu_is_right || change "pin the MTU of $BRIDGE to $MTU" pin_mtu
    if [ "$MODE" = boot ] && ! forwarding_is_noted; then return; fi
    if command -v iptables > /dev/null && ! { accepts_forwarding && forwarding_is_noted; }; then
        change "let frames pass that are forwarded within $BRIDGE" accept_forwarding
    fi
}

drift() { printf 'drift: %s\n' "$*"; }

verify() {
    for device in "$INTERFACE" "$BRIDGE"; do
        exists "$device" || { drift "there is no interface $device"; return; }
    done
    is_ours || drift "$BRIDGE does not carry our mark (its alias is '$(alias_of "$BRIDGE")')"
    for device in "$INTERFACE" "$BRIDGE"; do
        [ "$(mtu_of "$device")" = "$MTU" ] || drift "$device has MTU $(mtu_of "$device"), not $MTU"
        is_up "$device" || drift "$device is down"
    done
    mtu_is_pinned || drift "the MTU of $BRIDGE is not pinned: the next small port would lower it"
    mac_is_right || drift "$BRIDGE has MAC $(mac_of "$BRIDGE"), not that of $INTERFACE ($(mac_of "$INTERFACE")), pinned"
    is_port || drift "$INTERFACE is not a port of $BRIDGE"
    address_is_right || drift "$BRIDGE has the addresses '$(addresses_of "$BRIDGE" | xargs)', not $ADDRESS alone"
    for port in "$NET/$BRIDGE"/brif/*; do
        port=${port##*/}
        exists "$port" || continue
        [ "$(mtu_of "$port")" -ge "$MTU" ] || drift "the port $port of $BRIDGE has MTU $(mtu_of "$port")"
    done
    if command -v iptables > /dev/null; then
        accepts_forwarding || drift "frames that are forwarded within $BRIDGE are not let through"
    fi
    systemctl -q is-enabled perfctl-bridge.service 2> /dev/null || drift "$BRIDGE will not be there after a reboot"
}

# At boot the NIC may come late.
wait_for_interface() {
    tries=30
    until exists "$INTERFACE" || [ "$tries" -eq 0 ]; do sleep 1; tries=$((tries - 1)); done
}

case $MODE in
    inspect) inspect ;;
    plan) up ;;
    verify) verify ;;
    undo-forwarding | plan-undo-forwarding) undo_forwarding ;;
    up | boot)
        wait_for_interface
        refusals=$(inspect | grep '^refused: ' || true)
        if [ -n "$refusals" ]; then printf '%s\n' "$refusals" >&2; exit 7; fi
        up
        ;;
    *) echo "bridge.sh: unknown mode $MODE" >&2; exit 2 ;;
esac
