# One image with every program of a cluster; the command says which one a container runs.
# Building fetches the two base images and the crates that Cargo.lock names, nothing else.

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY third_party third_party
COPY proto proto
COPY crates crates
COPY tests tests
# The caches outlive a build, so a changed line does not compile the engine again.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked \
        -p miroir-coordinator -p miroir-proxy -p miroir-node -p miroirctl \
    && mkdir /out \
    && cp target/release/miroir-coordinator target/release/miroir-proxy \
          target/release/miroir-node target/release/miroirctl /out/

FROM debian:bookworm-slim
# A fixed id, so that volumes keep their owner from one image to the next.
RUN useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin miroir \
    && install --directory --owner=miroir --group=miroir --mode=0750 /var/lib/miroir
COPY --from=build /out/ /usr/local/bin/
# A named volume mounted here takes over this directory's owner the first time.
WORKDIR /var/lib/miroir
USER miroir
CMD ["miroirctl", "--help"]
