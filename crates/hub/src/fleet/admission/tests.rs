//! Who is let in with a token, who isn't, and which certificate comes of it.

use super::*;
use crate::fleet::Outgoing;
use crate::testing::{NOW_MS, csr, enrolment, hub, key, root};
use tokio::sync::mpsc;

/// A hub that makes certificates.
async fn issuing() -> (tempfile::TempDir, Hub, mpsc::Receiver<Outgoing>) {
    let (dir, mut hub, sent) = hub().await;
    hub.enrolment = Some(enrolment());
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

fn request(device: &str, seed: u8, token: &EnrolmentToken) -> Vec<u8> {
    let request = EnrolmentRequest {
        device: device.parse().unwrap(),
        hardware: "gateway".parse().unwrap(),
        public_key: key(seed).public(),
        csr: csr(device),
        fleet: None,
        critical: vec![],
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
        fleet: None,
        critical: vec![],
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
            critical: vec![],
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
    hub.take(topic, &bytes).await;
    assert!(
        sent.try_recv().is_err(),
        "an old one, repeated once its certificate is forgotten"
    );
    assert_eq!(hub.counters.refused.value(), 4);
    hub.take(topic, &renewal(9).0).await;
    assert!(sent.try_recv().is_ok(), "a new one");
}

#[tokio::test]
async fn after_a_change_of_keys_a_device_is_led_from_the_tokens_root_to_the_newest() {
    let (_dir, hub, mut sent) = issuing().await;
    let mut hub = hub.with_next_key(Some(Box::new(key(3))));
    hub.open_roots().await.unwrap();
    let before = token(&hub, &wish("press-7")).await;
    let next = TrustRoot {
        version: 2,
        assignment: floorhand_bundle::RoleKeys::any_of(vec![key(3).public()]),
        ..root().into_inner()
    };
    let next = next.seal(&[&key(1)]).unwrap();
    hub.take_root(&next).await.unwrap();
    let after = token(&hub, &wish("press-8")).await;
    for (device, token, seed) in [("press-7", before, 9), ("press-8", after, 10)] {
        assert_eq!(
            token.root,
            root().digest(),
            "{device}: the root that the fleet's devices have"
        );
        let bytes = request(device, seed, &token);
        let admitted = hub.admit(&bytes).await.unwrap();
        assert_eq!(
            (admitted.root.as_slice(), admitted.earlier_roots.len()),
            (root().envelope(), 0)
        );
        let mut roots = RootChain::new(TrustRoot::open_pinned(&admitted.root).unwrap());
        for root in &admitted.next_roots {
            roots.extend(root).unwrap();
        }
        let opened = EnrolmentRequest::open(&bytes, &token.secret.public()).unwrap();
        let expected = (&opened.device, Digest::of(&opened.csr));
        IssuedCertificate::open(&admitted.answer, roots.newest(), expected, NOW_MS).unwrap();
        assert!(IssuedCertificate::open(&admitted.answer, &root(), expected, NOW_MS).is_err());
    }
    let device: DeviceId = "press-7".parse().unwrap();
    let renewal = Renewal {
        device: device.clone(),
        csr: csr("press-7"),
        critical: vec![],
    };
    hub.clock = || NOW_MS + RENEWAL_REST_MS;
    hub.take("fh/v1/plant-a/d/press-7/up/renew", &renewal.seal(&key(9)).unwrap())
        .await;
    let answer = std::iter::from_fn(|| sent.try_recv().ok()).last().unwrap();
    let newest = hub.roots().newest().clone();
    IssuedCertificate::open(&answer.payload, &newest, (&device, Digest::of(&renewal.csr)), NOW_MS).unwrap();
}

#[tokio::test]
async fn once_the_configured_root_is_replaced_old_tokens_and_old_devices_are_still_understood() {
    let (_dir, hub, _sent) = issuing().await;
    hub.open_roots().await.unwrap();
    let mut hub = hub.with_next_key(Some(Box::new(key(3))));
    let before = token(&hub, &wish("press-7")).await;
    let next = TrustRoot {
        version: 2,
        assignment: floorhand_bundle::RoleKeys::any_of(vec![key(3).public()]),
        ..root().into_inner()
    };
    let next = TrustRoot::open_pinned(&next.seal(&[&key(1)]).unwrap()).unwrap();
    hub.take_root(next.envelope()).await.unwrap();
    // The last step of a change of keys: the new root stands in the configuration.
    hub.root = next.clone();
    hub.open_roots().await.unwrap();
    let after = token(&hub, &wish("press-8")).await;
    assert_eq!((before.root, after.root), (root().digest(), next.digest()));
    for (device, token, seed) in [("press-7", before, 9), ("press-8", after, 10)] {
        let bytes = request(device, seed, &token);
        let admitted = hub.admit(&bytes).await.unwrap();
        assert_eq!(admitted.earlier_roots, [root().envelope()], "{device}");
        assert_eq!(
            (admitted.root.as_slice(), admitted.next_roots.len()),
            (next.envelope(), 0),
            "{device}"
        );
        let opened = EnrolmentRequest::open(&bytes, &token.secret.public()).unwrap();
        let expected = (&opened.device, Digest::of(&opened.csr));
        IssuedCertificate::open(&admitted.answer, &next, expected, NOW_MS).unwrap();
    }
}

#[tokio::test]
async fn no_certificate_outlives_the_authority() {
    let (_dir, mut hub, mut sent) = issuing().await;
    let device: DeviceId = "press-7".parse().unwrap();
    let tokens = [token(&hub, &wish("press-7")).await, {
        let later = TokenWish {
            valid_ms: MAX_TOKEN_MS,
            ..wish("press-8")
        };
        hub.clock = || NOW_MS + 399 * DAY_MS;
        token(&hub, &later).await
    }];
    hub.clock = || NOW_MS;
    hub.admit(&request("press-7", 9, &tokens[0])).await.unwrap();
    // The authority of the tests lives for 400 days, and certificates for 90.
    hub.clock = || NOW_MS + 380 * DAY_MS;
    let renewal = Renewal {
        device: device.clone(),
        csr: csr("press-7"),
        critical: vec![],
    };
    let topic = "fh/v1/plant-a/d/press-7/up/renew";
    hub.take(topic, &renewal.seal(&key(9)).unwrap()).await;
    assert!(sent.try_recv().is_ok());
    let csr_digest = Digest::of(&renewal.csr).to_string();
    let (_, expires_ms) = hub
        .database
        .certificate_for(&device, &csr_digest)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(unsigned(expires_ms), NOW_MS + 400 * DAY_MS);
    hub.clock = || NOW_MS + 400 * DAY_MS;
    let refused = hub.admit(&request("press-8", 10, &tokens[1])).await.unwrap_err();
    assert!(
        matches!(&refused, HubError::Conflict(problem) if problem.contains("has ended")),
        "{refused}"
    );
    assert_eq!(
        hub.database
            .enrolment_token(&tokens[1].secret.public().id().to_string())
            .await
            .unwrap()
            .unwrap()
            .used_ms,
        0
    );
}

#[tokio::test]
async fn a_device_of_another_fleet_uses_no_token_up() {
    let (_dir, hub, _sent) = issuing().await;
    let token = token(&hub, &wish("press-7")).await;
    let request = |fleet: &str| {
        let request = EnrolmentRequest {
            device: "press-7".parse().unwrap(),
            hardware: "gateway".parse().unwrap(),
            public_key: key(9).public(),
            csr: csr("press-7"),
            fleet: Some(fleet.parse().unwrap()),
            critical: vec![],
        };
        request.seal(&key(9), &token.secret).unwrap()
    };
    let problem = refusal(&hub, &request("plant-b")).await;
    assert!(problem.contains("has the trust root of fleet plant-b"), "{problem}");
    hub.admit(&request("plant-a")).await.unwrap();
}

#[tokio::test]
async fn tokens_certificates_and_renewals_are_written_down() {
    let (_dir, mut hub, _sent) = issuing().await;
    let first = token(&hub, &wish("press-7")).await;
    let second = token(&hub, &wish("press-8")).await;
    hub.admit(&request("press-7", 9, &first)).await.unwrap();
    let head = hub.database.audit_head().await.unwrap();
    assert!(hub.admit(&request("press-7", 9, &second)).await.is_err());
    hub.admit(&request("press-8", 9, &second)).await.unwrap_err();
    assert_eq!(hub.database.audit_head().await.unwrap(), head, "nothing was changed");
    let renewal = Renewal {
        device: "press-7".parse().unwrap(),
        csr: csr("press-7"),
        critical: vec![],
    };
    hub.clock = || NOW_MS + RENEWAL_REST_MS;
    hub.take("fh/v1/plant-a/d/press-7/up/renew", &renewal.seal(&key(9)).unwrap())
        .await;
    let second = second.secret.public().id().to_string();
    assert!(hub.database.remove_enrolment_token(&second, NOW_MS).await.unwrap());
    assert!(!hub.database.remove_enrolment_token(&second, NOW_MS).await.unwrap());
    let first = first.secret.public().id().to_string();
    let entries = hub.database.audit_after(0, 100).await.unwrap();
    let brief: Vec<_> = entries
        .iter()
        .map(|entry| [&entry.action, &entry.subject, &entry.actor_kind, &entry.actor_name].map(String::as_str))
        .collect();
    assert_eq!(
        brief,
        [
            ["enrolment-token.new", &first, "hub", "hub"],
            ["enrolment-token.new", &second, "hub", "hub"],
            ["device.enroll", "press-7", "enrolment-token", &first],
            ["certificate.issue", "press-7", "enrolment-token", &first],
            ["certificate.renew", "press-7", "hub", "hub"],
            ["enrolment-token.revoke", &second, "hub", "hub"],
        ]
    );
}
