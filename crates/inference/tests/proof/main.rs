//! Models that people really have: the answer that the reference gives, or a refusal, and never another answer.
//!
//! Scripts in `tests/python/models` make the models and what is expected of them; they need a Python with
//! `tests/python/requirements.txt`, named in `FLOORHAND_PYTHON`. Nothing is kept between runs.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test may panic, and tells what it found"
)]

mod apart;
mod cases;
mod judge;
mod mlperf_tiny;
mod node_tests;
mod pipelines;
mod refusals;
