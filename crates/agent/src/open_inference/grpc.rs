//! The protocol over gRPC: one message in, one out, on HTTP/2.

use super::front::{Front, MAX_SMALL_BODY_BYTES, Taken, away};
use super::job::Answered;
use super::reply::Reply;
use super::room::Held;
use bytes::{BufMut as _, BytesMut};
use floorhand_open_inference::grpc::{
    Incoming, SERVICE, decode, encode_infer, encode_model_metadata, encode_readiness, encode_server_metadata,
};
use floorhand_open_inference::{Call, Error, GrpcCode, InferRequest, Labels};
use http_body::Body;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use tokio::sync::OwnedSemaphorePermit;

/// The method whose messages are long.
const INFER: &str = "/ModelInfer";
/// In front of each message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;
const GRPC: &str = "application/grpc";
const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// What a message in a trailer has percent-encoded.
const ENCODED: &AsciiSet = &CONTROLS.add(b'%');

/// Answers a request.
pub(super) async fn answer<B>(front: &Front, request: Request<B>) -> Response<Reply>
where
    B: Body<Data = bytes::Bytes, Error = hyper::Error> + Unpin,
{
    let content_type = request
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let is_grpc = content_type
        .and_then(|value| value.strip_prefix(GRPC))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', ';']));
    if request.method() != Method::POST || !is_grpc {
        let mut response = Response::new(Reply::whole(b"this is a gRPC service\n".to_vec()));
        *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return response;
    }
    let (body, trailers) = match called(front, request).await {
        Ok(message) => (Some(framed(&message)), ok()),
        Err(error) => (None, status(&error)),
    };
    // Without a message the status stands in the head.
    let mut response = match body {
        Some(body) => Response::new(Reply::with_trailers(body, trailers)),
        None => {
            let mut response = Response::new(Reply::whole(Vec::new()));
            *response.headers_mut() = trailers;
            response
        }
    };
    let grpc = HeaderValue::from_static(GRPC);
    response.headers_mut().insert(CONTENT_TYPE, grpc);
    response
}

async fn called<B>(front: &Front, request: Request<B>) -> Result<Vec<u8>, Error>
where
    B: Body<Data = bytes::Bytes, Error = hyper::Error> + Unpin,
{
    let (head, body) = request.into_parts();
    front.admit(&head.headers)?;
    let path = head.uri.path().to_owned();
    if !path.starts_with('/')
        || path
            .get(1..)
            .and_then(|path| path.split_once('/'))
            .map(|(name, _)| name)
            != Some(SERVICE)
    {
        return Err(Error::Path { path });
    }
    let limits = front.limits;
    let is_infer = path.ends_with(INFER);
    let most = if is_infer {
        limits.body_bytes
    } else {
        MAX_SMALL_BODY_BYTES
    };
    let taken = front
        .read(&head.headers, body, most.saturating_add(PREFIX_BYTES))
        .await?;
    let Taken { bytes, held } = taken;
    let permit = is_infer.then(|| front.enter()).transpose()?;
    let read = move || decode(&path, message(&bytes, most)?, &limits);
    let catalogue = &front.catalogue;
    match away(held.bytes(), read).await?? {
        Incoming::Infer(request) => {
            let permit = permit.map_or_else(|| front.enter(), Ok)?;
            infer(front, request, held, permit).await
        }
        Incoming::Call(Call::Live) => Ok(encode_readiness(true)),
        Incoming::Call(Call::Ready) => Ok(encode_readiness(catalogue.is_ready())),
        Incoming::Call(Call::ServerMetadata) => Ok(encode_server_metadata(&front.server())),
        Incoming::Call(Call::ModelReady(model)) => match catalogue.ready(&model) {
            Err(error) if error.http_status() != 503 => Err(error),
            found => Ok(encode_readiness(found.is_ok())),
        },
        Incoming::Call(Call::ModelMetadata(model)) => Ok(encode_model_metadata(&catalogue.find(&model)?.metadata())),
        // What the reader of messages never gives.
        Incoming::Call(_) => Err(Error::Path {
            path: head.uri.path().to_owned(),
        }),
    }
}

async fn infer(
    front: &Front,
    request: InferRequest,
    held: Held,
    permit: OwnedSemaphorePermit,
) -> Result<Vec<u8>, Error> {
    let Answered {
        request,
        version,
        outputs,
    } = front.infer(request, held, permit).await?;
    let bytes = outputs.iter().map(|output| output.data().len()).sum();
    let encode = move || Ok(encode_infer(request.respond(Some(version), outputs, &Labels::new())?));
    away(bytes, encode).await?
}

/// The one message of a body.
fn message(body: &[u8], most: usize) -> Result<&[u8], Error> {
    let Some((prefix, rest)) = body.split_first_chunk::<PREFIX_BYTES>() else {
        return Err(Error::body("there is no message in it"));
    };
    let [compressed, length @ ..] = *prefix;
    if compressed != 0 {
        let encoding = "grpc-encoding".to_owned();
        return Err(Error::Encoding { encoding });
    }
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > most {
        return Err(Error::TooLarge { bytes: length, most });
    }
    if length != rest.len() {
        let there = rest.len();
        return Err(Error::body(format!(
            "its message says {length} bytes, and {there} are there: it has to be one message"
        )));
    }
    Ok(rest)
}

fn framed(message: &[u8]) -> Vec<u8> {
    let mut framed = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.extend_from_slice(message);
    framed.to_vec()
}

fn ok() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert(STATUS, HeaderValue::from_static("0"));
    trailers
}

fn status(error: &Error) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    let code: GrpcCode = error.grpc_code();
    trailers.insert(STATUS, HeaderValue::from(code.number()));
    let text = utf8_percent_encode(&error.to_string(), ENCODED).to_string();
    if let Ok(text) = HeaderValue::try_from(text) {
        trailers.insert(MESSAGE, text);
    }
    if let Some(seconds) = error.retry_after_s() {
        trailers.insert(hyper::header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    trailers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_one_message() {
        let check = |body: &[u8]| message(body, 8).map(<[u8]>::to_vec).map_err(|error| error.grpc_code());
        assert_eq!(check(&[0, 0, 0, 0, 2, 7, 8]), Ok(vec![7, 8]));
        assert_eq!(check(&[0, 0, 0, 0, 0]), Ok(vec![]));
        assert_eq!(check(&framed(&[1, 2, 3])), Ok(vec![1, 2, 3]));
        for wrong in [
            &[][..],
            &[0, 0, 0],
            &[0, 0, 0, 0, 3, 7, 8],
            &[0, 0, 0, 0, 1, 7, 8],
            &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ] {
            assert_eq!(check(wrong), Err(GrpcCode::InvalidArgument), "{wrong:?}");
        }
        assert_eq!(check(&[1, 0, 0, 0, 1, 7]), Err(GrpcCode::Unimplemented));
        assert_eq!(check(&[0, 0xff, 0xff, 0xff, 0xff, 7]), Err(GrpcCode::ResourceExhausted));
    }

    #[test]
    fn a_status_is_text_that_headers_can_carry() {
        let problem = "100 % of \u{e4}\n".to_owned();
        let trailers = status(&Error::Internal { problem });
        assert_eq!(trailers[STATUS], "13");
        assert_eq!(trailers[MESSAGE], "100 %25 of %C3%A4%0A");
    }
}
