#!/bin/sh
# packages.sh missing PACKAGE...   print those that are not installed
# packages.sh verify PACKAGE...    print a "drift: ..." line for each that is not installed
# packages.sh unknown PACKAGE...   make apt's lists fresh and print those of which apt knows no version
# packages.sh plan-unknown PACKAGE...   the same from the lists as they are; change nothing
# packages.sh plan PACKAGE...      print what `install` would do; change nothing
# packages.sh install PACKAGE...   install them and print what was done: without recommended packages, without starting
#                                  what they bring, and noted in /var/lib/perfctl/packages
#
# By apt-get alone: a lean host has no python3-apt.
set -eu
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
STATE=/var/lib/perfctl
POLICY=/usr/sbin/policy-rc.d
mode=$1
shift

if ! command -v apt-get > /dev/null; then
    echo "refused: this host has no apt; only Debian and what is made from it is supported" >&2
    exit 7
fi

missing() {
    for package in "$@"; do
        case $(dpkg-query -W -f '${db:Status-Status}' "$package" 2> /dev/null) in
            installed) ;;
            *) echo "$package" ;;
        esac
    done
}

has_candidate() { apt-cache policy "$1" | grep -q '^  Candidate: [^(]'; }

unknown() { for package in "$@"; do has_candidate "$package" || echo "$package"; done; }

# Lists of today are good enough, unless a package is unknown or its file is gone from the mirror.
lists_are_fresh() { [ -n "$(find /var/lib/apt/lists -maxdepth 1 -name '*Packages*' -mmin -1440 2> /dev/null)" ]; }

get() { apt-get -q -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@"; }

# apt's progress is of no interest; its complaints are.
quietly() {
    if ! "$@" > "$LOG" 2>&1; then
        grep -E '^(E|W|Err): ?' "$LOG" >&2 || tail -n 20 "$LOG" >&2
        return 1
    fi
}

# A package's service must not run while we measure, nor take a benchmark's port. Another's policy is left alone.
forbid_starts() {
    if [ ! -e "$POLICY" ]; then
        printf '#!/bin/sh\nexit 101\n' > "$POLICY"
        chmod 0755 "$POLICY"
        trap 'rm -f "$POLICY" "$LOG"' EXIT
    fi
}

# Debian's netperf starts a server at every boot; a run starts its own.
switch_off_netserver() {
    case " $* " in
        *" netperf "*)
            if [ -e /etc/init.d/netperf ]; then
                quietly update-rc.d netperf disable
                echo "switched off the netserver that netperf starts at boot"
            fi ;;
    esac
}

keep_log() {
    LOG=$(mktemp)
    trap 'rm -f "$LOG"' EXIT
}

make_fresh() {
    keep_log
    lists_are_fresh || quietly get update
}

install() {
    keep_log
    forbid_starts
    quietly get install --no-install-recommends "$@" \
        || { quietly get update && quietly get install --no-install-recommends "$@"; }
    switch_off_netserver "$@"
    mkdir -p "$STATE"
    for package in "$@"; do
        grep -qxF -e "$package" "$STATE/packages" 2> /dev/null || echo "$package" >> "$STATE/packages"
    done
    echo "installed $*"
}

case $mode in
    missing) missing "$@" ;;
    verify) missing "$@" | sed 's/^/drift: not installed: /' ;;
    unknown) make_fresh && unknown "$@" ;;
    plan-unknown) if lists_are_fresh; then unknown "$@"; fi ;;
    plan)
        lists_are_fresh || echo "would run apt-get update"
        echo "would install $*"
        ;;
    install) install "$@" ;;
    *) echo "packages.sh: unknown mode $mode" >&2; exit 2 ;;
esac
