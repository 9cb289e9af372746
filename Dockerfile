# The daemon in a container; compose.yaml says what it needs of the host. `make image` puts wheels into
# build/wheels first, and then this build needs no package index; without them it installs from the index.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
WORKDIR /src
COPY . .
# A virtual environment without pip, filled by the base image's: the same on Debian's Python and on python.org's.
RUN python3 -m venv --without-pip /opt/weavedns \
    && if ls build/wheels/weavedns-*.whl >/dev/null 2>&1; \
       then set -- --no-index --find-links build/wheels weavedns; \
       else set -- .; fi \
    && python3 -m pip --python /opt/weavedns/bin/python install --no-cache-dir \
       --disable-pip-version-check --root-user-action=ignore "$@"

FROM ${BASE}
RUN command -v iptables >/dev/null \
    || (apt-get update && apt-get install -y --no-install-recommends iptables && rm -rf /var/lib/apt/lists/*)
COPY --from=build /opt/weavedns /opt/weavedns
COPY LICENSE /usr/share/doc/weavedns/LICENSE
ENV PATH=/opt/weavedns/bin:$PATH PYTHONUNBUFFERED=1
ENTRYPOINT ["weavedns"]
CMD ["launch"]
