#!/bin/sh
# copy.sh IMAGE FOLDER CONTENT: give the host the image's FOLDER, unless it has that of the same CONTENT, and print what was
# done. Its interpreter must be the host's own build: else the same files would be run by another program.
set -eu
export DOCKER_CLI_HINTS=false
image=$1 folder=$2 content=$3
[ "$(cat "$folder/.content" 2> /dev/null)" != "$content" ] || exit 0
container=$(docker container create "$image" true)
trap 'docker container rm "$container" > /dev/null; rm -rf "$folder.new"' EXIT
mkdir -p "$(dirname "$folder")"
rm -rf "$folder.new"
if ! docker container cp "$container:$folder" "$folder.new" > /dev/null 2>&1; then
    echo "$image has no $folder" >&2
    exit 1
fi
python=$(readlink -f "$folder.new/bin/python3")
own=$(sha256sum < "$python")
theirs=$(docker container cp "$container:$python" - 2> /dev/null | tar -xO 2> /dev/null | sha256sum)
if [ "$own" != "$theirs" ]; then
    echo "refused: $python of this host is another build than that of $image, whose files it would run" >&2
    exit 7
fi
echo "$content" > "$folder.new/.content"
rm -rf "$folder"
mv "$folder.new" "$folder"
echo "copied $folder"
