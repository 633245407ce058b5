//! Samples from a file: CSV or one JSON object a line, read as a stream so that a file may be larger than memory.

use super::rows::Rows;
use anyhow::{Context, Error, Result, anyhow};
use clap::ValueEnum;
use floorhand_bundle::InputSpec;
use floorhand_pipeline::Sample;
use floorhand_pipeline::decode::{self, CsvDecoder, MAX_SAMPLE_BYTES};
use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::rc::Rc;

/// What stands between columns, in the order in which it is preferred.
const DELIMITERS: [u8; 3] = *b",;\t";
/// Enough to see the whole header of a wide table.
const BUFFER_BYTES: usize = 64 * 1024;
/// The byte order mark that some programs put before UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What an input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// A table with a header.
    Csv,
    /// One JSON object a line.
    Jsonl,
}

/// An input that samples are taken from.
pub(super) struct Input {
    samples: Samples,
    inputs: Vec<InputSpec>,
    read: Rc<Counts>,
    length: Option<u64>,
    /// The last line of JSON that was read.
    line: u64,
}

enum Samples {
    Csv(Box<csv::Reader<Rows<Source>>>, CsvDecoder),
    Jsonl(Source),
}

type Source = BufReader<Bounded<Box<dyn Read>>>;

impl Input {
    /// Opens a file, or standard input for `-`, and reads the header of a table.
    pub(super) fn open(
        path: &Path,
        format: Option<Format>,
        delimiter: Option<char>,
        inputs: &[InputSpec],
    ) -> Result<Self> {
        let (reader, length): (Box<dyn Read>, _) = if path == Path::new("-") {
            (Box::new(io::stdin()), None)
        } else {
            let file = File::open(path).with_context(|| format!("{} can't be read", path.display()))?;
            let length = file
                .metadata()
                .ok()
                .filter(std::fs::Metadata::is_file)
                .map(|metadata| metadata.len());
            (Box::new(file), length)
        };
        Self::new(reader, length, format, delimiter, inputs).with_context(|| path.display().to_string())
    }

    fn new(
        reader: Box<dyn Read>,
        length: Option<u64>,
        format: Option<Format>,
        delimiter: Option<char>,
        inputs: &[InputSpec],
    ) -> Result<Self> {
        let read = Rc::<Counts>::default();
        let bounded = Bounded {
            inner: reader,
            counts: Rc::clone(&read),
        };
        let mut source = BufReader::with_capacity(BUFFER_BYTES, bounded);
        if source.fill_buf().context("can't be read")?.starts_with(BYTE_ORDER_MARK) {
            source.consume(BYTE_ORDER_MARK.len());
        }
        let start = source.fill_buf().context("can't be read")?;
        if start.trim_ascii().is_empty() {
            return Err(anyhow!(
                "is empty; expected a CSV with a header, or one JSON object a line"
            ));
        }
        let delimiter = delimiter_of(start, delimiter)?;
        let samples = match format.unwrap_or_else(|| sniffed(start)) {
            Format::Jsonl => Samples::Jsonl(source),
            Format::Csv => {
                let mut table = csv::ReaderBuilder::new()
                    .delimiter(delimiter)
                    .flexible(true)
                    .from_reader(Rows::new(source, delimiter));
                let decoder = CsvDecoder::new(table.headers().context("header can't be read")?, inputs)?;
                Samples::Csv(Box::new(table), decoder)
            }
        };
        Ok(Self {
            samples,
            inputs: inputs.to_vec(),
            read,
            length,
            line: 0,
        })
    }

    /// The file's length in bytes, where it has one.
    pub(super) fn length(&self) -> Option<u64> {
        self.length
    }

    /// How many bytes have been read.
    pub(super) fn position(&self) -> u64 {
        self.read.total.get()
    }

    /// The next sample, or what is wrong with it, with its line; `None` at the end. The outer error is of the file itself:
    /// nothing can be read behind it.
    pub(super) fn next_sample(&mut self) -> Result<Option<Result<Sample>>> {
        self.read.since_row.set(0);
        match &mut self.samples {
            Samples::Csv(table, decoder) => next_row(table, decoder),
            Samples::Jsonl(source) => next_line(source, &mut self.line, &self.inputs),
        }
    }
}

fn next_row(table: &mut csv::Reader<Rows<Source>>, decoder: &CsvDecoder) -> Result<Option<Result<Sample>>> {
    let mut row = csv::StringRecord::new();
    match table.read_record(&mut row) {
        Ok(false) => Ok(None),
        Ok(true) => {
            let line = row.position().map_or(0, csv::Position::line);
            Ok(Some(decoder.decode(&row).with_context(|| format!("line {line}"))))
        }
        Err(error) if matches!(error.kind(), csv::ErrorKind::Io(_)) => Err(Error::new(error)),
        Err(error) => Ok(Some(Err(Error::new(error)))),
    }
}

fn next_line(source: &mut Source, line: &mut u64, inputs: &[InputSpec]) -> Result<Option<Result<Sample>>> {
    loop {
        let mut text = Vec::new();
        *line += 1;
        let count = source.read_until(b'\n', &mut text);
        match count.with_context(|| format!("line {line}"))? {
            0 => return Ok(None),
            _ if text.trim_ascii().is_empty() => {}
            _ => {
                return Ok(Some(
                    decode::json(&text, inputs).with_context(|| format!("line {line}")),
                ));
            }
        }
    }
}

