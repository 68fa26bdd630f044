#!/bin/sh
# packages.sh missing PACKAGE...   print those that are not installed
# packages.sh verify PACKAGE...    print a "drift: ..." line for each that is not installed
# packages.sh plan PACKAGE...      print what `install` would do; change nothing
# packages.sh install PACKAGE...   install them and print what was done: without recommended packages, without starting
#                                  what they bring, and noted in /var/lib/perfctl/packages
#
# By apt-get alone: a lean host has no python3-apt. NON_FREE (yes or no) says whether a source of Debian's component
# non-free may be added when apt knows no version of a package.
set -eu
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
STATE=/var/lib/perfctl
SOURCE=/etc/apt/sources.list.d/perfctl-non-free.list
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

# apt reads its own sources, in both formats, and prints them in one.
non_free_sources() {
    echo "# Written by perfctl, from this host's own sources, for: $*"
    # shellcheck disable=SC2016  # apt fills these in, not the shell
    apt-get indextargets --format '$(COMPONENT) $(ORIGIN) $(REPO_URI) $(RELEASE) $(SIGNED_BY)' 'Created-By: Packages' \
        | sort -u \
        | while read -r component origin uri release key; do
            case $key in '$('*) key= ;; esac # how apt prints a field that a source does not have
            if [ "$component $origin" = "main Debian" ]; then
                echo "deb ${key:+[signed-by=$key] }$uri $release non-free"
            fi
        done
}

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

add_non_free() {
    if [ "${NON_FREE:-yes}" != yes ]; then
        echo "refused: apt knows no package $*, and perf_tools_allow_non_free forbids to add a source" >&2
        exit 7
    fi
    non_free_sources "$@" > "$SOURCE.new"
    mv "$SOURCE.new" "$SOURCE"
    # A source that apt cannot read would break apt for everybody.
    quietly get update || { rm -f "$SOURCE"; return 1; }
    echo "added $SOURCE"
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

install() {
    LOG=$(mktemp)
    trap 'rm -f "$LOG"' EXIT
    lists_are_fresh || quietly get update
    new=$(unknown "$@")
    # shellcheck disable=SC2086  # one package a word
    [ -z "$new" ] || add_non_free $new
    forbid_starts
    quietly get install --no-install-recommends "$@" \
        || { quietly get update && quietly get install --no-install-recommends "$@"; }
    switch_off_netserver "$@"
    mkdir -p "$STATE"
    for package in "$@"; do echo "$package"; done >> "$STATE/packages"
    echo "installed $*"
}

case $mode in
    missing) missing "$@" ;;
    verify) missing "$@" | sed 's/^/drift: not installed: /' ;;
    plan)
        if lists_are_fresh; then new=$(unknown "$@" | xargs); else echo "would run apt-get update"; new=; fi
        [ -z "$new" ] || printf 'would add %s:\n%s\n' "$SOURCE" "$(non_free_sources "$new")"
        echo "would install $*"
        ;;
    install) install "$@" ;;
    *) echo "packages.sh: unknown mode $mode" >&2; exit 2 ;;
esac
