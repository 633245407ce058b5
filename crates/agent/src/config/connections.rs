//! The two connections. They share code and never a session: the fleet's goes to the hub's broker under the device's
//! identity, the plant's to the plant's own broker.

use std::path::{Path, PathBuf};
use std::time::Duration;

use floorhand_transport as transport;
use serde::Serialize;

use super::Config;
use super::files::read_limited;

/// User names and passwords are bounded by MQTT at 64 KiB; a longer file is another file.
const MAX_PASSWORD_BYTES: u64 = 64 << 10;

/// The connection to the hub: section `[fleet_connection]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FleetConnection {
    /// The broker, `mqtts://HOST[:PORT]`; `mqtt://` on this machine alone. Required. Example:
    /// `"mqtts://hub.example:8883"`.
    pub broker: String,
    /// The CA that the broker's certificate has to be from, PEM. Required with `mqtts://`. Example:
    /// `"/etc/floorhand/ca.pem"`.
    pub ca: Option<PathBuf>,
    /// The device's certificate, PEM. Required with `mqtts://`. Example: `"/etc/floorhand/device.pem"`.
    pub cert: Option<PathBuf>,
    /// The certificate's key, PEM. Required with `mqtts://`. Example: `"/etc/floorhand/device-tls.key"`.
    pub key: Option<PathBuf>,
    /// Seconds of silence after which a ping goes out. 5 to 65,535. Default: 30.
    pub keep_alive_s: u64,
    /// Renews the certificate through the hub before it ends. `cert` and `key` have to be one file, as `floorhand-agent
    /// enroll` makes it, in a folder that the agent may write to. Default: false.
    pub renew: bool,
    /// Takes `mqtt://` to another machine: everybody on the way can read along and cut in, and the broker doesn't know
    /// who is who. What is signed stays signed. Default: false.
    pub without_encryption_or_identity: bool,
}

/// The connection to the plant's broker: section `[plant_connection]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlantConnection {
    /// The broker, `mqtt://HOST[:PORT]` or `mqtts://HOST[:PORT]`. Required. Example: `"mqtt://127.0.0.1:1883"`.
    pub broker: String,
    /// The CA that the broker's certificate has to be from, PEM. Required with `mqtts://`. Example:
    /// `"/etc/floorhand/plant-ca.pem"`.
    pub ca: Option<PathBuf>,
    /// A certificate for a broker that asks for one, PEM. Default: none. Example: `"/etc/floorhand/plant.pem"`.
    pub cert: Option<PathBuf>,
    /// The certificate's key, PEM. Default: none. Example: `"/etc/floorhand/plant.key"`.
    pub key: Option<PathBuf>,
    /// The user name, where the broker asks for one. Default: none. Example: `"press-01"`.
    pub username: Option<String>,
    /// A file whose first line is the password. Default: none. Example: `"/etc/floorhand/plant.password"`.
    pub password_file: Option<PathBuf>,
    /// Who the agent is to the broker. Default: the device's name and `-plant`. Example: `"press-01-plant"`.
    pub client_id: String,
    /// Seconds of silence after which a ping goes out. 5 to 65,535. Default: 30.
    pub keep_alive_s: u64,
    /// Takes a password over `mqtt://` to another machine, where everybody on the way can read it. Default: false.
    pub send_password_unencrypted: bool,
}

impl Config {
    /// The fleet connection, for the transport. The client id is the device's name; a last will is the caller's to add.
    #[must_use]
    pub fn fleet_transport(&self) -> Option<transport::Config> {
        let fleet = self.fleet_connection.as_ref()?;
        Some(transport::Config {
            tls: tls_files(&fleet.ca, &fleet.cert, &fleet.key),
            keep_alive: Duration::from_secs(fleet.keep_alive_s),
            ..transport::Config::new(&fleet.broker, self.device.as_str())
        })
    }

    /// The plant connection, for the transport, with its password read.
    ///
    /// # Errors
    /// When the password's file can't be read, in words that fit behind the file's key.
    pub fn plant_transport(&self) -> Result<Option<transport::Config>, String> {
        let Some(plant) = &self.plant_connection else {
            return Ok(None);
        };
        let password = plant.password_file.as_deref().map(read_password).transpose()?;
        let credentials = plant.username.clone().map(|user| (user, password.unwrap_or_default()));
        Ok(Some(transport::Config {
            tls: tls_files(&plant.ca, &plant.cert, &plant.key),
            keep_alive: Duration::from_secs(plant.keep_alive_s),
            credentials,
            ..transport::Config::new(&plant.broker, &plant.client_id)
        }))
    }
}

pub(crate) fn tls_files(
    ca: &Option<PathBuf>,
    cert: &Option<PathBuf>,
    key: &Option<PathBuf>,
) -> Option<transport::TlsFiles> {
    let identity = cert.clone().zip(key.clone());
    ca.clone().map(|ca| transport::TlsFiles {
        ca,
        identity: identity.map(|(cert, key)| transport::ClientIdentity { cert, key }),
    })
}

fn read_password(path: &Path) -> Result<String, String> {
    let bytes = read_limited(path, MAX_PASSWORD_BYTES)?;
    let text = String::from_utf8(bytes).map_err(|_| format!("{} is not text in UTF-8", path.display()))?;
    match text.lines().next().unwrap_or_default() {
        "" => Err(format!("{} has no password in its first line", path.display())),
        password => Ok(password.to_owned()),
    }
}

/// Host and port of an address, with the port that goes without saying. `None` when it is no address; the transport says
/// why.
pub(crate) fn host_and_port(url: &str) -> Option<(String, u16)> {
    let (scheme, rest) = url.split_once("://")?;
    let default_port = if scheme == "mqtts" { 8883 } else { 1883 };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = match rest.strip_prefix('[') {
        Some(inner) => {
            let (host, rest) = inner.split_once(']')?;
            (host, rest.strip_prefix(':'))
        }
        None => rest
            .rsplit_once(':')
            .map_or((rest, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map_or(Some(default_port), |port| port.parse().ok())?;
    Some((host.to_ascii_lowercase(), port))
}

/// Whether what is sent there stays on this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}
