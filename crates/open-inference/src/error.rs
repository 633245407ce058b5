//! Why a request isn't answered, and what that is called in HTTP and in gRPC.

use crate::http::HttpAnswer;
use floorhand_tensor::TensorError;
use serde_json::json;
use std::fmt::Display;

/// Longer than any problem that somebody reads; what comes from a request may be as long as the request.
const MAX_PROBLEM_CHARS: usize = 300;

/// Why a request isn't answered. Each says what it is about, and is one status in HTTP and one code in gRPC.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no such path, or no such method of the gRPC service.
    #[error("there is no {path:?} in the Open Inference Protocol")]
    Path {
        /// What was asked for.
        path: String,
    },
    /// The path is there, with another method.
    #[error("{path:?} takes {allow}, and got {method:?}")]
    Method {
        /// What was asked for.
        path: String,
        /// How.
        method: String,
        /// The methods there are, as the header `Allow` lists them.
        allow: &'static str,
    },
    /// A name in a path that can't be decoded.
    #[error("{segment:?} in the path is no name: {problem}")]
    Segment {
        /// The segment as it came.
        segment: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// Part of the protocol as others speak it, and deliberately not here.
    #[error("{subject} is not supported: {instead}")]
    Unsupported {
        /// What was asked for.
        subject: String,
        /// What to do instead, or why it isn't there.
        instead: &'static str,
    },
    /// The body is compressed.
    #[error("a body in content-encoding {encoding:?} is not taken: send it as it is")]
    Encoding {
        /// The header's value.
        encoding: String,
    },
    /// More bytes than are taken.
    #[error("the request has {bytes} bytes, more than {most}")]
    TooLarge {
        /// How many there are.
        bytes: usize,
        /// How many are taken.
        most: usize,
    },
    /// More of something than is taken.
    #[error("the request has {count} {subject}, more than {most}")]
    TooMany {
        /// Of what.
        subject: &'static str,
        /// How many there are.
        count: usize,
        /// How many are taken.
        most: usize,
    },
    /// A header that doesn't fit the body.
    #[error("header {header} is {value:?}: {problem}")]
    Header {
        /// Which one.
        header: &'static str,
        /// Its value.
        value: String,
        /// What is wrong.
        problem: String,
    },
    /// A body that is no request: no JSON, no message, or something is missing.
    #[error("the request can't be read: {problem}")]
    Body {
        /// What is wrong, and where.
        problem: String,
    },
    /// A parameter that has another type or value than the protocol gives it.
    #[error("parameter {parameter:?} {problem}")]
    Parameter {
        /// Which one.
        parameter: String,
        /// What is wrong.
        problem: String,
    },
    /// An input that can't be had from the request, or isn't what the model takes.
    #[error("input {input:?} {problem}")]
    Input {
        /// The tensor.
        input: String,
        /// What is wrong.
        problem: String,
    },
    /// An output that isn't there or can't be given in the form that was asked for.
    #[error("output {output:?} {problem}")]
    Output {
        /// The tensor.
        output: String,
        /// What is wrong, and what to ask for instead.
        problem: String,
    },
    /// A tensor that isn't what it claims to be, or not what the model takes.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// There is no such model here.
    #[error("there is no model {model:?}")]
    UnknownModel {
        /// Its name.
        model: String,
    },
    /// The model is here, the version isn't.
    #[error("model {model:?} has no version {version:?}")]
    UnknownVersion {
        /// Its name.
        model: String,
        /// The version that was asked for.
        version: String,
    },
    /// The version is here and on trial: what is tried answers nobody.
    #[error("version {version:?} of model {model:?} is in its trial: it answers nobody until it is committed")]
    InTrial {
        /// The model.
        model: String,
        /// The version that was asked for.
        version: String,
    },
    /// The model has taken the sample and has no answer to it: it wants others first, as many as its window holds.
    #[error("{}there is no answer yet: a window is filling; the sample was taken, send the next ones", of_row(*.row))]
    NotYet {
        /// Which one of the request's samples, where it had several.
        row: Option<usize>,
    },
    /// A sample has no answer.
    #[error("{}{problem}", of_row(*.row))]
    Sample {
        /// Which one of the request's samples, where it had several.
        row: Option<usize>,
        /// Why.
        problem: String,
        /// Whether it is the sample's fault, so that it will have none the next time, too.
        refused: bool,
    },
    /// The request didn't come, or wasn't answered, in the time that there is for it.
    #[error("the request took longer than {ms} ms to come")]
    TooSlow {
        /// That time.
        ms: u64,
    },
    /// Nobody knows who is asking.
    #[error("who asks here has to show the bearer token: send the header authorization")]
    Unauthorized,
    /// The request comes from somebody else's page in a browser.
    #[error("requests that a browser sends for another page are not taken")]
    Origin,
    /// It is here and can't answer yet.
    #[error("{subject} is not ready")]
    NotReady {
        /// What isn't: the server, or a model.
        subject: String,
        /// When to try again, where that is known.
        retry_after_s: Option<u32>,
    },
    /// More requests than can be answered.
    #[error("there are too many requests")]
    Overloaded {
        /// When to try again, where that is known.
        retry_after_s: Option<u32>,
    },
    /// The request was in order, and still there is no answer.
    #[error("{problem}")]
    Internal {
        /// What went wrong, for the one who operates the server.
        problem: String,
    },
}

