#!/bin/sh
# use.sh REPOSITORY TAG: give that image the tag `latest`, copy its programs to the host, and print the SHA-256 of the
# copies. An image of a user's own may have none: then the host has none either, so that all are measured alike.
set -eu
export DOCKER_CLI_HINTS=false
cd /usr/local/bin
docker image tag "$1:$2" "$1:latest"
container=$(docker container create "$1:$2" true)
for program in perfctl-launch perfctl-measure; do
    if docker container cp "$container:/usr/local/bin/$program" "$program.new" > /dev/null 2>&1; then
        mv -f "$program.new" "$program"
    else
        rm -f "$program.new" "$program"
    fi
done
docker container rm "$container" > /dev/null
cat perfctl-launch perfctl-measure 2> /dev/null | sha256sum | cut -d ' ' -f 1
