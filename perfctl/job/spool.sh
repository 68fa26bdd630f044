# The job server: runs one run's commands on this host, whether or not a controller is connected.
# POSIX sh (dash, busybox ash), /proc, setsid, head, tail, sleep, mkfifo, sed. docs/jobs.md draws it.
#
#   start RUN LIFETIME_S   make the spool and start the server, or find it with a job running
#   serve                  the server itself: starts a worker per slot and background commands
#   attach SLOT            what a controller talks to: takes requests on stdin, answers on stdout
#   list | cancel ID... | stop [STORED_ID...] | reap RUN keep|discard
#
# A job is a few files: ID.cmd (the request), ID.in, ID.run (its processes), ID.before and ID.after (counters),
# ID.seen, ID.half and ID.view (the host's view), ID.end (how it ended), and in a folder of their own, which
# output_limit.py watches, ID.out and ID.err. They stay until a controller says that it has stored them.

unset CDPATH
LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL PATH
nl='
'

# ---- the spool ------------------------------------------------------------------------------------------

spool_roots() {
  if [ "$(id -u)" = 0 ]; then
    echo /var/lib/perfctl/spool
  else
    echo "${XDG_STATE_HOME:-$HOME/.local/state}/perfctl/spool"
  fi
  echo "/var/tmp/perfctl-$(id -u)/spool"
}

# make_spool RUN [ROOT]: sets `spool` to a folder that only we can enter, on a disk that can be written.
make_spool() {
  for root in ${2:-$(spool_roots)}; do
    spool=$root/$1
    (umask 077 && mkdir -p "$spool/jobs" "$spool/work" "$spool/output") 2>/dev/null || continue
    # In /var/tmp another user may have made it before us.
    [ -O "${root%/*}" ] && [ -O "$root" ] && [ -O "$spool" ] && [ ! -L "$spool" ] && [ -w "$spool" ] && return 0
  done
  echo "perfctl: no place for a spool folder in: $(echo ${2:-$(spool_roots)})" >&2
  return 1
}

in_spool() {
  spool=$1
  jobs=$spool/jobs
  outputs=$spool/output
  run=${spool##*/}
  unit=perfctl-$run
}

# wait_for_file FILE: until it has content, for five seconds.
wait_for_file() {
  left=500
  while [ ! -s "$1" ]; do
    left=$((left - 1))
    [ "$left" -gt 0 ] || return 1
    sleep 0.01
  done
}

# systemd ends the server in its time and whatever hides from us; a user's own systemd ends with the login.
is_booted_by_systemd() {
  [ -d /run/systemd/system ] && [ "$(id -u)" = 0 ]
}

# ---- processes ------------------------------------------------------------------------------------------

# is_ours PID VERB: is this process one of this spool's that does VERB? Process ids are used again.
is_ours() {
  # What separates the words there is no character that a variable can hold.
  has_words "$1" "$spool/server.sh$2$spool"
}

is_logger() {
  has_words "$1" "/dev/kmsg$spool/no-file"
}

is_limiter() {
  has_words "$1" "$spool/output_limit.py$spool"
}

has_words() {
  [ -n "$1" ] && kill -0 "$1" 2>/dev/null || return 1
  words=
  { IFS= read -r words <"/proc/$1/cmdline"; } 2>/dev/null
  case $words in *"$2"*) return 0 ;; esac
  return 1
}

first_word() {
  word=
  { read -r word _ <"$1"; } 2>/dev/null
}

server_pid() {
  first_word "$spool/server.pid"
  is_ours "$word" serve && server=$word
}

# runner_of ID: sets `word` to the process that runs a job, or was to run it when it was asked for.
runner_of() {
  word=
  { read -r _ word <"$jobs/$1.run"; } 2>/dev/null
  [ -n "$word" ] || { read -r word _ <"$jobs/$1.cmd"; } 2>/dev/null
  word=${word#runner=}
}

# Every command carries its job in its environment: found even when it has made itself a session of its own.
more_members() {
  if [ -n "$is_orphaned" ]; then
    for entry in $(grep -lszF "$spool/" /proc/[0-9]*/cmdline); do
      entry=${entry#/proc/}
      entry=${entry%/cmdline}
      [ "$entry" != "$self" ] || continue
      if is_ours "$entry" serve || is_logger "$entry" || is_limiter "$entry"; then alive="$alive $entry"; fi
    done
  fi
  [ -n "$marked" ] || return 0
  for entry in $(grep -lszF "PERFCTL_JOB=$marked" /proc/[0-9]*/environ); do
    entry=${entry#/proc/}
    alive="$alive ${entry%/environ}"
  done
}

# end_job ID: everything the job started, confirmed. Succeeds when nothing is left.
end_job() {
  marked="$run/$1;"
  first_word "$jobs/$1.run"
  end_session "${word:-none}" 20
  ended=$?
  marked=
  return $ended
}

# end_orphans: the processes that are left of a server which was killed.
end_orphans() {
  is_orphaned=1
  end_session none 20
  is_orphaned=
}

# end_lost_jobs: those that nobody waits for any longer.
end_lost_jobs() {
  for file in "$jobs"/*.cmd; do
    id=${file##*/}
    id=${id%.cmd}
    [ -e "$file" ] && [ ! -s "$jobs/$id.end" ] && end_job "$id"
  done
}
