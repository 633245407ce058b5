//! A client and a broker played by hand, a few bytes at a time.

use super::*;
use std::io::Read as _;

/// A QoS 1 publish on `t/KIND`.
fn publish(id: u8, kind: &str, payload: &[u8]) -> Vec<u8> {
    let topic = format!("t/{kind}");
    let mut body = vec![0, topic.len() as u8];
    body.extend(topic.bytes());
    body.extend([0, id, 0]);
    body.extend(payload);
    [&[0x32, body.len() as u8], body.as_slice()].concat()
}

/// A client's connection through the proxy, and the broker's end of it.
fn connected(seed: u64) -> (MqttProxy, TcpStream, TcpStream) {
    let broker = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let proxy = MqttProxy::start(broker.local_addr().unwrap().port(), seed).unwrap();
    let client = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).unwrap();
    let (server, _) = broker.accept().unwrap();
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    }
    (proxy, client, server)
}

#[test]
fn passes_both_ways_and_shows_what_is_watched() {
    let (proxy, mut client, mut server) = connected(1);
    proxy.watch("/a");
    let packets = [publish(1, "a", b"one"), publish(2, "b", b"two"), vec![0xc0, 0]];
    server.write_all(&packets.concat()).unwrap();
    for packet in &packets {
        assert_eq!(&read_packet(&mut client).unwrap(), packet);
    }
    client.write_all(&packets.concat()).unwrap();
    for packet in &packets {
        assert_eq!(&read_packet(&mut server).unwrap(), packet);
    }
    assert_eq!(proxy.seen(), [b"one".to_vec()]);
    let counts = proxy.counts();
    assert_eq!((counts.delivered, counts.injected()), (2, 0));
}

#[test]
fn loses_with_an_acknowledgement() {
    let (proxy, mut client, mut server) = connected(1);
    proxy.inject(FaultRates {
        lose: 1000,
        ..FaultRates::default()
    });
    server.write_all(&publish(7, "a", b"one")).unwrap();
    server.write_all(&[0xd0, 0]).unwrap();
    assert_eq!(read_packet(&mut server).unwrap(), [0x40, 2, 0, 7]);
    assert_eq!(read_packet(&mut client).unwrap(), [0xd0, 0], "nothing before it");
    assert_eq!((proxy.counts().lost, proxy.counts().delivered), (1, 0));
}

#[test]
fn repeats_and_passes_one_acknowledgement() {
    let (proxy, mut client, mut server) = connected(1);
    proxy.inject(FaultRates {
        repeat: 1000,
        ..FaultRates::default()
    });
    server.write_all(&publish(7, "a", b"one")).unwrap();
    for _ in 0..2 {
        assert_eq!(read_packet(&mut client).unwrap(), publish(7, "a", b"one"));
        client.write_all(&[0x40, 2, 0, 7]).unwrap();
    }
    client.write_all(&[0xc0, 0]).unwrap();
    assert_eq!(read_packet(&mut server).unwrap(), [0x40, 2, 0, 7]);
    assert_eq!(read_packet(&mut server).unwrap(), [0xc0, 0]);
}

#[test]
fn reorders_with_the_next() {
    let (proxy, mut client, mut server) = connected(1);
    proxy.inject(FaultRates {
        reorder: 1000,
        ..FaultRates::default()
    });
    server
        .write_all(&[publish(1, "a", b"one"), publish(2, "a", b"two")].concat())
        .unwrap();
    assert_eq!(read_packet(&mut client).unwrap(), publish(2, "a", b"two"));
    assert_eq!(read_packet(&mut client).unwrap(), publish(1, "a", b"one"));
}

#[test]
fn truncates_and_cuts() {
    let (proxy, mut client, mut server) = connected(1);
    proxy.cut_every(Some(22));
    let packet = publish(1, "a", b"some more");
    assert_eq!(packet.len(), 19);
    server.write_all(&packet).unwrap();
    assert_eq!(read_packet(&mut client).unwrap(), packet);
    server.write_all(&packet).unwrap();
    let mut rest = Vec::new();
    drop(client.read_to_end(&mut rest));
    assert_eq!(rest, packet[..3]);
    assert_eq!((proxy.counts().cut, proxy.counts().delivered), (1, 1));

    let (proxy, mut client, mut server) = connected(1);
    proxy.inject(FaultRates {
        truncate: 1000,
        ..FaultRates::default()
    });
    server.write_all(&packet).unwrap();
    let mut rest = Vec::new();
    drop(client.read_to_end(&mut rest));
    assert!(rest.len() < packet.len() && packet.starts_with(&rest));
    assert_eq!(proxy.counts().cuts(), 1);
}
