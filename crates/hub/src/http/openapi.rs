//! `/openapi.json`: the API's description, from the handlers and models themselves.
//!
//! What holds for every operation isn't repeated beside each handler but added here: who may ask, and the answers that are
//! given before a handler sees the request or when the hub itself fails.

use super::{api, models};
use axum::Json;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{Modify, OpenApi};

/// The token as programs show it.
const TOKEN: &str = "token";
/// The token as browsers show it.
const PASSWORD: &str = "password";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "floorhand hub",
        description = "Devices, bundles, assignments and telemetry of one fleet. Errors are \
        `{\"error\": text}`. Where the hub has an API token, every request shows it: `Authorization: Bearer TOKEN`."
    ),
    paths(
        api::devices::list,
        api::devices::show,
        api::devices::register,
        api::devices::remove,
        api::bundles::list,
        api::bundles::show,
        api::bundles::ingest,
        api::bundles::export,
        api::roots::list,
        api::roots::publish,
        api::orders::deploy,
        api::orders::rollback,
        api::orders::pause,
        api::orders::resume,
        api::orders::sampling,
        api::orders::report_now,
        api::orders::fetch_logs,
        api::orders::answer,
        api::orders::jobs,
        api::orders::job,
        api::records::records,
        api::records::findings,
        api::records::gaps,
        api::records::series,
        api::records::stats,
    ),
    components(schemas(models::Problem)),
    modifiers(&Common)
)]
struct Description;

/// What holds for every operation.
struct Common;

impl Modify for Common {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        if let Some(components) = document.components.as_mut() {
            let token = "The first line of the hub's `api_token_file`, where it has one; on loopback it needs none.";
            components.add_security_scheme(TOKEN, scheme(HttpAuthScheme::Bearer, token));
            let password =
                "The same token as a browser sends it, with any user name. Good for looking, not for changing.";
            components.add_security_scheme(PASSWORD, scheme(HttpAuthScheme::Basic, password));
        }
        for item in document.paths.paths.values_mut() {
            if let Some(look) = item.get.as_mut() {
                complete(look, &[TOKEN, PASSWORD]);
            }
            for change in [&mut item.put, &mut item.post, &mut item.delete].into_iter().flatten() {
                complete(change, &[TOKEN]);
            }
        }
    }
}

fn scheme(kind: HttpAuthScheme, description: &str) -> SecurityScheme {
    SecurityScheme::Http(HttpBuilder::new().scheme(kind).description(Some(description)).build())
}

/// Adds who may ask, by any of `schemes` or, on loopback, by none, and the answers that its handler doesn't list.
fn complete(operation: &mut Operation, schemes: &[&str]) {
    let mut ways = vec![SecurityRequirement::default()];
    ways.extend(
        schemes
            .iter()
            .map(|name| SecurityRequirement::new(*name, std::iter::empty::<String>())),
    );
    operation.security = Some(ways);
    let has_body = operation.request_body.is_some();
    let has_parameters = operation.parameters.as_ref().is_some_and(|list| !list.is_empty());
    for (is_given, status, description) in [
        (
            has_body || has_parameters,
            "400",
            "A parameter or the body is not what it has to be",
        ),
        (true, "401", "The hub has a token, and the request doesn't show it"),
        (
            true,
            "403",
            "A page of another site asks, or a hub on loopback is asked by another name",
        ),
        (has_body, "413", "The body is longer than this hub takes"),
        (true, "500", "The hub's database or disk failed; its log has more"),
    ] {
        if is_given {
            let listed = operation.responses.responses.entry(status.to_owned());
            listed.or_insert_with(|| problem(description));
        }
    }
}

fn problem(description: &str) -> RefOr<Response> {
    let body = Content::new(Some(Ref::from_schema_name("Problem")));
    let response = ResponseBuilder::new()
        .description(description)
        .content("application/json", body);
    RefOr::T(response.build())
}

/// The description.
pub(crate) async fn document() -> Json<utoipa::openapi::OpenApi> {
    Json(description())
}

/// The description.
pub(crate) fn description() -> utoipa::openapi::OpenApi {
    Description::openapi()
}
