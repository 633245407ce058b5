//! Asking for chunks, and sending them, to one device or to all that listen. Unsigned: a chunk is held against the signed
//! list before it is written.

use floorhand_bundle::cbor::{self, CborError};
use floorhand_bundle::{Digest, MAX_CHUNK_BYTES};
use serde::{Deserialize, Serialize};

/// The most bytes of chunks that a device has asked for and not got.
pub const FETCH_WINDOW_BYTES: u64 = 128 * 1024;
/// The most chunks that one request can ask for.
pub const MAX_FETCH_CHUNKS: u32 = 256;
/// The largest request in bytes.
pub const MAX_FETCH_BYTES: usize = 512;
/// The largest chunk message in bytes: a chunk and its head. Compression is not used where it doesn't help.
pub const MAX_CHUNK_MESSAGE_BYTES: usize = MAX_CHUNK_BYTES as usize + 512;
/// The token of chunks on a blob's topic: they answer no single request.
pub const BROADCAST_TOKEN: u64 = 0;
/// zstd's default level: chunks are small, and the hub sends them to many.
const ZSTD_LEVEL: i32 = 3;

/// Why a chunk can't be had from a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryError {
    /// Its compression is broken, or it is longer than a chunk can be.
    #[error("chunk {index} of blob {blob} does not unpack: {problem}")]
    Unpack {
        /// The blob's short digest.
        blob: String,
        /// The chunk.
        index: u32,
        /// What is wrong.
        problem: String,
    },
}

/// Which of `count` chunks from `first` on are missing: bit `i % 8` of byte `i / 8` stands for chunk `first + i`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The first chunk the bits speak of.
    pub first: u32,
    /// How many they speak of.
    pub count: u32,
    bits: Vec<u8>,
}

impl Missing {
    /// The missing chunks among those whose indices are given, which have to lie within [`MAX_FETCH_CHUNKS`] of the
    /// first; those beyond are left for the next request. `None` when there are none.
    pub fn of(indices: impl IntoIterator<Item = u32>) -> Option<Self> {
        let mut indices = indices.into_iter();
        let first = indices.next()?;
        let mut missing = Self {
            first,
            count: 1,
            bits: vec![1],
        };
        for index in indices {
            let at = index.checked_sub(first).filter(|&at| at < MAX_FETCH_CHUNKS);
            let Some(at) = at else { break };
            missing.set(at);
        }
        Some(missing)
    }

    /// The indices of the missing chunks.
    pub fn indices(&self) -> impl Iterator<Item = u32> {
        (0..self.count.min(MAX_FETCH_CHUNKS))
            .filter(|at| {
                self.bits
                    .get((at / 8) as usize)
                    .is_some_and(|byte| byte >> (at % 8) & 1 == 1)
            })
            .filter_map(|at| self.first.checked_add(at))
    }

    fn set(&mut self, at: u32) {
        self.count = self.count.max(at + 1);
        let byte = (at / 8) as usize;
        if self.bits.len() <= byte {
            self.bits.resize(byte + 1, 0);
        }
        if let Some(byte) = self.bits.get_mut(byte) {
            *byte |= 1 << (at % 8);
        }
    }
}

/// A request for chunks of a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetch {
    /// Drawn at random for each request; the chunks that answer it carry it.
    pub token: u64,
    /// The blob.
    pub digest: Digest,
    /// The first chunk the bitmap speaks of.
    pub first: u32,
    /// How many it speaks of, at most [`MAX_FETCH_CHUNKS`].
    pub count: u32,
    /// Which of them are wanted; see [`Missing`].
    #[serde(with = "serde_bytes")]
    pub missing: Vec<u8>,
    /// From a device that listens on the blob's topic: all chunks from `first` on that it lacks, at most
    /// [`MAX_FETCH_CHUNKS`], as bits like `missing`. The hub may publish them there for everybody, instead of sending those
    /// of `missing` to this device alone. Empty from a device that doesn't listen.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "serde_bytes")]
    pub wanted: Vec<u8>,
}

impl Fetch {
    /// A request for these chunks.
    #[must_use]
    pub fn new(token: u64, digest: Digest, missing: Missing) -> Self {
        Self {
            token,
            digest,
            first: missing.first,
            count: missing.count,
            missing: missing.bits,
            wanted: Vec::new(),
        }
    }

    /// The same from a device that listens, with all that it lacks, which begins where the request does. What is more than
    /// [`MAX_FETCH_CHUNKS`] behind that is left for the next request.
    #[must_use]
    pub fn listening(mut self, lacking: impl IntoIterator<Item = u32>) -> Self {
        let mut wanted = Missing {
            first: self.first,
            count: 0,
            bits: Vec::new(),
        };
        let places = lacking.into_iter().map_while(|index| index.checked_sub(self.first));
        for at in places.take_while(|&at| at < MAX_FETCH_CHUNKS) {
            wanted.set(at);
        }
        self.wanted = wanted.bits;
        self
    }

