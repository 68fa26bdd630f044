# The job server: runs one run's commands on this host, whether or not a controller is connected.
# POSIX sh (dash, busybox ash), /proc, setsid, tail, sleep, mkfifo. docs/jobs.md draws it.
#
#   start RUN LIFETIME_S   make the spool and start the server, or find it running
#   serve                  the server itself: starts a worker per slot and background commands
#   attach SLOT            what a controller talks to: takes requests on stdin, answers on stdout
#   list | cancel ID... | stop [STORED_ID...] | reap [RUN]
#
# A job is a few files: ID.cmd (the request), ID.in, ID.run (its processes), ID.out, ID.err, ID.before and
# ID.after (counters), ID.end (how it ended). They stay until a controller says that it has stored them.

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
    (umask 077 && mkdir -p "$spool/jobs" "$spool/work") 2>/dev/null || continue
    [ -O "$spool" ] && [ ! -L "$spool" ] && [ -w "$spool" ] && return 0
  done
  echo "perfctl: no place for a spool folder in: $(echo ${2:-$(spool_roots)})" >&2
  return 1
}

in_spool() {
  spool=$1
  jobs=$spool/jobs
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

# ---- processes ------------------------------------------------------------------------------------------

# is_ours PID WORD: does this process still belong to this spool? Process ids are used again.
is_ours() {
  [ -n "$1" ] && kill -0 "$1" 2>/dev/null || return 1
  { IFS= read -r words <"/proc/$1/cmdline"; } 2>/dev/null
  case $words in *"$spool"*"$2"*) return 0 ;; esac
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

# Every command carries its job in its environment: found even when it has made itself a session of its own.
more_members() {
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

# ---- time and counters ----------------------------------------------------------------------------------

# clock: sets `now` to CLOCK_MONOTONIC in nanoseconds. The kernel's timer list begins with it and costs no
# process; it is root's. Others convert the wall clock by an offset that is taken once.
choose_clock() {
  if { read -r _ && read -r _ && read -r _ _ now _; } 2>/dev/null </proc/timer_list && [ "$now" -gt 0 ]; then
    clock() { { read -r _; read -r _; read -r _ _ now _; } </proc/timer_list; }
  elif case $(date +%N) in '' | *[!0-9]*) false ;; esac; then
    wall=$(date +%s%N)
    uptime_ns
    # /proc/uptime moves every 10 ms: wait for it to move, then both are read at the same moment.
    before=$now
    while [ "$now" = "$before" ]; do
      uptime_ns
      wall=$(date +%s%N)
    done
    offset=$((wall - now))
    clock() { now=$(($(date +%s%N) - offset)); }
  else
    clock() { uptime_ns; }
  fi
}

uptime_ns() {
  read -r now _ </proc/uptime
  now=${now%.*}${now#*.}0000000
}

choose_counters() {
  counters=
  for file in /proc/stat /proc/loadavg /proc/pressure/cpu /proc/pressure/memory /proc/pressure/io /proc/vmstat; do
    tail -n +1 "$file" >/dev/null 2>&1 && counters="$counters $file"
  done
}

# ---- running ----------------------------------------------------------------------------------------------

# has_room: can the spool still take two blocks?
has_room() {
  { printf '%8192s' x >"$spool/probe" && printf '' >"$spool/probe"; } 2>/dev/null && return
  # What was put by for this: how the job ended can still be written down.
  rm -f "$spool/probe" "$spool/reserve"
  return 1
}

# watchdog SLOT: ends the slot's job when its time is up. It outlives jobs: a short job after another finds
# it asleep and need not start one, so nothing of ours runs as a measurement begins.
watchdog() {
  asleep=$!
  trap '[ "$!" = "$asleep" ] || { kill -KILL "$!"; wait "$!"; }; exit' TERM
  while read -r watched deadline <"$spool/deadline.$1" && [ -n "$watched" ]; do
    clock
    left=$((deadline - now))
    if [ "$left" -le 0 ]; then
      trap - TERM
      echo timeout >"$jobs/$watched.why"
      end_job "$watched"
      return
    fi
    echo "$deadline" >"$spool/wakes.$1"
    rest=$((left % 1000000000 + 1000000000))
    sleep "$((left / 1000000000)).${rest#1}" &
    wait "$!"
    asleep=$!
  done
}

# guard ID DEADLINE: have the job watched, by the watchdog that sleeps already if it wakes in time.
guard() {
  wakes=0
  { echo "$1 $2" >"$spool/deadline.$mine"; } 2>/dev/null || has_room || echo "$1 $2" >"$spool/deadline.$mine"
  if [ -n "$dog" ] && kill -0 "$dog" 2>/dev/null; then
    read -r wakes <"$spool/wakes.$mine"
  fi
  clock
  [ "$wakes" -gt "$now" ] && [ "$wakes" -le "$2" ] && return
  if [ -n "$dog" ]; then
    kill "$dog" 2>/dev/null
    wait "$dog" 2>/dev/null
  fi
  watchdog "$mine" 3<&- 4<&- &
  dog=$!
}

# run_job ID: runs the request and leaves its result in the spool and in `result`.
run_job() {
  id=$1
  job=$jobs/$1
  [ -s "$job.run" ] && return 1
  why=exited
  . "$job.cmd"
  # shellcheck disable=SC2086 # a list of files
  if ! { printf '' >"$job.out" && printf '' >"$job.err" && tail -n +1 $counters >"$job.before"; } 2>/dev/null &&
    ! has_room; then
    result="0 0 0 unstarted"
    rm -f "$job.before"
    { echo "$result" >"$job.end"; } 2>/dev/null
    return 0
  fi
  clock
  started=$now
  PERFCTL_JOB="$run/$id;" setsid "$@" <"$stdin" >"$job.out" 2>"$job.err" 3<&- 4<&- &
  child=$!
  printf '%s %s\n' "$child" "$me" >"$job.run"
  guard "$id" $((started + timeout_ms * 1000000))
  [ -e "$job.cancel" ] && end_job "$id"
  wait "$child"
  code=$?
  clock
  ended_at=$now
  # shellcheck disable=SC2086
  tail -n +1 $counters >"$job.after" 2>/dev/null || has_room || why=full
  printf '' >"$spool/deadline.$mine"
  [ -e "$job.cancel" ] && why=cancelled
  if [ -e "$job.why" ]; then
    wait "$dog"
    dog=
    why=timeout
  fi
  kill -0 "-$child" 2>/dev/null && end_job "$id"
  result="$code $started $ended_at $why"
  printf '%s\n' "$result" >"$job.end" || result="$code $started $ended_at full"
}

# worker SLOT: one job after another, as they come.
worker() {
  mine=$1
  dog=
  read -r me _ </proc/self/stat
  exec 3<>"$spool/req.$mine" 4<>"$spool/rep.$mine"
  echo "$me" >"$spool/worker.$mine"
  cd "$spool/work" || exit
  while read -r id <&3; do
    # Asked for twice after a lost connection, it still runs once.
    run_job "$id" || continue
    printf '%s %s\n' "$id" "$result" >&4
  done
}

# background ID SLOT: a command that stays; the answer goes out when it has started.
background() {
  id=$1
  mine=$2
  job=$jobs/$1
  read -r me _ </proc/self/stat
  . "$job.cmd"
  cd "$spool/work" || exit
  clock
  started=$now
  PERFCTL_JOB="$run/$id;" setsid "$@" <"$stdin" >"$job.out" 2>"$job.err" &
  child=$!
  printf '%s %s\n' "$child" "$me" >"$job.run"
  printf '%s started\n' "$id" 1<>"$spool/rep.$mine"
  wait "$child"
  code=$?
  clock
  printf '%s\n' "$code $started $now exited" >"$job.end"
}

serve() {
  in_spool "$1"
  umask 022
  choose_clock
  choose_counters
  exec 3<>"$spool/requests"
  [ -d /run/systemd/system ] && [ "$(id -u)" = 0 ] || lifetime "$2" 3<&- &
  echo $$ >"$spool/server.pid"
  while read -r verb name slot <&3; do
    # Started by a process that ends at once: nobody has to wait for them, and no zombie stays.
    case $verb in
      worker)
        first_word "$spool/worker.$name"
        is_ours "$word" serve && continue
        rm -f "$spool/worker.$name"
        (worker "$name" 3<&- &)
        wait_for_file "$spool/worker.$name"
        ;;
      spawn) (background "$name" "$slot" 3<&- &) ;;
      quit) break ;;
    esac
  done
}

