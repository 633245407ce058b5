//! Samples from a file: CSV or one JSON object a line, read as a stream so that a file may be larger than memory.
//!
//! Lines and rows are read by the pipeline's own code, as on a device: what is a sample there is one here.

use anyhow::{Context, Error, Result, anyhow};
use clap::ValueEnum;
use floorhand_bundle::InputSpec;
use floorhand_pipeline::Sample;
use floorhand_pipeline::decode::{self, CsvDecoder, Line, Lines, MAX_SAMPLE_BYTES, Table};
use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

/// Enough to see the first line of most files.
const BUFFER_BYTES: usize = 64 * 1024;
/// The byte order mark that some programs put before UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What an input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A table with a header.
    Csv,
    /// One JSON object a line.
    Jsonl,
    /// For a bundle with a decoder: each line is a message.
    Lines,
    /// For a bundle with a decoder: each line is a message as a JSON object, `message` or `message_base64`, and if it has
    /// them `topic`, `content_type`, `properties` and `time_ms`.
    Messages,
    /// For a bundle with a decoder: the file is one message.
    File,
}

/// An input that samples are taken from.
pub(crate) struct Input {
    lines: Lines<BufReader<Counted>>,
    samples: Samples,
    inputs: Vec<InputSpec>,
    read: Rc<Cell<u64>>,
    length: Option<u64>,
}

enum Samples {
    Csv(Box<Table>, CsvDecoder),
    Jsonl,
}

impl Input {
    /// Opens a file, or standard input for `-`, and reads the header of a table.
    pub(crate) fn open(
        path: &Path,
        format: Option<Format>,
        delimiter: Option<char>,
        inputs: &[InputSpec],
    ) -> Result<Self> {
        let (counted, read, length) = opened(path)?;
        Self::new((counted, read), length, format, delimiter, inputs).with_context(|| path.display().to_string())
    }

    fn new(
        (counted, read): (Counted, Rc<Cell<u64>>),
        length: Option<u64>,
        format: Option<Format>,
        delimiter: Option<char>,
        inputs: &[InputSpec],
    ) -> Result<Self> {
        if delimiter.is_some_and(|delimiter| !delimiter.is_ascii()) {
            return Err(anyhow!("the delimiter is no ASCII character"));
        }
        let mut source = BufReader::with_capacity(BUFFER_BYTES, counted);
        let start = source.fill_buf().context("can't be read")?;
        let empty = || anyhow!("is empty; expected a CSV with a header, or one JSON object a line");
        if start
            .strip_prefix(BYTE_ORDER_MARK)
            .unwrap_or(start)
            .trim_ascii()
            .is_empty()
        {
            return Err(empty());
        }
        let format = format.unwrap_or_else(|| sniffed(start));
        let mut lines = Lines::new(source, MAX_SAMPLE_BYTES, Arc::default());
        let samples = match format {
            Format::Jsonl => Samples::Jsonl,
            Format::Lines | Format::Messages | Format::File => {
                return Err(anyhow!(
                    "the bundle has no decoder for messages: --format is csv or jsonl"
                ));
            }
            Format::Csv => {
                let table = Table::begin(&mut lines, delimiter).context("header can't be read")?;
                let table = table.ok_or_else(empty)?;
                let decoder = CsvDecoder::new(&table.header(), inputs)?;
                Samples::Csv(Box::new(table), decoder)
            }
        };
        Ok(Self {
            lines,
            samples,
            inputs: inputs.to_vec(),
            read,
            length,
        })
    }

    /// The file's length in bytes, where it has one.
    pub(crate) fn length(&self) -> Option<u64> {
        self.length
    }

    /// How many bytes have been read.
    pub(crate) fn position(&self) -> u64 {
        self.read.get()
    }

    /// The next sample, or what is wrong with it, with its line; `None` at the end. The outer error is of the file itself:
    /// nothing can be read behind it.
    pub(crate) fn next_sample(&mut self) -> Result<Option<Result<Sample>>> {
        let mut text = Vec::new();
        loop {
            let found = self.lines.read(&mut text);
            let number = self.lines.number();
            let at = || format!("line {number}");
            match found.with_context(at)? {
                None => return Ok(None),
                Some(Line::TooLong) => {
                    let problem = anyhow!("it is longer than {MAX_SAMPLE_BYTES} bytes and is no sample");
                    return Ok(Some(Err(problem.context(at()))));
                }
                Some(Line::Whole) if self.is_blank(&text) => {}
                Some(Line::Whole) => return Ok(Some(self.decode(&mut text).with_context(at))),
            }
        }
    }

