//! From a record to the states that a power cut can leave.

use super::random::Random;
use super::recorder::{Content, Entry, Name, Node, Step};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

/// What became of the steps that weren't durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// All of them were done.
    None,
    /// This one wasn't.
    Dropped(usize),
    /// This one was done by half.
    Torn(usize),
    /// None was done.
    AllDropped,
    /// Two of them weren't done as they should have been.
    Two(Loss, Loss),
}

/// What became of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss {
    /// The step.
    pub step: usize,
    /// Whether it was done by half; otherwise it wasn't done.
    pub torn: bool,
}

/// A moment and a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crash {
    /// How many steps had been asked for.
    pub at: usize,
    /// What became of those that weren't durable.
    pub fault: Fault,
}

/// Every crash there can be: after each step, with each fault.
#[must_use]
pub fn crashes<T>(steps: &[Step<T>]) -> Vec<Crash> {
    let mut found = Vec::new();
    for at in 0..=steps.len() {
        let done = steps.get(..at).unwrap_or_default();
        found.push(Crash { at, fault: Fault::None });
        let pending: Vec<usize> = (0..at).filter(|&index| !is_durable(done, index)).collect();
        for &index in &pending {
            let fault = |fault| Crash { at, fault };
            match done.get(index) {
                Some(Step::Write(..)) => found.extend([fault(Fault::Dropped(index)), fault(Fault::Torn(index))]),
                Some(Step::Rename(_, new)) if names_synced(done, index, new) => {
                    found.push(fault(Fault::Torn(index)));
                }
                Some(Step::Rename(..)) => found.extend([fault(Fault::Dropped(index)), fault(Fault::Torn(index))]),
                _ => found.push(fault(Fault::Dropped(index))),
            }
        }
        if pending.len() > 1 {
            found.push(Crash {
                at,
                fault: Fault::AllDropped,
            });
        }
    }
    found
}

/// Crashes with two faults at once, drawn by a seed from all moments at which two steps weren't durable.
#[must_use]
pub fn pairs<T>(steps: &[Step<T>], count: usize, seed: u64) -> Vec<Crash> {
    let single: Vec<Crash> = crashes(steps);
    let mut by_moment: BTreeMap<usize, Vec<Loss>> = BTreeMap::new();
    for Crash { at, fault } in single {
        let loss = match fault {
            Fault::Dropped(step) => Loss { step, torn: false },
            Fault::Torn(step) => Loss { step, torn: true },
            _ => continue,
        };
        by_moment.entry(at).or_default().push(loss);
    }
    let moments: Vec<(usize, Vec<Loss>)> = by_moment
        .into_iter()
        .filter(|(_, losses)| {
            losses
                .iter()
                .any(|loss| losses.first().is_some_and(|first| first.step != loss.step))
        })
        .collect();
    let mut random = Random::new(seed);
    let mut found = Vec::with_capacity(count);
    // Most draws fit; the bound is for records in which none does.
    for _ in 0..count.saturating_mul(20) {
        let Some((at, losses)) = moments.get(random.below(moments.len())) else {
            break;
        };
        let (one, other) = (
            losses.get(random.below(losses.len())),
            losses.get(random.below(losses.len())),
        );
        if let (Some(&one), Some(&other)) = (one, other)
            && one.step < other.step
        {
            found.push(Crash {
                at: *at,
                fault: Fault::Two(one, other),
            });
        }
        if found.len() == count {
            break;
        }
    }
    found
}

/// Whether the step at `index` can't be undone by a crash after `done`. What changes nothing is durable.
fn is_durable<T>(done: &[Step<T>], index: usize) -> bool {
    match done.get(index) {
        Some(Step::CreateDir(entry) | Step::Create(entry) | Step::Remove(entry)) => names_synced(done, index, entry),
        Some(Step::Rename(old, new)) => names_synced(done, index, old) && names_synced(done, index, new),
        Some(Step::Truncate(content) | Step::Allocate(content, _) | Step::Write(content, ..)) => {
            later(done, index).any(|step| matches!(step, Step::SyncFile(synced) if synced == content))
        }
        _ => true,
    }
}