/// A status code of gRPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum GrpcCode {
    /// The request is wrong, whatever the state of the server.
    InvalidArgument = 3,
    /// It took too long.
    DeadlineExceeded = 4,
    /// There is no such thing.
    NotFound = 5,
    /// Not for whoever asks.
    PermissionDenied = 7,
    /// More than is taken.
    ResourceExhausted = 8,
    /// Not now: something else has to come first.
    FailedPrecondition = 9,
    /// There is no such method.
    Unimplemented = 12,
    /// The server's fault.
    Internal = 13,
    /// Try again.
    Unavailable = 14,
    /// Nobody knows who is asking.
    Unauthenticated = 16,
}

impl GrpcCode {
    /// Its number, as the trailer `grpc-status` has it.
    #[must_use]
    pub fn number(self) -> i32 {
        self as i32
    }
}

impl Error {
    /// The status in HTTP.
    #[must_use]
    pub fn http_status(&self) -> u16 {
        match self {
            Self::Unauthorized => 401,
            Self::Origin => 403,
            Self::Path { .. } | Self::UnknownModel { .. } | Self::UnknownVersion { .. } | Self::InTrial { .. } => 404,
            Self::Method { .. } => 405,
            Self::TooSlow { .. } => 408,
            Self::NotYet { .. } => 409,
            Self::TooLarge { .. } => 413,
            Self::Encoding { .. } => 415,
            Self::Internal { .. } | Self::Sample { refused: false, .. } => 500,
            Self::Unsupported { .. } => 501,
            Self::NotReady { .. } | Self::Overloaded { .. } => 503,
            _ => 400,
        }
    }

    /// The code in gRPC, whose message is this error's text.
    #[must_use]
    pub fn grpc_code(&self) -> GrpcCode {
        match self.http_status() {
            401 => GrpcCode::Unauthenticated,
            403 => GrpcCode::PermissionDenied,
            404 if !matches!(self, Self::Path { .. }) => GrpcCode::NotFound,
            408 => GrpcCode::DeadlineExceeded,
            409 => GrpcCode::FailedPrecondition,
            404 | 405 | 415 | 501 => GrpcCode::Unimplemented,
            413 => GrpcCode::ResourceExhausted,
            500 => GrpcCode::Internal,
            503 => GrpcCode::Unavailable,
            _ => GrpcCode::InvalidArgument,
        }
    }

    /// When to try again, where that is known.
    #[must_use]
    pub fn retry_after_s(&self) -> Option<u32> {
        match self {
            Self::NotReady { retry_after_s, .. } | Self::Overloaded { retry_after_s } => *retry_after_s,
            _ => None,
        }
    }

    /// The answer in HTTP: the protocol's object `{"error": "..."}`, with `Allow` or `Retry-After` where they belong.
    #[must_use]
    pub fn answer(&self) -> HttpAnswer {
        let mut answer = HttpAnswer::json(self.http_status(), &json!({ "error": self.to_string() }));
        if let Self::Method { allow, .. } = self {
            answer.headers.push(("allow", (*allow).to_owned()));
        }
        if *self == Self::Unauthorized {
            answer.headers.push(("www-authenticate", "Bearer".to_owned()));
        }
        if let Some(seconds) = self.retry_after_s() {
            answer.headers.push(("retry-after", seconds.to_string()));
        }
        answer
    }

