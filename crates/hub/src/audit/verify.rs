//! Whether a chain is whole, and if not, where it breaks first and how.

use super::{Entry, GENESIS};
use std::fmt;
use std::iter::Peekable;

/// How far an entry is looked for under another number, to tell a moved one from a changed one.
const FAR: u64 = 64;

/// An entry that is known from elsewhere: from a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Its number.
    pub seq: u64,
    /// Its hash.
    pub hash: String,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Entries that were read up to the first broken one, or to the end.
    pub entries: u64,
    /// The hash of the last that is whole.
    pub head: String,
    /// The first break; `None`: the chain is whole.
    pub broken: Option<Broken>,
}

/// Where a chain breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The number of the first entry that isn't what was written.
    pub seq: u64,
    /// What happened to it.
    pub finding: Finding,
}

/// What happened to an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// Its content isn't what its hash says.
    Changed,
    /// It is gone.
    Removed,
    /// It was put in.
    Inserted,
    /// It is elsewhere.
    Reordered,
    /// The entry after it was written after another one: it was replaced, and its hash made anew.
    Replaced,
    /// A checkpoint knows another entry under its number: the chain was written anew up to there.
    Rewritten,
    /// It and all after it are gone: a checkpoint, or the database's own count, knows of more.
    Truncated,
}

impl Finding {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Removed => "removed",
            Self::Inserted => "inserted",
            Self::Reordered => "reordered",
            Self::Replaced => "replaced",
            Self::Rewritten => "rewritten",
            Self::Truncated => "truncated",
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seq = self.seq;
        match self.finding {
            Finding::Changed => write!(f, "entry {seq} was changed: its content isn't what its hash says"),
            Finding::Removed => write!(f, "entry {seq} was removed"),
            Finding::Inserted => write!(f, "entry {seq} was inserted"),
            Finding::Reordered => write!(f, "entry {seq} was moved: another one stands in its place"),
            Finding::Replaced => write!(
                f,
                "entry {seq} was replaced: the one after it was written after another"
            ),
            Finding::Rewritten => write!(
                f,
                "entry {seq} is another than the checkpoint's: the chain was written anew up to there"
            ),
            Finding::Truncated => write!(
                f,
                "entry {seq} and all after it were cut off: the checkpoint, or the database's own count, knows of more"
            ),
        }
    }
}

impl Verdict {
    /// Holds it against how many entries were written, as something says that is worth less than a checkpoint: fewer were
    /// cut off, and more prove nothing.
    #[must_use]
    pub fn with_written(mut self, written: u64) -> Self {
        if self.broken.is_none() && self.entries < written {
            self.broken = Some(Broken {
                seq: self.entries + 1,
                finding: Finding::Truncated,
            });
        }
        self
    }
}

/// Reads a chain from its first entry on, and holds it against what is known from elsewhere. The error is the source's.
pub fn verify<E>(entries: impl IntoIterator<Item = Result<Entry, E>>, marks: &[Mark]) -> Result<Verdict, E> {
    let mut entries = entries.into_iter().peekable();
    let (mut count, mut head) = (0, GENESIS.to_owned());
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let expected = count + 1;
        if let Some(broken) = broken(&entry, expected, &head, marks, &mut entries)? {
            return Ok(Verdict {
                entries: count,
                head,
                broken: Some(broken),
            });
        }
        (count, head) = (expected, entry.hash);
    }
    let beyond = marks.iter().any(|mark| mark.seq > count);
    let broken = beyond.then_some(Broken {
        seq: count + 1,
        finding: Finding::Truncated,
    });
    Ok(Verdict {
        entries: count,
        head,
        broken,
    })
}

fn broken<E>(
    entry: &Entry,
    expected: u64,
    head: &str,
    marks: &[Mark],
    rest: &mut Peekable<impl Iterator<Item = Result<Entry, E>>>,
) -> Result<Option<Broken>, E> {
    let found = |seq, finding| Ok(Some(Broken { seq, finding }));
    if entry.seq < expected {
        return found(entry.seq, Finding::Inserted);
    }
    if entry.seq > expected {
        let finding = if comes_later(expected, rest)? {
            Finding::Reordered
        } else {
            Finding::Removed
        };
        return found(expected, finding);
    }
    if entry.hash != entry.computed_hash() {
        let next = match rest.next() {
            Some(next) => Some(next?),
            None => None,
        };
        return found_moved(entry, next.as_ref());
    }
    if entry.previous != head {
        return match expected {
            1 => found(1, Finding::Removed),
            _ => found(expected - 1, Finding::Replaced),
        };
    }
    let other = marks.iter().any(|mark| mark.seq == expected && mark.hash != entry.hash);
    if other {
        found(expected, Finding::Rewritten)
    } else {
        Ok(None)
    }
}

/// Tells entries that got another number from one whose content was changed.
fn found_moved<E>(entry: &Entry, next: Option<&Entry>) -> Result<Option<Broken>, E> {
    let next_was = next.and_then(was);
    let (seq, finding) = match was(entry) {
        Some(before) if before < entry.seq => (before, Finding::Inserted),
        Some(_) if next_was == Some(entry.seq) => (entry.seq, Finding::Reordered),
        Some(_) => (entry.seq, Finding::Removed),
        // What was put in makes those after it one higher.
        None if next_was == Some(entry.seq) => (entry.seq, Finding::Inserted),
        None => (entry.seq, Finding::Changed),
    };
    Ok(Some(Broken { seq, finding }))
}

