# The host's view of a job: which processes use the processors while it runs. docs/telemetry.md
#
# One awk program reads /proc three times: before the start (kept in ID.seen), half way (ID.half), and after the
# end, when it puts ID.view together. Whatever goes wrong here, the job itself goes on: there is no view then.

# It also tells the counters how far the wall clock is ahead of the monotonic one, which only changes when the
# wall clock is set.

# Variables: step; counters (the file that the clock goes to); what (cgroup:TEXT, pidfile:PATH, or nothing: the
# session `job`); leader (the process of the pidfile); seen, half (files); at_ms; and, for the end, took_ms and
# used (user and system before and after).
view='
function read_stat(file,   line, f, part, found) {
  found = (getline line < file) > 0
  close(file)
  if (!found) return 0
  # proc(5). The name may hold spaces and brackets: it ends at the last bracket.
  match(line, /.*\)/)
  name = substr(line, index(line, "(") + 1, RLENGTH - index(line, "(") - 1)
  gsub(/\t/, " ", name)
  split(substr(line, RLENGTH + 2), f, " ")
  session = f[4]; user = f[12]; sys = f[13]; born = f[20]; cpu = f[37]
  split(file, part, "/")
  pid = part[3]; tid = part[4] == "task" ? part[5] : "-"
  return 1
}

# Sets group to the path that says most, is_inside when a path has the text, and where its time is counted.
function read_group(   file, line, path, is_its) {
  file = "/proc/" pid "/cgroup"; group = "-"; is_inside = 0; counter = ""
  while ((getline line < file) > 0) {
    path = line; sub(/^[^:]*:[^:]*:/, "", path)
    is_its = text != "" && index(path, text)
    if (is_its) is_inside = 1
    if (path != "/" && (group == "-" || line ~ /^(0:|[0-9]+:name=systemd:)/)) group = path
    # In version 1 each controller has a tree of its own: one may count it together with others.
    if (is_its && line ~ /^[0-9]+:([a-z_]+,)*cpuacct[:,]/) counter = "/sys/fs/cgroup/cpuacct" path "/cpuacct.stat"
    if (is_its && line ~ /^0:/ && counter == "") counter = "/sys/fs/cgroup" path "/cpu.stat"
  }
  close(file)
}

# Sets user and sys to the seconds that a control group has used, by processes that have ended, too.
function read_counter(file,   line, f, found) {
  while ((getline line < file) > 0) {
    split(line, f, " ")
    if (f[1] == "user") { user = f[2] / 100; found = 1 }
    if (f[1] == "system") sys = f[2] / 100
    if (f[1] == "user_usec") { user = f[2] / 1000000; found = 1 }
    if (f[1] == "system_usec") sys = f[2] / 1000000
  }
  close(file)
  return found
}

# The kernel writes it for each processor, among its timers; root may read them. A number too large for awk:
# it stays text.
function tell_clock(   line, f, is_wall, ahead) {
  while (ahead == "" && (getline line < "/proc/timer_list") > 0) {
    split(line, f, " ")
    if (f[1] == ".index:") is_wall = f[2] == "1"
    if (f[1] == ".offset:" && is_wall) ahead = f[2]
  }
  close("/proc/timer_list")
  if (ahead != "") printf "\n==> clock <==\n%s\n", ahead >> counters
}

function before(   i, found) {
  tell_clock()
  for (i = 1; i < ARGC; i++) {
    if (!read_stat(ARGV[i])) continue
    print "was", pid "/" tid, born, user, sys
    if (text == "" || found) continue
    read_group()
    if (counter != "" && read_counter(counter)) { print "counter", counter, user, sys; found = 1 }
  }
}

function load(   line, f) {
  while ((getline line < seen) > 0) {
    split(line, f, " ")
    if (f[1] == "was") { was_born[f[2]] = f[3]; was_user[f[2]] = f[4]; was_sys[f[2]] = f[5] }
    if (f[1] == "counter") { counted = f[2]; counted_user = f[3]; counted_sys = f[4] }
  }
  close(seen)
}

