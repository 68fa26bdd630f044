# What the driver of guests asks a host to do. POSIX sh; virsh, qemu-img, mkfs.ext4, ssh, ip, lscpu.
#
#   survey                       what there is here, in sections
#   claim NAME RUN UUID TAP ...  the guest's folder and, of the addresses that are named, one that is its own
#   start NAME UUID UNTIL S Q ... the domain in the folder's XML; waits until the guest has come so far
#   state NAME UUID              what libvirt, the kernel and the console say of it, in sections
#   close NAME UUID              nothing of it is left; says what is
#   left STEM RUN                what is left of a run ('' as RUN: of any), a line each
#   reap STEM RUN                end it
#
# A guest is a folder guests/NAME. What it stands for is named in there, so that another controller can end it.

LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL PATH
umask 022

uri=$(sed -n 's/.*"uri" *: *"\([^"]*\)".*/\1/p' "$vm/host.json" 2>/dev/null)

libvirt() {
  virsh --quiet --connect "${uri:-qemu:///system}" "$@"
}

in_guest() {
  name=$1 uuid=$2
  guest=$vm/guests/$1
}

first_word() {
  word=
  { read -r word _ <"$1"; } 2>/dev/null
}

# is_ours PID TEXT: does this process still carry TEXT in its command line? Process ids are used again.
is_ours() {
  [ -n "$1" ] && kill -0 "$1" 2>/dev/null || return 1
  tr '\0' ' ' <"/proc/$1/cmdline" 2>/dev/null | grep -qF -e "$2"
}

# qemu_pid: sets `qemu`; fails when no qemu of this guest runs.
qemu_pid() {
  first_word "/run/libvirt/qemu/$name.pid"
  qemu=$word
  is_ours "$qemu" "$uuid"
}

oom_kills() {
  sed -n 's/^oom_kill //p' /proc/vmstat 2>/dev/null
}

# ---- what there is ----------------------------------------------------------------------------------------

section() {
  printf '== %s\n' "$1"
}

# qemu_owner: prints the user and group that libvirt runs qemu as, as +UID:+GID.
qemu_owner() {
  libvirt capabilities 2>/dev/null |
    sed -n "/<model>dac</,/<\/secmodel>/s/.*<baselabel type='qemu'>\(.*\)<.*/\1/p"
}

survey() {
  section host
  cat "$vm/host.json" 2>/dev/null
  section image
  image=$(readlink -f "$vm/image" 2>/dev/null) && [ -d "$image" ] && echo "$image"
  section manifest
  cat "$vm/image/manifest.json" 2>/dev/null
  section unreadable
  for file in root.ext4 vmlinuz initramfs engine.ext4 manifest.json; do
    [ -r "$vm/image/$file" ] || echo "$file"
  done
  section programs
  for program in virsh qemu-img qemu-system-x86_64 ssh mkfs.ext4; do
    command -v "$program" >/dev/null && echo "$program"
  done
  section libvirt
  if command -v virsh >/dev/null; then libvirt version --daemon 2>&1; fi
  section owner
  if command -v virsh >/dev/null; then qemu_owner; fi
  section topology
  lscpu -p=CPU,CORE,SOCKET,NODE 2>/dev/null
  section allowed
  sed -n 's/^Cpus_allowed_list:[[:space:]]*//p' /proc/self/status
  section memory
  grep -E '^(MemTotal|MemAvailable|HugePages_Total|HugePages_Free|Hugepagesize):' /proc/meminfo
  section devices
  for device in kvm vhost-net; do [ -c "/dev/$device" ] && echo "$device"; done
  section boot
  cat /proc/sys/kernel/random/boot_id
  section accelerator
  cat /run/perfctl/accelerator 2>/dev/null
  return 0
}

# remember TEXT: what a probe found, for as long as the host runs.
remember() {
  mkdir -p /run/perfctl && printf '%s\n' "$1" >"/run/perfctl/accelerator.$$" &&
    mv -f "/run/perfctl/accelerator.$$" /run/perfctl/accelerator
}

# ---- making one -------------------------------------------------------------------------------------------

