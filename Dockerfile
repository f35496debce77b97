# The `tenure` command in a slim image.
#
#   docker build -t tenure .
#   docker run --rm tenure run mutex --seeds 0..2000
#   docker run --rm -p 127.0.0.1:2379:2379 tenure serve --listen 0.0.0.0:2379
FROM rust:1.95-slim-bookworm AS build
WORKDIR /tenure
COPY . .
RUN cargo build --release --locked -p tenure-sim

FROM debian:bookworm-slim
RUN useradd --uid 1000 --create-home tenure
COPY --from=build /tenure/target/release/tenure /usr/local/bin/tenure
USER 1000
# Capsules of failures are written below it.
WORKDIR /home/tenure
ENTRYPOINT ["tenure"]
CMD ["--help"]
