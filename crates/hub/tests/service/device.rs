//! A device, played with the protocol's messages and the fleet's client.

use crate::PATIENCE;
use crate::fixture::{fleet, key, root};
use floorhand_bundle::{BlobRef, DeviceId, Digest};
use floorhand_protocol::{
    Ack, Answer, Assignment, ChunkMessage, Deployment, Down, Fetch, Hello, Missing, Mode, Outcome, Parameters, Record,
    Topic, Up, UpBatch,
};
use floorhand_transport::{Client, Config, Event, Incoming, Qos};
use std::collections::{BTreeMap, BTreeSet};

/// A device played by hand.
pub(crate) struct Device {
    pub(crate) id: DeviceId,
    pub(crate) client: Client,
    incoming: Incoming,
}

impl Device {
    pub(crate) async fn connect(id: &str, config: Config) -> Self {
        let id: DeviceId = id.parse().unwrap();
        let (client, incoming) = Client::start(config).unwrap();
        client
            .subscribe(Topic::filter_down(&fleet(), &id), Qos::AtLeastOnce)
            .await
            .unwrap();
        Self { id, client, incoming }
    }

    pub(crate) async fn send(&self, kind: Up, payload: Vec<u8>) {
        let topic = Topic::Up {
            fleet: fleet(),
            device: self.id.clone(),
            kind,
        }
        .to_string();
        self.client
            .publish(topic, payload, Qos::AtLeastOnce, false)
            .await
            .unwrap();
    }

    pub(crate) async fn hello(&self, count: u64, seq: u64) {
        let hello = Hello {
            device: self.id.clone(),
            boot_id: 77,
            count,
            time_ms: 1,
            agent: "0.1.0".to_owned(),
            hardware: "gateway".parse().unwrap(),
            platform: "x86_64-linux".to_owned(),
            seq,
            command_id: 0,
            root_version: 1,
            floor: 0,
            mode: Mode::Run,
            parameters: Parameters::default(),
            active: None,
            previous: None,
            candidate: None,
            deployment: Deployment::Idle,
        };
        self.send(Up::Hello, hello.seal(&key(9)).unwrap()).await;
    }

    /// The next message of a kind; others are let go by.
    pub(crate) async fn next(&mut self, kind: Down) -> (Vec<u8>, bool) {
        let wanted = Topic::Down {
            fleet: fleet(),
            device: self.id.clone(),
            kind,
        }
        .to_string();
        let look = async {
            while let Some(event) = self.incoming.recv().await {
                match event {
                    Event::Message(message) if message.topic == wanted => return (message.payload, message.retain),
                    _ => {}
                }
            }
            panic!("the client ended")
        };
        tokio::time::timeout(PATIENCE, look)
            .await
            .unwrap_or_else(|_| panic!("no {kind:?} came"))
    }

    pub(crate) async fn assignment(&mut self) -> Assignment {
        let (payload, _) = self.next(Down::Assign).await;
        Assignment::open(&payload, &root(), &self.id, 1_000)
            .unwrap()
            .into_inner()
    }

    /// Fetches a blob as an agent does: in windows, each chunk held against the list.
    pub(crate) async fn fetch(&mut self, blob: &BlobRef) -> Vec<u8> {
        let mut chunks: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
        while chunks.len() < blob.chunks.len() {
            let lacking = (0..blob.chunks.len() as u32)
                .filter(|index| !chunks.contains_key(index))
                .take(2);
            let missing = Missing::of(lacking).unwrap();
            let mut asked: BTreeSet<u32> = missing.indices().collect();
            self.send(Up::Fetch, Fetch::new(5, blob.sha256, missing).encode().unwrap())
                .await;
            while !asked.is_empty() {
                let message = ChunkMessage::decode(&self.next(Down::Chunk).await.0).unwrap();
                assert_eq!((message.token, message.digest), (5, blob.sha256));
                let index = message.index;
                let chunk = message.unpack().unwrap().expect("the hub has it");
                assert_eq!(Digest::of(&chunk), blob.chunks[index as usize].sha256);
                asked.remove(&index);
                chunks.insert(index, chunk);
            }
        }
        chunks.into_values().flatten().collect()
    }

    pub(crate) async fn report(&mut self, records: Vec<Record>) -> Vec<(u64, u64)> {
        let batch = UpBatch {
            device: self.id.clone(),
            boot_id: 77,
            historical: false,
            records,
            gaps: vec![],
        };
        self.send(Up::Batch, batch.seal(&key(9)).unwrap()).await;
        let ack = Ack::open(&self.next(Down::Ack).await.0, &root(), &self.id, 1_000).unwrap();
        assert_eq!(ack.boot_id, 77);
        ack.ranges.iter().map(|range| (range.first, range.last)).collect()
    }

    pub(crate) async fn answer(&self, to: &str, outcome: Outcome) {
        let answer = Answer {
            device: self.id.clone(),
            boot_id: 77,
            to: to.to_owned(),
            time_ms: 1,
            outcome,
        };
        self.send(Up::Answer, answer.seal(&key(9)).unwrap()).await;
    }
}
