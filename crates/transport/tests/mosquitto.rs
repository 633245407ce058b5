//! The client against a real Mosquitto, with a proxy between them where the network has to fail.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says where it failed")]

use std::time::Duration;

use floorhand_testkit::{Mosquitto, MosquittoConfig, MosquittoTls, Pki, Proxy, eventually_async};
use floorhand_transport::{
    Client, Config, Event, Incoming, LastWill, Message, PublishError, Qos, ReconnectPolicy, TlsFiles,
};

/// Long enough for two slow cores under load; everything here takes milliseconds otherwise.
const DEADLINE: Duration = Duration::from_secs(30);

fn config(url: &str, id: &str) -> Config {
    let reconnect = ReconnectPolicy {
        least: Duration::from_millis(10),
        most: Duration::from_millis(50),
        stable_after: Duration::from_secs(1),
        seed: Some(1),
    };
    Config {
        reconnect,
        ..Config::new(url, id)
    }
}

async fn next(incoming: &mut Incoming) -> Event {
    tokio::time::timeout(DEADLINE, incoming.recv())
        .await
        .unwrap_or_else(|_| panic!("nothing came"))
        .unwrap()
}

async fn connected(incoming: &mut Incoming) -> bool {
    loop {
        match next(incoming).await {
            Event::Connected { session_present } => return session_present,
            Event::Retrying { .. } | Event::Disconnected { .. } => {}
            other => panic!("expected a connection, got {other:?}"),
        }
    }
}

async fn message(incoming: &mut Incoming) -> Message {
    loop {
        match next(incoming).await {
            Event::Message(message) => return message,
            Event::Refused { topic, reason } => panic!("{topic}: {reason}"),
            _ => {}
        }
    }
}

/// Subscribes and waits until that holds: a message to itself comes back.
async fn listen(client: &Client, incoming: &mut Incoming, filter: &str, probe: &str) {
    client.subscribe(filter, Qos::AtLeastOnce).await.unwrap();
    client
        .publish(probe, b"probe".to_vec(), Qos::AtLeastOnce, false)
        .await
        .unwrap();
    assert_eq!(message(incoming).await.payload, b"probe");
}

#[tokio::test]
async fn messages_go_round_small_and_large() {
    let Some(broker) = Mosquitto::start_or_skip(MosquittoConfig::default()) else {
        return;
    };
    let (client, mut incoming) = Client::start(config(&broker.url(), "one")).unwrap();
    assert!(!connected(&mut incoming).await);
    listen(&client, &mut incoming, "t/#", "t/probe").await;
    for (qos, length) in [
        (Qos::AtMostOnce, 0),
        (Qos::AtLeastOnce, 1),
        (Qos::AtLeastOnce, 200 * 1024),
    ] {
        let payload = vec![7; length];
        client.publish("t/x", payload.clone(), qos, false).await.unwrap();
        let got = message(&mut incoming).await;
        assert_eq!((got.topic.as_str(), got.payload, got.retain), ("t/x", payload, false));
    }
    let error = client
        .publish("t/x", vec![0; 256 * 1024], Qos::AtLeastOnce, false)
        .await
        .unwrap_err();
    assert!(matches!(error, PublishError::TooLarge { max: 262_144, .. }), "{error}");
    assert!(matches!(
        client.try_publish("t/+", vec![], Qos::AtMostOnce, false),
        Err(PublishError::Topic(_))
    ));
    assert_eq!(client.shutdown(DEADLINE).await, 0);
    assert_eq!(
        client.try_publish("t/x", vec![], Qos::AtMostOnce, false),
        Err(PublishError::Closed)
    );
}

#[tokio::test]
async fn many_messages_come_complete_and_in_order() {
    let Some(broker) = Mosquitto::start_or_skip(MosquittoConfig::default()) else {
        return;
    };
    let (receiver, mut incoming) = Client::start(config(&broker.url(), "receiver")).unwrap();
    connected(&mut incoming).await;
    listen(&receiver, &mut incoming, "n", "n").await;
    let (sender, _kept) = Client::start(config(&broker.url(), "sender")).unwrap();
    let sending = tokio::spawn(async move {
        for number in 0..500_u32 {
            sender
                .publish("n", number.to_le_bytes(), Qos::AtLeastOnce, false)
                .await
                .unwrap();
        }
        sender.shutdown(DEADLINE).await
    });
    for number in 0..500_u32 {
        assert_eq!(message(&mut incoming).await.payload, number.to_le_bytes());
    }
    assert_eq!(sending.await.unwrap(), 0);
}

