#!/bin/sh
# engine.sh          print one word for each thing that is so: installed, systemd, enabled, answers
# engine.sh drift    print a "drift: ..." line when there is no engine that answers
set -u
export PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:${PATH:-}"

answers() { timeout 20 docker version --format '{{.Server.Version}}' > /dev/null 2>&1; }

if [ "${1:-}" = drift ]; then
    command -v dockerd > /dev/null || { echo "drift: there is no dockerd"; exit 0; }
    answers || echo "drift: the docker engine does not answer"
    exit 0
fi
command -v dockerd > /dev/null && echo installed
command -v docker > /dev/null && echo client
[ -d /run/systemd/system ] && echo systemd
systemctl -q is-enabled docker.service 2> /dev/null && echo enabled
answers && echo answers
exit 0