    /// The indices that are asked for.
    #[must_use]
    pub fn indices(&self) -> Vec<u32> {
        self.bits(self.count, &self.missing)
    }

    /// The indices that would be taken from the blob's topic; none from a device that doesn't listen.
    #[must_use]
    pub fn wanted_indices(&self) -> Vec<u32> {
        self.bits(MAX_FETCH_CHUNKS, &self.wanted)
    }

    fn bits(&self, count: u32, bits: &[u8]) -> Vec<u32> {
        let missing = Missing {
            first: self.first,
            count,
            bits: bits.to_vec(),
        };
        missing.indices().collect()
    }

    /// Encodes.
    pub fn encode(&self) -> Result<Vec<u8>, CborError> {
        cbor::encode("fetch", self)
    }

    /// Decodes.
    pub fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        cbor::decode("fetch", bytes, MAX_FETCH_BYTES)
    }
}

/// How a chunk's bytes are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encoding {
    /// As they are.
    Raw,
    /// One zstd frame.
    Zstd,
}

/// A chunk, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChunkBody {
    /// The chunk.
    Data {
        /// How it is packed.
        encoding: Encoding,
        /// Its bytes.
        #[serde(with = "serde_bytes")]
        data: Vec<u8>,
    },
    /// The hub doesn't have the blob, or the blob has no such chunk.
    Unknown,
}

/// The answer to one chunk of a [`Fetch`], or a chunk for every device that listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkMessage {
    /// The request's token; [`BROADCAST_TOKEN`] on a blob's topic.
    pub token: u64,
    /// The blob.
    pub digest: Digest,
    /// Which chunk.
    pub index: u32,
    /// The chunk.
    pub body: ChunkBody,
    /// On a blob's topic: how many chunks follow in this round. At 0 a device asks for what it still lacks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<u32>,
}

impl ChunkMessage {
    /// Packs a chunk, compressed where that makes it smaller.
    #[must_use]
    pub fn pack(token: u64, digest: Digest, index: u32, chunk: &[u8]) -> Self {
        let packed = zstd::bulk::compress(chunk, ZSTD_LEVEL)
            .ok()
            .filter(|packed| packed.len() < chunk.len());
        let body = match packed {
            Some(data) => ChunkBody::Data {
                encoding: Encoding::Zstd,
                data,
            },
            None => ChunkBody::Data {
                encoding: Encoding::Raw,
                data: chunk.to_vec(),
            },
        };
        Self {
            token,
            digest,
            index,
            body,
            left: None,
        }
    }

    /// Packs a chunk for all that listen, `left` others following it.
    #[must_use]
    pub fn broadcast(digest: Digest, index: u32, chunk: &[u8], left: u32) -> Self {
        Self {
            left: Some(left),
            ..Self::pack(BROADCAST_TOKEN, digest, index, chunk)
        }
    }

    /// Says that the hub has no such chunk.
    #[must_use]
    pub fn unknown(token: u64, digest: Digest, index: u32) -> Self {
        Self {
            token,
            digest,
            index,
            body: ChunkBody::Unknown,
            left: None,
        }
    }

    /// The chunk's bytes, at most [`MAX_CHUNK_BYTES`]; `None` when the hub doesn't have it.
    pub fn unpack(self) -> Result<Option<Vec<u8>>, DeliveryError> {
        self.unpack_within(MAX_CHUNK_BYTES)
    }

    /// The same where the signed list tells the chunk's length: what unpacks to more is refused, and memory is taken for
    /// no more than that.
    pub fn unpack_within(self, length: u32) -> Result<Option<Vec<u8>>, DeliveryError> {
        let Self {
            digest, index, body, ..
        } = self;
        let failed = |problem: String| DeliveryError::Unpack {
            blob: digest.short(),
            index,
            problem,
        };
        match body {
            ChunkBody::Unknown => Ok(None),
            ChunkBody::Data {
                encoding: Encoding::Raw,
                data,
            } if data.len() <= length as usize => Ok(Some(data)),
            ChunkBody::Data {
                encoding: Encoding::Raw,
                data,
            } => Err(failed(format!("{} bytes, at most {length} were expected", data.len()))),
            ChunkBody::Data {
                encoding: Encoding::Zstd,
                data,
            } => zstd::bulk::decompress(&data, length as usize)
                .map(Some)
                .map_err(|error| failed(error.to_string())),
        }
    }

    /// Encodes.
    pub fn encode(&self) -> Result<Vec<u8>, CborError> {
        cbor::encode("chunk", self)
    }