claim() {
  in_guest "$1" "$3"
  mkdir "$guest" 2>/dev/null || { [ -d "$guest" ] && return 11; mkdir "$guest" || return 12; }
  chmod 0711 "$guest"
  echo "$2" >"$guest/run" && echo "$3" >"$guest/uuid" && echo "$4" >"$guest/tap" || return 12
  oom_kills >"$guest/oom_kills"
  shift 4
  [ $# -gt 0 ] || return 0
  for address; do
    # A link is made, or not, with its content: whose it is.
    if ln -sn "$name" "$vm/addresses/$address" 2>/dev/null; then
      echo "$address"
      return 0
    fi
  done
  for claimed in "$vm"/addresses/*; do readlink "$claimed"; done >&2
  return 13
}

uptime_cs() {
  read -r now _ </proc/uptime
  now=${now%.*}${now#*.}
}

# since_start WHAT: prints how long it took, in seconds.
since_start() {
  uptime_cs
  took=$((now - began))
  printf '%s %d.%02d\n' "$1" $((took / 100)) $((took % 100))
}

# What a kernel writes when a CPU of it makes no progress any more, for grep; `look` has the same words.
stalls='watchdog: BUG: soft lockup|rcu: INFO: rcu_.*stall'

# note_output: when the console had something new for the last time.
note_output() {
  [ -n "$last_output" ] || since_start console
  uptime_cs
  last_output=$now
}

# look: takes in what the console has said since; sets the marks that it saw.
look() {
  while IFS= read -r piece <&4; do
    note_output
    line=$pending$piece
    pending=
    case $line in
      *"perfctl: kernel"*) [ -n "$saw_kernel" ] || since_start kernel; saw_kernel=1 ;;
      *"perfctl: ssh"*) saw_ssh=1 ;;
      *"perfctl: engine"*) [ -n "$saw_engine" ] || since_start engine; saw_engine=1 ;;
      *"perfctl: failed: "*) why="failed ${line#*perfctl: failed: }" ;;
      *"Kernel panic"*) why="panicked $line" ;;
      *"watchdog: BUG: soft lockup"* | *"rcu: INFO: rcu_"*stall*) why=${why:-stalled $line} ;;
    esac
  done
  [ -z "$piece" ] || note_output
  pending=$pending$piece
}

# await CONDITION: waits until it holds; fails after a panic, a stall, the end of qemu or of the time.
await() {
  while :; do
    look
    eval "$1" && return 0
    if [ -n "$why" ]; then
      # What init could not do may be all that it says, or the first words of a panic.
      [ "${why%% *}" = panicked ] || { sleep 0.5; look; }
      return 1
    fi
    # What it said last may have come after we looked.
    kill -0 "$qemu" 2>/dev/null || { look; why=${why:-ended}; return 1; }
    uptime_cs
    [ "$now" -lt "$deadline" ] || { why=silent; return 1; }
    # Until its first program the kernel writes all along; what comes later may take its time.
    [ -n "$saw_kernel" ] || [ $((now - ${last_output:-$created})) -lt "$quiet" ] || {
      why="no_output $((quiet / 100))"
      return 1
    }
    sleep 0.02
  done
}

# make_disk DISK: ROLE=BASE is an overlay of an image's file, ROLE:SIZE an empty file system.
make_disk() {
  case $1 in
    *=*) qemu-img create -q -f qcow2 -F raw -b "${1#*=}" "$guest/${1%%=*}" >&2 ;;
    *:*) truncate -s "${1#*:}" "$guest/${1%%:*}" && mkfs.ext4 -q -F "$guest/${1%%:*}" >&2 ;;
  esac
}

# start NAME UUID UNTIL SECONDS QUIET OWNER DISK... -- SSH...: UNTIL is kernel, ssh or engine; QUIET is how many
# seconds the console may be without output before the guest's first program; the XML comes on stdin.
start() {
  in_guest "$1" "$2"
  goal=$3 quiet=$(($5 * 100)) owner=$(echo "$6" | tr -d +)
  uptime_cs
  began=$now deadline=$((now + $4 * 100))
  shift 6
  cat >"$guest/domain.xml" || return 12
  : >"$guest/console.log"
  while [ "$1" != -- ]; do
    make_disk "$1" || return 12
    shift
  done
  shift
  # libvirt is told to change no owner: the image is not one guest's alone.
  for file in "$guest"/*.qcow2 "$guest"/*.img "$guest/console.log"; do
    [ -z "$owner" ] || [ ! -e "$file" ] || chown "$owner" "$file" || return 12
  done
  libvirt create "$guest/domain.xml" >/dev/null || return 14
  follow "$@" && return 0
  echo "why $why"
  return 15
}

# follow SSH...: the new guest on its way to the goal.
follow() {
  why='' pending='' saw_kernel='' saw_ssh='' saw_engine='' last_output=''
  qemu_pid || why=ended
  echo "$qemu" >"$guest/qemu"
  exec 4<"$guest/console.log"
  uptime_cs
  created=$now
  await '[ -n "$saw_kernel" ]' || return 1
  [ "$goal" = kernel ] && return 0
  await '[ -n "$saw_ssh" ]' || return 1
  # Not a job of ours: it belongs to the guest and ends with it, whatever becomes of the controller.
  env -u PERFCTL_JOB setsid sh -c "$link" perfctl-link "$guest" "$uuid" "${uri:-qemu:///system}" "$stalls" "$@" \
    </dev/null >"$guest/ssh.log" 2>&1 4<&- &
  link_process=$!
  await '[ -S "$guest/ssh" ] || ! kill -0 "$link_process" 2>/dev/null' || [ "$why" = silent ] || return 1
  [ -S "$guest/ssh" ] || { why="silent $(tail -n 1 "$guest/ssh.log")"; return 1; }
  since_start ssh
  if [ "$goal" = engine ]; then await '[ -n "$saw_engine" ]'; fi
}

# The connection that all commands go over. When the guest ends, stands still for want of disk space, or its kernel
# says that a CPU is stuck, it ends too, and with it the commands: the guest itself can no longer say so. Nothing
# here wakes up until then, or until the console has something new (tail is told so by the host's kernel).
link='
guest=$1 uuid=$2 uri=$3 stalls=$4
shift 4
echo $$ >"$guest/link"
"$@" &
ssh=$!
trap "kill $ssh" TERM
(
  while virsh --quiet --keepalive-interval 0 --connect "$uri" event --domain "$uuid" --event lifecycle >/dev/null; do
    [ "$(virsh --quiet --connect "$uri" domstate "$uuid" 2>/dev/null)" = running ] || break
  done
  case $(virsh --quiet --connect "$uri" domstate "$uuid" 2>&1) in
    *running* | *"failed to connect"*) ;;
    *) kill "$ssh" ;;
  esac
) &
tail -n +1 -f "$guest/console.log" 2>/dev/null | {
  grep -qE "$stalls" || exit
  # Its CPUs would go on spinning beside what is measured next.
  virsh --quiet --connect "$uri" destroy "$uuid" >/dev/null 2>&1
  kill "$ssh"
} &
wait "$ssh"
kill -TERM 0
'

# ---- looking at one ---------------------------------------------------------------------------------------

state() {
  in_guest "$1" "$2"
  section domain
  libvirt domstate --reason "$uuid" 2>&1
  section qemu
  first_word "$guest/qemu"
  echo "$word"
  if qemu_pid; then echo running; fi
  section oom
  if [ -e "$guest/oom_kills" ]; then
    first_word "$guest/oom_kills"
    echo "$(($(oom_kills) - ${word:-0}))"
  fi
  section kernel
  first_word "$guest/qemu"
  if [ -n "$word" ]; then dmesg 2>/dev/null | grep -E "(Out of memory|out of memory|oom-kill).*\b$word\b" | tail -n 3; fi
  section libvirt
  tail -n 4 "/var/log/libvirt/qemu/$name.log" 2>/dev/null
  section stall
  grep -m 1 -E "$stalls" "$guest/console.log" 2>/dev/null
  section console
  tail -c 65536 "$guest/console.log" 2>/dev/null
  return 0
}

# ---- ending one -------------------------------------------------------------------------------------------

# domain_is_gone: does libvirt answer, and know nothing of it?
domain_is_gone() {
  said=$(libvirt domstate "$uuid" 2>&1) && return 1
  case $said in *"failed to get domain"* | *"Domain not found"*) return 0 ;; esac
  # Without libvirt nothing but the process itself can tell.
  ! qemu_pid
}

end_domain() {
  domain_is_gone && return 0
  tries=5
  while [ "$tries" -gt 0 ]; do
    libvirt destroy "$uuid" >/dev/null 2>&1
    domain_is_gone && return 0
    if qemu_pid; then kill -KILL "$qemu" 2>/dev/null; fi
    sleep 0.2
    tries=$((tries - 1))
  done
  return 1
}

end_link() {
  first_word "$guest/link"
  is_ours "$word" "$guest" && kill -TERM -- "-$word" 2>/dev/null
  return 0
}

# close: by UUID, so that a domain of this name that is not ours stays; then by the names in its folder.
close() {
  in_guest "$1" "$2"
  remains=
  first_word "$guest/uuid"
  [ -z "$word" ] || [ "$word" = "$uuid" ] || return 0
  end_link
  end_domain || remains="domain $name"
  first_word "$guest/tap"
  case $word in
    pfc*)
      if [ -e "/sys/class/net/$word" ]; then
        ip link delete "$word" 2>/dev/null
        [ -e "/sys/class/net/$word" ] && remains="$remains tap $word"
      fi
      ;;
  esac
  for claimed in "$vm"/addresses/*; do
    [ "$(readlink "$claimed")" = "$name" ] && rm -f "$claimed"
  done
  # The folder names the rest: it goes last, and only when nothing else is left.
  if [ -z "$remains" ]; then rm -rf "$guest"; fi
  [ -e "$guest" ] && remains="$remains folder $guest"
  [ -z "$remains" ] && return 0
  echo "$remains"
  return 1
}

# ---- those of a run ---------------------------------------------------------------------------------------

# each_folder STEM RUN: sets `folders` to the guests of a run.
each_folder() {
  folders=
  for guest in "$vm/guests/$1"*; do
    [ -d "$guest" ] || continue
    first_word "$guest/run"
    # One that was made no further than its folder has its name only.
    [ -z "$2" ] || [ -z "$word" ] || [ "$word" = "$2" ] || continue
    folders="$folders ${guest##*/}"
  done
}