lifetime() {
  sleep "$1"
  stop
  # Should someone have deleted the spool meanwhile, this still finds everything.
  marked=$run/
  read -r me _ </proc/self/stat
  session_of "$me"
  end_session "$session" 20
}

# ---- the controller's side --------------------------------------------------------------------------------

# send ID RESULT: all of a job's output in one go; the mark separates the parts.
send() {
  printf '%s\n' "$2"
  job=$jobs/$1
  cat "$job.out" "$spool/mark" "$job.err" "$spool/mark" "$job.before" "$spool/mark" "$job.after" \
    "$spool/mark" 2>/dev/null
}

# await ID: sets `result` when the job has ended; `lost` when nobody will ever end it.
await() {
  if [ -s "$jobs/$1.end" ]; then
    read -r result <"$jobs/$1.end"
    return
  fi
  if [ -s "$jobs/$1.run" ]; then
    read -r _ word <"$jobs/$1.run"
    is_ours "$word" serve || { result=lost && return; }
  fi
  # The worker holds the other end: should it be killed, the answers end.
  while read -r id result <&4; do
    [ "$id" = "$1" ] && return
  done
  result=lost
}

attach() {
  slot=$1
  read -r me _ </proc/self/stat
  first_word "$spool/attach.$slot"
  # An attach whose connection died still waits for the same answer: it must not take it.
  is_ours "$word" "attach" && [ "$word" != "$me" ] && kill "$word"
  server_pid || { echo "gone" && return; }
  for pipe in req rep; do
    [ -p "$spool/$pipe.$slot" ] || mkfifo "$spool/$pipe.$slot" || return
  done
  echo "$me" >"$spool/attach.$slot"
  first_word "$spool/worker.$slot"
  is_ours "$word" serve || echo "worker $slot" 1<>"$spool/requests"
  exec 4<"$spool/rep.$slot" 5<>"$spool/req.$slot"
  read -r mark <"$spool/mark"
  echo "ready $mark"
  while read -r verb id rest; do
    answer "$verb" "$id" "$rest"
  done
}

