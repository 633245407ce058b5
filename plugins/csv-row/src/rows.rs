//! A message's rows, taken apart.

use csv_core::{ReadFieldResult, Reader, ReaderBuilder};

/// More columns than any table of a machine has.
pub(crate) const MAX_COLUMNS: usize = 4096;

/// How rows are written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dialect {
    pub(crate) separator: u8,
    pub(crate) quote: Option<u8>,
}

/// One row after another.
pub(crate) struct Table<'a> {
    reader: Reader,
    rest: &'a [u8],
    /// The current row's values, one behind the other. As long as the message: no value is longer.
    text: Vec<u8>,
    /// Where they end.
    ends: Vec<usize>,
}

/// A row's values.
#[derive(Clone, Copy)]
pub(crate) struct Row<'a> {
    text: &'a [u8],
    ends: &'a [usize],
}

impl<'a> Table<'a> {
    pub(crate) fn new(dialect: Dialect, payload: &'a [u8]) -> Self {
        let mut builder = ReaderBuilder::new();
        builder.delimiter(dialect.separator);
        match dialect.quote {
            Some(quote) => builder.quote(quote),
            None => builder.quoting(false),
        };
        Self {
            reader: builder.build(),
            rest: payload,
            text: vec![0; payload.len()],
            ends: Vec::new(),
        }
    }

    /// The next row; blank lines are none. Values beyond [`MAX_COLUMNS`] are joined to one more.
    pub(crate) fn next(&mut self) -> Option<Row<'_>> {
        let mut end = 0;
        self.ends.clear();
        loop {
            let space = self.text.get_mut(end..).unwrap_or_default();
            let (result, read, written) = self.reader.read_field(self.rest, space);
            self.rest = self.rest.get(read..).unwrap_or_default();
            end += written;
            match result {
                ReadFieldResult::InputEmpty => {}
                ReadFieldResult::Field { record_end } => {
                    if self.ends.len() > MAX_COLUMNS {
                        self.ends.pop();
                    }
                    self.ends.push(end);
                    if record_end {
                        break;
                    }
                }
                // No value is longer than the message, so the space for one doesn't run out.
                ReadFieldResult::OutputFull | ReadFieldResult::End => return None,
            }
        }
        Some(Row {
            text: &self.text,
            ends: &self.ends,
        })
    }
}

impl<'a> Row<'a> {
    pub(crate) const fn len(self) -> usize {
        self.ends.len()
    }

    /// The value in a column, without the blanks around it; `None` if there is no such column or it is no UTF-8.
    pub(crate) fn value(self, column: usize) -> Option<&'a str> {
        let end = *self.ends.get(column)?;
        let begin = column
            .checked_sub(1)
            .map_or(Some(0), |before| self.ends.get(before).copied())?;
        std::str::from_utf8(self.text.get(begin..end)?).ok().map(str::trim)
    }

    pub(crate) fn values(self) -> impl Iterator<Item = Option<&'a str>> {
        (0..self.len()).map(move |column| self.value(column))
    }
}

/// What follows so many line ends, `\n` or `\r\n`.
pub(crate) fn skip_lines(payload: &[u8], lines: usize) -> &[u8] {
    (0..lines).fold(payload, |rest, _| {
        let end = rest.iter().position(|&byte| byte == b'\n');
        end.and_then(|end| rest.get(end + 1..)).unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Vec<Vec<String>> {
        let dialect = Dialect {
            separator: b',',
            quote: Some(b'"'),
        };
        let mut table = Table::new(dialect, text.as_bytes());
        let mut rows = Vec::new();
        while let Some(row) = table.next() {
            rows.push(row.values().map(|value| value.unwrap().to_owned()).collect());
        }
        rows
    }

    #[test]
    fn rows_are_taken_apart() {
        assert_eq!(
            rows("a,b\r\n\r\n 1 ,\"x,\"\"y\"\"\nz\"\n,\n"),
            [["a", "b"], ["1", "x,\"y\"\nz"], ["", ""]]
        );
        assert_eq!(rows("1,2"), [["1", "2"]]);
        assert_eq!(rows("\u{feff}a\n"), [["a"]]);
        assert_eq!(rows(""), [[""; 0]; 0]);
        assert_eq!(rows(&",".repeat(10_000))[0].len(), MAX_COLUMNS + 1);
    }

    #[test]
    fn lines_are_skipped() {
        assert_eq!(skip_lines(b"a\r\nb\nc", 2), b"c");
        assert_eq!(skip_lines(b"a", 2), b"");
        assert_eq!(skip_lines(b"a", 0), b"a");
    }
}
