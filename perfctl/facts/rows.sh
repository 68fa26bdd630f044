# Facts that need a function of their own. Each emits exactly the rows named to it.

# cgroup_version NAME
cgroup_version() {
  value=1
  state=present
  if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    value=2
  elif [ -e /sys/fs/cgroup/unified/cgroup.procs ]; then
    value=hybrid
  elif [ ! -e /sys/fs/cgroup/cpu ] && [ ! -e /sys/fs/cgroup/memory ]; then
    state=missing
  fi
  emit "$1" $state "$value"
}

# own_cgroup V2FILE V1CONTROLLER V1FILE -> $at: that file of the own cgroup, and of the root, which is what a
# container sees as its own
own_cgroup() {
  [ -n "$cgroups" ] || cgroups=$nl$(cat /proc/self/cgroup)$nl
  base=/sys/fs/cgroup
  if [ -e $base/cgroup.controllers ]; then
    key=${nl}0::
    file=$1
  else
    base=$base/$2
    file=$3
    key=:$2:
    case $cgroups in
    *,"$2":*) key=,$2: ;;
    *:"$2",*) key=:$2, ;;
    esac
  fi
  own=
  case $cgroups in
  *"$key"*)
    own=${cgroups#*"$key"}
    own=/${own#*/}
    own=${own%%"$nl"*}
    ;;
  esac
  at=$base/$file
  [ "${own%/}" = "" ] || at="$base${own%/}/$file $at"
}
cgroups=

# label NAME: the security module's; it may hold a byte 0, and is EINVAL where no module answers
label() {
  capture cat /proc/self/attr/current
  emit "$1" $state "$value"
}

# dmesg_tail NAME: the last lines but the kernel's complaints about our own look at kernel.preempt
dmesg_tail() {
  value=
  command -v dmesg >/dev/null && value=$(dmesg 2>&1 | awk "$dmesg_awk")
  state=present
  case $value in
  '' | dmesg:*) judge "$value" ;;
  esac
  emit "$1" $state "$value"
}
dmesg_awk='
/debugfs access is restricted/ { next }
{ line[++n] = $0; delete line[n - 5] }
END { for (i = n - 4; i <= n; i++) if (i > 0) print line[i] }
'

# kernel_config NAME: the timer and preemption lines
kernel_config() {
  read -r release </proc/sys/kernel/osrelease
  boot=/boot/config-$release
  value=
  if [ -r /proc/config.gz ]; then
    value=$(zcat /proc/config.gz | grep -E "$config_lines")
  elif [ -r "$boot" ]; then
    value=$(grep -E "$config_lines" "$boot")
  elif [ -e "$boot" ]; then
    emit "$1" denied
    return 0
  fi
  if [ -n "$value" ]; then emit "$1" present "$value"; else emit "$1" missing; fi
}
config_lines='^(# )?CONFIG_(HZ|HZ_[0-9]+|PREEMPT[A-Z_]*|NO_HZ[A-Z_]*)[= ]'

# links NAME: what of each interface decides speed; virtual ends of containers come and go and are left out
links() {
  all=
  for path in /sys/class/net/*; do
    link=${path##*/}
    [ -e "$path/mtu" ] || continue
    case $link in
    veth*) continue ;;
    esac
    text=$link
    for attribute in mtu tx_queue_len speed duplex; do
      case $attribute in
      speed | duplex) [ ! -d "$path/bridge" ] || continue ;;
      esac
      value=
      { IFS= read -r value; } <"$path/$attribute"
      [ -z "$value" ] || text="$text $attribute=$value"
    done
    for master in /sys/class/net/*/brif/"$link"; do
      [ -e "$master" ] || continue
      master=${master%/brif/*}
      text="$text master=${master##*/}"
    done
    lower=
    for below in "$path"/lower_*; do
      if [ -e "$below" ] && [ ! -d "$path/bridge" ]; then lower=$lower,${below##*/lower_}; fi
    done
    [ -z "$lower" ] || text="$text lower=${lower#,}"
    for uevent in "$path/uevent" "$path/device/uevent"; do
      [ -r "$uevent" ] || continue
      while IFS='=' read -r key value; do
        case $key in
        DEVTYPE | DRIVER) text="$text $key=$value" ;;
        esac
      done <"$uevent"
    done
    all=$all$nl$text
  done
  if [ -n "$all" ]; then emit "$1" present "${all#"$nl"}"; else emit "$1" missing; fi
}

