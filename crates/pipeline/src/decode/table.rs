//! Rows of CSV, a row a line: on a device and on a workstation alike.
//!
//! Each line is taken apart by itself, so that a quote that nobody closes spoils its own row and no other.

use super::lines::{Line, Lines};
use csv::{ByteRecord, Position, Reader, ReaderBuilder, StringRecord};
use std::io::{self, BufRead, Cursor, SeekFrom};
use std::sync::Arc;

/// Takes the rows of one file apart.
#[derive(Debug)]
pub struct Table {
    /// Reads one line after the other, each from its beginning: making a reader costs more than reading a row.
    reader: Reader<Cursor<Vec<u8>>>,
    header: Arc<StringRecord>,
}

impl Table {
    /// Reads the header, which is the first line with something on it. `None` when there is none.
    ///
    /// # Errors
    /// When the header is too long, or what the reader says.
    pub fn begin(lines: &mut Lines<impl BufRead>, delimiter: Option<char>) -> io::Result<Option<Self>> {
        let mut line = Vec::new();
        while line.is_empty() {
            match lines.read(&mut line)? {
                None => return Ok(None),
                Some(Line::Whole) => {}
                Some(Line::TooLong) => {
                    let problem = format!("line {} is too long for a header", lines.number());
                    return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
                }
            }
        }
        let delimiter = delimiter.map_or_else(|| sniff(&line), |given| u8::try_from(given).unwrap_or(b','));
        let reader = ReaderBuilder::new()
            .delimiter(delimiter)
            .flexible(true)
            .has_headers(false)
            .from_reader(Cursor::new(Vec::new()));
        let mut table = Self {
            reader,
            header: Arc::default(),
        };
        table.header = Arc::new(table.row(&mut line)?);
        Ok(Some(table))
    }

    /// The names of the columns.
    #[must_use]
    pub fn header(&self) -> Arc<StringRecord> {
        Arc::clone(&self.header)
    }

    /// Takes a line apart. What isn't UTF-8 becomes a character that no number has.
    ///
    /// # Errors
    /// None that a line could cause.
    pub fn row(&mut self, line: &mut Vec<u8>) -> io::Result<StringRecord> {
        let mut row = ByteRecord::with_capacity(line.len(), self.header.len());
        *self.reader.get_mut() = Cursor::new(std::mem::take(line));
        self.reader
            .seek_raw(SeekFrom::Start(0), Position::new())
            .map_err(io::Error::other)?;
        self.reader.read_byte_record(&mut row).map_err(io::Error::other)?;
        *line = std::mem::take(self.reader.get_mut()).into_inner();
        Ok(StringRecord::from_byte_record_lossy(row))
    }
}

/// What stands between columns, in the order in which it is preferred.
const DELIMITERS: [u8; 3] = *b",;\t";

/// The delimiter that the line has most of.
fn sniff(line: &[u8]) -> u8 {
    let count = |wanted: u8| line.iter().filter(|&&byte| byte == wanted).count();
    // The last of equals wins in `max_by_key`, so the preferred one goes last.
    let most = DELIMITERS.into_iter().rev().max_by_key(|&delimiter| count(delimiter));
    most.unwrap_or(b',')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[u8]) -> Lines<&[u8]> {
        Lines::new(text, 100, Arc::default())
    }

    fn check(text: &[u8], delimiter: Option<char>, expected: &[&[&str]]) {
        let mut lines = lines(text);
        let mut table = Table::begin(&mut lines, delimiter).unwrap().unwrap();
        let mut rows = vec![StringRecord::clone(&table.header())];
        let mut line = Vec::new();
        while lines.read(&mut line).unwrap().is_some() {
            rows.push(table.row(&mut line).unwrap());
        }
        let rows: Vec<Vec<&str>> = rows.iter().map(|row| row.iter().collect()).collect();
        assert_eq!(rows, expected, "{text:?}");
    }

    #[test]
    fn each_row_is_a_line() {
        check(
            b"\n\na;b\r\n1;2\r\n3,5;4",
            None,
            &[&["a", "b"], &["1", "2"], &["3,5", "4"]],
        );
        check(b"\xef\xbb\xbfa\tb\n\t\n", Some('\t'), &[&["a", "b"], &["", ""]]);
        check(b"a\tb\n1\t2\n", None, &[&["a", "b"], &["1", "2"]]);
        check(b"a,b\n\"1\",\"x \"\"y\"\"\"\n", None, &[&["a", "b"], &["1", "x \"y\""]]);
    }

    #[test]
    fn a_stray_quote_or_byte_spoils_its_own_row_alone() {
        check(
            b"a,b\n1,2\n\"3,4\n5,6\n7\xb0,8\n9,10\n",
            None,
            &[
                &["a", "b"],
                &["1", "2"],
                &["3,4"],
                &["5", "6"],
                &["7\u{fffd}", "8"],
                &["9", "10"],
            ],
        );
    }

    #[test]
    fn a_file_without_a_header_has_no_rows() {
        assert!(Table::begin(&mut lines(b"\r\n\n"), None).unwrap().is_none());
        let error = Table::begin(&mut lines(&[b'a'; 101]), None).unwrap_err();
        assert_eq!(error.to_string(), "line 1 is too long for a header");
    }
}
