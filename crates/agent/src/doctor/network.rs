//! Whether the brokers can be reached: name, port, TLS and MQTT, one after the other, so that the first that fails says
//! where to look.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use floorhand_transport::{self as transport, Client, Event};

use super::report::Report;
use crate::config::{Config, host_and_port};
use crate::exit::Exit;
use crate::local::Status;

/// A port that is there answers in one or two round trips, over a mobile link with a retransmission.
const TCP_TIMEOUT: Duration = Duration::from_secs(5);
/// TLS and CONNECT on top of it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The port has answered just before: what fails twice after that isn't the network's weather.
const TRIES: usize = 2;
/// Of a name's addresses, so many are tried.
const MAX_ADDRESSES: usize = 4;

pub(super) fn connections(config: &Config, agent: Option<&Status>, report: &mut Report) {
    match config.fleet_transport() {
        Some(fleet) => connection("hub", fleet, agent.map(|status| status.fleet_connected), report),
        None => report.ok("hub", "not configured: bundles are imported by hand"),
    }
    match config.plant_transport() {
        Ok(Some(plant)) => connection(
            "plant broker",
            plant,
            agent.map(|status| status.plant_connected),
            report,
        ),
        Ok(None) => {}
        Err(problem) => report.fail(
            "plant broker",
            Exit::Configuration,
            problem,
            "correct the password's file",
        ),
    }
}

/// `running` is what the running agent says of its connection. Where none runs, a connection is made.
fn connection(name: &'static str, config: transport::Config, running: Option<Option<bool>>, report: &mut Report) {
    match running {
        Some(Some(true)) => report.ok(name, format!("the agent is connected to {}", config.url)),
        _ if !port_answers(name, &config.url, report) => {}
        Some(Some(false)) => {
            let advice = "it tries again by itself; its log says why it can't (journalctl -u floorhand-agent)";
            report.fail(
                name,
                Exit::Unreachable,
                "the port answers, and the agent isn't connected",
                advice,
            );
        }
        Some(None) => {
            report.warn(
                name,
                "the agent that runs was started without it",
                "restart it to take the configuration over",
            );
        }
        None => handshake(name, config, report),
    }
}

fn port_answers(name: &'static str, url: &str, report: &mut Report) -> bool {
    let Some((host, port)) = host_and_port(url) else {
        report.fail(
            name,
            Exit::Configuration,
            format!("{url} is no address"),
            "correct `broker`",
        );
        return false;
    };
    let addresses: Vec<SocketAddr> = match (host.as_str(), port).to_socket_addrs() {
        Ok(addresses) => addresses.take(MAX_ADDRESSES).collect(),
        Err(error) => {
            let finding = format!("{host} isn't known: {error}");
            report.fail(
                name,
                Exit::Unreachable,
                finding,
                "check the network, its name server, and the name in `broker`",
            );
            return false;
        }
    };
    let mut last = "it has no address".to_owned();
    for address in &addresses {
        match TcpStream::connect_timeout(address, TCP_TIMEOUT) {
            Ok(_) => return true,
            Err(error) => last = format!("{address}: {error}"),
        }
    }
    let advice = "check that the broker runs, and that no firewall is in between";
    report.fail(
        name,
        Exit::Unreachable,
        format!("{host}, port {port}, doesn't answer: {last}"),
        advice,
    );
    false
}

/// Connects as the agent would, and disconnects in order.
fn handshake(name: &'static str, config: transport::Config, report: &mut Report) {
    let url = config.url.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(connect(config)),
        Err(error) => Err(error.to_string()),
    };
    match outcome {
        Ok(()) => report.ok(name, format!("the broker {url} takes this device")),
        Err(problem) => {
            let advice = "check certificates on both sides, and the broker's log";
            report.fail(
                name,
                Exit::Unreachable,
                format!("{url} answers, and doesn't connect: {problem}"),
                advice,
            );
        }
    }
}