# nics NAME FLAG: `ethtool FLAG` of every interface; but for the offloads (-k) only of those with hardware
nics() {
  if ! command -v ethtool >/dev/null; then
    emit "$1" missing
    return 0
  fi
  all=
  found=missing
  for path in /sys/class/net/*; do
    link=${path##*/}
    case $link in
    lo | veth*) continue ;;
    esac
    [ -e "$path/mtu" ] || continue
    [ ! -d "$path/bridge" ] || continue
    [ "$2" = -k ] || [ -e "$path/device" ] || continue
    capture ethtool "$2" "$link"
    case $state in
    present)
      found=present
      all=$all$nl$link:$nl$value
      ;;
    denied) [ $found = present ] || found=denied ;;
    esac
  done
  emit "$1" $found "${all#"$nl"}"
}

# iptables_rules NAME: how many there are
iptables_rules() {
  capture iptables-save
  if [ $state = present ]; then
    n=0
    rest=$value$nl
    while :; do
      case $rest in
      *"$nl-A "*)
        n=$((n + 1))
        rest=${rest#*"$nl-A "}
        ;;
      *) break ;;
      esac
    done
    value=$n
  fi
  emit "$1" $state "$value"
}

# libc NAME
libc() {
  capture getconf GNU_LIBC_VERSION
  if [ $state != present ] || [ -z "$value" ]; then
    # musl's ldd prints its version on stderr and exits 1.
    value=$(ldd --version 2>&1)
    state=present
    case $value in
    *libc*) value=${value%%"$nl"Dynamic*} ;;
    *) state=missing ;;
    esac
  fi
  emit "$1" $state "$value"
}

# python VERSION BUILD PACKAGES: of the python3 on the path
python() {
  capture python3 -c "$python_code"
  whole=$state
  rest=$value
  for name; do
    emit "$name" $whole "${rest%%"$nl"*}"
    rest=${rest#*"$nl"}
  done
}
# No json and no sysconfig: importing them takes longer than all the rest. A pure list or dict prints as text.
python_code='
import os, sys
print(" ".join(sys.version.split()))
names = ["CONFIG_ARGS", "OPT", "PY_CFLAGS", "PY_LDFLAGS", "Py_GIL_DISABLED", "WITH_PYMALLOC", "Py_DEBUG"]
try:
    multiarch = getattr(sys.implementation, "_multiarch", "")
    known = __import__("_sysconfigdata_%s_%s_%s" % (sys.abiflags, sys.platform, multiarch)).build_time_vars
except ImportError:
    from sysconfig import get_config_vars
    known = get_config_vars()
build = {name: known.get(name) for name in names}
jit = getattr(sys, "_jit", None)
build["jit"] = jit and {name: getattr(jit, name)() for name in ("is_available", "is_enabled")}
stat = os.stat(sys.executable)
build["executable"] = "%s, %d bytes, changed %d" % (sys.executable, stat.st_size, stat.st_mtime)
print(build)
found = set()
for folder in sys.path:
    for entry in os.listdir(folder) if os.path.isdir(folder) else ():
        if entry.endswith((".dist-info", ".egg-info")):
            found.add("==".join(entry.rsplit(".", 1)[0].split("-")[:2]))
print(sorted(found))
'

# locate PROGRAM -> $path: where the benchmark would find it, '' nowhere; without a process
locate() {
  path=
  case $1 in
  */*)
    [ ! -x "$1" ] || path=$1
    return 0
    ;;
  esac
  IFS=:
  for above in $own_path; do
    if [ -z "$path" ] && [ -f "${above:-.}/$1" ] && [ -x "${above:-.}/$1" ]; then path=${above:-.}/$1; fi
  done
  unset IFS
}

# tools PROGRAM...: tool.PROGRAM.path and tool.PROGRAM.sha256
tools() {
  found=
  for program; do
    locate "$program"
    if [ -n "$path" ]; then
      emit "tool.${program##*/}.path" present "$path"
      found="$found $path"
    else
      emit "tool.${program##*/}.path" missing
    fi
  done
  # shellcheck disable=SC2086  # paths of programs have no blanks
  sums=$nl$([ -z "$found" ] || sha256sum $found)$nl
  for program; do
    locate "$program"
    value=
    state=missing
    case $sums in
    *"  $path$nl"*)
      value=${sums%%"  $path$nl"*}
      value=${value##*"$nl"}
      state=present
      ;;
    *) [ -z "$path" ] || [ -r "$path" ] || state=denied ;;
    esac
    emit "tool.${program##*/}.sha256" $state "$value"
  done
}

# version ARGV...: tool.PROGRAM.version; some tools print it on stderr, where the loader's warnings go, too
version() {
  value=
  state=missing
  locate "$1"
  if [ -n "$path" ]; then
    name=tool.${1##*/}.version
    shift
    if value=$("$path" "$@") && [ -n "$value" ] || value=$("$path" "$@" 2>&1); then
      state=present
    else
      judge "$value"
    fi
  else
    name=tool.${1##*/}.version
  fi
  emit "$name" $state "$value"
}
