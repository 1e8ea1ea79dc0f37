#
# One image with one executable: benchctl includes the server and the agent, and runs as one of them when
# it is started through a link of that name.
#
#   docker build -t metronome .
#
# Where no public registry can be reached, name your own base images:
#
#   docker build --build-arg BUILD_IMAGE=my/rust --build-arg RUNTIME_IMAGE=my/glibc -t metronome .
#
# BUILD_IMAGE needs cargo and a C compiler, RUNTIME_IMAGE libgcc_s and a glibc that is not older.
ARG BUILD_IMAGE=docker.io/library/rust:1.95-bookworm
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian12:nonroot

FROM ${BUILD_IMAGE} AS build
WORKDIR /src

# Dependencies first, with empty sources: a change in our sources then recompiles only our crates.
COPY Cargo.toml Cargo.lock build.rs ./
COPY proto/metronome proto/metronome
COPY os/Cargo.toml os/
COPY telemetry/Cargo.toml telemetry/
COPY witness/Cargo.toml witness/
COPY tls/Cargo.toml tls/
COPY web/Cargo.toml web/
COPY server/Cargo.toml server/
COPY agent/Cargo.toml agent/
COPY ctl/Cargo.toml ctl/
RUN mkdir -p os/src witness/src telemetry/src tls/src web/src server/src agent/src ctl/src \
    && touch proto/lib.rs os/src/lib.rs witness/src/lib.rs telemetry/src/lib.rs tls/src/lib.rs web/src/lib.rs server/src/lib.rs agent/src/lib.rs \
    && for main in server agent ctl; do echo 'fn main() {}' > "$main/src/main.rs"; done \
    && cargo build --release --locked -p benchctl

COPY . .
# The executable in the image is stripped; for `perf`, build one yourself.
# The sources may be older than the empty ones: cargo compares times of modification.
RUN find proto os witness telemetry tls web server agent ctl -name '*.rs' -exec touch {} + \
    && cargo build --release --locked -p benchctl \
    && mkdir -p /image/usr/local/bin /image/usr/share/doc/metronome /image/var/lib/metronome \
    && strip -o /image/usr/local/bin/benchctl target/release/benchctl \
    && ln -s benchctl /image/usr/local/bin/metronome-server \
    && ln -s benchctl /image/usr/local/bin/metronome-agent \
    && cp LICENSE-APACHE LICENSE-MIT /image/usr/share/doc/metronome/ \
    && chown -R 65532:65532 /image/var/lib/metronome

FROM ${RUNTIME_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Metronome" \
      org.opencontainers.image.description="Does this host, network or server hold N clients that send small packets at a high, steady rate?" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0 OR MIT"
COPY --from=build /image/ /

# The history of runs: mount a volume here to keep it.
VOLUME /var/lib/metronome
ENV METRONOME_DATABASE=/var/lib/metronome/runs.sqlite

# A number, so that Kubernetes can verify that the user is not root.
USER 65532:65532
EXPOSE 8888 50051 9464
STOPSIGNAL SIGTERM
# For the server, the default command; the composition and the pods disable it for agents.
HEALTHCHECK --interval=5s --timeout=4s --start-period=10s --retries=3 \
    CMD ["/usr/local/bin/metronome-server", "healthcheck"]
CMD ["/usr/local/bin/metronome-server"]