async fn connect(config: transport::Config) -> Result<(), String> {
    let (client, mut incoming) = Client::start(config).map_err(|error| error.to_string())?;
    let mut reason = format!("no answer within {} s", CONNECT_TIMEOUT.as_secs());
    let connected = async {
        for _ in 0..TRIES {
            match incoming.recv().await {
                // The next isn't asked for: the session's messages stay the agent's.
                Some(Event::Connected { .. } | Event::Message(_) | Event::Refused { .. }) => return true,
                Some(Event::Retrying { reason: why, .. } | Event::Disconnected { reason: why }) => reason = why,
                None => return false,
            }
        }
        false
    };
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, connected).await.unwrap_or(false);
    client.shutdown(Duration::from_secs(2)).await;
    if connected { Ok(()) } else { Err(reason) }
}

#[cfg(test)]
mod tests {
    use super::super::report::Verdict;
    use super::*;
    use std::net::TcpListener;

    /// Checks a connection, and returns what was found.
    fn check(config: transport::Config, running: Option<Option<bool>>) -> (Verdict, String) {
        let mut report = Report::default();
        connection("hub", config, running, &mut report);
        let [check] = report.checks.try_into().unwrap();
        (check.verdict, check.finding)
    }

    #[test]
    fn where_it_fails_is_told() {
        let config = |port: u16| transport::Config::new(format!("mqtt://127.0.0.1:{port}"), "press-01");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (verdict, finding) = check(config(port), Some(Some(true)));
        assert_eq!(
            (verdict, finding),
            (
                Verdict::Ok,
                format!("the agent is connected to mqtt://127.0.0.1:{port}")
            )
        );
        let (verdict, finding) = check(config(port), Some(Some(false)));
        assert!(
            verdict == Verdict::Fail && finding.starts_with("the port answers"),
            "{finding}"
        );
        drop(listener);
        let (verdict, finding) = check(config(port), None);
        assert!(
            verdict == Verdict::Fail && finding.contains("doesn't answer: 127.0.0.1"),
            "{finding}"
        );
        let (verdict, finding) = check(transport::Config::new("mqtt://nowhere.invalid", "press-01"), None);
        assert!(
            verdict == Verdict::Fail && finding.starts_with("nowhere.invalid isn't known"),
            "{finding}"
        );
    }

    #[test]
    fn a_server_that_hangs_up_is_no_broker() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        // Ends with the test's process.
        std::thread::spawn(move || listener.incoming().for_each(drop));
        let config = transport::Config::new(format!("mqtt://127.0.0.1:{port}"), "press-01");
        let (verdict, finding) = check(config, None);
        assert!(
            verdict == Verdict::Fail && finding.contains("answers, and doesn't connect"),
            "{finding}"
        );
    }

    #[test]
    fn a_broker_takes_its_own_and_the_reason_for_a_refusal_is_told() {
        use floorhand_testkit::{Mosquitto, MosquittoConfig, MosquittoTls, Pki};
        let (pki, foreign) = (Pki::new().unwrap(), Pki::new().unwrap());
        let config = MosquittoConfig {
            tls: Some(MosquittoTls::issued_by(&pki).unwrap()),
            ..MosquittoConfig::default()
        };
        let Some(broker) = Mosquitto::start_or_skip(config) else {
            return;
        };
        let device = pki.issue("press-01").unwrap();
        let with_ca = |ca| transport::Config {
            tls: Some(transport::TlsFiles::mutual(ca, &device.cert, &device.key)),
            ..transport::Config::new(broker.url(), "press-01")
        };
        let (verdict, finding) = check(with_ca(pki.ca()), None);
        assert!(
            verdict == Verdict::Ok && finding.ends_with("takes this device"),
            "{finding}"
        );
        let (verdict, finding) = check(with_ca(foreign.ca()), None);
        assert!(verdict == Verdict::Fail && finding.contains("certificate"), "{finding}");
    }
}
