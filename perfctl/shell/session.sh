# Functions to end a session for certain. POSIX sh, /proc, no other tool than sleep.

# stat_fields FILE: sets `fields` to what follows the name in a /proc/PID/stat: state ppid pgrp session ...
stat_fields() {
  { IFS= read -r fields <"$1"; } 2>/dev/null || return 1
  # The name in parentheses may hold spaces and parentheses; what follows the last one is regular.
  fields=${fields##*) }
}

# session_of PID: sets `session`; a process that is gone is taken for the leader of its own.
session_of() {
  session=$1
  stat_fields "/proc/$1/stat" || return 0
  set -- $fields
  session=$4
}

# members SID: sets `alive` to the living processes of a session, but for the shell that asks.
members() {
  alive=
  read -r self _ </proc/self/stat
  for entry in /proc/[0-9]*/stat; do
    stat_fields "$entry" || continue
    case $fields in Z*) continue ;; esac
    set -- "$1" $fields
    [ "$5" = "$1" ] || continue
    entry=${entry#/proc/}
    [ "${entry%/stat}" = "$self" ] || alive="$alive ${entry%/stat}"
  done
  more_members
}

# more_members: a place for scripts that know further processes; they add to `alive`.
more_members() {
  :
}

# read_uptime: sets `uptime_tenths`, the time since boot in tenths of a second.
read_uptime() {
  read -r uptime_tenths _ </proc/uptime
  uptime_tenths=${uptime_tenths%.*}${uptime_tenths#*.}
  uptime_tenths=$((${uptime_tenths%?}))
}

# end_session SID GRACE_TENTHS: SIGTERM, wait, SIGKILL, wait. Fails when something is still alive.
# By the clock: among thousands of processes, or on a busy host, a look itself takes its time.
end_session() {
  members "$1"
  [ -n "$alive" ] || return 0
  kill -TERM $alive 2>/dev/null
  read_uptime
  end_tenths=$((uptime_tenths + $2))
  # Most processes are gone at once: look at once, soon, then every tenth of a second.
  pause=0
  while [ "$uptime_tenths" -lt "$end_tenths" ]; do
    [ "$pause" = 0 ] || sleep "$pause"
    members "$1"
    [ -n "$alive" ] || return 0
    case $pause in
      0) pause=0.01 ;;
      0.01) pause=0.03 ;;
      0.03) pause=0.06 ;;
      *) pause=0.1 ;;
    esac
    read_uptime
  done
  end_tenths=$((uptime_tenths + 50))
  while [ "$uptime_tenths" -lt "$end_tenths" ]; do
    kill -KILL $alive 2>/dev/null
    sleep 0.1
    members "$1"
    [ -n "$alive" ] || return 0
    read_uptime
  done
  return 1
}
