# A command in a guest: $0 the mark, $1 its token, then the command. What it says stays in the guest's memory until
# it has ended: nothing crosses the guest's network while it is measured, and a child that holds the output open
# is not waited for. The mark at the end says that nothing was lost.
said=/run/perfctl.$1
shift
# Inside the parentheses: dash forgets the redirection of a subshell that stands in braces with one of their own.
# The outer one is for the shell's own words about a signal.
{ (exec "$@" >"$said.out" 2>"$said.err"); } 2>/dev/null
code=$?
cat "$said.out" && cat "$said.err" >&2 && rm -f "$said.out" "$said.err" && echo "$0" >&2
exit $code
