//! `/openapi.json`: the API's description, from the handlers and models themselves.
//!
//! What holds for every operation isn't repeated beside each handler but added here: who may ask, and the answers that are
//! given before a handler sees the request or when the hub itself fails.

use super::routes::{self, Need};
use super::{api, login, models};
use crate::access::Role;
use axum::Json;
use axum::http::Method;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{Content, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{Modify, OpenApi};

/// The token as programs show it.
const TOKEN: &str = "token";
/// The token as a password.
const PASSWORD: &str = "password";
/// A browser's login.
const SESSION: &str = "session";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "floorhand hub",
        description = "Devices, bundles, assignments and telemetry of one fleet. Errors are \
        `{\"error\": text}`. Requests show a token: `Authorization: Bearer TOKEN`; on loopback they need none until there is \
        one. Each operation says which role it needs: viewer looks, operator steers devices, releaser uploads bundles, \
        admin does all of it and everything else."
    ),
    paths(
        api::devices::list,
        api::devices::show,
        api::devices::register,
        api::devices::remove,
        api::enrolment::list,
        api::enrolment::create,
        api::enrolment::remove,
        api::enrolment::enrol,
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
        api::tokens::list,
        api::tokens::make,
        api::tokens::revoke,
        api::audit::list,
        api::audit::checkpoint,
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
            let token = "A named token, the first line of the hub's `api_token_file`, or a JWT of its issuer.";
            components.add_security_scheme(TOKEN, scheme(HttpAuthScheme::Bearer, token));
            let password =
                "The same token as a password, with any user name. As good as the role viewer, and for looking only.";
            components.add_security_scheme(PASSWORD, scheme(HttpAuthScheme::Basic, password));
            let session = ApiKeyValue::with_description(
                login::cookie_name(true),
                "A login at `/login`. As good as the role viewer, and for looking only. Without TLS it is called `floorhand`.",
            );
            components.add_security_scheme(SESSION, SecurityScheme::ApiKey(ApiKey::Cookie(session)));
        }
        for (path, item) in &mut document.paths.paths {
            for (method, operation) in [
                (Method::GET, &mut item.get),
                (Method::PUT, &mut item.put),
                (Method::POST, &mut item.post),
                (Method::DELETE, &mut item.delete),
            ] {
                if let (Some(operation), Some(need)) = (operation, routes::need(&method, path)) {
                    complete(operation, need);
                }
            }
        }
    }
}

fn scheme(kind: HttpAuthScheme, description: &str) -> SecurityScheme {
    SecurityScheme::Http(HttpBuilder::new().scheme(kind).description(Some(description)).build())
}

/// Adds who may ask and how they show it, on an open hub not at all, and the answers that its handler doesn't list.
fn complete(operation: &mut Operation, need: Need) {
    let role = need.role().map_or("none", Role::name);
    let is_guarded = need != Need::Public;
    let schemes: &[&str] = match need {
        Need::Public => &[],
        Need::Viewer => &[TOKEN, PASSWORD, SESSION],
        _ => &[TOKEN],
    };
    let mut ways = vec![SecurityRequirement::default()];
    ways.extend(schemes.iter().map(|name| SecurityRequirement::new(*name, [role])));
    operation.security = Some(ways);
    let said = operation.description.take().unwrap_or_default();
    let needs = if is_guarded {
        format!("Needs the role {role}.")
    } else {
        "Needs no role.".to_owned()
    };
    operation.description = Some(format!("{said}\n\n{needs}").trim_start().to_owned());
    let foreign = "a page of another site asks, or a hub on loopback is asked by another name";
    let forbidden = if is_guarded {
        format!("The token hasn't the role {role}; or {foreign}")
    } else {
        foreign.to_owned()
    };
    let has_body = operation.request_body.is_some();
    let has_parameters = operation.parameters.as_ref().is_some_and(|list| !list.is_empty());
    for (is_given, status, description) in [
        (
            has_body || has_parameters,
            "400",
            "A parameter or the body is not what it has to be",
        ),
        (is_guarded, "401", "The request shows no token that holds"),
        (true, "403", forbidden.as_str()),
        (has_body, "408", "The body didn't come in time"),
        (has_body, "413", "The body is longer than this hub takes"),
        (
            true,
            "429",
            "Too many requests, or wrong tokens; `Retry-After` says when to ask again",
        ),
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
