//! Who is let in with a token, who isn't, and which certificate comes of it.

use super::*;
use crate::fleet::Outgoing;
use crate::testing::{NOW_MS, hub, key, root};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use tokio::sync::mpsc;

const DAY_MS: u64 = 24 * 3600 * 1000;

/// A hub that makes certificates.
async fn issuing() -> (tempfile::TempDir, Hub, mpsc::Receiver<Outgoing>) {
    let (dir, mut hub, sent) = hub().await;
    let pair = Authority::create(&"plant-a.ca".parse().unwrap(), NOW_MS, 400 * DAY_MS).unwrap();
    hub.enrolment = Some(Enrolment {
        authority: Authority::open(pair.certificate.as_bytes(), &pair.key, NOW_MS).unwrap(),
        broker: Some("mqtts://broker.plant-a".to_owned()),
        broker_ca: vec![],
        certificate_ttl_ms: 90 * DAY_MS,
        api_ca: None,
        reserved: vec!["hub".to_owned()],
    });
    (dir, hub, sent)
}

fn wish(pattern: &str) -> TokenWish {
    TokenWish {
        pattern: pattern.to_owned(),
        hardware: None,
        replace: false,
        valid_ms: DAY_MS,
    }
}

async fn token(hub: &Hub, wish: &TokenWish) -> EnrolmentToken {
    hub.create_token(wish).await.unwrap().text.parse().unwrap()
}

fn csr(name: &str) -> ByteBuf {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let request = params.serialize_request(&KeyPair::generate().unwrap()).unwrap();
    ByteBuf::from(request.der().to_vec())
}

fn request(device: &str, seed: u8, token: &EnrolmentToken) -> Vec<u8> {
    let request = EnrolmentRequest {
        device: device.parse().unwrap(),
        hardware: "gateway".parse().unwrap(),
        public_key: key(seed).public(),
        csr: csr(device),
    };
    request.seal(&key(seed), &token.secret).unwrap()
}