answer() {
  verb=$1 id=$2
  job=$jobs/$id
  case $verb in
    run)
      if [ ! -e "$job.cmd" ] && ! printf '%s\n' "$3" 2>/dev/null >"$job.cmd"; then
        rm -f "$job.cmd"
        printf '0 0 0 unstarted\n%s%s%s%s' "$mark" "$mark" "$mark" "$mark"
        return
      fi
      [ -s "$job.run" ] || printf '%s\n' "$id" >&5
      await "$id"
      send "$2" "$result"
      ;;
    wait)
      await "$id"
      cat "$jobs/$2.cmd"
      send "$2" "$result"
      ;;
    spawn)
      printf '%s\n' "$3" 2>/dev/null >"$job.cmd" || { rm -f "$job.cmd" && echo full && return; }
      echo "spawn $id $slot" 1<>"$spool/requests"
      while read -r id result <&4; do [ "$id" = "$2" ] && break; done
      echo started
      ;;
    alive) if [ -s "$job.end" ]; then echo ended; else echo running; fi ;;
    end) if end_job "$id"; then echo gone; else echo alive; fi ;;
    output) cat "$job.out" "$job.err" "$spool/mark" ;;
    ack) forget "$id" $3 ;;
  esac
}

forget() {
  for id in "$@"; do
    set -- "$@" "$jobs/$id".*
    shift
  done
  rm -f "$@"
}

# ---- questions without an attach --------------------------------------------------------------------------

list() {
  for file in "$jobs"/*.cmd; do
    [ -e "$file" ] || continue
    id=${file##*/}
    id=${id%.cmd}
    if [ -s "$jobs/$id.end" ]; then
      echo "$id ended"
      continue
    fi
    # slot=N timeout_ms=T stdin=...
    read -r slot timeout _ <"$file"
    # Not yet begun: the server will.
    first_word "$spool/server.pid"
    [ -s "$jobs/$id.run" ] && read -r _ word <"$jobs/$id.run"
    if is_ours "$word" serve; then echo "$id running ${slot#*=} ${timeout#*=}"; else echo "$id lost"; fi
  done
}