    /// Decodes.
    pub fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        cbor::decode("chunk", bytes, MAX_CHUNK_MESSAGE_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_its_chunks() {
        for indices in [vec![0], vec![3, 4, 9], (0..256).collect(), vec![u32::MAX]] {
            let missing = Missing::of(indices.clone()).unwrap();
            let fetch = Fetch::new(7, Digest::of(b"x"), missing);
            let again = Fetch::decode(&fetch.encode().unwrap()).unwrap();
            assert_eq!(again.indices(), indices);
        }
        assert!(Missing::of([]).is_none());
        assert_eq!(
            Missing::of([5, 300]).unwrap().indices().collect::<Vec<_>>(),
            [5],
            "the rest is for the next one"
        );
    }

    #[test]
    fn a_request_that_claims_too_much_gives_no_more_than_a_request_can() {
        let fetch = Fetch {
            token: 0,
            digest: Digest::of(b"x"),
            first: 0,
            count: u32::MAX,
            missing: vec![0xff; 400],
            wanted: vec![0xff; 400],
        };
        assert_eq!(fetch.indices().len(), MAX_FETCH_CHUNKS as usize);
        assert_eq!(fetch.wanted_indices().len(), MAX_FETCH_CHUNKS as usize);
    }

    /// What the first version's readers and writers knew.
    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct FirstFetch {
        token: u64,
        digest: Digest,
        first: u32,
        count: u32,
        #[serde(with = "serde_bytes")]
        missing: Vec<u8>,
    }

    #[test]
    fn a_listening_request_says_all_that_is_lacking() {
        let plain = Fetch::new(7, Digest::of(b"x"), Missing::of([3, 4]).unwrap());
        let fetch = plain.clone().listening([3, 4, 9, 258, 259]);
        let encoded = fetch.encode().unwrap();
        let again = Fetch::decode(&encoded).unwrap();
        assert_eq!(
            (again.indices(), again.wanted_indices()),
            (vec![3, 4], vec![3, 4, 9, 258])
        );
        assert!(encoded.len() <= MAX_FETCH_BYTES);
        let full = Fetch::new(u64::MAX, Digest::of(b"x"), Missing::of(0..256).unwrap()).listening(0..256);
        assert!(full.encode().unwrap().len() <= MAX_FETCH_BYTES);
        let old: FirstFetch = cbor::decode("fetch", &encoded, MAX_FETCH_BYTES).unwrap();
        assert_eq!(old.missing, plain.missing, "an old hub sends these");
        let from_old = Fetch::decode(&cbor::encode("fetch", &old).unwrap()).unwrap();
        assert_eq!((from_old.indices(), from_old.wanted_indices()), (vec![3, 4], vec![]));
        assert_eq!(plain.encode().unwrap(), cbor::encode("fetch", &old).unwrap());
    }

    #[test]
    fn a_chunk_unpacks_to_no_more_than_the_signed_list_says() {
        let chunk = vec![7; 5000];
        for message in [
            ChunkMessage::pack(1, Digest::of(b"x"), 2, &chunk),
            ChunkMessage::broadcast(Digest::of(b"x"), 2, &chunk, 0),
            ChunkMessage {
                body: ChunkBody::Data {
                    encoding: Encoding::Raw,
                    data: chunk.clone(),
                },
                ..ChunkMessage::unknown(1, Digest::of(b"x"), 2)
            },
        ] {
            let message = ChunkMessage::decode(&message.encode().unwrap()).unwrap();
            assert_eq!(message.clone().unpack_within(5000).unwrap().unwrap(), chunk);
            assert!(message.unpack_within(4999).is_err());
        }
    }

    #[test]
    fn chunks_round_trip_and_bombs_do_not_unpack() {
        let noise: Vec<u8> = (0..60_000_u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        for chunk in [vec![7; MAX_CHUNK_BYTES as usize], noise, vec![1]] {
            let message = ChunkMessage::pack(1, Digest::of(&chunk), 2, &chunk);
            let again = ChunkMessage::decode(&message.encode().unwrap()).unwrap();
            assert_eq!(again.unpack().unwrap().unwrap(), chunk);
        }
        let data = zstd::bulk::compress(&vec![0; 10 * MAX_CHUNK_BYTES as usize], 3).unwrap();
        let body = ChunkBody::Data {
            encoding: Encoding::Zstd,
            data,
        };
        let bomb = ChunkMessage {
            token: 0,
            digest: Digest::of(b"x"),
            index: 0,
            body,
            left: None,
        };
        assert!(matches!(bomb.unpack(), Err(DeliveryError::Unpack { .. })));
        assert_eq!(ChunkMessage::unknown(0, Digest::of(b"x"), 0).unpack(), Ok(None));
    }
}
