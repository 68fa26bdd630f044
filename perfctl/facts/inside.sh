# Prints files and outputs of commands as they are, where no Python is needed. POSIX sh: dash, busybox ash, bash.
#
# $1 mark, $2 patterns of files, $3 patterns of which only the paths that exist are wanted, $4 files of the own
# control group (CONTROLLER/FILE, commas between), $5 variables, $6 programs; the rest are commands: key and words
# with the character 31 between. "MARK WHAT" begins each part on both streams, "MARK end" the last one.

LC_ALL=C
export LC_ALL
exec </dev/null
mark=$1 files=$2 listed=$3 cgroup=$4 variables=$5 programs=$6
shift 6
limit=
if timeout -s KILL 9 true; then limit='timeout -s KILL'; fi >/dev/null 2>&1

part() {
  printf '\n%s %s\n' "$mark" "$*"
  printf '\n%s %s\n' "$mark" "$*" >&2
}

# shellcheck disable=SC2086  # patterns and words are to be split
for program in $programs; do
  IFS=:
  # Where a benchmark would find it.
  for folder in ${PATH:-.}; do
    case $program in
    */*) path=$program ;;
    *) path=${folder:-.}/$program ;;
    esac
    if [ -f "$path" ] && [ -x "$path" ]; then break; fi
    path=
  done
  unset IFS
  [ -n "$path" ] || continue
  part "program $program $path"
  ${limit:+$limit 5} sha256sum "$path"
  part "code $?"
done

for name in $variables; do
  eval "value=\${$name-} is_set=\${$name+set}"
  [ -z "$is_set" ] || part "variable $name"
  printf %s "$value"
done

unit=$(printf '\037')
for command; do
  IFS=$unit
  set -f
  set -- $command
  set +f
  unset IFS
  part "output $1"
  shift
  ${limit:+$limit 5} "$@"
  part "code $?"
done

part listed
for path in $listed; do
  [ ! -e "$path" ] || printf '%s\n' "$path"
done

set -- $files
while IFS=: read -r _ names group; do
  [ "$group" != / ] || continue
  IFS=,
  for name in ${names:-.}; do
    for file in $cgroup; do
      [ "${file%/*}" != "$name" ] || set -- "$@" "/sys/fs/cgroup/$name${group%/}/${file##*/}"
    done
  done
done </proc/self/cgroup
unset IFS
part files
${limit:+$limit 20} grep -aH '' "$@"
part "code $?"
part end
