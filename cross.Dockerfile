# Debian 12, as on the board, with its cross compiler and the board's ALSA.
FROM debian:bookworm
RUN dpkg --add-architecture arm64 && apt-get update && apt-get install -y --no-install-recommends \
        ca-certificates cmake gcc libc6-dev g++ gcc-aarch64-linux-gnu g++-aarch64-linux-gnu \
        libclang-dev make pkg-config libasound2-dev:arm64 \
    && rm -rf /var/lib/apt/lists/*
ENV CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
    CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc \
    CXX_aarch64_unknown_linux_gnu=aarch64-linux-gnu-g++ \
    PKG_CONFIG_ALLOW_CROSS=1 \
    PKG_CONFIG_LIBDIR_aarch64_unknown_linux_gnu=/usr/lib/aarch64-linux-gnu/pkgconfig:/usr/share/pkgconfig
