//! EMQX 5: `emqx.conf` and `acl.conf`.
//!
//! Written after its documentation (5.8) and not run by our tests, which have no EMQX: try the rows of
//! `tests/tests/broker_matrix.rs` on your own before you rely on it. The file says so, too.

use super::{BrokerConfigArgs, ConfigFile, MAX_INFLIGHT, MAX_PACKET_BYTES, MAX_QUEUED_MESSAGES, path_or};
use crate::authority::StaffName;
use std::fmt::Write as _;

pub(super) fn files(args: &BrokerConfigArgs) -> [ConfigFile; 2] {
    [
        ConfigFile {
            name: "emqx.conf",
            text: format!("{}{}", listener(args), limits(args)),
        },
        ConfigFile {
            name: "acl.conf",
            text: acl(args),
        },
    ]
}

/// Who is let in.
fn listener(args: &BrokerConfigArgs) -> String {
    let fleet = &args.fleet;
    let bind = match args.bind {
        Some(address) => std::net::SocketAddr::new(address, args.port).to_string(),
        None => format!("0.0.0.0:{}", args.port),
    };
    let cafile = path_or(&args.ca, "/etc/emqx/certs/fleet-ca.pem");
    let certfile = path_or(&args.cert, "/etc/emqx/certs/broker.pem");
    let keyfile = path_or(&args.key, "/etc/emqx/certs/broker.key");
    let connections = args.max_connections;
    format!(
        "\
# The broker of fleet {fleet}, written by `floorhand hub broker-config emqx` for EMQX 5. Put it into emqx.conf behind the
# sections `node` and `cluster`, which are yours. It was written after EMQX's documentation and not tried by Floorhand's
# tests: try what has to be denied before you rely on it.

# TLS on this port. The listeners that EMQX opens by itself are closed: nothing is spoken in the clear.
listeners.tcp.default.enable = false
listeners.ws.default.enable = false
listeners.wss.default.enable = false
listeners.ssl.default {{
  # The port, and how many connections at a time.
  bind = \"{bind}\"
  max_connections = {connections}

  # The certificate is all that says who somebody is; there are no passwords to ask for.
  enable_authn = false

  # Who connects has a certificate of the fleet's CA. Name no other CA here: whoever it signs for could be anybody.
  ssl_options {{
    cacertfile = \"{cafile}\"
    certfile = \"{certfile}\"
    keyfile = \"{keyfile}\"
    verify = verify_peer
    fail_if_no_peer_cert = true

    # The oldest version of TLS that is spoken.
    versions = [\"tlsv1.3\", \"tlsv1.2\"]
  }}
}}
"
    )
}

/// As whom, how much, and with which rights.
fn limits(args: &BrokerConfigArgs) -> String {
    let acl = path_or(&args.acl, "/etc/emqx/acl.conf");
    let packet_kib = MAX_PACKET_BYTES / 1024;
    format!(
        "
# Who somebody is, and the limits of the protocol.
mqtt {{
  # The certificate's common name is who it is, and the client id as well, whatever the client says: otherwise one device's
  # certificate could take over the session of another, and with it what is queued there.
  peer_cert_as_username = cn
  peer_cert_as_clientid = cn

  # The largest packet of the protocol: what is larger ends the connection.
  max_packet_size = {packet_kib}KB

  # What waits for a client that is away or slow, at most: all that hub and devices send is sent again when it is missed.
  max_mqueue_len = {MAX_QUEUED_MESSAGES}
  max_inflight = {MAX_INFLIGHT}

  # A session that nobody came back to is forgotten.
  session_expiry_interval = 7d

  # Hubs may share the load of what devices send.
  shared_subscription = true
}}

# Retained messages are needed for assignments (down/assign), one for each device. Their number is bounded.
retainer {{
  enable = true
  max_payload_size = {packet_kib}KB
  backend {{
    type = built_in_database
    storage_type = disc
    max_retained_messages = 100000
  }}
}}

# Who may read and write what.
authorization {{
  # What isn't listed is denied, and who tries it keeps the connection: an old agent must not be cut off for one topic.
  no_match = deny
  deny_action = ignore

  # The access list, and nothing beside it.
  sources = [
    {{ type = file, enable = true, path = \"{acl}\" }}
  ]
}}
"
    )
}

fn acl(args: &BrokerConfigArgs) -> String {
    let fleet = &args.fleet;
    let mut text = format!(
        "\
%% Who may read and write what on the broker of fleet {fleet}: the first rule that fits decides.
%%
%% ${{clientid}} is the common name of the certificate (mqtt.peer_cert_as_clientid = cn). A name with + or # or a slash would
%% reach beyond its own topics: what keeps such names away is the fleet's CA, which signs none.

%% Nobody who has such a name after all.
{{deny, {{clientid, {{re, \"[^A-Za-z0-9_.-]\"}}}}, all, [\"#\", \"$SYS/#\"]}}.
"
    );
    for hub in &args.hubs {
        let rules = [
            ("subscribe", format!("fh/v1/{fleet}/d/+/up/#")),
            ("publish", format!("fh/v1/{fleet}/d/+/down/#")),
            ("publish", format!("fh/v1/{fleet}/blob/#")),
        ];
        let why = "%% A hub: reads what devices say, speaks to them, sends blobs. What it says is signed as well.";
        section(&mut text, why, hub, &rules);
    }
    for observer in &args.observers {
        let rules = [("subscribe", format!("fh/v1/{fleet}/d/+/up/#"))];
        section(
            &mut text,
            "%% Somebody who watches: sees what devices say, and sends nothing.",
            observer,
            &rules,
        );
    }
    for operator in &args.operators {
        let rules = [("subscribe", "#".to_owned()), ("subscribe", "$SYS/#".to_owned())];
        let why = "%% An operator: sees everything, the broker's own figures too, and sends nothing.";
        section(&mut text, why, operator, &rules);
    }
    // Writing to a text can't fail.
    let _ = write!(
        text,
        "
%% Nobody else keeps a message at the broker: that is for assignments alone (EMQX 5.1.1 or later).
{{deny, all, {{publish, [{{retain, true}}]}}, [\"#\"]}}.

%% Everybody else is a device: reads what the hub says to it, and blobs; writes what it says to the hub.
{{allow, all, subscribe, [\"fh/v1/{fleet}/d/${{clientid}}/down/#\", \"fh/v1/{fleet}/blob/#\"]}}.
{{allow, all, publish, [\"fh/v1/{fleet}/d/${{clientid}}/up/#\"]}}.

%% And nothing else.
{{deny, all}}.
"
    );
    text
}

fn section(text: &mut String, why: &str, name: &StaffName, rules: &[(&str, String)]) {
    let _ = writeln!(text, "\n{why}");
    for (action, topic) in rules {
        let _ = writeln!(text, "{{allow, {{clientid, \"{name}\"}}, {action}, [\"{topic}\"]}}.");
    }
}
