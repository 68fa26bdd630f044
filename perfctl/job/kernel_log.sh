# The kernel's log around a job, at no cost as long as the kernel is silent. docs/jobs.md
#
# A `cat` per worker sleeps in a read of /dev/kmsg and hands on what comes through a FIFO; the 64 KiB that fit
# in are what is kept of a storm. Whether anything came the kernel knows: it counts what a process has read.

# start_log: sets `logger` to the process, when the log can be read and is read up to now.
start_log() {
  end_log
  # In some containers it is a link to a console, whose input is not ours to take.
  [ -c /dev/kmsg ] && [ -r /dev/kmsg ] && [ ! -L /dev/kmsg ] && [ -r /proc/self/io ] || return 1
  rm -f "$spool/kernel.$mine"
  mkfifo "$spool/kernel.$mine" || return 1
  exec 6<>"$spool/kernel.$mine"
  read -r mark <"$spool/mark"
  # The second file is not there: it says whose process this is.
  cat /dev/kmsg "$spool/no-file" >&6 2>/dev/null 3<&- 4<&- 6<&- &
  logger=$!
  drained=0
  echo "$logger" >"$spool/logger.$mine"
  left=500
  while log_position && [ "$left" -gt 0 ]; do
    left=$((left - 1))
    if [ "$position" = 0 ]; then
      sleep 0.01
    elif [ "$position" = "$drained" ]; then
      # Asleep though nothing keeps it from handing on: all that was said before now is away.
      return 0
    else
      drain_log >/dev/null
    fi
  done
  end_log
  return 1
}

# end_log: end the process, also that of a worker which was killed.
end_log() {
  first_word "$spool/logger.$mine"
  is_logger "$word" && kill -KILL "$word"
  [ -z "$logger" ] || wait "$logger" 2>/dev/null
  rm -f "$spool/logger.$mine"
  logger= drained=
}

# log_position: sets `position` to how much was read of the log, once that is all (`is_all`) or may fill the
# FIFO; fails when nobody reads it.
log_position() {
  position=
  is_all=
  patience=100
  while [ "$patience" -gt 0 ]; do
    place=
    # Where the kernel has it sleep; a file without an end of line.
    { read -r place <"/proc/$logger/wchan"; } 2>/dev/null
    case $place in
      devkmsg_read*)
        is_all=1
        { read -r _ position <"/proc/$logger/io"; } 2>/dev/null
        return
        ;;
    esac
    stat_fields "/proc/$logger/stat" || return 1
    case $fields in
      [RDS]" $me "*) ;;
      *) return 1 ;;
    esac
    # Where what it reads does not fit into what is left of a page, the FIFO is full before 64 KiB.
    { read -r _ position <"/proc/$logger/io"; } 2>/dev/null
    [ -z "$drained" ] || [ $((position - drained)) -lt 32768 ] || return 0
    patience=$((patience - 1))
    sleep 0.01
  done
  return 1
}

# drain_log: print what came, up to a mark of our own. That is put in by another process: the FIFO may be full.
drain_log() {
  # Many a sed reads a line ahead.
  printf '\n%s\n\n' "$mark" >&6 &
  marker=$!
  if sed -n "/^$mark\$/q;p" <&6; then
    wait "$marker"
    drained=$position
  else
    # Its output has no room. Where the mark is now nobody knows: the next job gets a new FIFO.
    kill "$marker"
    end_log
    return 1
  fi
}

# log_before: what the kernel said until now is not the job's.
log_before() {
  [ -n "$has_log" ] || return 0
  is_all=
  rounds=0
  # After a storm more may wait than the FIFO holds.
  while [ -z "$is_all" ] && [ "$rounds" -lt 50 ]; do
    rounds=$((rounds + 1))
    # A reader that is too slow is told so by the kernel, and ends.
    log_position || { start_log && log_position; } || return 0
    [ "$position" = "$drained" ] || drain_log >/dev/null
  done
}

# log_after: print what it said meanwhile.
log_after() {
  [ -n "$logger" ] || return 0
  title='kernel log, cut'
  log_position && [ -n "$is_all" ] && title='kernel log'
  printf '\n==> %s <==\n' "$title" || return
  [ "$position" = "$drained" ] || drain_log
}