fn names_synced<T>(done: &[Step<T>], index: usize, entry: &Entry) -> bool {
    later(done, index).any(|step| matches!(step, Step::SyncDir(Content(synced)) if *synced == entry.name.0))
}

fn later<T>(done: &[Step<T>], index: usize) -> impl Iterator<Item = &Step<T>> {
    done.iter().skip(index + 1)
}

/// A file system in memory.
#[derive(Debug, Default)]
struct Tree {
    names: BTreeMap<Name, Node>,
    files: BTreeMap<Node, Vec<u8>>,
}

impl Crash {
    /// Makes the state in an empty directory.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn restore<T>(&self, steps: &[Step<T>], into: &Path) -> io::Result<()> {
        let done = steps.get(..self.at).unwrap_or_default();
        let mut tree = Tree::default();
        for (index, step) in done.iter().enumerate() {
            match self.fault {
                Fault::Dropped(dropped) if dropped == index => {}
                Fault::AllDropped if !is_durable(done, index) => tree.drop_but_link(done, index, step),
                Fault::Torn(torn) if torn == index => tree.half(step),
                Fault::Two(one, other) if one.step == index || other.step == index => {
                    let loss = if one.step == index { one } else { other };
                    if loss.torn {
                        tree.half(step);
                    }
                }
                _ => tree.apply(step),
            }
        }
        tree.write(0, into)
    }

    /// The steps that had been asked for.
    pub fn done<'a, T>(&self, steps: &'a [Step<T>]) -> &'a [Step<T>] {
        steps.get(..self.at).unwrap_or_default()
    }
}

impl Tree {
    fn apply<T>(&mut self, step: &Step<T>) {
        match step {
            Step::CreateDir(entry) => drop(self.names.insert(entry.name.clone(), entry.node)),
            Step::Create(entry) => {
                self.names.insert(entry.name.clone(), entry.node);
                self.files.entry(entry.node).or_default();
            }
            Step::Truncate(Content(node)) => self.file(*node).clear(),
            Step::Allocate(Content(node), length) => {
                let length = usize::try_from(*length).unwrap_or(usize::MAX);
                self.file(*node).resize(length, 0);
            }
            Step::Write(Content(node), offset, bytes) => self.put(*node, *offset, bytes),
            Step::Rename(old, new) => {
                self.half(step);
                if self.names.get(&old.name) == Some(&new.node) {
                    self.names.remove(&old.name);
                }
            }
            Step::Remove(entry) => {
                if self.names.get(&entry.name) == Some(&entry.node) {
                    self.names.remove(&entry.name);
                }
            }
            Step::SyncFile(_) | Step::SyncDir(_) | Step::Mark(_) => {}
        }
    }

    fn half<T>(&mut self, step: &Step<T>) {
        match step {
            Step::Write(Content(node), offset, bytes) => {
                let half = bytes.get(..bytes.len() / 2).unwrap_or_default();
                self.put(*node, *offset, half);
            }
            Step::Rename(_, new) => drop(self.names.insert(new.name.clone(), new.node)),
            _ => {}
        }
    }

    /// A rename whose new name is durable has at least that.
    fn drop_but_link<T>(&mut self, done: &[Step<T>], index: usize, step: &Step<T>) {
        if let Step::Rename(_, new) = step
            && names_synced(done, index, new)
        {
            self.half(step);
        }
    }

    fn put(&mut self, node: Node, offset: u64, bytes: &[u8]) {
        let file = self.file(node);
        let begin = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = begin.saturating_add(bytes.len());
        if file.len() < end {
            file.resize(end, 0);
        }
        if let Some(place) = file.get_mut(begin..end) {
            place.copy_from_slice(bytes);
        }
    }

    fn file(&mut self, node: Node) -> &mut Vec<u8> {
        self.files.entry(node).or_default()
    }

    fn write(&self, dir: Node, into: &Path) -> io::Result<()> {
        for ((parent, name), node) in &self.names {
            if *parent != dir {
                continue;
            }
            let path = into.join(name);
            match self.files.get(node) {
                Some(bytes) => fs::write(path, bytes)?,
                None => {
                    fs::create_dir(&path)?;
                    self.write(*node, &path)?;
                }
            }
        }
        Ok(())
    }
}
