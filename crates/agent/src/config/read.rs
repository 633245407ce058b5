//! Takes a TOML table apart key by key, and keeps every mistake instead of stopping at the first.
//!
//! A key that nobody asked for is unknown, and refused: a misspelt one would otherwise be a default in disguise.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use toml::{Table, Value};

use super::Mistake;

/// Mistakes in one file beyond which the rest is left out: nobody reads on, and the file may be anything.
const MAX_MISTAKES: usize = 64;

/// What all parts of one file's reading share.
#[derive(Debug)]
pub(super) struct Shared {
    /// Paths in the file are relative to this.
    base: PathBuf,
    mistakes: RefCell<Vec<Mistake>>,
    /// Files that have to be there, with the keys that name them.
    files: RefCell<Vec<(String, PathBuf)>>,
    /// Every key that was asked for, list positions left out.
    asked: RefCell<BTreeSet<String>>,
}

impl Shared {
    pub(super) fn new(base: &Path) -> Self {
        Self {
            base: base.to_owned(),
            mistakes: RefCell::default(),
            files: RefCell::default(),
            asked: RefCell::default(),
        }
    }

    /// Notes a mistake.
    pub(super) fn mistake(&self, key: impl Into<String>, problem: impl Display) {
        let mut mistakes = self.mistakes.borrow_mut();
        if mistakes.len() < MAX_MISTAKES {
            mistakes.push(Mistake {
                key: key.into(),
                problem: problem.to_string(),
            });
        }
    }

    /// All mistakes and all files that have to be there.
    pub(super) fn into_parts(self) -> (Vec<Mistake>, Vec<(String, PathBuf)>) {
        (self.mistakes.into_inner(), self.files.into_inner())
    }

    /// Every key there is, in a test that holds the example against it.
    #[cfg(test)]
    pub(super) fn asked(&self) -> BTreeSet<String> {
        self.asked.borrow().clone()
    }
}

