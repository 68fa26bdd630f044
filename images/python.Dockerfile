# The layer `python`: what the workloads pi, operations, pybench and pyperformance need beside the perf-tools image. Hosts
# get the same packages, and a copy of /opt/perfctl/python. Built by `perfctl provision` for the suites that perf_suites
# names, or by `perfctl run --build`. By hand, with the wheels that perfctl/workloads/pyperformance.py names in a folder:
#
#   docker build --build-arg PACKAGES="python3 python3-numpy" -t perfctl/perf-python:latest -f images/python.Dockerfile WHEELS
ARG BASE_IMAGE=perfctl/perf-tools:latest
FROM ${BASE_IMAGE}
ARG PACKAGES=""
RUN set -eu; \
    export DEBIAN_FRONTEND=noninteractive; \
    apt-get -q update; \
    apt-get -q -y -o Dpkg::Options::=--force-unsafe-io -o Dpkg::Use-Pty=0 install --no-install-recommends ${PACKAGES}; \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb /var/cache/apt/*.bin
# A virtual environment of Debian's interpreter. The wheels are of pure Python, so that they are only unpacked: no index
# is asked, and no pip is needed.
COPY . /opt/perfctl/wheels/
RUN set -eu; \
    python3 -m venv --without-pip /opt/perfctl/python; \
    packages=$(echo /opt/perfctl/python/lib/python3*/site-packages); \
    for wheel in /opt/perfctl/wheels/*.whl; do \
        [ ! -e "${wheel}" ] || python3 -m zipfile -e "${wheel}" "${packages}"; \
    done; \
    ln -s "${packages}/pyperformance/data-files/benchmarks" /opt/perfctl/python/benchmarks; \
    python3 -m compileall -q "${packages}"; \
    rm -rf /opt/perfctl/wheels
