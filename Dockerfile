# syntax=docker/dockerfile:1

# GraphiQL, built from its npm packages.
FROM node:22-bookworm-slim AS web
WORKDIR /web
COPY web/package.json web/package-lock.json web/.npmrc ./
RUN npm ci
COPY web/ ./
RUN npm run build

# The manifests of all crates, with empty sources. Declared targets are left out, because their files are not here.
FROM rust:1.95-slim-bookworm AS manifests
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY crates crates
COPY migration migration
RUN find crates migration -type f ! -name Cargo.toml -delete \
    && find crates migration -type d -empty -delete \
    && sed -i '/^\[\[\(bench\|bin\|test\)\]\]/,/^$/d' Cargo.toml crates/*/Cargo.toml \
    && for crate in . crates/* migration; do mkdir "$crate/src" && touch "$crate/src/lib.rs"; done \
    && echo 'fn main() {}' > src/main.rs

# The server.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src

# Dependencies first: this layer is built again only when a manifest changes.
COPY --from=manifests /src .
RUN cargo build --release --locked --package imagegraph

# Copied files keep their modification times, which may be older than that build, and cargo compares these.
COPY . .
COPY --from=web /web/dist web/dist
RUN find src crates migration -name '*.rs' -exec touch {} + \
    && cargo build --release --locked --package imagegraph

# What runs: the binary, the certificate authorities, and a user who owns nothing but the data folder.
FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 imagegraph \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin imagegraph \
    && install --directory --owner=10001 --group=10001 --mode=0750 /data
COPY --from=build /src/target/release/imagegraph /usr/local/bin/imagegraph
ENV IMAGEGRAPH_DATA_DIR=/data \
    IMAGEGRAPH_LISTEN=0.0.0.0:8080
USER 10001:10001
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=5s --start-period=15s --retries=3 CMD ["imagegraph", "healthcheck"]
ENTRYPOINT ["imagegraph"]
CMD ["serve"]
