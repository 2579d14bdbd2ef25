# One image, four roles: code server, webserver, daemon, HTTP API (see docker-compose.yml).
# Base images are pinned by version; docs/deploy.md says how to pin them by digest, which only their registries know.
FROM ghcr.io/astral-sh/uv:0.13.8 AS uv

FROM python:3.11.14-slim-bookworm AS build
COPY --from=uv /uv /usr/local/bin/uv
ENV UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
WORKDIR /src
RUN uv venv /opt/sheaf
COPY requirements.lock ./
RUN uv pip install --no-cache --compile-bytecode --python /opt/sheaf --no-deps --require-hashes -r requirements.lock
COPY pyproject.toml README.md ./
COPY pipelines pipelines
COPY assets assets
COPY resources resources
COPY sensors sensors
COPY sheaf sheaf
RUN uv pip install --no-cache --compile-bytecode --python /opt/sheaf --no-deps --no-build-isolation .
# What runs nothing here: the tests of packages, Arrow's RPC and its headers; an eighth of all bytes. The import says
# whether anything was missed.
RUN find /opt/sheaf/lib -type d -name tests -prune -exec rm -r {} + \
    && rm -r /opt/sheaf/lib/python3.11/site-packages/pyarrow/include \
    && find /opt/sheaf/lib/python3.11/site-packages/pyarrow -name "*_flight.*" -delete \
    && /opt/sheaf/bin/python -c "import pipelines.definitions, pyarrow.dataset, pyarrow.parquet, librosa"

FROM python:3.11.14-slim-bookworm
RUN useradd --uid 10001 --create-home sheaf \
    && install --directory --owner sheaf --group sheaf /var/lib/sheaf /var/lib/dagster
COPY --from=build /opt/sheaf /opt/sheaf
COPY deploy/with-secrets /usr/local/bin/with-secrets
COPY dagster.yaml /var/lib/dagster/dagster.yaml
COPY deploy/workspace.yaml /var/lib/dagster/workspace.yaml
ENV PATH=/opt/sheaf/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    DAGSTER_HOME=/var/lib/dagster \
    SHEAF_HOME=/var/lib/sheaf \
    MPLCONFIGDIR=/tmp/matplotlib \
    NUMBA_CACHE_DIR=/tmp/numba
WORKDIR /var/lib/dagster
USER 10001
EXPOSE 4000
# Secrets that are files become variables; what has none is passed on as it is.
ENTRYPOINT ["with-secrets"]
# The role that does the work is the default; the others override command and check.
HEALTHCHECK --interval=60s --timeout=30s --start-period=120s --start-interval=5s --retries=3 \
    CMD ["dagster", "api", "grpc-health-check", "--port", "4000"]
CMD ["dagster", "code-server", "start", "--host", "0.0.0.0", "--port", "4000", \
     "--module-name", "pipelines.definitions", "--location-name", "sheaf"]