#[tokio::test]
async fn a_restarted_broker_finds_its_subscriber_again() {
    let Some(mut broker) = Mosquitto::start_or_skip(MosquittoConfig::default()) else {
        return;
    };
    let mut settings = config(&broker.url(), "one");
    // The broker forgets the session when it ends, so that only a renewed subscription can help.
    settings.session_expiry = Duration::ZERO;
    let (client, mut incoming) = Client::start(settings).unwrap();
    connected(&mut incoming).await;
    listen(&client, &mut incoming, "t", "t").await;
    broker.stop().unwrap();
    while !matches!(next(&mut incoming).await, Event::Disconnected { .. }) {}
    assert!(!client.is_connected());
    // Queued while there is no broker, delivered when there is one.
    client
        .publish("t", b"queued".to_vec(), Qos::AtLeastOnce, false)
        .await
        .unwrap();
    broker.restart().unwrap();
    assert!(!connected(&mut incoming).await);
    assert_eq!(message(&mut incoming).await.payload, b"queued");
    assert_eq!(client.stats().connects, 2);
}

#[tokio::test]
async fn nothing_of_qos_1_is_lost_over_cut_connections() {
    let Some(broker) = Mosquitto::start_or_skip(MosquittoConfig::default()) else {
        return;
    };
    let (receiver, mut incoming) = Client::start(config(&broker.url(), "receiver")).unwrap();
    connected(&mut incoming).await;
    listen(&receiver, &mut incoming, "n", "n").await;
    let proxy = Proxy::start(broker.port()).unwrap();
    let url = format!("mqtt://127.0.0.1:{}", proxy.port());
    // A fresh session at each connection is the worst case: the broker remembers nothing.
    let settings = Config {
        session_expiry: Duration::ZERO,
        ..config(&url, "sender")
    };
    let (sender, _kept) = Client::start(settings).unwrap();
    let sending = tokio::spawn(async move {
        for number in 0..300_u32 {
            if number % 40 == 20 {
                proxy.cut_after(777);
            }
            sender
                .publish("n", number.to_le_bytes(), Qos::AtLeastOnce, false)
                .await
                .unwrap();
        }
        let undelivered = sender.shutdown(DEADLINE).await;
        (undelivered, sender.stats().connects)
    });
    let mut missing: std::collections::BTreeSet<u32> = (0..300).collect();
    while !missing.is_empty() {
        let payload = message(&mut incoming).await.payload;
        missing.remove(&u32::from_le_bytes(payload.try_into().unwrap()));
    }
    let (undelivered, connects) = sending.await.unwrap();
    assert_eq!(undelivered, 0);
    assert!(connects > 1, "the connection was never cut");
}

#[tokio::test]
async fn a_message_in_hand_comes_again_after_a_crash() {
    let Some(broker) = Mosquitto::start_or_skip(MosquittoConfig::default()) else {
        return;
    };
    let proxy = Proxy::start(broker.port()).unwrap();
    let url = format!("mqtt://127.0.0.1:{}", proxy.port());
    let (client, mut incoming) = Client::start(config(&url, "one")).unwrap();
    connected(&mut incoming).await;
    listen(&client, &mut incoming, "t", "t").await;
    client
        .publish("t", b"work".to_vec(), Qos::AtLeastOnce, false)
        .await
        .unwrap();
    assert_eq!(message(&mut incoming).await.payload, b"work");
    // The consumer never asks for another event: "work" is in its hands when the connection goes.
    proxy.cut();
    assert!(eventually_async(DEADLINE, || async { client.stats().connects == 2 }).await);
    assert!(connected(&mut incoming).await, "the broker kept the session");
    assert_eq!(message(&mut incoming).await.payload, b"work");
}

