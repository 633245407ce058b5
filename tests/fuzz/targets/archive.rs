//! `.fhb` archives: the reader that holds all in memory and those that don't say the same, and none holds more than the
//! file had.

#![no_main]

use floorhand_bundle::{Archive, ArchiveError};
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;
use std::io::{Cursor, Read};

fuzz_target!(|bytes: &[u8]| {
    let documents = Archive::read_documents(Cursor::new(bytes));
    let checked = Archive::check_blobs(Cursor::new(bytes));
    let mut blobs = BTreeMap::new();
    let streamed = Archive::stream_blobs::<ArchiveError>(Cursor::new(bytes), |digest, _, content| {
        let mut blob = Vec::new();
        content.take(1 << 20).read_to_end(&mut blob)?;
        blobs.insert(digest, blob);
        Ok(())
    });
    let Ok(archive) = Archive::read(bytes) else {
        return;
    };
    let held = archive.manifest.len() + archive.blobs.values().map(Vec::len).sum::<usize>();
    assert!(held <= bytes.len(), "{held} bytes of an archive of {}", bytes.len());
    let (Ok(documents), Ok(()), Ok(())) = (documents, checked, streamed) else {
        panic!("read whole, and refused in pieces");
    };
    assert_eq!(
        (&documents.manifest, &documents.assignment),
        (&archive.manifest, &archive.assignment)
    );
    assert_eq!(blobs, archive.blobs);
    let mut written = Vec::new();
    archive.write(&mut written).expect("memory takes it");
    assert_eq!(Archive::read(&written[..]).expect("it was just written"), archive);
});
