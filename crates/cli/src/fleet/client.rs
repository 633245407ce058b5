//! The hub's HTTP API, as far as the command line needs it: JSON in, JSON out, and errors in the hub's own words.

use crate::exit::{Exit, Failure};
use crate::files;
use anyhow::{Context, Result};
use clap::Args;
use serde_json::Value;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use ureq::http::{Response, StatusCode};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body, RequestBuilder, SendBody};

/// A hub that doesn't take a connection in this time is down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Answers wait for devices at most this much shorter; beyond it the hub is stuck.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
/// The largest JSON that is read: a thousand devices with all they say about themselves.
const MAX_JSON_BYTES: u64 = 32 * 1024 * 1024;
/// The largest file that is read: an archive at its limit.
const MAX_FILE_BYTES: u64 = 1024 * 1024 * 1024;

/// Where the hub is and how to be let in.
#[derive(Debug, Clone, Args)]
pub struct HubOptions {
    /// The hub's address
    #[arg(
        long,
        value_name = "URL",
        env = "FLOORHAND_HUB",
        default_value = "http://127.0.0.1:8460",
        global = true,
        help_heading = "Hub"
    )]
    pub hub: String,
    /// The operator's token, where the hub asks for one
    #[arg(
        long,
        value_name = "TOKEN",
        env = "FLOORHAND_TOKEN",
        hide_env_values = true,
        global = true,
        help_heading = "Hub"
    )]
    pub token: Option<String>,
    /// The certificate of the CA that an https:// hub's certificate is from (PEM)
    #[arg(
        long,
        value_name = "FILE",
        env = "FLOORHAND_HUB_CA",
        global = true,
        help_heading = "Hub"
    )]
    pub hub_ca: Option<PathBuf>,
}

/// A hub to be asked.
#[derive(Debug, Clone)]
pub struct Hub {
    agent: Agent,
    base: String,
    token: Option<String>,
}

impl Hub {
    /// A hub at an address. Nothing is sent yet.
    pub fn new(options: &HubOptions) -> Result<Self> {
        let base = options.hub.trim_end_matches('/').to_owned();
        let tls = match (base.split_once("://"), &options.hub_ca) {
            (Some(("http", _)), _) => None,
            (Some(("https", _)), Some(ca)) => Some(tls(ca)?),
            (Some(("https", _)), None) => {
                return Err(
                    Failure::usage("an https:// hub needs --hub-ca, the CA that its certificate is from").into(),
                );
            }
            _ => return Err(Failure::usage(format!("--hub {base} is no http:// or https:// address")).into()),
        };
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(ANSWER_TIMEOUT))
            .user_agent(concat!("floorhand/", env!("CARGO_PKG_VERSION")));
        let config = match tls {
            Some(tls) => config.tls_config(tls),
            None => config,
        };
        Ok(Self {
            agent: config.build().new_agent(),
            base,
            token: options.token.clone(),
        })
    }

    /// Asks for JSON.
    pub fn get(&self, path: &str) -> Result<Value> {
        self.json(self.authorized(self.agent.get(self.url(path))).call())
    }

    /// Asks the hub to do something.
    pub fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.json(self.authorized(self.agent.post(self.url(path))).send_json(body))
    }

    /// Sets something.
    pub fn put(&self, path: &str, body: &Value) -> Result<Value> {
        self.json(self.authorized(self.agent.put(self.url(path))).send_json(body))
    }

    /// Removes something.
    pub fn delete(&self, path: &str) -> Result<Value> {
        self.json(self.authorized(self.agent.delete(self.url(path))).call())
    }

    /// Sends the bytes of a file.
    pub fn upload(&self, path: &str, reader: impl Read + 'static, length: u64) -> Result<Value> {
        let request = self
            .authorized(self.agent.post(self.url(path)))
            .header("content-type", "application/octet-stream")
            .header("content-length", length.to_string());
        self.json(request.send(SendBody::from_owned_reader(reader)))
    }

    /// Fetches a file.
    pub fn download(&self, path: &str) -> Result<Vec<u8>> {
        let mut response = self.answered(self.authorized(self.agent.get(self.url(path))).call())?;
        response
            .body_mut()
            .with_config()
            .limit(MAX_FILE_BYTES)
            .read_to_vec()
            .with_context(|| format!("hub {} broke off its answer", self.base))
    }

    fn url(&self, path: &str) -> String {
        format!("{}/api/v1/{path}", self.base)
    }

    fn authorized<B>(&self, request: RequestBuilder<B>) -> RequestBuilder<B> {
        match &self.token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    fn json(&self, answer: Result<Response<Body>, ureq::Error>) -> Result<Value> {
        let mut response = self.answered(answer)?;
        let text = response
            .body_mut()
            .with_config()
            .limit(MAX_JSON_BYTES)
            .read_to_string()
            .with_context(|| format!("hub {} broke off its answer", self.base))?;
        if text.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text)
            .with_context(|| format!("{} answers with something else than a hub does", self.base))
    }

    /// An answer that says yes.
    fn answered(&self, answer: Result<Response<Body>, ureq::Error>) -> Result<Response<Body>> {
        let mut response = answer.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = response
            .body_mut()
            .with_config()
            .limit(MAX_JSON_BYTES)
            .read_to_string()
            .unwrap_or_default();
        Err(self.refused(status, &text))
    }

    fn unreachable(&self, error: &ureq::Error) -> anyhow::Error {
        let base = &self.base;
        let message = format!("hub {base} can't be reached: {error}; is it running, and is --hub right?");
        Failure::new(Exit::Unreachable, message).into()
    }

    fn refused(&self, status: StatusCode, body: &str) -> anyhow::Error {
        let said = serde_json::from_str::<Value>(body)
            .ok()
            .and_then(|json| json.get("error")?.as_str().map(str::to_owned))
            .unwrap_or_else(|| format!("hub {} answers {status}", self.base));
        let failure = match status {
            StatusCode::UNAUTHORIZED => Failure::refused(format!(
                "hub {} doesn't let you in: {said}; give a token with --token or FLOORHAND_TOKEN",
                self.base
            )),
            StatusCode::FORBIDDEN | StatusCode::UNPROCESSABLE_ENTITY => Failure::refused(said),
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Failure::new(Exit::Unreachable, said),
            _ => Failure::new(Exit::Failed, said),
        };
        failure.into()
    }
}

/// TLS that trusts one CA and nobody else: hubs have certificates of their plant, not of the public web.
fn tls(ca: &Path) -> Result<TlsConfig> {
    let pem = files::read(ca, files::MAX_SMALL_BYTES)?;
    let certificate = Certificate::from_pem(&pem).with_context(|| format!("{} is no certificate", ca.display()))?;
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&[certificate]))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build())
}

/// A piece of a path, as a URL has it.
pub fn encoded(segment: &str) -> String {
    let mut encoded = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