# each_domain STEM RUN: sets `domains` to those that libvirt knows, have such a name and carry the run's mark.
each_domain() {
  domains=
  command -v virsh >/dev/null || return 0
  for found in $(libvirt list --all --name 2>/dev/null); do
    case $found in "$1"*) ;; *) continue ;; esac
    mark=$(libvirt metadata "$found" urn:perfctl:domain 2>/dev/null) || continue
    case $mark in *">$2"*) domains="$domains $found" ;; esac
  done
}

left() {
  each_folder "$1" "$2"
  each_domain "$1" "$2"
  for found in $folders; do echo "folder $found"; done
  for found in $domains; do echo "domain $found"; done
  for claimed in "$vm"/addresses/*; do
    [ -L "$claimed" ] || continue
    owner=$(readlink "$claimed")
    case $owner in "$1"*) echo "address ${claimed##*/} $owner" ;; esac
  done
  # A tap does not say whose it is, but for its guest's folder.
  for found in /sys/class/net/pfc*; do
    [ -e "$found" ] || continue
    [ -z "$2" ] || grep -qsxF "${found##*/}" "$vm/guests/$1"*/tap && echo "tap ${found##*/}"
  done
  return 0
}

reap() {
  each_folder "$1" "$2"
  each_domain "$1" "$2"
  code=0
  for found in $folders $domains; do
    case " $done_with " in *" $found "*) continue ;; esac
    done_with="$done_with $found"
    first_word "$vm/guests/$found/uuid"
    [ -n "$word" ] || word=$(libvirt domuuid "$found" 2>/dev/null)
    # Nothing was made of it yet that libvirt could know.
    close "$found" "${word:-00000000-0000-0000-0000-000000000000}" >&2 || code=1
    echo "$found"
  done
  for claimed in "$vm"/addresses/*; do
    [ -L "$claimed" ] || continue
    case $(readlink "$claimed") in "$1"*) rm -f "$claimed" ;; esac
  done
  return $code
}

verb=$1
shift
"$verb" "$@"
