//! A broker's address: `mqtt://host[:port]` or `mqtts://host[:port]`, and nothing more. No user, password, path or query
//! in it: what is secret has its own place in the configuration.

use std::str::FromStr;

const PLAIN_PORT: u16 = 1883;
const TLS_PORT: u16 = 8883;

/// Where a broker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BrokerUrl {
    pub(crate) tls: bool,
    /// A name, an IPv4 address, or an IPv6 address without its brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl FromStr for BrokerUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let (scheme, rest) = text
            .split_once("://")
            .ok_or("it has to begin with mqtt:// or mqtts://")?;
        let tls = match scheme {
            "mqtt" => false,
            "mqtts" => true,
            _ => return Err("only mqtt:// and mqtts:// are known"),
        };
        if rest.contains('@') {
            return Err("user and password don't belong here, they have their own keys");
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = split_host(rest)?;
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
        if host.is_empty() || !host.chars().all(known) {
            return Err("the host is missing or has a character that no host has");
        }
        let port = match port {
            None if tls => TLS_PORT,
            None => PLAIN_PORT,
            Some(port) => port
                .parse()
                .ok()
                .filter(|port| *port > 0)
                .ok_or("the port has to be 1 to 65535")?,
        };
        Ok(Self {
            tls,
            host: host.to_owned(),
            port,
        })
    }
}

/// Host and, where there is one, port. An IPv6 address stands in brackets.
fn split_host(text: &str) -> Result<(&str, Option<&str>), &'static str> {
    if let Some(inner) = text.strip_prefix('[') {
        let (host, rest) = inner.split_once(']').ok_or("an IPv6 address has to end with ]")?;
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err("after an IPv6 address only a port may follow"),
        };
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return Ok((text, None));
    };
    if host.contains(':') {
        return Err("an IPv6 address has to stand in brackets");
    }
    Ok((host, Some(port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        let check = |text: &str, tls, host: &str, port| {
            assert_eq!(
                text.parse(),
                Ok(BrokerUrl {
                    tls,
                    host: host.to_owned(),
                    port
                }),
                "{text}"
            );
        };
        check("mqtt://localhost", false, "localhost", 1883);
        check("mqtts://broker.plant-a.example", true, "broker.plant-a.example", 8883);
        check("mqtt://10.0.0.1:2000/", false, "10.0.0.1", 2000);
        check("mqtts://[fe80::1]:8884", true, "fe80::1", 8884);
        check("mqtts://[::1]", true, "::1", 8883);
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "localhost",
            "localhost:1883",
            "http://x",
            "mqtt://",
            "mqtt://:1883",
            "mqtt://x:0",
            "mqtt://x:65536",
            "mqtt://x:port",
            "mqtt://user:secret@x",
            "mqtt://x/path",
            "mqtt://::1",
            "mqtt://[::1",
            "mqtt://[::1]x",
            "mqtt://a b",
        ] {
            assert!(text.parse::<BrokerUrl>().is_err(), "{text}");
        }
    }
}
