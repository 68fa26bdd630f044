# Running jobs: the half of the job server that measures.

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

# Read just before and just after each command, all by one process. docs/validity.md says which rule needs what.
choose_counters() {
  has_awk=$(command -v awk)
  counters=
  # Of some the kernel says only when they are read that it does not have them.
  for file in /proc/stat /proc/loadavg /proc/pressure/cpu /proc/pressure/memory /proc/pressure/io /proc/vmstat \
    /proc/net/snmp /proc/net/dev /proc/diskstats /sys/kernel/warn_count /sys/kernel/oops_count \
    /proc/sys/kernel/hung_task_detect_count; do
    [ -r "$file" ] && tail -n +1 "$file" >/dev/null 2>&1 && counters="$counters $file"
  done
  for file in /sys/class/net/*/carrier_changes \
    /sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/*_throttle_count \
    /sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/*_throttle_total_time_ms; do
    # A container's end of a link is gone tomorrow, and has no cable.
    case $file in */veth* | */lo/*) continue ;; esac
    [ -r "$file" ] && counters="$counters $file"
  done
  has_own_time=
  own_group_counters
}

# own_group_counters: add those of the control group that this server and its jobs are in.
#
# In version 1 each controller has a tree of its own, and a job may be in our unit in one and in the whole
# machine's group in another. A group is only ours by its name, and so is the processor time that it counts;
# how often a quota stopped it is said by any but the root, which has none.
own_group_counters() {
  while IFS=: read -r number controllers group; do
    [ "${group:-/}" != / ] || continue
    is_own=
    case ${group##*/} in "$unit".* | session-*.scope) is_own=1 ;; esac
    case $number:,$controllers, in
      0:,,)
        [ -n "$is_own" ] || continue
        for file in "/sys/fs/cgroup$group/cpu.stat" "/sys/fs/cgroup/unified$group/cpu.stat"; do
          add_counter "$file" && has_own_time=1
        done
        ;;
      *,cpu,*) add_counter "/sys/fs/cgroup/$controllers$group/cpu.stat" ;;
    esac
    case ,$controllers, in
      *,cpuacct,*)
        [ -n "$is_own" ] && add_counter "/sys/fs/cgroup/$controllers$group/cpuacct.usage" && has_own_time=1
        ;;
    esac
  done </proc/self/cgroup
}

add_counter() {
  # The list is words.
  case $1 in *[!A-Za-z0-9/_.,@:-]*) return 1 ;; esac
  [ -r "$1" ] && counters="$counters $1"
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
  # Not `watchdog 3<&- 4<&-`: for a function the shell puts copies by, and a copy of the answers' pipe in
  # another process would hide from who reads it that this one is dead.
  (exec 3<&- 4<&- 6<&- && watchdog "$mine") &
  dog=$!
}

# is_held: is the host still this run's? Then it is held to this job's end, which the request says.
is_held() {
  [ -n "$lease" ] || return 0
  word=
  { read -r word <"$lease"; } 2>/dev/null
  [ "$word" = "$token" ] || return 1
  # In place: some file systems write a file out that was cut and closed. What is left of a longer line follows.
  { echo "$token $until" 1<>"$lease.until"; } 2>/dev/null
  return 0
}

# run_job ID: runs the request and leaves its result in the spool and in `result`.
run_job() {
  id=$1
  job=$jobs/$1
  output=$outputs/$1
  # From here on it is ours: should we be killed, it is lost, and never run a second time.
  [ -e "$job.before" ] && return 1
  { printf '' >"$job.before"; } 2>/dev/null
  why=exited
  . "$job.cmd"
  if ! is_held; then
    result="0 0 0 fenced"
    rm -f "$job.before"
    { echo "$result" >"$job.end"; } 2>/dev/null
    return 0
  fi
  log_before
  view_before
  # shellcheck disable=SC2086 # a list of files
  if ! { printf '' >"$output.out" && printf '' >"$output.err" && tail -n +1 $counters >>"$job.before"; } 2>/dev/null &&
    ! has_room; then
    result="0 0 0 unstarted"
    rm -f "$job.before"
    [ -z "$looker" ] || kill "$looker"
    { echo "$result" >"$job.end"; } 2>/dev/null
    return 0
  fi
  [ -n "$looker" ] && processor_time && used_before=$used
  clock
  started=$now
  PERFCTL_JOB="$run/$id;" setsid "$@" <"$stdin" >>"$output.out" 2>>"$output.err" 3<&- 4<&- 6<&- &
  child=$!
  printf '%s %s\n' "$child" "$me" >"$job.run"
  guard "$id" $((started + timeout_ms * 1000000))
  [ -e "$job.cancel" ] && end_job "$id"
  wait "$child"
  code=$?
  clock
  ended_at=$now
  [ -n "$looker" ] && processor_time
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
  view_after
  # Last, for it comes a tick of the kernel's clock after what it tells of.
  { log_after >>"$job.after"; } 2>/dev/null || has_room || why=full
  result="$code $started $ended_at $why"
  printf '%s\n' "$result" >"$job.end" || result="$code $started $ended_at full"
}

# worker SLOT: one job after another, as they come.
worker() {
  mine=$1
  dog=
  read -r me _ </proc/self/stat
  has_log=
  start_log && has_log=1
  exec 3<>"$spool/req.$mine" 4<>"$spool/rep.$mine"
  echo "$me" >"$spool/worker.$mine"
  # Where no group counts the jobs' time, this process does, which waits for them.
  [ -n "$has_own_time" ] || counters="$counters /proc/$me/stat"
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
  output=$outputs/$1
  read -r me _ </proc/self/stat
  . "$job.cmd"
  if ! is_held; then
    echo "0 0 0 fenced" >"$job.end"
    printf '%s fenced\n' "$id" 1<>"$spool/rep.$mine"
    return
  fi
  cd "$spool/work" || exit
  clock
  started=$now
  PERFCTL_JOB="$run/$id;" setsid "$@" <"$stdin" >>"$output.out" 2>>"$output.err" &
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
  is_booted_by_systemd || lifetime "$2" 3<&- &
  # Whoever writes too much is cut while it writes; without it, when the output is sent.
  python3 -I -S "$spool/output_limit.py" "$spool" 3<&- &
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
