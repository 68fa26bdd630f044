# End a command in a guest with everything it started, found by its token, and print what it has said.
more_members() {
  for entry in $(grep -lszF "PERFCTL_COMMAND=$token;" /proc/[0-9]*/environ); do
    entry=${entry#/proc/}
    alive="$alive ${entry%/environ}"
  done
}

token=$1
end_session none "$2"
ended=$?
cat "/run/perfctl.$token.out" 2>/dev/null
cat "/run/perfctl.$token.err" >&2 2>/dev/null
rm -f "/run/perfctl.$token.out" "/run/perfctl.$token.err"
exit $ended
