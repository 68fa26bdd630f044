# Serving controllers: the half of the job server that is talked to, and the choice of what to do.

# ---- the controller's side --------------------------------------------------------------------------------

# send ID RESULT: all of a job's output in one go; the mark separates the parts.
send() {
  printf '%s\n' "$2"
  job=$jobs/$1
  view=
  [ -e "$job.view" ] && view=$job.view
  send_outputs "$1" "$spool/mark"
  cat "$job.before" "$spool/mark" "$job.after" "$spool/mark" ${view:+"$view"} "$spool/mark" 2>/dev/null
}

# send_outputs ID [MARK]: as much of both outputs as the request says, each with the mark after it.
send_outputs() (
  keep_bytes=67108865
  output=$outputs/$1
  after=$2
  [ -e "$jobs/$1.cmd" ] && . "$jobs/$1.cmd"
  exec head -q -c "$keep_bytes" "$output.out" ${after:+"$after"} "$output.err" ${after:+"$after"} 2>/dev/null
)

# await ID: sets `result` when the job has ended; `lost` when nobody will ever end it.
await() {
  runner_of "$1"
  if is_ours "$word" serve && [ ! -s "$jobs/$1.end" ]; then
    [ -e "$jobs/$1.before" ] || printf '%s\n' "$1" >&5
    # Only the worker holds the other end: should it be killed, the answers end.
    while read -r id result <&4; do
      [ "$id" = "$1" ] && return
    done
  fi
  result=lost
  [ ! -s "$jobs/$1.end" ] || read -r result <"$jobs/$1.end"
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
  if ! is_ours "$word" serve; then
    rm -f "$spool/worker.$slot"
    echo "worker $slot" 1<>"$spool/requests"
    wait_for_file "$spool/worker.$slot" || { echo "gone" && return; }
    first_word "$spool/worker.$slot"
  fi
  runner=$word
  # Opened for reading alone it would wait for a writer, and the worker may be dead again.
  exec 6<>"$spool/rep.$slot" 4<"$spool/rep.$slot" 6<&- 5<>"$spool/req.$slot"
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
      if [ ! -e "$job.cmd" ] && ! printf 'runner=%s %s\n' "$runner" "$3" 2>/dev/null >"$job.cmd"; then
        rm -f "$job.cmd"
        printf '0 0 0 unstarted\n%s%s%s%s%s' "$mark" "$mark" "$mark" "$mark" "$mark"
        return
      fi
      await "$id"
      send "$2" "$result"
      ;;
    wait)
      await "$id"
      cat "$jobs/$2.cmd"
      send "$2" "$result"
      ;;
    spawn)
      printf 'runner=%s %s\n' "$runner" "$3" 2>/dev/null >"$job.cmd" ||
        { rm -f "$job.cmd" && echo full && return; }
      echo "spawn $id $slot" 1<>"$spool/requests"
      result=started
      while read -r id result <&4; do [ "$id" = "$2" ] && break; done
      echo "$result"
      ;;
    alive) if [ -s "$job.end" ]; then echo ended; else echo running; fi ;;
    end) if end_job "$id"; then echo gone; else echo alive; fi ;;
    output)
      send_outputs "$id"
      cat "$spool/mark"
      ;;
    ack) forget "$id" $3 ;;
  esac
}

forget() {
  for id in "$@"; do
    set -- "$@" "$jobs/$id".* "$outputs/$id".*
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
    # runner=PID slot=N timeout_ms=T stdin=...
    read -r _ slot timeout _ <"$file"
    runner_of "$id"
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
  hang_up
  if server_pid; then
    echo "server $unit"
    stop_server
  else
    end_orphans
  fi
  for file in "$jobs"/*.end; do
    case $file in */auto-*) continue ;; esac
    # What was cancelled is no result.
    [ -e "$file" ] && [ ! -e "${file%.end}.cancel" ] && return
  done
  rm -rf "$spool"
}

discard() {
  for file in "$jobs"/*.end; do
    id=${file##*/}
    case $id in auto-*) continue ;; esac
    [ -e "$file" ] && [ ! -e "${file%.end}.cancel" ] && echo "result ${id%.end}"
  done
  rm -rf "$spool"
}

hang_up() {
  for file in "$spool"/attach.*; do
    first_word "$file"
    is_ours "$word" attach && kill "$word"
  done
}

stop_server() {
  if is_booted_by_systemd && systemctl --quiet is-active "$unit.service"; then
    systemctl stop "$unit.service"
  else
    session_of "$server"
    end_session "$session" 20
    # It may just have been dying: then its session was not told any longer.
    end_orphans
  fi
}