/// The number that an entry was written under, where it isn't its own.
fn was(entry: &Entry) -> Option<u64> {
    let near = entry.seq.saturating_sub(FAR).max(1)..=entry.seq.saturating_add(FAR);
    near.into_iter()
        .filter(|seq| *seq != entry.seq)
        .find(|seq| entry.hash_as(*seq) == entry.hash)
}

fn comes_later<E>(seq: u64, rest: &mut impl Iterator<Item = Result<Entry, E>>) -> Result<bool, E> {
    for entry in rest {
        if entry?.seq == seq {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    /// A chain of six.
    fn chain() -> Vec<Entry> {
        let mut previous = GENESIS.to_owned();
        (1..=6)
            .map(|seq| {
                let entry = sealed(Entry {
                    seq,
                    time_ms: 1000 + seq,
                    actor_kind: "token".to_owned(),
                    actor_name: format!("anna-{seq}"),
                    actor_roles: "admin".to_owned(),
                    actor_method: "bearer".to_owned(),
                    action: "pause".to_owned(),
                    subject: "press-1".to_owned(),
                    details: "{}".to_owned(),
                    previous: previous.clone(),
                    hash: String::new(),
                });
                previous.clone_from(&entry.hash);
                entry
            })
            .collect()
    }

    fn sealed(mut entry: Entry) -> Entry {
        entry.hash = entry.computed_hash();
        entry
    }

    fn check(change: impl FnOnce(&mut Vec<Entry>), marks: &[Mark], expected: Option<(u64, Finding)>) {
        let mut entries = chain();
        change(&mut entries);
        let verdict = verify(entries.into_iter().map(Ok::<_, Infallible>), marks).unwrap();
        assert_eq!(verdict.broken.map(|broken| (broken.seq, broken.finding)), expected);
    }

    #[test]
    fn each_way_of_tampering_is_told() {
        check(|_| {}, &[], None);
        check(Vec::clear, &[], None);
        check(
            |all| all[2].subject = "press-2".to_owned(),
            &[],
            Some((3, Finding::Changed)),
        );
        check(
            |all| all[2].previous = GENESIS.to_owned(),
            &[],
            Some((3, Finding::Changed)),
        );
        check(|all| drop(all.remove(2)), &[], Some((3, Finding::Removed)));
        check(|all| drop(all.remove(0)), &[], Some((1, Finding::Removed)));
        check(|all| all.swap(2, 3), &[], Some((3, Finding::Reordered)));
        check(|all| all.insert(3, all[2].clone()), &[], Some((3, Finding::Inserted)));
        let renumber = |all: &mut Vec<Entry>| (1..).zip(all).for_each(|(seq, entry)| entry.seq = seq);
        check(
            |all| {
                all.remove(2);
                renumber(all);
            },
            &[],
            Some((3, Finding::Removed)),
        );
        check(
            |all| {
                all.swap(2, 3);
                renumber(all);
            },
            &[],
            Some((3, Finding::Reordered)),
        );
        let insert = |mut forged: Entry, all: &mut Vec<Entry>| {
            forged.actor_name = "mallory".to_owned();
            all.insert(2, sealed(forged));
        };
        check(
            |all| {
                insert(all[2].clone(), all);
                renumber(all);
            },
            &[],
            Some((3, Finding::Inserted)),
        );
        check(
            |all| {
                all[2].actor_name = "mallory".to_owned();
                all[2] = sealed(all[2].clone());
            },
            &[],
            Some((3, Finding::Replaced)),
        );
    }

    #[test]
    fn a_checkpoint_tells_a_cut_and_a_chain_made_anew() {
        let mark = |seq: u64| Mark {
            seq,
            hash: chain()[seq as usize - 1].hash.clone(),
        };
        let rewrite = |all: &mut Vec<Entry>| {
            all[3].subject = "press-2".to_owned();
            let mut previous = all[2].hash.clone();
            for entry in &mut all[3..] {
                entry.previous = previous;
                *entry = sealed(entry.clone());
                previous = entry.hash.clone();
            }
        };
        check(|_| {}, &[mark(3), mark(6)], None);
        check(|all| all.truncate(4), &[], None);
        check(|all| all.truncate(4), &[mark(5)], Some((5, Finding::Truncated)));
        check(Vec::clear, &[mark(5)], Some((1, Finding::Truncated)));
        let cut = |written| {
            let four = chain().into_iter().take(4).map(Ok::<_, Infallible>);
            verify(four, &[]).unwrap().with_written(written).broken
        };
        let cut_off = Broken {
            seq: 5,
            finding: Finding::Truncated,
        };
        assert_eq!([3, 4, 5].map(cut), [None, None, Some(cut_off)]);
        check(rewrite, &[mark(3)], None);
        check(rewrite, &[mark(6)], Some((6, Finding::Rewritten)));
    }

    #[test]
    fn an_entry_has_one_hash() {
        let entry = chain().remove(0);
        let mut other = entry.clone();
        (other.subject, other.details) = (format!("{}{}", other.subject, other.details), String::new());
        assert_ne!(
            entry.computed_hash(),
            other.computed_hash(),
            "no field runs into the next"
        );
        assert_eq!(
            entry.hash, "9ced3a95d8bacc4709d2a1cdbc9648dd92dd40329d19136190d7054fe9adeda8",
            "what is stored has to be verified by later versions"
        );
    }
}
