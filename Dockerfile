# Two stages: a build with the pinned toolchain, and a small image with the binary alone.
# `--build-arg FEATURES=sandbox` makes an image that can run `roost sandbox`; such a build refuses
# every WhatsApp endpoint that is not loopback.
FROM rust:1.95-bookworm AS build
ARG FEATURES=""
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --features "${FEATURES}" --bin roost \
    && cp target/release/roost /usr/local/bin/roost

FROM debian:bookworm-slim
RUN useradd --system --uid 10001 --home-dir /var/lib/roost --create-home roost
COPY --from=build /usr/local/bin/roost /usr/local/bin/roost
COPY config/default.toml /etc/roost/roost.toml
USER roost
VOLUME /var/lib/roost
EXPOSE 8080
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/roost"]
CMD ["serve", "--config", "/etc/roost/roost.toml", "--data-dir", "/var/lib/roost", "--listen", "0.0.0.0:8080"]