    fn is_blank(&self, text: &[u8]) -> bool {
        match &self.samples {
            // A row of tabs or blanks has values, which are missing.
            Samples::Csv(..) => text.is_empty(),
            Samples::Jsonl => text.trim_ascii().is_empty(),
        }
    }

    fn decode(&mut self, text: &mut Vec<u8>) -> Result<Sample> {
        match &mut self.samples {
            Samples::Csv(table, decoder) => decoder.decode(&table.row(text)?).map_err(Error::new),
            Samples::Jsonl => decode::json(text, &self.inputs).map_err(Error::new),
        }
    }
}

/// A reader that counts what it has given.
pub(super) struct Counted {
    inner: Box<dyn Read>,
    read: Rc<Cell<u64>>,
}

impl Counted {
    fn new(inner: Box<dyn Read>) -> (Self, Rc<Cell<u64>>) {
        let read = Rc::<Cell<u64>>::default();
        let counted = Self {
            inner,
            read: Rc::clone(&read),
        };
        (counted, read)
    }
}

/// A file, or standard input for `-`; what was read of it so far; its length where it has one.
pub(super) fn opened(path: &Path) -> Result<(Counted, Rc<Cell<u64>>, Option<u64>)> {
    if path == Path::new("-") {
        let (counted, read) = Counted::new(Box::new(io::stdin()));
        return Ok((counted, read, None));
    }
    let file = File::open(path).with_context(|| format!("{} can't be read", path.display()))?;
    let metadata = file.metadata().ok().filter(std::fs::Metadata::is_file);
    let length = metadata.map(|metadata| metadata.len());
    let (counted, read) = Counted::new(Box::new(file));
    Ok((counted, read, length))
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.read.set(self.read.get() + count as u64);
        Ok(count)
    }
}

/// No header of a table begins with a brace.
fn sniffed(start: &[u8]) -> Format {
    let start = start.strip_prefix(BYTE_ORDER_MARK).unwrap_or(start);
    if start.trim_ascii_start().starts_with(b"{") {
        Format::Jsonl
    } else {
        Format::Csv
    }
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
        let mut input = Input::new(
            Counted::new(Box::new(Cursor::new(text.to_owned()))),
            None,
            None,
            delimiter,
            &inputs(),
        )
        .unwrap();
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
        let open = |text: &'static [u8]| {
            Input::new(Counted::new(Box::new(text)), None, None, None, &inputs())
                .err()
                .unwrap()
        };
        assert!(open(b" \n").to_string().contains("is empty"));
        assert!(open(b"a,c\n1,2").to_string().contains("no column b; it has a, c"));
    }

    #[test]
    fn a_line_without_end_is_a_sample_that_failed_and_no_more() {
        for start in ["a,b\n\"", "{\"a\":"] {
            let long = "1".repeat(MAX_SAMPLE_BYTES + 1);
            let (behind, number) = if start.starts_with('{') {
                ("\n{\"a\":1,\"b\":2}\n", 1)
            } else {
                ("\n1,2\n", 2)
            };
            let text = format!("{start}{long}{behind}");
            let mut input = Input::new(Counted::new(Box::new(Cursor::new(text))), None, None, None, &inputs()).unwrap();
            let error = crate::exit::flatten(&input.next_sample().unwrap().unwrap().unwrap_err());
            let expected = format!("line {number}: it is longer than");
            assert!(error.starts_with(&expected), "{error}");
            assert!(input.next_sample().unwrap().unwrap().is_ok());
            assert!(input.next_sample().unwrap().is_none());
        }
    }

    #[test]
    fn a_stray_quote_costs_its_own_row() {
        let text = "a,b\n1,2\n\"3,4\n5,6\n";
        let mut input = Input::new(Counted::new(Box::new(text.as_bytes())), None, None, None, &inputs()).unwrap();
        assert!(input.next_sample().unwrap().unwrap().is_ok());
        let error = crate::exit::flatten(&input.next_sample().unwrap().unwrap().unwrap_err());
        assert!(error.starts_with("line 3: "), "{error}");
        assert!(input.next_sample().unwrap().unwrap().is_ok());
        assert!(input.next_sample().unwrap().is_none());
    }
}
