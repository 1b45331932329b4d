# syntax=docker/dockerfile:1

# GraphiQL, built from its npm packages.
FROM node:22-bookworm-slim AS web
WORKDIR /web
COPY web/package.json web/package-lock.json web/.npmrc ./
RUN npm ci
COPY web/ ./
RUN npm run build

# The server.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src

# Dependencies first, against empty sources: this layer is built again only when a manifest changes.
# Declared bench and test targets are left out, for their files are not here yet.
COPY Cargo.toml Cargo.lock ./
COPY crates/disposition/Cargo.toml crates/disposition/
COPY crates/media/Cargo.toml crates/media/
COPY migration/Cargo.toml migration/
RUN sed -i '/^\[\[\(bench\|test\)\]\]/,/^$/d' Cargo.toml \
    && mkdir -p src crates/disposition/src crates/media/src migration/src \
    && echo 'fn main() {}' > src/main.rs \
    && touch src/lib.rs crates/disposition/src/lib.rs crates/media/src/lib.rs migration/src/lib.rs \
    && cargo build --release --locked \
    && rm -r src crates/disposition/src crates/media/src migration/src

# Copied files keep their times, which may be older than that build: touching them has cargo look again.
COPY . .
COPY --from=web /web/dist web/dist
RUN touch src/main.rs src/lib.rs crates/disposition/src/lib.rs crates/media/src/lib.rs migration/src/lib.rs \
    && cargo build --release --locked

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
