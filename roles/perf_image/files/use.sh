#!/bin/sh
# use.sh REPOSITORY TAG: give that image the tag `latest`, copy its launcher to the host, and print the copy's SHA-256. An
# image of a user's own may have no launcher: then the host has none either, so that all are measured alike.
set -eu
export DOCKER_CLI_HINTS=false
launcher=/usr/local/bin/perfctl-launch
docker image tag "$1:$2" "$1:latest"
container=$(docker container create "$1:$2" true)
docker container cp "$container:$launcher" "$launcher.new" > /dev/null 2>&1 || rm -f "$launcher.new"
docker container rm "$container" > /dev/null
if [ -e "$launcher.new" ]; then
    mv -f "$launcher.new" "$launcher"
    sha256sum "$launcher" | cut -d ' ' -f 1
else
    rm -f "$launcher"
fi
