//! A spool's database in memory, with a record of what was written to it, and what a power cut can leave of that.

use super::random::Random;
use floorhand_store::{Medium, MediumFile};
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a disk writes as a whole or not at all.
const SECTOR_BYTES: usize = 512;

/// An operation, or what the caller says between two of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TapeStep<T> {
    /// A length was set.
    Length(u64),
    /// Bytes were written.
    Write(u64, Vec<u8>),
    /// What came before was made durable.
    Sync,
    /// The caller's own.
    Mark(T),
}

/// An operation that fails, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TapeFault {
    /// The first operation that fails, counting writes, lengths and syncs from 0.
    pub first: u64,
    /// How many fail from there on.
    pub count: u64,
    /// What the system says.
    pub error: io::ErrorKind,
    /// Whether what fails is done nevertheless: a sync can fail behind the last byte.
    pub done: bool,
}

struct Log<T> {
    content: Vec<u8>,
    steps: Vec<TapeStep<T>>,
    operations: u64,
    fault: Option<TapeFault>,
}

/// The medium. Clones share the content and the record.
pub struct Tape<T> {
    log: Arc<Mutex<Log<T>>>,
}

impl<T> Clone for Tape<T> {
    fn clone(&self) -> Self {
        Self {
            log: Arc::clone(&self.log),
        }
    }
}

impl<T> fmt::Debug for Tape<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tape({} steps)", self.lock().steps.len())
    }
}

impl<T: Clone> Tape<T> {
    /// A medium that has this content, durably.
    #[must_use]
    pub fn new(content: Vec<u8>) -> Self {
        let log = Log {
            content,
            steps: Vec::new(),
            operations: 0,
            fault: None,
        };
        Self {
            log: Arc::new(Mutex::new(log)),
        }
    }

    /// Lets operations fail.
    pub fn fail(&self, fault: Option<TapeFault>) {
        self.lock().fault = fault;
    }

    /// How many operations were asked for, reads aside.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Writes down something of the caller's own, at this place.
    pub fn mark(&self, mark: T) {
        self.lock().steps.push(TapeStep::Mark(mark));
    }

    /// All that was recorded.
    #[must_use]
    pub fn steps(&self) -> Vec<TapeStep<T>> {
        self.lock().steps.clone()
    }
}

impl<T> Tape<T> {
    fn lock(&self) -> MutexGuard<'_, Log<T>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Log<T> {
    /// Does an operation and records it, unless it shall fail.
    fn operation(&mut self, step: TapeStep<T>) -> io::Result<()> {
        let number = self.operations;
        self.operations += 1;
        let fails = |fault: &TapeFault| (fault.first..fault.first.saturating_add(fault.count)).contains(&number);
        let fault = self.fault.filter(fails);
        if fault.is_none_or(|fault| fault.done) {
            apply(&mut self.content, &step, |_| true);
            self.steps.push(step);
        }
        match fault {
            Some(fault) => Err(io::Error::from(fault.error)),
            None => Ok(()),
        }
    }
}

impl<T: Send + 'static> Medium for Tape<T> {
    fn open(&self, _path: &Path) -> io::Result<Box<dyn MediumFile>> {
        Ok(Box::new(self.clone()))
    }
}

impl<T: Send + 'static> MediumFile for Tape<T> {
    fn length(&self) -> io::Result<u64> {
        Ok(self.lock().content.len() as u64)
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let log = self.lock();
        let begin = usize::try_from(offset).unwrap_or(usize::MAX);
        let found = log.content.get(begin..begin.saturating_add(bytes.len()));
        bytes.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.lock().operation(TapeStep::Length(length))
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.lock().operation(TapeStep::Write(offset, bytes.to_vec()))
    }

    fn sync(&self) -> io::Result<()> {
        self.lock().operation(TapeStep::Sync)
    }
}

/// Does a step as far as `sector` lets the sectors of a write pass.
fn apply<T>(content: &mut Vec<u8>, step: &TapeStep<T>, mut sector: impl FnMut(usize) -> bool) {
    match step {
        TapeStep::Length(length) => content.resize(usize::try_from(*length).unwrap_or(usize::MAX), 0),
        TapeStep::Write(offset, bytes) => {
            let begin = usize::try_from(*offset).unwrap_or(usize::MAX);
            for (index, piece) in bytes.chunks(SECTOR_BYTES).enumerate() {
                if !sector(index) {
                    continue;
                }
                let (from, to) = (begin + index * SECTOR_BYTES, begin + index * SECTOR_BYTES + piece.len());
                if content.len() < to {
                    content.resize(to, 0);
                }
                if let Some(place) = content.get_mut(from..to) {
                    place.copy_from_slice(piece);
                }
            }
        }
        TapeStep::Sync | TapeStep::Mark(_) => {}
    }
}

/// States that a power cut can leave, drawn by a seed: at a random moment, what no sync had made durable is there, or isn't,
/// or is there in some of its sectors.
///
/// `look` gets the moment as a number of steps, what became of the rest in words, and the content. `begin` is the content
/// before the first step.
pub fn sample_tape<T>(
    begin: &[u8],
    steps: &[TapeStep<T>],
    count: usize,
    seed: u64,
    mut look: impl FnMut(usize, &str, Vec<u8>),
) {
    let mut random = Random::new(seed);
    let mut moments: Vec<usize> = (0..count).map(|_| random.below(steps.len() + 1)).collect();
    moments.sort_unstable();
    // What is durable at the moment, and up to which step.
    let (mut durable, mut until) = (begin.to_vec(), 0);
    for at in moments {
        let done = steps.get(..at).unwrap_or_default();
        let synced = done
            .iter()
            .rposition(|step| matches!(step, TapeStep::Sync))
            .unwrap_or(0);
        for step in done.get(until..synced).unwrap_or_default() {
            apply(&mut durable, step, |_| true);
        }
        until = until.max(synced);
        let mut content = durable.clone();
        let what = scatter(&mut content, done.get(until..).unwrap_or_default(), &mut random);
        look(at, what, content);
    }
}

/// Does with steps that aren't durable what a power cut may do.
fn scatter<T>(content: &mut Vec<u8>, pending: &[TapeStep<T>], random: &mut Random) -> &'static str {
    let (kind, chosen) = (random.below(6), random.below(pending.len().max(1)));
    for (index, step) in pending.iter().enumerate() {
        match kind {
            0 => apply(content, step, |_| true),
            1 => {}
            2 if random.coin() => apply(content, step, |_| true),
            2 => {}
            3 if index == chosen => {}
            4 if index == chosen => {
                // Torn at one place.
                let reached = random.below(16);
                apply(content, step, |sector| sector < reached);
            }
            3 | 4 => apply(content, step, |_| true),
            _ => apply(content, step, |_| random.coin()),
        }
    }
    let kinds = [
        "all done",
        "none done",
        "some done",
        "one dropped",
        "one torn",
        "sectors scattered",
    ];
    kinds.get(kind).copied().unwrap_or_default()
}
