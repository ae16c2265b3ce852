# The server in an image of its own: docker build --build-arg CALLSCOPE_COMMIT="$(git rev-parse --short=12 HEAD)" .

FROM rust:1.95-slim-bookworm AS tools
RUN apt-get update && apt-get install -y --no-install-recommends build-essential ca-certificates \
    && rm -rf /var/lib/apt/lists/*
# Builds the dependencies alone, so that they are a layer that stays until Cargo.lock changes.
RUN cargo install cargo-chef --locked --version 0.1.78
WORKDIR /build

FROM tools AS plan
COPY . .
RUN cargo chef prepare --recipe-path recipe.json

FROM tools AS build
COPY --from=plan /build/recipe.json .
RUN cargo chef cook --release --locked --package callscope-server --recipe-path recipe.json
COPY . .
# There is no git here, so --version knows the commit from this.
ARG CALLSCOPE_COMMIT=""
RUN CALLSCOPE_COMMIT="$CALLSCOPE_COMMIT" cargo build --release --locked --package callscope-server --bin callscope \
    && packaging/rootfs target/release/callscope /image

FROM scratch
COPY --from=build /image /
COPY --from=build --chown=65532:65532 /image/var/lib/callscope /var/lib/callscope
USER 65532:65532
WORKDIR /var/lib/callscope
VOLUME /var/lib/callscope
ENV CALLSCOPE__SERVER__BIND=0.0.0.0:8080 \
    CALLSCOPE__DATABASE__URL=sqlite:///var/lib/callscope/callscope.db \
    CALLSCOPE__LOG__FORMAT=json
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s --retries=3 CMD ["/usr/bin/callscope", "health"]
# Requests in flight and queued records finish first; see server.shutdown_timeout.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/callscope"]
CMD ["serve"]
