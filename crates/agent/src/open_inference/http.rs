//! The protocol over HTTP/1.1.

use super::front::{Front, MAX_SMALL_BODY_BYTES, Taken, away};
use super::job::Answered;
use super::reply::Reply;
use floorhand_open_inference::http::{HEADER_LENGTH, Head, HttpAnswer, decode_infer, encode_infer};
use floorhand_open_inference::{Call, Error, IndexRequest, Labels, ModelRef};
use http_body::Body;
use hyper::header::{CONTENT_ENCODING, HeaderName, HeaderValue};
use hyper::{HeaderMap, Request, Response, StatusCode};

/// Answers a request.
pub(super) async fn answer<B>(front: &Front, request: Request<B>) -> Response<Reply>
where
    B: Body<Data = bytes::Bytes, Error = hyper::Error> + Unpin,
{
    let answer = called(front, request).await.unwrap_or_else(|error| error.answer());
    let mut response = Response::new(Reply::whole(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in answer.headers {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    response
}

async fn called<B>(front: &Front, request: Request<B>) -> Result<HttpAnswer, Error>
where
    B: Body<Data = bytes::Bytes, Error = hyper::Error> + Unpin,
{
    let (head, body) = request.into_parts();
    front.admit(&head.headers)?;
    let call = Call::route(head.method.as_str(), head.uri.path())?;
    let catalogue = &front.catalogue;
    Ok(match &call {
        Call::Live => HttpAnswer::readiness(&call, true),
        Call::Ready => HttpAnswer::readiness(&call, catalogue.is_ready()),
        Call::ServerMetadata => HttpAnswer::json(200, &front.server()),
        Call::ModelReady(model) => match catalogue.ready(model) {
            Err(error) if error.http_status() != 503 => return Err(error),
            found => HttpAnswer::readiness(&call, found.is_ok()),
        },
        Call::ModelMetadata(model) => HttpAnswer::json(200, &catalogue.find(model)?.metadata()),
        Call::ModelConfig(model) => HttpAnswer::json(200, &catalogue.find(model)?.metadata().config()),
        Call::ModelStatistics(model) => HttpAnswer::json(200, &catalogue.statistics(model.as_ref())?),
        Call::RepositoryIndex => {
            let taken = front.read(&head.headers, body, MAX_SMALL_BODY_BYTES).await?;
            let request = IndexRequest::decode(&taken.bytes)?;
            HttpAnswer::json(200, &request.select(catalogue.index()))
        }
        Call::Infer(model) => {
            let taken = front.read(&head.headers, body, front.limits.body_bytes).await?;
            infer(front, model.clone(), head.headers, taken).await?
        }
    })
}

async fn infer(front: &Front, model: ModelRef, headers: HeaderMap, taken: Taken) -> Result<HttpAnswer, Error> {
    let Taken { bytes, held } = taken;
    let permit = front.enter()?;
    let limits = front.limits;
    let decode = move || {
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
        let head = Head {
            header_length: text(HEADER_LENGTH),
            content_encoding: text(CONTENT_ENCODING.as_str()),
        };
        decode_infer(model, head, &bytes, &limits)
    };
    let (request, forms) = away(held.bytes(), decode).await??;
    let Answered {
        request,
        version,
        outputs,
    } = front.infer(request, held, permit).await?;
    let bytes = outputs.iter().map(|output| output.data().len()).sum();
    let encode = move || {
        let response = request.respond(Some(version), outputs, &Labels::new())?;
        encode_infer(&response, &forms)
    };
    away(bytes, encode).await?
}
