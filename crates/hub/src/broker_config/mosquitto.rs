//! Mosquitto 2: `mosquitto.conf`, to stand in the place of the package's own, and `floorhand.acl`.
//!
//! Tried with 2.0.11; `tests/tests/broker_matrix.rs` runs a broker with these very files.

use super::{
    BrokerConfigArgs, ConfigFile, MAX_INFLIGHT, MAX_PACKET_BYTES, MAX_QUEUED_BYTES, MAX_QUEUED_MESSAGES, path_or,
};
use std::fmt::Write as _;

pub(super) fn files(args: &BrokerConfigArgs) -> [ConfigFile; 2] {
    [
        ConfigFile {
            name: "mosquitto.conf",
            text: format!("{}{}", identities(args), limits(args)),
        },
        ConfigFile {
            name: "floorhand.acl",
            text: acl(args),
        },
    ]
}

/// Who is let in, as whom, and with which rights.
fn identities(args: &BrokerConfigArgs) -> String {
    let listener = match args.bind {
        Some(address) => format!("listener {} {address}", args.port),
        None => format!("listener {}", args.port),
    };
    let acl = path_or(&args.acl, "/etc/mosquitto/floorhand.acl");
    let cafile = path_or(&args.ca, "/etc/mosquitto/certs/fleet-ca.pem");
    let certfile = path_or(&args.cert, "/etc/mosquitto/certs/broker.pem");
    let keyfile = path_or(&args.key, "/etc/mosquitto/certs/broker.key");
    let crl = args.crl.as_ref().map_or_else(String::new, |crl| {
        format!(
            "
# Certificates that were revoked. The list is read when the broker starts and at SIGHUP, and it ends: an old one lets
# nobody in.
crlfile {}
",
            crl.display()
        )
    });
    let fleet = &args.fleet;
    format!(
        "\
# The broker of fleet {fleet}, written by `floorhand hub broker-config mosquitto`. It stands in the place of
# /etc/mosquitto/mosquitto.conf; a file beside it that is included could open what is closed here.

# TLS on this port, and no other listener: nothing is spoken in the clear.
{listener}

# Who connects has a certificate of the fleet's CA. Name no other CA here: whoever it signs for could be anybody.
cafile {cafile}
certfile {certfile}
keyfile {keyfile}
require_certificate true
{crl}
# The oldest version of TLS that is spoken.
tls_version tlsv1.2

# The certificate's common name is who it is; a user name in the CONNECT packet counts for nothing.
use_identity_as_username true

# The client id is that name as well, whatever the client says: otherwise one device's certificate could take over the
# session of another, and with it what is queued there.
use_username_as_clientid true

# Nobody without a name, and nobody without an id.
allow_anonymous false
allow_zero_length_clientid false

# Who may read and write what. What isn't in there is denied, $SYS too.
acl_file {acl}

# A retained message is held against the rights of who wrote it again when it is delivered.
check_retain_source true

# Retained messages are needed for assignments (down/assign). A device can set the flag on its own up/ topics, which no
# access list can forbid: hubs let such messages go by.
retain_available true

"
    )
}

/// How much, how large, how long.
fn limits(args: &BrokerConfigArgs) -> String {
    let data = args.data.display().to_string();
    let data = data.trim_end_matches('/');
    let connections = args.max_connections;
    format!(
        "\
# The largest packet of the protocol: what is larger ends the connection.
max_packet_size {MAX_PACKET_BYTES}

# What waits for a client that is away or slow, at most: all that hub and devices send is sent again when it is missed.
max_queued_messages {MAX_QUEUED_MESSAGES}
max_queued_bytes {MAX_QUEUED_BYTES}
max_inflight_messages {MAX_INFLIGHT}

# Connections at a time: each costs memory and a file descriptor.
max_connections {connections}

# A client that is gone without a word is known to be gone within one and a half times this, in seconds.
max_keepalive 600

# Sessions outlive a restart of the broker; one that nobody came back to is forgotten.
persistence true
persistence_location {data}/
autosave_interval 300
persistent_client_expiration 7d

# Chunks and commands are small, and waited for.
set_tcp_nodelay true

# What an operator needs to see: who comes and goes, and what is denied.
log_dest stderr
log_type error
log_type warning
log_type notice
log_type information
connection_messages true
"
    )
}

fn acl(args: &BrokerConfigArgs) -> String {
    let fleet = &args.fleet;
    let mut text = format!(
        "\
# Who may read and write what on the broker of fleet {fleet}. What isn't listed is denied.
#
# `%u` is the common name of the certificate. Mosquitto itself denies everything to a name with + or # in it, but not to one
# with a slash: what keeps such names away is the fleet's CA, which signs none.

# Everybody, so every device: reads what the hub says to it, and blobs; writes what it says to the hub.
pattern read  fh/v1/{fleet}/d/%u/down/#
pattern read  fh/v1/{fleet}/blob/#
pattern write fh/v1/{fleet}/d/%u/up/#
"
    );
    for hub in &args.hubs {
        section(
            &mut text,
            &format!(
                "# A hub: reads what devices say, speaks to them, sends blobs. What it says is signed as well.\nuser {hub}"
            ),
            &[
                format!("topic read  fh/v1/{fleet}/d/+/up/#"),
                format!("topic write fh/v1/{fleet}/d/+/down/#"),
                format!("topic write fh/v1/{fleet}/blob/#"),
            ],
        );
    }
    for observer in &args.observers {
        section(
            &mut text,
            &format!("# Somebody who watches: sees what devices say, and sends nothing.\nuser {observer}"),
            &[format!("topic read  fh/v1/{fleet}/d/+/up/#")],
        );
    }
    for operator in &args.operators {
        section(
            &mut text,
            &format!(
                "# An operator: sees everything, the broker's own figures too, and sends nothing.\nuser {operator}"
            ),
            &["topic read  #".to_owned(), "topic read  $SYS/#".to_owned()],
        );
    }
    text
}

fn section(text: &mut String, head: &str, lines: &[String]) {
    // Writing to a text can't fail.
    let _ = writeln!(text, "\n{head}\n{}", lines.join("\n"));
}
