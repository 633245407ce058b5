//! Loops over numbers, compiled once more for the vectors of newer processors.

/// Runs a loop with the longest vectors that this processor has: what is inlined into it is compiled for them.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) fn wide(work: impl FnOnce()) {
    pulp::Arch::new().dispatch(work);
}

/// Other processors have one length of vectors.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
pub(super) fn wide(work: impl FnOnce()) {
    work();
}
