# Reads the lines "path:text" and the messages "grep: path: why" of `grep -H '' FILES 2>&1` and emits one row for
# each argument NAME|KIND|PATTERN|KEY. KIND is
#   file      the text of a file; PATTERN may name a second file that counts when the first is not there
#   first     its first line
#   field     what follows "KEY:"
#   folder    lines "file: text"
#   spread    lines "text: who", who being the part of the path at the pattern's first wildcard; the part at a
#             second one goes before the text
#   cpuinfo   the same, out of /proc/cpuinfo: KEY is keys with "|" between, who is of "processor" or "cpu number",
#             or "all" for lines before and after the CPUs' own. The key "processor N" is a CPU's line on s390
#   mounts    real file systems; the layers of an overlay are its engine's business. With the KEY "others" lines
#             "type path" of what else is mounted, but for the kernel's own
#   process   lines "name: how many" of the processes whose name matches KEY
function rows_of(path,   key, i, j, n, m, p, q, fits) {
  if (path in literal) return literal[path]
  key = path; gsub(/[0-9]+/, "#", key)
  if (key in known) return known[key]
  known[key] = ""; n = split(path, p, "/")
  for (i = 1; i <= count; i++) {
    if (pattern[i] !~ /[*]/) continue
    m = split(pattern[i], q, "/"); fits = m == n
    for (j = 1; fits && j <= n; j++) fits = q[j] ~ /[*]/ || q[j] == p[j]
    if (fits) known[key] = known[key] " " i
  }
  return known[key]
}
function append(i, text) { if (has[i]++) value[i] = value[i] "\n" text; else value[i] = text }
function note(i, text, who) {
  if (who ~ /^(loop|ram|zram)[0-9]/) return
  if ((i, text) in holders) holders[i, text] = holders[i, text] "," who
  else { texts[i]++; text_of[i, texts[i]] = text; holders[i, text] = who }
}
function spread(i, path, text,   j, n, p, q, who, part) {
  n = split(path, p, "/"); split(pattern[i], q, "/"); who = ""; part = ""
  for (j = 1; j <= n; j++) if (q[j] ~ /[*]/) { if (who == "") who = p[j]; else part = p[j] "=" }
  note(i, part text, who)
}
function ranges(list,   n, p, i, j, t, from, out) {
  if (list !~ /^cpu[0-9]/) return list
  n = split(list, p, ","); out = ""
  for (i = 1; i <= n; i++) { sub(/^cpu/, "", p[i]); p[i] += 0 }
  for (i = 2; i <= n; i++) { t = p[i]; for (j = i - 1; j >= 1 && p[j] > t; j--) p[j + 1] = p[j]; p[j + 1] = t }
  for (i = 1; i <= n; i++) {
    from = p[i]
    while (i < n && p[i + 1] == p[i] + 1) i++
    out = out (out == "" ? "" : ",") (from == p[i] ? from : from "-" p[i])
  }
  return out
}
function mount(i, text,   f, is_listed) {
  split(text, f, " ")
  is_listed = f[3] == "overlay" ? f[2] == "/" : f[3] ~ /^(ext[234]|xfs|btrfs|zfs|nfs.*|cifs|f2fs|9p|virtiofs|bcachefs)$/
  if (key_of[i] == "others") {
    if (!is_listed && f[3] !~ /^(proc|sysfs|cgroup2?|devpts|mqueue|nsfs|(security|debug|trace|config|hugetlb|efivar)fs|pstore|bpf|binfmt_misc|rpc_pipefs|fusectl)$/)
      append(i, f[3] " " f[2])
    return
  }
  if (!is_listed) return
  if (f[3] == "overlay") sub(/,lowerdir=.*/, "", f[4])
  append(i, f[1] " " f[2] " " f[3] " " f[4])
}
function cpuinfo(i, text,   at, k, who) {
  if (text == "") cpu = "all"
  at = index(text, ":"); k = substr(text, 1, at - 1); sub(/[ \t]+$/, "", k)
  text = substr(text, at + 1); sub(/^[ \t]+/, "", text)
  if (k ~ /^(processor|cpu number)$/) cpu = "cpu" text
  who = cpu
  if (k ~ /^processor [0-9]+$/) { who = "cpu" substr(k, 11); k = "processor N" }
  if (k != "" && index("|" key_of[i] "|", "|" k "|")) note(i, text, who)
}
function take(i, path, text) {
  if (kind[i] == "file") { if (source[i] == "" || source[i] == path) { source[i] = path; append(i, text) } }
  else if (kind[i] == "first") { if (!has[i]) append(i, text) }
  else if (kind[i] == "field") { if (index(text, key_of[i] ":") == 1) { sub(/^[^:]*:[ \t]*/, "", text); append(i, text) } }
  else if (kind[i] == "folder") { sub(/.*\//, "", path); append(i, path ": " text) }
  else if (kind[i] == "spread") spread(i, path, text)
  else if (kind[i] == "mounts") mount(i, text)
  else if (kind[i] == "process") { if (text ~ key_of[i] && !tally[i, text]++) names[i] = names[i] " " text }
  else cpuinfo(i, text)
}
function tallies(i,   n, p, j) {
  n = split(names[i], p, " ")
  for (j = 1; j <= n; j++) append(i, p[j] ": " tally[i, p[j]])
}
function state_of(i,   p, n, j) {
  if (has[i]) return "present"
  n = split(pattern[i], p, " ")
  if (kind[i] ~ /^(file|first|mounts|process)$/)
    for (j = 1; j <= n; j++) if (!(p[j] in error)) return "present"
  if (i in refused) return "denied"
  return "missing"
}
BEGIN {
  cpu = "all"
  for (i = 1; i < ARGC; i++) {
    split(ARGV[i], f, "|"); name[i] = f[1]; kind[i] = f[2]; pattern[i] = f[3]
    key_of[i] = substr(ARGV[i], length(f[1] f[2] f[3]) + 4)  # it may hold a "|" itself
    n = split(f[3], p, " ")
    for (j = 1; j <= n; j++) if (p[j] !~ /[*]/) literal[p[j]] = literal[p[j]] " " i
  }
  count = ARGC - 1; ARGC = 1
}
/^grep: / {
  path = $0; sub(/^grep: /, "", path); sub(/: [^:]*$/, "", path); error[path] = 1
  if (/ermission denied|not permitted/) { n = split(rows_of(path), r, " "); for (j = 1; j <= n; j++) refused[r[j]] = 1 }
  next
}
{
  at = index($0, ":"); path = substr($0, 1, at - 1); text = substr($0, at + 1)
  n = split(rows_of(path), r, " ")
  for (j = 1; j <= n; j++) take(r[j], path, text)
}
END {
  for (i = 1; i <= count; i++) {
    tallies(i)
    for (j = 1; j <= texts[i]; j++) append(i, text_of[i, j] ": " ranges(holders[i, text_of[i, j]]))
    state = state_of(i)
    print "=" name[i] " " state
    if (state == "present") { gsub(/\n/, "\n ", value[i]); print " " value[i] }
  }
  if (NR) print "#gathered"
}
