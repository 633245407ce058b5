#!/usr/bin/env bash
# Builds the agent for 64-bit ARM with glibc (Raspberry Pi OS 64-bit, Jetson, i.MX 8, any Debian arm64) on another machine.
# See README.md beside this file. Prints the binary's path; everything else goes to standard error.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly target=aarch64-unknown-linux-gnu
readonly gcc=aarch64-linux-gnu-gcc
readonly profile="${PROFILE:-dist}"

say() { printf '%s\n' "$*" >&2; }

if ! command -v "$gcc" >/dev/null; then
    say "$gcc is missing: on Debian or Ubuntu, apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross"
    exit 1
fi
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER="$gcc"
export CC_aarch64_unknown_linux_gnu="$gcc"
export AR_aarch64_unknown_linux_gnu=aarch64-linux-gnu-ar

build=(build --locked --profile "$profile" --target "$target" --package floorhand-agent --bin floorhand-agent)

# Where the compiler keeps the target's standard library, whether or not it is there.
library() { "$1" --print target-libdir --target "$target"; }

# A compiler of Debian's that has the standard library's sources, and so can build for any target.
debian_has_sources() {
    [ -x /usr/bin/rustc ] && [ -x /usr/bin/cargo ] &&
        [ -f "$(/usr/bin/rustc --print sysroot)/lib/rustlib/src/rust/library/std/Cargo.toml" ]
}

# The folder of rust-lld: of the compiler in use, else Debian's. Some steps of a build with -Zbuild-std look for it.
linker_folder() {
    local beside
    beside="$(dirname "$(rustc --print target-libdir 2>/dev/null || echo /none/none)")/bin"
    if [ -x "$beside/rust-lld" ]; then echo "$beside"; else echo /usr/bin; fi
}

if [ -d "$(library rustc 2>/dev/null || echo /none)" ]; then
    say "building with the installed target"
    cargo "${build[@]}" >&2
elif debian_has_sources; then
    say "building with Debian's compiler and the standard library from its source"
    # -Zbuild-std is unstable; RUSTC_BOOTSTRAP allows it in a stable compiler. A directory of its own, since another
    # compiler's products would be thrown away at each change between the two.
    export RUSTC_BOOTSTRAP=1 RUSTC=/usr/bin/rustc
    PATH="$(linker_folder):$PATH"
    export PATH
    unset RUSTUP_TOOLCHAIN RUSTDOC
    export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}/cross"
    /usr/bin/cargo "${build[@]}" -Zbuild-std=std,panic_unwind >&2
else
    say "no standard library for $target: rustup target add $target, or on Debian apt-get install rustc-web cargo-web rust-web-src"
    exit 1
fi

folder="$profile"
[ "$profile" = dev ] && folder=debug
binary="${CARGO_TARGET_DIR:-$PWD/target}/$target/$folder/floorhand-agent"
[ -f "$binary" ] || { say "$binary isn't there"; exit 1; }
echo "$binary"