# reap RUN KEEP|DISCARD [ROOT]: stop, for one run or (RUN is empty) all; DISCARD: results nobody wanted go too.
reap() {
  for root in $(spool_roots) "$3"; do
    for folder in "$root/"${1:-*}; do
      [ -d "$folder/jobs" ] || continue
      in_spool "$folder"
      stop
      [ "$2" = discard ] && discard
    done
  done
  is_booted_by_systemd || return 0
  for unit in $(systemctl list-units --plain --no-legend "perfctl-${1:-*}.service" | cut -d' ' -f1); do
    echo "server ${unit%.service}"
    systemctl stop "$unit"
  done
}

# ---- start --------------------------------------------------------------------------------------------------

# start RUN LIFETIME_S MARK [ROOT]: `script` holds this text, which is kept in the spool. Prints the spool's
# path and the jobs in it.
start() {
  for tool in setsid mkfifo head tail sleep grep sed; do
    command -v "$tool" >/dev/null || { echo "perfctl: $tool is missing" >&2 && return 127; }
  done
  make_spool "$1" "$4" || return 1
  in_spool "$spool"
  take_turn || return
  if server_pid; then
    if list | grep -v '^auto-' | grep -q ' running '; then
      # It may need commands without a name, such as a connection into a guest: they are ended after it.
      echo "$spool"
      list
      return
    fi
    end_leftovers
    # Its lifetime was counted for an earlier controller.
    hang_up
    stop_server
  else
    end_orphans
    end_lost_jobs
  fi
  clean_up
  umask 077
  printf '%s\n' "$script" >"$spool/server.sh" &&
    printf '%s\n' "$output_limit" >"$spool/output_limit.py" && printf '%s' "$3" >"$spool/mark" &&
    printf '%8192s' x >"$spool/reserve" && mkfifo "$spool/requests" && has_room || return 28
  launch "$2" || return 1
  wait_for_file "$spool/server.pid" || { cat "$spool/log" >&2 && return 1; }
  echo "$spool"
  list
}

# take_turn: one start after another. Whoever asked for an earlier one may be dead, but it goes on here.
take_turn() {
  command -v flock >/dev/null || return 0
  (umask 077 && printf '' >"$spool/lock") || return 28
  # Held until this shell and what it starts in the foreground have ended.
  exec 9<>"$spool/lock"
  left=400
  until flock -n 9; do
    left=$((left - 1))
    [ "$left" -gt 0 ] || { echo "perfctl: another start of $run does not end" >&2 && return 1; }
    sleep 0.05
  done
}

# Commands without a name of their own, servers too: nobody will ask for them again.
end_leftovers() {
  for file in "$jobs"/auto-*.cmd; do
    [ -e "$file" ] || continue
    id=${file##*/}
    id=${id%.cmd}
    echo leftover >"$jobs/$id.cancel"
    [ -s "$jobs/$id.end" ] || end_job "$id"
    forget "$id"
  done
}

# What an earlier server left besides results.
clean_up() {
  rm -f "$spool"/*.pid "$spool"/worker.* "$spool"/attach.* "$spool"/re[pq].* "$spool"/kernel.* \
    "$spool"/logger.* "$spool"/wakes.* "$spool"/deadline.* \
    "$spool"/times.* "$spool/requests" "$spool/probe" "$spool/reserve"
}

launch() {
  if ! is_booted_by_systemd; then
    setsid sh "$spool/server.sh" serve "$spool" "$1" </dev/null >"$spool/log" 2>&1 9<&- &
    return
  fi
  policy=OOMPolicy=continue
  left=50
  while [ "$left" -gt 0 ]; do
    left=$((left - 1))
    systemd-run --quiet --collect --unit="$unit" --description="perfctl run $run" --setenv=HOME="$HOME" \
      --property=KillMode=control-group --property=RuntimeMaxSec="$1" --property=TasksMax=infinity \
      --property=TimeoutStopSec=10 --property="$policy" sh "$spool/server.sh" serve "$spool" "$1" \
      >"$spool/log" 2>&1 </dev/null && return
    case $(cat "$spool/log") in
      # One process that runs out of memory must not end all the others; systemd before 243 never ends them.
      *OOMPolicy*) policy=RemainAfterExit=no ;;
      *already*)
        # Of a start that was killed half way, or ended and not yet forgotten by systemd.
        systemctl stop "$unit.service"
        rm -f "$spool/server.pid"
        sleep 0.1
        ;;
      *) break ;;
    esac
  done
  cat "$spool/log" >&2
  return 1
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
