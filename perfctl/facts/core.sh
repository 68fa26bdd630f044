# Reads facts with as few processes as possible. POSIX sh: dash, busybox ash and bash run it.
#
# Output, one row per fact: "=NAME STATE", then, when STATE is present, its text, each line after one blank.
# STATE is present, missing or denied. "#rows N" closes each part, "#end" the whole.

LC_ALL=C
export LC_ALL
exec 2>/dev/null </dev/null
own_path=$PATH
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export PATH
nl='
'
rows=0

# emit NAME STATE [TEXT]
emit() {
  rows=$((rows + 1))
  printf '=%s %s\n' "$1" "$2"
  [ "$2" = present ] || return 0
  left=$3
  # Taking off line after line is quadratic.
  if [ ${#left} -gt 2000 ] && command -v sed >/dev/null; then
    printf '%s\n' "$left" | sed 's/^/ /'
    return 0
  fi
  while :; do
    case $left in
    *"$nl"*)
      printf ' %s\n' "${left%%"$nl"*}"
      left=${left#*"$nl"}
      ;;
    *)
      printf ' %s\n' "$left"
      return 0
      ;;
    esac
  done
}

# judge MESSAGE -> $state: what an error message says about a fact
judge() {
  case $1 in
  *ermission\ denied* | *not\ permitted*) state=denied ;;
  *) state=missing ;;
  esac
}

# variable NAME VARIABLE: an environment variable; only those named in the registry are ever read
variable() {
  eval "state=\${$2+present}; value=\${$2-}"
  emit "$1" "${state:-missing}" "$value"
}

# capture ARGV... -> $state, $value
capture() {
  value=
  state=missing
  command -v "$1" >/dev/null || return 0
  value=$("$@")
  code=$?
  if [ $code -eq 0 ]; then
    state=present
  elif [ $code -lt 126 ]; then
    why=$("$@" 2>&1 >/dev/null)
    judge "$why"
  fi
}

# run NAME ARGV...
run() {
  name=$1
  shift
  capture "$@"
  emit "$name" $state "$value"
}

# either NAME ARGV...: a command that answers with text whatever its exit code
either() {
  name=$1
  shift
  capture "$@"
  [ -z "$value" ] || state=present
  emit "$name" $state "$value"
}

# gather 'NAME|KIND|PATTERN|KEY'...: every fact that lies in $paths, by two processes however many there are
gather() {
  out=
  if command -v grep >/dev/null; then
    # shellcheck disable=SC2086  # the patterns are to be expanded
    out=$(grep -H '' $paths 2>&1 | awk "$gather_awk" "$@")
  fi
  case $out in
  *'#gathered')
    rows=$((rows + $#))
    printf '%s' "${out%'#gathered'}"
    ;;
  *)
    # They may well be there; there is nothing here to read them with.
    for row; do emit "${row%%|*}" denied; done
    ;;
  esac
}

# close: ends this half of the output
close() { echo "#rows $rows"; }

# pass_on: the other half. Not by `cat`: where the other half is slow (an emulated guest), `watch` would end it.
pass_on() {
  while IFS= read -r line; do printf '%s\n' "$line"; done
}

# watch: until it is killed, ends every command of ours that has run for 2 to 4 seconds; the shells go on. (A
# `timeout` before every command would cost 1.4 ms each, a third of the whole.)
watch() {
  read -r watcher own _ </proc/self/stat
  trap 'kill $nap; exit 0' TERM
  late=' '
  while kill -0 $$; do
    sleep 2 &
    nap=$!
    wait $nap
    family=" $$ "
    for _ in 1 2 3 4; do adopt; done
    old=$late
    late=' '
    for pid in $family; do
      command_of "$pid"
      [ "$comm" != "$own" ] && [ "$pid" != "$nap" ] || continue
      case $old in
      *" $pid "*) kill -KILL "$pid" ;;
      *) late="$late$pid " ;;
      esac
    done
  done
}

# adopt: adds the children of $family
adopt() {
  for stat in /proc/[0-9]*/stat; do
    { read -r pid _ _ parent _; } <"$stat" || continue
    case $family in
    *" $pid "*) ;;
    *" $parent "*) [ "$pid" = "$watcher" ] || family="$family$pid " ;;
    esac
  done
}

# command_of PID -> $comm
command_of() {
  comm=$own
  { read -r _ comm _; } <"/proc/$1/stat"
}
