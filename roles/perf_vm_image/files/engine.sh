# shellcheck shell=sh disable=SC2154  # what is not set here is set by image.sh
# The disk with which a guest's Docker engine starts: a /var/lib/docker that holds the perf-tools image already. A second
# engine of the host, with folders and a socket of its own, loads it; nothing of the host's engine is touched.
# Given: IMAGE, image_id, ENGINE_FREE_MB, make_disk.

engine_pid=

# An engine's folder must be able to be the upper layer of an overlay, and an overlay is not.
check_engine_folder() {
    kind=$(stat -f -c %T "$1")
    case $kind in
        overlayfs | nfs* | fuse*) fail "no engine's disk can be made in $1, which is on $kind: set perf_vm_host_storage" \
            "(or perf_vm_image_work_dir) to a folder on a real file system, or perf_vm_image_engine to false" ;;
    esac
}

# start_engine FOLDER RUN: FOLDER becomes the engine's data, RUN is for sockets, which bear no long paths.
start_engine() {
    dockerd --data-root "$1" --exec-root "$2/exec" --pidfile "$2/pid" --host "unix://$2/socket" --storage-driver overlay2 \
        --bridge none --iptables=false --ip6tables=false --ip-forward=false --ip-masq=false --config-file "$2/no-config" \
        --containerd-namespace perfctl-vm-image --containerd-plugins-namespace perfctl-vm-image-plugins \
        > "$2/log" 2>&1 9>&- &
    engine_pid=$!
    tries=300
    until docker --host "unix://$2/socket" version > /dev/null 2>&1; do
        tries=$((tries - 1))
        if [ "$tries" -eq 0 ] || ! kill -0 "$engine_pid" 2> /dev/null; then
            fail "a second engine does not start: $(tail -n 1 "$2/log")"
        fi
        sleep 0.2
    done
}

# The pid is our child's: nobody else can have it before we have waited for it.
stop_engine() {
    if [ -z "${engine_pid:-}" ]; then return; fi
    kill "$engine_pid" 2> /dev/null || true
    wait "$engine_pid" || true
    engine_pid=
}

# make_engine_disk WORK_FOLDER RUN TARGET
make_engine_disk() {
    check_engine_folder "$(dirname "$1")"
    mkdir -p "$1" "$2"
    echo '{}' > "$2/no-config"
    start_engine "$1" "$2"
    { docker save "$IMAGE" || echo "docker save failed" > "$2/failed"; } \
        | docker --host "unix://$2/socket" load -q > "$2/loaded" 2>&1 || fail "the image cannot be loaded: $(tail -n 1 "$2/loaded")"
    [ ! -e "$2/failed" ] || fail "$(cat "$2/failed")"
    loaded=$(docker --host "unix://$2/socket" image inspect -f '{{.Id}}' "$IMAGE" 2> /dev/null) || loaded=nothing
    stop_engine
    [ "$loaded" = "$image_id" ] || fail "the engine's disk holds $loaded as $IMAGE, the host has $image_id"
    make_disk "$1" "$3" "$ENGINE_FREE_MB"
}
