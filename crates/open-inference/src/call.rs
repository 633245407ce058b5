//! Which call a method and a path are.

use crate::Error;
use crate::error::shortened;
use percent_encoding::percent_decode_str;

/// Calls that only look.
const GET: &str = "GET, HEAD";
/// Calls with a body.
const POST: &str = "POST";

/// A model, and perhaps one of its versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelRef {
    /// The model's name.
    pub name: String,
    /// The version; without one the server chooses.
    pub version: Option<String>,
}

/// What a request asks for, over HTTP or over gRPC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// Whether the server runs at all.
    Live,
    /// Whether every model answers.
    Ready,
    /// What the server is.
    ServerMetadata,
    /// Whether a model answers.
    ModelReady(ModelRef),
    /// What a model takes and gives.
    ModelMetadata(ModelRef),
    /// The same as Triton's configuration of a model.
    ModelConfig(ModelRef),
    /// How often a model, or each of them, has answered and how long it took.
    ModelStatistics(Option<ModelRef>),
    /// Which models there are.
    RepositoryIndex,
    /// An inference. Over HTTP its body is read by [`crate::http::decode_infer`].
    Infer(ModelRef),
}

impl Call {
    /// The call that an HTTP request makes. The path may have a query, which nothing here looks at; names in it are
    /// percent-encoded. `HEAD` is `GET` whose answer's body isn't sent.
    pub fn route(method: &str, path: &str) -> Result<Self, Error> {
        let bare = path.split('?').next().unwrap_or_default();
        let segments: Vec<&str> = bare.strip_prefix('/').unwrap_or(bare).split('/').collect();
        // As Triton does, a slash at the end is no segment.
        let segments = match segments.as_slice() {
            [rest @ .., ""] => rest,
            all => all,
        };
        let Some((call, allow)) = find(segments)? else {
            let path = shortened(bare);
            return Err(Error::Path { path });
        };
        if allow.split(", ").any(|allowed| allowed == method) {
            return call;
        }
        Err(Error::Method {
            path: shortened(bare),
            method: shortened(method),
            allow,
        })
    }
}

