//! What went wrong with a connection, in words that say what to look at.

use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, DisconnectReasonCode};
use rumqttc::v5::{ConnectionError, StateError, TlsError};

/// Explains why a connection ended or couldn't be made.
pub(crate) fn explain(error: &ConnectionError) -> String {
    match error {
        ConnectionError::ConnectionRefused(code) => format!("the broker refused the connection: {}", refusal(*code)),
        ConnectionError::Timeout(_) => "the broker didn't answer in time".to_owned(),
        ConnectionError::Io(error) => io(error),
        ConnectionError::Tls(TlsError::Io(error)) => io(error),
        ConnectionError::Tls(TlsError::TLS(error)) => tls(error),
        ConnectionError::MqttState(error) => state(error),
        other => other.to_string(),
    }
}

fn refusal(code: ConnectReturnCode) -> String {
    use ConnectReturnCode as C;
    match code {
        C::NotAuthorized | C::BadUserNamePassword => {
            "not authorised; check the certificate or the user name and password".to_owned()
        }
        C::ClientIdentifierNotValid | C::BadClientId => "it doesn't accept this client id".to_owned(),
        C::Banned => "this client is banned".to_owned(),
        C::UnsupportedProtocolVersion | C::RefusedProtocolVersion => "it doesn't speak MQTT 5".to_owned(),
        other => format!("{other:?}"),
    }
}

fn state(error: &StateError) -> String {
    match error {
        StateError::ConnectionAborted => "the broker closed the connection".to_owned(),
        StateError::AwaitPingResp => "the broker didn't answer a ping".to_owned(),
        StateError::Io(error) => io(error),
        StateError::Deserialization(rumqttc::v5::mqttbytes::Error::Io(error)) => io(error),
        StateError::ServerDisconnect {
            reason_code: DisconnectReasonCode::SessionTakenOver,
            ..
        } => "another connection took over this client id; every connection needs an id of its own".to_owned(),
        StateError::ServerDisconnect {
            reason_code,
            reason_string,
        } => match reason_string {
            Some(text) => format!("the broker ended the connection: {reason_code:?} ({text})"),
            None => format!("the broker ended the connection: {reason_code:?}"),
        },
        other => other.to_string(),
    }
}

fn io(error: &std::io::Error) -> String {
    // tokio-rustls wraps what rustls says into an I/O error.
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(error) => tls(error),
        None => error.to_string(),
    }
}

fn tls(error: &rustls::Error) -> String {
    use rustls::{AlertDescription as Alert, CertificateError, Error};
    match error {
        // A CA of the same name with another key shows as a bad signature.
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            "the broker's certificate is not from the CA in the configuration".to_owned()
        }
        Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "the broker's certificate has expired, or this machine's clock is wrong".to_owned()
        }
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "the broker's certificate is for another host name".to_owned(),
        Error::AlertReceived(
            alert @ (Alert::CertificateRequired
            | Alert::UnknownCA
            | Alert::BadCertificate
            | Alert::CertificateUnknown
            | Alert::CertificateExpired
            | Alert::CertificateRevoked
            | Alert::AccessDenied),
        ) => format!("the broker doesn't accept our certificate ({alert:?})"),
        other => format!("TLS: {other}"),
    }
}
