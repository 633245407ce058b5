//! Bundles with something large in them, and a hub's HTTP for those who move them.

use crate::{Hub, Site};
use anyhow::{Context as _, Result, ensure};
use floorhand_bundle::{Archive, BlobRef, Component, ComponentRole, Manifest, PublicKey};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

/// Bytes that don't compress, the same in every run.
#[must_use]
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

impl Site {
    /// A packed bundle with one more component, signed anew: a file that nothing reads.
    ///
    /// # Errors
    /// When a file can't be read or written.
    pub fn with_blob(&self, packed: &Path, bytes: &[u8]) -> Result<(PathBuf, BlobRef)> {
        let mut archive = Archive::read(fs::File::open(packed)?)?;
        let (mut manifest, _, _) = Manifest::inspect_unverified(&archive.manifest)?;
        let blob = BlobRef::of(bytes);
        manifest.components.push(Component {
            name: "large.bin".parse()?,
            role: ComponentRole::Asset,
            blob: blob.clone(),
        });
        archive.manifest = manifest.seal(&[&self.secret("release")?])?;
        archive.blobs.insert(blob.sha256, bytes.to_vec());
        let file = packed.with_extension("large.fhb");
        archive.write(fs::File::create(&file)?)?;
        Ok((file, blob))
    }

    /// A packed bundle with another model in place of its own, signed anew with what it said of the other.
    ///
    /// # Errors
    /// When a file can't be read or written.
    pub fn with_model(&self, packed: &Path, onnx: &[u8]) -> Result<PathBuf> {
        let mut archive = Archive::read(fs::File::open(packed)?)?;
        let (mut manifest, _, _) = Manifest::inspect_unverified(&archive.manifest)?;
        let blob = BlobRef::of(onnx);
        let is_model = |component: &&mut Component| component.role == ComponentRole::Model;
        let model = manifest.components.iter_mut().find(is_model);
        let before = std::mem::replace(&mut model.context("no model")?.blob, blob.clone());
        archive.manifest = manifest.seal(&[&self.secret("release")?])?;
        archive.blobs.remove(&before.sha256);
        archive.blobs.insert(blob.sha256, onnx.to_vec());
        let file = packed.with_extension("model.fhb");
        archive.write(fs::File::create(&file)?)?;
        Ok(file)
    }
}

impl Hub {
    /// Sends a request to its API, which has to be answered with success; the answer's body.
    ///
    /// # Errors
    /// When it isn't.
    pub fn http(&self, method: &str, path: &str, content_type: &str, body: &[u8]) -> Result<String> {
        let address = self.url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address)?;
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )?;
        stream.write_all(body)?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let (head, body) = text.split_once("\r\n\r\n").context("no answer")?;
        let status = head.split(' ').nth(1).unwrap_or_default();
        ensure!(status.starts_with('2'), "{method} {path}: {text}");
        Ok(body.to_owned())
    }

    /// Registers a device: for many at once, where a process for each would take long.
    ///
    /// # Errors
    /// When the hub refuses it.
    pub fn register(&self, device: &str, key: &PublicKey) -> Result<()> {
        let body = serde_json::json!({ "public_key_pem": key.to_pem()? }).to_string();
        let path = format!("/api/v1/devices/{device}");
        self.http("PUT", &path, "application/json", body.as_bytes()).map(drop)
    }

    /// One of its counters.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn counter(&self, name: &str) -> Result<u64> {
        let text = self.http("GET", "/metrics", "text/plain", &[])?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let value: f64 = line.with_context(|| format!("no {name} in {text}"))?.parse()?;
        Ok(value as u64)
    }
}
