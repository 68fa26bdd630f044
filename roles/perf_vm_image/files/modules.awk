# awk -v wanted="NAME..." -v also=REGEX -f modules.awk modules.builtin modules.dep
# Print the paths of the modules that are wanted by name, those whose path matches `also`, and all that they depend on,
# each after what it depends on. What is built into the kernel needs no module. One line "missing NAME" on standard error
# for each name that is neither, and exit code 1.

function name_of(path) {
    sub(/.*\//, "", path)
    sub(/\.ko(\.[a-z0-9]+)?$/, "", path)
    gsub(/-/, "_", path)
    return path
}

# The parameters after `path` are local.
function visit(path,    count, i, parts) {
    if (path in seen) return
    seen[path] = 1
    count = split(needs[path], parts, " ")
    for (i = count; i > 0; i--) visit(parts[i])
    print path
}

!/:/ { builtin[name_of($1)] = 1; next }

{
    path = $1
    sub(/:$/, "", path)
    $1 = ""
    needs[path] = $0
    paths[name_of(path)] = path
    order[++total] = path
}

END {
    count = split(wanted, names, " ")
    for (i = 1; i <= count; i++) {
        name = names[i]
        gsub(/-/, "_", name)
        if (name in paths) visit(paths[name])
        else if (!(name in builtin)) { print "missing " names[i] > "/dev/stderr"; failed = 1 }
    }
    if (also != "") for (i = 1; i <= total; i++) if (order[i] ~ also) visit(order[i])
    exit failed
}
