//! The Open Inference Protocol v2, for programs on this machine or near it: HTTP and gRPC in front of the serving thread.
//!
//! Owns the listeners, their bounds, and who may ask. What the protocol is, is `floorhand-open-inference`'s; what a
//! request's samples go through is what those of every other source go through, on the same thread and by the same code.
//! Nothing here waits for anything but the network and the serving thread, and the serving thread waits for nothing here.
//!
//! A request's way: [`listen`] takes the connection, [`http`] or [`grpc`] the request, [`front`] its body, within the room
//! that there is; a [`job::Job`] goes into the serving thread's queue, where [`rows`] takes it apart into samples; the answer
//! comes back by a channel. [`catalogue`] is what can be asked without that thread.

pub(crate) mod catalogue;
mod front;
mod grpc;
mod http;
pub(crate) mod job;
mod listen;
mod reply;
pub(crate) mod room;
pub(crate) mod rows;
mod timed;
pub(crate) mod tls;

use crate::config::OpenInference;
use crate::serving::ServeSender;
use catalogue::Catalogue;
use front::Front;
use listen::{Bound, Spoken};
use rustls::ServerConfig;
use std::sync::Arc;

/// Listeners that are bound and don't answer yet.
pub(crate) struct Listeners {
    section: OpenInference,
    bound: Vec<(Bound, Spoken, Option<Arc<ServerConfig>>)>,
}

impl Listeners {
    /// Binds what the configuration names. The error says what can't be had.
    pub(crate) async fn bind(section: Option<&OpenInference>) -> Result<Option<Self>, String> {
        let Some(section) = section else { return Ok(None) };
        let wanted = [
            ("http_listen", &section.http_listen, Spoken::Http),
            ("grpc_listen", &section.grpc_listen, Spoken::Grpc),
        ];
        let mut bound = Vec::new();
        for (key, listen, spoken) in wanted {
            let Some(listen) = listen else { continue };
            let tls = tls::open(section, &[spoken.protocol()])
                .map_err(|(key, problem)| format!("`open_inference.{key}` {problem}"))?;
            let opened = Bound::open(listen).await.map_err(|error| {
                format!("`open_inference.{key}` is {listen}, which can't be listened on: {error}; name another, or end what is there")
            })?;
            tracing::info!(%listen, tls = tls.is_some(), protocol = ?spoken, "the Open Inference Protocol is spoken");
            bound.push((opened, spoken, tls));
        }
        Ok(Some(Self {
            section: section.clone(),
            bound,
        }))
    }

    /// Answers from now on, within the current runtime, until that ends.
    pub(crate) fn serve(self, catalogue: Arc<Catalogue>, serving: ServeSender) -> Result<(), String> {
        let front = Front::new(&self.section, catalogue, serving)?;
        let front = Arc::new(front);
        let most = usize::try_from(self.section.max_connections).unwrap_or(usize::MAX);
        for (bound, spoken, tls) in self.bound {
            tokio::spawn(listen::serve(bound, spoken, tls, Arc::clone(&front), most));
        }
        Ok(())
    }
}