/// What is at a path: the call, or why there is none to be made, and the methods to make it with.
type Found = (Result<Call, Error>, &'static str);

/// What is at a path, if anything is. An error when a name in it can't be decoded.
fn find(segments: &[&str]) -> Result<Option<Found>, Error> {
    let found = match segments {
        ["v2"] => (Ok(Call::ServerMetadata), GET),
        ["v2", "health", "live"] => (Ok(Call::Live), GET),
        ["v2", "health", "ready"] => (Ok(Call::Ready), GET),
        ["v2", "models", "stats"] => (Ok(Call::ModelStatistics(None)), GET),
        ["v2", "models", name, "versions", version, rest @ ..] if !name.is_empty() && !version.is_empty() => {
            return of_model(name, Some(version), rest);
        }
        ["v2", "models", name, rest @ ..] if !name.is_empty() => return of_model(name, None, rest),
        ["v2", "repository", "index"] => (Ok(Call::RepositoryIndex), POST),
        ["v2", "repository", "models", _, "load" | "unload"] => (
            unsupported("loading and unloading", "which models run is decided by the bundle"),
            POST,
        ),
        ["v2", "systemsharedmemory" | "cudasharedmemory", ..] => {
            (unsupported("shared memory", "send tensors as binary data"), "GET, POST")
        }
        ["v2", "trace", "setting"] | ["v2", "logging"] => {
            let instead = "the agent's configuration says what is logged";
            (unsupported("a setting", instead), "GET, POST")
        }
        _ => return Ok(None),
    };
    Ok(Some(found))
}

fn of_model(name: &str, version: Option<&str>, rest: &[&str]) -> Result<Option<Found>, Error> {
    let model = ModelRef {
        name: decoded(name)?,
        version: version.map(decoded).transpose()?,
    };
    let found = match rest {
        [] => (Ok(Call::ModelMetadata(model)), GET),
        ["ready"] => (Ok(Call::ModelReady(model)), GET),
        ["config"] => (Ok(Call::ModelConfig(model)), GET),
        ["stats"] => (Ok(Call::ModelStatistics(Some(model))), GET),
        ["infer"] => (Ok(Call::Infer(model)), POST),
        ["generate" | "generate_stream"] => (unsupported("generation", "send an inference"), POST),
        ["trace", "setting"] => {
            let instead = "the agent's configuration says what is logged";
            (unsupported("a setting", instead), "GET, POST")
        }
        _ => return Ok(None),
    };
    Ok(Some(found))
}

fn unsupported(subject: &str, instead: &'static str) -> Result<Call, Error> {
    let subject = subject.to_owned();
    Err(Error::Unsupported { subject, instead })
}

/// A name as it was before it went into a path.
fn decoded(segment: &str) -> Result<String, Error> {
    let refused = |problem| Error::Segment {
        segment: shortened(segment),
        problem,
    };
    let whole = |rest: &str| rest.len() >= 2 && rest.bytes().take(2).all(|digit| digit.is_ascii_hexdigit());
    if !segment.split('%').skip(1).all(whole) {
        return Err(refused("a % without two hexadecimal digits"));
    }
    let text = percent_decode_str(segment).decode_utf8();
    let name = text.map_err(|_| refused("it is not UTF-8"))?;
    if name.chars().any(char::is_control) {
        return Err(refused("it has a control character"));
    }
    Ok(name.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(name: &str, version: Option<&str>) -> ModelRef {
        ModelRef {
            name: name.to_owned(),
            version: version.map(ToOwned::to_owned),
        }
    }

    #[test]
    fn paths_are_calls() {
        for (method, path, expected) in [
            ("GET", "/v2", Call::ServerMetadata),
            ("GET", "/v2/", Call::ServerMetadata),
            ("GET", "/v2?x=/v2/models/m/infer", Call::ServerMetadata),
            ("HEAD", "/v2/health/live", Call::Live),
            ("GET", "/v2/health/ready", Call::Ready),
            ("GET", "/v2/models/m", Call::ModelMetadata(model("m", None))),
            (
                "GET",
                "/v2/models/m/versions/2",
                Call::ModelMetadata(model("m", Some("2"))),
            ),
            (
                "GET",
                "/v2/models/m/versions/2/ready",
                Call::ModelReady(model("m", Some("2"))),
            ),
            (
                "GET",
                "/v2/models/a%20b%2Fc/ready",
                Call::ModelReady(model("a b/c", None)),
            ),
            (
                "GET",
                "/v2/models/w%C3%A4rme/config",
                Call::ModelConfig(model("w\u{e4}rme", None)),
            ),
            ("POST", "/v2/models/m/infer", Call::Infer(model("m", None))),
            (
                "POST",
                "/v2/models/m/versions/1/infer",
                Call::Infer(model("m", Some("1"))),
            ),
            ("GET", "/v2/models/stats", Call::ModelStatistics(None)),
            (
                "GET",
                "/v2/models/m/stats",
                Call::ModelStatistics(Some(model("m", None))),
            ),
            ("POST", "/v2/repository/index", Call::RepositoryIndex),
        ] {
            assert_eq!(Call::route(method, path), Ok(expected), "{method} {path}");
        }
    }

    #[test]
    fn what_is_no_call_says_why() {
        for (method, path, status) in [
            ("GET", "", 404),
            ("GET", "/", 404),
            ("GET", "/v1", 404),
            ("GET", "/v2/models", 404),
            ("GET", "/v2/models//ready", 404),
            ("GET", "/v2/models/m/versions//infer", 404),
            ("GET", "/v2/models/m/else", 404),
            ("POST", "/v2", 405),
            ("GET", "/v2/models/m/infer", 405),
            ("get", "/v2", 405),
            ("GET", "/v2/repository/index", 405),
            ("GET", "/v2/models/%", 400),
            ("GET", "/v2/models/%4", 400),
            ("GET", "/v2/models/%zz", 400),
            ("GET", "/v2/models/%ff", 400),
            ("GET", "/v2/models/a%00", 400),
            ("POST", "/v2/repository/models/m/load", 501),
            ("GET", "/v2/systemsharedmemory/status", 501),
            ("POST", "/v2/logging", 501),
            ("POST", "/v2/models/m/generate", 501),
        ] {
            let error = Call::route(method, path).unwrap_err();
            assert_eq!(error.http_status(), status, "{method} {path}: {error}");
        }
    }
}
