#!/bin/sh
# path.sh PAYLOAD_BYTES "PEER..."
# Ping every peer with a small frame and with one that fills the MTU and must not be fragmented (payload = MTU - 28
# bytes of IPv4 and ICMP headers): so "the path is down" and "the MTU is wrong" are told apart. One "drift: ..." line
# for each peer that fails.
set -u
payload=$1

reaches() { ping -n -q -c "$1" -i 0.2 -W 2 -M 'do' -s "$2" "$3" > /dev/null 2>&1; }

check() {
    # The first frame may be lost to the search for the neighbour's address.
    if ! reaches 3 56 "$1"; then
        echo "drift: the path to $1 is down"
    elif ! reaches 2 "$payload" "$1"; then
        echo "drift: frames of $payload bytes do not reach $1, small ones do: an MTU on the way is too small"
    fi
}

for peer in $2; do check "$peer" & done
wait
