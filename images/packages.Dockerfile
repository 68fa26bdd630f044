# A layer of Debian packages alone, for layers without a Dockerfile of their own. Hosts get the same packages. Built by
# `perfctl provision` for the suites that perf_suites names, or by `perfctl run --build`. By hand:
#
#   docker build --build-arg PACKAGES="fio" -t perfctl/perf-storage:latest - < images/packages.Dockerfile
ARG BASE_IMAGE=perfctl/perf-tools:latest
FROM ${BASE_IMAGE}
ARG PACKAGES=""
RUN set -eu; \
    export DEBIAN_FRONTEND=noninteractive; \
    apt-get -q update; \
    apt-get -q -y -o Dpkg::Options::=--force-unsafe-io -o Dpkg::Use-Pty=0 install --no-install-recommends ${PACKAGES}; \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb /var/cache/apt/*.bin