# What used processor time since, and what is new in the environment. The kernel counts in hundredths of a
# second on every architecture (USER_HZ).
function table(   i, at, is_known, is_own) {
  print "pid\ttid\tcpu\tuser_s\tsystem_s\town\tname\tgroup"
  for (i = 1; i < ARGC; i++) {
    if (!read_stat(ARGV[i])) continue
    at = pid "/" tid
    is_known = was_born[at] == born
    if (is_known) { user -= was_user[at]; sys -= was_sys[at] }
    if (pid == leader && tid == "-") { own_user = user / 100; own_sys = sys / 100; has_own = 1 }
    if (is_known && user + sys == 0) continue
    read_group()
    is_own = is_inside || pid == leader || name == "vhost-" leader || what == "" && session == job
    if (user + sys == 0 && !is_own) continue
    printf "%s\t%s\t%s\t%.2f\t%.2f\t%s\t%s\t%s\n", pid, tid, cpu, user / 100, sys / 100,
      is_own ? "yes" : "no", name, group
  }
}

function after(   line, has_half, f) {
  tell_clock()
  printf "# Who used processor time on this host while the command ran (%.3f s), since just before it.\n",
    took_ms / 1000
  print "# own: of the environment, which is " (what == "" ? "session " job : what)
  while ((getline line < half) > 0) { print line; has_half = 1 }
  close(half)
  if (!has_half) print "==> half way: it had ended before <=="
  print "==> after its end <=="
  table()
  print "==> in all <=="
  print "of\tuser_s\tsystem_s"
  if (split(used, f, " ") == 4) {
    user = minutes(f[3]) - minutes(f[1]); sys = minutes(f[4]) - minutes(f[2])
    printf "command\t%.2f\t%.2f\n", user, sys
    if (what == "") { own_user = user; own_sys = sys; has_own = 1 }
  }
  if (counted != "" && read_counter(counted)) {
    own_user = user - counted_user; own_sys = sys - counted_sys; has_own = 1
  }
  if (has_own) printf "environment\t%.2f\t%.2f\n", own_user, own_sys
}

# 1m2.5s, as `times` says it.
function minutes(text,   part) { split(text, part, /[ms]/); return part[1] * 60 + part[2] }

BEGIN {
  text = what ~ /^cgroup:/ ? substr(what, 8) : ""
  if (step == "before") { before(); exit }
  load()
  if (step == "half") { printf "==> half way, after %.3f s <==\n", at_ms / 1000; table() } else after()
}
'

# read_view STEP [-v VARIABLE=VALUE...]: of the job `job`, whose process is `child`.
read_view() {
  step=$1
  shift
  word=
  # Such a file may lack the end of its line.
  case $watched in pidfile:*) first_word "${watched#pidfile:}" ;; esac
  leader=$word
  # shellcheck disable=SC2086 # a list of files
  awk -v "step=$step" -v "what=$watched" -v "leader=$leader" -v "seen=$job.seen" -v "half=$job.half" -v "job=$child" \
    "$@" "$view" /proc/[0-9]*/stat ${leader:+/proc/$leader/task/[0-9]*/stat} 2>/dev/null
}

# view_before: take the first reading, and have the second taken `look_ms` after the start, if that is asked for.
view_before() {
  looker=
  [ "$look_ms" -gt 0 ] && [ -n "$has_awk" ] || return 0
  child=
  { read_view before -v "counters=$job.before" >"$job.seen"; } 2>/dev/null || return 0
  (exec 3<&- 4<&- 6<&- && look) &
  looker=$!
}

look() {
  asleep=$!
  trap '[ "$!" = "$asleep" ] || { kill -KILL "$!"; wait "$!"; }; exit' TERM
  clock
  began=$now
  rest=$((look_ms % 1000 + 1000))
  sleep "$((look_ms / 1000)).${rest#1}" &
  wait "$!"
  asleep=$!
  { read -r child _ <"$job.run"; } 2>/dev/null || exit
  clock
  { read_view half -v "at_ms=$(((now - began) / 1000000))" >"$job.half"; } 2>/dev/null
}

view_after() {
  [ -n "$looker" ] || return 0
  kill "$looker" 2>/dev/null
  wait "$looker" 2>/dev/null
  took_ms=$(((ended_at - started) / 1000000))
  { read_view after -v "counters=$job.after" -v "took_ms=$took_ms" -v "used=$used_before $used" >"$job.view"; } 2>/dev/null
}

# processor_time: sets `used` to what this worker's commands have used so far, as `times` says it.
processor_time() {
  used=
  { command times >"$spool/times.$mine" && { read -r _; read -r used; } <"$spool/times.$mine"; } 2>/dev/null
  return 0
}
