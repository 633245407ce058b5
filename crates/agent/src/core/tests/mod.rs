//! The core as it is, on a disk that loses power or fails, without a broker, a clock or threads: tests hand it what a hub
//! says and look at what it tells, serves and writes.

mod bench;
mod bundles;
mod disk;
mod power;
mod warm_up;