    /// A body that is no request.
    #[must_use]
    pub fn body(problem: impl Display) -> Self {
        let problem = shortened(problem);
        Self::Body { problem }
    }

    /// A parameter of a request that has another value than it may have.
    #[must_use]
    pub fn parameter(parameter: &str, problem: impl Display) -> Self {
        Self::Parameter {
            parameter: shortened(parameter),
            problem: shortened(problem),
        }
    }

    /// An input that isn't what the model takes.
    #[must_use]
    pub fn input(input: &str, problem: impl Display) -> Self {
        Self::Input {
            input: shortened(input),
            problem: shortened(problem),
        }
    }

    pub(crate) fn output(output: &str, problem: impl Display) -> Self {
        Self::Output {
            output: shortened(output),
            problem: shortened(problem),
        }
    }
}

/// Which sample it is about.
fn of_row(row: Option<usize>) -> String {
    row.map_or_else(String::new, |row| format!("row {row} of the batch: "))
}

/// The beginning of a text that may hold parts of the request.
pub(crate) fn shortened(text: impl Display) -> String {
    let text = text.to_string();
    match text.char_indices().nth(MAX_PROBLEM_CHARS) {
        Some((end, _)) => format!("{} ...", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(error: &Error, status: u16, code: GrpcCode, headers: &[(&str, &str)]) {
        let answer = error.answer();
        assert_eq!((answer.status, error.grpc_code()), (status, code), "{error}");
        let found: Vec<_> = answer
            .headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        assert_eq!(found[0], ("content-type", "application/json"));
        assert_eq!(&found[1..], headers, "{error}");
        let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(body, json!({ "error": error.to_string() }));
    }

    #[test]
    fn each_has_its_status() {
        let path = "/v2/x".to_owned();
        check(&Error::Path { path: path.clone() }, 404, GrpcCode::Unimplemented, &[]);
        let method = Error::Method {
            path,
            method: "PUT".to_owned(),
            allow: "POST",
        };
        check(&method, 405, GrpcCode::Unimplemented, &[("allow", "POST")]);
        check(&Error::input("x", "is missing"), 400, GrpcCode::InvalidArgument, &[]);
        let model = "m".to_owned();
        check(&Error::UnknownModel { model }, 404, GrpcCode::NotFound, &[]);
        check(
            &Error::TooLarge { bytes: 2, most: 1 },
            413,
            GrpcCode::ResourceExhausted,
            &[],
        );
        let retry_after_s = Some(2);
        let busy = Error::Overloaded { retry_after_s };
        check(&busy, 503, GrpcCode::Unavailable, &[("retry-after", "2")]);
        let problem = "the model failed".to_owned();
        check(&Error::Internal { problem }, 500, GrpcCode::Internal, &[]);
        check(&Error::NotYet { row: None }, 409, GrpcCode::FailedPrecondition, &[]);
        check(&Error::TooSlow { ms: 5 }, 408, GrpcCode::DeadlineExceeded, &[]);
        check(&Error::Origin, 403, GrpcCode::PermissionDenied, &[]);
        let who = [("www-authenticate", "Bearer")];
        check(&Error::Unauthorized, 401, GrpcCode::Unauthenticated, &who);
        let (model, version) = ("m".to_owned(), "2".to_owned());
        check(&Error::InTrial { model, version }, 404, GrpcCode::NotFound, &[]);
    }

    #[test]
    fn a_sample_of_a_batch_is_named() {
        let error = |row, refused| Error::Sample {
            row,
            problem: "stage scale: bad".to_owned(),
            refused,
        };
        assert_eq!(error(None, true).to_string(), "stage scale: bad");
        assert_eq!(error(Some(3), true).to_string(), "row 3 of the batch: stage scale: bad");
        check(&error(Some(3), true), 400, GrpcCode::InvalidArgument, &[]);
        check(&error(Some(3), false), 500, GrpcCode::Internal, &[]);
    }

    #[test]
    fn what_comes_from_a_request_is_shortened() {
        let error = Error::input(&"\u{e4}".repeat(10_000), "x".repeat(10_000));
        assert!(error.to_string().len() < 2_000);
    }
}
