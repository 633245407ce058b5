//! Steps of tract's, whose errors and panics become ours.

use crate::InferenceError;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use tract_onnx::prelude::{TractError, TractResult};

/// Runs a step of tract's, turning its errors and its panics into ours.
pub(crate) fn guarded<T>(step: &'static str, work: impl FnOnce() -> TractResult<T>) -> Result<T, InferenceError> {
    // Whatever `work` leaves half done is dropped by the caller, never looked at again.
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(refused(step, &error)),
        Err(panic) => Err(InferenceError::Panicked {
            step,
            reason: panic_text(panic.as_ref()),
        }),
    }
}

pub(crate) fn refused(step: &'static str, error: &TractError) -> InferenceError {
    InferenceError::Refused {
        step,
        reason: format!("{error:#}"),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
        .to_owned()
}