#[tokio::test]
async fn a_slow_consumer_loses_no_qos_1_and_keeps_its_connection() {
    let Some(broker) = Mosquitto::start_or_skip(MosquittoConfig::default()) else {
        return;
    };
    let settings = Config {
        receive_maximum: 4,
        ..config(&broker.url(), "slow")
    };
    let (slow, mut incoming) = Client::start(settings).unwrap();
    connected(&mut incoming).await;
    listen(&slow, &mut incoming, "n", "n").await;
    slow.subscribe("z", Qos::AtMostOnce).await.unwrap();
    let (sender, _kept) = Client::start(config(&broker.url(), "sender")).unwrap();
    for number in 0..100_u32 {
        sender
            .publish("n", number.to_le_bytes(), Qos::AtLeastOnce, false)
            .await
            .unwrap();
    }
    for _ in 0..1000 {
        sender.publish("z", vec![0; 10], Qos::AtMostOnce, false).await.unwrap();
    }
    assert_eq!(sender.shutdown(DEADLINE).await, 0);
    // Nobody has read yet. QoS 0 overflows and is counted; QoS 1 waits at the broker.
    assert!(eventually_async(DEADLINE, || async { slow.stats().dropped > 0 }).await);
    let (mut numbers, mut gaps) = (Vec::new(), Vec::new());
    while numbers.len() < 100 {
        let got = message(&mut incoming).await;
        gaps.push(got.gap);
        if got.topic == "n" {
            numbers.push(u32::from_le_bytes(got.payload.try_into().unwrap()));
        }
    }
    assert_eq!(numbers, (0..100).collect::<Vec<_>>());
    assert_eq!(slow.stats().connects, 1);
    // What was left out is told behind what waited before it, and once.
    assert!(!gaps.first().unwrap() && gaps.contains(&true), "{gaps:?}");
    // The first of these may still tell of something, the second has nothing to tell.
    for may_tell in [true, false] {
        slow.publish("n", b"last".to_vec(), Qos::AtLeastOnce, false)
            .await
            .unwrap();
        let last = loop {
            let got = message(&mut incoming).await;
            if got.payload == b"last" {
                break got;
            }
        };
        assert!(may_tell || !last.gap);
    }
}

#[tokio::test]
async fn what_comes_with_a_message_is_handed_on_within_bounds() {
    use rumqttc::v5::mqttbytes::{QoS, v5::PublishProperties};
    use rumqttc::v5::{AsyncClient, MqttOptions};

    let Some(broker) = Mosquitto::start_or_skip(MosquittoConfig::default()) else {
        return;
    };
    let (client, mut incoming) = Client::start(config(&broker.url(), "listener")).unwrap();
    connected(&mut incoming).await;
    listen(&client, &mut incoming, "p", "p").await;
    let mut options = MqttOptions::new("sensor", "127.0.0.1", broker.port());
    options.set_max_packet_size(Some(100_000));
    let (sensor, mut events) = AsyncClient::new(options, 10);
    tokio::spawn(async move { while events.poll().await.is_ok() {} });
    let pair = |bytes: usize| ("unit".to_owned(), "b".repeat(bytes));
    let cases = [
        (vec![pair(3), pair(4)], 2),
        (vec![pair(1); 100], 64),
        (vec![pair(10_000); 2], 1),
    ];
    for (user_properties, kept) in cases {
        let properties = PublishProperties {
            content_type: Some("text/csv".to_owned()),
            user_properties: user_properties.clone(),
            ..PublishProperties::default()
        };
        let sent = sensor.publish_with_properties("p", QoS::AtLeastOnce, false, "1,2", properties);
        sent.await.unwrap();
        let got = message(&mut incoming).await;
        assert_eq!((got.content_type.as_str(), got.gap), ("text/csv", false));
        assert_eq!(got.properties, user_properties.get(..kept).unwrap());
    }
}

#[tokio::test]
async fn the_will_is_sent_when_a_client_vanishes_and_not_after_a_shutdown() {
    let Some(broker) = Mosquitto::start_or_skip(MosquittoConfig::default()) else {
        return;
    };
    let (watcher, mut incoming) = Client::start(config(&broker.url(), "watcher")).unwrap();
    connected(&mut incoming).await;
    listen(&watcher, &mut incoming, "will/#", "will/probe").await;
    let will = |id: &str| LastWill {
        topic: format!("will/{id}"),
        payload: id.into(),
        retain: false,
    };
    let proxy = Proxy::start(broker.port()).unwrap();
    // The polite one without the proxy: what that hasn't passed on when it is cut, a goodbye too, is lost.
    let proxied = format!("mqtt://127.0.0.1:{}", proxy.port());
    for (id, url) in [("polite", broker.url()), ("vanished", proxied)] {
        let settings = Config {
            last_will: Some(will(id)),
            ..config(&url, id)
        };
        let (client, mut own) = Client::start(settings).unwrap();
        connected(&mut own).await;
        if id == "polite" {
            assert_eq!(client.shutdown(DEADLINE).await, 0);
        } else {
            proxy.cut();
            assert_eq!(message(&mut incoming).await.topic, "will/vanished");
        }
    }
}