async fn refusal(hub: &Hub, bytes: &[u8]) -> String {
    match hub.admit(bytes).await {
        Err(error @ (HubError::Refused(_) | HubError::Conflict(_))) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_token_lets_one_request_in_and_answers_its_repetition() {
    let (_dir, hub, _sent) = issuing().await;
    let token = token(&hub, &wish("press-7")).await;
    assert_eq!(token.root, root().digest());
    let bytes = request("press-7", 9, &token);
    let admitted = hub.admit(&bytes).await.unwrap();
    let opened = EnrolmentRequest::open(&bytes, &token.secret.public()).unwrap();
    let expected = (&opened.device, Digest::of(&opened.csr));
    let issued = IssuedCertificate::open(&admitted.answer, &root(), expected, NOW_MS).unwrap();
    assert_eq!(
        (issued.chain.len(), issued.broker.as_deref()),
        (2, Some("mqtts://broker.plant-a"))
    );
    let row = hub.database.device("press-7").await.unwrap().unwrap();
    assert_eq!(row.public_key, hex::encode(key(9).public().as_bytes()));
    assert_eq!(
        hub.admit(&bytes).await.unwrap(),
        admitted,
        "an answer that was lost comes again"
    );
    for other in [request("press-7", 9, &token), request("press-7", 8, &token)] {
        assert!(refusal(&hub, &other).await.contains("has been used, by press-7"));
    }
    let stored = hub.database.enrolment_tokens().await.unwrap();
    let text = token.to_text();
    assert!(
        stored
            .iter()
            .all(|row| !format!("{row:?}").contains(&hex::encode(token.secret.to_seed()))),
        "{text}"
    );
}

#[tokio::test]
async fn who_is_not_meant_is_refused_and_the_token_stays_good() {
    let (_dir, mut hub, _sent) = issuing().await;
    let token = token(&hub, &wish("press-7")).await;
    assert!(
        refusal(&hub, &request("press-8", 9, &token))
            .await
            .contains("is for press-7, and this is press-8")
    );
    let mut other = EnrolmentToken {
        secret: key(77),
        ..token.clone()
    };
    assert!(
        refusal(&hub, &request("press-7", 9, &other))
            .await
            .contains("no such enrolment token")
    );
    other.secret = token.secret.clone();
    let foreign = EnrolmentRequest {
        device: "press-7".parse().unwrap(),
        hardware: "gateway".parse().unwrap(),
        public_key: key(9).public(),
        csr: csr("press-8"),
    };
    let bytes = foreign.seal(&key(9), &token.secret).unwrap();
    assert!(
        refusal(&hub, &bytes)
            .await
            .contains("its subject has to be the common name press-7")
    );
    hub.clock = || NOW_MS + DAY_MS + 1;
    assert!(
        refusal(&hub, &request("press-7", 9, &token))
            .await
            .contains("has expired")
    );
    hub.clock = || NOW_MS;
    hub.admit(&request("press-7", 9, &token)).await.unwrap();
}

#[tokio::test]
async fn two_devices_race_for_one_token_and_one_wins() {
    let (_dir, hub, _sent) = issuing().await;
    let token = token(&hub, &wish("press-*")).await;
    let requests: Vec<Vec<u8>> = (0..8).map(|n| request(&format!("press-{n}"), 20 + n, &token)).collect();
    let hub = std::sync::Arc::new(hub);
    let tasks: Vec<_> = requests
        .into_iter()
        .map(|bytes| {
            let hub = std::sync::Arc::clone(&hub);
            tokio::spawn(async move { hub.admit(&bytes).await.is_ok() })
        })
        .collect();
    let mut won = 0;
    for task in tasks {
        won += usize::from(task.await.unwrap());
    }
    assert_eq!((won, hub.database.devices().await.unwrap().len()), (1, 1));
}

#[tokio::test]
async fn a_known_device_changes_its_key_only_by_a_token_that_says_so() {
    let (_dir, hub, _sent) = issuing().await;
    let device = "press-7".parse().unwrap();
    hub.enroll(&device, &key(8).public(), false).await.unwrap();
    let plain = token(&hub, &wish("press-7")).await;
    assert!(
        refusal(&hub, &request("press-7", 9, &plain))
            .await
            .contains("--replace")
    );
    hub.admit(&request("press-7", 8, &plain)).await.unwrap();
    let replacing = TokenWish {
        replace: true,
        ..wish("press-7")
    };
    let replacing = token(&hub, &replacing).await;
    hub.admit(&request("press-7", 9, &replacing)).await.unwrap();
    let row = hub.database.device("press-7").await.unwrap().unwrap();
    assert_eq!(row.public_key, hex::encode(key(9).public().as_bytes()));
}

#[tokio::test]
async fn names_with_rights_of_their_own_and_wishes_without_sense_are_refused() {
    let (_dir, hub, _sent) = issuing().await;
    let any = token(&hub, &wish("*")).await;
    assert!(
        refusal(&hub, &request("hub", 9, &any))
            .await
            .contains("give the device another id")
    );
    for wish in [
        wish("hub"),
        wish("press/7"),
        wish("press-+*"),
        wish(""),
        TokenWish {
            replace: true,
            ..wish("press-*")
        },
        TokenWish {
            valid_ms: 0,
            ..wish("press-7")
        },
    ] {
        assert!(hub.create_token(&wish).await.is_err(), "{wish:?}");
    }
    let gateway = TokenWish {
        hardware: Some("other".parse().unwrap()),
        ..wish("press-*")
    };
    let gateway = token(&hub, &gateway).await;
    assert!(
        refusal(&hub, &request("press-1", 9, &gateway))
            .await
            .contains("says it is of gateway")
    );
}

#[test]
fn patterns() {
    for (pattern, device, fits) in [
        ("press-7", "press-7", true),
        ("press-7", "press-77", false),
        ("*", "x", true),
        ("press-*", "press-", true),
        ("press-*", "xpress-1", false),
        ("*-7", "press-7", true),
        ("*-7", "press-71", false),
        ("a*b*c", "aXbYc", true),
        ("a*b*c", "abc", true),
        ("a*b*c", "acb", false),
        ("a*a", "a", false),
    ] {
        assert_eq!(matches(pattern, device), fits, "{pattern} {device}");
    }
}

#[tokio::test]
async fn a_renewal_is_answered_once_for_each_request_and_not_all_the_time() {
    let (_dir, mut hub, mut sent) = issuing().await;
    let device: DeviceId = "press-7".parse().unwrap();
    hub.enroll(&device, &key(9).public(), false).await.unwrap();
    let topic = "fh/v1/plant-a/d/press-7/up/renew";
    let renewal = |seed: u8| {
        let renewal = Renewal {
            device: device.clone(),
            csr: csr("press-7"),
        };
        (renewal.seal(&key(seed)).unwrap(), Digest::of(&renewal.csr))
    };
    let (bytes, digest) = renewal(9);
    hub.take(topic, &bytes).await;
    let answer = sent.try_recv().unwrap();
    assert_eq!(
        (answer.topic.as_str(), answer.retain),
        ("fh/v1/plant-a/d/press-7/down/certificate", false)
    );
    IssuedCertificate::open(&answer.payload, &root(), (&device, digest), NOW_MS).unwrap();
    hub.take(topic, &bytes).await;
    assert_eq!(
        sent.try_recv().unwrap(),
        answer,
        "the same request, the same certificate"
    );
    hub.take(topic, &renewal(9).0).await;
    hub.take(topic, &renewal(8).0).await;
    assert!(sent.try_recv().is_err(), "too soon, and forged");
    assert_eq!(hub.counters.refused.value(), 2);
    hub.clock = || NOW_MS + RENEWAL_REST_MS;
    hub.take(topic, &renewal(9).0).await;
    assert!(sent.try_recv().is_ok());
    hub.clock = || NOW_MS + 91 * DAY_MS;
    hub.take(topic, &bytes).await;
    assert!(sent.try_recv().is_err(), "an old one, repeated");
    hub.database.forget_enrolments(NOW_MS + 91 * DAY_MS).await.unwrap();
    assert_eq!(hub.database.last_certificate_ms(&device).await.unwrap(), 0);
}
