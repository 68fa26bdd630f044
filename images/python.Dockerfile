# The layer `python`: what the workloads pi, operations and pybench need beside the perf-tools image. Hosts get the same
# packages. Built by `perfctl provision` for the suites that perf_suites names, or by `perfctl run --build`. By hand:
#
#   docker build --build-arg PACKAGES="python3 python3-numpy" -t perfctl/perf-python:latest - < images/python.Dockerfile
ARG BASE_IMAGE=perfctl/perf-tools:latest
FROM ${BASE_IMAGE}
ARG PACKAGES=""
RUN set -eu; \
    export DEBIAN_FRONTEND=noninteractive; \
    apt-get -q update; \
    apt-get -q -y -o Dpkg::Options::=--force-unsafe-io -o Dpkg::Use-Pty=0 install --no-install-recommends ${PACKAGES}; \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb /var/cache/apt/*.bin
