//! The lines of a file, each within a bound: one that has no end can't fill the memory, and takes nothing else with it.

use std::io::{self, BufRead};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What some editors put at the beginning of a file; no part of what it says.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What became of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// It was read.
    Whole,
    /// It is longer than the bound, and was passed over.
    TooLong,
}

/// Reads line by line. A line ends with `\n`, `\r\n` or `\r`.
#[derive(Debug)]
pub struct Lines<R> {
    from: R,
    max_bytes: usize,
    stop: Arc<AtomicBool>,
    number: u64,
    /// The last line ended with `\r`: a `\n` that follows belongs to its end.
    returned: bool,
}

impl<R: BufRead> Lines<R> {
    /// Lines of at most `max_bytes` bytes, until the end or until `stop` is set.
    pub fn new(from: R, max_bytes: usize, stop: Arc<AtomicBool>) -> Self {
        Self {
            from,
            max_bytes,
            stop,
            number: 0,
            returned: false,
        }
    }

    /// The number of the line that was read last, from 1.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Puts the next line into `line`, without its end; nothing of one that is too long. `None` when there are no more.
    ///
    /// # Errors
    /// What the reader says.
    pub fn read(&mut self, line: &mut Vec<u8>) -> io::Result<Option<Line>> {
        line.clear();
        self.number += 1;
        let (mut begun, mut fits) = (false, true);
        while !self.stop.load(Ordering::Relaxed) {
            let buffer = match self.from.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                filled => filled?,
            };
            if buffer.is_empty() {
                return Ok(begun.then(|| self.finished(line, fits)));
            }
            if std::mem::take(&mut self.returned) && buffer.first() == Some(&b'\n') {
                self.from.consume(1);
                continue;
            }
            begun = true;
            let end = buffer.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let part = buffer.get(..end.unwrap_or(buffer.len())).unwrap_or_default();
            fits = fits && part.len() <= self.max_bytes - line.len();
            if fits {
                line.extend_from_slice(part);
            }
            self.returned = end.and_then(|at| buffer.get(at)) == Some(&b'\r');
            let used = part.len() + usize::from(end.is_some());
            self.from.consume(used);
            if end.is_some() {
                return Ok(Some(self.finished(line, fits)));
            }
        }
        Ok(None)
    }

    fn finished(&self, line: &mut Vec<u8>, fits: bool) -> Line {
        if !fits {
            // Its memory, too: the next one is short.
            *line = Vec::new();
            return Line::TooLong;
        }
        if self.number == 1 && line.starts_with(BYTE_ORDER_MARK) {
            line.drain(..BYTE_ORDER_MARK.len());
        }
        Line::Whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufReader;

    /// Reads with a buffer of three bytes, so that lines and their ends are cut everywhere.
    fn check(text: &[u8], expected: &[(&str, Line)]) {
        for buffer in [3, 4, 4096] {
            let from = BufReader::with_capacity(buffer, text);
            let mut lines = Lines::new(from, 8, Arc::default());
            let mut line = Vec::new();
            for (index, &(content, kind)) in expected.iter().enumerate() {
                assert_eq!(lines.read(&mut line).unwrap(), Some(kind), "{text:?}");
                assert_eq!(
                    (String::from_utf8_lossy(&line).as_ref(), lines.number()),
                    (content, index as u64 + 1)
                );
            }
            assert_eq!(lines.read(&mut line).unwrap(), None, "{text:?}");
        }
    }

    #[test]
    fn lines_end_in_every_way() {
        let whole = |content| (content, Line::Whole);
        check(b"", &[]);
        check(b"\n", &[whole("")]);
        check(b"one\ntwo", &[whole("one"), whole("two")]);
        check(b"one\r\n\r\ntwo\r\n", &[whole("one"), whole(""), whole("two")]);
        check(b"one\rtwo\r", &[whole("one"), whole("two")]);
        check(b"\xef\xbb\xbfone\n\xef\xbb\xbf\n", &[whole("one"), whole("\u{feff}")]);
    }

    #[test]
    fn a_line_that_is_too_long_takes_no_other_with_it() {
        check(
            b"12345678\n123456789\nshort\n1234567890123",
            &[
                ("12345678", Line::Whole),
                ("", Line::TooLong),
                ("short", Line::Whole),
                ("", Line::TooLong),
            ],
        );
    }

    #[test]
    fn a_file_without_an_end_is_left_when_the_agent_stops() {
        let stop = Arc::new(AtomicBool::new(true));
        let mut lines = Lines::new(BufReader::new(io::repeat(b'x')), 8, stop);
        assert_eq!(lines.read(&mut Vec::new()).unwrap(), None);
    }
}
