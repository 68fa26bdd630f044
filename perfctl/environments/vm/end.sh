# End a command in a guest with everything it started, and print what it has said. $1 is its token, which they all
# have in their environment; they get SIGTERM, and SIGKILL after $2 seconds.
token=$1

# end_by SIGNAL SECONDS: sends it until nothing is left; fails when something is after so long. By the clock: among
# thousands of processes a look itself takes its time.
end_by() {
  read -r now _ </proc/uptime
  last=$((${now%.*} + $2))
  while
    found=$(grep -lszF "PERFCTL_COMMAND=$token;" /proc/[0-9]*/environ)
    [ -n "$found" ]
  do
    # shellcheck disable=SC2046  # the ids are words
    kill "-$1" $(echo "$found" | tr -dc '0-9\n') 2>/dev/null
    read -r now _ </proc/uptime
    [ "${now%.*}" -lt "$last" ] || return 1
    sleep 0.05
  done
}

# SIGTERM once: 0 is no signal.
end_by TERM 0 || end_by 0 "$2" || end_by KILL 5
ended=$?
cat "/run/perfctl.$token.out" 2>/dev/null
cat "/run/perfctl.$token.err" >&2 2>/dev/null
rm -f "/run/perfctl.$token.out" "/run/perfctl.$token.err"
exit $ended