/// One table of the file.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    table: Table,
    /// The table's own key with a dot, as `telemetry.`, or nothing at the top.
    prefix: String,
    shared: &'a Shared,
    known: Vec<&'static str>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(table: Table, prefix: String, shared: &'a Shared) -> Self {
        Self {
            table,
            prefix,
            shared,
            known: Vec::new(),
        }
    }

    /// The full name of a key.
    pub(super) fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// The folder that paths are relative to.
    pub(super) fn base(&self) -> &Path {
        &self.shared.base
    }

    /// Notes a mistake at a key.
    pub(super) fn mistake(&self, key: &str, problem: impl Display) {
        self.shared.mistake(self.key(key), problem);
    }

    /// The value of a key that has to be there: where it isn't, that is a mistake and `None`.
    pub(super) fn need<T>(
        &mut self,
        key: &'static str,
        example: &str,
        read: impl FnOnce(&mut Self, &'static str) -> Option<T>,
    ) -> Option<T> {
        if !self.table.contains_key(key) {
            self.ask(key);
            self.mistake(key, format!("is missing; say for example {key} = {example}"));
            return None;
        }
        read(self, key)
    }

    /// A text.
    pub(super) fn text(&mut self, key: &'static str) -> Option<String> {
        match self.take(key)? {
            Value::String(text) if !text.is_empty() && !text.contains('\0') => Some(text),
            Value::String(_) => self.refuse(key, "is empty; leave the key out, or give it a text"),
            other => self.wrong(key, "a text in quotes", &other),
        }
    }

    /// A text that is read as something else.
    pub(super) fn parsed<T: FromStr<Err: Display>>(&mut self, key: &'static str) -> Option<T> {
        let text = self.text(key)?;
        text.parse().map_err(|error| self.mistake(key, error)).ok()
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&mut self, key: &'static str, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text(key)?;
        let found = choices.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let words: Vec<String> = choices.iter().map(|(word, _)| format!("{word:?}")).collect();
            self.mistake(key, format!("is {text:?}; it has to be {}", words.join(" or ")));
        }
        found
    }

    /// A whole number within a range.
    pub(super) fn number(&mut self, key: &'static str, range: &RangeInclusive<u64>) -> Option<u64> {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        match self.take(key)? {
            Value::Integer(number) => {
                let fitting = u64::try_from(number).ok().filter(|number| range.contains(number));
                if fitting.is_none() {
                    self.mistake(key, format!("is {number}; it has to be {expected}"));
                }
                fitting
            }
            other => self.wrong(key, &expected, &other),
        }
    }

    /// A number above zero, at most `most`, with or without a fraction.
    pub(super) fn positive(&mut self, key: &'static str, most: f64) -> Option<f64> {
        let value = self.take(key)?;
        let number = match &value {
            Value::Integer(number) => *number as f64,
            Value::Float(number) => *number,
            _ => f64::NAN,
        };
        if number > 0.0 && number <= most {
            return Some(number);
        }
        self.wrong(key, &format!("a number above 0, at most {most}"), &value)
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, key: &'static str) -> Option<bool> {
        match self.take(key)? {
            Value::Boolean(flag) => Some(flag),
            other => self.wrong(key, "true or false, without quotes", &other),
        }
    }

    /// A path, relative to the configuration's folder.
    pub(super) fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        self.text(key).map(|text| self.shared.base.join(text))
    }

    /// The path of a file that has to be there.
    pub(super) fn file(&mut self, key: &'static str) -> Option<PathBuf> {
        let path = self.path(key)?;
        self.shared.files.borrow_mut().push((self.key(key), path.clone()));
        Some(path)
    }

    /// A table within this one.
    pub(super) fn section(&mut self, key: &'static str) -> Option<Reader<'a>> {
        match self.take(key)? {
            Value::Table(table) => Some(Reader::new(table, format!("{}.", self.key(key)), self.shared)),
            other => self.wrong(key, &format!("a section, [{key}]"), &other),
        }
    }

    /// A list of tables within this one, at most `most`, counted from 1 in messages.
    pub(super) fn sections(&mut self, key: &'static str, most: usize) -> Vec<Reader<'a>> {
        let expected = format!("a list of sections, [[{key}]]");
        let list = match self.take(key) {
            None => return Vec::new(),
            Some(Value::Array(list)) => list,
            Some(other) => {
                self.wrong::<()>(key, &expected, &other);
                return Vec::new();
            }
        };
        if list.len() > most {
            self.mistake(
                key,
                format!("there are {}, and at most {most} are possible", list.len()),
            );
        }
        let mut readers = Vec::new();
        for (index, value) in list.into_iter().take(most).enumerate() {
            match value {
                Value::Table(table) => {
                    let prefix = format!("{}[{}].", self.key(key), index + 1);
                    readers.push(Reader::new(table, prefix, self.shared));
                }
                other => drop(self.wrong::<()>(key, &expected, &other)),
            }
        }
        readers
    }

    /// Refuses what nobody asked for.
    pub(super) fn finish(self) {
        for key in self.table.keys() {
            self.mistake(key, format!("is unknown; known here are {}", self.known.join(", ")));
        }
    }

    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.ask(key);
        self.table.remove(key)
    }

    fn ask(&mut self, key: &'static str) {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.shared.asked.borrow_mut().insert(without_positions(&self.key(key)));
    }

    fn refuse<T>(&self, key: &str, problem: &str) -> Option<T> {
        self.mistake(key, problem);
        None
    }

    fn wrong<T>(&self, key: &str, expected: &str, found: &Value) -> Option<T> {
        let shown: String = found.to_string().chars().take(40).collect();
        self.mistake(key, format!("is {shown}; it has to be {expected}"));
        None
    }
}

/// `source[2].topic` as `source.topic`.
fn without_positions(key: &str) -> String {
    let mut inside = false;
    key.chars()
        .filter(|c| {
            inside = *c == '[' || (inside && *c != ']');
            !inside && *c != ']'
        })
        .collect()
}
