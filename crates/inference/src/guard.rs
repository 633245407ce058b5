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
    let reason = format!("{error:#}");
    let advice = advice(step, &reason);
    InferenceError::Refused {
        step,
        reason: format!("{}{advice}", reason.trim_end_matches('.')),
    }
}

/// What tract says of something that it has to know before it runs.
const UNKNOWN: [&str; 8] = [
    "is variable",
    "constant",
    "a const",
    "not const",
    "known scalar",
    "to be determined",
    "can not be typed",
    "Impossible to unify",
];

/// What to do about a model that tract doesn't take, where its own account doesn't say so; ours do, behind a semicolon.
fn advice(step: &str, reason: &str) -> &'static str {
    if step == "run" || reason.contains("; ") {
        return "";
    }
    if UNKNOWN.iter().any(|unknown| reason.contains(unknown)) {
        return "; store shapes, axes and the like in the model (fold its constants, as onnxsim does) and fix the shapes of its inputs, or let the \
                bundle ask for the engine onnxruntime";
    }
    "; export it with other operators, or let the bundle ask for the engine onnxruntime"
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
        .to_owned()
}