cancel() {
  for id in "$@"; do
    echo cancel >"$jobs/$id.cancel"
    end_job "$id"
  done
}

# stop: end everything of this run; the spool goes too when it holds nothing that a controller still wants.
stop() {
  [ $# -gt 0 ] && forget "$@"
  for file in "$jobs"/*.run; do
    id=${file##*/}
    id=${id%.run}
    [ -e "$file" ] && [ ! -s "$jobs/$id.end" ] || continue
    echo "job $id"
    echo stop >"$jobs/$id.cancel"
    end_job "$id"
  done
  for file in "$spool"/attach.*; do
    first_word "$file"
    is_ours "$word" attach && kill "$word"
  done
  if server_pid; then
    echo "server $unit"
    if is_unit; then
      systemctl stop "$unit.service"
    else
      session_of "$server"
      end_session "$session" 20
    fi
  fi
  for file in "$jobs"/*.end; do
    case $file in */auto-*) continue ;; esac
    # What was cancelled is no result.
    [ -e "$file" ] && [ ! -e "${file%.end}.cancel" ] && return
  done
  rm -rf "$spool"
}

is_unit() {
  [ -d /run/systemd/system ] && systemctl --quiet is-active "$unit.service"
}

reap() {
  for root in $(spool_roots) "$2"; do
    for folder in "$root/"${1:-*}; do
      [ -d "$folder/jobs" ] || continue
      in_spool "$folder"
      stop
    done
  done
  [ -d /run/systemd/system ] || return 0
  for unit in $(systemctl list-units --plain --no-legend "perfctl-${1:-*}.service" | cut -d' ' -f1); do
    echo "server ${unit%.service}"
    systemctl stop "$unit"
  done
}

# ---- start --------------------------------------------------------------------------------------------------

# start RUN LIFETIME_S MARK [ROOT]: `script` holds this text, which is kept in the spool.
start() {
  for tool in setsid mkfifo tail sleep grep; do
    command -v "$tool" >/dev/null || { echo "perfctl: $tool is missing" >&2 && return 127; }
  done
  make_spool "$1" "$4" || return 1
  in_spool "$spool"
  if server_pid; then
    state=found
  else
    state=new
    clean_up
    umask 077
    printf '%s\n' "$script" >"$spool/server.sh" && printf '%s' "$3" >"$spool/mark" &&
      printf '%8192s' x >"$spool/reserve" && mkfifo "$spool/requests" && has_room || return 28
    launch "$2" || return 1
    wait_for_file "$spool/server.pid" || { cat "$spool/log" >&2 && return 1; }
  fi
  echo "$state $spool"
  list
}

# What an earlier server left besides results.
clean_up() {
  rm -f "$spool"/*.pid "$spool"/worker.* "$spool"/attach.* "$spool"/re[pq].* "$spool"/wakes.* "$spool"/deadline.* \
    "$spool/requests" "$spool/probe" "$spool/reserve"
}

launch() {
  if [ -d /run/systemd/system ] && [ "$(id -u)" = 0 ]; then
    systemd-run --quiet --collect --unit="$unit" --description="perfctl run $run" --setenv=HOME="$HOME" \
      --property=KillMode=control-group --property=RuntimeMaxSec="$1" --property=TasksMax=infinity \
      --property=OOMPolicy=continue --property=TimeoutStopSec=10 \
      sh "$spool/server.sh" serve "$spool" "$1" >"$spool/log" 2>&1 </dev/null || {
      cat "$spool/log" >&2
      return 1
    }
  else
    setsid sh "$spool/server.sh" serve "$spool" "$1" </dev/null >"$spool/log" 2>&1 &
  fi
}

verb=$1
shift
case $verb in
  start) start "$@" ;;
  serve) serve "$@" ;;
  reap) reap "$@" ;;
  attach | list | cancel | stop)
    in_spool "$1"
    shift
    "$verb" "$@"
    ;;
esac