#[tokio::test]
async fn mutual_tls_and_the_access_list_of_production() {
    let pki = Pki::new().unwrap();
    let acl = ["pattern read d/%u/down/#", "pattern write d/%u/up/#"]
        .map(str::to_owned)
        .to_vec();
    let tls = Some(MosquittoTls::issued_by(&pki).unwrap());
    let Some(broker) = Mosquitto::start_or_skip(MosquittoConfig {
        tls,
        acl,
        extra: vec![],
    }) else {
        return;
    };
    let device = pki.issue("press-01").unwrap();
    let files = TlsFiles::mutual(pki.ca(), &device.cert, &device.key);
    let settings = Config {
        tls: Some(files),
        ..config(&broker.url(), "press-01")
    };
    let (client, mut incoming) = Client::start(settings).unwrap();
    connected(&mut incoming).await;
    client
        .publish("d/press-01/up/hello", b"x".to_vec(), Qos::AtLeastOnce, false)
        .await
        .unwrap();
    client
        .publish("d/press-02/up/hello", b"x".to_vec(), Qos::AtLeastOnce, false)
        .await
        .unwrap();
    match next(&mut incoming).await {
        Event::Refused { topic, reason } => {
            assert_eq!(topic, "d/press-02/up/hello");
            assert!(reason.contains("NotAuthorized"), "{reason}");
        }
        other => panic!("expected a refusal, got {other:?}"),
    }
    assert_eq!(client.stats().refused, 1);
    assert_eq!(client.shutdown(DEADLINE).await, 0);
}

#[tokio::test]
async fn certificates_that_dont_fit_are_told_clearly() {
    let (pki, other) = (Pki::new().unwrap(), Pki::new().unwrap());
    let tls = Some(MosquittoTls::issued_by(&pki).unwrap());
    let Some(broker) = Mosquitto::start_or_skip(MosquittoConfig {
        tls,
        ..MosquittoConfig::default()
    }) else {
        return;
    };
    let (good, stranger) = (pki.issue("press-01").unwrap(), other.issue("press-01").unwrap());
    for (files, expected) in [
        (
            TlsFiles::mutual(other.ca(), &good.cert, &good.key),
            "not from the CA in the configuration",
        ),
        (
            TlsFiles::mutual(pki.ca(), &stranger.cert, &stranger.key),
            "doesn't accept our certificate",
        ),
        (
            TlsFiles {
                ca: pki.ca(),
                identity: None,
            },
            "doesn't accept our certificate",
        ),
    ] {
        let settings = Config {
            tls: Some(files),
            ..config(&broker.url(), "press-01")
        };
        let (client, mut incoming) = Client::start(settings).unwrap();
        // A broker that closes right after its alert can reset the connection before the alert is read: some try tells.
        loop {
            match next(&mut incoming).await {
                Event::Retrying { reason, .. } if reason.contains(expected) => break,
                Event::Retrying { reason, .. } => {
                    assert!(reason.contains("reset") || reason.contains("pipe"), "{reason}")
                }
                other => panic!("expected a failure, got {other:?}"),
            }
        }
        assert_eq!(client.stats().connects, 0);
    }
}

#[tokio::test]
async fn a_full_queue_holds_back_and_shutdown_counts_what_is_left() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("mqtt://{}", silent.local_addr().unwrap());
    let (client, mut incoming) = Client::start(Config {
        queue: 3,
        ..config(&url, "one")
    })
    .unwrap();
    for _ in 0..3 {
        client.try_publish("t", b"x".to_vec(), Qos::AtLeastOnce, false).unwrap();
    }
    assert_eq!(
        client.try_publish("t", b"x".to_vec(), Qos::AtLeastOnce, false),
        Err(PublishError::Full)
    );
    assert_eq!(client.shutdown(Duration::from_millis(50)).await, 3);
    assert_eq!(incoming.recv().await, None);
}

#[tokio::test]
async fn the_last_clone_ends_the_task() {
    let Some(broker) = Mosquitto::start_or_skip(MosquittoConfig::default()) else {
        return;
    };
    let (client, mut incoming) = Client::start(config(&broker.url(), "one")).unwrap();
    connected(&mut incoming).await;
    let clone = client.clone();
    drop(client);
    clone
        .publish("t", b"x".to_vec(), Qos::AtLeastOnce, false)
        .await
        .unwrap();
    drop(clone);
    while tokio::time::timeout(DEADLINE, incoming.recv()).await.unwrap().is_some() {}
}
