#!/bin/sh
# Build IMAGE in FOLDER (Dockerfile, context/) on the base ARCHIVE or BASE, with more PACKAGES, and remove what was only
# needed for that. The network is the host's own: a container's may have no way out.
set -eu
export DOCKER_CLI_HINTS=false

# A minimal Debian of the host's own release from the host's own mirror.
bootstrap() {
    if ! command -v mmdebstrap > /dev/null; then
        apt-get -q update >&2
        DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends mmdebstrap >&2
        echo mmdebstrap >> /var/lib/perfctl/packages
    fi
    # shellcheck disable=SC2016  # apt fills these in, not the shell
    apt-get indextargets --format '$(COMPONENT) $(ORIGIN) $(REPO_URI) $(RELEASE) $(SIGNED_BY)' 'Created-By: Packages' \
        | awk '$1 == "main" && $2 == "Debian" { print "deb " ($5 ~ /^[^$]/ ? "[signed-by=" $5 "] " : "") $3 " " $4 " main" }' \
        | sort -u > "$FOLDER/sources.list"
    # Programs run from the folder where it grows, which /tmp may forbid.
    TMPDIR=$FOLDER mmdebstrap --quiet --variant=minbase --include=ca-certificates \
        "$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)" - < "$FOLDER/sources.list"
}

# shellcheck disable=SC2153  # from the environment
base=$BASE
if [ -n "$ARCHIVE" ]; then
    base=perfctl/base:archive
    docker import "$ARCHIVE" "$base"
elif ! docker image inspect "$BASE" > /dev/null 2>&1 && ! timeout 300 docker pull -q "$BASE" 2> "$FOLDER/pull.log"; then
    base=perfctl/base:bootstrapped
    if ! bootstrap > "$FOLDER/base.tar" 2> "$FOLDER/bootstrap.log"; then
        echo "no registry gives $BASE: $(tail -n 1 "$FOLDER/pull.log")" >&2
        echo "and a base could not be made here: $(tail -n 3 "$FOLDER/bootstrap.log")" >&2
        echo "give a root file system: perf_image_base_archive" >&2
        exit 1
    fi
    docker import "$FOLDER/base.tar" "$base"
fi
docker build --network host --file "$FOLDER/Dockerfile" --build-arg BASE_IMAGE="$base" --build-arg PACKAGES="$PACKAGES" \
    --build-arg LAUNCHER="$LAUNCHER" --build-arg MEASURE="$MEASURE" --label perfctl.base="$base" --tag "$IMAGE" \
    "$FOLDER/context"
case $base in perfctl/base:*) docker image rm "$base" > /dev/null ;; esac
rm -rf "$FOLDER"
