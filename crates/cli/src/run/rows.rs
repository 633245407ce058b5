//! Watches the rows of a table go by, so that a quote that nobody closes is an error at its line and not one row that
//! swallows the rest of the file.
//!
//! It reads quotes as the CSV reader behind it does: one at the start of a field opens it, a doubled one inside is a
//! character, any other closes it. It changes no byte.

use std::io::{self, Read};

/// Longer than any row of numbers; beyond it a quote is open or the file is none of rows.
const MAX_ROW_BYTES: u64 = 1024 * 1024;
/// Lines that one row may have, by line breaks inside quotes.
const MAX_ROW_LINES: u64 = 100;

/// Where in a row a byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before the first character of a field.
    FieldStart,
    /// In a field without quotes, or behind the one that closed it.
    Field,
    /// In a field with quotes.
    Quoted,
    /// Behind a quote in it, which closes it unless another one follows.
    QuoteInQuoted,
}

/// A reader that ends with an error at a row that is none.
#[derive(Debug)]
pub(super) struct Rows<R> {
    inner: R,
    delimiter: u8,
    place: Place,
    /// The line that is being read, from 1 up.
    line: u64,
    /// The line in which the row began.
    row_line: u64,
    row_bytes: u64,
    /// Why nothing more is read.
    broken: Option<String>,
}

impl<R: Read> Rows<R> {
    /// Watches a table whose columns are separated by `delimiter`.
    pub(super) fn new(inner: R, delimiter: u8) -> Self {
        Self {
            inner,
            delimiter,
            place: Place::FieldStart,
            line: 1,
            row_line: 1,
            row_bytes: 0,
            broken: None,
        }
    }

    /// Takes bytes in; how many of them belong to rows that are whole or may still become so.
    fn take(&mut self, bytes: &[u8]) -> usize {
        let mut whole = 0;
        for (index, &byte) in bytes.iter().enumerate() {
            if self.ends_row(byte) {
                whole = index + 1;
            }
            if let Some(problem) = self.problem() {
                self.broken = Some(problem);
                return whole;
            }
        }
        bytes.len()
    }

    /// Takes one byte in; whether a row ends with it.
    fn ends_row(&mut self, byte: u8) -> bool {
        self.row_bytes += 1;
        self.line += u64::from(byte == b'\n');
        let in_quotes = self.place == Place::Quoted;
        self.place = match (self.place, byte) {
            (Place::Quoted, b'"') => Place::QuoteInQuoted,
            (Place::Quoted, _) | (Place::FieldStart | Place::QuoteInQuoted, b'"') => Place::Quoted,
            (_, b'\n' | b'\r') => Place::FieldStart,
            (_, byte) if byte == self.delimiter => Place::FieldStart,
            _ => Place::Field,
        };
        let ends = matches!(byte, b'\n' | b'\r') && !in_quotes;
        if ends {
            self.row_line = self.line;
            self.row_bytes = 0;
        }
        ends
    }

    fn problem(&self) -> Option<String> {
        if self.line - self.row_line > MAX_ROW_LINES {
            let problem = format!("goes on for more than {MAX_ROW_LINES} lines; a quote (\") in it is not closed");
            return Some(self.at_row(&problem));
        }
        (self.row_bytes > MAX_ROW_BYTES).then(|| {
            let problem = format!("is longer than {MAX_ROW_BYTES} bytes; is a quote (\") in it not closed?");
            self.at_row(&problem)
        })
    }

    /// What is wrong with an end here.
    fn unended(&self) -> Option<String> {
        let problem = "has a quote (\") that is not closed before the end of the file";
        (self.place == Place::Quoted).then(|| self.at_row(problem))
    }

    fn at_row(&self, problem: &str) -> String {
        format!("line {}: the row that begins here {problem}", self.row_line)
    }

    fn failed(problem: &str) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, problem.to_owned())
    }
}

impl<R: Read> Read for Rows<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(problem) = &self.broken {
            return Err(Self::failed(problem));
        }
        let count = self.inner.read(buffer)?;
        if count == 0 && !buffer.is_empty() {
            self.broken = self.unended();
        }
        let passed = self.take(buffer.get(..count).unwrap_or_default());
        match &self.broken {
            // Rows before the broken one are given first; the error follows.
            Some(problem) if passed == 0 => Err(Self::failed(problem)),
            _ => Ok(passed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What goes by in pieces of `step` bytes, and the error that ends it.
    fn read(text: &str, step: usize) -> (String, Option<String>) {
        let mut rows = Rows::new(text.as_bytes(), b',');
        let (mut passed, mut buffer) = (Vec::new(), vec![0; step]);
        loop {
            match rows.read(&mut buffer) {
                Ok(0) => return (String::from_utf8(passed).unwrap(), None),
                Ok(count) => passed.extend_from_slice(&buffer[..count]),
                Err(error) => return (String::from_utf8(passed).unwrap(), Some(error.to_string())),
            }
        }
    }

    #[test]
    fn rows_that_are_right_go_by() {
        for text in [
            "",
            "a,b\n1,2",
            "a,b\r\n\"1\",\"2\r\n3\"\r\n",
            "a,b\n\"say \"\"hello\"\"\",2\n",
            "a,b\n5\" pipe,2\n1,2\"\n\"\",3\n",
            "a,b\r\"1\",2\r3,\"4\"\r",
        ] {
            for step in [1, 3, 4096] {
                assert_eq!(read(text, step), (text.to_owned(), None), "{step}");
            }
        }
    }

    #[test]
    fn a_quote_that_is_not_closed_is_told_with_its_line() {
        let good = "a,b\n1,2\n";
        let short = format!("{good}\"3,4\n5,6\n");
        let long = format!("{good}3,\"4\n{}", "5,6\n".repeat(1000));
        for (text, part) in [
            (short, "line 3: the row that begins here has a quote"),
            (long, "line 3: the row that begins here goes on for more than 100 lines"),
        ] {
            let (passed, error) = read(&text, 64 * 1024);
            assert!(error.as_ref().is_some_and(|error| error.contains(part)), "{error:?}");
            assert!(passed.starts_with(good), "{passed}");
            assert!(read(&text, 7).1.is_some_and(|error| error.contains(part)));
        }
    }

    #[test]
    fn a_row_that_is_too_long_is_told_with_its_line() {
        let text = format!("a,b\n1,{}", "2".repeat(2 << 20));
        let (passed, error) = read(&text, 4096);
        assert!(error.is_some_and(|error| error.starts_with("line 2: ")));
        assert!(passed.starts_with("a,b\n"));
    }
}
