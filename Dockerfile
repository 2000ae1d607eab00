# The program alone: one static binary, no shell, no user but a number.
#
#   docker build -t cortex-core .
#   docker run -p 8000:8000 -v cortex:/data -e JWT_SECRET_KEY=... cortex-core
#
# With --build-arg FEATURES=cluster, it can share a database on a server with others: see deploy/compose.yaml.
FROM rust:1-bookworm AS build
ARG FEATURES=
WORKDIR /source
COPY . .
# --target keeps the flags away from what runs during the build. RUSTFLAGS would replace those of .cargo/config.toml.
RUN target=$(rustc -vV | sed -n 's/^host: //p') \
    && cargo build --release --locked --features "$FEATURES" --target "$target" \
        --config "target.$target.rustflags=['-Ctarget-feature=+crt-static']" \
    && mkdir -p /image/data /image/tmp && cp "target/$target/release/cortex-core" /image/

FROM scratch
COPY --from=build /image/cortex-core /cortex-core
# The database's directory belongs to the program. A named volume takes its owner over; a directory that is mounted
# instead must be writable for it.
COPY --from=build --chown=65532:65532 /image/data /data
# SQLite spills large intermediate results.
COPY --from=build --chown=65532:65532 /image/tmp /tmp
USER 65532:65532
WORKDIR /data
ENV ENV=production DATABASE_URL=sqlite:////data/cortex.db
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["/cortex-core", "health"]
ENTRYPOINT ["/cortex-core"]
