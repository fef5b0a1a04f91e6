# The service alone: it needs a Postgres elsewhere, and never starts one of its own.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
# The caches live outside the layer, so the program is copied out of them.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked && cp target/release/credit-ledger /usr/local/bin/

FROM debian:bookworm-slim
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin credit-ledger
COPY --from=build /usr/local/bin/credit-ledger /usr/local/bin/
USER 10001
# A lost DATABASE_URL must not start an empty ledger.
ENV EMBEDDED_POSTGRES=off \
    LISTEN_ADDR=0.0.0.0:8080 \
    LOG_FORMAT=json
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["credit-ledger", "health"]
ENTRYPOINT ["credit-ledger"]
CMD ["serve"]