/// Bytes read, in all and since the last row.
#[derive(Default)]
struct Counts {
    total: Cell<u64>,
    since_row: Cell<usize>,
}

/// A reader that gives up when a single row is longer than any sample, before it has filled the memory.
struct Bounded<R> {
    inner: R,
    counts: Rc<Counts>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.counts.since_row.get() > MAX_SAMPLE_BYTES {
            return Err(io::Error::other(format!(
                "a row is longer than {MAX_SAMPLE_BYTES} bytes"
            )));
        }
        let count = self.inner.read(buffer)?;
        self.counts.since_row.set(self.counts.since_row.get() + count);
        self.counts.total.set(self.counts.total.get() + count as u64);
        Ok(count)
    }
}

/// No header of a table begins with a brace.
fn sniffed(start: &[u8]) -> Format {
    if start.trim_ascii_start().starts_with(b"{") {
        Format::Jsonl
    } else {
        Format::Csv
    }
}

/// The delimiter that was asked for, or the one that the first line has most of.
fn delimiter_of(start: &[u8], wanted: Option<char>) -> Result<u8> {
    if let Some(wanted) = wanted {
        return u8::try_from(wanted)
            .ok()
            .filter(u8::is_ascii)
            .context("the delimiter is no ASCII character");
    }
    let header = start.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let count = |delimiter: u8| header.iter().filter(|&&byte| byte == delimiter).count();
    // The last of equals wins in `max_by_key`, so the preferred one goes last.
    Ok(DELIMITERS
        .into_iter()
        .rev()
        .max_by_key(|&delimiter| count(delimiter))
        .unwrap_or(b','))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn inputs() -> Vec<InputSpec> {
        let input = r#"{"tensor":{"name":"x","datatype":"FP32","shape":[2]},"fields":["a","b"]}"#;
        vec![serde_json::from_str(input).unwrap()]
    }

    fn check(text: &str, delimiter: Option<char>, expected: &[Result<[f32; 2], &str>]) {
        let mut input = Input::new(Box::new(Cursor::new(text.to_owned())), None, None, delimiter, &inputs()).unwrap();
        for (number, expected) in expected.iter().enumerate() {
            match (input.next_sample().unwrap().unwrap(), expected) {
                (Ok(sample), Ok(values)) => assert_eq!(sample.tensors[0].to_f32().unwrap(), values, "{text}"),
                (Err(error), Err(part)) => {
                    let error = crate::exit::flatten(&error);
                    assert!(error.contains(part), "{text}: {error}");
                }
                (actual, _) => panic!("{text}: sample {number} is {actual:?}"),
            }
        }
        assert!(input.next_sample().unwrap().is_none(), "{text}");
    }

    #[test]
    fn tables_of_every_usual_kind() {
        check("a,b\n1,2\n3,4\n", None, &[Ok([1.0, 2.0]), Ok([3.0, 4.0])]);
        check("time;b;a\r\n2020-03-09 10:14:33;2;1\r\n", None, &[Ok([1.0, 2.0])]);
        check("a\tb\n1\t2", None, &[Ok([1.0, 2.0])]);
        check("a|b\n1|2", Some('|'), &[Ok([1.0, 2.0])]);
        check("\u{feff}a,b\n1,2\n", None, &[Ok([1.0, 2.0])]);
        check("a,b\n\"1\",\"2\"\n", None, &[Ok([1.0, 2.0])]);
        check(
            "a,b\nx,2\n3,4\n",
            None,
            &[Err("line 2: field \"a\" is \"x\""), Ok([3.0, 4.0])],
        );
    }

    #[test]
    fn lines_of_json() {
        check(
            "{\"a\":1,\"b\":2}\n\n{\"x\":[3,4]}",
            None,
            &[Ok([1.0, 2.0]), Ok([3.0, 4.0])],
        );
        check(
            "{\"a\":1}\n{\"a\":1,\"b\":2}",
            None,
            &[Err("line 1: sample has no field \"b\""), Ok([1.0, 2.0])],
        );
        check("\u{feff}{\"a\":1,\"b\":2}\n", None, &[Ok([1.0, 2.0])]);
    }

    #[test]
    fn inputs_that_are_none() {
        let open = |text: &'static [u8]| Input::new(Box::new(text), None, None, None, &inputs()).err().unwrap();
        assert!(open(b" \n").to_string().contains("is empty"));
        assert!(open(b"a,c\n1,2").to_string().contains("no column b; it has a, c"));
    }

    #[test]
    fn a_row_without_end_is_given_up() {
        let check = |start: &'static [u8], part: &str| {
            let endless: Box<dyn Read> = Box::new(start.chain(io::repeat(b'1')));
            let mut input = Input::new(endless, None, None, None, &inputs()).unwrap();
            let error = crate::exit::flatten(&input.next_sample().unwrap_err());
            assert!(error.contains(part), "{error}");
        };
        check(b"a,b\n\"", "line 2: the row that begins here is longer than");
        check(b"{\"a\":", "line 1: a row is longer than");
    }

    #[test]
    fn a_stray_quote_swallows_nothing() {
        let text = "a,b\n1,2\n\"3,4\n5,6\n";
        let mut input = Input::new(Box::new(text.as_bytes()), None, None, None, &inputs()).unwrap();
        assert!(input.next_sample().unwrap().unwrap().is_ok());
        let error = crate::exit::flatten(&input.next_sample().unwrap_err());
        assert!(
            error.contains("line 3: the row that begins here has a quote"),
            "{error}"
        );
    }
}
